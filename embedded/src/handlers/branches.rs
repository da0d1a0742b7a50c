//! Branches.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Deserialize;

use super::endpoints::allocate_port;
use super::{
    Mask, Query, answer, body, branch, branch_mut, chosen_id, duration, flag, later, live_project, operate,
    page, time,
};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::clock::plus_seconds;
use crate::random;
use crate::state::{
    Branch, Deletion, Endpoint, Operation, Outcome, Phase, Project, Removal, Source, State as Store,
};
use crate::views;

/// Branches of a project that are not deleted, at most.
pub const MAX_BRANCHES: usize = 10;
/// Longest time to an expiry, in seconds: 30 days.
const MAX_EXPIRY: i64 = 30 * 86_400;
/// Protected branches of a project, at most.
const MAX_PROTECTED: usize = 1;

#[derive(Default, Deserialize)]
struct Body {
    branch_id: Option<String>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    source_branch: Option<String>,
    source_branch_lsn: Option<String>,
    source_branch_time: Option<String>,
    source_snapshot: Option<String>,
    ttl: Option<String>,
    expire_time: Option<String>,
    no_expiry: Option<bool>,
    is_protected: Option<bool>,
}

impl Spec {
    /// The expiry that is asked for: none for `no_expiry`. Exactly one of the three ways has to be used.
    /// `ttl` counts from `created`, the maximum from `now`.
    /// The maximum is `longest` seconds where that is less than the usual one.
    fn expiry(
        &self,
        created: Timestamp,
        now: Timestamp,
        longest: Option<i64>,
    ) -> ApiResult<Option<Timestamp>> {
        let unspecified = || ApiError::invalid("Expiration must be specified when creating a branch");
        let expires = match (&self.ttl, &self.expire_time, self.no_expiry) {
            (Some(ttl), None, None) => {
                let seconds = duration("ttl", ttl)?;
                if seconds <= 0 {
                    return Err(ApiError::invalid("ttl must be positive"));
                }
                later(created, seconds)?
            }
            (None, Some(text), None) => time("expire_time", text)?,
            (None, None, Some(true)) => return Ok(None),
            _ => return Err(unspecified()),
        };
        if expires <= now {
            return Err(ApiError::invalid("expiration time must be in the future"));
        }
        if expires > plus_seconds(now, longest.unwrap_or(MAX_EXPIRY).min(MAX_EXPIRY)) {
            let trace = random::hex::<16>()?;
            let message = format!("expiration time exceeds the maximum expiration time [TraceId: {trace}]");
            return Err(ApiError::invalid(message));
        }
        Ok(Some(expires))
    }
}

/// `POST …/branches?branch_id=&replace_existing=`.
pub(crate) async fn create(
    State(app): State<App>,
    Path(project): Path<String>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    live_project(&app.state(), &project)?;
    let id = chosen_id(&query, "branch_id", wanted.branch_id.as_deref())?;
    let replace = flag(&query, "replace_existing")?;
    let spec = wanted.spec;
    if spec.source_snapshot.is_some() || spec.source_branch_lsn.is_some() || spec.source_branch_time.is_some()
    {
        return Err(ApiError::not_offered("branches from a snapshot or from the past"));
    }
    let now = app.clock.now();
    let longest = app.faults.max_ttl(&id);
    let operation = app
        .update(|state| {
            let found = live_project(state, &project)?;
            if let Some(existing) = found.branch(&id) {
                return if replace && existing.deleted.is_none() && existing.removal.is_none() {
                    replaced(state, &project, &id, &spec, now, longest)
                } else {
                    Err(ApiError::already_exists("branch", &id, app.faults.already_exists(&id)))
                };
            }
            let expires = spec.expiry(now, now, longest)?;
            begin(&app, state, &project, &id, &spec, expires, now)
        })
        .await?;
    Ok(answer(&operation))
}

/// Adds a branch that is to be made.
fn begin(
    app: &App,
    state: &mut Store,
    project_id: &str,
    id: &str,
    spec: &Spec,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> ApiResult<Operation> {
    let project = live_project(state, project_id)?;
    let source = match spec.source_branch.as_deref().filter(|name| !name.is_empty()) {
        None => project.branch(&project.default_branch),
        Some(name) => {
            name.strip_prefix(&format!("projects/{project_id}/branches/")).and_then(|id| project.branch(id))
        }
    };
    let source = source
        .filter(|source| source.deleted.is_none() && source.removal.is_none())
        .ok_or_else(|| ApiError::not_found("branch"))?;
    if source.phase != Phase::Ready {
        return Err(ApiError::bad_request("source branch is not ready"));
    }
    if source.expires.is_some() {
        return Err(ApiError::bad_request("Branches with an expiration date cannot have child branches"));
    }
    let protected = spec.is_protected.unwrap_or(false);
    check_protected(project, expires, protected)?;
    check_quota(app, project, id)?;
    let (copied, compute) = (source.clone(), project.compute.clone());
    let port = allocate_port(state)?;
    let operation = operate(state, &views::branch_name(project_id, id), "Branch", None)?;
    let endpoint = Endpoint {
        id: "primary".to_owned(),
        uid: random::uid("ep")?,
        created: now,
        updated: now,
        read_only: false,
        disabled: false,
        compute,
        port,
    };
    let branch = Branch {
        id: id.to_owned(),
        uid: random::uid("br")?,
        created: now,
        updated: now,
        phase: Phase::Init,
        phase_since: now,
        source: Some(Source { branch: copied.id, uid: copied.uid, lsn: None, time: None }),
        expires,
        is_protected: protected,
        deleted: None,
        removal: None,
        creation: Some(operation.name.clone()),
        size: copied.size,
        endpoints: vec![endpoint],
        // Roles and databases are copied with the data.
        roles: copied.roles,
        databases: copied.databases,
    };
    let project = state.project_mut(project_id).ok_or_else(|| ApiError::not_found("project"))?;
    project.branches.push(branch);
    Ok(operation)
}

/// Whether the project has room for a further branch, of id `id`.
fn check_quota(app: &App, project: &Project, id: &str) -> ApiResult<()> {
    let used = project.branches.iter().filter(|branch| branch.deleted.is_none()).count();
    let (most, refusal) = match app.faults.quota(id) {
        Some((branches, status, code)) => (branches, Some((status, code))),
        None => (MAX_BRANCHES, None),
    };
    if used >= most {
        let message = format!("The project has {used} of {most} unarchived branches; delete one first");
        return Err(ApiError::quota(message, refusal));
    }
    Ok(())
}

fn check_protected(project: &Project, expires: Option<Timestamp>, protected: bool) -> ApiResult<()> {
    if !protected {
        return Ok(());
    }
    if expires.is_some() {
        return Err(ApiError::bad_request("protected branches cannot have an expiration date"));
    }
    if project.branches.iter().filter(|branch| branch.is_protected && branch.deleted.is_none()).count()
        >= MAX_PROTECTED
    {
        let message = format!("The project has {MAX_PROTECTED} of {MAX_PROTECTED} protected branches");
        return Err(ApiError::quota(message, None));
    }
    Ok(())
}

/// `replace_existing`: the branch that is there takes over expiry and protection.
fn replaced(
    state: &mut Store,
    project: &str,
    id: &str,
    spec: &Spec,
    now: Timestamp,
    longest: Option<i64>,
) -> ApiResult<Operation> {
    let created = branch(state, project, id)?.1.created;
    let expires = spec.expiry(created, now, longest)?;
    change(state, project, id, Some(expires), spec.is_protected, now)
}

/// Changes expiry and protection, where given.
fn change(
    state: &mut Store,
    project: &str,
    id: &str,
    expiry: Option<Option<Timestamp>>,
    protected: Option<bool>,
    now: Timestamp,
) -> ApiResult<Operation> {
    let (owner, current) = super::live_branch(state, project, id)?;
    let expires = expiry.unwrap_or(current.expires);
    let protected = protected.unwrap_or(current.is_protected);
    if expires.is_some()
        && (owner.default_branch == id || owner.has_children(&current.uid) || current.source.is_none())
    {
        return Err(ApiError::bad_request(
            "default, root and parent branches cannot have an expiration date",
        ));
    }
    if protected && !current.is_protected {
        check_protected(owner, expires, true)?;
    } else if protected && expires.is_some() {
        return Err(ApiError::bad_request("protected branches cannot have an expiration date"));
    }
    let branch = branch_mut(state, project, id)?;
    branch.expires = expires;
    branch.is_protected = protected;
    branch.updated = now;
    let (owner, branch) = super::live_branch(state, project, id)?;
    let view = views::branch(owner, branch);
    operate(state, &views::branch_name(project, id), "Branch", Some(Outcome::Response(view)))
}

/// `GET …/branches`.
pub(crate) async fn list(State(app): State<App>, Path(project): Path<String>, query: Query) -> ApiResult {
    let deleted = flag(&query, "show_deleted")?;
    let state = app.state();
    let project = live_project(&state, &project)?;
    let shown = project.branches.iter().filter(|branch| deleted || branch.deleted.is_none());
    page(&query, "branches", shown.map(|branch| views::branch(project, branch)).collect())
}

/// `GET …/branches/{b}`; a soft-deleted one is found, in state `DELETED`.
pub(crate) async fn get(State(app): State<App>, Path((project, id)): Path<(String, String)>) -> ApiResult {
    let state = app.state();
    let (project, branch) = branch(&state, &project, &id)?;
    Ok(Json(views::branch(project, branch)).into_response())
}

/// `PATCH …/branches/{b}?update_mask=`.
pub(crate) async fn update(
    State(app): State<App>,
    Path((project, id)): Path<(String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    const EXPIRY: [&str; 4] = ["spec.expiration", "spec.expire_time", "spec.ttl", "spec.no_expiry"];
    const KNOWN: [&str; 5] = [EXPIRY[0], EXPIRY[1], EXPIRY[2], EXPIRY[3], "spec.is_protected"];
    const FIXED: [&str; 4] =
        ["spec.source_branch", "spec.source_branch_lsn", "spec.source_branch_time", "spec.source_snapshot"];
    let wanted: Body = body(&bytes)?;
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let (_, current) = super::live_branch(state, &project, &id)?;
            let mask = Mask::read(&query, &KNOWN, &FIXED)?;
            let spec = &wanted.spec;
            let given = spec.ttl.is_some() || spec.expire_time.is_some() || spec.no_expiry.is_some();
            let expiry = if EXPIRY.iter().any(|path| mask.has(path, given)) {
                Some(spec.expiry(current.created, now, app.faults.max_ttl(&id))?)
            } else {
                None
            };
            let protected = spec.is_protected.filter(|_| mask.has("spec.is_protected", true));
            change(state, &project, &id, expiry, protected, now)
        })
        .await?;
    Ok(answer(&operation))
}

/// `DELETE …/branches/{b}?purge=`.
pub(crate) async fn delete(
    State(app): State<App>,
    Path((project, id)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let purge = flag(&query, "purge")?;
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let (owner, current) = branch(state, &project, &id)?;
            if current.removal.is_some() || (current.deleted.is_some() && !purge) {
                return Err(ApiError::not_found("branch"));
            }
            if current.is_protected {
                return Err(ApiError::bad_request("cannot delete protected branch"));
            }
            if current.source.is_none() {
                let name = views::branch_name(&project, &id);
                let message = format!(
                    "Cannot delete root branch '{name}'. Root branches cannot be deleted independently."
                );
                return Err(ApiError::managed_by_parent(message));
            }
            if owner.default_branch == id {
                return Err(ApiError::bad_request("cannot delete default branch"));
            }
            if owner.has_children(&current.uid) {
                return Err(ApiError::bad_request("cannot delete branch with child branches"));
            }
            let name = views::branch_name(&project, &id);
            if app.faults.ignores_delete(&id, current.phase == Phase::Init) {
                return operate(state, &name, "Branch", Some(views::empty()));
            }
            // What is not made yet can't be recovered either.
            let purge = purge || current.phase == Phase::Init;
            let outcome = (!purge).then(views::empty);
            let operation = operate(state, &name, "Branch", outcome)?;
            let owner = state.project_mut(&project).ok_or_else(|| ApiError::not_found("project"))?;
            let branch = owner.branch_mut(&id).ok_or_else(|| ApiError::not_found("branch"))?;
            branch.updated = now;
            if purge {
                branch.removal = Some(Removal { operation: Some(operation.name.clone()) });
            } else {
                branch.deleted =
                    Some(Deletion { at: now, purge_at: plus_seconds(now, super::projects::RETENTION) });
            }
            Ok(operation)
        })
        .await?;
    Ok(answer(&operation))
}

/// `POST …/branches/{b}/undelete`.
pub(crate) async fn undelete(
    State(app): State<App>,
    Path((project, id)): Path<(String, String)>,
) -> ApiResult {
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let (owner, current) = branch(state, &project, &id)?;
            if current.deleted.is_none() || current.removal.is_some() {
                return Err(ApiError::bad_request("branch is not deleted"));
            }
            check_quota(&app, owner, &id)?;
            let owner = state.project_mut(&project).ok_or_else(|| ApiError::not_found("project"))?;
            let current = owner.branch_mut(&id).ok_or_else(|| ApiError::not_found("branch"))?;
            current.deleted = None;
            current.updated = now;
            let (owner, current) = branch(state, &project, &id)?;
            let view = views::branch(owner, current);
            operate(state, &views::branch_name(&project, &id), "Branch", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}
