//! The language of the feed: JSON, one value a line, both ways.
//!
//! Host to gateway: `{"token":"…","expires":"2026-01-31T12:00:00Z","user":"…"}` (`user` where it is not `LAKEBASE_USER`), or
//! `{"error":"words for the client"}` where no token could be minted. With `"final":true` beside the error there never will
//! be one: the words stand until another feed comes, and the gateway ends this one. `{"ping":true}` asks whether anybody
//! is there.
//!
//! Gateway to host: first `{"hello":{"branch":"…","version":"…"}}` (`branch` is `LAKEBASE_BRANCH`, or null), then
//! `{"want":"token"}` whenever one is needed, `{"pong":true}` to a ping, and `{"problem":"…"}` about a line that was not
//! understood.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::tokens::Credential;
use crate::secret::Secret;

/// Longest line accepted, in bytes, its end included. A token has about a thousand.
pub const MAX_LINE: usize = 64 * 1024;
/// Longest words of an error that are passed on, in characters.
const MAX_WORDS: usize = 1000;

/// What a host says.
#[derive(Debug, PartialEq, Eq)]
pub enum FromHost {
    /// A token and when it ends.
    Token(Credential, Timestamp),
    /// Why there is none, in words for the client.
    Error(String),
    /// The same for good: there is nothing to ask this host for any more.
    Final(String),
    /// Is anybody there?
    Ping,
}

/// What is wrong with a line. Never repeats it: it may hold a token.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// Not a JSON object, or with fields of other types.
    #[error("not a JSON object of the feed")]
    Json,
    /// Not one of the things that a line is for, or several.
    #[error("a line holds `token` and `expires`, or `error`, or `ping`")]
    Content,
    /// A time that is none.
    #[error("`expires` is not a time of RFC 3339")]
    Expires,
    /// A token that no password message can hold.
    #[error("`token` is empty or holds a zero byte")]
    Token,
}

#[derive(Deserialize)]
struct Line {
    token: Option<String>,
    expires: Option<String>,
    user: Option<String>,
    error: Option<String>,
    #[serde(default, rename = "final")]
    is_final: bool,
    #[serde(default)]
    ping: bool,
}

/// Reads what a host said. Never panics, whatever the bytes are; fields it does not know are passed over.
pub fn parse(line: &[u8]) -> Result<FromHost, LineError> {
    // serde_json's own message would quote the line.
    let line: Line = serde_json::from_slice(line).map_err(|_| LineError::Json)?;
    match line {
        Line { token: Some(token), expires: Some(expires), user, error: None, .. } => {
            if token.is_empty() || token.contains('\0') {
                return Err(LineError::Token);
            }
            let expires = expires.parse().map_err(|_| LineError::Expires)?;
            let user = user.filter(|user| !user.is_empty());
            Ok(FromHost::Token(Credential { token: Secret::new(token), user }, expires))
        }
        Line { token: None, expires: None, error: Some(words), is_final, .. } => {
            let words = words.chars().take(MAX_WORDS).collect();
            Ok(if is_final { FromHost::Final(words) } else { FromHost::Error(words) })
        }
        Line { token: None, expires: None, error: None, ping: true, .. } => Ok(FromHost::Ping),
        _ => Err(LineError::Content),
    }
}

/// What the gateway says to a host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ToHost<'a> {
    /// Who it is.
    Hello {
        /// The branch it stands for, as it was configured.
        branch: Option<&'a str>,
        /// The gateway's version.
        version: &'a str,
    },
    /// What it needs; always `token`.
    Want(&'a str),
    /// What was wrong with a line.
    Problem(String),
    /// Somebody is there; always `true`.
    Pong(bool),
    /// Whether a client could log in now; the answer to [`Ask::Health`].
    Health(Health),
}

/// An answer about the gateway's state.
#[derive(Debug, Serialize, Deserialize)]
pub struct Health {
    /// Whether a client could log in now.
    pub ok: bool,
    /// If not, why.
    pub why: Option<String>,
}

/// What a connection to the control socket is for: its first line, said by our own subcommands.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", tag = "ask")]
pub enum Ask {
    /// To hand over tokens.
    Feed,
    /// To hear what the sessions do.
    Tap,
    /// To hear how the gateway is.
    Health {
        /// For how many seconds the answer may be kept back while it is the one that was given last.
        #[serde(default)]
        hold: u64,
    },
}

/// The line itself, with its end.
pub fn write<T: Serialize>(value: &T) -> Vec<u8> {
    // These types have no map with other keys than text and no fallible serialiser: there is nothing that can fail.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads the next line into `line`, without its end; `false` at the end of the stream. A line over [`MAX_LINE`] is an error,
/// and no more of it than that is kept.
pub async fn read<R: AsyncBufRead + Unpin>(reader: &mut R, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let count = reader.take(MAX_LINE as u64).read_until(b'\n', line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if count == MAX_LINE {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a line is too long"));
    }
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
        }

        #[test]
        fn objects_of_the_right_names_never_panic_and_are_never_quoted(
            name in "token|expires|user|error", value in "[^\"\\\\\0-\u{1f}]{1,40}", number in any::<i64>(),
        ) {
            for line in [format!(r#"{{"{name}":"{value}"}}"#), format!(r#"{{"{name}":{number}}}"#),
                format!(r#"{{"token":"{value}","expires":"{value}"}}"#)] {
                if let Err(error) = parse(line.as_bytes()) {
                    prop_assert!(value.len() < 12 || !error.to_string().contains(&value));
                }
            }
        }
    }

    #[test]
    fn a_token_and_an_error_are_read() {
        let line = br#"{"token":"t","expires":"2026-01-31T12:00:00Z","user":"ada@example.org","later":1}"#;
        let credential = Credential { token: Secret::new("t"), user: Some("ada@example.org".into()) };
        let expires = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(parse(line), Ok(FromHost::Token(credential, expires)));
        assert_eq!(parse(br#"{"error":"no"}"#), Ok(FromHost::Error("no".into())));
        assert_eq!(parse(br#"{"error":"gone","final":true}"#), Ok(FromHost::Final("gone".into())));
        assert_eq!(parse(br#"{"ping":true}"#), Ok(FromHost::Ping));
        assert_eq!(parse(br#"{"ping":false}"#), Err(LineError::Content));
        assert_eq!(parse(br#"{"token":"t"}"#), Err(LineError::Content));
        assert_eq!(parse(br#"{"token":"","expires":"2026-01-31T12:00:00Z"}"#), Err(LineError::Token));
        assert_eq!(parse(br#"{"token":"t","expires":"soon"}"#), Err(LineError::Expires));
    }

    #[test]
    fn what_the_gateway_says_is_what_the_page_says() {
        let said = |value: &ToHost<'_>| String::from_utf8(write(value)).unwrap();
        assert_eq!(said(&ToHost::Want("token")), "{\"want\":\"token\"}\n");
        assert_eq!(said(&ToHost::Pong(true)), "{\"pong\":true}\n");
        assert_eq!(
            said(&ToHost::Hello { branch: Some("b"), version: "1" }),
            "{\"hello\":{\"branch\":\"b\",\"version\":\"1\"}}\n"
        );
        assert_eq!(write(&Ask::Feed), b"{\"ask\":\"feed\"}\n");
    }

    #[tokio::test]
    async fn a_line_without_an_end_takes_no_more_memory_than_the_limit() {
        let endless = vec![b'x'; MAX_LINE * 3];
        let mut reader = tokio::io::BufReader::new(endless.as_slice());
        let mut line = Vec::new();
        assert!(read(&mut reader, &mut line).await.is_err());
        assert!(line.capacity() <= MAX_LINE * 2);
    }
}
