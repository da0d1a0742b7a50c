//! `check [SERVICE] [-- COMMAND]`: the migration runs in the service's own container, in a Compose project beside the
//! developer's, whose gateway tells what passes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use lakebase::auth::Way as CredentialWay;
use lakebase::commands::session::{Project, World};
use lakebase::compose::model::{Model, Service};
use lakebase::compose::overlay::seat::PROGRAM;
use lakebase::compose::{consumers, files, overlay};
use lakebase::config::Key;
use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use lakebase_check::command::{self, Signals};
use lakebase_check::fork::Fork;
use lakebase_check::place::{Place, Way};
use lakebase_check::runner::Job;
use lakebase_check::verdict::Answer;
use lakebase_check::wire::Recorder;
use lakebase_gateway::seat::tap::TapLine;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use super::merge::Merge;
use super::rehearsals::{self, Held, Rehearsal};
use super::{Said, read};
use crate::agent::{self, Registration};
use crate::call::Call;
use crate::gateway;
use crate::interrupt::Docker;
use crate::real::Real;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The service whose container runs the command; the one that declares DATABASE_URL, where there is one
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    #[command(flatten)]
    check: command::Args,
}

/// Judges a migration that runs in a service's container. Gives the exit code.
///
/// # Errors
/// Those of [`container`] and of [`command::judged`].
pub async fn run(call: &Call, args: CheckArgs, docker: Docker, world: &mut World<'_>) -> Result<u8> {
    // Before there is anything to tidy up.
    let mut signals = Signals::caught();
    let container = tokio::select! {
        container = container(call, &args, docker.clone(), world) => container?,
        error = docker.ended() => return Err(error),
        error = signals.ended() => return Err(error),
    };
    let reference = args.check.merge().map(str::to_owned);
    if let Some(reference) = &reference
        && !container.runs_merge()
    {
        world.ui.error(&unmerged(&container.service, reference));
        return Ok(Answer::Unknown.exit_code());
    }
    let judged = command::judged(args.check, &container, signals, world).await;
    if let Some(left) = container.merge.and_then(Merge::remove) {
        world.ui.warn(&format!(
            "the files of the merge in `{}` could not be removed: a container wrote there as somebody else",
            left.display()
        ));
    }
    judged
}

/// Why a merge can't be judged in a service's container.
fn unmerged(service: &str, reference: &str) -> Error {
    Error::new(Kind::Unsupported, format!("service `{service}` runs none of the merge's files"))
        .because_of("its image is not built of a folder of this repository, and none is mounted into it")
        .hint("name a service that is built here, or mount the migrations into this one")
        .hint(format!(
            "`cargo lakebase check --with {reference} -- COMMAND` runs the command on this machine"
        ))
}

/// The container that the command will run in, of which nothing is there yet.
///
/// # Errors
/// Those of Docker, Compose and the model.
async fn container(
    call: &Call,
    args: &CheckArgs,
    docker: Docker,
    world: &mut World<'_>,
) -> Result<Container> {
    let real = Real::find(call, world.env)?;
    let files = files::find(&call.choice(), world.env, &world.cwd)?;
    let settings = Project::load(args.check.settings().clone(), world.env, &world.cwd)?.settings;
    let (said, image, engine) = tokio::join!(
        read(&real, call, &files, &settings, &world.cwd),
        gateway::prepare(&real, world.env),
        rehearsals::engine(&real)
    );
    let (said, engine) = (said?, engine?);
    said.warn(world);
    overlay::seat::fits(&said.model, &said.database)?;
    let named = args.service.as_deref().or_else(|| settings.text(Key::CheckService));
    let service = service(&said.model, &said.database, named)?;
    let dead = rehearsals::dead(&world.cwd, world.env);
    rehearsals::sweep(dead, &engine, &real, world.env, &world.cwd, world.ui).await;
    let overlay = |project: &str| files::override_path(&files, project, &world.cwd);
    let rehearsal = Rehearsal::new(&said.model.name, &world.cwd, engine, overlay)?.hold(world.env)?;
    let merge = match args.check.merge() {
        Some(reference) => Some(Merge::write(reference, rehearsal.rehearsal.merge(), world)?),
        None => None,
    };
    if let Some(changed) = merge.as_ref().and_then(|merge| merge.changed(&files, &world.cwd)) {
        world.ui.warn(&format!(
            "the merge has another `{}`, and this one is used: its services, not those of the merge",
            changed.display()
        ));
    }
    Ok(Container {
        folder: build_folder(&said.model, &service, &world.cwd, merge.as_ref()),
        merge,
        env: world.env.clone(),
        cwd: world.cwd.clone(),
        image: image?,
        real,
        said,
        service,
        rehearsal,
        docker,
    })
}

/// The service that runs the command.
fn service(model: &Model, database: &str, named: Option<&str>) -> Result<String> {
    let hint = |names: &[&str]| {
        format!("name it: `docker compose lakebase check {} -- COMMAND`", names.first().unwrap_or(&"SERVICE"))
    };
    let services =
        || model.services.keys().map(String::as_str).filter(|name| *name != database).collect::<Vec<_>>();
    if let Some(named) = named {
        return match services().contains(&named) {
            true => Ok(named.to_owned()),
            false => Err(Error::new(
                Kind::Usage,
                format!("there is no service `{named}` that could run a migration"),
            )
            .because_of(format!("there are: {}", services().join(", ")))),
        };
    }
    match consumers::of_url(model, database).as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Error::new(Kind::Usage, "which service runs the migration can't be told")
            .because_of("none declares DATABASE_URL")
            .hint(hint(&services()))),
        several => Err(Error::new(Kind::Usage, "which service runs the migration can't be told")
            .because_of(format!("these declare DATABASE_URL: {}", several.join(", ")))
            .hint(hint(several))),
    }
}

/// Where the files are that the service's image is built of.
fn build_folder(model: &Model, service: &str, cwd: &Path, merge: Option<&Merge>) -> PathBuf {
    let context = model.services.get(service).and_then(Service::build_context);
    let context = context.map_or_else(|| cwd.to_owned(), PathBuf::from);
    let moved = merge.and_then(|merge| merge.place(context.to_str()?));
    moved.map_or(context, PathBuf::from)
}

/// A service's container, in a project of its own.
struct Container {
    real: Real,
    said: Said,
    service: String,
    rehearsal: Held,
    merge: Option<Merge>,
    docker: Docker,
    image: String,
    folder: PathBuf,
    env: Env,
    cwd: PathBuf,
}

impl Container {
    fn project(&self) -> &str {
        &self.rehearsal.rehearsal.project
    }

    fn overlay(&self) -> &Path {
        self.rehearsal.rehearsal.overlay()
    }

    /// Where a place of this machine is in the merge.
    fn moved(&self, place: &str) -> Option<String> {
        self.merge.as_ref()?.place(place)
    }

    /// Whether the service runs the merge's files.
    fn runs_merge(&self) -> bool {
        let service = self.said.model.services.get(&self.service);
        service.is_some_and(|service| overlay::rehearsal::runs_moved(service, &|place| self.moved(place)))
    }

    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let overlay = self.overlay().display().to_string();
        let own = ["-p", self.project(), "-f", &overlay];
        self.said
            .flags
            .iter()
            .cloned()
            .chain(own.iter().chain(words).map(|word| (*word).to_owned()))
            .collect()
    }

    /// Tells the agent which logins the gateway gets.
    fn register(&self, fork: &Fork) -> Result<()> {
        let (session, endpoint) = (&fork.session, &fork.live.endpoint.name);
        let variables = &lakebase_embedded::VARIABLES;
        let way =
            CredentialWay::of(&session.auth, &session.project.settings, &self.env, variables, &self.cwd);
        let docker = self.real.for_agent(&self.env, &self.cwd);
        let only = Some(fork.live.branch.uid.as_str());
        let place = agent::Place { project: self.project(), service: &self.said.database, endpoint, only };
        agent::register(Registration::new(docker, place, way), &self.env)
    }

    async fn gateway(&self) -> Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.project());
        let service = format!("label=com.docker.compose.service={}", self.said.database);
        let ids = self.real.docker(&["ps", "-q", "--filter", &project, "--filter", &service]).await?;
        ids.lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| Error::new(Kind::Program, "the gateway did not start"))
    }

    /// Removes what the project alone has; volumes with a name of their own may be the developer's.
    async fn remove(&self) -> Result<()> {
        let own = format!("label=com.docker.compose.project={}", self.project());
        let check = format!("label={}={}", overlay::rehearsal::CHECK, self.project());
        let list = ["ps", "--all", "--quiet", "--filter", &own, "--filter", &check];
        let containers = self.real.docker(&list).await?;
        let containers: Vec<&str> = containers.split_whitespace().collect();
        if !containers.is_empty() {
            // With their nameless volumes, which Compose leaves. One that is going already is no matter.
            let _ = self.real.docker(&[&["rm", "--force", "--volumes"][..], &containers[..]].concat()).await;
        }
        self.real
            .quietly(self.arguments(&["down", "--timeout", "1", "--rmi", "local", "--remove-orphans"]))
            .await?;
        let volumes = self.real.docker(&["volume", "ls", "-q", "--filter", &own]).await?;
        let prefix = format!("{}_", self.project());
        for volume in volumes.lines().filter(|name| name.starts_with(&prefix)) {
            self.real.docker(&["volume", "rm", volume]).await?;
        }
        Ok(())
    }
}

impl Place for Container {
    type Way = Tapped;

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn job(&self, words: &[String]) -> Result<Job> {
        let Some((program, rest)) = words.split_first() else {
            return Err(Error::new(Kind::Usage, "no migration command"));
        };
        // In the place of the image's entrypoint, which may pass over a command, and serve for ever.
        let run = ["run", "--rm", "--no-TTY", "--quiet-pull", "--entrypoint", program, &self.service];
        let mut arguments = self.arguments(&run);
        arguments.extend(rest.iter().cloned());
        let (program, arguments) = self.real.compose(arguments);
        Ok(Job { program, arguments, folder: self.cwd.clone(), without: Vec::new() })
    }

    async fn open(&self, fork: &Fork, recorder: &Arc<Recorder>) -> Result<Tapped> {
        let seat = gateway::seat(self.image.clone(), &fork.session, &fork.live);
        let Said { model, database, .. } = &self.said;
        let moved = |place: &str| self.moved(place);
        let text = overlay::rehearsal::text(model, database, &seat, self.project(), &moved)?;
        files::write_override(self.overlay(), &text)?;
        self.rehearsal.note(false);
        self.register(fork)?;
        self.real.quietly(self.arguments(&["up", "--detach", "--wait", &self.said.database])).await?;
        Tapped::listen(&self.real, &self.gateway().await?, Arc::clone(recorder)).await
    }

    async fn abandoned(&self) -> Error {
        self.docker.ended().await
    }

    async fn leave(&self) {
        // Nothing was opened since it was last left, so nothing was made.
        if !self.overlay().exists() {
            return;
        }
        // What could not be removed now is the next check's to remove; the fork behind it goes all the same.
        self.rehearsal.note(self.remove().await.is_ok());
        agent::forget(&self.real.for_agent(&self.env, &self.cwd), self.project(), &self.env);
        let _ = std::fs::remove_file(self.overlay());
    }
}

/// A gateway that is listened to.
struct Tapped {
    process: Child,
    hearing: JoinHandle<()>,
}

impl Tapped {
    async fn listen(real: &Real, container: &str, recorder: Arc<Recorder>) -> Result<Self> {
        let mut command = real.docker_command();
        command.args(["exec", "-i", container, PROGRAM, "tap"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed =
            |why: &str| Error::new(Kind::Program, "the gateway does not tell what passes").because_of(why);
        let mut process = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let stdout = process.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.ok().flatten().unwrap_or_default();
        let Ok(TapLine::Hello { tap }) = serde_json::from_str(&first) else { return Err(failed(&first)) };
        // The moment of its clock that this one is.
        let began = Instant::now().checked_sub(std::time::Duration::from_micros(tap.now_us));
        let hearing = tokio::spawn(hear(lines, began.unwrap_or_else(Instant::now), recorder));
        Ok(Self { process, hearing })
    }
}

/// Notes each event at the moment that the gateway's clock says.
async fn hear(mut lines: Lines<BufReader<ChildStdout>>, began: Instant, recorder: Arc<Recorder>) {
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(TapLine::Event { session, at_us, event }) => {
                recorder.note(session.0, began + std::time::Duration::from_micros(at_us), event);
            }
            Ok(TapLine::Missed { missed }) => recorder.miss(missed),
            _ => {}
        }
    }
}

impl Way for Tapped {
    async fn end(mut self) {
        // The end of its input is the end of its listening; what it has heard comes before that.
        drop(self.process.stdin.take());
        let _ = self.hearing.await;
        let _ = self.process.wait().await;
    }
}
