//! Errors as PostgreSQL words them: the ones said to a client, and the ones a server said.

use crate::message::{self, MessageError};

/// SQLSTATE "invalid authorization specification".
pub const INVALID_AUTHORIZATION: &str = "28000";
/// SQLSTATE "invalid password".
pub const INVALID_PASSWORD: &str = "28P01";
/// SQLSTATE "protocol violation".
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// SQLSTATE "feature not supported".
pub const NOT_SUPPORTED: &str = "0A000";
/// SQLSTATE "connection failure", for a server that can't be reached.
pub const CONNECTION_FAILURE: &str = "08006";
/// SQLSTATE "cannot connect now", for a server that is not there yet.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// SQLSTATE "query canceled", which PostgreSQL gives a login that takes too long.
pub const QUERY_CANCELED: &str = "57014";
/// SQLSTATE "internal error".
pub const INTERNAL_ERROR: &str = "XX000";

/// A refusal that the client reads as a PostgreSQL error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters, from PostgreSQL's table of error codes.
    pub sqlstate: &'static str,
    /// One line, shown after `FATAL:`.
    pub message: String,
    /// The cause, shown after `DETAIL:`.
    pub detail: Option<String>,
    /// What to do, shown after `HINT:`.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without detail and hint.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The whole message of the protocol. Zero bytes in the texts are dropped, for they would end the field.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (field, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', self.sqlstate), (b'M', &self.message)]
        {
            push_field(&mut body, field, text);
        }
        for (field, text) in [(b'D', &self.detail), (b'H', &self.hint)] {
            if let Some(text) = text {
                push_field(&mut body, field, text);
            }
        }
        body.push(0);
        message::with_length(Some(b'E'), &body)
    }
}

/// An error that a server said before a session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The body of its message: fields, each a type byte and a zero-terminated text, then a zero byte.
    body: Vec<u8>,
}

impl ServerError {
    /// Takes the body of an error message. Fails where it is no list of fields.
    pub fn parse(body: Vec<u8>) -> Result<Self, MessageError> {
        let error = Self { body };
        let mut length = 1;
        for (_, text) in error.fields() {
            length += text.len() + 2;
        }
        if length == error.body.len() && error.body.last() == Some(&0) {
            Ok(error)
        } else {
            Err(MessageError::Invalid("an error that is no list of fields"))
        }
    }

    /// The SQLSTATE; empty where the server sent none.
    pub fn sqlstate(&self) -> &str {
        self.field(b'C')
    }

    /// The message's one line; empty where it is missing or not UTF-8.
    pub fn message(&self) -> &str {
        self.field(b'M')
    }

    /// Whether it says that the user or the password is not accepted: "invalid password", or an "invalid authorization"
    /// in the words of the service (`OAuth: User is not authorized`, `External authorization failed`).
    pub fn is_login_refused(&self) -> bool {
        match self.sqlstate() {
            INVALID_PASSWORD => true,
            INVALID_AUTHORIZATION => self.message().to_ascii_lowercase().contains("authoriz"),
            _ => false,
        }
    }

    /// Whether it says that the server is on its way up, or down to come up again: PostgreSQL's words for it, not those of
    /// an endpoint that is disabled or gone.
    pub fn is_starting(&self) -> bool {
        let ways = ["starting up", "shutting down", "in recovery mode", "not yet accepting connections"];
        self.sqlstate() == CANNOT_CONNECT_NOW && ways.iter().any(|way| self.message().contains(way))
    }

    /// The whole message of the protocol, with `hint` where the server gave none of its own.
    pub fn to_bytes(&self, hint: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        if let Some(hint) = hint.filter(|_| self.field(b'H').is_empty()) {
            body.pop();
            push_field(&mut body, b'H', hint);
            body.push(0);
        }
        message::with_length(Some(b'E'), &body)
    }

    fn field(&self, wanted: u8) -> &str {
        let text = self.fields().find(|(field, _)| *field == wanted).map(|(_, text)| text);
        text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Every field up to the first that is damaged.
    fn fields(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.body.as_slice();
        std::iter::from_fn(move || {
            let (field, after) = rest.split_first().filter(|(field, _)| **field != 0)?;
            let end = after.iter().position(|byte| *byte == 0)?;
            rest = &after[end + 1..];
            Some((*field, &after[..end]))
        })
    }
}

fn push_field(body: &mut Vec<u8>, field: u8, text: &str) {
    body.push(field);
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(error) = ServerError::parse(bytes) {
                let _ = (error.sqlstate(), error.message(), error.to_bytes(Some("hint")));
            }
        }

        #[test]
        fn what_is_said_is_one_message_that_reads_back(message in ".{0,60}", hint in proptest::option::of("[^\0]{1,60}")) {
            let mut refusal = Refusal::new(INVALID_AUTHORIZATION, message.clone());
            refusal.hint = hint;
            let bytes = refusal.to_bytes();
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            prop_assert_eq!(length + 1, bytes.len());
            let read = ServerError::parse(bytes[5..].to_vec()).unwrap();
            prop_assert_eq!(read.sqlstate(), INVALID_AUTHORIZATION);
            prop_assert_eq!(read.message(), message.replace('\0', ""));
        }
    }

    #[test]
    fn a_hint_is_added_where_there_is_none_and_only_there() {
        // given an error without a hint, and one with
        let plain = Refusal::new(INVALID_PASSWORD, "no");
        let hinted = plain.clone().hint("theirs");
        let parse = |refusal: &Refusal| ServerError::parse(refusal.to_bytes()[5..].to_vec()).unwrap();
        // when ours is added, then the server's own words stay
        assert_eq!(parse(&plain).to_bytes(Some("ours")), plain.hint("ours").to_bytes());
        assert_eq!(parse(&hinted).to_bytes(Some("ours")), hinted.to_bytes());
    }

    #[test]
    fn a_server_that_recovers_is_waited_for_and_one_that_is_off_is_not() {
        let starting = |message: &str| {
            let bytes = Refusal::new(CANNOT_CONNECT_NOW, message).to_bytes();
            ServerError::parse(bytes[5..].to_vec()).unwrap().is_starting()
        };
        assert!(starting("the database system is starting up"));
        assert!(starting("the database system is in recovery mode"));
        assert!(starting("the database system is shutting down"));
        assert!(starting("the database system is not yet accepting connections"));
        assert!(!starting("the database system is not accepting connections"));
        assert!(!starting("the endpoint is disabled"));
    }

    #[test]
    fn the_services_words_for_a_refused_login_are_known() {
        let refused = |sqlstate, message: &str| {
            let bytes = Refusal::new(sqlstate, message).to_bytes();
            ServerError::parse(bytes[5..].to_vec()).unwrap().is_login_refused()
        };
        assert!(refused(INVALID_PASSWORD, "OAuth: User is not authorized"));
        assert!(refused(INVALID_AUTHORIZATION, "External authorization failed"));
        assert!(!refused(INVALID_AUTHORIZATION, "role \"x\" does not exist"));
        assert!(!refused(CANNOT_CONNECT_NOW, "the database system is starting up"));
    }
}
