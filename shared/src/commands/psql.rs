//! `psql`: PostgreSQL's terminal on the branch.

use super::session::{Session, SettingArgs, World, exec_with_login};
use crate::auth::is_loopback_host;
use crate::connection::Connection;
use crate::error::{Error, Kind, Result};

/// Arguments of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Open the parent branch itself instead; the embedded Lakebase only
    #[arg(long)]
    parent: bool,
    #[command(flatten)]
    settings: SettingArgs,
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
    let session = Session::open(args.settings, world)?;
    let connection = if args.parent {
        parent(&session).await?
    } else {
        session.connection(&session.live(world.ui).await?)
    };
    Err(exec_with_login(&program, &args.arguments, &connection.variables()))
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
    })
}
