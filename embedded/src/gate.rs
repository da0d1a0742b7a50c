//! The endpoints' doors: one TCP port each, on loopback and on Docker's bridge while that exists.
//!
//! What a session says passes as it is, but for a few statements that PostgreSQL leaves to a superuser and the service gives to
//! members of `databricks_superuser`: those about event triggers, and the extension `pg_stat_statements`. [`statement`] knows
//! them, [`watch`] finds the moment for them, [`privileged`] runs them on a connection of the server's own, [`session`] joins it
//! all. They run outside of transactions only; inside of one PostgreSQL answers, which refuses them.

mod privileged;
mod session;
mod statement;
mod watch;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lakebase_gateway::refusal::INVALID_AUTHORIZATION;
use lakebase_gateway::session::CANNOT_CONNECT_NOW;
use lakebase_gateway::{
    Admission, Authenticator, Login, Opened, Outcome, Refusal, SessionOptions, Upstream, open, proxy,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::app::{App, Awake, is_leaving};
use crate::catalog;
use crate::handlers::grants::{self, Grant};
use crate::postgres::ADMIN;
use crate::state::Phase;
use crate::tokens::{Purpose, matches_scram_verifier};
use statement::About;

/// How often the machine's network interfaces are looked at.
const INTERFACES_EVERY: Duration = Duration::from_secs(1);
/// Connections of a door that may be between their first byte and their admission at one time; more wait in the system's
/// queue. Each door counts for itself, so that a crowd at one keeps nobody out of another.
const STRANGERS: usize = 512;
/// Length of the system's queue of a door. Tokio's own is 128.
const BACKLOG: u32 = 1024;
/// How long a client may take to log in.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
/// SQLSTATE "invalid password".
const INVALID_PASSWORD: &str = "28P01";
/// The words of the service for a branch that is too young to know who may log in.
const NOT_YET: &str = "External authorization failed";
/// The words of the service for a wrong identity, a wrong token and an expired one alike.
const NOT_AUTHORIZED: &str = "OAuth: User is not authorized";

/// Keeps the doors as the state wants them, until it is dropped. `addresses` replaces Docker's bridge, where given.
pub async fn run(app: App, tls: TlsAcceptor, addresses: Option<Vec<IpAddr>>) {
    let mut open: HashMap<(SocketAddr, String), AbortHandle> = HashMap::new();
    let mut failed: HashSet<SocketAddr> = HashSet::new();
    let mut changed = app.changed.subscribe();
    let mut doors = tokio::task::JoinSet::new();
    loop {
        changed.mark_unchanged();
        let wanted = wanted(&app, addresses.as_deref());
        open.retain(|door, handle| {
            let keep = wanted.contains(door) && !handle.is_finished();
            if !keep {
                handle.abort();
            }
            keep
        });
        // An aborted listener lets go of its port when its task is gone.
        while doors.try_join_next().is_some() {}
        for (address, endpoint) in wanted {
            if open.contains_key(&(address, endpoint.clone())) {
                continue;
            }
            match bind(address) {
                Ok(listener) => {
                    failed.remove(&address);
                    let door = Door { app: app.clone(), endpoint: endpoint.clone() };
                    let handle = doors.spawn(accept(listener, tls.clone(), Arc::new(door)));
                    open.insert((address, endpoint), handle);
                }
                Err(error) => {
                    if failed.insert(address) {
                        app.log.line(&format!("endpoint {endpoint}: can't listen on {address}: {error}"));
                    }
                }
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(INTERFACES_EVERY) => {}
        }
    }
}

/// Address and endpoint (its uid) of every door that should be open.
fn wanted(app: &App, addresses: Option<&[IpAddr]>) -> HashSet<(SocketAddr, String)> {
    let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    match addresses {
        Some(addresses) => hosts.extend(addresses),
        None => hosts.extend(docker_bridge()),
    }
    let state = app.state();
    let mut doors = HashSet::new();
    for (_, branch) in state.branches().filter(|(project, branch)| !is_leaving(project, branch)) {
        for endpoint in &branch.endpoints {
            doors.extend(
                hosts.iter().map(|host| (SocketAddr::new(*host, endpoint.port), endpoint.uid.clone())),
            );
        }
    }
    doors
}

/// The address that containers know as `host.docker.internal` with `host-gateway`, where Docker runs on this Linux.
fn docker_bridge() -> Option<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    interfaces
        .filter(|interface| interface.interface_name == "docker0")
        .find_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())))
}

/// Listens on an address, with room for a crowd: an application that starts opens its whole pool at once.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, door: Arc<Door>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back.
                door.app.log.line(&format!("endpoint {}: can't accept: {error}", door.endpoint));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, door) = (tls.clone(), Arc::clone(&door));
        tokio::spawn(async move {
            let options = SessionOptions { startup_timeout: STARTUP_TIMEOUT, ..SessionOptions::default() };
            let visit = Visit { door: Arc::clone(&door), awake: Mutex::default() };
            let outcome = match open(stream, &tls, &visit, options, move || drop(permit)).await {
                Ok(opened) => Outcome::of(door.join(opened).await),
                Err(outcome) => outcome,
            };
            match outcome {
                Outcome::Ended | Outcome::Cancelled | Outcome::HungUp => {}
                Outcome::Refused(refusal) => {
                    door.app.log.line(&format!("endpoint {}: refused: {}", door.endpoint, refusal.message));
                }
                Outcome::TimedOut => {
                    door.app
                        .log
                        .line(&format!("endpoint {}: a client did not log in in time", door.endpoint));
                }
                Outcome::Failed(cause) => {
                    door.app.log.line(&format!("endpoint {}: a connection failed: {cause}", door.endpoint));
                }
            }
        });
    }
}

/// One endpoint's door.
struct Door {
    app: App,
    /// Uid of the endpoint.
    endpoint: String,
}

/// What a door needs to know of its endpoint.
struct Behind {
    branch: String,
    ready: bool,
    disabled: bool,
    read_only: bool,
    native_login: bool,
    /// The id of the branch.
    id: String,
    /// When the endpoint was made.
    made: Timestamp,
}

impl Door {
    fn behind(&self) -> Option<Behind> {
        let state = self.app.state();
        state.branches().find_map(|(project, branch)| {
            let endpoint = branch.endpoints.iter().find(|endpoint| endpoint.uid == self.endpoint)?;
            (!is_leaving(project, branch)).then(|| Behind {
                branch: branch.uid.clone(),
                ready: branch.phase == Phase::Ready,
                disabled: endpoint.disabled,
                read_only: endpoint.read_only,
                native_login: project.native_login,
                id: branch.id.clone(),
                made: endpoint.created,
            })
        })
    }

    /// Joins a client that was let in with its server.
    async fn join(&self, opened: Opened) -> io::Result<()> {
        // Gone since then: its PostgreSQL ends the session.
        let Some(behind) = self.behind() else { return proxy::join(opened.client, opened.server).await };
        let app = self.app.clone();
        let allowed = move |about| match about {
            About::Statistics => !app.faults.lacks_statistics(&behind.id),
            About::NewEventTrigger | About::EventTrigger => !app.faults.refuses_event_triggers(&behind.id),
        };
        session::join(&self.app, &behind.branch, opened, Box::new(allowed)).await
    }

    /// Whether the password is that of a role with native login; PostgreSQL's own verifier decides, so that a password set
    /// by SQL counts, too.
    async fn is_native(&self, behind: &Behind, login: &Login) -> bool {
        if !behind.native_login || login.user == ADMIN {
            return false;
        }
        let Ok(control) = self.app.control(&behind.branch, "postgres").await else { return false };
        match catalog::password_verifier(&control.client, &login.user).await {
            Ok(Some(verifier)) => matches_scram_verifier(&verifier, login.password.reveal()),
            _ => false,
        }
    }
}

/// One connection at a door.
struct Visit {
    door: Arc<Door>,
    /// Keeps the branch awake as long as the connection lasts.
    awake: Mutex<Option<Awake>>,
}

impl Authenticator for Visit {
    async fn authenticate(&self, login: &Login) -> Result<Admission, Refusal> {
        let (admission, awake) = self.door.admit(login).await?;
        *self.awake.lock().unwrap_or_else(PoisonError::into_inner) = Some(awake);
        Ok(admission)
    }

    fn cancel_target(&self) -> Option<Upstream> {
        let app = &self.door.app;
        let behind = self.door.behind().filter(|behind| app.is_running(&behind.branch))?;
        Some(Upstream::Unix(app.home.socket_file(&behind.branch)))
    }
}

impl Door {
    async fn admit(&self, login: &Login) -> Result<(Admission, Awake), Refusal> {
        let behind = self.behind().ok_or_else(|| Refusal::new(CANNOT_CONNECT_NOW, "the endpoint is gone"))?;
        if behind.disabled {
            return Err(Refusal::new(CANNOT_CONNECT_NOW, "the endpoint is disabled"));
        }
        if !behind.ready {
            return Err(Refusal::new(CANNOT_CONNECT_NOW, "the branch is still being made"));
        }
        let verified = self.app.tokens.verify(
            Purpose::Database,
            login.password.reveal(),
            &self.endpoint,
            self.app.clock.now(),
        );
        match verified {
            Ok(identity) if identity == login.user => self.check_identity(&behind, login).await?,
            Ok(_) => return Err(self.refused("the token is another identity's")),
            Err(_) if self.is_native(&behind, login).await => {}
            Err(reason) => return Err(self.refused(&reason.to_string())),
        }
        let postgres = self.app.awake(&behind.branch).await.map_err(|error| {
            self.app.log.line(&format!(
                "endpoint {}: can't wake its branch: {}",
                self.endpoint,
                error.chain()
            ));
            Refusal::new(CANNOT_CONNECT_NOW, "the endpoint can't be started").hint("see the server's log")
        })?;
        self.app.touch(&self.endpoint);
        let read_only = ("default_transaction_read_only".to_owned(), "on".to_owned());
        let admission = Admission {
            upstream: Upstream::Unix(postgres.socket_file().to_owned()),
            user: login.user.clone(),
            database: login.database.clone(),
            password: None,
            // What a session of a read-only endpoint begins with. It is PostgreSQL's guard against mistakes, no barrier: one who
            // may write can set it off, for there is one PostgreSQL behind all endpoints of a branch.
            parameters: behind.read_only.then_some(read_only).into_iter().collect(),
        };
        Ok((admission, postgres))
    }

    /// Lets an identity in that is still one, as a role that is its own, unless a fault refuses it. A role of its name that SQL made is not; where there is
    /// none at all, PostgreSQL says so.
    async fn check_identity(&self, behind: &Behind, login: &Login) -> Result<(), Refusal> {
        let Some(identity) = self.app.identity(&login.user) else {
            return Err(self.refused("the identity was removed"));
        };
        if self.app.faults.refuses_login(&behind.id, &self.endpoint, behind.made) {
            self.app.log.line(&format!("endpoint {}: login refused by a fault", self.endpoint));
            return Err(Refusal::new(INVALID_AUTHORIZATION, NOT_YET));
        }
        // Its credential may be older than the branch's data.
        match grants::ensure(&self.app, &behind.branch, &identity).await {
            Ok(Grant::Tied | Grant::None) => Ok(()),
            Ok(Grant::Foreign) => Err(self.refused("the role of this name is not tied to the identity")),
            Err(_) => Err(Refusal::new(CANNOT_CONNECT_NOW, "the endpoint can't be started")),
        }
    }

    /// The one answer to every wrong login; the reason goes to the log alone.
    fn refused(&self, reason: &str) -> Refusal {
        self.app.log.line(&format!("endpoint {}: login refused: {reason}", self.endpoint));
        Refusal::new(INVALID_PASSWORD, NOT_AUTHORIZED)
    }
}
