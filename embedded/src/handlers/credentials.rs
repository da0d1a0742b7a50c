//! Database credentials.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::{RoundMode, TimestampRound, Unit};
use serde::Deserialize;
use serde_json::json;

use super::{body, duration, grants, later, named_endpoint, time};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::http::Caller;
use crate::tokens::{CREDENTIAL_SECONDS, Purpose};

#[derive(Deserialize)]
struct Wanted {
    endpoint: Option<String>,
    ttl: Option<String>,
    expire_time: Option<String>,
}

/// `POST /credentials`: a token that is the password for one endpoint.
pub(crate) async fn create(State(app): State<App>, caller: Caller, bytes: Bytes) -> ApiResult {
    let wanted: Wanted = body(&bytes)?;
    let name = wanted.endpoint.ok_or_else(|| ApiError::required("endpoint"))?;
    let state = app.state();
    let (_, branch, endpoint) = named_endpoint(&state, &name)?;
    let now = app.clock.now();
    let (shortest, longest) = (*CREDENTIAL_SECONDS.start(), *CREDENTIAL_SECONDS.end());
    // A client that says "at the time 300 seconds from now" has spent some of them on its way here.
    let (expires, tolerance) = match (wanted.ttl, wanted.expire_time) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("Only one of 'ttl' and 'expire_time' can be given."));
        }
        (Some(ttl), None) => (later(now, duration("ttl", &ttl)?)?, 0),
        (None, Some(expires)) => (time("expire_time", &expires)?, 5),
        (None, None) => (later(now, longest)?, 0),
    };
    let life = expires.duration_since(now).as_secs();
    if life + tolerance < shortest || life > longest + tolerance {
        let message =
            format!("The lifetime of a credential must be between {shortest} and {longest} seconds.");
        return Err(ApiError::invalid(message));
    }
    // A setting for tests ends it earlier. A token says its end in whole seconds, so that is what is promised.
    let longest = [app.token_ttl, app.faults.token_life(&branch.id)].into_iter().flatten().min();
    let expires = match longest {
        Some(ttl) => expires.min(later(now, ttl)?),
        None => expires,
    };
    let expires = expires
        .round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
        .map_err(|_| ApiError::invalid("a duration is too long"))?;
    grants::ensure(&app, &branch.uid, &caller).await?;
    let token = app.tokens.sign(Purpose::Database, &caller.user_name, &endpoint.uid, now, expires)?;
    Ok(Json(json!({"token": token, "expire_time": expires.to_string()})).into_response())
}
