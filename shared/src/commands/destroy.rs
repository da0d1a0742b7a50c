//! `destroy`: delete the branch of this git branch, and `.env.lakebase`.

use super::session::{Session, SettingArgs, World};
use crate::error::Result;
use crate::{ensure, env_file};

/// Arguments of `destroy`. None names a branch: it is always the one of git's user and branch.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
}

impl Args {
    /// The session whose branch is meant; whatever is wrong with it shows before anything is taken down.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn session(self, world: &World<'_>) -> Result<Session> {
        Session::open(self.settings, world)
    }
}

/// Deletes for good and waits until the branch is gone. No branch is no failure.
///
/// # Errors
/// Those of [`ensure::gone`] and of the file.
pub async fn run(session: &Session, world: &mut World<'_>) -> Result<()> {
    let client = session.client().await?;
    let ui = &mut *world.ui;
    let seen = ensure::observe(&client, &session.target).await?;
    let existed = ensure::gone_as_seen(&client, &session.target, &seen, &mut |event| ui.event(&event)).await;
    ui.rest();
    let existed = existed?;
    if let Some(record) = &session.record {
        record.forget(&seen.project.uid, &session.id)?;
    }
    if existed {
        ui.note(&format!("Deleted branch {}", session.id));
    } else {
        ui.note(&format!("There was no branch {}", session.id));
    }
    let file = session.project.folder(&world.cwd).join(env_file::NAME);
    if env_file::remove(&file)? {
        world.ui.note(&format!("Removed {}", file.display()));
    }
    Ok(())
}
