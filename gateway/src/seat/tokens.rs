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
    feed: Option<Feed>,
    feeds: u64,
    /// When the feed was asked for the token that has not come yet.
    asked: Option<Instant>,
    failure: Option<Failure>,
    failures: u64,
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
    /// Makes `wants` the feed, in the place of any before it. It receives `()` for every token that is wanted, the first at
    /// once where none is held. Gives the number to [`Self::detach`] it by.
    pub fn attach(&self, wants: mpsc::UnboundedSender<()>) -> u64 {
        let mut state = self.lock();
        state.feeds += 1;
        let id = state.feeds;
        state.feed = Some(Feed { id, wants });
        state.asked = None;
        state.failure = None;
        state.ask_if_due(Timestamp::now());
        drop(state);
        self.wake();
        id
    }

    /// Forgets a feed that has ended, unless another took its place.
    pub fn detach(&self, id: u64) {
        let mut state = self.lock();
        if state.feed.as_ref().is_some_and(|feed| feed.id == id) {
            state.feed = None;
            state.asked = None;
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
        state.failure = None;
        drop(state);
        self.wake();
        freshness
    }

    /// Takes the feed's reason why there is no token; whoever waits gets it.
    pub fn fail(&self, words: String) {
        let mut state = self.lock();
        state.asked = None;
        state.failures += 1;
        state.failure = Some(Failure { words, at: Instant::now() });
        drop(state);
        self.wake();
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
                return Err(NoToken(if state.feed.is_none() {
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
        if state.usable(Timestamp::now()).is_some() {
            return Ok(());
        }
        Err(NoToken(match (&state.failure, &state.held, &state.feed) {
            (Some(failure), _, _) => failure.words.clone(),
            (None, Some(held), _) if held.refused => "the branch refused the login".to_owned(),
            (None, _, None) => "nothing on the host hands over logins".to_owned(),
            (None, Some(_), Some(_)) => "the login has expired and a new one has not come yet".to_owned(),
            (None, None, Some(_)) => "the first login has not come yet".to_owned(),
        }))
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
        let failed_lately = self.failure.as_ref().is_some_and(|failure| failure.at.elapsed() < ASK_AGAIN);
        if (soon || self.usable(now).is_none()) && !failed_lately {
            self.ask();
        }
    }

    /// Asks the feed, unless it is at it.
    fn ask(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN) {
            return;
        }
        if let Some(feed) = &self.feed
            && feed.wants.send(()).is_ok()
        {
            self.asked = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn credential(token: &str) -> Credential {
        Credential { token: Secret::new(token), user: None }
    }

    fn in_seconds(seconds: i64) -> Timestamp {
        Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_the_feed_is_asked_once_and_all_go_on() {
        // given a feed and fifty clients that wait
        let tokens = Arc::new(Tokens::default());
        let (wants, mut asked) = mpsc::unbounded_channel();
        tokens.attach(wants);
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let tokens = Arc::clone(&tokens);
                tokio::spawn(async move { tokens.get(PATIENCE).await })
            })
            .collect();
        asked.recv().await.unwrap();
        tokio::task::yield_now().await;
        // when the token comes
        tokens.offer(credential("one"), in_seconds(3600));
        // then each has it, and nobody asked again
        for client in waiting {
            assert_eq!(client.await.unwrap().unwrap(), credential("one"));
        }
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_reaches_those_who_wait_and_the_next_client_asks_again() {
        let tokens = Arc::new(Tokens::default());
        let (wants, mut asked) = mpsc::unbounded_channel();
        tokens.attach(wants);
        let client = tokio::spawn({
            let tokens = Arc::clone(&tokens);
            async move { tokens.get(PATIENCE).await }
        });
        asked.recv().await.unwrap();
        tokio::task::yield_now().await;
        tokens.fail("the workspace is away".into());
        assert_eq!(client.await.unwrap(), Err(NoToken("the workspace is away".into())));
        // one that comes right after gets the same words, one that comes later a new try
        assert_eq!(tokens.get(PATIENCE).await, Err(NoToken("the workspace is away".into())));
        tokio::time::advance(FAILURE_STANDS).await;
        let client = tokio::spawn({
            let tokens = Arc::clone(&tokens);
            async move { tokens.get(PATIENCE).await }
        });
        asked.recv().await.unwrap();
        tokens.offer(credential("two"), in_seconds(60));
        assert_eq!(client.await.unwrap().unwrap(), credential("two"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_deadline() {
        let tokens = Tokens::default();
        let began = Instant::now();
        let NoToken(words) = tokens.get(PATIENCE).await.unwrap_err();
        assert_eq!(words, "nothing on the host hands over logins");
        assert_eq!(began.elapsed(), PATIENCE);
        // a feed that is silent
        let (wants, _asked) = mpsc::unbounded_channel();
        tokens.attach(wants);
        let NoToken(words) = tokens.get(PATIENCE).await.unwrap_err();
        assert_eq!(words, "the host did not answer within 20 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_came_before_the_feed_is_served_when_one_attaches() {
        let tokens = Arc::new(Tokens::default());
        let client = tokio::spawn({
            let tokens = Arc::clone(&tokens);
            async move { tokens.get(PATIENCE).await }
        });
        tokio::task::yield_now().await;
        let (wants, mut asked) = mpsc::unbounded_channel();
        tokens.attach(wants);
        asked.recv().await.unwrap();
        tokens.offer(credential("late"), in_seconds(60));
        assert_eq!(client.await.unwrap().unwrap(), credential("late"));
    }

    #[test]
    fn a_token_is_given_up_a_little_before_its_end_and_replaced_before_that() {
        let now = Timestamp::now();
        let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
        for (life, replace, stale) in [(3600, 3300, 3570), (10, 6, 8), (300, 180, 270)] {
            let tokens = Tokens::default();
            assert_eq!(tokens.offer_at(credential("x"), after(life), now), Freshness::Fresh);
            let state = tokens.lock();
            assert_eq!(state.held.as_ref().unwrap().replace, Some(after(replace)));
            assert!(
                state.usable(after(stale - 1)).is_some() && state.usable(after(stale)).is_none(),
                "{life}"
            );
        }
    }

    #[test]
    fn a_token_that_ended_before_it_came_is_tried_for_a_moment() {
        let tokens = Tokens::default();
        assert_eq!(tokens.offer(credential("x"), in_seconds(-7200)), Freshness::Ended);
        let state = tokens.lock();
        assert!(state.usable(Timestamp::now()).is_some() && state.usable(in_seconds(31)).is_none());
    }

    #[tokio::test]
    async fn a_refused_token_is_not_given_again_and_a_newer_one_is_not_refused_with_it() {
        let tokens = Tokens::default();
        tokens.offer(credential("old"), in_seconds(3600));
        tokens.refuse(&Secret::new("old"));
        assert_eq!(tokens.health(), Err(NoToken("the branch refused the login".into())));
        tokens.offer(credential("new"), in_seconds(3600));
        tokens.refuse(&Secret::new("old"));
        assert_eq!(tokens.get(PATIENCE).await.unwrap(), credential("new"));
    }

    #[tokio::test]
    async fn the_last_feed_is_asked_and_one_that_ended_before_is_forgotten() {
        let tokens = Tokens::default();
        let (first, mut first_asked) = mpsc::unbounded_channel();
        let (second, mut second_asked) = mpsc::unbounded_channel();
        let id = tokens.attach(first);
        assert!(first_asked.try_recv().is_ok());
        tokens.attach(second);
        // the second takes over what the first had not answered, and stays when the first ends
        assert!(second_asked.try_recv().is_ok());
        tokens.detach(id);
        assert!(tokens.lock().feed.is_some());
        assert!(first_asked.try_recv().is_err());
    }
}
