//! What the API says of its resources, as the pipe uses it.

use jiff::{SignedDuration, Timestamp};

use super::wire;
use crate::branch::ResourceId;
use crate::secret::Secret;

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
    /// Whether roles may log in with passwords of their own.
    pub native_login: bool,
    /// How far back its history goes, which bounds the life of a branch in some workspaces.
    pub retention: Option<SignedDuration>,
}

/// A role's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its resource name.
    pub name: String,
    /// Whether it has a password of its own.
    pub native: bool,
}

/// A branch's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its resource name.
    pub name: String,
    /// Its `uid`: another one with the same id is another branch.
    pub uid: String,
    /// `INIT`, `READY`, `RESETTING`, `IMPORTING`, `ARCHIVED` or `DELETED` (also while it is being deleted).
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
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Logical size in bytes.
    pub size: Option<i64>,
}

impl Branch {
    /// The last part of its resource name.
    pub fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

impl From<wire::Branch> for Branch {
    fn from(found: wire::Branch) -> Self {
        let status = found.status;
        // A deletion that is under way is as good as done.
        let deleted = status.pending_state == "DELETED";
        Self {
            name: found.name,
            uid: found.uid,
            state: if deleted { status.pending_state } else { status.current_state },
            default: status.default,
            protected: status.is_protected,
            expires: status.expire_time,
            parent: status.source_branch,
            forked: status.source_branch_time.or(found.create_time),
            created: found.create_time,
            size: status.logical_size_bytes,
        }
    }
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
    /// Whether it was switched off, so that it never wakes.
    pub disabled: bool,
}

/// A token for the database login.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The password.
    pub token: Secret,
    /// Until when a login with it is accepted.
    pub expires: Timestamp,
}
