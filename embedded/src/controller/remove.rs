//! The job that removes a branch: its PostgreSQL, its data, the operations that wait for that.

use std::time::Instant;

use super::LONGEST_PAUSE;
use crate::api_error::ApiError;
use crate::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::home::PARTIAL;
use crate::postgres::{Postgres, Stop};
use crate::state::Outcome;
use crate::views;

/// Stops what runs on a branch's data and deletes them.
pub(super) async fn discard(app: &App, postgres: &Postgres, uid: &str) -> Result<()> {
    let (begun, existed) = (Instant::now(), app.home.branch_folder(uid).exists());
    postgres.stop(Stop::Immediate).await?;
    let stopped = begun.elapsed();
    let socket = app.home.socket_folder(uid);
    match std::fs::remove_dir_all(&socket) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Error::new(ErrorKind::Io, "can't delete the folder of a socket").because(error));
        }
    }
    discard_folder(app, uid).await?;
    if existed {
        let (stopped, deleted) = (stopped.as_millis(), (begun.elapsed() - stopped).as_millis());
        app.log.line(&format!("branch {uid}: stopped in {stopped} ms, data deleted in {deleted} ms"));
    }
    Ok(())
}

/// Deletes the folder of this name.
pub(super) async fn discard_folder(app: &App, name: &str) -> Result<()> {
    let (home, owned) = (app.home.clone(), name.to_owned());
    match tokio::task::spawn_blocking(move || home.delete_branch_folder(&owned)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(Error::new(ErrorKind::Io, format!("can't delete the data of {name}")).because(error))
        }
        Err(_) => Err(Error::new(ErrorKind::Io, format!("deleting the data of {name} was broken off"))),
    }
}

/// Removes a branch with its data, and ends the operation that asked for it.
pub(super) async fn remove(app: &App, uid: &str) {
    let turn = app.turn(uid).await;
    let result = async {
        let state = app.state();
        let Some((project, branch)) = state.by_uid(uid) else { return Ok(()) };
        let postgres = app.postgres(project, branch)?;
        discard(app, &postgres, uid).await?;
        discard_folder(app, &format!("{uid}{PARTIAL}")).await
    };
    if let Err(error) = result.await {
        app.log.line(&format!("branch {uid}: can't be removed yet: {}", error.chain()));
        // The state still says that it has to go: the next look tries again.
        tokio::time::sleep(LONGEST_PAUSE).await;
        return;
    }
    drop(turn);
    let removed = app.update(|state| {
        for project in &mut state.projects {
            if let Some(at) = project.branches.iter().position(|branch| branch.uid == uid) {
                let branch = project.branches.remove(at);
                let aborted = branch.creation.map(|name| {
                    (
                        name,
                        Outcome::Error(
                            ApiError::aborted("the resource was deleted while it was being created").body(),
                        ),
                    )
                });
                let done =
                    branch.removal.and_then(|removal| removal.operation).map(|name| (name, views::empty()));
                for (name, outcome) in aborted.into_iter().chain(done) {
                    state.finish(&name, outcome);
                }
                break;
            }
        }
        Ok::<(), Error>(())
    });
    match removed.await {
        Ok(()) => app.log.line(&format!("branch {uid}: removed with its data")),
        Err(error) => {
            app.log.line(&format!("branch {uid}: can't note its removal: {}", error.chain()));
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }
    app.forget(uid);
}
