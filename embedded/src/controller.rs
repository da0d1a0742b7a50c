//! Makes what the state says: branches that are to be made, branches that are to go, deadlines.
//!
//! One loop looks at the state whenever it changes and starts a job for each branch that needs one. A job ends with a
//! change of the state, so the loop looks again. After a crash the same look finds what was left undone.

mod make;
mod remove;
mod tidy;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use crate::app::{App, is_leaving};
use crate::clock::plus_seconds;
use crate::error::{Error, Result};
use crate::postgres::{self, Stop};
use crate::state::{Branch, Phase, Project, Removal, State};
use crate::views;

pub use tidy::tidy;

/// Longest time between two looks: a moved clock or a woken laptop is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the logs of the PostgreSQLs are looked at.
const LOGS_EVERY: Duration = Duration::from_secs(30);

/// The jobs that run, at most one a branch.
#[derive(Default)]
struct Jobs {
    tasks: JoinSet<()>,
    /// Whose job a task is, and what ends it early. A task that panics gives nothing back but its id.
    branches: HashMap<Id, (String, Arc<AtomicBool>)>,
}

impl Jobs {
    fn start(&mut self, uid: &str, cancel: Arc<AtomicBool>, job: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(job).id();
        self.branches.insert(id, (uid.to_owned(), cancel));
    }

    fn of(&self, uid: &str) -> Option<&AtomicBool> {
        self.branches.values().find(|(branch, _)| branch == uid).map(|(_, cancel)| cancel.as_ref())
    }

    /// Waits for a job's end; never, when none runs. An error says whose job broke and how.
    async fn ended(&mut self) -> std::result::Result<(), String> {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, ()))) => {
                self.branches.remove(&id);
                Ok(())
            }
            Some(Err(error)) => {
                let uid = self.branches.remove(&error.id()).map(|(uid, _)| uid).unwrap_or_default();
                Err(format!("branch {uid}: a job was broken off: {error}"))
            }
        }
    }
}

/// Runs until the server ends; then waits for its jobs, which end early.
pub async fn run(app: App, mut end: watch::Receiver<bool>) {
    let mut jobs = Jobs::default();
    let mut changed = app.changed.subscribe();
    let mut logs_checked = Instant::now();
    while !*end.borrow_and_update() {
        let mut looked = look(&app, &mut jobs).await;
        if logs_checked.elapsed() > LOGS_EVERY {
            bound_logs(&app);
            logs_checked = Instant::now();
        }
        if let Ok(pause) = looked {
            tokio::select! {
                _ = end.changed() => {}
                _ = changed.changed() => {}
                ended = jobs.ended() => looked = ended.map(|()| pause),
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Err(trouble) = looked {
            // What went wrong goes wrong again at once, most likely: a full disk, a job that panics.
            app.log.line(&trouble);
            tokio::select! {
                _ = end.changed() => {}
                () = tokio::time::sleep(LONGEST_PAUSE) => {}
            }
        }
    }
    app.stopping.store(true, Ordering::Relaxed);
    for (_, cancel) in jobs.branches.values() {
        cancel.store(true, Ordering::Relaxed);
    }
    while jobs.tasks.join_next().await.is_some() {}
}

/// Keeps the logs of the PostgreSQLs from growing without end.
fn bound_logs(app: &App) {
    let folders =
        app.state().branches().map(|(_, branch)| app.home.branch_folder(&branch.uid)).collect::<Vec<_>>();
    tokio::task::spawn_blocking(move || {
        for folder in folders {
            // A branch that has just gone has no log; a full disk has no place for the copy. The next time, then.
            let _ = postgres::bound_log(&folder);
        }
    });
}

/// One look at the state; gives the time until the next deadline, or what went wrong.
async fn look(app: &App, jobs: &mut Jobs) -> std::result::Result<Duration, String> {
    let now = app.clock.now();
    let state = app.state();
    let due = state.branches().any(|(_, branch)| branch.removal.is_none() && is_due(branch, now))
        || state.projects.iter().any(|project| project.removal.is_none() && is_project_due(project, now));
    if due {
        let marked = app.update(|state| {
            mark_due(state, now);
            Ok::<(), Error>(())
        });
        marked.await.map_err(|error| format!("can't note expired branches: {}", error.chain()))?;
    }
    let state = app.state();
    for (project, branch) in state.branches() {
        let leaving = branch.removal.is_some() || project.removal.is_some();
        if let Some(cancel) = jobs.of(&branch.uid) {
            if leaving {
                cancel.store(true, Ordering::Relaxed);
            }
            continue;
        }
        let asleep = is_leaving(project, branch) || branch.endpoints.iter().all(|endpoint| endpoint.disabled);
        let (app, uid, cancel) = (Arc::clone(app), branch.uid.clone(), Arc::<AtomicBool>::default());
        if leaving {
            jobs.start(&branch.uid, cancel, async move { remove::remove(&app, &uid).await });
        } else if branch.phase == Phase::Init {
            let flag = Arc::clone(&cancel);
            jobs.start(&branch.uid, cancel, async move { make::create(&app, &uid, &flag).await });
        } else if !asleep && suspension(&app, branch).is_some_and(|due| due <= now) && app.is_running(&uid) {
            jobs.start(&branch.uid, cancel, async move {
                match app.doze(&uid).await {
                    Ok(true) => app.log.line(&format!("branch {uid}: suspended, for nobody uses it")),
                    Ok(false) => {}
                    Err(error) => {
                        app.log.line(&format!("branch {uid}: can't be suspended: {}", error.chain()));
                        tokio::time::sleep(LONGEST_PAUSE).await;
                    }
                }
            });
        } else if asleep && app.is_running(&branch.uid) {
            jobs.start(&branch.uid, cancel, async move {
                if let Err(error) = app.sleep(&uid, Stop::Fast).await {
                    app.log.line(&format!("branch {uid}: can't stop PostgreSQL: {}", error.chain()));
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            });
        }
    }
    if state.projects.iter().any(|project| project.removal.is_some() && project.branches.is_empty()) {
        finish_projects(app)
            .await
            .map_err(|error| format!("can't note the removal of a project: {}", error.chain()))?;
    }
    let next = state.branches().filter_map(|(_, branch)| deadline(branch)).min();
    Ok(next
        .map_or(LONGEST_PAUSE, |next| app.clock.until(next).clamp(Duration::from_millis(1), LONGEST_PAUSE)))
}

/// When a branch's PostgreSQL is to stop if nobody uses it until then: when the last of its endpoints is to be suspended. None
/// while somebody uses it, and where an endpoint is never to be suspended.
fn suspension(app: &App, branch: &Branch) -> Option<Timestamp> {
    let enabled = branch.endpoints.iter().filter(|endpoint| !endpoint.disabled);
    let timeouts: Option<Vec<i64>> = enabled.map(|endpoint| endpoint.compute.suspend_seconds).collect();
    let timeout = timeouts?.into_iter().max()?;
    Some(plus_seconds(app.activities.idle_since(&branch.uid)?, timeout))
}

fn deadline(branch: &Branch) -> Option<Timestamp> {
    let purge = branch.deleted.as_ref().map(|deletion| deletion.purge_at);
    branch.expires.into_iter().chain(purge).min().filter(|_| branch.removal.is_none())
}

fn is_due(branch: &Branch, now: Timestamp) -> bool {
    deadline(branch).is_some_and(|deadline| deadline <= now)
}

fn is_project_due(project: &Project, now: Timestamp) -> bool {
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

/// Ends the removal of projects whose branches are all gone.
async fn finish_projects(app: &App) -> Result<()> {
    app.update(|state| {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.projects)
            .into_iter()
            .partition(|project| project.removal.is_some() && project.branches.is_empty());
        state.projects = kept;
        for operation in gone.into_iter().filter_map(|project| project.removal?.operation) {
            state.finish(&operation, views::empty());
        }
        Ok::<(), Error>(())
    })
    .await
}
