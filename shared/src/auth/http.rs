//! The HTTP client for the workspace, which its OAuth and its API share.

use std::time::Duration;

use crate::error::{Error, Kind, Result};

const USER_AGENT: &str = concat!("lakebase-compose/", env!("CARGO_PKG_VERSION"));
/// One call may take this long before it counts as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that verifies TLS and follows no redirect.
pub(super) fn client(to_this_machine: bool) -> Result<reqwest::Client> {
    // reqwest is built without a TLS provider of its own; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(CALL_TIMEOUT)
        .connect_timeout(Duration::from_secs(10))
        // A redirect could carry the token to another host.
        .redirect(reqwest::redirect::Policy::none());
    if to_this_machine {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| Error::new(Kind::Unreachable, "no HTTP client could be made").because(&error))
}
