//! What goes wrong on demand, and which calls were made: see [`crate::faults`].

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;

use super::{Query, body};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::faults::Spec;

#[derive(Deserialize)]
struct One {
    fault: Option<String>,
}

#[derive(Deserialize)]
struct All {
    faults: Option<Vec<String>>,
}

fn parse(text: &str) -> ApiResult<Spec> {
    text.parse().map_err(|error: String| ApiError::invalid(format!("Fault '{text}': {error}.")))
}

/// `GET /embedded/faults`: those that are set, and how often each struck.
pub(crate) async fn list(State(app): State<App>) -> ApiResult {
    Ok(Json(json!({"faults": app.faults.list()})).into_response())
}

/// `POST /embedded/faults` with `{"fault": LINE}`: sets a further one.
pub(crate) async fn add(State(app): State<App>, bytes: Bytes) -> ApiResult {
    let wanted: One = body(&bytes)?;
    let spec = parse(&wanted.fault.ok_or_else(|| ApiError::required("fault"))?)?;
    let view = app.faults.add(spec);
    app.changed.send_replace(());
    Ok(Json(view).into_response())
}

/// `PUT /embedded/faults` with `{"faults": [LINE, …]}`: sets these and no others.
pub(crate) async fn replace(State(app): State<App>, bytes: Bytes) -> ApiResult {
    let wanted: All = body(&bytes)?;
    let lines = wanted.faults.ok_or_else(|| ApiError::required("faults"))?;
    let specs: Vec<Spec> = lines.iter().map(|line| parse(line)).collect::<ApiResult<_>>()?;
    app.faults.clear(None);
    for spec in specs {
        app.faults.add(spec);
    }
    app.changed.send_replace(());
    list(State(app)).await
}

/// `DELETE /embedded/faults`: lifts all.
pub(crate) async fn clear(State(app): State<App>) -> ApiResult {
    let cleared = app.faults.clear(None);
    app.changed.send_replace(());
    Ok(Json(json!({"cleared": cleared})).into_response())
}

/// `DELETE /embedded/faults/{id}`: lifts one.
pub(crate) async fn clear_one(State(app): State<App>, Path(id): Path<u64>) -> ApiResult {
    if app.faults.clear(Some(id)) == 0 {
        return Err(ApiError::not_found("fault"));
    }
    app.changed.send_replace(());
    Ok(Json(json!({"cleared": 1})).into_response())
}

/// `GET /embedded/calls?since=`: the calls that were made, after the one of this number.
pub(crate) async fn calls(State(app): State<App>, query: Query) -> ApiResult {
    let since = match query.get("since").filter(|text| !text.is_empty()) {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| ApiError::invalid(format!("Field 'since' can't be '{text}'.")))?
        }
    };
    Ok(Json(json!({"now_ms": app.calls.now_ms(), "calls": app.calls.since(since)})).into_response())
}
