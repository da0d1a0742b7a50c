//! A Compose command on the changed model: the local database out, the branch in, then exec.

pub mod check;
pub mod examine;
mod leftovers;
mod merge;
mod plan;
mod rehearsals;

use std::path::{Path, PathBuf};

use lakebase::api::Client;
use lakebase::auth::{self, Auth, Way};
use lakebase::commands::session::{Project, Session, SettingArgs, World};
use lakebase::commands::{destroy, prune};
use lakebase::compose::model::{Model, Service};
use lakebase::compose::overlay::seat::Seat;
use lakebase::compose::{consumers, database, files, overlay};
use lakebase::config::{Connect, Key, Settings};
use lakebase::ensure::{self, Observation};
use lakebase::env_vars;
use lakebase::error::{Error, Kind, Result};
use lakebase::mask::Masks;
use lakebase::secret::{MASK, Secret};
use lakebase::ui::visible;

use self::leftovers::{Leftover, leftovers};
use crate::agent::{self, Registration};
use crate::call::Call;
use crate::gateway;
use crate::real::Real;

/// A project whose model has been changed: all that Compose has to be given.
struct Changed {
    real: Real,
    flags: Vec<String>,
    project: String,
    database: String,
}

/// Runs the call's command and becomes Compose; returns without a failure only where the plan alone was asked for.
///
/// # Errors
/// Those of git, configuration, credentials, Docker, Compose, the API and the model.
pub async fn run(call: &Call, world: &mut World<'_>) -> Result<()> {
    if call.plan && !call.creates() {
        return Err(Error::new(Kind::Usage, format!("`{}` needs no branch, so it has no plan", call.name()))
            .hint("`--plan` is for `up` and whatever else creates containers"));
    }
    let real = Real::find(call, world.env)?;
    let files = files::find(&call.choice(), world.env, &world.cwd)?;
    if !call.creates() {
        let Alone { said, overlay, settings } = read_alone(&real, call, &files, world).await?;
        if call.removes_volumes()
            && let [volume, ..] = overlay::shared_volumes(&said.model, &said.database).as_slice()
        {
            return Err(Error::new(Kind::Guarded, format!("the volume `{volume}` is not removed"))
                .because_of(format!("it holds the data of the local database `{}`", said.database))
                .hint("leave `--volumes` out, or remove it by its name: `docker volume rm`"));
        }
        let changed = said.lay(real, &overlay)?;
        if call.removes() {
            changed.forget(world);
            changed.remove_leftovers().await?;
        }
        if call.brings_back()
            && let Some(endpoint) = Seat::read(&overlay, &changed.database).map(|seat| seat.endpoint)
            && endpoint != MASK
            && let Err(error) = changed.ensure_agent(&endpoint, &settings, world)
        {
            world.ui.warn(&format!("the gateway gets no logins: {error}"));
        }
        return Err(changed.real.become_compose(changed.arguments(&call.command), &masked()));
    }
    let session = Session { full: call.full, ..Session::open(SettingArgs::default(), world)? };
    let client = session.client().await?;
    // None waits for another; what is wrong with the project shows first, whichever is ready first.
    let settings = &session.project.settings;
    let by_gateway = settings.connect()? == Connect::Gateway;
    // A plan changes nothing: the engine gets no image for it either.
    let wants_image = by_gateway && !call.plan;
    let gateway =
        async { if wants_image { gateway::prepare(&real, world.env).await.map(Some) } else { Ok(None) } };
    let observed = async {
        let seen = ensure::observe(&client, &session.target).await?;
        if !call.plan {
            session.begin_to_wake(&client, &seen, call.fresh);
        }
        Ok::<_, Error>(seen)
    };
    let (said, seen, gateway) =
        tokio::join!(read(&real, call, &files, settings, &world.cwd), observed, gateway);
    let said = said?;
    said.warn(world);
    let seen = seen?;
    let prepared = Prepared { call, real, said, session, client, seen };
    if call.plan {
        return prepared.plan(by_gateway, world);
    }
    let Err(failure) = match gateway? {
        Some(image) => prepared.through(image, world).await,
        None => prepared.direct(world).await,
    };
    Err(failure)
}

/// Everything that was read, before anything is changed.
struct Prepared<'a> {
    call: &'a Call,
    real: Real,
    said: Said,
    session: Session,
    client: Client,
    seen: Observation,
}

impl Prepared<'_> {
    /// Prints the steps and changes nothing.
    fn plan(&self, by_gateway: bool, world: &mut World<'_>) -> Result<()> {
        let Self { call, said, session, seen, .. } = self;
        let steps = ensure::steps(&session.target, seen, call.fresh)?;
        let masks = Masks::read(&session.project.settings, &session.folder)?;
        let masks = masks.as_ref();
        let plan =
            plan::Plan { session, seen, steps: &steps, masks, said, by_gateway, command: &call.command };
        if call.json {
            world.ui.json(&plan.document());
        } else {
            plan.lines().iter().for_each(|line| world.ui.data(&visible(line)));
        }
        Ok(())
    }

    /// The local database leaves the model; the login travels in Compose's environment.
    async fn direct(self, world: &mut World<'_>) -> Result<std::convert::Infallible> {
        let Self { call, real, said, session, client, seen } = self;
        let overlay = overlay::direct::text(&said.model, &said.database, session.auth.is_loopback())?;
        let has_consumers = !consumers::of_url(&said.model, &said.database).is_empty();
        let changed = said.lay(real, &overlay)?;
        let leftovers = changed.leftovers().await?;
        let live = session.checked_from(&client, seen, call.wish(), world.ui).await?;
        if !has_consumers {
            let named = env_vars::DATABASE_URL;
            world.ui.warn(&format!(
                "no service declares `{named}`, so none gets the branch; add it to `environment`"
            ));
        }
        // One command beside a running local stack is no reason to stop its database.
        let in_the_way = leftovers.iter().filter(|container| container.running && call.name() != "run");
        for container in in_the_way {
            let what = if container.gateway { "the gateway of" } else { "the local database" };
            let rest = if container.gateway { "" } else { "; its data stays" };
            world.ui.note(&format!("Stopping {what} `{}`{rest}", changed.database));
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

    /// A gateway takes the local database's seat; the agent brings it logins.
    async fn through(self, image: String, world: &mut World<'_>) -> Result<std::convert::Infallible> {
        let Self { call, real, said, session, client, seen } = self;
        overlay::seat::fits(&said.model, &said.database)?;
        if is_published_to_all(&said.model, &said.database) {
            world.ui.warn(&format!(
                "`{}` is published to the network, where the local password opens the branch: write `127.0.0.1:` before the port",
                said.database
            ));
        }
        let (live, leftovers) = tokio::join!(
            session.checked_from(&client, seen, call.wish(), world.ui),
            leftovers(&real, &said.model.name, &said.database),
        );
        let (live, leftovers) = (live?, leftovers?);
        for volume in leftovers.iter().flat_map(|container| &container.nameless_volumes) {
            world.ui.warn(&format!(
                "the local data of `{}` stays in the volume {volume}, which has no name, so the local database will start empty: give it a named volume",
                said.database
            ));
        }
        let seat = gateway::seat(image, &session, &live);
        let overlay = overlay::seat::text(&said.model, &said.database, &seat)?;
        let changed = said.lay(real, &overlay)?;
        let settings = &session.project.settings;
        // With a mask, a branch that is made anew is not open to whoever knew the old one.
        let only = (!settings.after_branch().is_empty()).then_some(live.branch.uid.as_str());
        changed.register(&live.endpoint.name, only, &session.auth, settings, world)?;
        let branch = session.target.path.to_string();
        for container in leftovers.iter().filter(|it| it.without_login.as_ref() == Some(&branch)) {
            gateway::recover(&changed.real, &container.id).await;
        }
        Err(changed.real.become_compose(changed.arguments(&call.command), &[]))
    }
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
        let Alone { said, overlay, .. } = read_alone(&real, call, &files, world).await?;
        let changed = said.lay(real, &overlay)?;
        changed.forget(world);
        changed.remove_leftovers().await?;
        changed.real.run_compose(changed.arguments(&["down".to_owned()]), &masked()).await?;
    }
    destroy::run(&session, world).await
}

/// Removes what checks that were killed left on the engine, then the branches that are over.
///
/// # Errors
/// Those of [`prune::run`].
pub async fn prune(call: &Call, args: prune::Args, world: &mut World<'_>) -> Result<()> {
    rehearsals::prune(call, args.is_dry_run(), world).await;
    prune::run(args, world).await
}

/// What Compose says of the project.
struct Said {
    model: Model,
    /// The service that is the local database.
    database: String,
    /// Compose's flags, with every file named.
    flags: Vec<String>,
    /// Where the override file goes.
    path: PathBuf,
    /// Why an inactive profile was left out.
    broken_profile: Option<String>,
}

impl Said {
    fn warn(&self, world: &mut World<'_>) {
        if let Some(why) = &self.broken_profile {
            world
                .ui
                .warn(&format!("an inactive profile of the Compose file is broken and was left out: {why}"));
        }
    }

    /// Lays the override file over the project's own.
    fn lay(self, real: Real, overlay: &str) -> Result<Changed> {
        files::write_override(&self.path, overlay)?;
        let mut flags = self.flags;
        flags.extend(["-f".to_owned(), self.path.display().to_string()]);
        Ok(Changed { real, flags, project: self.model.name, database: self.database })
    }
}

async fn read(real: &Real, call: &Call, files: &[PathBuf], settings: &Settings, cwd: &Path) -> Result<Said> {
    let mut flags = call.compose.clone();
    if call.choice().files.is_empty() {
        flags.extend(files.iter().flat_map(|file| ["-f".to_owned(), file.display().to_string()]));
    }
    let (version, model) = tokio::join!(real.check_version(), real.model(&flags));
    version?;
    let (json, broken_profile) = model?;
    let model = Model::parse(&json)?;
    let database = database::find(&model, settings.text(Key::DatabaseService))?.to_owned();
    let path = files::override_path(files, &model.name, cwd);
    Ok(Said { model, database, flags, path, broken_profile })
}

fn is_published_to_all(model: &Model, database: &str) -> bool {
    model.services.get(database).is_some_and(Service::is_published_to_all)
}

/// What is known without asking the API or git.
struct Alone {
    said: Said,
    /// The text of the override file.
    overlay: String,
    settings: Settings,
}

/// The model and its change, without asking the API or git.
async fn read_alone(real: &Real, call: &Call, files: &[PathBuf], world: &mut World<'_>) -> Result<Alone> {
    let settings = Project::load(SettingArgs::default(), world.env, &world.cwd)?.settings;
    let said = read(real, call, files, &settings, &world.cwd).await?;
    said.warn(world);
    let overlay = if settings.connect()? == Connect::Gateway {
        // As the last `up` left it, so that any tool can replay the file.
        let before = std::fs::read_to_string(&said.path).ok();
        let seat = gateway::last(before.as_deref(), &said.database);
        overlay::seat::text(&said.model, &said.database, &seat)?
    } else {
        let host_side = auth::is_on_this_machine(&settings, world.env);
        overlay::direct::text(&said.model, &said.database, host_side)?
    };
    Ok(Alone { said, overlay, settings })
}

impl Changed {
    /// Tells the agent, which is started where it does not run, about the project.
    fn register(
        &self,
        endpoint: &str,
        only: Option<&str>,
        auth: &Auth,
        settings: &Settings,
        world: &World<'_>,
    ) -> Result<()> {
        let way = Way::of(auth, settings, world.env, &lakebase_embedded::VARIABLES, &world.cwd);
        let docker = self.real.for_agent(world.env, &world.cwd);
        let place = agent::Place { project: &self.project, service: &self.database, endpoint, only };
        agent::register(Registration::new(docker, place, way), world.env)
    }

    /// The same for a gateway that comes back as the last `up` left it. What that `up` said of the credential is better
    /// than what this call finds.
    fn ensure_agent(&self, endpoint: &str, settings: &Settings, world: &World<'_>) -> Result<()> {
        let docker = self.real.for_agent(world.env, &world.cwd);
        if agent::knows(&docker, &self.project, endpoint, world.env) {
            return Ok(());
        }
        if settings.require_mask()? {
            return Err(Error::new(
                Kind::NotMasked,
                "whether its branch is masked is seen by `docker compose lakebase up` only",
            ));
        }
        let auth = Auth::resolve(settings, world.env, world.embedded)?;
        self.register(endpoint, None, &auth, settings, world)
    }

    /// Tells the agent that the project is being taken down.
    fn forget(&self, world: &World<'_>) {
        agent::forget(&self.real.for_agent(world.env, &world.cwd), &self.project, world.env);
    }

    /// Ends what the other mode left, as gently as Compose would; its volumes stay.
    async fn remove_leftovers(&self) -> Result<()> {
        for Leftover { id, running, .. } in self.leftovers().await? {
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
        leftovers(&self.real, &self.project, &self.database).await
    }
}

/// The variables of the override file where no branch is behind the command.
fn masked() -> [(&'static str, Secret); 3] {
    [env_vars::LAKEBASE_DATABASE_URL, env_vars::LAKEBASE_DB_SOURCE, env_vars::LAKEBASE_BRANCH_PATH]
        .map(|name| (name, Secret::new(MASK)))
}
