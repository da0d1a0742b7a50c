//! The agent: one background process per user that mints logins for the gateways of running projects and hands
//! them over through Docker's own API, so that no container ever holds a workspace credential.
//!
//! `up` starts it where it does not run, and registers its project on the agent's socket; so do the commands that
//! bring a container back. What it needs to know of a project is kept in a file without any secret, for the next
//! agent. It ends when no project needs it: it was taken down, no gateway has been running for a while, or its branch
//! is gone.

mod feed;
mod kept;
mod line;
mod mint;
mod register;
mod serve;

use std::path::{Path, PathBuf};

use lakebase::auth::Way;
use lakebase::env_vars::Env;
use lakebase::secret::Secret;
use lakebase::ui::Ui;
use serde::{Deserialize, Serialize};

pub use mint::embedded;
pub use register::{forget, knows, process, register, stop};
pub use serve::serve;

/// What stands between two programs that understand each other.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where `ssh` finds its keys, for an engine that is reached by it: another in each of the user's sessions.
pub const SSH_AGENT: &str = "SSH_AUTH_SOCK";

/// A project whose gateway wants logins. It may be written down: it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// How to call Docker for this project's engine.
    docker: Docker,
    /// The Compose project's name.
    name: String,
    /// The service in whose seat the gateway is.
    service: String,
    /// Resource name of the endpoint that logins are minted for.
    endpoint: String,
    /// The way to an API token.
    way: Way,
    /// The `uid` of the one branch that may be opened, where a new one of its name has to be masked first.
    #[serde(default)]
    only: Option<String>,
}

/// What is said on the agent's socket, which is for the user alone.
#[derive(Serialize, Deserialize)]
struct Call {
    /// The version of the program that calls.
    version: String,
    wish: Wish,
}

#[derive(Serialize, Deserialize)]
enum Wish {
    /// Serve this project, in the place of what is known of it.
    Serve(Box<Registration>),
    /// Is the project of this key served, with logins for this endpoint?
    Know { key: String, endpoint: String },
    /// The project of this key is being taken down.
    Forget { key: String },
}

impl Wish {
    /// Whether whoever wishes it needs no agent, so that one of another version need not make room for theirs.
    fn is_last(&self) -> bool {
        matches!(self, Self::Forget { .. })
    }
}

/// Where a gateway is, and what it wants logins for.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The Compose project's name.
    pub project: &'a str,
    /// The service that it stands for.
    pub service: &'a str,
    /// Resource name of the branch's endpoint.
    pub endpoint: &'a str,
    /// The branch's `uid`, where no other one of its name will do.
    pub only: Option<&'a str>,
}

/// A project on its way to the agent.
#[derive(Serialize, Deserialize)]
pub struct Registration {
    project: Project,
    /// The API token, where nothing but the caller's environment holds it. Never written anywhere.
    token: Option<String>,
}

/// A way to call Docker: the program, its flags, and the variables that choose the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// The `docker` program.
    pub program: PathBuf,
    /// Docker's own flags of the call.
    pub flags: Vec<String>,
    /// `DOCKER_HOST` and the like.
    pub variables: Vec<(String, String)>,
    /// The folder of the call, which relative places in the flags and variables are of.
    pub folder: PathBuf,
}

impl Docker {
    /// The variables that choose the engine, and say where things for the way to it are.
    pub const VARIABLES: [&str; 7] = [
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "DOCKER_CERT_PATH",
        "DOCKER_TLS_VERIFY",
        "HOME",
        SSH_AGENT,
    ];

    /// What tells a project on this engine from all others.
    fn key(&self, project: &str) -> String {
        let engine: Vec<_> = self.variables.iter().filter(|(name, _)| name != SSH_AGENT).collect();
        format!("{:?} {engine:?} {project}", self.flags)
    }
}

impl Registration {
    /// A project's wish, with the way to its credential and the secret that the way needs.
    pub fn new(docker: Docker, place: Place<'_>, (way, token): (Way, Option<Secret>)) -> Self {
        let Place { project, service, endpoint, only } = place;
        let only = only.map(str::to_owned);
        let (name, service, endpoint) = (project.to_owned(), service.to_owned(), endpoint.to_owned());
        Self {
            project: Project { docker, name, service, endpoint, way, only },
            token: token.map(|token| token.expose().to_owned()),
        }
    }

    /// What may be written down, and what may not.
    fn open(self) -> (Project, Option<Secret>) {
        (self.project, self.token.map(Secret::new))
    }
}

impl Project {
    /// Two registrations of one project on one engine have the same.
    fn key(&self) -> String {
        self.docker.key(&self.name)
    }
}

/// The agent's folder: `$XDG_RUNTIME_DIR/lakebase`, else `~/.local/state/lakebase/agent`.
fn folder(env: &Env) -> Option<PathBuf> {
    // A relative one counts for nothing (XDG Base Directory Specification), and would be another one for each process.
    let runtime = env.get("XDG_RUNTIME_DIR").map(Path::new).filter(|folder| folder.is_absolute());
    let runtime = runtime.map(|folder| folder.join("lakebase"));
    runtime.or_else(|| Some(Path::new(env.get("HOME")?).join(".local/state/lakebase/agent")))
}

/// A line for the agent's log, which its stderr is.
fn warn(line: &str) {
    Ui::of_process().warn(line);
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}
