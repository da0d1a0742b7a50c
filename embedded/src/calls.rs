//! The calls that were made, for tests and benches that count them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Calls that are kept; of more, the last ones.
const KEPT: usize = 10_000;

/// A call, without bodies and tokens.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its number, from 1 on.
    pub number: u64,
    /// Its name, as faults call it.
    pub call: String,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What stands behind the `?`, where something does.
    pub query: Option<String>,
    /// Who asked, once that is known.
    pub identity: Option<String>,
    /// The status that was sent; none before that, and where none was.
    pub status: Option<u16>,
    /// When it came, in milliseconds since the server's start.
    pub start_ms: f64,
    /// When it had taken effect, where it did.
    pub effect_ms: Option<f64>,
    /// When its answer was ready.
    pub end_ms: Option<f64>,
    /// The faults that struck it.
    pub faults: Vec<String>,
}

/// The calls of a server.
#[derive(Debug)]
pub struct Calls {
    begun: Instant,
    kept: Mutex<(u64, VecDeque<Entry>)>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { begun: Instant::now(), kept: Mutex::default() }
    }
}

impl Calls {
    /// Milliseconds since the server's start.
    pub fn now_ms(&self) -> f64 {
        self.begun.elapsed().as_micros() as f64 / 1000.0
    }

    /// Notes that a call came; gives its number.
    pub fn begin(&self, mut entry: Entry) -> u64 {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        entry.number = kept.0;
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(entry);
        kept.0
    }

    /// Notes that a call has taken effect.
    pub fn took_effect(&self, number: u64) {
        let now = self.now_ms();
        self.change(number, |entry| entry.effect_ms = Some(now));
    }

    /// Notes how a call ended.
    pub fn end(&self, number: u64, status: Option<u16>, identity: Option<String>) {
        let now = self.now_ms();
        self.change(number, |entry| {
            (entry.status, entry.identity, entry.end_ms) = (status, identity, Some(now));
        });
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Entry)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.iter_mut().rev().find(|entry| entry.number == number).map(change);
    }

    /// The calls after the one of this number.
    pub fn since(&self, number: u64) -> Vec<Entry> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.iter().filter(|entry| entry.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_calls_are_kept_and_numbers_go_on() {
        let calls = Calls::default();
        let entry = Entry {
            number: 0,
            call: "projects.list".into(),
            method: "GET".into(),
            path: "/".into(),
            query: None,
            identity: None,
            status: None,
            start_ms: calls.now_ms(),
            effect_ms: None,
            end_ms: None,
            faults: Vec::new(),
        };
        for _ in 0..KEPT + 2 {
            calls.begin(entry.clone());
        }
        let last = calls.begin(entry);
        calls.end(last, Some(200), Some("ada".into()));
        calls.end(1, Some(500), None);
        let kept = calls.since(0);
        assert_eq!((kept.len(), kept[0].number), (KEPT, 4));
        let ended = calls.since(last - 1);
        assert_eq!((ended.len(), ended[0].status), (1, Some(200)));
        assert!(ended[0].end_ms >= Some(ended[0].start_ms));
    }
}
