//! The job that makes a branch: its data, its PostgreSQL, the end of its operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use super::LONGEST_PAUSE;
use super::remove::{discard, discard_folder};
use crate::api_error::ApiError;
use crate::app::App;
use crate::catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::home::PARTIAL;
use crate::snapshot;
use crate::state::{Outcome, Phase, Removal};
use crate::views;

/// Makes the data of a branch and ends its operation, in success or in error.
pub(super) async fn create(app: &App, uid: &str, cancel: &Arc<AtomicBool>) {
    let begun = Instant::now();
    let turn = app.turn(uid).await;
    let made = make(app, uid, cancel).await;
    drop(turn);
    if made.is_ok() {
        hold(app, uid, cancel).await;
    }
    if app.stopping.load(Ordering::Relaxed) {
        // The state still says that the branch is to be made: the next start does.
        return;
    }
    let now = app.clock.now();
    let failure = made.as_ref().err().map(Error::chain);
    let ended = app
        .update(|state| {
            let Some(branch) = state.by_uid_mut(uid) else { return Ok::<(), Error>(()) };
            let operation = branch.creation.take();
            if let Ok(Made { position, size }) = &made {
                branch.phase = Phase::Ready;
                branch.phase_since = now;
                branch.updated = now;
                branch.size = *size;
                if let (Some(source), Some((lsn, time))) = (&mut branch.source, position) {
                    source.lsn = Some(lsn.clone());
                    source.time = Some(*time);
                }
                let kind =
                    operation.as_deref().and_then(|name| state.operations.iter().find(|it| it.name == name));
                let is_project = kind.is_some_and(|operation| operation.kind == "Project");
                let Some((project, branch)) = state.by_uid(uid) else { return Ok(()) };
                let body = if is_project { views::project(project) } else { views::branch(project, branch) };
                if let Some(name) = operation {
                    state.finish(&name, Outcome::Response(body));
                }
                return Ok(());
            }
            // What could not be made goes again: the client may try anew under the same id.
            if branch.removal.is_none() {
                branch.removal = Some(Removal { operation: None });
            }
            if let Some(name) = operation {
                let error = if cancel.load(Ordering::Relaxed) {
                    ApiError::aborted("the resource was deleted while it was being created")
                } else {
                    ApiError::internal()
                };
                let whole = state.operations.iter().any(|it| it.name == name && it.kind == "Project");
                state.finish(&name, Outcome::Error(error.body()));
                let project =
                    state.projects.iter_mut().find(|it| it.branches.iter().any(|branch| branch.uid == uid));
                if let Some(project) = project.filter(|_| whole) {
                    project.removal.get_or_insert(Removal { operation: None });
                }
            }
            Ok(())
        })
        .await;
    let took = begun.elapsed().as_millis();
    match (failure, ended) {
        (_, Err(error)) => {
            app.log.line(&format!("branch {uid}: can't note its end: {}", error.chain()));
            // The state still says that it has to be made: the next look tries again.
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
        (Some(failure), _) => app.log.line(&format!("branch {uid}: failed after {took} ms: {failure}")),
        (None, _) => app.log.line(&format!("branch {uid}: ready after {took} ms")),
    }
}

/// Waits where a fault keeps the branch from being ready, unless it is to go, or the server ends.
async fn hold(app: &App, uid: &str, cancel: &AtomicBool) {
    let state = app.state();
    // The first branch of a project comes with it.
    let Some((_, branch)) = state.by_uid(uid).filter(|(_, branch)| branch.source.is_some()) else { return };
    let ended = || cancel.load(Ordering::Relaxed) || app.stopping.load(Ordering::Relaxed);
    if app.faults.hold_in_init(&branch.id, ended).await {
        app.log.line(&format!("branch {uid}: was kept in INIT by a fault"));
    }
}

struct Made {
    position: Option<(String, Timestamp)>,
    size: u64,
}

async fn make(app: &App, uid: &str, cancel: &Arc<AtomicBool>) -> Result<Made> {
    let state = app.state();
    let gone = || Error::new(ErrorKind::Refused, "the branch is gone");
    let (project, branch) = state.by_uid(uid).ok_or_else(gone)?;
    let postgres = app.postgres(project, branch)?;
    let partial = format!("{uid}{PARTIAL}");
    discard(app, &postgres, uid).await?;
    discard_folder(app, &partial).await?;
    let folder = app.home.branch_folder(&partial);
    std::fs::create_dir(&folder)
        .and_then(|()| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711))
        })
        .map_err(|error| Error::new(ErrorKind::Io, "can't create the branch's folder").because(error))?;
    let data = folder.join("data");
    let mut position = None;
    if let Some(source) = &branch.source {
        let parent = app.awake(&source.uid).await?;
        let control = parent.connect("postgres").await?;
        let slot = format!("lakebase_{}", uid.replace('-', "_"));
        let taken =
            snapshot::take(&control, project.pg_version, &slot, &parent.data(), &data, app.account, cancel)
                .await?;
        let [begin, copy, end] = taken.took.map(|time| time.as_millis());
        app.log.line(&format!(
            "branch {uid}: backup begun in {begin} ms, copied in {copy} ms, ended in {end} ms"
        ));
        position = Some((taken.lsn, app.clock.now()));
    } else {
        postgres.initialise(&data).await?;
    }
    std::fs::rename(&folder, app.home.branch_folder(uid)).map_err(|error| {
        Error::new(ErrorKind::Io, "can't put the branch's folder in place").because(error)
    })?;
    if cancel.load(Ordering::Relaxed) {
        return Err(gone());
    }
    let begun = Instant::now();
    postgres.start(!app.faults.lacks_statistics(&branch.id)).await?;
    app.log.line(&format!("branch {uid}: PostgreSQL started in {} ms", begun.elapsed().as_millis()));
    if branch.source.is_none() {
        catalog::bootstrap(&postgres, project.pg_version, &project.owner).await?;
    }
    let control = postgres.connect("postgres").await?;
    let size = catalog::size(&control.client).await?;
    if branch.source.is_none() {
        // Nobody waits for this one; the first branch would wait for it, since a backup begins with a checkpoint.
        tokio::spawn(async move { control.client.batch_execute("CHECKPOINT").await });
    }
    Ok(Made { position, size })
}
