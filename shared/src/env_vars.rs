//! The environment variables that are read or written, one constant each. What one module of a face alone reads stands there.

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
/// Chooses where several credentials are set, such as `pat` or `oauth-m2m`. Unified auth.
pub const DATABRICKS_AUTH_TYPE: &str = "DATABRICKS_AUTH_TYPE";
/// Application id of a service principal. Unified auth.
pub const DATABRICKS_CLIENT_ID: &str = "DATABRICKS_CLIENT_ID";
/// OAuth secret of a service principal. Unified auth.
pub const DATABRICKS_CLIENT_SECRET: &str = "DATABRICKS_CLIENT_SECRET";
/// Audience of the token that GitHub signs, where it is not the workspace's own. Unified auth.
pub const DATABRICKS_TOKEN_AUDIENCE: &str = "DATABRICKS_TOKEN_AUDIENCE";
/// Variables of unified auth that belong to sources which are not known here, with the key of a profile and the name of
/// the source. One of them must not be passed over: it would have been another identity.
pub const DATABRICKS_UNKNOWN: [(&str, &str, &str); 14] = [
    ("DATABRICKS_USERNAME", "username", "basic"),
    ("DATABRICKS_PASSWORD", "password", "basic"),
    ("ARM_CLIENT_ID", "azure_client_id", "azure"),
    ("ARM_CLIENT_SECRET", "azure_client_secret", "azure"),
    ("ARM_TENANT_ID", "azure_tenant_id", "azure"),
    ("ARM_USE_MSI", "azure_use_msi", "azure"),
    ("DATABRICKS_AZURE_RESOURCE_ID", "azure_workspace_resource_id", "azure"),
    ("DATABRICKS_GOOGLE_SERVICE_ACCOUNT", "google_service_account", "google"),
    ("GOOGLE_CREDENTIALS", "google_credentials", "google"),
    ("DATABRICKS_OIDC_TOKEN", "oidc_token", "env-oidc"),
    ("DATABRICKS_OIDC_TOKEN_ENV", "oidc_token_env", "env-oidc"),
    ("DATABRICKS_OIDC_TOKEN_FILEPATH", "oidc_token_filepath", "file-oidc"),
    // An older spelling of the one before.
    ("DATABRICKS_OIDC_TOKEN_FILE", "oidc_token_file", "file-oidc"),
    ("DATABRICKS_METADATA_SERVICE_URL", "metadata_service_url", "metadata-service"),
];
/// Where a job of GitHub Actions asks for a token of its own; set where it has the permission `id-token: write`.
pub const ACTIONS_ID_TOKEN_REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// What it asks with.
pub const ACTIONS_ID_TOKEN_REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// The variables of unified auth that hold a secret, or may.
pub fn databricks_secrets() -> impl Iterator<Item = &'static str> {
    let known = [DATABRICKS_TOKEN, DATABRICKS_CLIENT_SECRET, ACTIONS_ID_TOKEN_REQUEST_TOKEN];
    known.into_iter().chain(DATABRICKS_UNKNOWN.into_iter().map(|(variable, _, _)| variable))
}
/// The Azure CLI's folder, where it is not `~/.azure`.
pub const AZURE_CONFIG_DIR: &str = "AZURE_CONFIG_DIR";
/// Where programs are searched.
pub const PATH: &str = "PATH";
/// Set by most CI services.
pub const CI: &str = "CI";
/// The file that a step of GitHub Actions adds its summary to, in Markdown.
pub const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
/// CI services: the variable that tells one, and those that name the branch its job works on, the best first (the source
/// of a pull request before what it was merged into for the test).
pub const CI_SERVICES: [(&str, &[&str]); 8] = [
    ("GITHUB_ACTIONS", &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"]),
    ("GITLAB_CI", &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"]),
    ("BITBUCKET_BUILD_NUMBER", &["BITBUCKET_BRANCH"]),
    ("BUILDKITE", &["BUILDKITE_BRANCH"]),
    ("CIRCLECI", &["CIRCLE_BRANCH"]),
    ("TRAVIS", &["TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"]),
    ("TF_BUILD", &["SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"]),
    ("JENKINS_URL", &["CHANGE_BRANCH", "GIT_BRANCH"]),
];
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
/// `1` lets a gateway tell what its sessions do, to `check`.
pub const LAKEBASE_TAP: &str = "LAKEBASE_TAP";
/// For the gateway: the database user of the branch.
pub const LAKEBASE_USER: &str = "LAKEBASE_USER";
/// For the gateway: the branch's database. (As a setting it is the configuration's `database`.)
pub const LAKEBASE_DATABASE: &str = "LAKEBASE_DATABASE";
/// For the gateway: the role that sessions start as.
pub const LAKEBASE_ROLE: &str = "LAKEBASE_ROLE";
/// For the gateway: PEM of the certificate authority that signed the endpoint's certificate.
pub const LAKEBASE_CA: &str = "LAKEBASE_CA";
