//! `reset`: the branch anew, as its parent is now.

use jiff::Timestamp;
use serde_json::json;

use super::confirm::confirm;
use super::room::Full;
use super::session::{Session, SettingArgs, World};
use crate::ensure::Observation;
use crate::error::{Error, Kind, Result};
use crate::{ensure, env_file, ui};

/// Arguments of `reset`. None names a branch: it is always the one of git's user and branch.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document about the new branch
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    full: Full,
}

/// Deletes the branch and makes it again, with a new life: the API has no call for it.
///
/// # Errors
/// Those of the session and of [`Session::live_from`]; [`crate::error::Kind::Guarded`] without a yes.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let session = Session { full: args.full, ..Session::open(args.settings, world)? };
    let client = session.client().await?;
    let mut seen = ensure::observe(&client, &session.target).await?;
    let parent = &session.target.parent.branch;
    let replaced = seen.branch.is_some();
    if let Some(branch) = &seen.branch {
        let age = branch.forked.map(|at| ui::duration(Timestamp::now().duration_since(at)));
        let since = age.map(|age| format!(" of the last {age}")).unwrap_or_default();
        let question =
            format!("Make branch {} anew from {parent}? The changes{since} on it are lost.", session.id);
        confirm(world.ui, args.yes, &question, "the branch was left as it is")?;
        if !args.yes {
            seen = asked_about(ensure::observe(&client, &session.target).await?, &branch.uid)?;
        }
    }
    let live = session.live_from(&client, seen, true, world.ui).await?;
    if replaced {
        world.ui.note(
            "What ran on the old one has lost it: `docker compose lakebase up` restarts what depends on the database",
        );
        let file = session.project.folder(&world.cwd).join(env_file::NAME);
        if file.exists() {
            world
                .ui
                .note(&format!("{} holds a login to the old one: `env --write` renews it", file.display()));
        }
    }
    if args.json {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        world.ui.json(&json!({
            "branch_id": session.id.to_string(),
            "branch_path": session.target.path.to_string(),
            "replaced": replaced,
            "parent": live.branch.parent,
            "forked": time(live.branch.forked),
            "expires": time(live.branch.expires),
        }));
    }
    Ok(())
}

/// The observation, if it is of the branch that somebody was asked about: the question may have stood for hours.
///
/// # Errors
/// [`Kind::Guarded`]: it was made anew meanwhile, or is gone.
fn asked_about(seen: Observation, uid: &str) -> Result<Observation> {
    if seen.branch.as_ref().is_some_and(|branch| branch.uid == uid) {
        return Ok(seen);
    }
    let gone = Error::new(Kind::Guarded, "the branch that was asked about is not there any more");
    Err(gone.because_of("it was deleted or made anew meanwhile").hint("run the command again"))
}
