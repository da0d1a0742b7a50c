//! A Compose command on the changed model: the local database out, the branch in, then exec.

use std::path::PathBuf;

use lakebase::auth;
use lakebase::commands::destroy;
use lakebase::commands::session::{Project, Session, SettingArgs, World};
use lakebase::compose::model::Model;
use lakebase::compose::{consumers, database, files, overlay};
use lakebase::config::{Key, Settings};
use lakebase::ensure;
use lakebase::env_vars;
use lakebase::error::{Error, Kind, Result};
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
    /// Volumes of the local database that are in the model still.
    shared_volumes: Vec<String>,
}

/// Runs the call's command and becomes Compose. Returns only on failure.
///
/// # Errors
/// Those of git, configuration, credentials, Docker, Compose, the API and the model.
pub async fn run(call: &Call, world: &mut World<'_>) -> Result<std::convert::Infallible> {
    let real = Real::find(call, world.env)?;
    let files = files::find(&call.choice(), world.env, &world.cwd)?;
    if !call.creates() {
        let changed = change_alone(real, call, &files, world).await?;
        if call.removes() {
            if let (true, [volume, ..]) = (call.removes_volumes(), changed.shared_volumes.as_slice()) {
                return Err(Error::new(Kind::Guarded, format!("the volume `{volume}` is not removed"))
                    .because_of(format!("it holds the data of the local database `{}`", changed.database))
                    .hint("leave `--volumes` out, or remove it by its name: `docker volume rm`"));
            }
            changed.remove_leftovers().await?;
        }
        return Err(changed.real.become_compose(changed.arguments(&call.command), &masked()));
    }
    let session = Session::open(SettingArgs::default(), world)?;
    let client = session.client().await?;
    // Neither waits for the other; what is wrong with the project shows first, whichever is ready first.
    let (model, seen) = tokio::join!(model(&real, call, &files), ensure::observe(&client, &session.target));
    let host_side = session.auth.is_loopback();
    let changed = change(real, model?, &files, host_side, &session.project.settings, world)?;
    let leftovers = changed.leftovers().await?;
    let live = session.live_from(&client, seen?, call.fresh, world.ui).await?;
    if !changed.has_consumers {
        let named = env_vars::DATABASE_URL;
        world.ui.warn(&format!(
            "no service declares `{named}`, so none gets the branch; add it to `environment`"
        ));
    }
    // One command beside a running local stack is no reason to stop its database.
    let in_the_way = leftovers.iter().filter(|container| container.running && call.name() != "run");
    for container in in_the_way {
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
    let removes_orphans =
        call.has_flag("--remove-orphans") || world.env.get("COMPOSE_REMOVE_ORPHANS").is_some();
    if !leftovers.is_empty() && !removes_orphans {
        variables.push((env_vars::COMPOSE_IGNORE_ORPHANS, Secret::new("true")));
    }
    Err(changed.real.become_compose(changed.arguments(&call.command), &variables))
}

/// `down` on the changed model, then the branch and `.env.lakebase` are deleted. A folder without a Compose
/// file has nothing to take down.
///
/// # Errors
/// As for [`run`], before anything is taken down where that is possible.
pub async fn destroy(call: &Call, args: destroy::Args, world: &mut World<'_>) -> Result<()> {
    if call.is_dry_run() {
        return Err(
            Error::new(Kind::Usage, "`destroy` has no dry run").hint("`status` shows what it would delete")
        );
    }
    let session = args.session(world)?;
    if let Some(files) = files::find_any(&call.choice(), world.env, &world.cwd)? {
        let real = Real::find(call, world.env)?;
        let changed = change_alone(real, call, &files, world).await?;
        changed.remove_leftovers().await?;
        changed.real.run_compose(changed.arguments(&["down".to_owned()]), &masked()).await?;
    }
    destroy::run(&session, world).await
}

/// What Compose says of the project.
struct Said {
    model: Model,
    /// Compose's flags, with every file named.
    flags: Vec<String>,
    /// Why an inactive profile was left out.
    broken_profile: Option<String>,
}

async fn model(real: &Real, call: &Call, files: &[PathBuf]) -> Result<Said> {
    let mut flags = call.compose.clone();
    if call.choice().files.is_empty() {
        flags.extend(files.iter().flat_map(|file| ["-f".to_owned(), file.display().to_string()]));
    }
    let (version, model) = tokio::join!(real.check_version(), real.model(&flags));
    version?;
    let (json, broken_profile) = model?;
    Ok(Said { model: Model::parse(&json)?, flags, broken_profile })
}

/// Changes the model without asking the API or git.
async fn change_alone(real: Real, call: &Call, files: &[PathBuf], world: &mut World<'_>) -> Result<Changed> {
    let said = model(&real, call, files).await?;
    let settings = Project::load(SettingArgs::default(), world.env, &world.cwd)?.settings;
    let host_side = auth::is_on_this_machine(&settings, world.env);
    change(real, said, files, host_side, &settings, world)
}

/// Writes the override file for what Compose said.
fn change(
    real: Real,
    said: Said,
    files: &[PathBuf],
    host_side: bool,
    settings: &Settings,
    world: &mut World<'_>,
) -> Result<Changed> {
    let Said { model, mut flags, broken_profile } = said;
    if let Some(why) = broken_profile {
        world.ui.warn(&format!("an inactive profile of the Compose file is broken and was left out: {why}"));
    }
    let database = database::find(&model, settings.text(Key::DatabaseService))?.to_owned();
    let path = files::override_path(files, &model.name, &world.cwd);
    files::write_override(&path, &overlay::direct::text(&model, &database, host_side)?)?;
    flags.extend(["-f".to_owned(), path.display().to_string()]);
    let has_consumers = !consumers::of_url(&model, &database).is_empty();
    let shared_volumes = overlay::shared_volumes(&model, &database).into_iter().map(str::to_owned).collect();
    Ok(Changed { real, flags, project: model.name, database, has_consumers, shared_volumes })
}

/// A container that a run in the other mode left under the database's name.
struct Leftover {
    id: String,
    running: bool,
}

impl Changed {
    /// Ends what the other mode left, as gently as Compose would; its volumes stay.
    async fn remove_leftovers(&self) -> Result<()> {
        for Leftover { id, running } in self.leftovers().await? {
            if running {
                self.real.docker(&["stop", &id]).await?;
            }
            self.real.docker(&["rm", &id]).await?;
        }
        Ok(())
    }

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
