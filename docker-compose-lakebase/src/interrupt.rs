//! Off a terminal Docker forwards no signals: it closes a socket that it gave to its plugin. Until Compose
//! takes over, somebody must notice.

use lakebase::env_vars::{DOCKER_PLUGIN_SOCKET, Env};
use lakebase::error::{Error, Kind};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

/// Docker's word. What was heard once stays heard: nobody can connect to a socket that is closed.
#[derive(Clone)]
pub struct Docker(watch::Receiver<bool>);

impl Docker {
    /// Listens from now on, in the background.
    pub fn heard(env: &Env) -> Self {
        let (say, heard) = watch::channel(false);
        if let Some(mut socket) = env.get(DOCKER_PLUGIN_SOCKET).and_then(connect) {
            tokio::spawn(async move {
                let mut byte = [0];
                // Docker sends nothing; an error or the end means that it is gone.
                while matches!(socket.read(&mut byte).await, Ok(1..)) {}
                say.send_replace(true);
            });
        }
        Self(heard)
    }

    /// Ends when Docker closed the plugin's socket; never, where there is none.
    pub async fn ended(&self) -> Error {
        match self.0.clone().wait_for(|is_closed| *is_closed).await {
            Ok(_) => Error::new(Kind::Interrupted, "ended by Docker"),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Docker names an abstract socket with `@` on Linux, a path elsewhere (`cli-plugins/socket`).
fn connect(name: &str) -> Option<UnixStream> {
    #[cfg(target_os = "linux")]
    let address = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(name.strip_prefix('@')?).ok()?
    };
    #[cfg(not(target_os = "linux"))]
    let address = std::os::unix::net::SocketAddr::from_pathname(name).ok()?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address).ok()?;
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}
