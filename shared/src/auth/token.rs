//! A token for the API, and how long it is good for.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::error::Result;
use crate::secret::Secret;

/// A token is renewed this long before its end, or at half of its life.
const BEFORE_THE_END: SignedDuration = SignedDuration::from_mins(5);
/// In its last moments a token is not sent any more: on the way it would end.
const TOO_LATE: SignedDuration = SignedDuration::from_secs(40);
/// After a renewal that failed while the token was still good, the next try comes this much later.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// A token and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) secret: Secret,
    /// When it ends, where its source says so.
    pub(super) expires: Option<Timestamp>,
}

impl Token {
    /// The token, if the text can be one: it goes into a header.
    pub(super) fn new(text: &str, expires: Option<Timestamp>) -> Option<Self> {
        let printable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        printable.then(|| Self { secret: Secret::new(text), expires })
    }

    /// The same for a token that ends so many seconds from now.
    pub(super) fn for_seconds(text: &str, seconds: Option<i64>) -> Option<Self> {
        let end = |seconds| Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok();
        Self::new(text, seconds.and_then(end))
    }
}

/// A token that is used again and again, renewed before its end, and fetched by one at a time. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// The workspace refused the last one before its time.
    refused: bool,
}

#[derive(Debug)]
struct Kept {
    secret: Secret,
    /// From when on it is renewed; never where its end is unknown.
    renew: Option<Timestamp>,
    /// From when on it is not sent any more.
    late: Option<Timestamp>,
}

impl Kept {
    fn new(token: Token, now: Timestamp) -> Self {
        let Token { secret, expires } = token;
        let Some(expires) = expires else { return Self { secret, renew: None, late: None } };
        let life = expires.duration_since(now).max(SignedDuration::ZERO);
        let before = |span: SignedDuration| expires - span.min(life / 2);
        Self { secret, renew: Some(before(BEFORE_THE_END)), late: Some(before(TOO_LATE)) }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.renew.is_none_or(|at| now < at)
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.late.is_none_or(|at| now < at)
    }
}

impl Held {
    /// The token, or one that `fetch` brings. It is told whether the last one was refused before its time. Whoever comes
    /// meanwhile waits for that one.
    pub(super) async fn token<F: Future<Output = Result<Token>>>(
        &self,
        fetch: impl FnOnce(bool) -> F,
    ) -> Result<Secret> {
        let mut state = self.0.lock().await;
        if let Some(kept) = state.kept.as_ref().filter(|kept| kept.is_fresh(Timestamp::now())) {
            return Ok(kept.secret.clone());
        }
        let fetched = fetch(state.refused).await;
        let now = Timestamp::now();
        match (fetched, state.kept.as_mut()) {
            (Ok(token), _) => {
                let kept = Kept::new(token, now);
                let secret = kept.secret.clone();
                *state = State { kept: Some(kept), refused: false };
                Ok(secret)
            }
            (Err(_), Some(kept)) if kept.is_good(now) => {
                kept.renew = Some(now + PAUSE);
                Ok(kept.secret.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Lets go of a token that was refused, unless another one came meanwhile.
    pub(super) async fn refuse(&self, token: &Secret) {
        let mut state = self.0.lock().await;
        if state.kept.as_ref().is_some_and(|kept| kept.secret == *token) {
            *state = State { kept: None, refused: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::error::{Error, Kind};

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn token(text: &str, seconds: i64) -> Result<Token> {
        Ok(Token::for_seconds(text, Some(seconds)).unwrap())
    }

    fn lost() -> Result<Token> {
        Err(Error::new(Kind::Unreachable, "away"))
    }

    #[test]
    fn what_could_break_a_header_is_no_token() {
        for bad in ["", "a b", "a\nb", "a\u{0}", "ä"] {
            assert_eq!(Token::new(bad, None), None, "{bad:?}");
        }
    }

    #[test]
    fn many_who_want_one_fetch_it_once() {
        run(async {
            let (held, fetched) = (Held::default(), Cell::new(0));
            let want = || {
                held.token(|refused| {
                    assert!(!refused);
                    fetched.set(fetched.get() + 1);
                    async {
                        tokio::task::yield_now().await;
                        token("one", 3600)
                    }
                })
            };
            let (a, b, c) = tokio::join!(want(), want(), want());
            assert_eq!([a, b, c].map(|got| got.unwrap().expose().to_owned()), ["one", "one", "one"]);
            assert_eq!(fetched.get(), 1);
        });
    }

    #[test]
    fn one_that_ended_is_fetched_anew() {
        run(async {
            let held = Held::default();
            assert_eq!(held.token(|_| async { token("old", 0) }).await.unwrap().expose(), "old");
            assert_eq!(held.token(|_| async { token("new", 3600) }).await.unwrap().expose(), "new");
            assert_eq!(held.token(|_| async { lost() }).await.unwrap().expose(), "new", "it is kept");
        });
    }

    #[test]
    fn one_that_is_still_good_outlives_a_failed_renewal() {
        run(async {
            let held = Held::default();
            held.token(|_| async { token("old", 3600) }).await.unwrap();
            held.0.lock().await.kept.as_mut().unwrap().renew = Some(Timestamp::now());
            assert_eq!(held.token(|_| async { lost() }).await.unwrap().expose(), "old");
            // For a while nobody asks again.
            assert_eq!(held.token(|_| async { token("new", 9) }).await.unwrap().expose(), "old");
            let mut state = held.0.lock().await;
            let kept = state.kept.as_mut().unwrap();
            (kept.renew, kept.late) = (Some(Timestamp::now()), Some(Timestamp::now()));
            drop(state);
            assert!(held.token(|_| async { lost() }).await.is_err(), "too late");
        });
    }

    #[test]
    fn one_that_was_refused_goes_and_its_follower_stays() {
        run(async {
            let held = Held::default();
            let first = held.token(|_| async { token("first", 3600) }).await.unwrap();
            held.refuse(&first).await;
            let second =
                held.token(|refused| async move { token(&refused.to_string(), 3600) }).await.unwrap();
            assert_eq!(second.expose(), "true");
            held.refuse(&first).await;
            assert_eq!(held.token(|_| async { lost() }).await.unwrap(), second);
        });
    }

    proptest! {
        #[test]
        fn a_token_is_renewed_in_its_life_and_never_sent_after_it(life in 0_i64..100_000_000) {
            let now = Timestamp::UNIX_EPOCH;
            let token = Token::new("t", Some(now + SignedDuration::from_secs(life))).unwrap();
            let kept = Kept::new(token.clone(), now);
            let (renew, late, end) = (kept.renew.unwrap(), kept.late.unwrap(), token.expires.unwrap());
            prop_assert!(now <= renew && renew <= late && late <= end);
            prop_assert!(life < 2 || kept.is_fresh(now));
            prop_assert!(!kept.is_fresh(end) && !kept.is_good(end));
        }

        #[test]
        fn an_end_in_the_past_is_no_reason_to_fail(past in 0_i64..100_000_000) {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(past);
            let kept = Kept::new(Token::new("t", Some(Timestamp::UNIX_EPOCH)).unwrap(), now);
            prop_assert!(!kept.is_good(now));
        }
    }
}
