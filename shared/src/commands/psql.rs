//! `psql`: PostgreSQL's terminal on the branch.

use std::path::Path;

use super::room::Full;
use super::session::{Session, SettingArgs, World, exec_with_login};
use crate::auth::is_loopback_host;
use crate::connection::Connection;
use crate::error::{Error, Kind, Result};
#[cfg(target_os = "linux")]
use crate::secret::Secret;

/// Arguments of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Open the parent branch itself instead; the embedded Lakebase only
    #[arg(long)]
    parent: bool,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    full: Full,
    /// Arguments for psql
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Makes the branch live and becomes psql.
///
/// # Errors
/// Those of the session and of [`Session::live`]; [`Kind::Program`] where psql is missing;
/// [`Kind::Guarded`] for `--parent` on anything but the embedded Lakebase.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let program = which::which("psql").map_err(|error| {
        Error::new(Kind::Program, "`psql` is not installed")
            .because(&error)
            .hint("install PostgreSQL's client: `apt-get install postgresql-client` or `brew install libpq`")
    })?;
    let session = Session { full: args.full, ..Session::open(args.settings, world)? };
    let connection = if args.parent {
        parent(&session).await?
    } else {
        session.connection(&session.live(world.ui).await?)
    };
    Err(become_psql(&program, &args.arguments, &connection))
}

/// Replaces this process by psql with the login. Returns only when that failed.
#[cfg(target_os = "linux")]
fn become_psql(program: &Path, arguments: &[String], connection: &Connection) -> Error {
    use std::os::fd::AsRawFd;

    let Ok(file) = password_file(connection) else {
        // An old kernel, or a sandbox.
        return exec_with_login(program, arguments, &connection.variables());
    };
    let variables = connection.variables().into_iter().map(|(name, value)| match name {
        // Set to nothing and not left out: the user's own would win over the file.
        "PGPASSWORD" => (name, Secret::new("")),
        _ => (name, value),
    });
    let path = Secret::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let variables: Vec<_> = variables.chain([("PGPASSFILE", path)]).collect();
    exec_with_login(program, arguments, &variables)
}

/// A file in memory, without a name, that libpq reads the password from (PostgreSQL documentation, 34.16): the tools that
/// list processes show an environment, and what a program starts inherits it.
#[cfg(target_os = "linux")]
fn password_file(connection: &Connection) -> std::io::Result<std::fs::File> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    // Open across the exec.
    let mut file = std::fs::File::from(memfd_create(c"login", MFdFlags::empty())?);
    // libpq takes no password from a file that others may read.
    file.set_permissions(PermissionsExt::from_mode(0o600))?;
    let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let (host, user) = (escape(&connection.host), escape(&connection.user));
    writeln!(file, "{host}:{}:*:{user}:{}", connection.port, escape(connection.password.expose()))?;
    Ok(file)
}

/// The same where there is no such file.
#[cfg(not(target_os = "linux"))]
fn become_psql(program: &Path, arguments: &[String], connection: &Connection) -> Error {
    exec_with_login(program, arguments, &connection.variables())
}

/// A login to the parent. In a workspace the parent is production, which this tool never hands out; the
/// embedded Lakebase's production has to be filled somehow.
async fn parent(session: &Session) -> Result<Connection> {
    let guarded = |host: &str| {
        Error::new(Kind::Guarded, "`--parent` is for the embedded Lakebase only")
            .because_of(format!("`{}` is on {host}", session.target.parent))
            .hint("leave `--parent` out to work on your own copy")
    };
    if !session.auth.is_loopback() {
        return Err(guarded(&session.auth.host));
    }
    let client = session.client().await?;
    let path = &session.target.parent;
    let doing = format!("reading branch {}", path.branch);
    let (endpoint, user) = tokio::join!(client.endpoint(path), client.me());
    let endpoint = endpoint.map_err(|error| error.into_error(&doing))?;
    let endpoint = endpoint
        .ok_or_else(|| Error::new(Kind::NoBranch, format!("branch {} takes no logins yet", path.branch)))?;
    // The API's address alone proves little: it may be a tunnel to a workspace.
    if !is_loopback_host(&endpoint.host) {
        return Err(guarded(&endpoint.host));
    }
    let credential = client.credential(&endpoint.name).await.map_err(|error| error.into_error(&doing))?;
    Ok(Connection {
        host: endpoint.host,
        port: endpoint.port,
        user: user.map_err(|error| error.into_error(&doing))?,
        password: credential.token,
        database: session.project.settings.database().to_owned(),
        role: None,
        tls: true,
    })
}
