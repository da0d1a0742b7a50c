//! A session that is listened to: which statement runs, when it ended, how it went.
//!
//! [`join`] moves bytes as [`crate::proxy::join`] does, and tells a [`Tap`] of the messages that say so. Rows, parameters
//! and the data of COPY pass unseen; an error is told without its DETAIL, HINT and CONTEXT, which hold values of rows. Notices
//! whose SQLSTATE begins with the caller's prefix are its own: told, and kept from the client.

mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::proxy;
use wire::Wire;

/// Longest text that is told, in bytes; a longer one passes whole and is told cut.
pub const MAX_TEXT: usize = 1024 * 1024;

/// Number of a session, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The next one, from 1 on.
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Listens to sessions.
pub trait Tap: Send + Sync {
    /// `event` happened in `session`; its bytes were read at `at`, and go on when this returns. So nothing here may wait.
    fn event(&self, session: SessionId, at: Instant, event: TapEvent);
}

/// How a session is listened to.
#[derive(Clone)]
pub struct Tapping {
    /// Who listens.
    pub tap: Arc<dyn Tap>,
    /// The session's number.
    pub session: SessionId,
    /// What the SQLSTATE of the caller's own notices begins with; with an empty one, no notice is.
    pub sensor: String,
}

impl Tapping {
    /// `tap` listens to a new session.
    pub fn new(tap: Arc<dyn Tap>, sensor: impl Into<String>) -> Self {
        Self { tap, session: SessionId::next(), sensor: sensor.into() }
    }
}

/// What happened in a session.
///
/// `Opened` is the first and `Closed` the last. Each `Query`, `FunctionCall` and `Sync` is answered by one `Ready`; before
/// it, each statement of a `Query`, and each `Execute`, by a `Complete` or a `Suspended`, or by the `Error` after which the
/// server passes over everything until that `Ready`. The server's first `Ready` answers nothing: the session can begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TapEvent {
    /// The session began.
    Opened {
        /// The user, as the server knows it.
        user: String,
        /// The database, as the server knows it.
        database: String,
        /// The process behind it, as `pg_backend_pid()` gives it; none where the server did not say, or the client spoke first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// The client sent a statement, or several, by the simple protocol.
    Query {
        /// Its text.
        text: String,
        /// Whether it is longer than [`MAX_TEXT`].
        #[serde(default, skip_serializing_if = "is_false")]
        cut: bool,
    },
    /// The client prepared a statement.
    Parse {
        /// Its name; empty for the unnamed one, which the next one replaces.
        statement: String,
        /// Its text.
        text: String,
        /// Whether it is longer than [`MAX_TEXT`].
        #[serde(default, skip_serializing_if = "is_false")]
        cut: bool,
    },
    /// The client made a portal of a prepared statement.
    Bind {
        /// The portal's name; empty for the unnamed one.
        portal: String,
        /// The statement's.
        statement: String,
    },
    /// The client ran a portal.
    Execute {
        /// Its name.
        portal: String,
    },
    /// The client called a function without SQL.
    FunctionCall {
        /// Its object id.
        function: u32,
    },
    /// The client waits for the end of what it sent by the extended protocol.
    Sync,
    /// The server sent a notice that is the caller's own. The client did not get it.
    Sensor {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its message, up to [`MAX_TEXT`].
        message: String,
    },
    /// The server reported an error.
    Error(TapError),
    /// A statement has ended well.
    Complete {
        /// What it was and how many rows, as `UPDATE 3`; empty for an empty statement.
        tag: String,
    },
    /// The server sent as many rows as were asked for, and holds more.
    Suspended,
    /// The server waits for the next statement.
    Ready {
        /// Whether a transaction is open.
        status: Status,
    },
    /// The session is over.
    Closed,
}

/// The state of a session's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is none.
    Idle,
    /// One is open.
    InTransaction,
    /// One is open and can only be rolled back.
    Failed,
}

/// An error as the server reported it, without the fields that hold values of rows. (Its message may quote a value that
/// the statement brought: a cast that failed, say.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described in PostgreSQL's manual by these names")]
pub struct TapError {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Where in the statement, in characters from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Joins a client that was let in with its server, as [`proxy::join`] does, while `tapping` listens. `user` and `database`
/// are those of the server.
pub async fn join<C, S>(client: C, server: S, tapping: &Tapping, user: &str, database: &str) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Dropped with this future, however it ends: the last event is told then.
    let mut wire = Wire::new(tapping, user, database);
    proxy::join_seen(client, server, &mut wire).await
}

#[cfg(test)]
mod tests;
