//! What the server knows: plain values, kept in one JSON file that is replaced as a whole.
//!
//! The state says what *should* be (a branch in `Init` has to be made, one with a `removal` has to go); the controller
//! makes it so. Whatever a crash interrupts is therefore simply done again at the next start.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, IoContext, Result, embedded_command};
use crate::home::{Home, replace_file};

/// The file's format; another number is refused rather than guessed at.
const FORMAT: u32 = 1;
/// Finished operations that stay readable.
const MAX_FINISHED_OPERATIONS: usize = 1000;

/// The whole state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// Port of the HTTP API at the last start.
    pub api_port: Option<u16>,
    /// In the order of their creation, like all lists below.
    pub projects: Vec<Project>,
    /// Oldest first.
    pub operations: Vec<Operation>,
}

/// A project.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Project {
    pub id: String,
    pub uid: String,
    pub display_name: String,
    pub pg_version: u32,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub retention_seconds: i64,
    pub native_login: bool,
    pub custom_tags: Vec<Value>,
    pub budget_policy_id: Option<String>,
    pub compute: Compute,
    pub owner: String,
    /// Id of the default branch.
    pub default_branch: String,
    pub deleted: Option<Deletion>,
    pub removal: Option<Removal>,
    pub branches: Vec<Branch>,
}

/// A soft deletion, to be undone until it is final.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was deleted.
    pub at: Timestamp,
    /// When its data go.
    pub purge_at: Timestamp,
}

/// A final deletion under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Removal {
    /// Name of the operation that ends with it. None when a deadline caused it.
    pub operation: Option<String>,
}

/// Whether a branch's data are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being made.
    Init,
    /// Made.
    Ready,
}

/// A branch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Branch {
    pub id: String,
    pub uid: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub phase: Phase,
    pub phase_since: Timestamp,
    /// Where the data came from. None for a root branch.
    pub source: Option<Source>,
    pub expires: Option<Timestamp>,
    pub is_protected: bool,
    pub deleted: Option<Deletion>,
    pub removal: Option<Removal>,
    /// Name of the operation that ends when the branch is ready.
    pub creation: Option<String>,
    /// Size of all databases at the last look, in bytes.
    pub size: u64,
    pub endpoints: Vec<Endpoint>,
    /// Roles made by the API. PostgreSQL knows which roles there are; this says what it can't hold.
    pub roles: Vec<Role>,
    /// Databases made by the API, likewise.
    pub databases: Vec<Database>,
}

/// The origin of a branch's data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// Id of the branch that was copied.
    pub branch: String,
    /// Uid of the branch that was copied.
    pub uid: String,
    /// Position in its write-ahead log up to which its changes are in the copy, once that is known.
    pub lsn: Option<String>,
    /// The time of that position.
    pub time: Option<Timestamp>,
}

/// An endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Endpoint {
    pub id: String,
    pub uid: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub read_only: bool,
    pub disabled: bool,
    pub compute: Compute,
    /// TCP port of the gateway, for as long as the endpoint lives.
    pub port: u16,
}

/// Sizes of a compute. Kept and shown; one machine has one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Compute {
    pub min_cu: f64,
    pub max_cu: f64,
    /// None: never suspended.
    pub suspend_seconds: Option<i64>,
}

impl Default for Compute {
    fn default() -> Self {
        Self { min_cu: 1.0, max_cu: 1.0, suspend_seconds: Some(300) }
    }
}

/// What PostgreSQL does not know of a role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Role {
    pub id: String,
    pub postgres_role: String,
    pub identity_type: Option<String>,
    pub auth_method: String,
    /// The generated password of a role with native login, as long as nobody changed it by SQL.
    pub password: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What PostgreSQL does not know of a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the API's own, described there")]
pub struct Database {
    pub id: String,
    pub postgres_database: String,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// An operation; it outlives what it worked on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operation {
    /// `<resource name>/operations/<id>`.
    pub name: String,
    /// `Project`, `Branch`, … as in the type of its metadata.
    pub kind: String,
    /// None while it runs.
    pub outcome: Option<Outcome>,
}

/// How an operation ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// With this resource.
    Response(Value),
    /// With this error (`error_code`, `message`).
    Error(Value),
}

impl Default for State {
    fn default() -> Self {
        Self { format: FORMAT, api_port: None, projects: Vec::new(), operations: Vec::new() }
    }
}

impl State {
    /// Reads the state of a home; an empty one where there is none yet. A file that can't be understood is an
    /// error: data hang on it.
    pub fn load(home: &Home) -> Result<Self> {
        let path = home.state_file();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return if has_branches(home)? { Err(lost(&path)) } else { Ok(Self::default()) };
            }
            Err(error) => return Err(error).doing(|| format!("can't read `{}`", path.display())),
        };
        let damaged = |cause: String| {
            Error::new(ErrorKind::State, format!("the state file `{}` can't be understood", path.display()))
                .because(cause)
                .hint(format!("restore the file, or delete everything with {}", embedded_command("reset")))
        };
        let value: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(damaged(format!("it has format {format}, this program knows {FORMAT}")));
            }
            None => return Err(damaged("it says no format".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
    }

    /// Writes the state; the file is always a whole one, old or new.
    pub fn save(&self, home: &Home) -> Result<()> {
        let path = home.state_file();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorKind::State, "can't write the state").because(error))?;
        replace_file(&path, &text).doing(|| format!("can't write `{}`", path.display()))
    }

    /// The project with this id.
    pub fn project(&self, id: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == id)
    }

    /// The project with this id, to change it.
    pub fn project_mut(&mut self, id: &str) -> Option<&mut Project> {
        self.projects.iter_mut().find(|project| project.id == id)
    }

    /// The branch with this uid, and its project.
    pub fn by_uid(&self, uid: &str) -> Option<(&Project, &Branch)> {
        self.projects.iter().find_map(|project| {
            project.branches.iter().find(|branch| branch.uid == uid).map(|branch| (project, branch))
        })
    }

    /// The branch with this uid, to change it.
    pub fn by_uid_mut(&mut self, uid: &str) -> Option<&mut Branch> {
        self.projects.iter_mut().flat_map(|project| &mut project.branches).find(|branch| branch.uid == uid)
    }

    /// Every branch with its project.
    pub fn branches(&self) -> impl Iterator<Item = (&Project, &Branch)> {
        self.projects.iter().flat_map(|project| project.branches.iter().map(move |branch| (project, branch)))
    }

    /// Ports that endpoints own.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.branches().flat_map(|(_, branch)| branch.endpoints.iter().map(|endpoint| endpoint.port))
    }

    /// Adds an operation; the oldest finished ones go when there are too many.
    pub fn add_operation(&mut self, operation: Operation) {
        self.operations.push(operation);
        let finished = self.operations.iter().filter(|operation| operation.outcome.is_some()).count();
        let mut surplus = finished.saturating_sub(MAX_FINISHED_OPERATIONS);
        self.operations.retain(|operation| {
            let drop = surplus > 0 && operation.outcome.is_some();
            surplus -= usize::from(drop);
            !drop
        });
    }

    /// Ends a running operation. Ending one twice keeps the first end.
    pub fn finish(&mut self, name: &str, outcome: Outcome) {
        if let Some(operation) = self.operations.iter_mut().find(|operation| operation.name == name) {
            operation.outcome.get_or_insert(outcome);
        }
    }
}

impl Project {
    /// The branch with this id.
    pub fn branch(&self, id: &str) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.id == id)
    }

    /// The branch with this id, to change it.
    pub fn branch_mut(&mut self, id: &str) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.id == id)
    }

    /// Whether a branch that is not deleted was made from the branch with this uid.
    pub fn has_children(&self, uid: &str) -> bool {
        self.branches.iter().any(|branch| {
            branch.deleted.is_none()
                && branch.removal.is_none()
                && branch.source.as_ref().is_some_and(|source| source.uid == uid)
        })
    }
}

fn has_branches(home: &Home) -> Result<bool> {
    match std::fs::read_dir(home.branches()) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).doing(|| format!("can't read `{}`", home.branches().display())),
    }
}

/// Data without a state: starting with an empty one would delete them as orphans.
fn lost(path: &std::path::Path) -> Error {
    let path: PathBuf = path.into();
    Error::new(
        ErrorKind::State,
        format!("the state file `{}` is missing, but there are branches", path.display()),
    )
    .hint(format!("restore the file, or delete everything with {}", embedded_command("reset")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env_vars;

    fn home(folder: &tempfile::TempDir) -> Home {
        let path = folder.path().to_str().unwrap().to_owned();
        let home = Home::locate(&move |name: &str| (name == env_vars::HOME).then(|| path.clone())).unwrap();
        home.create().unwrap();
        home
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let mut state = State::load(&home).unwrap();
        state.api_port = Some(7);
        state.save(&home).unwrap();
        assert_eq!(State::load(&home).unwrap().api_port, Some(7));
    }

    #[test]
    fn a_damaged_unknown_or_lost_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        for text in ["", "{", "[]", r#"{"format":2}"#, r#"{"format":1}"#] {
            std::fs::write(home.state_file(), text).unwrap();
            assert_eq!(State::load(&home).unwrap_err().kind, ErrorKind::State, "{text}");
            assert_eq!(std::fs::read_to_string(home.state_file()).unwrap(), text);
        }
        std::fs::remove_file(home.state_file()).unwrap();
        std::fs::create_dir(home.branch_folder("br-a-b-c")).unwrap();
        assert_eq!(State::load(&home).unwrap_err().kind, ErrorKind::State);
    }

    #[test]
    fn finished_operations_are_bounded_and_running_ones_stay() {
        let mut state = State::default();
        let running = Operation { name: "running".into(), kind: "Branch".into(), outcome: None };
        state.add_operation(running);
        for number in 0..MAX_FINISHED_OPERATIONS + 5 {
            let outcome = Some(Outcome::Response(Value::Null));
            state.add_operation(Operation { name: number.to_string(), kind: "Branch".into(), outcome });
        }
        assert_eq!(state.operations.len(), MAX_FINISHED_OPERATIONS + 1);
        assert_eq!(state.operations[0].name, "running");
        assert_eq!(state.operations[1].name, "5");
    }
}
