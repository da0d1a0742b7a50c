//! The current token of the branch, and whoever waits for one.
//!
//! Tokens come from a feed: a process on the host that is asked for one and hands it over. Whether a token is still good
//! is always a question to the wall clock: a timer stands still while a laptop sleeps, and the token's time does not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::secret::Secret;

/// Most that a token is given up before its end, so that it does not end on its way. Tokens of a short life are given up
/// when a fifth of it is left.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// Most that a token is asked for before the old one ends. Those of a short life when two fifths of it are left.
const AHEAD: SignedDuration = SignedDuration::from_secs(300);
/// How long a token is tried that had ended by our clock when it came: the clocks differ, and the server's one counts.
const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// How long a feed may take with a token before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Longest time after failures until a token is asked for again though no client waits for one. A client is never made
/// to wait for this.
const QUIET: Duration = Duration::from_secs(300);
/// How long the words of a failure stand before the feed is asked again for the next client.
const FAILURE_STANDS: Duration = Duration::from_secs(1);
/// Longest time between two looks at the wall clock.
const LOOK: Duration = Duration::from_secs(5);

/// A token and who logs in with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The token: the password of the branch's user.
    pub token: Secret,
    /// The user it belongs to, where the feed said so.
    pub user: Option<String>,
}

/// Why there is no token: one line for the client's error and for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoToken(pub String);

/// The token in use, single-flight: however many clients wait, the feed is asked once.
pub struct Tokens {
    state: Mutex<State>,
    /// Counts everything a waiting client may have waited for.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Those that are there. The last to come is asked; the others wait for their turn.
    feeds: Vec<Feed>,
    /// How many have come.
    attached: u64,
    /// When the feed was asked for the token that has not come yet.
    asked: Option<Instant>,
    failure: Option<Failure>,
    failures: u64,
    /// Failures since the last token.
    in_a_row: u32,
    /// Why there never will be a token, unless another feed comes.
    closed: Option<String>,
    /// When the feed was last asked because the branch could not be reached.
    doubted: Option<Instant>,
}

struct Held {
    credential: Credential,
    stale: Timestamp,
    /// When the next one is asked for; `None` where it is not known when this one ends.
    replace: Option<Timestamp>,
    refused: bool,
}

struct Feed {
    id: u64,
    wants: mpsc::UnboundedSender<()>,
}

struct Failure {
    words: String,
    at: Instant,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Tokens {
    /// Makes `wants` the feed that is asked, before those that are there already. It receives `()` for every token that is wanted, the first at
    /// once where none is held. Gives the number to [`Self::detach`] it by.
    pub fn attach(&self, wants: mpsc::UnboundedSender<()>) -> u64 {
        let mut state = self.lock();
        state.attached += 1;
        let id = state.attached;
        state.feeds.push(Feed { id, wants });
        state.asked = None;
        state.closed = None;
        state.forgive();
        state.ask_if_due(Timestamp::now());
        drop(state);
        self.wake();
        id
    }

    /// Forgets a feed that has ended; the one before it is asked from now on.
    pub fn detach(&self, id: u64) {
        let mut state = self.lock();
        let asked = state.feeds.last().is_some_and(|feed| feed.id == id);
        state.feeds.retain(|feed| feed.id != id);
        if asked {
            state.asked = None;
            state.ask_if_due(Timestamp::now());
        }
    }

    /// Takes a token that ends at `expires`; whoever waits goes on. Says whether it had ended already by our clock.
    pub fn offer(&self, credential: Credential, expires: Timestamp) -> Freshness {
        self.offer_at(credential, expires, Timestamp::now())
    }

    fn offer_at(&self, credential: Credential, expires: Timestamp, now: Timestamp) -> Freshness {
        let life = expires.duration_since(now);
        let before_end = |span: SignedDuration| expires.saturating_sub(span).unwrap_or(now);
        let (stale, replace, freshness) = if life.is_positive() {
            let ahead = AHEAD.min(life / 5 * 2);
            (before_end(MARGIN.min(life / 5)), Some(before_end(ahead)), Freshness::Fresh)
        } else {
            (now.saturating_add(GRACE).unwrap_or(now), None, Freshness::Ended)
        };
        let mut state = self.lock();
        state.held = Some(Held { credential, stale, replace, refused: false });
        state.asked = None;
        state.forgive();
        drop(state);
        self.wake();
        freshness
    }

    /// Takes the feed's reason why there is no token; whoever waits gets it.
    pub fn fail(&self, words: String) {
        let mut state = self.lock();
        state.asked = None;
        state.failures += 1;
        state.in_a_row = state.in_a_row.saturating_add(1);
        state.failure = Some(Failure { words, at: Instant::now() });
        drop(state);
        self.wake();
    }

    /// Takes from the feed `id` that there never will be a token, and why: nobody waits for one or asks for one until
    /// another feed comes. A feed in whose place another came says nothing about that one.
    pub fn close(&self, id: u64, words: String) {
        let mut state = self.lock();
        if state.feeds.last().is_none_or(|feed| feed.id != id) {
            return;
        }
        state.held = None;
        state.asked = None;
        state.closed = Some(words);
        drop(state);
        self.wake();
    }

    /// Why there never will be a token, where a feed said so.
    pub fn closed(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    /// Asks for a token though one is held, for the branch can't be reached: who mints knows whether it is still there.
    pub fn doubt(&self) {
        let mut state = self.lock();
        if state.doubted.is_none_or(|last| last.elapsed() >= ASK_AGAIN) {
            state.doubted = Some(Instant::now());
            state.ask();
        }
    }

    /// Gives up a token that the server refused, unless it is another by now.
    pub fn refuse(&self, token: &Secret) {
        if let Some(held) = self.lock().held.as_mut().filter(|held| held.credential.token == *token) {
            held.refused = true;
        }
        self.wake();
    }

    /// A token that is good now, or the next one, waiting for it as long as `patience`. Ends at once with the feed's own
    /// words where it fails meanwhile.
    pub async fn get(&self, patience: Duration) -> Result<Credential, NoToken> {
        let deadline = Instant::now() + patience;
        let mut changed = self.changed.subscribe();
        let failures = self.lock().failures;
        loop {
            changed.mark_unchanged();
            let stands_until = {
                let mut state = self.lock();
                if let Some(words) = &state.closed {
                    return Err(NoToken(words.clone()));
                }
                if let Some(credential) = state.usable(Timestamp::now()) {
                    return Ok(credential);
                }
                match &state.failure {
                    Some(failure) if state.failures > failures || failure.at.elapsed() < FAILURE_STANDS => {
                        return Err(NoToken(failure.words.clone()));
                    }
                    _ => state.ask(),
                }
                // Asked in vain is asked again.
                Instant::now() + ASK_AGAIN
            };
            let wait = tokio::time::timeout_at(deadline.min(stands_until), changed.changed()).await;
            if wait.is_err() && Instant::now() >= deadline {
                let state = self.lock();
                return Err(NoToken(if state.feeds.is_empty() {
                    "nothing on the host hands over logins".to_owned()
                } else {
                    format!("the host did not answer within {} s", patience.as_secs())
                }));
            }
        }
    }

    /// Whether a client could log in now; if not, why.
    pub fn health(&self) -> Result<(), NoToken> {
        let state = self.lock();
        if let Some(words) = &state.closed {
            return Err(NoToken(words.clone()));
        }
        if state.usable(Timestamp::now()).is_some() {
            return Ok(());
        }
        Err(NoToken(match (&state.failure, &state.held, state.feeds.last()) {
            (Some(failure), _, _) => failure.words.clone(),
            (None, Some(held), _) if held.refused => "the branch refused the login".to_owned(),
            (None, _, None) => "nothing on the host hands over logins".to_owned(),
            (None, Some(_), Some(_)) => "the login has expired and a new one has not come yet".to_owned(),
            (None, None, Some(_)) => "the first login has not come yet".to_owned(),
        }))
    }

    /// Counts what may have changed about the token.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Asks for the next token ahead of the end of the one in use, for ever.
    pub async fn keep_fresh(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let pause = {
                let now = Timestamp::now();
                let mut state = self.lock();
                state.ask_if_due(now);
                let due = state.held.as_ref().and_then(|held| held.replace).filter(|due| *due > now);
                // Never longer than a look, for the time asleep is not counted.
                due.and_then(|due| Duration::try_from(due.duration_since(now)).ok())
                    .map_or(LOOK, |until| until.min(LOOK))
            };
            let _ = tokio::time::timeout(pause, changed.changed()).await;
        }
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a token was still good when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was.
    Fresh,
    /// Not by our clock, so one of the clocks is wrong. It is tried for a moment.
    Ended,
}

impl State {
    fn usable(&self, now: Timestamp) -> Option<Credential> {
        let held = self.held.as_ref().filter(|held| !held.refused && now < held.stale)?;
        Some(held.credential.clone())
    }

    /// Asks where there is no good token, or soon none.
    fn ask_if_due(&mut self, now: Timestamp) {
        let soon = self.held.as_ref().and_then(|held| held.replace).is_some_and(|due| due <= now);
        let quiet = ASK_AGAIN.saturating_mul(1 << self.in_a_row.saturating_sub(1).min(8)).min(QUIET);
        let failed_lately = self.failure.as_ref().is_some_and(|failure| failure.at.elapsed() < quiet);
        if (soon || self.usable(now).is_none()) && !failed_lately {
            self.ask();
        }
    }

    /// Forgets failures.
    fn forgive(&mut self) {
        self.failure = None;
        self.in_a_row = 0;
    }

    /// Asks the feed, unless it is at it or has said its last word.
    fn ask(&mut self) {
        if self.closed.is_some() || self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return;
        }
        if let Some(feed) = self.feeds.last()
            && feed.wants.send(()).is_ok()
        {
            self.asked = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
