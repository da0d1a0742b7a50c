//! The Lakebase REST API: one async method per call that the pipe needs.
//!
//! Routes, fields and messages are those of the official Python SDK (`databricks.sdk.service.postgres`).

mod error;
mod facts;
mod probe;
mod transport;
mod wait;
mod wire;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

pub use self::error::ApiError;
pub use self::facts::{Branch, BranchPath, Credential, Endpoint, Project, Role};
pub use self::probe::Probe;
use self::transport::{ME, NO_BODY};
pub use self::wait::{Deadline, Pause};
use crate::auth::Auth;
use crate::branch::ResourceId;
use crate::error::Error;
use crate::secret::Secret;

/// The port of every Lakebase endpoint that names none.
const POSTGRES_PORT: u16 = 5432;

/// `auth_method` of a role that logs in with a password of its own.
const NATIVE: &str = "PG_PASSWORD_SCRAM_SHA_256";

/// A result of one call.
pub type ApiResult<T> = std::result::Result<T, ApiError>;

/// A client for one workspace.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Keeps the token and renews it.
    auth: Auth,
}

impl Client {
    /// A client that speaks to `auth`'s workspace.
    ///
    /// # Errors
    /// Those of [`Auth::token`], where none can be had.
    pub async fn new(auth: Auth) -> Result<Self, Error> {
        let http = auth.http()?;
        // What is wrong with the credential shows before anything is asked with it.
        auth.token().await?;
        Ok(Self { http, auth })
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
        let me: wire::Me = self.send(Method::GET, ME, &[], NO_BODY).await?;
        printable(me.user_name, "the user's name")
    }

    /// A project.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn project(&self, project: &ResourceId) -> ApiResult<Project> {
        let found: wire::Project = self.get(&format!("projects/{project}"), &[]).await?;
        // It is written into a file that a shell may source.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if found.uid.is_empty() || found.uid.len() > 64 || !found.uid.chars().all(plain) {
            return Err(unreadable("the project's uid has characters that a uid never has"));
        }
        let retention = found.status.history_retention_duration.as_deref().and_then(seconds);
        Ok(Project { uid: found.uid, native_login: found.status.enable_pg_native_login, retention })
    }

    /// Makes a project and waits until the operation is done.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn create_project(&self, project: &ResourceId, until: Deadline) -> ApiResult<()> {
        let body = json!({"spec": {"display_name": project.as_str()}});
        let query = [("project_id", project.as_str())];
        self.create("projects", &query, &body, &format!("projects/{project}"), until).await
    }

    /// A branch.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn branch(&self, path: &BranchPath) -> ApiResult<Branch> {
        let found: wire::Branch = self.get(&path.to_string(), &[]).await?;
        Ok(found.into())
    }

    /// Every branch of a project.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn branches(&self, project: &ResourceId) -> ApiResult<Vec<Branch>> {
        let all: Vec<wire::Branch> = self
            .pages(&format!("projects/{project}/branches"), |page: wire::Branches| {
                (page.branches, page.next_page_token)
            })
            .await?;
        Ok(all.into_iter().map(Branch::from).collect())
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
        let list = format!("projects/{}/branches", path.project);
        self.create(&list, &query, &body, &path.to_string(), until).await
    }

    /// Sets the moment at which a branch goes by itself. (`ttl` counts from creation, so only a moment
    /// extends.)
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn extend_branch(&self, path: &BranchPath, expires: Timestamp) -> ApiResult<()> {
        let body = json!({"name": path.to_string(), "spec": {"expire_time": expires.to_string()}});
        let query = [("update_mask", "spec.expiration")];
        self.start(Method::PATCH, &path.to_string(), &query, Some(&body)).await.map(drop)
    }

    /// Deletes a branch for good, without waiting.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn delete_branch(&self, path: &BranchPath) -> ApiResult<()> {
        self.start(Method::DELETE, &path.to_string(), &[("purge", "true")], None).await.map(drop)
    }

    /// The read-write endpoint of a branch; `None` where it has none yet.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn endpoint(&self, path: &BranchPath) -> ApiResult<Option<Endpoint>> {
        let all: Vec<wire::Endpoint> = self
            .pages(&format!("{path}/endpoints"), |page: wire::Endpoints| {
                (page.endpoints, page.next_page_token)
            })
            .await?;
        let writable =
            |endpoint: &wire::Endpoint| endpoint.status.endpoint_type == "ENDPOINT_TYPE_READ_WRITE";
        let Some(endpoint) = all.into_iter().find(writable) else { return Ok(None) };
        let host = endpoint.status.hosts.host;
        if host.is_empty() {
            return Ok(None);
        }
        let (host, port) =
            host_and_port(&host).ok_or_else(|| unreadable("the endpoint's host is no host name"))?;
        let state = endpoint.status.current_state;
        Ok(Some(Endpoint { name: endpoint.name, host, port, state, disabled: endpoint.status.disabled }))
    }

    /// The names of a branch's databases in PostgreSQL.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn databases(&self, path: &BranchPath) -> ApiResult<Vec<String>> {
        let all: Vec<wire::Database> = self
            .pages(&format!("{path}/databases"), |page: wire::Databases| {
                (page.databases, page.next_page_token)
            })
            .await?;
        Ok(all.into_iter().map(|database| database.status.postgres_database).collect())
    }

    /// The role that is `postgres_role` in PostgreSQL.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn role(&self, path: &BranchPath, postgres_role: &str) -> ApiResult<Option<Role>> {
        let all: Vec<wire::Role> = self
            .pages(&format!("{path}/roles"), |page: wire::Roles| (page.roles, page.next_page_token))
            .await?;
        let role = all.into_iter().find(|role| role.status.postgres_role == postgres_role);
        Ok(role.map(|role| Role { name: role.name, native: role.status.auth_method == NATIVE }))
    }

    /// The password of a native role, by its resource name.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn native_password(&self, role: &str) -> ApiResult<Secret> {
        if !transport::is_inert(role) {
            return Err(unreadable("the role's name is not what the API gives"));
        }
        let revealed: wire::RolePassword =
            self.send(Method::POST, &format!("{role}/password"), &[], NO_BODY).await?;
        Ok(Secret::new(printable(revealed.password, "the role's password")?))
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
        let list = format!("{path}/databases");
        self.create(&list, &[("database_id", id.as_str())], &body, &format!("{list}/{id}"), until).await
    }

    /// Mints a token for logins at `endpoint` (a resource name).
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn credential(&self, endpoint: &str) -> ApiResult<Credential> {
        let body = wire::CredentialRequest { endpoint };
        let minted: wire::Credential = self.send(Method::POST, "credentials", &[], Some(&body)).await?;
        Ok(Credential {
            token: Secret::new(printable(minted.token, "the token")?),
            expires: minted.expire_time,
        })
    }
}

/// An answer that can't be used.
fn unreadable(why: &str) -> ApiError {
    ApiError::Transport { sent: true, why: why.to_owned() }
}

/// A text that goes into files and variables, where a control character would start something else.
fn printable(text: String, what: &str) -> ApiResult<String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(unreadable(&format!("{what} is empty or has control characters")));
    }
    Ok(text)
}

/// A duration as the API writes it, such as `604800s`.
fn seconds(text: &str) -> Option<SignedDuration> {
    text.strip_suffix('s')?.parse().ok().map(SignedDuration::from_secs)
}

/// `host`, or `host:port` as the embedded Lakebase writes it.
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
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// An answer with the API's field names, in which anything may be anywhere.
    fn answers() -> impl Strategy<Value = Value> {
        let key = proptest::sample::select(vec![
            "name",
            "uid",
            "status",
            "done",
            "error",
            "error_code",
            "message",
            "current_state",
            "pending_state",
            "default",
            "is_protected",
            "expire_time",
            "source_branch",
            "source_branch_time",
            "create_time",
            "logical_size_bytes",
            "hosts",
            "host",
            "endpoint_type",
            "disabled",
            "branches",
            "endpoints",
            "databases",
            "roles",
            "next_page_token",
            "token",
            "password",
            "userName",
            "postgres_role",
            "auth_method",
            "history_retention_duration",
            "enable_pg_native_login",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(Value::from("ENDPOINT_TYPE_READ_WRITE")),
            Just(Value::from("2026-01-01T00:00:00Z")),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::hash_map(key.clone(), inner, 0..8).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(answer in answers()) {
            let text = answer.to_string();
            let _ = serde_json::from_str::<wire::Branch>(&text).map(Branch::from);
            let _ = serde_json::from_str::<wire::Branches>(&text);
            let _ = serde_json::from_str::<wire::Endpoints>(&text);
            let _ = serde_json::from_str::<wire::Databases>(&text);
            let _ = serde_json::from_str::<wire::Roles>(&text);
            let _ = serde_json::from_str::<wire::Operation>(&text);
            let _ = serde_json::from_str::<wire::Project>(&text);
            let _ = serde_json::from_str::<wire::Credential>(&text);
            let _ = serde_json::from_str::<wire::Me>(&text);
        }

        /// A host goes into a URL, a file and a container's environment.
        #[test]
        fn a_host_that_is_taken_is_inert(text in ".{0,40}|[a-z0-9.:-]{0,30}") {
            if let Some((host, _)) = host_and_port(&text) {
                prop_assert!(host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
                prop_assert!(text.starts_with(&host));
            }
        }

        #[test]
        fn a_text_that_is_taken_has_no_control_character(text in ".{0,20}|[\\x00-\\x20]{0,4}") {
            let taken = printable(text.clone(), "it").is_ok();
            prop_assert_eq!(taken, !text.is_empty() && !text.chars().any(char::is_control));
        }
    }

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
