//! Off a terminal Docker forwards no signals: it closes a socket that it gave to its plugin. Until Compose
//! takes over, somebody must notice.

use lakebase::env_vars::{DOCKER_PLUGIN_SOCKET, Env};
use lakebase::error::{Error, Kind};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Ends when Docker closed the plugin's socket; never, where there is none.
pub async fn by_docker(env: &Env) -> Error {
    if let Some(mut socket) = env.get(DOCKER_PLUGIN_SOCKET).and_then(connect) {
        let mut byte = [0];
        // Docker sends nothing; an error or the end means that it is gone.
        while matches!(socket.read(&mut byte).await, Ok(1..)) {}
        return Error::new(Kind::Interrupted, "ended by Docker");
    }
    std::future::pending().await
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
