//! What passes between the migration and its branch, as the gateway in between hears it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lakebase_gateway::{SessionId, Tap, TapError, TapEvent};
use serde::Serialize;

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

impl Failure {
    /// Of what the gateway heard.
    pub fn of(error: &TapError) -> Self {
        Self {
            sqlstate: error.sqlstate.clone(),
            message: without_values(error),
            schema: error.schema.clone(),
            table: error.table.clone(),
            column: error.column.clone(),
            constraint: error.constraint.clone(),
        }
    }
}

/// The server's words. Those of a value that does not fit quote it: at their end, or as in `value "7" is out of range`.
fn without_values(error: &TapError) -> String {
    let said = &error.message;
    if !error.sqlstate.starts_with("22") {
        return said.clone();
    }
    if let Some((words, _)) = said.split_once(": \"") {
        return words.to_owned();
    }
    match (said.find('"'), said.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…{}", &said[..first], &said[last..]),
        _ => said.clone(),
    }
}

/// Writes down what is heard during one run.
pub struct Recorder {
    origin: Instant,
    heard: Mutex<Vec<Heard>>,
    missed: AtomicU64,
}

impl Recorder {
    /// For a run that begins at `origin`.
    pub fn new(origin: Instant) -> Self {
        Self { origin, heard: Mutex::default(), missed: AtomicU64::new(0) }
    }

    /// What was heard so far, and forgets it.
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a gateway dropped so many events.
    pub fn miss(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
    }

    /// How many events were dropped.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The statement that was sent last, for whoever shows progress.
    pub fn latest(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().rev().find_map(|one| match &one.event {
            TapEvent::Query { text, .. } | TapEvent::Parse { text, .. } => Some(text.clone()),
            _ => None,
        })
    }
}

impl Recorder {
    /// Notes what was heard at a moment, from whichever gateway.
    pub fn note(&self, session: u64, at: Instant, event: TapEvent) {
        let at = at.saturating_duration_since(self.origin).as_secs_f64() * 1000.0;
        let heard = Heard { at, session, event };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }
}

impl Tap for Recorder {
    fn event(&self, session: SessionId, at: Instant, event: TapEvent) {
        self.note(session.0, at, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_not_repeated() {
        let said = |sqlstate: &str, message: &str| {
            let error =
                TapError { sqlstate: sqlstate.into(), message: message.into(), ..TapError::default() };
            Failure::of(&error).message
        };
        assert_eq!(
            said("22P02", "invalid input syntax for type bigint: \"n/a\""),
            "invalid input syntax for type bigint"
        );
        assert_eq!(
            said("22003", "value \"99999999999\" is out of range for type integer"),
            "value \"…\" is out of range for type integer"
        );
        assert_eq!(said("42P01", "relation \"orders\" does not exist"), "relation \"orders\" does not exist");
    }
}
