//! Operations: readable under their full name, also when what they worked on is gone.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;

use crate::api_error::{ApiError, ApiResult};
use crate::app::App;
use crate::views;

/// `GET /{resource name}/operations/{id}`.
pub(crate) async fn get(State(app): State<App>, OriginalUri(uri): OriginalUri) -> ApiResult {
    let name = uri.path().strip_prefix("/api/2.0/postgres/").ok_or_else(ApiError::no_operation)?;
    let state = app.state();
    let operation = state.operations.iter().find(|operation| operation.name == name);
    let operation = operation.ok_or_else(ApiError::no_operation)?;
    Ok(Json(views::operation(operation)).into_response())
}
