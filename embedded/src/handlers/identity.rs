//! Who is asking, and what clients look up before they ask.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api_error::ApiResult;
use crate::app::App;
use crate::http::Caller;
use crate::identities::{Identity, Kind};

/// The workspace's number, in the header that the service sends it in.
const WORKSPACE: &str = "1";

/// `GET /api/2.0/preview/scim/v2/Me`: whoever asks.
pub(crate) async fn me(caller: Caller) -> ApiResult {
    let Identity { id, user_name, display_name, kind, .. } = caller.as_ref();
    let mut body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": id.to_string(),
        "userName": user_name,
        "displayName": display_name,
        "active": true,
    });
    if *kind == Kind::User {
        body["emails"] = json!([{"type": "work", "value": user_name, "primary": true}]);
    }
    Ok(([("X-Databricks-Org-Id", WORKSPACE)], Json(body)).into_response())
}

/// Where tokens are had, which is also whom GitHub's are made for.
pub(crate) fn token_endpoint(app: &App) -> String {
    format!("{}/v1/token", issuer(app))
}

fn issuer(app: &App) -> String {
    format!("http://127.0.0.1:{}/oidc", app.port)
}

/// `GET /.well-known/databricks-config`: where the tokens of a workspace come from.
pub(crate) async fn config(State(app): State<App>) -> ApiResult {
    let body = json!({
        "oidc_endpoint": issuer(&app),
        "workspace_id": WORKSPACE,
        "token_federation_default_oidc_audiences": [token_endpoint(&app)],
    });
    Ok(Json(body).into_response())
}

/// `GET /oidc/.well-known/oauth-authorization-server`.
pub(crate) async fn oauth_server(State(app): State<App>) -> ApiResult {
    let issuer = issuer(&app);
    let body = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/v1/authorize"),
        "token_endpoint": token_endpoint(&app),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": ["all-apis"],
    });
    Ok(Json(body).into_response())
}

/// `GET /oidc/v1/authorize`: people sign in with their own token.
pub(crate) async fn no_browser() -> Response {
    let body = json!({
        "error": "unauthorized_client",
        "error_description": "nobody signs in to the embedded Lakebase with a browser: see `embedded env`",
    });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
