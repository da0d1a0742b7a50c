//! From what is wanted and what was observed to the steps between them. Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Branch, Endpoint};
use crate::error::{Error, Kind, Result};
use crate::ui;

/// What a command wants of its branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Resource name of the branch to copy.
    pub parent: String,
    /// How long it shall live from now.
    pub ttl: SignedDuration,
    /// How old its copy of the rows may get: extending its life ends there.
    pub max_age: SignedDuration,
    /// Whether an existing branch is replaced by a new copy.
    pub fresh: bool,
}

/// One step, each one change of the service, or a wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the branch.
    Create,
    /// Delete the branch and wait until it is gone.
    Delete,
    /// Wait until an existing branch is ready.
    Await,
    /// Move the branch's expiry.
    Extend(Timestamp),
    /// The endpoint sleeps, and wakes under the first login.
    Wake,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("create"),
            Self::Delete => f.write_str("delete"),
            Self::Await => f.write_str("await"),
            Self::Extend(at) => write!(f, "extend until {}", ui::clock(*at)),
            Self::Wake => f.write_str("wake"),
        }
    }
}

/// What the ids of our branches start with: a developer's, one of CI, a rehearsal's.
const PREFIXES: [&str; 3] = ["dev-", "ci-", "check-"];
/// An expiry closer to the wanted one than this is left alone, so that commands in a row do not write.
const NEAR: SignedDuration = SignedDuration::from_secs(60);
/// What a branch that is too old gets where it has no expiry at all: time to leave it.
const LAST: SignedDuration = SignedDuration::from_hours(1);

/// The steps to a live branch. An empty list means that it is as wanted.
///
/// # Errors
/// [`Kind::Guarded`] where the branch is not a disposable one, or a copy of another parent than wanted;
/// [`Kind::Api`] where it is in a state from which nothing of ours leads on.
pub fn to_live(
    wanted: &Wanted,
    observed: Option<&Branch>,
    endpoint: Option<&Endpoint>,
    now: Timestamp,
) -> Result<Vec<Step>> {
    let Some(branch) = observed else { return Ok(vec![Step::Create]) };
    disposable(branch)?;
    let gone = |state: &str| matches!(state, "DELETED" | "ARCHIVED");
    if wanted.fresh || gone(&branch.state) || branch.expires.is_some_and(|at| at <= now) {
        return Ok(vec![Step::Delete, Step::Create]);
    }
    if branch.parent.as_ref().is_some_and(|parent| *parent != wanted.parent) {
        return Err(Error::new(Kind::Guarded, format!("`{}` is a copy of another branch", branch.name))
            .because_of(format!(
                "it was made from `{}`, and `{}` is configured",
                branch.parent.as_deref().unwrap_or("?"),
                wanted.parent
            ))
            .hint("run the command with `--fresh` to make it anew, or `destroy` it first"));
    }
    let mut steps = match branch.state.as_str() {
        "READY" => Vec::new(),
        "INIT" => vec![Step::Await],
        other => {
            return Err(Error::new(Kind::Api, format!("`{}` can't be used now", branch.name))
                .because_of(format!("it is in the state {other}"))
                .hint(
                    "wait for the workspace to finish, or run the command with `--fresh` to make it anew",
                ));
        }
    };
    let until = expiry(wanted, branch, now);
    if branch.expires.is_none_or(|at| until.duration_since(at) > NEAR) {
        steps.push(Step::Extend(until));
    }
    if endpoint.is_some_and(|endpoint| endpoint.state == "IDLE") {
        steps.push(Step::Wake);
    }
    Ok(steps)
}

/// Until when a branch shall live that is used now.
fn expiry(wanted: &Wanted, branch: &Branch, now: Timestamp) -> Timestamp {
    let oldest = branch.forked.map_or(Timestamp::MAX, |at| later(at, wanted.max_age));
    let until = later(now, wanted.ttl).min(oldest);
    if branch.expires.is_none() { until.max(later(now, LAST)) } else { until }
}

/// `at` plus `span`, or the end of all times.
fn later(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// A shorter life for a branch that the workspace refused to let live for `refused`: what the project keeps of its
/// history where that is shorter, else half. `None` where there is nothing left to halve.
pub fn shorter(refused: SignedDuration, retention: Option<SignedDuration>) -> Option<SignedDuration> {
    const LEAST: SignedDuration = SignedDuration::from_mins(5);
    let bounded = retention.filter(|kept| *kept < refused && *kept >= LEAST);
    let halved = SignedDuration::from_secs(refused.as_secs() / 2);
    if refused <= LEAST { None } else { Some(bounded.unwrap_or_else(|| halved.max(LEAST))) }
}

/// The steps that delete a branch.
///
/// # Errors
/// [`Kind::Guarded`] where the branch is not a disposable one.
pub fn to_gone(observed: Option<&Branch>) -> Result<Vec<Step>> {
    match observed {
        None => Ok(Vec::new()),
        Some(branch) => disposable(branch).map(|()| vec![Step::Delete]),
    }
}

/// The second guard behind [`crate::branch::BranchId`]: whatever carries one of our ids is still not ours
/// when the service says that it is a default, protected or root branch.
fn disposable(branch: &Branch) -> Result<()> {
    let why = match branch {
        _ if !PREFIXES.iter().any(|prefix| branch.id().starts_with(prefix)) => {
            "its id has none of our prefixes"
        }
        Branch { default: true, .. } => "it is the project's default branch",
        Branch { protected: true, .. } => "it is protected",
        Branch { parent: None, .. } => "it is a root branch",
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Guarded, format!("`{}` is left alone", branch.name))
        .because_of(why)
        .hint("only development branches that this tool made are changed or deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "projects/shop/branches/production";

    fn branch() -> Branch {
        Branch {
            name: "projects/shop/branches/dev-ada-x-123456".into(),
            uid: "br-1".into(),
            state: "READY".into(),
            default: false,
            protected: false,
            expires: Some(now() + SignedDuration::from_hours(5)),
            parent: Some(PARENT.into()),
            forked: None,
            created: None,
            size: None,
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn wanted(fresh: bool) -> Wanted {
        let hours = SignedDuration::from_hours;
        Wanted { parent: PARENT.into(), ttl: hours(24), max_age: hours(7 * 24), fresh }
    }

    fn live(branch: Option<&Branch>, fresh: bool) -> Result<Vec<Step>> {
        to_live(&wanted(fresh), branch, None, now())
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_extended() {
        let until = now() + SignedDuration::from_hours(24);
        assert_eq!(live(None, false).unwrap(), [Step::Create]);
        assert_eq!(live(None, true).unwrap(), [Step::Create]);
        assert_eq!(live(Some(&branch()), false).unwrap(), [Step::Extend(until)]);
        let init = Branch { state: "INIT".into(), ..branch() };
        assert_eq!(live(Some(&init), false).unwrap(), [Step::Await, Step::Extend(until)]);
        let without = Branch { expires: None, ..branch() };
        assert_eq!(live(Some(&without), false).unwrap(), [Step::Extend(until)]);
        for enough in [-60, -30, 0, 30 * 3600] {
            let at = until + SignedDuration::from_secs(enough);
            let branch = Branch { expires: Some(at), ..branch() };
            assert_eq!(live(Some(&branch), false).unwrap(), [], "{enough}");
        }
        let short = Branch { expires: Some(until - SignedDuration::from_secs(61)), ..branch() };
        assert_eq!(live(Some(&short), false).unwrap(), [Step::Extend(until)]);
    }

    #[test]
    fn a_copy_gets_no_older_than_it_may() {
        let aged = |hours: i64, left: Option<i64>| {
            let at = |hours| now() + SignedDuration::from_hours(hours);
            let branch = Branch { forked: Some(at(-hours)), expires: left.map(at), ..branch() };
            live(Some(&branch), false).unwrap()
        };
        let hours = |hours| Step::Extend(now() + SignedDuration::from_hours(hours));
        assert_eq!(aged(1, Some(5)), [hours(24)]);
        assert_eq!(aged(6 * 24, Some(5)), [hours(24)]);
        assert_eq!(aged(6 * 24 + 12, Some(5)), [hours(12)]);
        assert_eq!(aged(7 * 24, Some(5)), []);
        assert_eq!(aged(9 * 24, Some(5)), []);
        assert_eq!(aged(9 * 24, None), [hours(1)], "one without an expiry gets one");
        let unborn = Branch { forked: None, ..branch() };
        assert_eq!(live(Some(&unborn), false).unwrap(), [hours(24)]);
    }

    #[test]
    fn what_is_dead_or_unwanted_is_made_anew() {
        for dead in [
            Branch { state: "DELETED".into(), ..branch() },
            Branch { state: "ARCHIVED".into(), ..branch() },
            Branch { expires: Some(now()), ..branch() },
        ] {
            assert_eq!(live(Some(&dead), false).unwrap(), [Step::Delete, Step::Create]);
        }
        assert_eq!(live(Some(&branch()), true).unwrap(), [Step::Delete, Step::Create]);
    }

    #[test]
    fn a_state_that_leads_nowhere_is_not_waited_for() {
        for state in ["RESETTING", "IMPORTING", "SOMETHING_NEW", ""] {
            let branch = Branch { state: state.into(), ..branch() };
            assert_eq!(live(Some(&branch), false).unwrap_err().kind, Kind::Api, "{state}");
            assert_eq!(live(Some(&branch), true).unwrap(), [Step::Delete, Step::Create], "{state}");
        }
    }

    #[test]
    fn a_sleeping_endpoint_is_woken_and_no_other() {
        let endpoint = |state: &str| Endpoint {
            name: "e".into(),
            host: "h".into(),
            port: 1,
            state: state.into(),
            disabled: false,
        };
        let branch = Branch { expires: Some(now() + SignedDuration::from_hours(24)), ..branch() };
        let plan = |state| to_live(&wanted(false), Some(&branch), Some(&endpoint(state)), now()).unwrap();
        assert_eq!(plan("IDLE"), [Step::Wake]);
        assert_eq!(plan("ACTIVE"), []);
        assert_eq!(plan("DEGRADED"), []);
    }

    #[test]
    fn a_life_that_is_refused_gets_shorter_until_it_can_not() {
        let hours = SignedDuration::from_hours;
        let minutes = SignedDuration::from_mins;
        assert_eq!(shorter(hours(24), Some(hours(6))), Some(hours(6)));
        assert_eq!(shorter(hours(6), Some(hours(6))), Some(hours(3)));
        assert_eq!(shorter(hours(24), Some(hours(240))), Some(hours(12)));
        assert_eq!(shorter(hours(24), Some(minutes(1))), Some(hours(12)));
        assert_eq!(shorter(hours(24), None), Some(hours(12)));
        assert_eq!(shorter(minutes(6), None), Some(minutes(5)));
        assert_eq!(shorter(minutes(5), None), None);
        assert_eq!(shorter(minutes(1), None), None);
    }

    #[test]
    fn a_copy_of_another_parent_is_not_taken_for_production() {
        let other = Branch { parent: Some("projects/shop/branches/staging".into()), ..branch() };
        assert_eq!(live(Some(&other), false).unwrap_err().kind, Kind::Guarded);
        assert_eq!(live(Some(&other), true).unwrap(), [Step::Delete, Step::Create]);
    }

    #[test]
    fn nothing_that_is_not_disposable_is_touched() {
        for guarded in [
            Branch { default: true, ..branch() },
            Branch { protected: true, ..branch() },
            Branch { parent: None, ..branch() },
            Branch { name: "projects/shop/branches/production".into(), ..branch() },
            Branch { name: "projects/dev-shop/branches/release-dev-1".into(), ..branch() },
            Branch { name: String::new(), ..branch() },
        ] {
            assert_eq!(live(Some(&guarded), false).unwrap_err().kind, Kind::Guarded);
            assert_eq!(live(Some(&guarded), true).unwrap_err().kind, Kind::Guarded);
            assert_eq!(to_gone(Some(&guarded)).unwrap_err().kind, Kind::Guarded);
        }
        assert_eq!(to_gone(Some(&branch())).unwrap(), [Step::Delete]);
        for id in ["ci-main-123456", "check-x"] {
            let ours = Branch { name: format!("projects/shop/branches/{id}"), ..branch() };
            assert_eq!(to_gone(Some(&ours)).unwrap(), [Step::Delete]);
        }
        assert_eq!(to_gone(None).unwrap(), []);
    }
}
