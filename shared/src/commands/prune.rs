//! `prune`: delete the branches whose git branch is merged or gone.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::confirm::confirm;
use super::room::words;
use super::roster::Roster;
use super::session::{Session, SettingArgs, World};
use super::table::inert;
use crate::api::{Branch, BranchPath, Client};
use crate::branch::BranchId;
use crate::ensure::{self, Target};
use crate::error::{Error, Kind, Result};
use crate::identity::Fate;
use crate::record::Entry;
use crate::slots::{self, Candidate};
use crate::ui::Ui;

/// What was noted this short a time ago may be being made right now, and not be listed yet.
const BEING_MADE: SignedDuration = SignedDuration::from_mins(20);

/// Arguments of `prune`. None names a branch: only what this machine recorded as made for this user is looked at.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Say what would be deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document about what was deleted
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

impl Args {
    /// Whether nothing is to be changed.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// Deletes each, and forgets it; then forgets what was recorded and is no longer there.
///
/// # Errors
/// Those of the session, of [`Roster::read`] and of [`ensure::gone`]; [`Kind::Guarded`] without a yes.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let session = Session::open(args.settings, world)?;
    let client = session.client().await?;
    let roster = Roster::read(&session, &client).await?;
    let now = Timestamp::now();
    let over = over(&roster, &session.id, now);
    let missing = missing(&roster.branches, &roster.recorded, now);
    if args.dry_run {
        if args.json {
            world.ui.json(&document(&over, &missing, true));
        } else {
            let line = |candidate| inert(&format!("would delete {}", words(candidate)));
            over.iter().for_each(|candidate| world.ui.data(&line(candidate)));
        }
    }
    if over.is_empty() {
        world.ui.note("No branch that was made here has a git branch that is merged or gone");
    }
    if args.dry_run {
        return Ok(());
    }
    if !over.is_empty() && !args.yes {
        over.iter().for_each(|candidate| world.ui.note(&format!("  {}", words(candidate))));
    }
    if !over.is_empty() {
        let question = match over.len() {
            1 => "Delete this branch for good?".to_owned(),
            count => format!("Delete these {count} branches for good?"),
        };
        confirm(world.ui, args.yes, &question, "nothing was deleted")?;
    }
    let forget = |id: &BranchId| match &session.record {
        Some(record) => record.forget(&roster.project.uid, id),
        None => Ok(()),
    };
    let (mut deleted, mut failure) = (Vec::new(), None);
    for candidate in over {
        match delete(&client, &session.target, &candidate, world.ui).await {
            Ok(()) => {
                forget(&candidate.id)?;
                deleted.push(candidate);
            }
            // The others can go all the same, unless nothing answers any more.
            Err(error) if error.kind == Kind::Unreachable => return Err(error),
            Err(error) => failure = Some(told(failure, error, world.ui)),
        }
    }
    for entry in &missing {
        forget(&entry.id())?;
    }
    if args.json {
        world.ui.json(&document(&deleted, &missing, false));
    }
    failure.map_or(Ok(()), Err)
}

/// What may go, of which nobody will miss anything.
fn over(roster: &Roster, current: &BranchId, now: Timestamp) -> Vec<Candidate> {
    let all = slots::candidates(&roster.branches, &roster.recorded, current, now);
    all.into_iter().filter(|candidate| candidate.fate.is_over()).collect()
}

/// What was recorded and is not listed: it was deleted elsewhere, or has expired. Every project has a default branch, so
/// a list without one is not whole.
fn missing(listed: &[Branch], recorded: &[(Entry, Fate)], now: Timestamp) -> Vec<Entry> {
    if !listed.iter().any(|branch| branch.default) {
        return Vec::new();
    }
    let is_missing = |(entry, fate): &&(Entry, Fate)| {
        let id = entry.id();
        // Nobody makes a branch where nobody works: a `prune` before this one was killed when it had deleted it.
        let may_be_made = !fate.is_over() && now.duration_since(entry.used) <= BEING_MADE;
        !listed.iter().any(|branch| branch.id() == id.id().as_str()) && !may_be_made
    };
    recorded.iter().filter(is_missing).map(|(entry, _)| entry.clone()).collect()
}

/// Looks at the branch again and deletes it, if it still is one that may be.
async fn delete(client: &Client, target: &Target, candidate: &Candidate, ui: &mut Ui) -> Result<()> {
    let path = BranchPath { project: target.path.project.clone(), branch: candidate.id.id().clone() };
    let target = Target { path, ..target.clone() };
    let uid = &candidate.branch.uid;
    let existed = ensure::gone(client, &target, uid, &mut |event| ui.event(&event)).await;
    ui.rest();
    match existed? {
        true => ui.note(&format!("Deleted {}", words(candidate))),
        false => ui.note(&format!("{} was gone already", candidate.id)),
    }
    Ok(())
}

/// Tells all failures but the first, which ends the command.
fn told(first: Option<Error>, error: Error, ui: &mut Ui) -> Error {
    let Some(first) = first else { return error };
    ui.warn(&error.to_string());
    first
}

fn document(deleted: &[Candidate], forgotten: &[Entry], dry_run: bool) -> Value {
    let branch = |candidate: &Candidate| {
        json!({
            "id": candidate.id.to_string(),
            "git_branch": candidate.entry.identity.branch,
            "git_state": candidate.fate.to_string(),
            "used": candidate.entry.used.to_string(),
            "size_bytes": candidate.branch.size,
        })
    };
    json!({
        "dry_run": dry_run,
        "deleted": deleted.iter().map(branch).collect::<Vec<_>>(),
        "forgotten": forgotten.iter().map(|entry| entry.id().to_string()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::GitIdentity;

    fn entry(now: Timestamp, branch: &str, minutes: i64) -> Entry {
        Entry {
            project_uid: "uid".into(),
            identity: GitIdentity { user: "Ada".into(), email: "a@x".into(), branch: branch.into() },
            repository: "/shop/.git".into(),
            used: now - SignedDuration::from_mins(minutes),
        }
    }

    fn listed(id: &str) -> Branch {
        Branch {
            name: format!("projects/shop/branches/{id}"),
            uid: "br-1".into(),
            state: "READY".into(),
            default: id == "production",
            protected: false,
            expires: None,
            parent: None,
            forked: None,
            created: None,
            size: None,
        }
    }

    #[test]
    fn what_is_listed_or_may_be_being_made_right_now_is_not_forgotten() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let entry = |branch: &str, minutes: i64| entry(now, branch, minutes);
        let recorded =
            [("there", 60), ("new", 19), ("old", 21)].map(|(it, age)| (entry(it, age), Fate::Open));
        let there = listed(&entry("there", 0).id().to_string());
        let whole = [listed("production"), there.clone()];
        assert_eq!(missing(&whole, &recorded, now), [entry("old", 21)]);
        assert_eq!(missing(&[there], &recorded, now), []);
        assert_eq!(missing(&[], &recorded, now), []);
        let unsure = [Fate::CheckedOut, Fate::Unknown].map(|fate| (entry("new", 19), fate));
        assert_eq!(missing(&whole, &unsure, now), []);
    }

    #[test]
    fn what_a_killed_prune_deleted_is_forgotten_at_once() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let new = entry(now, "new", 1);
        for fate in [Fate::Merged, Fate::Gone] {
            let recorded = [(new.clone(), fate)];
            assert_eq!(missing(&[listed("production")], &recorded, now), std::slice::from_ref(&new));
            assert_eq!(missing(&[listed("production"), listed(&new.id().to_string())], &recorded, now), []);
            assert_eq!(missing(&[], &recorded, now), []);
        }
    }
}
