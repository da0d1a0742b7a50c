//! What an answer of the API means for the caller.

use reqwest::StatusCode;

use super::wire::ErrorBody;
use crate::error::{Error, Kind};

/// A call that failed.
#[derive(Debug)]
pub enum ApiError {
    /// The server answered with an error.
    Refused {
        /// The HTTP status; none for an operation that failed after it was accepted.
        status: Option<StatusCode>,
        /// `error_code` of the body, such as `NOT_FOUND`; empty where the body is not of the API.
        code: String,
        /// The server's words.
        message: String,
        /// How long the server asks to wait, in seconds.
        retry_after: Option<u64>,
    },
    /// No answer came, or none that can be read.
    Transport {
        /// Whether the request may have reached the server.
        sent: bool,
        /// What the HTTP client says; it holds neither header nor body.
        why: String,
    },
    /// No token could be had, or another failure before the call.
    Before(Error),
}

impl ApiError {
    /// Reads an error answer; whatever the body is, there are words for it.
    pub(super) fn read(status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> Self {
        let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
        let (code, message) = parsed.map_or_else(Default::default, |body| {
            (body.error_code.as_str().unwrap_or_default().to_owned(), body.message)
        });
        let message = if message.is_empty() { format!("the answer was {status}") } else { message };
        Self::Refused { status: Some(status), code, message, retry_after }
    }

    /// The error that an operation ended with.
    pub(super) fn of_operation(body: ErrorBody) -> Self {
        let code = body.error_code.as_str().unwrap_or_default().to_owned();
        Self::Refused { status: None, code, message: body.message, retry_after: None }
    }

    /// Whether the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. }
            if *status == Some(StatusCode::NOT_FOUND) || code == "NOT_FOUND")
    }

    /// Whether the credential was refused, before anything was done.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: Some(StatusCode::UNAUTHORIZED), .. })
    }

    /// Whether a create met something that exists; both spellings are in use
    /// (409 ALREADY_EXISTS, and 400 BAD_REQUEST with `… already exists`).
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Refused { status, code, message, .. }
            if *status == Some(StatusCode::CONFLICT) || code == "ALREADY_EXISTS"
                || (code == "BAD_REQUEST" && message.contains("already exists")))
    }

    /// Whether the branch limit of the project is reached: known by the code alone.
    pub fn is_quota(&self) -> bool {
        const CODES: [&str; 3] = ["QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "RESOURCE_LIMIT_EXCEEDED"];
        matches!(self, Self::Refused { status, code, .. }
            if CODES.contains(&code.as_str()) && *status != Some(StatusCode::TOO_MANY_REQUESTS))
    }

    /// Whether the workspace allows branches no such long life. (Live: `expiration time exceeds the maximum expiration
    /// time`, with no code of its own.)
    pub fn is_life_too_long(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("exceeds the maximum expiration"))
    }

    /// Whether the same call may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_some_and(|status| matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504))
            }
            Self::Transport { .. } => true,
            Self::Before(_) => false,
        }
    }

    /// Whether the server did nothing, so that even a create may be sent again.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Self::Refused { status: Some(StatusCode::TOO_MANY_REQUESTS), .. })
    }

    /// The failure of `doing` (for instance "creating branch x") as a user reads it.
    pub fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Before(error) => error,
            Self::Transport { why, .. } => {
                Error::new(Kind::Unreachable, format!("{doing} failed: no usable answer from the Lakebase API"))
                    .because_of(why)
                    .hint("check the workspace host and the network, then run the same command again")
            }
            Self::Refused { status: Some(StatusCode::UNAUTHORIZED), message, .. } => {
                Error::new(Kind::Denied, format!("{doing} failed: the workspace refused the credential"))
                    .because_of(message)
                    .hint("it is wrong, expired, or of another workspace: `doctor` says which credential counts, and why")
            }
            Self::Refused { status: Some(StatusCode::FORBIDDEN), message, .. } => {
                Error::new(Kind::Denied, format!("{doing} failed: this identity may not do that"))
                    .because_of(message)
                    .hint("ask a manager of the Lakebase project for the permission")
            }
            error @ Self::Refused { .. } if error.is_quota() => {
                let Self::Refused { message, .. } = error else { unreachable!() };
                Error::new(Kind::Quota, format!("{doing} failed: the project's branch limit is reached"))
                    .because_of(message)
                    .hint("`branches` lists them; `--free-slot` deletes the one of those that this machine made for you which was needed least lately, `--wait-slot` waits for one")
            }
            Self::Refused { message, .. } => Error::new(Kind::Api, format!("{doing} failed")).because_of(message),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(status: u16, body: &str) -> ApiError {
        ApiError::read(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    #[test]
    fn both_spellings_of_already_exists_are_known() {
        assert!(
            read(409, r#"{"error_code":"ALREADY_EXISTS","message":"branch with such id already exists"}"#)
                .is_already_exists()
        );
        assert!(
            read(400, r#"{"error_code":"BAD_REQUEST","message":"branch already exists; branch_name:\"x\""}"#)
                .is_already_exists()
        );
        assert!(
            !read(400, r#"{"error_code":"BAD_REQUEST","message":"cannot delete protected branch"}"#)
                .is_already_exists()
        );
    }

    #[test]
    fn a_numeric_code_of_a_missing_credential_is_read() {
        let error = read(401, r#"{"error_code":401,"message":"Credential was not sent"}"#).into_error("x");
        assert_eq!(error.kind, Kind::Denied);
        assert_eq!(error.causes, ["Credential was not sent"]);
    }

    #[test]
    fn a_life_that_is_too_long_is_known_by_its_words() {
        let said = "expiration time exceeds the maximum expiration time [TraceId: x]";
        assert!(
            read(400, &format!(r#"{{"error_code":"BAD_REQUEST","message":"{said}"}}"#)).is_life_too_long()
        );
        assert!(!read(400, r#"{"error_code":"BAD_REQUEST","message":"bad"}"#).is_life_too_long());
    }

    #[test]
    fn quota_is_not_a_rate_limit() {
        assert_eq!(read(400, r#"{"error_code":"QUOTA_EXCEEDED"}"#).into_error("x").kind, Kind::Quota);
        assert!(!read(429, r#"{"error_code":"RESOURCE_EXHAUSTED"}"#).is_quota());
        let late = ErrorBody { error_code: "QUOTA_EXCEEDED".into(), message: String::new() };
        assert!(ApiError::of_operation(late).is_quota(), "an operation may end with it too");
    }

    proptest! {
        #[test]
        fn any_body_has_words(status in 400u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let error = ApiError::read(StatusCode::from_u16(status).unwrap(), None, &body).into_error("x");
            prop_assert!(!error.causes.is_empty());
        }
    }
}
