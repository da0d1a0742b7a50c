//! What passes between the migration and its branch, as the gateway in between hears it.

#[cfg(test)]
mod tests;
mod thin;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lakebase::sql::said_without_values;
use lakebase_gateway::{SessionId, Tap, TapError, TapEvent};
use serde::Serialize;

pub use thin::MOMENT;

/// So many events are kept as they are; more of them are thinned out.
const MOST: usize = 50_000;
/// Characters of a statement that are kept.
pub const TEXT: usize = 2_000;

/// Something that passed the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Milliseconds since the run began.
    pub at: f64,
    /// Which connection.
    pub session: u64,
    /// What it was.
    pub event: TapEvent,
}

/// An error of the server. PostgreSQL's DETAIL is no part of it, for it shows rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The SQLSTATE.
    pub sqlstate: String,
    /// The server's words.
    pub message: String,
    /// The schema of what it is about.
    pub schema: Option<String>,
    /// The table that it is about.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The constraint.
    pub constraint: Option<String>,
}

/// The SQLSTATE of whatever is sent into a transaction that has failed: it says nothing of its own.
pub const ABORTED: &str = "25P02";

impl Failure {
    /// Of what the gateway heard.
    pub fn of(error: &TapError) -> Self {
        Self {
            sqlstate: error.sqlstate.clone(),
            message: said_without_values(&error.sqlstate, &error.message),
            schema: error.schema.clone(),
            table: error.table.clone(),
            column: error.column.clone(),
            constraint: error.constraint.clone(),
        }
    }
}

/// Writes down what is heard during one run.
pub struct Recorder {
    origin: Instant,
    recording: Mutex<Recording>,
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Recording {
    /// The events, in their order.
    pub heard: Vec<Heard>,
    /// How many statements are not among them: there were very many, and they told nothing new.
    pub left_out: usize,
    /// Events that the gateway dropped, for they came too fast.
    pub missed: u64,
    /// When it is too long again.
    too_long: usize,
    /// The text that was sent last.
    latest: Option<String>,
}

impl Recording {
    fn push(&mut self, mut one: Heard) {
        if let TapEvent::Query { text, .. } | TapEvent::Parse { text, .. } = &mut one.event {
            *text = text.trim().chars().take(TEXT).collect();
            self.latest = Some(text.clone());
        }
        self.heard.push(one);
        if self.heard.len() > self.too_long.max(MOST) {
            self.left_out += thin::thin(&mut self.heard);
            // Where nothing can go it would be looked through again and again.
            self.too_long = self.heard.len() * 2;
        }
    }
}

impl Recorder {
    /// For a run that begins at `origin`.
    pub fn new(origin: Instant) -> Self {
        Self { origin, recording: Mutex::default() }
    }

    /// What was heard so far, and forgets it.
    pub fn take(&self) -> Recording {
        std::mem::take(&mut *self.recording())
    }

    /// Notes that a gateway dropped so many events.
    pub fn miss(&self, count: u64) {
        self.recording().missed += count;
    }

    /// The statement that was sent last, for whoever shows progress.
    pub fn latest(&self) -> Option<String> {
        self.recording().latest.clone()
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Notes what was heard at a moment, from whichever gateway.
    pub fn note(&self, session: u64, at: Instant, event: TapEvent) {
        let at = at.saturating_duration_since(self.origin).as_secs_f64() * 1000.0;
        self.recording().push(Heard { at, session, event });
    }
}

impl Tap for Recorder {
    fn event(&self, session: SessionId, at: Instant, event: TapEvent) {
        self.note(session.0, at, event);
    }
}
