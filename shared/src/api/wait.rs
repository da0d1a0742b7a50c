//! Waiting: how long between two looks, how often to try again, and when to give up.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::error::ApiError;
use crate::error::{Error, Kind};

/// A call that fails for the moment is sent again for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two looks: what waiting adds to what the server takes.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A moment after which waiting ends in an error.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// The moment `allowed` from now.
    pub fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    /// # Errors
    /// [`Kind::Unreachable`] once the moment has passed.
    fn check(self) -> Result<(), Error> {
        if Instant::now() < self.at {
            return Ok(());
        }
        let message = format!("the Lakebase API was not done within {} s", self.allowed.as_secs());
        Err(Error::new(Kind::Unreachable, message).hint("run the same command again: it goes on from there"))
    }
}

/// Pauses between two looks at the same thing: from 20 ms, a fifth longer each time, to [`LONGEST_PAUSE`].
pub struct Pause {
    next: Duration,
    until: Deadline,
}

impl Pause {
    /// Starts anew.
    pub fn new(until: Deadline) -> Self {
        Self { next: Duration::from_millis(20), until }
    }

    /// Waits once.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] when the deadline has passed.
    pub async fn wait(&mut self) -> Result<(), Error> {
        self.until.check()?;
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 6 / 5).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// The pauses between two tries of a call that failed for the moment: 0.2 s and double each time, with jitter, so that
/// a team's clients do not come back at the same moment; [`PATIENCE`] together.
pub(super) fn tries() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(8)
        .with_total_delay(Some(PATIENCE))
        .with_jitter()
}

/// The same as an iterator.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    tries().build()
}

/// The next pause after `fault`: what the server asks for where that is longer, and none where it asks for more than
/// anybody waits.
pub(super) fn asked(fault: &ApiError, next: Option<Duration>) -> Option<Duration> {
    match fault {
        ApiError::Refused { retry_after: Some(seconds), .. } => {
            let asked = Duration::from_secs(*seconds);
            next.filter(|_| asked <= PATIENCE).map(|next| next.max(asked))
        }
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry_after: Option<u64>) -> ApiError {
        ApiError::Refused { status: None, code: String::new(), message: String::new(), retry_after }
    }

    #[test]
    fn the_server_says_how_long_to_wait_within_reason() {
        let next = Some(Duration::from_secs(1));
        assert_eq!(asked(&refused(None), next), next);
        assert_eq!(asked(&refused(Some(0)), next), next);
        assert_eq!(asked(&refused(Some(7)), next), Some(Duration::from_secs(7)));
        assert_eq!(asked(&refused(Some(3600)), next), None);
        assert_eq!(asked(&refused(Some(1)), None), None);
    }

    #[test]
    fn tries_end_and_differ_from_client_to_client() {
        let all = || pauses().collect::<Vec<_>>();
        assert!(all().iter().sum::<Duration>() <= PATIENCE);
        assert!(all().len() >= 5);
        assert_ne!(all(), all());
    }
}
