//! Endpoints. All of a branch lead to its one PostgreSQL; a read-only one begins its sessions as read-only, which guards
//! against mistakes and is no barrier.

use std::net::{Ipv4Addr, TcpListener};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;

use super::{Mask, Query, answer, body, branch_mut, chosen_id, duration, flag, live_branch, operate, page};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::random;
use crate::state::{Compute, Endpoint, Outcome, State as Store};
use crate::views;

/// Ports that endpoints get: below the ranges that systems take outgoing ports from, so that a stopped server
/// finds its own free again.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// What `suspend_timeout_duration` may be, in seconds: a minute to a week.
const SUSPEND: std::ops::RangeInclusive<i64> = 60..=604_800;
/// Largest compute, in compute units, and largest difference between the limits.
const MAX_CU: (f64, f64) = (64.0, 16.0);

#[derive(Default, Deserialize)]
struct Body {
    endpoint_id: Option<String>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    endpoint_type: Option<String>,
    disabled: Option<bool>,
    settings: Option<Value>,
    #[serde(flatten)]
    compute: ComputeSpec,
}

/// Sizes of a compute, in an endpoint's or a project's specification.
#[derive(Default, Deserialize)]
pub(crate) struct ComputeSpec {
    autoscaling_limit_min_cu: Option<f64>,
    autoscaling_limit_max_cu: Option<f64>,
    suspend_timeout_duration: Option<String>,
    no_suspension: Option<bool>,
    group: Option<Value>,
    pg_settings: Option<Value>,
}

impl ComputeSpec {
    /// Checks what is given and puts it into `compute`.
    pub(crate) fn apply(&self, compute: &mut Compute) -> ApiResult<()> {
        let sizes = self.group.iter().flat_map(|group| [group.get("min"), group.get("max")]).flatten();
        if sizes.into_iter().any(|size| size.as_i64() != Some(1)) {
            return Err(ApiError::not_offered("endpoints with more than one compute"));
        }
        if self.pg_settings.as_ref().and_then(Value::as_object).is_some_and(|settings| !settings.is_empty()) {
            return Err(ApiError::not_offered("settings of PostgreSQL"));
        }
        let min = self.autoscaling_limit_min_cu.unwrap_or(compute.min_cu);
        let max = self.autoscaling_limit_max_cu.unwrap_or(compute.max_cu.max(min));
        if !(0.5..=MAX_CU.0).contains(&min) || max > MAX_CU.0 || min > max || max - min > MAX_CU.1 {
            let message = format!(
                "Autoscaling limits must be between 0.5 and {} CU, at most {} apart, got {min} and {max}.",
                MAX_CU.0, MAX_CU.1
            );
            return Err(ApiError::invalid(message));
        }
        (compute.min_cu, compute.max_cu) = (min, max);
        match (&self.suspend_timeout_duration, self.no_suspension) {
            (Some(_), Some(_)) => {
                let message = "Only one of 'suspend_timeout_duration' and 'no_suspension' can be given.";
                return Err(ApiError::invalid(message));
            }
            (Some(text), None) => {
                let seconds = duration("suspend_timeout_duration", text)?;
                if !SUSPEND.contains(&seconds) {
                    let message = "Field 'suspend_timeout_duration' must be between 60s and 604800s.";
                    return Err(ApiError::invalid(message));
                }
                compute.suspend_seconds = Some(seconds);
            }
            (None, Some(true)) => compute.suspend_seconds = None,
            (None, Some(false)) => {
                return Err(ApiError::invalid("Field 'no_suspension' must be true when given."));
            }
            (None, None) => {}
        }
        Ok(())
    }
}

impl Spec {
    fn refuse_settings(&self) -> ApiResult<()> {
        let settings = self
            .settings
            .as_ref()
            .and_then(|settings| settings.get("pg_settings"))
            .and_then(Value::as_object);
        if settings.is_some_and(|settings| !settings.is_empty()) {
            return Err(ApiError::not_offered("settings of PostgreSQL"));
        }
        Ok(())
    }
}

/// A port that no endpoint owns and nobody listens on, for the life of an endpoint.
pub(crate) fn allocate_port(state: &Store) -> ApiResult<u16> {
    let start = u16::from_be_bytes(random::bytes::<2>()?) % (PORTS.end - PORTS.start);
    let mut candidates =
        (0..PORTS.end - PORTS.start).map(|step| PORTS.start + (start + step) % (PORTS.end - PORTS.start));
    candidates
        .find(|port| {
            !state.ports().any(|taken| taken == *port)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
        })
        .ok_or_else(ApiError::no_port)
}

/// `POST …/endpoints?endpoint_id=&replace_existing=`.
pub(crate) async fn create(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    live_branch(&app.state(), &project, &branch)?;
    let id = chosen_id(&query, "endpoint_id", wanted.endpoint_id.as_deref())?;
    let replace = flag(&query, "replace_existing")?;
    wanted.spec.refuse_settings()?;
    let read_only = match wanted.spec.endpoint_type.as_deref() {
        Some("ENDPOINT_TYPE_READ_WRITE") => false,
        Some("ENDPOINT_TYPE_READ_ONLY") => true,
        None | Some("" | "ENDPOINT_TYPE_UNSPECIFIED") => return Err(ApiError::required("endpoint_type")),
        Some(other) => {
            return Err(ApiError::invalid(format!("Field 'endpoint_type' is not known: '{other}'.")));
        }
    };
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let (owner, parent) = live_branch(state, &project, &branch)?;
            let existing = parent.endpoints.iter().find(|endpoint| endpoint.id == id);
            let mut endpoint = match existing {
                Some(existing) if replace && existing.read_only == read_only => existing.clone(),
                Some(_) => {
                    return Err(ApiError::already_exists(
                        "endpoint",
                        &id,
                        app.faults.already_exists(&branch),
                    ));
                }
                None if !read_only && parent.endpoints.iter().any(|endpoint| !endpoint.read_only) => {
                    return Err(ApiError::bad_request("read_write endpoint already exists"));
                }
                None => Endpoint {
                    id: id.clone(),
                    uid: random::uid("ep")?,
                    created: now,
                    updated: now,
                    read_only,
                    disabled: false,
                    compute: owner.compute.clone(),
                    port: allocate_port(state)?,
                },
            };
            wanted.spec.compute.apply(&mut endpoint.compute)?;
            endpoint.disabled = wanted.spec.disabled.unwrap_or(endpoint.disabled);
            endpoint.updated = now;
            let parent = branch_mut(state, &project, &branch)?;
            parent.endpoints.retain(|other| other.id != id);
            parent.endpoints.push(endpoint.clone());
            let (owner, parent) = live_branch(state, &project, &branch)?;
            let view = views::endpoint(&app, owner, parent, &endpoint);
            operate(state, &name(&project, &branch, &id), "Endpoint", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}

fn name(project: &str, branch: &str, endpoint: &str) -> String {
    format!("{}/endpoints/{endpoint}", views::branch_name(project, branch))
}

/// `GET …/endpoints`.
pub(crate) async fn list(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let state = app.state();
    let (owner, parent) = live_branch(&state, &project, &branch)?;
    let shown = parent.endpoints.iter().map(|endpoint| views::endpoint(&app, owner, parent, endpoint));
    page(&query, "endpoints", shown.collect())
}

/// `GET …/endpoints/{e}`.
pub(crate) async fn get(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let state = app.state();
    let (owner, parent) = live_branch(&state, &project, &branch)?;
    let endpoint =
        parent.endpoints.iter().find(|it| it.id == id).ok_or_else(|| ApiError::not_found("endpoint"))?;
    Ok(Json(views::endpoint(&app, owner, parent, endpoint)).into_response())
}

/// `PATCH …/endpoints/{e}?update_mask=`. A disabled endpoint's PostgreSQL is stopped by the controller.
pub(crate) async fn update(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    const COMPUTE: [&str; 6] = [
        "spec.autoscaling_limit_min_cu",
        "spec.autoscaling_limit_max_cu",
        "spec.suspend_timeout_duration",
        "spec.no_suspension",
        "spec.suspension",
        "spec.group",
    ];
    const KNOWN: [&str; 9] = [
        COMPUTE[0],
        COMPUTE[1],
        COMPUTE[2],
        COMPUTE[3],
        COMPUTE[4],
        COMPUTE[5],
        "spec.disabled",
        "spec.settings",
        "spec.settings.pg_settings",
    ];
    let wanted: Body = body(&bytes)?;
    let now = app.clock.now();
    let operation = app
        .update(|state| {
            let missing = || ApiError::not_found("endpoint");
            let parent = branch_mut(state, &project, &branch)?;
            let endpoint = parent.endpoints.iter_mut().find(|it| it.id == id).ok_or_else(missing)?;
            let mask = Mask::read(&query, &KNOWN, &["spec.endpoint_type"])?;
            if mask.has("spec.settings", true) || mask.has("spec.settings.pg_settings", true) {
                wanted.spec.refuse_settings()?;
            }
            if COMPUTE.iter().any(|path| mask.has(path, true)) {
                wanted.spec.compute.apply(&mut endpoint.compute)?;
            }
            if let Some(disabled) = wanted.spec.disabled.filter(|_| mask.has("spec.disabled", true)) {
                endpoint.disabled = disabled;
            }
            endpoint.updated = now;
            let (owner, parent) = live_branch(state, &project, &branch)?;
            let endpoint = parent.endpoints.iter().find(|it| it.id == id).ok_or_else(missing)?;
            let view = views::endpoint(&app, owner, parent, endpoint);
            operate(state, &name(&project, &branch, &id), "Endpoint", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}

/// `DELETE …/endpoints/{e}`. The read-write endpoint lives as long as its branch.
pub(crate) async fn delete(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let operation = app
        .update(|state| {
            let parent = branch_mut(state, &project, &branch)?;
            let at = parent.endpoints.iter().position(|it| it.id == id).ok_or_else(|| ApiError::not_found("endpoint"))?;
            let name = name(&project, &branch, &id);
            if !parent.endpoints[at].read_only {
                let message =
                    format!("Cannot delete primary endpoint '{name}'. Primary endpoints cannot be deleted independently.");
                return Err(ApiError::managed_by_parent(message));
            }
            if parent.is_protected {
                return Err(ApiError::bad_request("cannot delete endpoint of protected branch"));
            }
            parent.endpoints.remove(at);
            operate(state, &name, "Endpoint", Some(views::empty()))
        })
        .await?;
    Ok(answer(&operation))
}
