//! What the service has no route for: the test's hand on clock and engines.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;

use super::{body, named_endpoint};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::faults::MAX_SKEW;
use crate::postgres::Stop;
use crate::state::Phase;
use crate::views;

#[derive(Deserialize)]
struct Skew {
    skew_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct Suspended {
    endpoint: Option<String>,
}

/// `GET /embedded/clock`: the server's time, and by how much it is ahead.
pub(crate) async fn clock(State(app): State<App>) -> ApiResult {
    let (now, skew) = (app.clock.now().to_string(), app.clock.skew().as_secs());
    Ok(Json(json!({"now": now, "skew_seconds": skew})).into_response())
}

/// `PATCH /embedded/clock`: moves the clock, until the server ends. Tokens, expiries and suspensions follow it at once.
pub(crate) async fn set_clock(State(app): State<App>, bytes: Bytes) -> ApiResult {
    let wanted: Skew = body(&bytes)?;
    let skew = wanted.skew_seconds.ok_or_else(|| ApiError::required("skew_seconds"))?;
    if !(-MAX_SKEW..=MAX_SKEW).contains(&skew) {
        return Err(ApiError::invalid(format!(
            "Field 'skew_seconds' must be within ±{MAX_SKEW}, got {skew}."
        )));
    }
    app.clock.set_skew(SignedDuration::from_secs(skew));
    app.changed.send_replace(());
    clock(State(app)).await
}

/// `POST /embedded/suspend`: stops the PostgreSQL behind an endpoint, ends its sessions, and answers with the endpoint once
/// it is idle. The next login wakes it.
pub(crate) async fn suspend(State(app): State<App>, bytes: Bytes) -> ApiResult {
    let wanted: Suspended = body(&bytes)?;
    let name = wanted.endpoint.ok_or_else(|| ApiError::required("endpoint"))?;
    let state = app.state();
    let (project, branch, endpoint) = named_endpoint(&state, &name)?;
    if branch.phase != Phase::Ready {
        return Err(ApiError::bad_request("branch is not ready"));
    }
    app.sleep(&branch.uid, Stop::Fast).await?;
    Ok(Json(views::endpoint(&app, project, branch, endpoint)).into_response())
}
