//! What goes over the wire. Tolerant in what it reads; never leaves [`super`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    /// A name such as `NOT_FOUND`; a number when the credential is missing.
    #[serde(default)]
    pub(super) error_code: Value,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Operation {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) done: bool,
    pub(super) error: Option<ErrorBody>,
}

#[derive(Deserialize)]
pub(super) struct Me {
    #[serde(rename = "userName")]
    pub(super) user_name: String,
}

#[derive(Deserialize)]
pub(super) struct Project {
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) status: ProjectStatus,
}

#[derive(Deserialize, Default)]
pub(super) struct ProjectStatus {
    #[serde(default)]
    pub(super) enable_pg_native_login: bool,
    pub(super) history_retention_duration: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct Branches {
    #[serde(default)]
    pub(super) branches: Vec<Branch>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Branch {
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
    pub(super) create_time: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(super) status: BranchStatus,
}

#[derive(Deserialize, Default)]
pub(super) struct BranchStatus {
    #[serde(default)]
    pub(super) current_state: String,
    #[serde(default)]
    pub(super) pending_state: String,
    #[serde(default)]
    pub(super) default: bool,
    #[serde(default)]
    pub(super) is_protected: bool,
    pub(super) expire_time: Option<jiff::Timestamp>,
    pub(super) source_branch: Option<String>,
    pub(super) source_branch_time: Option<jiff::Timestamp>,
    pub(super) logical_size_bytes: Option<i64>,
}

#[derive(Deserialize, Default)]
pub(super) struct Endpoints {
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Endpoint {
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: EndpointStatus,
}

#[derive(Deserialize, Default)]
pub(super) struct EndpointStatus {
    #[serde(default)]
    pub(super) endpoint_type: String,
    #[serde(default)]
    pub(super) current_state: String,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default)]
    pub(super) hosts: Hosts,
}

#[derive(Deserialize, Default)]
pub(super) struct Hosts {
    #[serde(default)]
    pub(super) host: String,
}

#[derive(Deserialize, Default)]
pub(super) struct Databases {
    #[serde(default)]
    pub(super) databases: Vec<Database>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Database {
    #[serde(default)]
    pub(super) status: DatabaseStatus,
}

#[derive(Deserialize, Default)]
pub(super) struct DatabaseStatus {
    #[serde(default)]
    pub(super) postgres_database: String,
}

#[derive(Deserialize, Default)]
pub(super) struct Roles {
    #[serde(default)]
    pub(super) roles: Vec<Role>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: RoleStatus,
}

#[derive(Deserialize, Default)]
pub(super) struct RoleStatus {
    #[serde(default)]
    pub(super) postgres_role: String,
    #[serde(default)]
    pub(super) auth_method: String,
}

#[derive(Deserialize)]
pub(super) struct RolePassword {
    pub(super) password: String,
}

#[derive(Serialize)]
pub(super) struct CredentialRequest<'a> {
    pub(super) endpoint: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Credential {
    pub(super) token: String,
    pub(super) expire_time: jiff::Timestamp,
}
