//! The server itself: its start, its life, its end.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, Inner, Parts};
use crate::error::{Error, ErrorKind, IoContext, Result, embedded_command};
use crate::faults::Spec;
use crate::faults::wire::{Door, Fuse};
use crate::home::{DEFAULT_PORT, Home, Lookup, Running, replace_file};
use crate::identities::Identities;
use crate::log::Log;
use crate::postgres::{Account, Stop};
use crate::state::State;
use crate::tokens::{CREDENTIAL_SECONDS, Tokens};
use crate::{certificate, controller, env_vars, gate, installation, routes};

/// Open files that the server asks the system for.
const MAX_FILES: u64 = 10_240;
/// How long a server that is stopping is waited for; less than a start is.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

/// What a start was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port of the HTTP API; 0 takes any free one.
    pub port: Option<u16>,
    /// Folder of the PostgreSQL programs.
    pub postgres_bin: Option<PathBuf>,
    /// Faults that it begins with, beside those of the setting.
    pub faults: Vec<Spec>,
}

/// Runs the server until it is told to end (SIGTERM, SIGINT). Then every PostgreSQL is stopped.
pub fn serve(home: &Home, options: &Options, env: Lookup<'_>) -> Result<()> {
    // Files are for this user alone unless said otherwise.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    home.create()?;
    // One that is stopping is waited for.
    let Some(_lock) = home.lock(LOCK_PATIENCE)? else {
        let message = format!("another embedded Lakebase runs on `{}`", home.root().display());
        return Err(
            Error::new(ErrorKind::Locked, message).hint(format!("see {}", embedded_command("status")))
        );
    };
    let account = Account::find()?;
    if let Some(account) = account {
        account.can_reach(home.root())?;
    }
    let state = State::load(home)?;
    let tokens = Tokens::load_or_create(home)?;
    let identities = Identities::open(home)?;
    let tls = certificate::acceptor(home)?;
    let log = Log::open(home)?;
    let setting = env(env_vars::POSTGRES_BIN).filter(|path| !path.is_empty()).map(PathBuf::from);
    let bin = options.postgres_bin.clone().or(setting);
    let installations = installation::find(bin.as_deref(), env)?;
    let addresses = addresses(env)?;
    let port = port(options, env, &state)?;
    let skew = skew(env)?;
    let token_ttl = token_ttl(env)?;
    let faults = faults(env)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "can't start the server's runtime".to_owned())?;
    let result = runtime.block_on(async {
        let listener = listen(port)?;
        let port = listener.local_addr().doing(|| "can't read the port of the HTTP API".to_owned())?.port();
        let app = Inner::new(Parts {
            home: home.clone(),
            state,
            tokens,
            identities,
            log,
            installations,
            account,
            port,
            token_ttl,
        });
        app.clock.set_skew(skew);
        for fault in faults.into_iter().chain(options.faults.clone()) {
            app.faults.add(fault);
        }
        app.update(|state| {
            state.api_port = Some(port);
            Ok::<(), Error>(())
        })
        .await?;
        run(&app, listener, tls, addresses).await
    });
    // Blocking work that is still under way only reads, or writes into folders that the next start deletes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run(
    app: &App,
    listener: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    addresses: Option<Vec<IpAddr>>,
) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).doing(|| "can't listen for signals".to_owned())?;
    let mut interrupted = signal(SignalKind::interrupt()).doing(|| "can't listen for signals".to_owned())?;
    controller::tidy(app).await?;
    let (end, ended) = watch::channel(false);
    let controller = tokio::spawn(controller::run(app.clone(), ended));
    let gate = tokio::spawn(gate::run(app.clone(), tls, addresses));
    let router = routes::router(app.clone());
    let service = router.into_make_service_with_connect_info::<Fuse>();
    let http = tokio::spawn(async move { axum::serve(Door(listener), service).await });
    let running = serde_json::to_vec(&Running { pid: std::process::id(), port: app.port })
        .map_err(|error| Error::new(ErrorKind::State, "can't write where the server runs").because(error))?;
    replace_file(&app.home.running_file(), &running)
        .doing(|| "can't write where the server runs".to_owned())?;
    let versions: Vec<String> = app.installations.iter().map(|it| it.major.to_string()).collect();
    app.log.line(&format!("serving on 127.0.0.1:{}, PostgreSQL {}", app.port, versions.join(", ")));
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    app.log.line("ending");
    // Whoever starts or asks from here on must not take this one for a server.
    let _ = std::fs::remove_file(app.home.running_file());
    http.abort();
    gate.abort();
    let _ = end.send(true);
    let _ = controller.await;
    let state = app.state();
    let mut stops = tokio::task::JoinSet::new();
    for (_, branch) in state.branches() {
        let (app, uid) = (app.clone(), branch.uid.clone());
        stops.spawn(async move {
            if let Err(error) = app.sleep(&uid, Stop::Fast).await {
                app.log.line(&format!("branch {uid}: can't stop PostgreSQL: {}", error.chain()));
            }
        });
    }
    stops.join_all().await;
    app.log.line("ended");
    Ok(())
}

fn listen(port: u16) -> Result<TcpListener> {
    gate::bind((Ipv4Addr::LOCALHOST, port).into()).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::PortTaken, format!("port {port} of 127.0.0.1 is taken by another program"))
                .hint(format!(
                    "choose another one: {}, or set `{}`",
                    embedded_command("start --port PORT"),
                    env_vars::PORT
                ))
        }
        _ => Error::new(ErrorKind::Io, format!("can't listen on 127.0.0.1:{port}")).because(error),
    })
}

/// The port: as asked for, by the setting, as at the last start, or the default.
fn port(options: &Options, env: Lookup<'_>, state: &State) -> Result<u16> {
    if let Some(port) = options.port {
        return Ok(port);
    }
    match env(env_vars::PORT).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|_| {
            Error::new(ErrorKind::Setting, format!("`{}` is not a port: `{text}`", env_vars::PORT))
                .hint("a port is a number from 1 to 65535, or 0 for any free one")
        }),
        None => Ok(state.api_port.unwrap_or(DEFAULT_PORT)),
    }
}

fn skew(env: Lookup<'_>) -> Result<SignedDuration> {
    let Some(text) = env(env_vars::CLOCK_SKEW).filter(|text| !text.is_empty()) else {
        return Ok(SignedDuration::ZERO);
    };
    text.parse().map(SignedDuration::from_secs).map_err(|_| {
        Error::new(
            ErrorKind::Setting,
            format!("`{}` is not a number of seconds: `{text}`", env_vars::CLOCK_SKEW),
        )
    })
}

fn token_ttl(env: Lookup<'_>) -> Result<Option<i64>> {
    let Some(text) = env(env_vars::TOKEN_TTL).filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| (1..=*CREDENTIAL_SECONDS.end()).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::Setting,
            format!("`{}` is not a number of seconds from 1 to 3600: `{text}`", env_vars::TOKEN_TTL),
        )
    })
}

/// The faults of the setting.
fn faults(env: Lookup<'_>) -> Result<Vec<Spec>> {
    let text = env(env_vars::FAULTS).unwrap_or_default();
    let lines = text.split(';').map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            line.parse().map_err(|error: String| {
                Error::new(ErrorKind::Setting, format!("`{}` holds no fault: `{line}`", env_vars::FAULTS))
                    .because(error)
                    .hint(format!("see {}", embedded_command("fault add --help")))
            })
        })
        .collect()
}

/// A session takes two file descriptors; shells give out fewer than many sessions need. Failing that, it is as it was.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // macOS has no number for "unlimited" here and takes this one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(MAX_FILES).max(soft), hard);
    }
}

fn addresses(env: Lookup<'_>) -> Result<Option<Vec<IpAddr>>> {
    let Some(text) = env(env_vars::BIND) else { return Ok(None) };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let addresses: std::result::Result<Vec<IpAddr>, _> = parts.map(str::parse).collect();
    addresses.map(Some).map_err(|_| {
        Error::new(
            ErrorKind::Setting,
            format!("`{}` is not a list of IP addresses: `{text}`", env_vars::BIND),
        )
        .hint("write addresses separated by commas")
    })
}
