//! Room for one more branch in a project that is full. Only what this machine made for its user is ever given up.

use std::time::Duration;

use jiff::Timestamp;

use super::session::Session;
use crate::api::Client;
use crate::ensure::{self, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::identity::Fate;
use crate::slots::{self, Candidate};
use crate::ui::{self, Ui};

/// How long `--wait-slot` waits.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The pause between two looks of its own: a team's clients do not ask all the time for something that takes minutes.
const LOOK: Duration = Duration::from_secs(5);

/// What to do where the project's branch limit is reached.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Full {
    /// Where the project is full, delete the branch made here whose git branch is over, else the one used longest ago
    #[arg(long)]
    pub free_slot: bool,
    /// Where the project is full, wait up to an hour until somebody deletes a branch
    #[arg(long)]
    pub wait_slot: bool,
}

/// Makes room, or waits for it. `full` is what the service said.
///
/// # Errors
/// `full` with what can be done about it, where nothing may be deleted; those of deleting.
pub async fn make(
    session: &Session,
    client: &Client,
    project_uid: &str,
    full: Error,
    ui: &mut Ui,
) -> Result<()> {
    let project = &session.target.path.project;
    let listed = client.branches(project).await.map_err(|error| error.into_error("listing the branches"))?;
    let recorded = session.record.as_ref().map(|record| record.of_project(project_uid)).unwrap_or_default();
    let recorded = slots::of_user(recorded, &session.identity);
    let mut candidates = slots::candidates(&listed, &recorded, &session.id, Timestamp::now());
    candidates.retain(Candidate::holds_slot);
    for candidate in &candidates {
        let question = format!("The project is full. Delete {}?", words(candidate));
        if session.full.free_slot || ui.ask(&question) {
            return free(session, client, project_uid, candidate, ui).await;
        }
    }
    if session.full.wait_slot {
        return wait(session, client, slots::used(&listed), full, ui).await;
    }
    let none = "this machine recorded no other branch as yours, and nobody else's is touched";
    let full = if candidates.is_empty() { full.because_of(none) } else { full };
    Err(candidates
        .iter()
        .take(3)
        .fold(full, |full, candidate| full.because_of(format!("yours, and could go: {}", words(candidate)))))
}

async fn free(
    session: &Session,
    client: &Client,
    project_uid: &str,
    candidate: &Candidate,
    ui: &mut Ui,
) -> Result<()> {
    let mut target: Target = session.target.clone();
    target.path.branch = candidate.id.id().clone();
    ensure::gone(client, &target, &candidate.branch.uid, &mut |event| ui.event(&event)).await?;
    ui.note(&format!("Deleted {}", words(candidate)));
    match &session.record {
        Some(record) => record.forget(project_uid, &candidate.id),
        None => Ok(()),
    }
}

/// Waits until fewer than `used` branches count.
async fn wait(session: &Session, client: &Client, used: usize, full: Error, ui: &mut Ui) -> Result<()> {
    ui.event(&Event::Full);
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        let listed = client.branches(&session.target.path.project).await;
        let listed = listed.map_err(|error| error.into_error("listing the branches"))?;
        if slots::used(&listed) < used {
            return Ok(());
        }
    }
    Err(Error { kind: Kind::Quota, ..full }.because_of("nobody deleted one within an hour"))
}

/// A branch as its owner knows it.
pub(super) fn words(candidate: &Candidate) -> String {
    let git = &candidate.entry.identity.branch;
    let fate = match candidate.fate {
        Fate::Gone => "which is gone",
        Fate::Merged => "which is merged",
        Fate::Open | Fate::CheckedOut | Fate::Unknown => "which is not merged",
    };
    format!("{}, of git branch {git}, {fate}; last used {} ago", candidate.id, ui::duration(candidate.unused))
}
