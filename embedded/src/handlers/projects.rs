//! Projects.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;

use super::endpoints::{ComputeSpec, allocate_port};
use super::grants;
use super::{Mask, Query, answer, body, chosen_id, duration, flag, live_project, operate, page, project};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::catalog;
use crate::clock::plus_seconds;
use crate::http::Caller;
use crate::random;
use crate::state::{self, Branch, Compute, Deletion, Endpoint, Outcome, Phase, Project, Removal};
use crate::views;

/// How long a soft-deleted project or branch can be recovered, in seconds: seven days, as the history of a new project.
pub(crate) const RETENTION: i64 = 604_800;
/// What a project's history may be set to, in seconds: 2 to 35 days.
const RETENTIONS: std::ops::RangeInclusive<i64> = 172_800..=3_024_000;
/// Id of the branch that a project is born with.
const FIRST_BRANCH: &str = "production";

#[derive(Default, Deserialize)]
struct Body {
    project_id: Option<String>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    initial_branch_spec: InitialBranch,
    #[serde(default)]
    initial_endpoint_spec: ComputeSpec,
}

#[derive(Default, Deserialize)]
struct InitialBranch {
    #[serde(default)]
    is_protected: bool,
}

#[derive(Default, Deserialize)]
struct Spec {
    display_name: Option<String>,
    pg_version: Option<u32>,
    history_retention_duration: Option<String>,
    enable_pg_native_login: Option<bool>,
    custom_tags: Option<Vec<Value>>,
    budget_policy_id: Option<String>,
    default_endpoint_settings: Option<ComputeSpec>,
    default_branch: Option<String>,
}

/// `POST /projects?project_id=`.
pub(crate) async fn create(State(app): State<App>, caller: Caller, query: Query, bytes: Bytes) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    let id = chosen_id(&query, "project_id", wanted.project_id.as_deref())?;
    let preferred = app.installations.first().map_or(0, |installation| installation.major);
    let pg_version = wanted.spec.pg_version.unwrap_or(preferred);
    if !app.installations.iter().any(|installation| installation.major == pg_version) {
        let there: Vec<String> = app.installations.iter().map(|it| it.major.to_string()).collect();
        let message =
            format!("pg_version {pg_version} is not available here; installed: {}", there.join(", "));
        return Err(ApiError::invalid(message));
    }
    let now = app.clock.now();
    let mut compute = Compute::default();
    if let Some(settings) = &wanted.spec.default_endpoint_settings {
        settings.apply(&mut compute)?;
    }
    let mut first = compute.clone();
    wanted.initial_endpoint_spec.apply(&mut first)?;
    let operation = app
        .update(|state| {
            if state.project(&id).is_some() {
                return Err(ApiError::already_exists("project", &id, app.faults.already_exists(&id)));
            }
            let name = format!("projects/{id}");
            let operation = operate(state, &name, "Project", None)?;
            let endpoint = Endpoint {
                id: "primary".to_owned(),
                uid: random::uid("ep")?,
                created: now,
                updated: now,
                read_only: false,
                disabled: false,
                compute: first,
                port: allocate_port(state)?,
            };
            let branch = Branch {
                id: FIRST_BRANCH.to_owned(),
                uid: random::uid("br")?,
                created: now,
                updated: now,
                phase: Phase::Init,
                phase_since: now,
                source: None,
                expires: None,
                is_protected: wanted.initial_branch_spec.is_protected,
                deleted: None,
                removal: None,
                creation: Some(operation.name.clone()),
                size: 0,
                endpoints: vec![endpoint],
                roles: vec![grants::record(&caller, &[], now)],
                databases: vec![state::Database {
                    id: super::databases::derived_id(catalog::FIRST_DATABASE),
                    postgres_database: catalog::FIRST_DATABASE.to_owned(),
                    created: now,
                    updated: now,
                }],
            };
            let mut project = Project {
                id: id.clone(),
                uid: random::uuid()?,
                display_name: id.clone(),
                pg_version,
                created: now,
                updated: now,
                retention_seconds: RETENTION,
                native_login: false,
                custom_tags: Vec::new(),
                budget_policy_id: None,
                compute,
                owner: caller.user_name.clone(),
                default_branch: FIRST_BRANCH.to_owned(),
                deleted: None,
                removal: None,
                branches: vec![branch],
            };
            wanted.spec.apply(&mut project, |_| true)?;
            state.projects.push(project);
            Ok(operation)
        })
        .await?;
    Ok(answer(&operation))
}

impl Spec {
    /// Puts the fields that `wanted` names, and that are there, into a project.
    fn apply(&self, project: &mut Project, wanted: impl Fn(&str) -> bool) -> ApiResult<()> {
        if let Some(name) = self.display_name.as_ref().filter(|_| wanted("spec.display_name")) {
            if name.is_empty() || name.chars().count() > 256 {
                return Err(ApiError::invalid("Field 'display_name' must have 1 to 256 characters."));
            }
            project.display_name.clone_from(name);
        }
        if let Some(text) =
            self.history_retention_duration.as_ref().filter(|_| wanted("spec.history_retention_duration"))
        {
            let seconds = duration("history_retention_duration", text)?;
            if !RETENTIONS.contains(&seconds) {
                let message = format!(
                    "Field 'history_retention_duration' must be between {}s and {}s.",
                    RETENTIONS.start(),
                    RETENTIONS.end()
                );
                return Err(ApiError::invalid(message));
            }
            project.retention_seconds = seconds;
        }
        if let Some(enabled) = self.enable_pg_native_login.filter(|_| wanted("spec.enable_pg_native_login")) {
            project.native_login = enabled;
        }
        if let Some(tags) = self.custom_tags.as_ref().filter(|_| wanted("spec.custom_tags")) {
            project.custom_tags.clone_from(tags);
        }
        if let Some(policy) = self.budget_policy_id.as_ref().filter(|_| wanted("spec.budget_policy_id")) {
            project.budget_policy_id = Some(policy.clone());
        }
        Ok(())
    }
}

/// `GET /projects`.
pub(crate) async fn list(State(app): State<App>, query: Query) -> ApiResult {
    let deleted = flag(&query, "show_deleted")?;
    let state = app.state();
    let shown = state.projects.iter().filter(|project| deleted || project.deleted.is_none());
    page(&query, "projects", shown.map(views::project).collect())
}

/// `GET /projects/{p}`; a soft-deleted one is found, with its `delete_time`.
pub(crate) async fn get(State(app): State<App>, Path(id): Path<String>) -> ApiResult {
    let state = app.state();
    Ok(Json(views::project(project(&state, &id)?)).into_response())
}

/// `PATCH /projects/{p}?update_mask=`.
pub(crate) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    const KNOWN: [&str; 13] = [
        "spec.display_name",
        "spec.history_retention_duration",
        "spec.enable_pg_native_login",
        "spec.custom_tags",
        "spec.budget_policy_id",
        "spec.default_branch",
        "spec.default_endpoint_settings",
        "spec.default_endpoint_settings.autoscaling_limit_min_cu",
        "spec.default_endpoint_settings.autoscaling_limit_max_cu",
        "spec.default_endpoint_settings.suspend_timeout_duration",
        "spec.default_endpoint_settings.no_suspension",
        "spec.default_endpoint_settings.suspension",
        "spec.default_endpoint_settings.pg_settings",
    ];
    let wanted: Body = body(&bytes)?;
    let mask = Mask::read(&query, &KNOWN, &["spec.pg_version"])?;
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            live_project(state, &id)?;
            let project = state.project_mut(&id).ok_or_else(|| ApiError::not_found("project"))?;
            let spec = &wanted.spec;
            spec.apply(project, |path| mask.has(path, true))?;
            // The official client sends no list where it is empty: the mask says that it is meant.
            if spec.custom_tags.is_none() && mask.has("spec.custom_tags", false) {
                project.custom_tags.clear();
            }
            if let Some(settings) = &spec.default_endpoint_settings
                && (mask.is_broad() || KNOWN[6..].iter().any(|path| mask.has(path, false)))
            {
                settings.apply(&mut project.compute)?;
            }
            if let Some(name) = spec.default_branch.as_ref().filter(|_| mask.has("spec.default_branch", true))
            {
                let branch =
                    name.strip_prefix(&format!("projects/{id}/branches/")).and_then(|id| project.branch(id));
                let branch = branch
                    .filter(|branch| branch.deleted.is_none() && branch.removal.is_none())
                    .ok_or_else(|| ApiError::not_found("branch"))?;
                if branch.expires.is_some() {
                    return Err(ApiError::bad_request(
                        "a branch with an expiration date cannot be the default branch",
                    ));
                }
                project.default_branch = branch.id.clone();
            }
            project.updated = now;
            let view = views::project(project);
            operate(state, &format!("projects/{id}"), "Project", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}

/// `DELETE /projects/{p}?purge=`.
pub(crate) async fn delete(State(app): State<App>, Path(id): Path<String>, query: Query) -> ApiResult {
    let purge = flag(&query, "purge")?;
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let found = project(state, &id)?;
            if found.removal.is_some() || (found.deleted.is_some() && !purge) {
                return Err(ApiError::not_found("project"));
            }
            if found.branches.iter().any(|branch| branch.is_protected && branch.deleted.is_none()) {
                return Err(ApiError::bad_request("cannot delete project with protected branches"));
            }
            let outcome = (!purge).then(views::empty);
            let operation = operate(state, &format!("projects/{id}"), "Project", outcome)?;
            let project = state.project_mut(&id).ok_or_else(|| ApiError::not_found("project"))?;
            project.updated = now;
            if purge {
                project.removal = Some(Removal { operation: Some(operation.name.clone()) });
            } else {
                project.deleted = Some(Deletion { at: now, purge_at: plus_seconds(now, RETENTION) });
            }
            Ok(operation)
        })
        .await?;
    Ok(answer(&operation))
}

/// `POST /projects/{p}/undelete`.
pub(crate) async fn undelete(State(app): State<App>, Path(id): Path<String>) -> ApiResult {
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let found = project(state, &id)?;
            if found.deleted.is_none() || found.removal.is_some() {
                return Err(ApiError::bad_request("project is not deleted"));
            }
            let project = state.project_mut(&id).ok_or_else(|| ApiError::not_found("project"))?;
            project.deleted = None;
            project.updated = now;
            let view = views::project(project);
            operate(state, &format!("projects/{id}"), "Project", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}
