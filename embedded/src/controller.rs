//! Makes what the state says: branches that are to be made, branches that are to go, deadlines.
//!
//! One loop looks at the state whenever it changes and starts a job for each branch that needs one. A job ends with a
//! change of the state, so the loop looks again. After a crash the same look finds what was left undone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api_error::ApiError;
use crate::app::{App, is_leaving};
use crate::catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::home::PARTIAL;
use crate::postgres::{Postgres, Stop};
use crate::snapshot;
use crate::state::{Outcome, Phase, Removal, State};
use crate::views;

/// Longest time between two looks: a moved clock or a woken laptop is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Deletes what no branch of the state owns: half-made copies, half-deleted folders, sockets' folders. For the start,
/// when no job runs.
pub async fn tidy(app: &App) -> Result<()> {
    let state = app.state();
    let entries = std::fs::read_dir(app.home.branches())
        .map_err(|error| Error::new(ErrorKind::Io, "can't read the branches' folder").because(error))?;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let known = state.by_uid(&name).is_some_and(|(_, branch)| branch.phase == Phase::Ready);
        if known {
            continue;
        }
        // A half-made branch may have left its PostgreSQL behind.
        if let Some((pid, _)) = crate::postgres::postmaster(&entry.path().join("data")) {
            crate::postgres::signal_stop(pid, Stop::Immediate)?;
            while crate::postgres::postmaster(&entry.path().join("data")).is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        app.log.line(&format!("deleting what is left of {name}"));
        app.home.delete_branch_folder(&name).map_err(|error| {
            Error::new(ErrorKind::Io, format!("can't delete what is left of {name}")).because(error)
        })?;
    }
    Ok(())
}

/// Runs until the server ends; then waits for its jobs, which end early.
pub async fn run(app: App, mut end: watch::Receiver<bool>) {
    let mut jobs: JoinSet<String> = JoinSet::new();
    let mut cancels: HashMap<String, Arc<AtomicBool>> = HashMap::new();
    let mut changed = app.changed.subscribe();
    while !*end.borrow_and_update() {
        let pause = look(&app, &mut jobs, &mut cancels).await;
        tokio::select! {
            _ = end.changed() => {}
            _ = changed.changed() => {}
            Some(done) = jobs.join_next() => {
                match done {
                    Ok(uid) => { cancels.remove(&uid); }
                    Err(error) => app.log.line(&format!("a job was broken off: {error}")),
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    app.stopping.store(true, Ordering::Relaxed);
    for cancel in cancels.values() {
        cancel.store(true, Ordering::Relaxed);
    }
    while jobs.join_next().await.is_some() {}
}

/// One look at the state; gives the time until the next deadline.
async fn look(
    app: &App,
    jobs: &mut JoinSet<String>,
    cancels: &mut HashMap<String, Arc<AtomicBool>>,
) -> Duration {
    let now = app.clock.now();
    let due = app.state().branches().any(|(_, branch)| branch.removal.is_none() && is_due(branch, now))
        || app
            .state()
            .projects
            .iter()
            .any(|project| project.removal.is_none() && is_project_due(project, now));
    if due {
        let marked = app.update(|state| {
            mark_due(state, now);
            Ok::<(), Error>(())
        });
        if let Err(error) = marked.await {
            app.log.line(&format!("can't note expired branches: {}", error.chain()));
        }
    }
    let state = app.state();
    for (project, branch) in state.branches() {
        let leaving = branch.removal.is_some() || project.removal.is_some();
        if let Some(cancel) = cancels.get(&branch.uid) {
            if leaving {
                cancel.store(true, Ordering::Relaxed);
            }
            continue;
        }
        let asleep = is_leaving(project, branch) || branch.endpoints.iter().all(|endpoint| endpoint.disabled);
        let uid = branch.uid.clone();
        if leaving {
            let app = Arc::clone(app);
            cancels.insert(uid.clone(), Arc::default());
            jobs.spawn(async move {
                remove(&app, &uid).await;
                uid
            });
        } else if branch.phase == Phase::Init {
            let cancel: Arc<AtomicBool> = Arc::default();
            cancels.insert(uid.clone(), Arc::clone(&cancel));
            let app = Arc::clone(app);
            jobs.spawn(async move {
                create(&app, &uid, &cancel).await;
                uid
            });
        } else if asleep && app.is_running(&branch.uid) {
            let app = Arc::clone(app);
            cancels.insert(uid.clone(), Arc::default());
            jobs.spawn(async move {
                if let Err(error) = app.sleep(&uid, Stop::Fast).await {
                    app.log.line(&format!("branch {uid}: can't stop PostgreSQL: {}", error.chain()));
                }
                uid
            });
        }
    }
    if state.projects.iter().any(|project| project.removal.is_some() && project.branches.is_empty()) {
        finish_projects(app).await;
    }
    let next = state.branches().filter_map(|(_, branch)| deadline(branch)).min();
    next.map_or(LONGEST_PAUSE, |next| app.clock.until(next).clamp(Duration::from_millis(1), LONGEST_PAUSE))
}

fn deadline(branch: &crate::state::Branch) -> Option<Timestamp> {
    let purge = branch.deleted.as_ref().map(|deletion| deletion.purge_at);
    branch.expires.into_iter().chain(purge).min().filter(|_| branch.removal.is_none())
}

fn is_due(branch: &crate::state::Branch, now: Timestamp) -> bool {
    deadline(branch).is_some_and(|deadline| deadline <= now)
}

fn is_project_due(project: &crate::state::Project, now: Timestamp) -> bool {
    project.deleted.as_ref().is_some_and(|deletion| deletion.purge_at <= now)
}

fn mark_due(state: &mut State, now: Timestamp) {
    for project in &mut state.projects {
        if project.removal.is_none() && is_project_due(project, now) {
            project.removal = Some(Removal { operation: None });
        }
        for branch in &mut project.branches {
            if branch.removal.is_none() && is_due(branch, now) {
                branch.removal = Some(Removal { operation: None });
            }
        }
    }
}

/// Makes the data of a branch and ends its operation, in success or in error.
async fn create(app: &App, uid: &str, cancel: &Arc<AtomicBool>) {
    let begun = Instant::now();
    let turn = app.turn(uid).await;
    let made = make(app, uid, cancel).await;
    drop(turn);
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
        (_, Err(error)) => app.log.line(&format!("branch {uid}: can't note its end: {}", error.chain())),
        (Some(failure), _) => app.log.line(&format!("branch {uid}: failed after {took} ms: {failure}")),
        (None, _) => app.log.line(&format!("branch {uid}: ready after {took} ms")),
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
    postgres.start().await?;
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

/// Stops what runs on a branch's data and deletes them.
async fn discard(app: &App, postgres: &Postgres, uid: &str) -> Result<()> {
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

async fn discard_folder(app: &App, name: &str) -> Result<()> {
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
async fn remove(app: &App, uid: &str) {
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
        Err(error) => app.log.line(&format!("branch {uid}: can't note its removal: {}", error.chain())),
    }
    app.forget(uid);
}

/// Ends the removal of projects whose branches are all gone.
async fn finish_projects(app: &App) {
    let finished = app.update(|state| {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.projects)
            .into_iter()
            .partition(|project| project.removal.is_some() && project.branches.is_empty());
        state.projects = kept;
        for operation in gone.into_iter().filter_map(|project| project.removal?.operation) {
            state.finish(&operation, views::empty());
        }
        Ok::<(), Error>(())
    });
    if let Err(error) = finished.await {
        app.log.line(&format!("can't note the removal of a project: {}", error.chain()));
    }
}
