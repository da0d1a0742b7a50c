//! Errors in the API's shape: HTTP status, `error_code`, `message`, and `details` where the service sends them.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::random;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    /// None where `error_code` is the status as a number.
    code: Option<Cow<'static, str>>,
    message: String,
    details: Vec<Value>,
}

/// Result of a handler.
pub type ApiResult<T = Response> = std::result::Result<T, ApiError>;

/// The pattern of ids that clients choose.
pub const ID_PATTERN: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";

impl ApiError {
    fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: Some(code.into()), message: message.into(), details: Vec::new() }
    }

    /// 404 for a missing resource of a kind (`branch`, `project`, …).
    pub fn not_found(kind: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{kind} id not found [TraceId: {}]", trace()))
    }

    /// 404 for an unknown operation.
    pub fn no_operation() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "operation id not found")
    }

    /// 404 for a route that is none.
    pub fn no_route(method: &str, path: &str) -> Self {
        let path = path.strip_prefix("/api/2.0").unwrap_or(path);
        Self::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", format!("No API found for '{method} {path}'"))
    }

    /// 400 for a value that is not what it should be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    /// 400 for a required field that is missing or empty.
    pub fn required(field: &str) -> Self {
        Self::invalid(format!("Field '{field}' is required, expected non-default value (not \"\")!"))
    }

    /// 400 for an id that does not match [`ID_PATTERN`].
    pub fn bad_id(field: &str, got: &str) -> Self {
        Self::invalid(format!("Field {field} must match pattern {ID_PATTERN}, got '{got}'."))
    }

    /// 400 for a request that can't be carried out on what is there.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// 400 for what lives and dies with its parent, with the details the service sends.
    pub fn managed_by_parent(message: impl Into<String>) -> Self {
        let mut error = Self::bad_request(message);
        error.details = vec![
            json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RESOURCE_CONFLICT",
                "domain": "databricks.com",
                "metadata": {"declarative_context": "MANAGED_BY_PARENT"},
            }),
            json!({"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": trace(), "serving_data": ""}),
        ];
        error
    }

    /// 409 for an id that is taken; or 400, as it was seen as well, where `status` says so.
    pub fn already_exists(kind: &str, id: &str, status: Option<u16>) -> Self {
        if status == Some(400) {
            return Self::bad_request(format!(
                "{kind} already exists; {kind}_name:\"{id}\" [TraceId: {}]",
                trace()
            ));
        }
        Self::new(StatusCode::CONFLICT, "ALREADY_EXISTS", format!("{kind} with such id already exists"))
    }

    /// A limit that is reached. The service's own status and words are not known, and its code is one of three: 400 and the
    /// first of them unless `status` and `code` are given.
    pub fn quota(message: impl Into<String>, otherwise: Option<(u16, String)>) -> Self {
        let (status, code) = otherwise.unwrap_or((400, "QUOTA_EXCEEDED".to_owned()));
        Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), code, message)
    }

    /// 401; its `error_code` is a number.
    pub fn unauthenticated() -> Self {
        let message = format!(
            "Credential was not sent or was of an unsupported type for this API. [ReqId: {}]",
            trace()
        );
        Self { status: StatusCode::UNAUTHORIZED, code: None, message, details: Vec::new() }
    }

    /// 403 for what an identity may not do.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// 409 for work that was given up because its resource went away.
    pub fn aborted(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ABORTED", message)
    }

    /// 400 for a body that is no JSON, or not of the expected types.
    pub fn malformed(cause: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MALFORMED_REQUEST",
            format!("Could not parse request object: {cause}"),
        )
    }

    /// 413 for a body over the limit.
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "MALFORMED_REQUEST", "The request body is too large")
    }

    /// 501 for what the service has and this server has not.
    pub fn not_offered(what: &str) -> Self {
        let message = format!("The embedded Lakebase does not offer {what}");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    }

    /// 500 for trouble of the server's own; what it was is in the log.
    pub fn internal() -> Self {
        let message = format!(
            "The server had a problem; its log says more. Please try again later. [TraceId: {}]",
            trace()
        );
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message)
    }

    /// 500 for a machine whose ports are all taken.
    pub fn no_port() -> Self {
        let message = format!("no free TCP port is left for an endpoint [TraceId: {}]", trace());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message)
    }

    /// The body as the API sends it.
    pub fn body(&self) -> Value {
        let code = self.code.as_deref().map_or_else(|| Value::from(self.status.as_u16()), Value::from);
        let mut body = json!({"error_code": code, "message": self.message});
        if !self.details.is_empty() {
            body["details"] = self.details.clone().into();
        }
        body
    }
}

impl From<Error> for ApiError {
    /// Errors of PostgreSQL are the client's business (a name that is taken, a role that owns things), and so
    /// is a version that is not there; the rest is ours.
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Postgres | ErrorKind::NoPostgres | ErrorKind::Refused => {
                Self::bad_request(error.chain())
            }
            _ => Self::internal(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

/// An id that finds the request in a log.
pub(crate) fn trace() -> String {
    random::hex::<16>().unwrap_or_default()
}
