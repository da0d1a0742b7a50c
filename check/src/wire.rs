//! What passes between the migration and its branch, as the gateway in between hears it.

use serde::Serialize;

use crate::sensor::Message;

/// Something that passed the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Milliseconds since the run began.
    pub at: f64,
    /// Which connection.
    pub session: u64,
    /// What it was.
    pub what: What,
}

/// What passed the wire. Names are those of the PostgreSQL manual, "Message Formats".
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the manual's names")]
pub enum What {
    Opened,
    Query {
        text: String,
    },
    Parse {
        name: String,
        text: String,
    },
    Bind {
        portal: String,
        statement: String,
    },
    Execute {
        portal: String,
    },
    /// A message of the sensor, which the application does not get.
    Sensor(Message),
    Failed(Failure),
    Complete,
    Ready(Status),
    Closed,
}

/// The state of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Idle,
    /// One is open.
    Open,
    /// One has failed, and its locks are gone.
    Failed,
}

/// An error of the server. PostgreSQL's DETAIL is no part of it, for it shows rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The SQLSTATE.
    pub sqlstate: String,
    /// The server's words.
    pub message: String,
    /// The table that it is about.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The constraint.
    pub constraint: Option<String>,
}
