//! The Lakebase REST API: one async method per call that the pipe needs.
//!
//! Routes, fields and messages are those of the official Python SDK (`databricks.sdk.service.postgres`).

mod error;
mod wait;
mod wire;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub use self::error::ApiError;
pub use self::wait::{Deadline, Pause};
use crate::auth::Auth;
use crate::branch::ResourceId;
use crate::error::{Error, Kind};
use crate::secret::Secret;

const ROOT: &str = "/api/2.0/postgres";
const USER_AGENT: &str = concat!("lakebase-compose/", env!("CARGO_PKG_VERSION"));
/// One call may take this long before it counts as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The port of every Lakebase endpoint that names none.
const POSTGRES_PORT: u16 = 5432;

/// A result of one call.
pub type ApiResult<T> = std::result::Result<T, ApiError>;

/// A client for one workspace.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    auth: Auth,
    /// Fetched once: the Databricks CLI takes long to answer.
    token: Secret,
}

/// `projects/{p}/branches/{b}`, made of ids that are safe in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchPath {
    /// The project's id.
    pub project: ResourceId,
    /// The branch's id.
    pub branch: ResourceId,
}

impl std::fmt::Display for BranchPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "projects/{}/branches/{}", self.project, self.branch)
    }
}

/// A project's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its `uid`, which is not its id.
    pub uid: String,
}

/// A branch's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its resource name.
    pub name: String,
    /// `INIT`, `READY`, `RESETTING`, `IMPORTING`, `ARCHIVED` or `DELETED`.
    pub state: String,
    /// Whether it is the project's default branch.
    pub default: bool,
    /// Whether it is protected.
    pub protected: bool,
    /// When it goes by itself.
    pub expires: Option<Timestamp>,
    /// The resource name of the branch that it is a copy of; a root branch has none.
    pub parent: Option<String>,
    /// The moment of the parent that it shows; where the API gives none, when it was made.
    pub forked: Option<Timestamp>,
    /// Logical size in bytes.
    pub size: Option<i64>,
}

/// The read-write endpoint of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its resource name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `INIT`, `ACTIVE`, `IDLE` or `DEGRADED`; IDLE wakes when somebody connects.
    pub state: String,
}

/// A token for the database login.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The password.
    pub token: Secret,
    /// Until when a login with it is accepted.
    pub expires: Timestamp,
}

impl Client {
    /// A client that speaks to `auth`'s workspace.
    ///
    /// # Errors
    /// [`Kind::NoCredential`] where no token can be had.
    pub async fn new(auth: Auth) -> Result<Self, Error> {
        // reqwest is built without a TLS provider of its own; a second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(CALL_TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none());
        if auth.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Error::new(Kind::Unreachable, "no HTTP client could be made").because(&error))?;
        let token = auth.token().await?;
        Ok(Self { http, auth, token })
    }

    /// The workspace.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The identity behind the token: the user to log in as.
    ///
    /// # Errors
    /// [`ApiError`], as for every call here.
    pub async fn me(&self) -> ApiResult<String> {
        let me: wire::Me = self.send(Method::GET, "/api/2.0/preview/scim/v2/Me", &[], NO_BODY).await?;
        Ok(me.user_name)
    }

    /// A project.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn project(&self, project: &ResourceId) -> ApiResult<Project> {
        let found: wire::Project = self.get(&format!("projects/{project}"), &[]).await?;
        Ok(Project { uid: found.uid })
    }

    /// Makes a project and waits until the operation is done.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn create_project(&self, project: &ResourceId, until: Deadline) -> ApiResult<()> {
        let body = json!({"spec": {"display_name": project.as_str()}});
        self.operate(Method::POST, "projects", &[("project_id", project.as_str())], Some(&body), until).await
    }

    /// A branch.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn branch(&self, path: &BranchPath) -> ApiResult<Branch> {
        let found: wire::Branch = self.get(&path.to_string(), &[]).await?;
        Ok(Branch {
            name: found.name,
            state: found.status.current_state,
            default: found.status.default,
            protected: found.status.is_protected,
            expires: found.status.expire_time,
            parent: found.status.source_branch,
            forked: found.status.source_branch_time.or(found.create_time),
            size: found.status.logical_size_bytes,
        })
    }

    /// Makes `path` a copy of `parent` that lives for `ttl`, and waits until the operation is done.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn create_branch(
        &self,
        path: &BranchPath,
        parent: &BranchPath,
        ttl: SignedDuration,
        until: Deadline,
    ) -> ApiResult<()> {
        let body =
            json!({"spec": {"source_branch": parent.to_string(), "ttl": format!("{}s", ttl.as_secs())}});
        let query = [("branch_id", path.branch.as_str())];
        let route = format!("projects/{}/branches", path.project);
        self.operate(Method::POST, &route, &query, Some(&body), until).await
    }

    /// Sets the moment at which a branch goes by itself. (`ttl` counts from creation, so only a moment
    /// extends.)
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn extend_branch(&self, path: &BranchPath, expires: Timestamp) -> ApiResult<()> {
        let body = json!({"name": path.to_string(), "spec": {"expire_time": expires.to_string()}});
        let query = [("update_mask", "spec.expiration")];
        let _: wire::Operation =
            self.send(Method::PATCH, &route(&path.to_string()), &query, Some(&body)).await?;
        Ok(())
    }

    /// Deletes a branch for good, without waiting.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn delete_branch(&self, path: &BranchPath) -> ApiResult<()> {
        let _: wire::Operation =
            self.send(Method::DELETE, &route(&path.to_string()), &[("purge", "true")], NO_BODY).await?;
        Ok(())
    }

    /// The read-write endpoint of a branch; `None` where it has none yet.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn endpoint(&self, path: &BranchPath) -> ApiResult<Option<Endpoint>> {
        let mut page = String::new();
        loop {
            let found: wire::Endpoints = self.get(&format!("{path}/endpoints"), &paged(&page)).await?;
            let writable = |endpoint: &wire::Endpoint| {
                endpoint.status.endpoint_type == "ENDPOINT_TYPE_READ_WRITE" && !endpoint.status.disabled
            };
            if let Some(endpoint) = found.endpoints.into_iter().find(writable) {
                return Ok(host_and_port(&endpoint.status.hosts.host).map(|(host, port)| Endpoint {
                    name: endpoint.name,
                    host,
                    port,
                    state: endpoint.status.current_state,
                }));
            }
            match found.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => page = next,
                None => return Ok(None),
            }
        }
    }

    /// The names of a branch's databases in PostgreSQL.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn databases(&self, path: &BranchPath) -> ApiResult<Vec<String>> {
        let (mut page, mut all) = (String::new(), Vec::new());
        loop {
            let found: wire::Databases = self.get(&format!("{path}/databases"), &paged(&page)).await?;
            all.extend(found.databases.into_iter().map(|database| database.status.postgres_database));
            match found.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => page = next,
                None => return Ok(all),
            }
        }
    }

    /// The resource name of the role that is `postgres_role` in PostgreSQL.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn role_of(&self, path: &BranchPath, postgres_role: &str) -> ApiResult<Option<String>> {
        let mut page = String::new();
        loop {
            let found: wire::Roles = self.get(&format!("{path}/roles"), &paged(&page)).await?;
            let mut roles = found.roles.into_iter();
            if let Some(role) = roles.find(|role| role.status.postgres_role == postgres_role) {
                return Ok(Some(role.name));
            }
            match found.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => page = next,
                None => return Ok(None),
            }
        }
    }

    /// Makes a database that the role with the resource name `owner` owns, and waits.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn create_database(
        &self,
        path: &BranchPath,
        id: &ResourceId,
        postgres_database: &str,
        owner: &str,
        until: Deadline,
    ) -> ApiResult<()> {
        let body = json!({"spec": {"postgres_database": postgres_database, "role": owner}});
        let route = format!("{path}/databases");
        self.operate(Method::POST, &route, &[("database_id", id.as_str())], Some(&body), until).await
    }

    /// Mints a token for logins at `endpoint` (a resource name).
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn credential(&self, endpoint: &str) -> ApiResult<Credential> {
        let body = wire::CredentialRequest { endpoint };
        let minted: wire::Credential =
            self.send(Method::POST, &route("credentials"), &[], Some(&body)).await?;
        Ok(Credential { token: Secret::new(minted.token), expires: minted.expire_time })
    }

    async fn get<T: DeserializeOwned>(&self, resource: &str, query: &[(&str, &str)]) -> ApiResult<T> {
        self.send(Method::GET, &route(resource), query, NO_BODY).await
    }

    /// Sends a call that answers an operation, and waits until that is done.
    async fn operate(
        &self,
        method: Method,
        resource: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
        until: Deadline,
    ) -> ApiResult<()> {
        let mut operation: wire::Operation = self.send(method, &route(resource), query, body).await?;
        let mut pause = wait::Pause::new(until);
        while !operation.done {
            pause.wait().await?;
            operation = self.get(&operation.name, &[]).await?;
        }
        match operation.error {
            None => Ok(()),
            Some(error) => Err(ApiError::Refused {
                status: StatusCode::OK,
                code: error.error_code.as_str().unwrap_or_default().to_owned(),
                message: error.message,
                retry_after: None,
            }),
        }
    }

    /// One call; a call that may be repeated is, when it failed for the moment.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> ApiResult<T> {
        let repeatable = method != Method::POST || path.ends_with("/credentials");
        let mut retries = wait::Retries::new();
        loop {
            match self.send_once(method.clone(), path, query, body).await {
                Err(error) if repeatable && error.is_transient() => retries.wait(error).await?,
                answer => return answer,
            }
        }
    }

    async fn send_once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> ApiResult<T> {
        let transport = |error: reqwest::Error| ApiError::Transport {
            sent: !error.is_connect() && !error.is_builder(),
            why: Error::new(Kind::Unreachable, "").because(&error.without_url()).causes.join(": "),
        };
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.auth.host))
            .bearer_auth(self.token.expose())
            .query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let bytes = answer.bytes().await.map_err(transport)?;
        if !status.is_success() {
            return Err(ApiError::read(status, retry_after, &bytes));
        }
        // Not the parser's message: it could quote a part of the answer, which may hold a token.
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Transport {
            sent: true,
            why: format!("the answer to {path} is not what the API gives (at byte {})", error.column()),
        })
    }
}

const NO_BODY: Option<&()> = None;

fn route(resource: &str) -> String {
    format!("{ROOT}/{resource}")
}

fn paged(token: &str) -> Vec<(&str, &str)> {
    if token.is_empty() { Vec::new() } else { vec![("page_token", token)] }
}

/// `host`, or `host:port` as the embedded Lakebase writes it. `None` while the endpoint has no host yet.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let inert = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, POSTGRES_PORT),
    };
    (!host.is_empty() && host.chars().all(inert)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_carry_its_port_and_nothing_else() {
        assert_eq!(
            host_and_port("ep-1.database.example.com"),
            Some(("ep-1.database.example.com".into(), 5432))
        );
        assert_eq!(host_and_port("127.0.0.1:15432"), Some(("127.0.0.1".into(), 15432)));
        for bad in ["", ":5432", "host:port", "a b", "evil\n", "user@host", "host/db"] {
            assert_eq!(host_and_port(bad), None, "{bad:?}");
        }
    }
}
