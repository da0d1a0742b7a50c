//! The one source of time, so that a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Wall-clock time plus a skew. Clones share the skew.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    skew_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The time now, cut to milliseconds: what is stored is what was answered.
    pub fn now(&self) -> Timestamp {
        let skewed = Timestamp::now().as_millisecond().saturating_add(self.skew_ms.load(Ordering::Relaxed));
        Timestamp::from_millisecond(skewed).unwrap_or(Timestamp::MAX)
    }

    /// Moves the clock by `skew` from the real time, either way.
    pub fn set_skew(&self, skew: SignedDuration) {
        self.skew_ms.store(i64::try_from(skew.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// By how much the clock is moved.
    pub fn skew(&self) -> SignedDuration {
        SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed))
    }

    /// How long until `deadline` by this clock; zero once it has passed.
    pub fn until(&self, deadline: Timestamp) -> Duration {
        Duration::try_from(deadline.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

/// `time` plus whole `seconds`, at most the last representable time.
pub fn plus_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_clock_runs_ahead() {
        let clock = Clock::default();
        clock.set_skew(SignedDuration::from_hours(2));
        let ahead = clock.now().duration_since(Timestamp::now());
        assert!(ahead > SignedDuration::from_mins(119) && ahead < SignedDuration::from_mins(121));
        assert_eq!(clock.until(Timestamp::now()), Duration::ZERO);
    }
}
