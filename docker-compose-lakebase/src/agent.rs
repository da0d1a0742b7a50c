//! The agent: one background process per user that mints logins for the gateways of running projects and hands
//! them over through Docker's own API, so that no container ever holds a workspace credential.
//!
//! `up` starts it where it does not run, and registers its project on the agent's socket. The agent ends when no
//! gateway has been running for a while.

mod feed;
mod register;
mod serve;

use std::path::{Path, PathBuf};

use lakebase::auth::HandedOver;
use lakebase::env_vars::Env;
use serde::{Deserialize, Serialize};

pub use register::{register, stop};
pub use serve::serve;

/// What stands between two programs that understand each other.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A project whose gateway wants logins. It crosses the agent's socket, which is for the user alone, and is
/// never written anywhere.
#[derive(Serialize, Deserialize)]
pub struct Registration {
    /// The version of the program that registers.
    version: String,
    /// How to call Docker for this project's engine.
    docker: Docker,
    /// The Compose project.
    project: String,
    /// Resource name of the endpoint that logins are minted for.
    endpoint: String,
    /// The way to an API token.
    auth: HandedOver,
}

/// A way to call Docker: the program, its flags, and the variables that choose the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Docker {
    /// The `docker` program.
    pub program: PathBuf,
    /// Docker's own flags of the call.
    pub flags: Vec<String>,
    /// `DOCKER_HOST` and the like.
    pub variables: Vec<(String, String)>,
}

impl Registration {
    /// A project's wish.
    pub fn new(docker: Docker, project: &str, endpoint: &str, auth: HandedOver) -> Self {
        Self {
            version: VERSION.to_owned(),
            docker,
            project: project.to_owned(),
            endpoint: endpoint.to_owned(),
            auth,
        }
    }
}

/// The agent's folder: `$XDG_RUNTIME_DIR/lakebase`, else `~/.local/state/lakebase/agent`.
fn folder(env: &Env) -> Option<PathBuf> {
    let runtime = env.get("XDG_RUNTIME_DIR").map(|folder| Path::new(folder).join("lakebase"));
    runtime.or_else(|| Some(Path::new(env.get("HOME")?).join(".local/state/lakebase/agent")))
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}
