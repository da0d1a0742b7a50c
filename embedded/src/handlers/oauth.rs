//! OAuth for machines: a service principal's secret, or GitHub's word for it, in exchange for an access token.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

use super::{Query, identity, later};
use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::http::bearer;
use crate::identities::{Identity, Kind};
use crate::tokens::{Purpose, WORKSPACE};

/// How long an access token lives, in seconds.
const ACCESS: i64 = 3600;
/// How long a token of GitHub's lives, in seconds.
const GITHUB: i64 = 300;
/// The scope that the API wants.
const SCOPE: &str = "all-apis";
/// What GitHub writes tokens for where it is not told for whom.
const UNTOLD: &str = "https://github.com/embedded";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The parameters of a request for a token.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    subject_token: Option<String>,
    subject_token_type: Option<String>,
}

/// A refusal as OAuth says it (RFC 6749, section 5.2).
struct Refused(StatusCode, &'static str, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, error, description) = self;
        let body = Json(json!({"error": error, "error_description": description}));
        let mut response = (status, [(CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"oidc\""));
        }
        response
    }
}

fn bad(error: &'static str, description: &'static str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error, description)
}

fn unknown_client() -> Refused {
    Refused(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed")
}

/// `POST /oidc/v1/token`.
pub(crate) async fn token(
    State(app): State<App>,
    headers: HeaderMap,
    form: Result<Form<Wanted>, FormRejection>,
) -> Response {
    let Ok(Form(wanted)) = form else {
        return bad("invalid_request", "The request is not a form").into_response();
    };
    let granted = match wanted.grant_type.as_deref() {
        Some("client_credentials") => by_secret(&app, &headers, &wanted),
        Some(EXCHANGE) => by_github(&app, &wanted),
        Some(_) => Err(bad("unsupported_grant_type", "This grant type is not offered")),
        None => Err(bad("invalid_request", "grant_type is missing")),
    };
    match granted.and_then(|identity| access(&app, &wanted, &identity).map(|answer| (answer, identity))) {
        // Whose it is belongs into the list of calls.
        Ok((answer, identity)) => (Extension(identity), answer).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// A service principal that says its secret, in the header or in the form.
fn by_secret(app: &App, headers: &HeaderMap, wanted: &Wanted) -> Result<Arc<Identity>, Refused> {
    let (id, secret) = match (basic(headers), &wanted.client_id, &wanted.client_secret) {
        (Some(_), _, Some(_)) => return Err(bad("invalid_request", "The client says its secret twice")),
        (Some(pair), ..) => pair,
        (None, Some(id), Some(secret)) => (id.clone(), secret.clone()),
        _ => return Err(unknown_client()),
    };
    let found = app.identities.find(|identity| {
        identity.kind == Kind::ServicePrincipal
            && identity.github_subject.is_none()
            && identity.user_name == id
            && identity.has_secret(&secret)
    });
    found.ok_or_else(unknown_client)
}

/// Client and secret of `Authorization: Basic …`.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, pair) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (id.to_owned(), secret.to_owned()))
}

/// A service principal that GitHub vouches for: its own client id, and a token for this workspace with the subject that it trusts.
fn by_github(app: &App, wanted: &Wanted) -> Result<Arc<Identity>, Refused> {
    let id = wanted.client_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| bad("invalid_request", "client_id is missing"))?;
    let token = wanted.subject_token.as_deref().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| bad("invalid_request", "subject_token is missing"))?;
    if wanted.subject_token_type.as_deref() != Some(JWT) {
        return Err(bad("invalid_request", "subject_token_type must be that of a JWT"));
    }
    let audience = identity::token_endpoint(app);
    let subject = app.tokens.verify(Purpose::GitHub, token, &audience, app.clock.now());
    let subject = subject.map_err(|reason| {
        app.log.line(&format!("a token of GitHub's is refused: {reason}"));
        bad("invalid_grant", "The subject token is not accepted")
    })?;
    let found = app.identities.find(|identity| {
        identity.user_name == id && identity.github_subject.as_deref() == Some(subject.as_str())
    });
    found.ok_or_else(|| bad("invalid_grant", "No federation policy of the client accepts the subject token"))
}

/// The access token of an identity.
fn access(app: &App, wanted: &Wanted, identity: &Identity) -> Result<Response, Refused> {
    if !wanted.scope.as_deref().unwrap_or_default().split(' ').any(|scope| scope == SCOPE) {
        return Err(bad("invalid_scope", "The scope must be all-apis"));
    }
    let now = app.clock.now();
    let seconds = app.faults.token_life("").map_or(ACCESS, |life| life.min(ACCESS));
    let failed = |_| Refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The server had a problem");
    let expires = later(now, seconds).map_err(failed)?;
    let token = app.tokens.sign(Purpose::Workspace, &identity.user_name, WORKSPACE, now, expires);
    let token = token.map_err(|error| failed(error.into()))?;
    let body = json!({"access_token": token, "scope": SCOPE, "token_type": "Bearer", "expires_in": seconds});
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// `GET /embedded/github-oidc?audience=`: what stands behind `ACTIONS_ID_TOKEN_REQUEST_URL` in a job of GitHub's.
pub(crate) async fn github(State(app): State<App>, headers: HeaderMap, query: Query) -> ApiResult {
    let job = bearer(&headers)
        .and_then(|token| app.identities.find(|it| it.github_subject.is_some() && it.has_secret(token)))
        .ok_or_else(ApiError::unauthenticated)?;
    let audience = query.get("audience").map(String::as_str).filter(|audience| !audience.is_empty());
    let (subject, now) = (job.github_subject.as_deref().unwrap_or_default(), app.clock.now());
    let expires = later(now, GITHUB)?;
    let value = app.tokens.sign(Purpose::GitHub, subject, audience.unwrap_or(UNTOLD), now, expires)?;
    Ok((Extension(job), Json(json!({"count": value.len(), "value": value}))).into_response())
}
