//! What a crash left behind, cleared away at the start.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{Stop, postmaster, signal_stop};
use crate::state::Phase;

/// How long the PostgreSQL of a half-made branch may take to end, before it is left to the job that makes the branch anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes what no branch of the state owns: half-made copies, half-deleted folders. For the start, when no job runs.
/// Here they get out of the way; the deletion itself, which takes its time, goes on in the background.
pub async fn tidy(app: &App) -> Result<()> {
    let state = app.state();
    let mut doomed = Vec::new();
    for path in app.home.branch_folders() {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if state.by_uid(&name).is_some_and(|(_, branch)| branch.phase == Phase::Ready) {
            continue;
        }
        // A half-made branch may have left its PostgreSQL behind.
        let data = path.join("data");
        if let Some((pid, _)) = postmaster(&data) {
            signal_stop(pid, Stop::Immediate)?;
            let deadline = Instant::now() + PATIENCE;
            while postmaster(&data).is_some() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if postmaster(&data).is_some() {
                app.log.line(&format!("the PostgreSQL of {name}, process {pid}, does not end"));
                continue;
            }
        }
        app.log.line(&format!("deleting what is left of {name}"));
        let folder = app.home.doom_branch_folder(&name).map_err(|error| {
            Error::new(ErrorKind::Io, format!("can't delete what is left of {name}")).because(error)
        })?;
        doomed.extend(folder);
    }
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        for folder in doomed {
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                app.log.line(&format!("can't delete `{}`: {error}", folder.display()));
            }
        }
    });
    Ok(())
}
