//! What every command starts from: the world it runs in, the project's configuration, the branch it means.

use std::path::{Path, PathBuf};

use clap::Args;

use super::room::{self, Full};
use crate::api::{BranchPath, Client};
use crate::auth::{Auth, FindEmbedded};
use crate::branch::BranchId;
use crate::config::{Connect, Key, Layer, Settings, file, manifest};
use crate::connection::{Connection, MISLEADING};
use crate::ensure::{self, Live, Observation, Target};
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};
use crate::forks::Forks;
use crate::identity::{self, GitIdentity};
use crate::record::{Entry, Record};
use crate::secret::Secret;
use crate::ui::{self, Ui};

/// The world of one call.
pub struct World<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The folder of the call.
    pub cwd: PathBuf,
    /// Finds the running embedded Lakebase.
    pub embedded: FindEmbedded<'a>,
    /// The terminal.
    pub ui: &'a mut Ui,
}

/// Settings as flags; they win over every other layer.
#[derive(Debug, Default, Clone, Args)]
pub struct SettingArgs {
    /// Id of the Lakebase project
    #[arg(long, help_heading = "Settings", value_name = "ID")]
    project_name: Option<String>,
    /// Branch that new branches are copies of
    #[arg(long, help_heading = "Settings", value_name = "ID")]
    parent_branch: Option<String>,
    /// Database of the branch
    #[arg(long, help_heading = "Settings", value_name = "NAME")]
    database: Option<String>,
    /// Profile of ~/.databrickscfg, or `embedded`
    #[arg(long, help_heading = "Settings", value_name = "NAME")]
    profile: Option<String>,
    /// How long the branch lives after its last use, such as 24h
    #[arg(long, help_heading = "Settings", value_name = "DURATION")]
    ttl: Option<String>,
}

impl SettingArgs {
    fn layer(self) -> Layer {
        let pairs = [
            (Key::ProjectName, self.project_name),
            (Key::ParentBranch, self.parent_branch),
            (Key::Database, self.database),
            (Key::Profile, self.profile),
            (Key::Ttl, self.ttl),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// The project's one configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `lakebase.config`.
    Config(PathBuf),
    /// A Cargo.toml with `metadata.lakebase`.
    Manifest(PathBuf),
}

impl Source {
    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Config(path) | Self::Manifest(path) => path,
        }
    }
}

/// Settings, and the file that they came from if there is one.
#[derive(Debug, Clone)]
pub struct Project {
    /// All layers.
    pub settings: Settings,
    /// The project's file.
    pub source: Option<Source>,
}

impl Project {
    /// Finds and reads the project's file, from the call's folder up to the root of the checkout, and lays
    /// the layers.
    ///
    /// # Errors
    /// [`Kind::TwoConfigs`], [`Kind::BadConfig`], [`Kind::Io`].
    pub fn load(flags: SettingArgs, env: &Env, cwd: &Path) -> Result<Self> {
        let root = identity::worktree_root(cwd).ok().and_then(|root| root.canonicalize().ok());
        let start = cwd.canonicalize().map_err(|error| Error::io("finding the current folder", &error))?;
        let mut config = None;
        let mut cargo = None;
        for folder in start.ancestors() {
            let (plain, toml) = (folder.join(file::NAME), folder.join("Cargo.toml"));
            if config.is_none() && plain.is_file() {
                config = Some(plain);
            }
            if cargo.is_none() && mentions_us(&toml) {
                cargo = manifest::read(&toml)?;
            }
            if root.as_deref().is_none_or(|root| root == folder) {
                break;
            }
        }
        let (source, layer) = match (config, cargo) {
            (Some(config), Some((manifest, _))) => return Err(both(&config, &manifest)),
            (Some(path), None) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))?;
                let layer = file::parse(&path, &text)?;
                (Some(Source::Config(path)), Some(layer))
            }
            (None, Some((path, layer))) => (Some(Source::Manifest(path)), Some(layer)),
            (None, None) => (None, None),
        };
        let path = source.as_ref().map(|source| source.path().to_owned());
        Ok(Self { settings: Settings::layered(flags.layer(), env, path.zip(layer)), source })
    }

    /// The folder that holds the project's file, else the call's.
    pub fn folder<'a>(&'a self, cwd: &'a Path) -> &'a Path {
        self.source.as_ref().and_then(|source| source.path().parent()).unwrap_or(cwd)
    }
}

/// Asking cargo costs a process; only a manifest that could hold our table is worth it.
fn mentions_us(manifest: &Path) -> bool {
    std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("lakebase") && text.contains("metadata"))
}

fn both(config: &Path, manifest: &Path) -> Error {
    Error::new(Kind::TwoConfigs, "there are two configurations for this project")
        .because_of(format!("`{}` and `metadata.lakebase` of `{}`", config.display(), manifest.display()))
        .hint("keep one: move the values into one file and delete the other")
}

/// A project, a git identity, and the branch that belongs to both.
#[derive(Debug, Clone)]
pub struct Session {
    /// The settings.
    pub project: Project,
    /// Who works on what.
    pub identity: GitIdentity,
    /// The id made of it.
    pub id: BranchId,
    /// The branch as the API knows it.
    pub target: Target,
    /// Which workspace, as whom.
    pub auth: Auth,
    /// What to do where the project is full.
    pub full: Full,
    /// The branches that this machine made; none where it has no place for that.
    pub record: Option<Record>,
    /// The common folder of the git repository.
    pub repository: PathBuf,
    /// The folder of the project's file.
    pub folder: PathBuf,
    /// What this machine knows of forks; none where it has no place for that.
    pub forks: Option<Forks>,
}

impl Session {
    /// Gathers all that is known without asking the API.
    ///
    /// # Errors
    /// Those of the configuration, git and credentials.
    pub fn open(flags: SettingArgs, world: &World<'_>) -> Result<Self> {
        // Git first: without it the place of the project's file is a guess.
        let identity = GitIdentity::discover(&world.cwd, world.env)?;
        Self::of(identity, Project::load(flags, world.env, &world.cwd)?, world)
    }

    /// The same for a project that was loaded already.
    ///
    /// # Errors
    /// Those of the settings and credentials.
    pub fn of(identity: GitIdentity, project: Project, world: &World<'_>) -> Result<Self> {
        let settings = &project.settings;
        let id = BranchId::of(&identity);
        let project_id = settings.project()?;
        let target = Target {
            path: BranchPath { project: project_id.clone(), branch: id.id().clone() },
            parent: BranchPath { project: project_id, branch: settings.parent_branch()? },
            project_uid: settings.text(Key::ProjectId).map(str::to_owned),
            ttl: settings.ttl()?,
            max_age: settings.max_age()?,
            native_role: settings.native_role()?.map(str::to_owned),
        };
        if target.parent.branch == target.path.branch {
            return Err(Error::new(Kind::BadConfig, "the parent branch is this git branch's own")
                .because_of(format!("parent-branch is {}", target.parent.branch))
                .hint("correct `LAKEBASE_PARENT_BRANCH`"));
        }
        let auth = Auth::resolve(settings, world.env, world.embedded)?;
        let repository = identity::repository(&world.cwd)?;
        let record = Record::of(world.env);
        let folder = project.folder(&world.cwd).to_owned();
        let forks = Forks::of(world.env);
        Ok(Self {
            project,
            identity,
            id,
            target,
            auth,
            full: Full::default(),
            record,
            repository,
            folder,
            forks,
        })
    }

    /// A client for the session's workspace.
    ///
    /// # Errors
    /// [`Kind::NoCredential`].
    pub async fn client(&self) -> Result<Client> {
        Client::new(self.auth.clone()).await
    }

    /// Makes the branch live, telling about it on stderr.
    ///
    /// # Errors
    /// Those of [`ensure::observe`] and [`ensure::live`].
    pub async fn live(&self, ui: &mut Ui) -> Result<Live> {
        let client = self.client().await?;
        let seen = ensure::observe(&client, &self.target).await?;
        self.live_from(&client, seen, false, ui).await
    }

    /// The branch itself, from an observation; [`Session::live_from`] is what hands it out.
    pub(super) async fn make_live(
        &self,
        client: &Client,
        seen: Observation,
        fresh: bool,
        ui: &mut Ui,
    ) -> Result<Live> {
        let project_uid = seen.project.uid.clone();
        self.note_use(&project_uid, ui);
        let (mut seen, mut fresh) = (seen, fresh);
        let live = loop {
            let live = ensure::live(client, &self.target, seen, fresh, &mut |event| ui.event(&event)).await;
            ui.rest();
            match live {
                Err(full) if full.kind == Kind::Quota => {
                    room::make(self, client, &project_uid, full, ui).await?;
                    (seen, fresh) = (ensure::observe(client, &self.target).await?, false);
                }
                live => break live?,
            }
        };
        Ok(live)
    }

    /// Records that the branch is used from here, before it is made. Without the record everything works but the tidying.
    fn note_use(&self, project_uid: &str, ui: &mut Ui) {
        let Some(record) = &self.record else { return };
        let entry = Entry {
            project_uid: project_uid.to_owned(),
            identity: self.identity.clone(),
            repository: self.repository.clone(),
            used: jiff::Timestamp::now(),
        };
        if let Err(error) = record.note(entry) {
            ui.warn(&format!("the branch is not recorded as yours: {error}"));
        }
    }

    /// One line about a live branch: how old the fork is, when it goes, when logins end.
    pub(super) fn summary(&self, live: &Live) -> String {
        let now = jiff::Timestamp::now();
        let age = match live.branch.forked {
            _ if live.created => format!("just forked from {}", self.target.parent.branch),
            Some(at) => {
                format!(
                    "forked from {} {} ago",
                    self.target.parent.branch,
                    ui::duration(now.duration_since(at))
                )
            }
            None => format!("forked from {}", self.target.parent.branch),
        };
        let life = live.branch.expires.map_or_else(
            || "no expiry".to_owned(),
            |at| format!("expires in {}", ui::duration(at.duration_since(now))),
        );
        let logins = match (self.project.settings.connect(), live.login.expires) {
            (Ok(Connect::Gateway), _) => "logins are renewed".to_owned(),
            (_, Some(at)) => format!("logins until {}", ui::clock(at)),
            (_, None) => format!("logins as {}", live.login.user),
        };
        format!("Branch {}: {age}, {life}, {logins}", self.id)
    }

    /// The login to the configured database.
    pub fn connection(&self, live: &Live) -> Connection {
        let settings = &self.project.settings;
        Connection::new(live, settings.database(), settings.session_role())
    }

    /// `lakebase/<branch id>`.
    pub fn db_source(&self) -> String {
        format!("lakebase/{}", self.id)
    }

    /// Every variable that a command on the host gets: ours, and libpq's.
    pub fn variables(&self, live: &Live) -> Vec<(&'static str, Secret)> {
        let connection = self.connection(live);
        let mut all = vec![
            (env_vars::DATABASE_URL, connection.url()),
            (env_vars::DB_SOURCE, Secret::new(self.db_source())),
            (env_vars::LAKEBASE_BRANCH_PATH, Secret::new(self.target.path.to_string())),
        ];
        all.extend(connection.variables());
        all
    }
}

/// Replaces this process by `program` with `arguments` and a login's variables laid over the environment;
/// what would lead the login elsewhere goes. Returns only when that failed.
pub fn exec_with_login(program: &Path, arguments: &[String], variables: &[(&str, Secret)]) -> Error {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    MISLEADING.iter().for_each(|name| {
        command.env_remove(name);
    });
    exec(command, variables)
}

/// Replaces this process by `command` with the variables laid over its environment. Returns only when that
/// failed.
pub fn exec(mut command: std::process::Command, variables: &[(&str, Secret)]) -> Error {
    command.envs(variables.iter().map(|(key, value)| (key, value.expose())));
    let program = command.get_program().to_string_lossy().into_owned();
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = std::io::Error::from(std::io::ErrorKind::Unsupported);
    Error::new(Kind::Program, format!("`{program}` could not be started")).because(&error)
}
