//! Every environment variable that is read or written, one constant each.

use std::collections::BTreeMap;

/// The environment as it was when the program started.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The variable's value; an empty one counts as unset, as Compose and the Databricks SDKs have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Host of the Databricks workspace, with or without `https://`. Unified auth.
pub const DATABRICKS_HOST: &str = "DATABRICKS_HOST";
/// Personal access token. Unified auth.
pub const DATABRICKS_TOKEN: &str = "DATABRICKS_TOKEN";
/// Profile of `~/.databrickscfg`, where the configuration names none. Unified auth.
pub const DATABRICKS_CONFIG_PROFILE: &str = "DATABRICKS_CONFIG_PROFILE";
/// Path of the file that is otherwise `~/.databrickscfg`. Unified auth.
pub const DATABRICKS_CONFIG_FILE: &str = "DATABRICKS_CONFIG_FILE";
/// Path of the Databricks CLI, where it is not `databricks` on PATH. Unified auth.
pub const DATABRICKS_CLI_PATH: &str = "DATABRICKS_CLI_PATH";
/// Variables of unified auth that belong to a source which is not known yet.
pub const DATABRICKS_UNKNOWN: [&str; 3] =
    ["DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "ARM_CLIENT_ID"];
/// The user's home folder.
pub const HOME: &str = "HOME";
/// The user's state folder (XDG Base Directory Specification).
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Docker's configuration folder, where it is not `~/.docker`.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Set by Docker for a plugin that it started; Compose reads it to know that it is one.
pub const DOCKER_PLUGIN_ORIGINAL: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";
/// A socket that Docker closes when the user ended `docker`.
pub const DOCKER_PLUGIN_SOCKET: &str = "DOCKER_CLI_PLUGIN_SOCKET";
/// List of Compose files, split by [`COMPOSE_PATH_SEPARATOR`].
pub const COMPOSE_FILE: &str = "COMPOSE_FILE";
/// Splits [`COMPOSE_FILE`]; `:` where it is unset (on Windows `;`).
pub const COMPOSE_PATH_SEPARATOR: &str = "COMPOSE_PATH_SEPARATOR";
/// Set for Compose where the local database's own container would be called an orphan.
pub const COMPOSE_IGNORE_ORPHANS: &str = "COMPOSE_IGNORE_ORPHANS";
/// The user's shell, for `aliases` without an argument.
pub const SHELL: &str = "SHELL";

/// The connection URL, for the application: what `env`, `run` and the Compose override give it.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// `lakebase/<branch id>`, for the application to show where its rows come from.
pub const DB_SOURCE: &str = "DB_SOURCE";
/// The branch's resource name, `projects/<project>/branches/<branch>`.
pub const LAKEBASE_BRANCH_PATH: &str = "LAKEBASE_BRANCH_PATH";
/// Carries the connection URL to Compose, whose override file names it.
pub const LAKEBASE_DATABASE_URL: &str = "LAKEBASE_DATABASE_URL";
/// Carries [`DB_SOURCE`]'s value to Compose, whose override file names it.
pub const LAKEBASE_DB_SOURCE: &str = "LAKEBASE_DB_SOURCE";

/// For the gateway: `host:port` of the branch's endpoint as its container reaches it.
pub const LAKEBASE_UPSTREAM: &str = "LAKEBASE_UPSTREAM";
/// For the gateway: the database user of the branch.
pub const LAKEBASE_USER: &str = "LAKEBASE_USER";
/// For the gateway: the branch's database. (As a setting it is the configuration's `database`.)
pub const LAKEBASE_DATABASE: &str = "LAKEBASE_DATABASE";
/// For the gateway: the role that sessions start as.
pub const LAKEBASE_ROLE: &str = "LAKEBASE_ROLE";
/// For the gateway: PEM of the certificate authority that signed the endpoint's certificate.
pub const LAKEBASE_CA: &str = "LAKEBASE_CA";
