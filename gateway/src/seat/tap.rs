//! What the seat's sessions do, kept for the one who listens by `lakebase-gateway tap`.
//!
//! JSON, one value a line: first `{"tap":{"version":"…","now_us":…}}`, then a line for each event:
//! `{"session":1,"at_us":1234,"event":"query","text":"…"}`; see [`TapEvent`]. Times are microseconds since the gateway's
//! start, `now_us` being the one at which the line was written. Events from before there was a listener come first.
//! `{"missed":3}` stands where so many were dropped, for nobody took them. The last listener is the one that counts.
//!
//! Statements are here and in the control socket alone, never in the log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::tap::{SessionId, Tap, TapError, TapEvent};

/// What the SQLSTATE of the sensors' notices begins with.
pub const SENSOR: &str = "LB";
/// Events that wait for a listener; later ones are dropped and counted.
const MAX_WAITING: usize = 10_000;
/// Bytes of text in them.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A line to the listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TapLine {
    /// The first one.
    Hello {
        /// Who speaks.
        tap: TapHello,
    },
    /// Something happened in a session.
    Event {
        /// In which.
        session: SessionId,
        /// When its bytes were read, in microseconds since the gateway's start.
        at_us: u64,
        /// What.
        #[serde(flatten)]
        event: TapEvent,
    },
    /// Events were dropped here.
    Missed {
        /// How many.
        missed: u64,
    },
    /// There is nothing to hear, and why.
    Problem {
        /// Why.
        problem: String,
    },
}

/// The greeting of a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapHello {
    /// The gateway's version.
    pub version: String,
    /// Microseconds since the gateway's start.
    pub now_us: u64,
}

/// Keeps events until a listener takes them.
pub struct Recorder {
    began: Instant,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<TapLine>,
    bytes: usize,
    missed: u64,
    /// The number of the last listener.
    listener: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { began: Instant::now(), state: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Recorder {
    /// The first line to a listener.
    pub fn hello(&self) -> TapLine {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        TapLine::Hello { tap: TapHello { version, now_us: self.micros(Instant::now()) } }
    }

    /// A new listener, which takes the place of the one before; gives its number.
    pub fn attach(&self) -> u64 {
        let listener = {
            let mut state = self.lock();
            state.listener += 1;
            state.listener
        };
        self.changed.send_replace(());
        listener
    }

    /// Waits for lines and takes them; none once there is another listener.
    pub async fn take(&self, listener: u64) -> Option<Vec<TapLine>> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let mut state = self.lock();
                if state.listener != listener {
                    return None;
                }
                if !state.waiting.is_empty() || state.missed > 0 {
                    let mut lines = Vec::from(std::mem::take(&mut state.waiting));
                    let missed = std::mem::take(&mut state.missed);
                    lines.extend((missed > 0).then_some(TapLine::Missed { missed }));
                    state.bytes = 0;
                    return Some(lines);
                }
            }
            // It lives as long as this does.
            let _ = changed.changed().await;
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Recorder {
    fn event(&self, session: SessionId, at: Instant, event: TapEvent) {
        let bytes = length(&event);
        {
            let mut state = self.lock();
            // The first ones are kept, not the last: a story is told from its beginning, and its gap is at one place.
            if state.missed > 0 || state.waiting.len() >= MAX_WAITING || state.bytes + bytes > MAX_BYTES {
                state.missed += 1;
                return;
            }
            state.bytes += bytes;
            state.waiting.push_back(TapLine::Event { session, at_us: self.micros(at), event });
        }
        self.changed.send_replace(());
    }
}

/// Bytes of the texts that can be long.
fn length(event: &TapEvent) -> usize {
    match event {
        TapEvent::Query { text, .. } | TapEvent::Parse { text, .. } => text.len(),
        TapEvent::Sensor { message, .. } | TapEvent::Error(TapError { message, .. }) => message.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> TapEvent {
        TapEvent::Query { text: text.to_owned(), cut: false }
    }

    fn event(recorder: &Recorder, event: TapEvent) {
        recorder.event(SessionId(1), Instant::now(), event);
    }

    #[tokio::test]
    async fn what_came_before_the_listener_is_kept_up_to_a_bound_and_the_rest_is_counted() {
        // given more events than are kept, and nobody who listens
        let recorder = Recorder::default();
        for number in 0..MAX_WAITING + 3 {
            event(&recorder, query(&number.to_string()));
        }
        // when a listener comes
        let listener = recorder.attach();
        let lines = recorder.take(listener).await.unwrap();
        // then it gets the first ones in their order, and hears how many are missing
        assert_eq!(lines.len(), MAX_WAITING + 1);
        assert!(matches!(&lines[7], TapLine::Event { event, .. } if *event == query("7")));
        assert_eq!(lines.last(), Some(&TapLine::Missed { missed: 3 }));
        // and what happens from then on
        event(&recorder, TapEvent::Sync);
        assert_eq!(recorder.take(listener).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn long_texts_are_bounded_too() {
        let recorder = Recorder::default();
        let long = "x".repeat(crate::tap::MAX_TEXT);
        for _ in 0..70 {
            event(&recorder, query(&long));
        }
        let lines = recorder.take(recorder.attach()).await.unwrap();
        assert_eq!(lines.last(), Some(&TapLine::Missed { missed: 6 }));
    }

    #[tokio::test]
    async fn a_new_listener_ends_the_one_before() {
        let recorder = std::sync::Arc::new(Recorder::default());
        let first = recorder.attach();
        let waits = tokio::spawn({
            let recorder = std::sync::Arc::clone(&recorder);
            async move { recorder.take(first).await }
        });
        recorder.attach();
        assert_eq!(waits.await.unwrap(), None);
    }

    #[test]
    fn lines_are_what_the_page_says_and_read_back() {
        let said = |line: &TapLine| serde_json::to_string(line).unwrap();
        let opened = TapEvent::Opened { user: "ada".into(), database: "shop".into(), pid: Some(7) };
        let failed = TapEvent::Error(TapError { sqlstate: "23505".into(), ..TapError::default() });
        let of = |event| TapLine::Event { session: SessionId(1), at_us: 1234, event };
        assert_eq!(
            said(&of(query("SELECT 1"))),
            r#"{"session":1,"at_us":1234,"event":"query","text":"SELECT 1"}"#
        );
        let hello = TapLine::Hello { tap: TapHello { version: "1".into(), now_us: 5 } };
        assert_eq!(said(&hello), r#"{"tap":{"version":"1","now_us":5}}"#);
        let problem = TapLine::Problem { problem: "none".into() };
        for line in [
            of(query("x")),
            of(opened),
            of(failed),
            of(TapEvent::Sync),
            hello,
            TapLine::Missed { missed: 3 },
            problem,
        ] {
            assert_eq!(serde_json::from_str::<TapLine>(&said(&line)).unwrap(), line);
        }
    }
}
