//! From a branch to none.

use std::time::Duration;

use super::{Observation, READY_WITHIN, Report, Target, observe};
use crate::api::{Branch, BranchPath, Client, Deadline, Pause};
use crate::error::Result;
use crate::event::Event;
use crate::plan::{self, Step};

/// A DELETE that came during INIT is accepted and then ignored, so it is sent again after this long.
const DELETE_AGAIN: Duration = Duration::from_secs(3);

/// Deletes the branch for good and waits until it is gone, if it still is the one with this uid. Gives whether it was there.
///
/// # Errors
/// Those of [`observe`] and of [`plan::to_gone`], and the API's own.
pub async fn gone(client: &Client, target: &Target, uid: &str, report: Report<'_>) -> Result<bool> {
    let seen = observe(client, target).await?;
    // Between the list that somebody was asked about and the answer may lie hours.
    if seen.branch.as_ref().is_some_and(|branch| branch.uid != uid) {
        return Ok(false);
    }
    gone_as_seen(client, target, &seen, report).await
}

/// The same from an observation.
///
/// # Errors
/// Those of [`plan::to_gone`], and the API's own.
pub async fn gone_as_seen(
    client: &Client,
    target: &Target,
    seen: &Observation,
    report: Report<'_>,
) -> Result<bool> {
    let steps = plan::to_gone(seen.branch.as_ref())?;
    for step in &steps {
        if *step == Step::Delete {
            delete(client, &target.path, seen.branch.as_ref(), report).await?;
        }
    }
    Ok(!steps.is_empty())
}

/// Deletes the branch and waits until it is gone. One with another uid than was seen is somebody's new one, and stays.
pub(super) async fn delete(
    client: &Client,
    path: &BranchPath,
    seen: Option<&Branch>,
    report: Report<'_>,
) -> Result<()> {
    report(Event::Deleting { branch: path.branch.to_string() });
    let doing = format!("deleting branch {}", path.branch);
    let mut pause = Pause::new(Deadline::after(READY_WITHIN));
    let mut sent = None;
    loop {
        if sent.is_none_or(|at: std::time::Instant| at.elapsed() > DELETE_AGAIN) {
            match client.delete_branch(path).await {
                // A deletion that is under way may be answered so; only the branch itself tells that it is over.
                Err(error) if error.is_not_found() => {}
                answer => answer.map_err(|error| error.into_error(&doing))?,
            }
            sent = Some(std::time::Instant::now());
        }
        match client.branch(path).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into_error(&doing)),
            Ok(found) if seen.is_some_and(|seen| seen.uid != found.uid) => return Ok(()),
            Ok(_) => pause.wait().await?,
        }
    }
}
