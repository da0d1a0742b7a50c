//! A Compose command on the changed model: the local database out, the branch in, then exec.

use std::path::PathBuf;

use lakebase::auth::{Auth, EMBEDDED};
use lakebase::commands::session::{Project, Session, SettingArgs, World};
use lakebase::compose::model::Model;
use lakebase::compose::{consumers, database, files, overlay};
use lakebase::config::Key;
use lakebase::ensure;
use lakebase::env_vars;
use lakebase::error::{Error, Result};
use lakebase::secret::{MASK, Secret};

use crate::call::Call;
use crate::real::Real;

/// A project whose model has been changed: all that Compose has to be given.
struct Changed {
    real: Real,
    flags: Vec<String>,
    project: String,
    database: String,
    has_consumers: bool,
}

/// Runs the call's command and becomes Compose. Returns only on failure.
///
/// # Errors
/// Those of git, configuration, credentials, Docker, Compose, the API and the model.
pub async fn run(call: &Call, world: &mut World<'_>) -> Result<std::convert::Infallible> {
    let real = Real::find(call, world.env)?;
    let files = files::find(&call.choice(), world.env, &world.cwd)?;
    if !call.creates() {
        let host_side = is_host_side(world);
        let (changed, _) = change(real, call, files, host_side, world, async { Ok(()) }).await?;
        if call.removes() {
            for container in changed.leftovers().await? {
                changed.real.docker(&["rm", "--force", &container.id]).await?;
            }
        }
        return Err(changed.real.become_compose(changed.arguments(&call.command), &masked()));
    }
    let session = Session::open(SettingArgs::default(), world)?;
    let client = session.client().await?;
    let host_side = session.auth.is_loopback();
    let observation = ensure::observe(&client, &session.target);
    let (changed, seen) = change(real, call, files, host_side, world, observation).await?;
    let leftovers = changed.leftovers().await?;
    let live = session.live_from(&client, seen, call.fresh, world.ui).await?;
    if !changed.has_consumers {
        let named = env_vars::DATABASE_URL;
        world.ui.warn(&format!(
            "no service declares `{named}`, so none gets the branch; add it to `environment`"
        ));
    }
    for container in leftovers.iter().filter(|container| container.running) {
        world.ui.note(&format!("Stopping the local database `{}`; its data stays", changed.database));
        changed.real.docker(&["stop", &container.id]).await?;
    }
    let url = session.connection(&live).for_container().url();
    let mut variables = vec![
        (env_vars::LAKEBASE_DATABASE_URL, url),
        (env_vars::LAKEBASE_DB_SOURCE, Secret::new(session.db_source())),
        (env_vars::LAKEBASE_BRANCH_PATH, Secret::new(session.target.path.to_string())),
    ];
    // Compose would call the local database's container an orphan and advise to remove it.
    if !leftovers.is_empty() && !call.has_flag("--remove-orphans") {
        variables.push(("COMPOSE_IGNORE_ORPHANS", Secret::new("true")));
    }
    Err(changed.real.become_compose(changed.arguments(&call.command), &variables))
}

/// `down` on the changed model, as a part of `destroy`. A folder without a Compose file has nothing to take
/// down.
///
/// # Errors
/// As for [`run`].
pub async fn down(call: &Call, world: &mut World<'_>) -> Result<()> {
    let files = match files::find(&call.choice(), world.env, &world.cwd) {
        Err(_) if call.choice().files.is_empty() => return Ok(()),
        found => found?,
    };
    let real = Real::find(call, world.env)?;
    let host_side = is_host_side(world);
    let (changed, _) = change(real, call, files, host_side, world, async { Ok(()) }).await?;
    for container in changed.leftovers().await? {
        changed.real.docker(&["rm", "--force", &container.id]).await?;
    }
    changed.real.run_compose(changed.arguments(&["down".to_owned()]), &masked()).await
}

/// Asks Compose for the model, `beside` at the same time, and writes the override file.
async fn change<T>(
    real: Real,
    call: &Call,
    files: Vec<PathBuf>,
    host_side: bool,
    world: &mut World<'_>,
    beside: impl Future<Output = Result<T>>,
) -> Result<(Changed, T)> {
    let mut flags = call.compose.clone();
    if call.choice().files.is_empty() {
        flags.extend(files.iter().flat_map(|file| ["-f".to_owned(), file.display().to_string()]));
    }
    // All three are waited for together; the local ones' errors come first, whichever is ready first.
    let (version, model, beside) = tokio::join!(real.check_version(), real.model(&flags), beside);
    version?;
    let (json, broken_profile) = model?;
    let beside = beside?;
    if let Some(why) = broken_profile {
        world.ui.warn(&format!("an inactive profile of the Compose file is broken and was left out: {why}"));
    }
    let model = Model::parse(&json)?;
    let settings = Project::load(SettingArgs::default(), world.env, &world.cwd)?.settings;
    let database = database::find(&model, settings.text(Key::DatabaseService))?.to_owned();
    let path = files::override_path(&files, &model.name, &world.cwd);
    files::write_override(&path, &overlay::text(&model, &database, host_side)?)?;
    flags.extend(["-f".to_owned(), path.display().to_string()]);
    let has_consumers = !consumers::of_url(&model, &database).is_empty();
    Ok((Changed { real, flags, project: model.name, database, has_consumers }, beside))
}

/// A container that a run in the other mode left under the database's name.
struct Leftover {
    id: String,
    running: bool,
}

impl Changed {
    fn arguments(&self, command: &[String]) -> Vec<String> {
        self.flags.iter().chain(command).cloned().collect()
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        let label = |key: &str, value: &str| format!("label=com.docker.compose.{key}={value}");
        let (project, service) = (label("project", &self.project), label("service", &self.database));
        let format = "{{.ID}} {{.State}}";
        let arguments = ["ps", "--all", "--filter", &project, "--filter", &service, "--format", format];
        let listed = self.real.docker(&arguments).await?;
        let container = |line: &str| {
            let (id, state) = line.split_once(' ')?;
            Some(Leftover { id: id.to_owned(), running: state != "exited" && state != "created" })
        };
        Ok(listed.lines().filter_map(container).collect())
    }
}

/// The variables of the override file where no branch is behind the command.
fn masked() -> [(&'static str, Secret); 3] {
    [env_vars::LAKEBASE_DATABASE_URL, env_vars::LAKEBASE_DB_SOURCE, env_vars::LAKEBASE_BRANCH_PATH]
        .map(|name| (name, Secret::new(MASK)))
}

/// Whether the branch listens on this machine, as far as that can be known without asking anybody.
fn is_host_side(world: &World<'_>) -> bool {
    let Ok(project) = Project::load(SettingArgs::default(), world.env, &world.cwd) else { return false };
    let unknown = || Err(Error::new(lakebase::error::Kind::EmbeddedStopped, "not asked"));
    project.settings.text(Key::Profile) == Some(EMBEDDED)
        || Auth::resolve(&project.settings, world.env, &unknown).is_ok_and(|auth| auth.is_loopback())
}
