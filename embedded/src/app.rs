//! The server's shared inside: state, keys, clock, and the PostgreSQL of each branch.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::api_error::ApiError;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::installation::Installation;
use crate::log::Log;
use crate::postgres::{Account, Control, Postgres, Stop};
use crate::state::{Branch, Phase, Project, State};
use crate::tokens::Tokens;

/// Handle on the inside; clones are the same server.
pub type App = Arc<Inner>;

/// The inside.
pub struct Inner {
    /// The folder.
    pub home: Home,
    /// Time.
    pub clock: Clock,
    /// Keys.
    pub tokens: Tokens,
    /// The log.
    pub log: Log,
    /// PostgreSQL versions of this machine, preferred one first.
    pub installations: Vec<Installation>,
    /// The user PostgreSQL runs as, when this process is root's.
    pub account: Option<Account>,
    /// Port of the HTTP API.
    pub port: u16,
    /// Tells controller and gate that the state has changed.
    pub changed: watch::Sender<()>,
    /// Set when the server ends: jobs stop where they are, the next start takes them up again.
    pub stopping: AtomicBool,
    state: RwLock<Arc<State>>,
    /// Held by whoever changes the state, from reading it until it is on disk.
    writer: Arc<AsyncMutex<()>>,
    /// One lock a branch: its PostgreSQL is started or stopped by one at a time.
    locks: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    /// When a session last began on an endpoint, by its uid. Not kept: a restart forgets it, as a suspension would.
    last_active: Mutex<HashMap<String, Timestamp>>,
}

impl Inner {
    /// Puts the inside together.
    #[allow(clippy::too_many_arguments, reason = "called once, by the server's start")]
    pub fn new(
        home: Home,
        state: State,
        tokens: Tokens,
        log: Log,
        installations: Vec<Installation>,
        account: Option<Account>,
        port: u16,
    ) -> App {
        Arc::new(Self {
            home,
            clock: Clock::default(),
            tokens,
            log,
            installations,
            account,
            port,
            changed: watch::Sender::new(()),
            stopping: AtomicBool::new(false),
            state: RwLock::new(Arc::new(state)),
            writer: Arc::default(),
            locks: Mutex::default(),
            last_active: Mutex::default(),
        })
    }

    /// The state as it is now; it does not change under the reader.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state. `change` works on a copy: when it fails, nothing has changed. When this returns, the
    /// change is on disk; it is carried through even if the caller is dropped meanwhile (a client that hung up).
    pub async fn update<T, E: From<Error>>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let guard = Arc::clone(&self.writer).lock_owned().await;
        let mut next = State::clone(&self.state());
        let value = change(&mut next)?;
        let app = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            next.save(&app.home)?;
            *app.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            app.changed.send_replace(());
            Ok::<(), Error>(())
        });
        match saved.await {
            Ok(result) => result?,
            Err(_) => return Err(Error::new(ErrorKind::State, "writing the state was broken off").into()),
        }
        Ok(value)
    }

    /// The installation that runs major version `major`.
    pub fn installation(&self, major: u32) -> Result<&Installation> {
        self.installations.iter().find(|installation| installation.major == major).ok_or_else(|| {
            Error::new(
                ErrorKind::NoPostgres,
                format!("PostgreSQL {major}, which the branch's data need, is not installed"),
            )
            .hint(format!("install PostgreSQL {major}"))
        })
    }

    /// The PostgreSQL of a branch.
    pub fn postgres(&self, project: &Project, branch: &Branch) -> Result<Postgres> {
        let installation = self.installation(project.pg_version)?.clone();
        Ok(Postgres::new(&self.home, &branch.uid, installation, self.account))
    }

    /// Whether a branch's PostgreSQL takes connections.
    pub fn is_running(&self, uid: &str) -> bool {
        crate::postgres::is_ready(&self.home.branch_folder(uid).join("data"))
    }

    /// Waits for the turn to start or stop a branch's PostgreSQL.
    pub async fn turn(&self, uid: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = Arc::clone(unpoisoned(&self.locks).entry(uid.to_owned()).or_default());
        lock.lock_owned().await
    }

    /// Forgets what was kept for a branch that is gone.
    pub fn forget(&self, uid: &str) {
        unpoisoned(&self.locks).remove(uid);
    }

    /// The running PostgreSQL of a branch that is ready; started first where it does not run (a suspended
    /// endpoint wakes this way, and one that crashed).
    pub async fn awake(&self, uid: &str) -> Result<Postgres> {
        let gone = || Error::new(ErrorKind::Refused, "the branch is not available");
        let state = self.state();
        let (project, branch) = state.by_uid(uid).ok_or_else(gone)?;
        let postgres = self.postgres(project, branch)?;
        if branch.phase == Phase::Ready && branch.deleted.is_none() && postgres.is_ready() {
            return Ok(postgres);
        }
        let _turn = self.turn(uid).await;
        // Looked at again with the turn: a deletion may have come in between.
        let state = self.state();
        let (project, branch) = state.by_uid(uid).ok_or_else(gone)?;
        if branch.phase != Phase::Ready || is_leaving(project, branch) {
            return Err(gone());
        }
        if !postgres.is_ready() {
            let begun = std::time::Instant::now();
            postgres.start().await?;
            self.log.line(&format!("branch {uid}: PostgreSQL started in {} ms", begun.elapsed().as_millis()));
        }
        Ok(postgres)
    }

    /// A connection of our own to the running PostgreSQL of a branch.
    pub async fn control(&self, uid: &str, database: &str) -> Result<Control, ApiError> {
        let postgres = self.awake(uid).await?;
        Ok(postgres.connect(database).await?)
    }

    /// Stops a branch's PostgreSQL.
    pub async fn sleep(&self, uid: &str, how: Stop) -> Result<()> {
        let state = self.state();
        let Some((project, branch)) = state.by_uid(uid) else { return Ok(()) };
        let postgres = self.postgres(project, branch)?;
        let _turn = self.turn(uid).await;
        postgres.stop(how).await
    }

    /// Notes that a session began on an endpoint.
    pub fn touch(&self, endpoint: &str) {
        unpoisoned(&self.last_active).insert(endpoint.to_owned(), self.clock.now());
    }

    /// When a session last began on an endpoint.
    pub fn last_active(&self, endpoint: &str) -> Option<Timestamp> {
        unpoisoned(&self.last_active).get(endpoint).copied()
    }
}

/// Whether a branch is deleted, softly or for good, by itself or with its project.
pub fn is_leaving(project: &Project, branch: &Branch) -> bool {
    branch.deleted.is_some()
        || branch.removal.is_some()
        || project.deleted.is_some()
        || project.removal.is_some()
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
