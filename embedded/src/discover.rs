//! Finding the running server.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, embedded_command};
use crate::home::{Home, Lookup};
use crate::{certificate, tokens};

/// What a client needs to talk to the embedded Lakebase.
#[derive(Clone)]
pub struct Workspace {
    /// `http://127.0.0.1:PORT`, the value of `DATABRICKS_HOST`.
    pub host: String,
    /// The bearer token, the value of `DATABRICKS_TOKEN`. A secret.
    pub token: String,
    /// The endpoints' certificate, PEM, to be trusted for them: valid for `127.0.0.1`, `localhost` and
    /// `host.docker.internal`. No secret.
    pub ca: String,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("host", &self.host).field("token", &"****").finish_non_exhaustive()
    }
}

/// That no server runs.
pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "the embedded Lakebase is not running")
        .hint(format!("start it with {}", embedded_command("start")))
}

/// Finds the running server: its lock is held and its port answers. Takes a millisecond or so.
pub fn discover(env: Lookup<'_>) -> Result<Workspace> {
    let home = Home::locate(env)?;
    let running = home.running().ok_or_else(stopped)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, running.port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500))
        .map_err(|error| stopped().because(error))?;
    let host = format!("http://127.0.0.1:{}", running.port);
    Ok(Workspace { host, token: tokens::read_bearer(&home)?, ca: certificate::read(&home)? })
}
