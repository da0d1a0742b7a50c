//! The migrations of a branch, as a command looks at them: what is read, and what is said about it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::admit::{Admitted, Wish};
use super::session::Session;
use crate::api::{BranchPath, Client};
use crate::connection::Connection;
use crate::ensure::Observation;
use crate::error::{Error, Kind, Result};
use crate::forks::{Fork, ForkId};
use crate::freshness::files::Files;
use crate::freshness::{self, Evidence, Freshness, History, Item, Known, Migration, Tool, history};
use crate::mask::{Mark, Masks};
use crate::sql;
use crate::ui::Ui;

/// A younger fork is as its parent is.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// How long the parent may take where somebody waits for it.
const PARENT_WITHIN: Duration = Duration::from_secs(10);
/// Migrations that are named at most.
const NAMED: usize = 3;

/// What is read while the branch is made live.
pub(super) struct Look {
    files: JoinHandle<Files>,
    parent: Parent,
    /// Whether the parent is being read already.
    begun: bool,
}

/// The reading of the parent's history, which ends with this.
struct Parent(JoinHandle<Option<History>>);

impl Drop for Parent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One tool's migrations, and what there is to say about them.
struct Judged {
    found: Option<Freshness>,
    tool: Tool,
    files: Vec<Migration>,
}

impl Session {
    /// Begins to read what does not need the branch.
    pub(super) fn look(&self, client: &Client, seen: &Observation, fresh: bool) -> Look {
        let forked = seen.branch.as_ref().and_then(|branch| branch.forked).filter(|_| !fresh);
        let is_older = forked.is_some_and(|at| Timestamp::now().duration_since(at) > RECENT);
        Look {
            files: self.files(),
            parent: self.parent(client, seen.user.clone(), is_older),
            begun: is_older,
        }
    }

    fn files(&self) -> JoinHandle<Files> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || Files::find(&folder))
    }

    /// Begins to read the parent, unless nobody wants it.
    fn parent(&self, client: &Client, user: String, wanted: bool) -> Parent {
        let settings = &self.project.settings;
        let (client, path) = (client.clone(), self.target.parent.clone());
        let (database, role) = (settings.database().to_owned(), settings.session_role().map(str::to_owned));
        Parent(tokio::spawn(async move {
            if !wanted {
                return None;
            }
            let read = of_parent(&client, &path, user, database, role);
            timeout(PARENT_WITHIN, read).await.ok().flatten()
        }))
    }

    /// Says what there is to say about the branch's migrations, and remembers the files.
    ///
    /// # Errors
    /// [`Kind::Stale`] where the branch tests nothing any more.
    pub(super) async fn judge(
        &self,
        look: Look,
        admitted: &Admitted,
        wish: Wish<'_>,
        ui: &mut Ui,
    ) -> Result<()> {
        let Some(database) = &admitted.database else { return Ok(()) };
        let branch = match history::read(database).await {
            Ok(branch) => branch,
            Err(error) => {
                ui.warn(&format!("the branch's migrations were not looked at: {error}"));
                return Ok(());
            }
        };
        let Ok(files) = look.files.await else { return Ok(()) };
        let fork = self.forks.as_ref().map(|forks| forks.read(&admitted.fork)).unwrap_or_default();
        let mut known = fork.known;
        if admitted.live.created {
            known.born = Some(branch.clone());
        }
        // Nobody waits for the parent, unless it decides whether this goes on.
        let Look { mut parent, begun, .. } = look;
        let mut production = if parent.0.is_finished() { (&mut parent.0).await.ok().flatten() } else { None };
        let mut judged = judged(&files, &branch, production.as_ref(), &known);
        if production.is_none() && begun && judged.iter().any(is_stale) {
            production = (&mut parent.0).await.ok().flatten();
            judged = self::judged(&files, &branch, production.as_ref(), &known);
        }
        let stale: Vec<&Freshness> =
            judged.iter().filter_map(|one| one.found.as_ref()).filter(|found| found.is_stale()).collect();
        // A command of the user's own may be the one that mends it.
        let goes_on = wish.keep || wish.command == "run";
        if !stale.is_empty() && !goes_on {
            return Err(self.stale(&stale, wish.command));
        }
        for found in &stale {
            ui.warn(&format!("the branch tests nothing any more: {}", trouble(found).join("; ")));
        }
        for found in judged.iter().filter_map(|one| one.found.as_ref()) {
            self.say(found, wish.command, ui);
        }
        if let Some(forks) = &self.forks {
            let noted = forks.change(&admitted.fork, |fork: &mut Fork| {
                fork.branch = self.target.path.to_string();
                fork.known.born = fork.known.born.take().or_else(|| known.born.clone());
                for one in &judged {
                    fork.known.note(
                        one.tool,
                        &one.files,
                        branch.get(&one.tool).map(Vec::as_slice).unwrap_or_default(),
                    );
                    if let Some(found) = one.found.as_ref().filter(|_| wish.keep) {
                        fork.known.keep(found, &one.files);
                    }
                }
            });
            if let Err(error) = noted {
                ui.warn(&format!("edits of migrations will not be seen: {error}"));
            }
        }
        Ok(())
    }

    /// Remembers what a new fork was made with, for a later look. Without it, a later look is more cautious.
    pub(super) async fn note_birth(&self, database: &sql::Session, fork: &ForkId, ui: &mut Ui) {
        let (Some(forks), Ok(born)) = (&self.forks, history::read(database).await) else { return };
        let note = |fork: &mut Fork| {
            fork.branch = self.target.path.to_string();
            fork.known.born = Some(born);
        };
        if let Err(error) = forks.change(fork, note) {
            ui.warn(&format!("nothing is remembered of this fork: {error}"));
        }
    }

    fn stale(&self, stale: &[&Freshness], command: &str) -> Error {
        let error = Error::new(Kind::Stale, format!("branch {} tests nothing any more", self.id));
        let causes = stale.iter().flat_map(|found| trouble(found));
        causes
            .fold(error, |error, cause| error.because_of(cause))
            .hint(format!(
                "`docker compose lakebase --fresh {command}` makes a new fork of {}",
                self.target.parent.branch
            ))
            .hint(format!("`docker compose lakebase --keep {command}` goes on with this one"))
    }

    /// One line at most for what is in order, and a warning for what is not.
    fn say(&self, found: &Freshness, command: &str, ui: &mut Ui) {
        let (tool, parent) = (found.tool.name(), &self.target.parent.branch);
        if !found.parent_ahead.is_empty() {
            ui.warn(&format!(
                "{tool}: {parent} has run {} since the fork was made; `docker compose lakebase --fresh {command}` makes a new one",
                named(&found.parent_ahead)
            ));
        }
        if !found.missing.is_empty() {
            ui.warn(&format!(
                "{tool}: {parent} has run {}, which is in no file here: the checkout is older than {parent}",
                named(&found.missing)
            ));
        }
        if !found.settled.is_empty() {
            ui.warn(&format!(
                "{tool}: {parent} has run {} as it was before: what was edited since will never run there",
                named(&found.settled)
            ));
        }
        if !found.behind.is_empty() {
            ui.note(&format!("{tool}: to be run: {}", named(&found.behind)));
        }
    }

    /// The same for a command that only looks: it waits for the parent, and wakes nobody.
    ///
    /// # Errors
    /// Why there is nothing to say, as words.
    pub(super) async fn inspect(&self, client: &Client, seen: &Observation) -> Result<Inspection, String> {
        let (Some(branch), Some(endpoint)) = (&seen.branch, &seen.endpoint) else {
            return Err("there is no branch yet".into());
        };
        if branch.state != "READY" || endpoint.disabled {
            return Err("the branch takes no logins".into());
        }
        if endpoint.state == "IDLE" {
            return Err("the branch is asleep".into());
        }
        let settings = &self.project.settings;
        let (files, mut parent) = (self.files(), self.parent(client, seen.user.clone(), true));
        let read = async {
            let minted = client.credential(&endpoint.name).await;
            let minted = minted.map_err(|error| error.into_error("getting a login for the branch"))?;
            let connection = Connection {
                host: endpoint.host.clone(),
                port: endpoint.port,
                user: seen.user.clone(),
                password: minted.token,
                database: settings.database().to_owned(),
                role: settings.session_role().map(str::to_owned),
                tls: true,
            };
            let session = sql::Session::open(&connection, self.auth.ca.as_deref()).await?;
            let mark = match Masks::read(settings, &self.folder) {
                Ok(Some(masks)) => Some(masks.mark(&session, &branch.uid).await?),
                _ => None,
            };
            Ok((history::read(&session).await?, mark))
        };
        let read = timeout(PARENT_WITHIN, read).await.map_err(|_| "the branch does not answer".to_owned())?;
        let (history, mark) = read.map_err(|error: Error| error.to_string())?;
        let files = files.await.map_err(|error| error.to_string())?;
        let production = (&mut parent.0).await.ok().flatten();
        let id = ForkId::new(&seen.project.uid, &branch.uid);
        let known = self.forks.as_ref().map(|forks| forks.read(&id).known).unwrap_or_default();
        let judged = judged(&files, &history, production.as_ref(), &known);
        Ok(Inspection { tools: judged.into_iter().filter_map(|one| one.found).collect(), mark })
    }
}

/// What a look into a branch shows.
pub(super) struct Inspection {
    /// Each tool that has a history there and files here.
    pub tools: Vec<Freshness>,
    /// What it says of the masks, where there are any.
    pub mark: Option<Mark>,
}

/// The parent's history, without waking it, and without a trace in it.
async fn of_parent(
    client: &Client,
    path: &BranchPath,
    user: String,
    database: String,
    role: Option<String>,
) -> Option<History> {
    let endpoint = client.endpoint(path).await.ok()??;
    if endpoint.disabled || endpoint.state != "ACTIVE" {
        return None;
    }
    let password = client.credential(&endpoint.name).await.ok()?.token;
    let connection =
        Connection { host: endpoint.host, port: endpoint.port, user, password, database, role, tls: true };
    let session = sql::Session::open(&connection, client.auth().ca.as_deref()).await.ok()?;
    history::read(&session).await.ok()
}

fn judged(files: &Files, branch: &History, parent: Option<&History>, known: &Known) -> Vec<Judged> {
    let judge = |tool: Tool| {
        let rows = branch.get(&tool);
        // A tool that has not run yet is noted, for it will, unless it keeps sums of its own.
        if rows.is_none() && tool.keeps_sums() {
            return None;
        }
        let files = files.of(tool)?;
        let parent = parent.and_then(|parent| parent.get(&tool)).map(Vec::as_slice);
        let found =
            rows.and_then(|rows| freshness::compare(Evidence { tool, files: &files, rows, parent, known }));
        Some(Judged { found, tool, files })
    };
    Tool::ALL.into_iter().filter_map(judge).collect()
}

fn is_stale(one: &Judged) -> bool {
    one.found.as_ref().is_some_and(Freshness::is_stale)
}

/// What makes a branch stale, a line for each kind.
fn trouble(found: &Freshness) -> Vec<String> {
    let tool = found.tool.name();
    let mut lines = Vec::new();
    if !found.ahead.is_empty() {
        lines.push(format!(
            "{tool}: it has run {}, which is not in the files of this git branch",
            named(&found.ahead)
        ));
    }
    if !found.edited.is_empty() {
        lines.push(format!("{tool}: {} was edited, and had run before", named(&found.edited)));
    }
    lines
}

/// Everything about one tool, in one line.
pub(super) fn words(found: &Freshness) -> String {
    let tool = found.tool.name();
    let mut parts = trouble(found);
    let mut part = |items: &[Item], what: &str| {
        if !items.is_empty() {
            parts.push(format!("{tool}: {what} {}", named(items)));
        }
    };
    part(&found.parent_ahead, "the parent has run since the fork was made:");
    part(&found.missing, "the parent has run, and no file here has:");
    part(&found.settled, "edited since the parent ran it:");
    part(&found.behind, "to be run:");
    if parts.is_empty() {
        parts.push(format!("{tool}: level with the files"));
    }
    parts.join("; ")
}

/// The first few by name.
fn named(items: &[Item]) -> String {
    let mut names: Vec<String> = items.iter().take(NAMED).map(|item| format!("`{item}`")).collect();
    if items.len() > NAMED {
        names.push(format!("{} more", items.len() - NAMED));
    }
    names.join(", ")
}
