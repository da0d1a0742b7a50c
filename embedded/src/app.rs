//! The server's shared inside: state, keys, clock, and the PostgreSQL of each branch.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::activity::{Activities, Use};
use crate::api_error::ApiError;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::faults::Faults;
use crate::home::Home;
use crate::identities::{Identities, Identity, Kind};
use crate::installation::Installation;
use crate::log::Log;
use crate::postgres::{Account, Control, Postgres, Stop};
use crate::state::{Branch, Phase, Project, State};
use crate::tokens::{Purpose, Tokens, WORKSPACE};

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
    /// Who may talk to the server beside the developer.
    pub identities: Identities,
    /// The identity that every home has.
    pub developer: Arc<Identity>,
    /// The log.
    pub log: Log,
    /// PostgreSQL versions of this machine, preferred one first.
    pub installations: Vec<Installation>,
    /// The user PostgreSQL runs as, when this process is root's.
    pub account: Option<Account>,
    /// Port of the HTTP API.
    pub port: u16,
    /// Longest life of a database credential in seconds, where it is set.
    pub token_ttl: Option<i64>,
    /// Who uses which branch.
    pub activities: Activities,
    /// What goes wrong on demand.
    pub faults: Faults,
    /// The calls that were made.
    pub calls: Calls,
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

/// What the inside is put together from; see the fields of [`Inner`].
#[allow(missing_docs, reason = "described at the fields of the same name")]
pub struct Parts {
    pub home: Home,
    pub state: State,
    pub tokens: Tokens,
    pub identities: Identities,
    pub log: Log,
    pub installations: Vec<Installation>,
    pub account: Option<Account>,
    pub port: u16,
    pub token_ttl: Option<i64>,
}

/// The running PostgreSQL of a branch, kept awake until this is dropped.
pub struct Awake {
    postgres: Postgres,
    _use: Use,
}

/// A connection of our own, which keeps its PostgreSQL awake.
pub struct Session {
    control: Control,
    _awake: Awake,
}

impl Inner {
    /// Puts the inside together.
    pub fn new(parts: Parts) -> App {
        let clock = Clock::default();
        Arc::new(Self {
            activities: Activities::new(clock.clone()),
            faults: Faults::new(clock.clone()),
            calls: Calls::default(),
            home: parts.home,
            clock,
            tokens: parts.tokens,
            identities: parts.identities,
            developer: Arc::new(Identity::developer()),
            log: parts.log,
            installations: parts.installations,
            account: parts.account,
            port: parts.port,
            token_ttl: parts.token_ttl,
            changed: watch::Sender::new(()),
            stopping: AtomicBool::new(false),
            state: RwLock::new(Arc::new(parts.state)),
            writer: Arc::default(),
            locks: Mutex::default(),
            last_active: Mutex::default(),
        })
    }

    /// Whose bearer token this is: a person's own, or an access token that was had for a secret.
    pub fn caller(&self, token: &str) -> Option<Arc<Identity>> {
        if self.tokens.is_bearer(token) {
            return Some(Arc::clone(&self.developer));
        }
        let user = self.identities.find(|identity| identity.kind == Kind::User && identity.has_secret(token));
        user.or_else(|| {
            let verified = self.tokens.verify(Purpose::Workspace, token, WORKSPACE, self.clock.now());
            let user_name = verified.ok()?;
            self.identities.find(|identity| identity.user_name == user_name)
        })
    }

    /// The identity of this name.
    pub fn identity(&self, user_name: &str) -> Option<Arc<Identity>> {
        if user_name == self.developer.user_name {
            return Some(Arc::clone(&self.developer));
        }
        self.identities.find(|identity| identity.user_name == user_name)
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
        self.activities.forget(uid);
    }

    /// The running PostgreSQL of a branch that is ready; started first where it does not run (a suspended
    /// endpoint wakes this way, and one that crashed).
    pub async fn awake(&self, uid: &str) -> Result<Awake> {
        // Begun before anything is looked at: from here on nobody suspends it for idleness.
        let in_use = self.activities.begin(uid);
        let postgres = self.available(uid)?;
        if self.activities.is_stopping(uid) || !postgres.is_ready() {
            let _turn = self.turn(uid).await;
            // Looked at again with the turn: a deletion may have come in between.
            self.available(uid)?;
            if !postgres.is_ready() {
                let begun = std::time::Instant::now();
                postgres.start(!self.lacks_statistics(uid)).await?;
                let took = begun.elapsed().as_millis();
                self.log.line(&format!("branch {uid}: PostgreSQL started in {took} ms"));
            }
        }
        Ok(Awake { postgres, _use: in_use })
    }

    /// Whether a fault keeps the branch's PostgreSQL from counting statements.
    fn lacks_statistics(&self, uid: &str) -> bool {
        self.state().by_uid(uid).is_some_and(|(_, branch)| self.faults.lacks_statistics(&branch.id))
    }

    /// The PostgreSQL of a branch that is made and not on its way out.
    fn available(&self, uid: &str) -> Result<Postgres> {
        match self.state().by_uid(uid) {
            Some((project, branch)) if branch.phase == Phase::Ready && !is_leaving(project, branch) => {
                self.postgres(project, branch)
            }
            _ => Err(Error::new(ErrorKind::Refused, "the branch is not available")),
        }
    }

    /// A connection of our own to the running PostgreSQL of a branch.
    pub async fn control(&self, uid: &str, database: &str) -> Result<Session, ApiError> {
        let awake = self.awake(uid).await?;
        Ok(Session { control: awake.connect(database).await?, _awake: awake })
    }

    /// Stops a branch's PostgreSQL; its sessions end.
    pub async fn sleep(&self, uid: &str, how: Stop) -> Result<()> {
        let _turn = self.turn(uid).await;
        let _stopping = self.activities.stop(uid);
        self.stop(uid, how).await
    }

    /// Stops a branch's PostgreSQL unless somebody uses it; says whether it did.
    pub async fn doze(&self, uid: &str) -> Result<bool> {
        let _turn = self.turn(uid).await;
        let Some(_stopping) = self.activities.stop_unused(uid) else { return Ok(false) };
        self.stop(uid, Stop::Fast).await.map(|()| true)
    }

    async fn stop(&self, uid: &str, how: Stop) -> Result<()> {
        let state = self.state();
        let Some((project, branch)) = state.by_uid(uid) else { return Ok(()) };
        self.postgres(project, branch)?.stop(how).await
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

impl std::ops::Deref for Awake {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.postgres
    }
}

impl std::ops::Deref for Session {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
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
