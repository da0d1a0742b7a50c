//! The layer round all routes: it keeps the list of calls, and strikes those that a fault is meant for.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::spec::Garbage;
use super::wire::Fuse;
use super::{Call, Kind, Moment, Spec};
use crate::api_error::trace;
use crate::app::App;
use crate::calls::Entry;
use crate::http::MAX_BODY;
use crate::identities::Identity;

/// Runs a call, or what a fault does in its place.
pub(crate) async fn strike(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    let query = uri.query().unwrap_or_default();
    let Some(mut call) = Call::of(&method, uri.path(), query) else { return next.run(request).await };
    let start_ms = app.calls.now_ms();
    if call.name == "credentials.create" && app.faults.name_a_branch() {
        let branch;
        (request, branch) = with_branch(request).await;
        call.branch = branch;
    }
    let struck = app.faults.strike(&call);
    let number = app.calls.begin(Entry {
        number: 0,
        call: call.name,
        method,
        path: call.path,
        query: uri.query().map(str::to_owned),
        identity: None,
        status: None,
        start_ms,
        effect_ms: None,
        end_ms: None,
        faults: struck.iter().map(Spec::to_string).collect(),
    });
    for spec in &struck {
        if let Kind::PageSize(size) = spec.kind {
            shorten(&mut request, size);
        }
    }
    let fuse = request.extensions().get::<ConnectInfo<Fuse>>().map(|ConnectInfo(fuse)| fuse.clone());
    let answering = struck.iter().find(|spec| !matches!(spec.kind, Kind::Delay(_) | Kind::PageSize(_)));
    delay(&struck, Moment::Before).await;
    let response = match answering {
        Some(spec) if spec.moment == Moment::Before => None,
        _ => Some(next.run(request).await),
    };
    if response.is_some() {
        app.calls.took_effect(number);
    }
    let identity = response.as_ref().and_then(|response| response.extensions().get::<Arc<Identity>>());
    let identity = identity.map(|caller| caller.user_name.clone());
    delay(&struck, Moment::After).await;
    let (mut response, sent) = match (answering, response) {
        (None, Some(response)) => (response, true),
        (Some(spec), response) => answer(&spec.kind, response, fuse.as_ref()),
        (None, None) => (StatusCode::INTERNAL_SERVER_ERROR.into_response(), true),
    };
    app.calls.end(number, sent.then(|| response.status().as_u16()), identity);
    // A clock that is wrong is wrong for all to see.
    if !app.clock.skew().is_zero()
        && let Ok(date) =
            HeaderValue::from_str(&app.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    {
        response.headers_mut().insert(DATE, date);
    }
    response
}

async fn delay(struck: &[Spec], moment: Moment) {
    for spec in struck.iter().filter(|spec| spec.moment == moment) {
        if let Kind::Delay(time) = spec.kind {
            tokio::time::sleep(time).await;
        }
    }
}

/// What a fault sends, and whether that is a whole answer. `response` is there where the call took effect.
fn answer(kind: &Kind, response: Option<Response>, fuse: Option<&Fuse>) -> (Response, bool) {
    let outage = || error(503, None, None, None);
    match kind {
        Kind::Drop => {
            if let Some(fuse) = fuse {
                fuse.blow();
            }
            (outage(), false)
        }
        Kind::Cut => {
            if let Some(fuse) = fuse {
                fuse.halve();
            }
            (response.unwrap_or_else(outage), false)
        }
        Kind::Status { status, code, retry_after, message } => {
            (error(*status, code.as_deref(), *retry_after, message.as_deref()), true)
        }
        Kind::Garbage(Garbage::Html) => {
            let page = "<html><head><title>Sign in</title></head><body>{\"not\": json</body></html>\n";
            (([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(), true)
        }
        Kind::Garbage(Garbage::Json) => {
            let fields = json!({"name": 7, "done": "maybe", "response": [], "status": null, "uid": {}, "token": false,
                "expire_time": "soon", "userName": ["?"], "access_token": 1, "projects": "none", "branches": {"0": null},
                "endpoints": 1.5, "databases": true, "roles": "x", "next_page_token": -1});
            (Json(fields).into_response(), true)
        }
        Kind::Garbage(Garbage::Empty) => (StatusCode::OK.into_response(), true),
        _ => (response.unwrap_or_else(outage), true),
    }
}

/// An error as the service says it.
fn error(status: u16, code: Option<&str>, retry_after: Option<u64>, message: Option<&str>) -> Response {
    let (usual, words) = match status {
        400 => ("BAD_REQUEST", "The request can't be carried out"),
        401 => ("", "Credential was not sent or was of an unsupported type for this API."),
        403 => ("PERMISSION_DENIED", "You do not have the right to do this"),
        404 => ("NOT_FOUND", "The resource is not there"),
        409 => ("ABORTED", "The request came in the way of another one"),
        429 => ("REQUEST_LIMIT_EXCEEDED", "Too many requests. Please wait and retry your request again."),
        503 => ("TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "The service took too long. Please try again later."),
        500..=599 => ("INTERNAL_ERROR", "An internal error occurred. Please try again later."),
        _ => ("UNKNOWN", "A fault was set for this call"),
    };
    let code = match code.unwrap_or(usual) {
        "" => Value::from(status),
        code => Value::from(code),
    };
    let message = match (message, status) {
        (Some(message), _) => message.to_owned(),
        (None, 401) => format!("{words} [ReqId: {}]", trace()),
        (None, _) => format!("{words} [TraceId: {}]", trace()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({"error_code": code, "message": message}))).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Asks for pages of at most `size` entries in the client's name.
fn shorten(request: &mut Request, size: usize) {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("page_size="));
    let size = asked
        .and_then(|text| text.parse().ok())
        .filter(|asked| *asked != 0)
        .map_or(size, |asked| size.min(asked));
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("page_size="));
    let query: Vec<String> = others.map(str::to_owned).chain([format!("page_size={size}")]).collect();
    if let Ok(uri) = format!("{}?{}", uri.path(), query.join("&")).parse::<Uri>() {
        *request.uri_mut() = uri;
    }
}

/// The branch whose endpoint a request for a credential names; the request is whole again.
async fn with_branch(request: Request) -> (Request, Option<String>) {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_else(|_| Bytes::new());
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let endpoint = value["endpoint"].as_str().unwrap_or_default();
    let branch =
        endpoint.split_once("/branches/").and_then(|(_, rest)| rest.split('/').next()).map(str::to_owned);
    (Request::from_parts(parts, Body::from(bytes)), branch)
}
