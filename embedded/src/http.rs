//! What every request goes through: the log, the bearer token, the limit on bodies.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use crate::api_error::ApiError;
use crate::app::App;
use crate::faults;
use crate::identities::Identity;

/// Longest body of a request, in bytes. The largest real one is a few kilobytes.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// Who is asking, for the handlers of closed routes.
pub(crate) type Caller = Extension<Arc<Identity>>;

/// Puts the checks round the routes: `closed` ones need the bearer token, `open` ones do not.
pub(crate) fn layers(closed: Router<App>, open: Router<App>, app: App) -> Router {
    closed
        .layer(middleware::map_response(in_json))
        .layer(middleware::from_fn_with_state(app.clone(), authenticated))
        .merge(open)
        .layer(middleware::from_fn_with_state(app.clone(), faults::layer::strike))
        .layer(middleware::from_fn_with_state(app.clone(), logged))
        .with_state(app)
}

/// The answer to a path or method that is none of ours.
pub(crate) async fn no_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_route(method.as_str(), uri.path())
}

async fn authenticated(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(caller) = bearer(request.headers()).and_then(|token| app.caller(token)) else {
        return ApiError::unauthenticated().into_response();
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Arc::clone(&caller));
    let Ok(bytes) = to_bytes(body, MAX_BODY).await else { return ApiError::too_large().into_response() };
    let request = Request::from_parts(parts, Body::from(Bytes::from_owner(bytes)));
    let mut response = next.run(request).await;
    // For the list of calls.
    response.extensions_mut().insert(caller);
    response
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets the developer alone through: the server's own routes move everybody's clock and stop everybody's databases.
pub(crate) async fn developer_only(caller: Caller, request: Request, next: Next) -> Response {
    if caller.is_developer() {
        return next.run(request).await;
    }
    ApiError::forbidden("The routes below /embedded are for the home's own identity: see `embedded env`")
        .into_response()
}

/// What axum refuses by itself (a path that is no UTF-8) is plain text; every error of the API is JSON.
async fn in_json(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if response.status() == StatusCode::BAD_REQUEST && kind.starts_with("text/plain") {
        return ApiError::malformed("the path or its parameters are no UTF-8").into_response();
    }
    response
}

async fn logged(State(app): State<App>, request: Request, next: Next) -> Response {
    // Method and path only: a header holds the token, and a body may one day hold a password.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    if method != Method::GET || !status.is_success() {
        app.log.line(&format!("{method} {path} {} in {} ms", status.as_u16(), begun.elapsed().as_millis()));
    }
    response
}
