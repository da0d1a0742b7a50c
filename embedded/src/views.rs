//! Resources as the API shows them: always `status`, never `spec`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::app::{Inner, is_leaving};
use crate::catalog::{DatabaseRow, RoleRow};
use crate::state::{self, Branch, Compute, Endpoint, Operation, Outcome, Phase, Project};

/// Logical size limit of a branch that the service shows: 8 TiB.
const SIZE_LIMIT: u64 = 8_796_093_022_208;

/// Resource name of a branch.
pub fn branch_name(project: &str, branch: &str) -> String {
    format!("projects/{project}/branches/{branch}")
}

/// The outcome of a deletion.
pub fn empty() -> Outcome {
    Outcome::Response(json!({"@type": "type.googleapis.com/google.protobuf.Empty"}))
}

/// A duration as the API writes it.
fn seconds(seconds: i64) -> Value {
    format!("{seconds}s").into()
}

fn put_time(object: &mut Map<String, Value>, key: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        object.insert(key.to_owned(), time.to_string().into());
    }
}

/// A project.
pub fn project(project: &Project) -> Value {
    let name = format!("projects/{}", project.id);
    let storage: u64 = project.branches.iter().map(|branch| branch.size).sum();
    let mut status = json!({
        "project_id": project.id,
        "default_branch": branch_name(&project.id, &project.default_branch),
        "display_name": project.display_name,
        "pg_version": project.pg_version,
        "history_retention_duration": seconds(project.retention_seconds),
        "enable_pg_native_login": project.native_login,
        "owner": project.owner,
        "branch_logical_size_limit_bytes": SIZE_LIMIT,
        "synthetic_storage_size_bytes": storage,
        "default_endpoint_settings": compute(&project.compute),
    });
    if !project.custom_tags.is_empty() {
        status["custom_tags"] = project.custom_tags.clone().into();
    }
    if let Some(policy) = &project.budget_policy_id {
        status["budget_policy_id"] = policy.clone().into();
    }
    let mut view = json!({
        "project_id": project.id,
        "name": name,
        "uid": project.uid,
        "create_time": project.created.to_string(),
        "update_time": project.updated.to_string(),
        "status": status,
    });
    if let (Some(deletion), Some(object)) = (&project.deleted, view.as_object_mut()) {
        put_time(object, "delete_time", Some(deletion.at));
        put_time(object, "purge_time", Some(deletion.purge_at));
    }
    view
}

/// A branch.
pub fn branch(project: &Project, branch: &Branch) -> Value {
    let current = match (&branch.deleted, branch.phase) {
        (Some(_), _) => "DELETED",
        (None, Phase::Init) => "INIT",
        (None, Phase::Ready) => "READY",
    };
    let mut status = Map::new();
    status.insert("branch_id".into(), branch.id.clone().into());
    status.insert("current_state".into(), current.into());
    if branch.removal.is_some() || project.removal.is_some() {
        status.insert("pending_state".into(), "DELETED".into());
    }
    status.insert("default".into(), (project.default_branch == branch.id).into());
    status.insert("is_protected".into(), branch.is_protected.into());
    put_time(&mut status, "expire_time", branch.expires);
    status.insert("logical_size_bytes".into(), branch.size.into());
    if let Some(source) = &branch.source {
        status.insert("source_branch".into(), branch_name(&project.id, &source.branch).into());
        if let Some(lsn) = &source.lsn {
            status.insert("source_branch_lsn".into(), lsn.clone().into());
        }
        put_time(&mut status, "source_branch_time", source.time);
    }
    put_time(&mut status, "state_change_time", Some(branch.phase_since));
    if let Some(deletion) = &branch.deleted {
        put_time(&mut status, "delete_time", Some(deletion.at));
        put_time(&mut status, "purge_time", Some(deletion.purge_at));
    }
    json!({
        "branch_id": branch.id,
        "name": branch_name(&project.id, &branch.id),
        "parent": format!("projects/{}", project.id),
        "uid": branch.uid,
        "create_time": branch.created.to_string(),
        "update_time": branch.updated.to_string(),
        "status": status,
    })
}

/// An endpoint. Its host is written `host:port`: the one difference from the service, where every endpoint has a name
/// of its own and port 5432.
pub fn endpoint(app: &Inner, project: &Project, branch: &Branch, endpoint: &Endpoint) -> Value {
    let parent = branch_name(&project.id, &branch.id);
    let current = if branch.phase == Phase::Init {
        "INIT"
    } else if !endpoint.disabled && !is_leaving(project, branch) && app.is_running(&branch.uid) {
        "ACTIVE"
    } else {
        "IDLE"
    };
    let host = format!("127.0.0.1:{}", endpoint.port);
    let mut status = json!({
        "endpoint_id": endpoint.id,
        "endpoint_type": if endpoint.read_only { "ENDPOINT_TYPE_READ_ONLY" } else { "ENDPOINT_TYPE_READ_WRITE" },
        "current_state": current,
        "disabled": endpoint.disabled,
    });
    if let (Some(status), Value::Object(compute)) = (status.as_object_mut(), compute(&endpoint.compute)) {
        status.extend(compute);
        status.insert("group".into(), json!({"min": 1, "max": 1, "enable_readable_secondaries": false}));
        let hosts = if endpoint.read_only {
            json!({"host": host, "read_only_host": host})
        } else {
            json!({"host": host})
        };
        status.insert("hosts".into(), hosts);
        status.insert("settings".into(), json!({}));
        put_time(status, "last_active_time", app.last_active(&endpoint.uid));
    }
    json!({
        "endpoint_id": endpoint.id,
        "name": format!("{parent}/endpoints/{}", endpoint.id),
        "parent": parent,
        "uid": endpoint.uid,
        "create_time": endpoint.created.to_string(),
        "update_time": endpoint.updated.to_string(),
        "status": status,
    })
}

fn compute(compute: &Compute) -> Value {
    let mut view = json!({
        "autoscaling_limit_min_cu": compute.min_cu,
        "autoscaling_limit_max_cu": compute.max_cu,
    });
    match compute.suspend_seconds {
        Some(timeout) => view["suspend_timeout_duration"] = seconds(timeout),
        None => view["no_suspension"] = true.into(),
    }
    view
}

/// A role: what PostgreSQL says of it, and what only we know.
pub fn role(parent: &str, row: &RoleRow, known: &state::Role) -> Value {
    let mut status = json!({
        "role_id": known.id,
        "postgres_role": row.name,
        "auth_method": known.auth_method,
        "attributes": {"createdb": row.createdb, "createrole": row.createrole, "bypassrls": row.bypassrls},
        "membership_roles": if row.is_superuser { json!(["DATABRICKS_SUPERUSER"]) } else { json!([]) },
    });
    if let Some(identity) = &known.identity_type {
        status["identity_type"] = identity.clone().into();
    }
    json!({
        "role_id": known.id,
        "name": format!("{parent}/roles/{}", known.id),
        "parent": parent,
        "create_time": known.created.to_string(),
        "update_time": known.updated.to_string(),
        "status": status,
    })
}

/// A database: what PostgreSQL says of it, and its id. `owner` is the id of its owner's role.
pub fn database(parent: &str, row: &DatabaseRow, known: &state::Database, owner: &str) -> Value {
    json!({
        "database_id": known.id,
        "name": format!("{parent}/databases/{}", known.id),
        "parent": parent,
        "create_time": known.created.to_string(),
        "update_time": known.updated.to_string(),
        "status": {
            "database_id": known.id,
            "postgres_database": row.name,
            "role": format!("{parent}/roles/{owner}"),
        },
    })
}

/// An operation.
pub fn operation(operation: &Operation) -> Value {
    let kind = &operation.kind;
    let mut view = json!({
        "name": operation.name,
        "done": operation.outcome.is_some(),
        "metadata": {"@type": format!("type.googleapis.com/databricks.postgres.v1.{kind}OperationMetadata")},
    });
    match &operation.outcome {
        None => {}
        Some(Outcome::Error(error)) => view["error"] = error.clone(),
        Some(Outcome::Response(response)) => {
            let mut response = response.clone();
            if let Some(object) = response.as_object_mut().filter(|object| !object.contains_key("@type")) {
                object.insert(
                    "@type".into(),
                    format!("type.googleapis.com/databricks.postgres.v1.{kind}").into(),
                );
            }
            view["response"] = response;
        }
    }
    view
}
