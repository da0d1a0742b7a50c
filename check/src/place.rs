//! Where the migration command runs, and how it gets to a fork.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakebase::commands::session::Session;
use lakebase::connection::{Connection, MISLEADING};
use lakebase::env_vars;
use lakebase::error::{Error, Result};
use lakebase::secret::Secret;

use crate::door::Door;
use crate::fork::Fork;
use crate::runner::Job;
use crate::wire::Recorder;

/// A place for the command: this machine, or a container.
pub trait Place {
    /// The way from it to a fork.
    type Way: Way;

    /// Where the files of the migration tool are, as this machine sees them.
    fn folder(&self) -> &Path;

    /// The command that `words` are there.
    ///
    /// # Errors
    /// [`lakebase::error::Kind::Program`] where there is none, as far as that can be seen from here.
    fn job(&self, words: &[String]) -> Result<Job>;

    /// Opens the way to a fork for one run, in which `recorder` hears every session.
    ///
    /// # Errors
    /// Whatever is in the way.
    fn open(&self, fork: &Fork, recorder: &Arc<Recorder>) -> impl Future<Output = Result<Self::Way>>;

    /// Ends when whoever started the check went away, and no signal said so.
    fn abandoned(&self) -> impl Future<Output = Error> {
        std::future::pending()
    }

    /// Takes away what [`Place::open`] made and the next run would have used. The fork goes next.
    fn leave(&self) -> impl Future<Output = ()> {
        async {}
    }
}

/// The way to a fork, open for one run.
pub trait Way {
    /// What the command gets in its environment.
    fn variables(&self) -> Vec<(&'static str, Secret)> {
        Vec::new()
    }

    /// What must not be shown if the command prints it.
    fn secret(&self) -> Option<&str> {
        None
    }

    /// The run is over: returns when everything of it was heard.
    fn end(self) -> impl Future<Output = ()>;
}

/// This machine.
pub struct Host {
    folder: PathBuf,
    path: Option<String>,
}

impl Host {
    /// Commands are found along `path`, and run in `folder`.
    pub fn new(folder: PathBuf, path: Option<&str>) -> Self {
        Self { folder, path: path.map(str::to_owned) }
    }
}

impl Place for Host {
    type Way = HostWay;

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn job(&self, words: &[String]) -> Result<Job> {
        Job::new(words, self.path.as_deref(), self.folder.clone(), MISLEADING.to_vec())
    }

    async fn open(&self, fork: &Fork, recorder: &Arc<Recorder>) -> Result<HostWay> {
        let branch = fork.connection();
        let ca = fork.session.auth.ca.as_deref();
        let door =
            Door::open(&fork.client, &fork.session.target, &fork.live, &branch, ca, Arc::clone(recorder))
                .await?;
        Ok(HostWay { variables: variables(&fork.session, &door.connection), door })
    }
}

/// The same variables as with `cargo lakebase run`.
fn variables(session: &Session, connection: &Connection) -> Vec<(&'static str, Secret)> {
    let mut all = vec![
        (env_vars::DATABASE_URL, connection.url()),
        (env_vars::DB_SOURCE, Secret::new(session.db_source())),
        (env_vars::LAKEBASE_BRANCH_PATH, Secret::new(session.target.path.to_string())),
    ];
    all.extend(connection.variables());
    all
}

/// A gateway on loopback.
pub struct HostWay {
    door: Door,
    variables: Vec<(&'static str, Secret)>,
}

impl Way for HostWay {
    fn variables(&self) -> Vec<(&'static str, Secret)> {
        self.variables.clone()
    }

    fn secret(&self) -> Option<&str> {
        Some(self.door.connection.password.expose())
    }

    async fn end(self) {}
}
