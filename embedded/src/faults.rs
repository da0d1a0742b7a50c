//! What goes wrong on demand: faults that strike calls (one layer round the routes, see [`layer`]), and faults of what the server
//! does, which its parts ask about here.

mod call;
pub mod layer;
mod spec;
pub mod wire;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::clock::Clock;

pub use call::Call;
pub use spec::{GRAMMAR, Kind, MAX_SKEW, Moment, Spec};

/// How often a held branch looks whether it may go on.
const POLL: Duration = Duration::from_millis(10);

/// The faults of a server. They are not kept: a restart begins with those of its start.
#[derive(Debug)]
pub struct Faults {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    faults: Vec<Fault>,
}

/// A fault that was set.
#[derive(Debug)]
struct Fault {
    id: u64,
    spec: Spec,
    /// How often it will still strike; without end, if none.
    left: Option<u32>,
    /// How often it struck.
    struck: u64,
    since: Timestamp,
    /// Logins that were refused, by the uid of their endpoint.
    refused: HashMap<String, u32>,
}

impl Fault {
    fn is_spent(&self) -> bool {
        self.left == Some(0)
    }

    fn strike(&mut self) {
        self.struck += 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    fn view(&self) -> Value {
        json!({"id": self.id, "fault": self.spec.to_string(), "left": self.left, "struck": self.struck})
    }
}

impl Faults {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    /// Sets a further fault; gives what [`Faults::list`] says of it.
    pub fn add(&self, spec: Spec) -> Value {
        if let Kind::ClockSkew(seconds) = spec.kind {
            self.clock.set_skew(SignedDuration::from_secs(seconds));
        }
        let mut inner = self.lock();
        inner.last += 1;
        let (id, left, since) = (inner.last, spec.times, self.clock.now());
        let fault = Fault { id, spec, left, struck: 0, since, refused: HashMap::new() };
        let view = fault.view();
        inner.faults.push(fault);
        view
    }

    /// Lifts the fault of this number, or all; says how many there were.
    pub fn clear(&self, id: Option<u64>) -> usize {
        let is_meant = |fault: &Fault| id.is_none_or(|id| fault.id == id);
        let mut inner = self.lock();
        let before = inner.faults.len();
        if inner.faults.iter().any(|fault| is_meant(fault) && matches!(fault.spec.kind, Kind::ClockSkew(_))) {
            self.clock.set_skew(SignedDuration::ZERO);
        }
        inner.faults.retain(|fault| !is_meant(fault));
        before - inner.faults.len()
    }

    /// The faults, those that are spent too.
    pub fn list(&self) -> Vec<Value> {
        self.lock().faults.iter().map(Fault::view).collect()
    }

    /// What strikes a call: every delay, and the first fault that answers in its place. Each has struck by that.
    pub fn strike(&self, call: &Call) -> Vec<Spec> {
        let mut answered = false;
        let mut struck = Vec::new();
        for fault in &mut self.lock().faults {
            let lasts = matches!(fault.spec.kind, Kind::Delay(_) | Kind::PageSize(_));
            if fault.is_spent() || !fault.spec.is_of_calls() || !fault.spec.strikes(call) {
                continue;
            }
            if matches!(fault.spec.kind, Kind::PageSize(_)) && !call.name.ends_with(".list") {
                continue;
            }
            if lasts || !answered {
                answered |= !lasts;
                fault.strike();
                struck.push(fault.spec.clone());
            }
        }
        struck
    }

    /// Whether one of them is about a single branch.
    pub fn name_a_branch(&self) -> bool {
        self.lock().faults.iter().any(|fault| fault.spec.branch.is_some())
    }

    /// Longest life of a branch, in seconds.
    pub fn max_ttl(&self, branch: &str) -> Option<i64> {
        self.first(
            branch,
            |fault| if let Kind::MaxTtl(seconds) = fault.spec.kind { Some(seconds) } else { None },
        )
    }

    /// Longest life of a token, in seconds.
    pub fn token_life(&self, branch: &str) -> Option<i64> {
        self.first(branch, |fault| {
            if let Kind::ExpireTokens(seconds) = fault.spec.kind { Some(seconds) } else { None }
        })
    }

    /// Branches that a project may have, and status and code of the refusal of one more.
    pub fn quota(&self, branch: &str) -> Option<(usize, u16, String)> {
        self.first(branch, |fault| match &fault.spec.kind {
            Kind::Quota { branches, status, code } => Some((*branches, *status, code.clone())),
            _ => None,
        })
    }

    /// The status with which a taken id is refused.
    pub fn already_exists(&self, id: &str) -> Option<u16> {
        self.first(
            id,
            |fault| if let Kind::AlreadyExists(status) = fault.spec.kind { Some(status) } else { None },
        )
    }

    /// Whether a branch's deletion is to be accepted and then ignored.
    pub fn ignores_delete(&self, branch: &str, in_init: bool) -> bool {
        let ignored = self.first(branch, |fault| match fault.spec.kind {
            Kind::IgnoreDelete { in_init_only } if in_init || !in_init_only => Some(()),
            _ => None,
        });
        ignored.is_some()
    }

    /// Whether a login at an endpoint, which was made at a time, is to be refused.
    pub fn refuses_login(&self, branch: &str, endpoint: &str, made: Timestamp) -> bool {
        let refused = self.first(branch, |fault| {
            let Kind::RefuseLogins(first) = fault.spec.kind else { return None };
            if fault.spec.branch.is_none() && made < fault.since {
                return None;
            }
            let so_far = fault.refused.entry(endpoint.to_owned()).or_default();
            (*so_far < first).then(|| *so_far += 1)
        });
        refused.is_some()
    }

    /// Whether a branch gives its users no event triggers: asked for each statement about one.
    pub fn refuses_event_triggers(&self, branch: &str) -> bool {
        let refused = self.first(branch, |fault| (fault.spec.kind == Kind::NoEventTriggers).then_some(()));
        refused.is_some()
    }

    /// Whether a branch counts no statements: asked when its PostgreSQL starts, and when the extension is to be made there.
    pub fn lacks_statistics(&self, branch: &str) -> bool {
        let lacking = self.first(branch, |fault| (fault.spec.kind == Kind::NoStatistics).then_some(()));
        lacking.is_some()
    }

    /// Waits as long as a new branch is to stay in INIT, or until `ended` says otherwise. Says whether it had to.
    pub async fn hold_in_init(&self, branch: &str, ended: impl Fn() -> bool) -> bool {
        let held = self.first(branch, |fault| match fault.spec.kind {
            Kind::StayInInit(time) => Some((fault.id, time)),
            _ => None,
        });
        let Some((id, time)) = held else { return false };
        let begun = Instant::now();
        while !ended()
            && time.is_none_or(|time| begun.elapsed() < time)
            && self.lock().faults.iter().any(|fault| fault.id == id)
        {
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// What the first fault that is about this branch, and that `chosen` is found in, says. It has struck by that.
    fn first<T>(&self, branch: &str, chosen: impl Fn(&mut Fault) -> Option<T>) -> Option<T> {
        let mut inner = self.lock();
        inner.faults.iter_mut().filter(|fault| !fault.is_spent() && fault.spec.concerns(branch)).find_map(
            |fault| {
                let found = chosen(fault)?;
                fault.strike();
                Some(found)
            },
        )
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(specs: &[&str]) -> Faults {
        let faults = Faults::new(Clock::default());
        for spec in specs {
            faults.add(spec.parse().unwrap());
        }
        faults
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        let faults =
            faults(&["branches.get drop times=2", "branches.get delay=1 always", "branches.* status=500"]);
        let call = Call::of("GET", "/api/2.0/postgres/projects/shop/branches/dev", "").unwrap();
        let kinds = || faults.strike(&call).into_iter().map(|spec| spec.to_string()).collect::<Vec<_>>();
        // delays come beside whatever answers, of which there is one
        assert_eq!(kinds(), ["branches.get drop times=2", "branches.get delay=1 always"]);
        assert_eq!(kinds().len(), 2);
        assert_eq!(kinds(), ["branches.get delay=1 always", "branches.* status=500"]);
        assert_eq!(kinds(), ["branches.get delay=1 always"]);
        let listed = faults.list();
        assert_eq!((&listed[0]["left"], &listed[0]["struck"]), (&json!(0), &json!(2)));
        assert_eq!((&listed[1]["left"], &listed[1]["struck"]), (&Value::Null, &json!(4)));
        assert_eq!((faults.clear(Some(1)), faults.clear(Some(1)), faults.clear(None)), (1, 0, 2));
    }

    #[test]
    fn the_first_logins_are_refused_at_each_endpoint_that_is_new() {
        let faults = faults(&["refuse-logins=2"]);
        let (old, new) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let refused = |endpoint, made| faults.refuses_login("dev", endpoint, made);
        assert!(!refused("ep-old", old));
        for endpoint in ["ep-a", "ep-b"] {
            assert_eq!([0; 3].map(|_| refused(endpoint, new)), [true, true, false], "{endpoint}");
        }
        // and at any, where the branch is named
        faults.add("refuse-logins=1 branch=production".parse().unwrap());
        assert!(!refused("ep-old", old));
        assert!(faults.refuses_login("production", "ep-old", old));
    }

    #[test]
    fn a_skewed_clock_is_right_again_once_its_fault_is_lifted() {
        let clock = Clock::default();
        let faults = Faults::new(clock.clone());
        faults.add("drop".parse().unwrap());
        let id = faults.add("clock-skew=-60".parse().unwrap())["id"].as_u64();
        assert_eq!(clock.skew().as_secs(), -60);
        faults.clear(Some(1));
        assert_eq!(clock.skew().as_secs(), -60);
        faults.clear(id);
        assert_eq!(clock.skew().as_secs(), 0);
    }
}
