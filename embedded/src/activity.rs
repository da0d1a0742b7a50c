//! Who uses the PostgreSQL of a branch, and since when nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::clock::Clock;

/// The use of every branch, by its uid. Not kept: a restart begins anew, as if every branch had been used last then.
#[derive(Debug, Clone)]
pub struct Activities {
    clock: Clock,
    branches: Arc<Mutex<HashMap<String, Activity>>>,
}

#[derive(Debug)]
struct Activity {
    /// Sessions, logins on their way, and our own work.
    users: usize,
    /// When the last use ended, or was first asked after.
    idle_since: Timestamp,
    /// Whether it is being stopped: what still takes connections will not for long.
    stopping: bool,
}

/// A use of a branch; it ends when this is dropped.
#[derive(Debug)]
pub struct Use {
    activities: Activities,
    uid: String,
}

/// The stopping of a branch's PostgreSQL; it ends when this is dropped.
#[derive(Debug)]
pub struct Stopping {
    activities: Activities,
    uid: String,
}

impl Activities {
    /// Nobody uses anything yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, branches: Arc::default() }
    }

    /// Begins a use. Nothing that is used is suspended for idleness.
    pub fn begin(&self, uid: &str) -> Use {
        self.with(uid, |activity| activity.users += 1);
        Use { activities: self.clone(), uid: uid.to_owned() }
    }

    /// Since when nobody has used the branch; none while somebody does.
    pub fn idle_since(&self, uid: &str) -> Option<Timestamp> {
        let now = self.clock.now();
        self.with(uid, |activity| {
            // A clock that was set back must not make it wait for the time that it was ahead.
            activity.idle_since = activity.idle_since.min(now);
            (activity.users == 0).then_some(activity.idle_since)
        })
    }

    /// Whether the branch's PostgreSQL is being stopped.
    pub fn is_stopping(&self, uid: &str) -> bool {
        self.with(uid, |activity| activity.stopping)
    }

    /// Begins to stop, whoever uses the branch.
    pub fn stop(&self, uid: &str) -> Stopping {
        self.with(uid, |activity| activity.stopping = true);
        Stopping { activities: self.clone(), uid: uid.to_owned() }
    }

    /// Begins to stop unless somebody uses the branch.
    pub fn stop_unused(&self, uid: &str) -> Option<Stopping> {
        let unused = self.with(uid, |activity| {
            activity.stopping |= activity.users == 0;
            activity.users == 0
        });
        unused.then(|| Stopping { activities: self.clone(), uid: uid.to_owned() })
    }

    /// Forgets a branch that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn with<T>(&self, uid: &str, work: impl FnOnce(&mut Activity) -> T) -> T {
        let now = self.clock.now();
        let new = || Activity { users: 0, idle_since: now, stopping: false };
        work(self.lock().entry(uid.to_owned()).or_insert_with(new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Activity>> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let now = self.activities.clock.now();
        // Nothing is left to count where the branch is gone.
        if let Some(activity) = self.activities.lock().get_mut(&self.uid) {
            activity.users = activity.users.saturating_sub(1);
            activity.idle_since = now;
        }
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(activity) = self.activities.lock().get_mut(&self.uid) {
            activity.stopping = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn what_is_used_is_not_idle_and_not_stopped_for_idleness() {
        let clock = Clock::default();
        let activities = Activities::new(clock.clone());
        // given two uses, one of which has ended
        let (first, second) = (activities.begin("br"), activities.begin("br"));
        drop(first);
        assert_eq!(activities.idle_since("br"), None);
        assert!(activities.stop_unused("br").is_none() && !activities.is_stopping("br"));
        // when the other ends, an hour later
        clock.set_skew(SignedDuration::from_hours(1));
        drop(second);
        // then it is idle since then, and can be stopped
        let since = activities.idle_since("br").unwrap();
        assert!(clock.now().duration_since(since) < SignedDuration::from_mins(1));
        let stopping = activities.stop_unused("br");
        assert!(stopping.is_some() && activities.is_stopping("br"));
        drop(stopping);
        assert!(!activities.is_stopping("br"));
    }

    #[test]
    fn a_clock_set_back_does_not_prolong_idleness() {
        let clock = Clock::default();
        let activities = Activities::new(clock.clone());
        clock.set_skew(SignedDuration::from_hours(5));
        drop(activities.begin("br"));
        clock.set_skew(SignedDuration::ZERO);
        assert!(activities.idle_since("br").unwrap() <= clock.now());
    }
}
