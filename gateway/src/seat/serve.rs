//! `serve`: listens until it is told to stop.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::config::Config;
use super::control::{self, Control};
use super::door::Door;
use super::log::Log;
use super::tap::{Recorder, SENSOR};
use super::tokens::Tokens;
use crate::frontend::{Account, Method};
use crate::refusal::INVALID_PASSWORD;
use crate::resolve::{ResolveError, Resolver};
use crate::scram::ScramError;
use crate::session::{self, Outcome, SessionOptions};
use crate::tap::Tapping;
use crate::tls::{self, TlsError};
use crate::upstream::Remote;

/// Connections that the system holds for us while we are busy.
const BACKLOG: i32 = 1024;
/// Connections that may be between their first byte and their admission at one time; more wait in the system's queue.
const STRANGERS: usize = 1024;
/// The names on the certificate for clients that want TLS. Only those that verify names read them, and those have to be
/// told to trust a new certificate at every start.
const NAMES: [&str; 3] = ["localhost", "postgres", "127.0.0.1"];
/// Said to a client with a wrong user or password.
const LOCAL_LOGIN: &str = "what counts here is the local service's POSTGRES_USER and POSTGRES_PASSWORD, not a login of the Lakebase branch";

/// Why `serve` did not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The port.
    #[error("can't listen on port {0}: {1}")]
    Listen(u16, io::Error),
    /// The control socket.
    #[error("can't open the control socket `{0}`: {1}")]
    Control(String, io::Error),
    /// Certificates: our own, or those in `LAKEBASE_CA`.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The host of `LAKEBASE_UPSTREAM`.
    #[error("LAKEBASE_UPSTREAM: `{0}` is no host name")]
    Host(String),
    /// The resolver.
    #[error("name resolution: {0}")]
    Resolver(#[from] ResolveError),
    /// The password's verifier.
    #[error("the password: {0}")]
    Password(#[from] ScramError),
    /// The signal handlers.
    #[error("can't catch signals: {0}")]
    Signals(io::Error),
}

/// Serves until SIGTERM or SIGINT. Sessions that are open then end with the runtime.
pub async fn run(config: Config, log: Arc<Log>) -> Result<(), ServeError> {
    // First of all: as process 1 of a container, a signal without a handler is not delivered.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let (tls, certificate) = tls::self_signed(&NAMES, "lakebase-gateway")?;
    let remote = Remote::new(
        &config.host,
        config.host_port,
        tls::connector(config.ca.as_deref())?,
        Resolver::system()?,
    )
    .ok_or_else(|| ServeError::Host(config.host.clone()))?;
    let method = match &config.local_password {
        Some(password) => Method::Scram(Arc::new(
            Account::new(&config.local_user, password)?.bound_to(&certificate).hint(LOCAL_LOGIN),
        )),
        None => Method::Trust(config.local_user.clone()),
    };
    let tokens = Arc::new(Tokens::default());
    let recorder = config.tap.then(Arc::<Recorder>::default);
    let listeners = listen(config.port, &log).map_err(|error| ServeError::Listen(config.port, error))?;
    let socket = control::bind(&config.control)
        .await
        .map_err(|error| ServeError::Control(config.control.display().to_string(), error))?;
    let port = listeners.first().and_then(|one| one.local_addr().ok()).map_or(config.port, |one| one.port());
    log.line(&format!(
        "listening on port {port} for user \"{}\"; the Lakebase branch is at {}",
        config.local_user,
        remote.address()
    ));
    let control = Control {
        tokens: Arc::clone(&tokens),
        branch: config.branch.clone(),
        log: Arc::clone(&log),
        said_healthy: AtomicBool::new(false),
        recorder: recorder.clone(),
    };
    tokio::spawn(Arc::new(control).serve(socket));
    tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.keep_fresh().await }
    });
    let options =
        SessionOptions { upstream_timeout: config.connect_wait, retry: true, ..SessionOptions::default() };
    let path = config.control.clone();
    let door = Arc::new(Door::new(config, method, Arc::new(remote), tokens));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    for listener in listeners {
        tokio::spawn(accept(
            listener,
            tls.clone(),
            Arc::clone(&door),
            options,
            Arc::clone(&strangers),
            recorder.clone(),
            Arc::clone(&log),
        ));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    log.line("stopping");
    // Left behind it would only be replaced.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// Listens on every IPv4 and, where the system has it, every IPv6 address, with a socket each: one for both would show IPv4
/// clients under IPv6 names, and is not there at all where IPv6 is off.
fn listen(port: u16, log: &Log) -> io::Result<Vec<TcpListener>> {
    let first = listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    match listen_on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Ok(second) => listeners.push(second),
        Err(error) => log.line(&format!("no IPv6: {error}")),
    }
    Ok(listeners)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that a restart does not wait for the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    door: Arc<Door>,
    options: SessionOptions,
    strangers: Arc<Semaphore>,
    recorder: Option<Arc<Recorder>>,
    log: Arc<Log>,
) {
    loop {
        let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back.
                log.failure("accept", &format!("can't accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, door, log) = (tls.clone(), Arc::clone(&door), Arc::clone(&log));
        let tapping = recorder.clone().map(|recorder| Tapping::new(recorder, SENSOR));
        tokio::spawn(async move {
            let (door, admitted) = (door.as_ref(), move || drop(permit));
            let outcome = match tapping {
                None => session::serve(stream, &tls, door, options, admitted).await,
                Some(tapping) => {
                    // Boxed: it is seldom wanted, and every session would take its room.
                    Box::pin(session::serve_tapped(stream, &tls, door, options, &tapping, admitted)).await
                }
            };
            report(&outcome, &log);
        });
    }
}

/// Writes down what went wrong, if something did.
fn report(outcome: &Outcome, log: &Log) {
    match outcome {
        // Probes of a port come every few seconds, for ever.
        Outcome::Ended | Outcome::Cancelled | Outcome::HungUp => {}
        Outcome::Refused(refusal) => {
            let class = if refusal.sqlstate == INVALID_PASSWORD { "password" } else { "refused" };
            let detail = refusal.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            log.failure(class, &format!("refused a client: {}{detail}", refusal.message));
        }
        Outcome::TimedOut => log.failure("slow", "a client did not log in in time"),
        Outcome::Failed(cause) => log.failure("broken", &format!("a connection failed: {cause}")),
    }
}
