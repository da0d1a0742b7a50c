//! From what is wanted and what was observed to the steps between them. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::Branch;
use crate::error::{Error, Kind, Result};

/// What a command wants of its branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Resource name of the branch to copy.
    pub parent: String,
    /// How long it shall live from now.
    pub ttl: SignedDuration,
    /// Whether an existing branch is replaced by a new copy.
    pub fresh: bool,
}

/// One step, each one change of the service.
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
}

/// An expiry closer to the wanted one than this is left alone, so that commands in a row do not write.
const NEAR: SignedDuration = SignedDuration::from_secs(60);

/// The steps to a live branch.
///
/// # Errors
/// [`Kind::Guarded`] where the branch is not a disposable one, or a copy of another parent than wanted.
pub fn to_live(wanted: &Wanted, observed: Option<&Branch>, now: Timestamp) -> Result<Vec<Step>> {
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
    let mut steps = Vec::new();
    if branch.state != "READY" {
        steps.push(Step::Await);
    }
    let until = now + wanted.ttl;
    if branch.expires.is_none_or(|at| until.duration_since(at) > NEAR) {
        steps.push(Step::Extend(until));
    }
    Ok(steps)
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

    fn live(branch: Option<&Branch>, fresh: bool) -> Result<Vec<Step>> {
        to_live(&Wanted { parent: PARENT.into(), ttl: SignedDuration::from_hours(24), fresh }, branch, now())
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_extended() {
        let until = now() + SignedDuration::from_hours(24);
        assert_eq!(live(None, false).unwrap(), [Step::Create]);
        assert_eq!(live(None, true).unwrap(), [Step::Create]);
        assert_eq!(live(Some(&branch()), false).unwrap(), [Step::Extend(until)]);
        let init = Branch { state: "INIT".into(), ..branch() };
        assert_eq!(live(Some(&init), false).unwrap(), [Step::Await, Step::Extend(until)]);
        let recent = Branch { expires: Some(until - SignedDuration::from_secs(30)), ..branch() };
        assert_eq!(live(Some(&recent), false).unwrap(), []);
        let longer = Branch { expires: Some(until + SignedDuration::from_hours(30)), ..branch() };
        assert_eq!(live(Some(&longer), false).unwrap(), []);
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
        ] {
            assert_eq!(live(Some(&guarded), false).unwrap_err().kind, Kind::Guarded);
            assert_eq!(live(Some(&guarded), true).unwrap_err().kind, Kind::Guarded);
            assert_eq!(to_gone(Some(&guarded)).unwrap_err().kind, Kind::Guarded);
        }
        assert_eq!(to_gone(Some(&branch())).unwrap(), [Step::Delete]);
        assert_eq!(to_gone(None).unwrap(), []);
    }
}
