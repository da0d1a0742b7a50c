//! The runs of a check: the migration on a clean fork, once more, down and up again; then on a second fork among clients at
//! work. One fork at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakebase::commands::session::Session;
use lakebase::error::{Error, Result};
use lakebase::schema;
use lakebase::secret::MASK;
use lakebase::sql;
use lakebase::ui::Ui;
use tokio::sync::watch;

use crate::antagonist::Antagonists;
use crate::catalog::{self, Snapshot};
use crate::facts::{Again, Down, Facts, Up};
use crate::fork::Fork;
use crate::history;
use crate::limits::Limits;
use crate::lock::{Client, Mode};
use crate::place::{Place, Way};
use crate::probe::{Probe, Wait};
use crate::queries;
use crate::runner::{Ended, How, Job, Told};
use crate::sampler::{self, Pace, Sampler};
use crate::sensor;
use crate::stall::{self, Stall};
use crate::timeline::{self, Statement, Timeline};
use crate::verdict::words;
use crate::wire::{MOMENT, Recorder, Recording};
use crate::{deadlock, differences, lost, manual, offending, progress, tool};

/// Tables that are probed at most, those with the longest stalls.
const PROBED: usize = 6;

/// What is wanted of a check.
pub struct Plan {
    /// The migration.
    pub up: Job,
    /// As it was written.
    pub words: Vec<String>,
    /// The way back, where there is one.
    pub down: Option<Job>,
    /// How long one run may take.
    pub deadline: Duration,
    /// What is too much.
    pub limits: Limits,
    /// Queries of the old application; production's own, where none are given.
    pub queries: Option<Vec<String>>,
    /// The files of the migrations, where they are not the project's own but those of a merge.
    pub merged: Option<PathBuf>,
    /// Whether clients are set to work on a second fork.
    pub among_clients: bool,
}

/// One run as it was seen from outside.
struct Run {
    ended: Ended,
    recording: Recording,
    /// When its deadline is or was, in milliseconds since its origin.
    deadline: f64,
    /// When it was over, in milliseconds since its origin.
    end: f64,
}

/// Runs `job` against a fork, on a way of its own.
async fn run(
    place: &impl Place,
    fork: &Fork,
    job: &Job,
    plan: &Plan,
    origin: Instant,
    what: &str,
    ui: &mut Ui,
) -> Result<Run> {
    let recorder = Arc::new(Recorder::new(origin));
    let way = place.open(fork, &recorder).await?;
    let secret = way.secret().map(str::to_owned);
    let hidden =
        |text: &str| secret.as_deref().map_or_else(|| text.to_owned(), |secret| text.replace(secret, MASK));
    let mut shown = progress::Shown::new(what);
    let deadline = (origin.elapsed() + plan.deadline).as_secs_f64() * 1000.0;
    let ended = job
        .run(&way.variables(), plan.deadline, |told| match told {
            Told::Line(line) => shown.line(&hidden(line), ui),
            Told::Tick(elapsed) => shown.tick(elapsed, recorder.latest().as_deref(), ui),
        })
        .await;
    ui.rest();
    let mut ended = ended?;
    ended.tail = hidden(&ended.tail);
    let end = origin.elapsed().as_secs_f64() * 1000.0;
    way.end().await;
    let recording = recorder.take();
    if ended.how != How::Code(0) {
        end_sessions(fork).await;
    }
    Ok(Run { ended, recording, deadline, end })
}

/// Ends what a command that was cut off left running: the server goes on with a statement whose client is gone, and nobody can
/// read the catalogs of what it holds locked. Our own sessions stay.
async fn end_sessions(fork: &Fork) {
    let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                AND usename = session_user AND pid <> pg_backend_pid() AND application_name NOT LIKE 'lakebase%'";
    if let Ok(session) = fork.enter().await {
        let _ = session.run(text).await;
    }
}

/// The first fork: the verdict and the times are from here. The fork stays until the caller deletes it.
///
/// # Errors
/// Those of the branch and of its database; what can't be seen is no error but a fact.
pub async fn clean(
    place: &impl Place,
    session: Session,
    client: lakebase::api::Client,
    plan: &Plan,
    ui: &mut Ui,
) -> Result<Facts> {
    let parent = (client.clone(), session.target.clone());
    let fork = Fork::make(session, client, ui).await?;
    let control = fork.enter().await?;
    let mut facts = Facts::default();
    let found = history::look(&control, plan.merged.as_ref().unwrap_or(&fork.session.folder)).await?;
    facts.name = history::name(&found, &plan.words);
    let way_back = plan.down.clone().or_else(|| {
        // A command that a shell would not find was no way back that anybody meant.
        let words = tool::back(&plan.words, &found)?;
        place.job(&words).ok()
    });
    (facts.pending, facts.heads, facts.edited, facts.tool) =
        (found.pending, found.heads, found.edited, found.tool);
    let worked = match queries::of_old_application(&fork, plan.queries.as_deref(), &parent).await {
        Ok((texts, hidden)) => {
            if hidden > 0 {
                facts.unseen.push(format!(
                    "{hidden} of production's queries, which other roles run: grant the login `pg_read_all_stats`"
                ));
            }
            Some(texts)
        }
        Err(error) => {
            facts.unseen.push(format!("the old application's queries: {}", first_cause(&error)));
            None
        }
    };
    match sensor::arm(&control).await {
        Ok(()) => facts.sensors.push("event trigger"),
        Err(error) => facts.unseen.push(format!(
            "locks shorter than the sampler's interval: the branch allows no event triggers ({})",
            first_cause(&error)
        )),
    }
    let before = catalog::read(&control, fork.enter().await?).await?;
    let origin = Instant::now();
    let pace = if facts.sensors.is_empty() { Pace::ALONE } else { Pace::BESIDE_TRIGGERS };
    let sampler = start_sampler(&fork, &control, pace, origin).await;
    let ran = run(place, &fork, &plan.up, plan, origin, "up", ui).await?;
    let samples = match sampler {
        Ok(sampler) => sampler.stop(&control).await,
        Err(error) => Err(error),
    };
    let samples = match samples {
        Ok(samples) => {
            facts.sensors.push(pace.sensor);
            samples
        }
        Err(error) => {
            facts
                .unseen
                .push(format!("locks that no event trigger tells: no sampler ({})", first_cause(&error)));
            sampler::Watched::default()
        }
    };
    let after = catalog::read(&control, fork.enter().await?).await?;
    if ran.recording.missed > 0 {
        let missed = ran.recording.missed;
        facts.unseen.push(format!("{missed} events of the gateway, which came too fast"));
    }
    facts.up = up(ran, &samples, before, after);
    if facts.up.timeline.left_out > 0 {
        facts.unseen.push(format!(
            "{} statements one by one: shorter than {MOMENT} ms each, they repeat what is kept of them",
            facts.up.timeline.left_out
        ));
    }
    if samples.left_out > 0 {
        facts.unseen.push(format!("{} locks one by one: shorter than {MOMENT} ms each", samples.left_out));
    }
    if facts.up.timeline.garbled > 0 {
        facts
            .unseen
            .push(format!("{} messages of the event triggers were too long", facts.up.timeline.garbled));
    }
    if let Some(failure) = &facts.up.failure {
        let failed = facts.up.timeline.failed().map(|one| one.text.as_str());
        facts.up.offending = offending::count(&control, failure, failed).await;
    }
    if facts.up.is_ok() && facts.up.timeline.sessions > 0 {
        if let Some(worked) = worked {
            facts.queries = Some(queries::compare(&fork.enter_as_application().await?, &worked).await);
        }
        // What keeps no history runs again whenever it is told to.
        if facts.tool.is_some() {
            facts.again = Some(again(place, &fork, &control, plan, &facts.up.after, ui).await?);
        }
        if let Some(job) = &way_back {
            facts.down = Some(down(place, &fork, &control, job, plan, &facts.up, ui).await?);
        }
    }
    Ok(facts)
}

fn first_cause(error: &Error) -> String {
    error.causes.first().unwrap_or(&error.message).clone()
}

async fn start_sampler(fork: &Fork, control: &sql::Session, pace: Pace, origin: Instant) -> Result<Sampler> {
    let pid =
        control.text("SELECT pg_backend_pid()").await?.and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let ca = fork.session.auth.ca.as_deref();
    Sampler::start(control, &fork.login(), ca, &[pid], pace, origin).await
}

fn up(ran: Run, samples: &sampler::Watched, before: Snapshot, after: Snapshot) -> Up {
    let skew = timeline::skew(&ran.recording.heard);
    let mut timeline = Timeline::read(&ran.recording.heard, skew, ran.end);
    timeline.left_out = ran.recording.left_out;
    let sampled = sampler::holds(samples, &timeline.statements);
    timeline.holds = sampler::merge(std::mem::take(&mut timeline.holds), sampled);
    let known = manual::unseen(&timeline.statements, &timeline.holds, &before);
    timeline.holds.extend(known);
    let failure = timeline.failed().and_then(|one| one.failure.clone());
    let failure = failure.filter(|_| !matches!(ran.ended.how, How::Code(0)));
    let stalls = stall::computed(&timeline.holds, &timeline.statements, &before);
    let crossings = deadlock::crossings(&timeline.holds, &timeline.statements, &before);
    let changes = schema::compare(before.objects.clone(), after.objects.clone());
    let left = catalog::left_behind(&before, &after);
    // Whoever is asked to end then may still cancel it properly.
    let is_cut = |one: &Statement| one.from <= ran.deadline && ran.deadline <= one.to;
    Up {
        ended: Some(ran.ended.how),
        ms: ran.ended.ms,
        is_busy: timeline.statements.iter().any(is_cut),
        tail: ran.ended.tail,
        timeline,
        failure,
        offending: None,
        before,
        after,
        left,
        changes,
        stalls,
        crossings,
    }
}

async fn again(
    place: &impl Place,
    fork: &Fork,
    control: &sql::Session,
    plan: &Plan,
    after: &Snapshot,
    ui: &mut Ui,
) -> Result<Again> {
    let ran = run(place, fork, &plan.up, plan, Instant::now(), "up again", ui).await?;
    let now = catalog::read(control, fork.enter().await?).await?;
    Ok(Again { ok: ran.ended.how == How::Code(0), changed: differences::between(after, &now) })
}

async fn down(
    place: &impl Place,
    fork: &Fork,
    control: &sql::Session,
    job: &Job,
    plan: &Plan,
    up: &Up,
    ui: &mut Ui,
) -> Result<Down> {
    let ran = run(place, fork, job, plan, Instant::now(), "down", ui).await?;
    let now = catalog::read(control, fork.enter().await?).await?;
    let ok = ran.ended.how == How::Code(0);
    let lost = if ok { lost::lost(&up.before, &up.after, &now) } else { Vec::new() };
    let (words, refuses) =
        if ok { (String::new(), false) } else { words::of_failure(&ran.recording, &ran.ended.tail) };
    let differs = differences::between(&up.before, &now);
    let mut down = Down { ok, words, refuses, differs, lost, up_again: None };
    if ok {
        let ran = run(place, fork, &plan.up, plan, Instant::now(), "up after down", ui).await?;
        down.up_again = Some(ran.ended.how == How::Code(0));
    }
    Ok(down)
}

/// The tables that are worth a second look: those that the migration kept somebody waiting at, or locked in a mode that it had
/// to wait for itself.
pub fn touched(up: &Up) -> Vec<u32> {
    let mut tables: Vec<u32> = Vec::new();
    let mut add = |oid: u32| {
        let is_table = up.before.relations.get(&oid).is_some_and(catalog::Relation::is_table);
        if is_table && !tables.contains(&oid) {
            tables.push(oid);
        }
    };
    up.stalls.iter().for_each(|stall| add(stall.table));
    let strong = up.timeline.holds.iter().filter(|hold| hold.mode >= Mode::ShareUpdateExclusive);
    strong.for_each(|hold| add(hold.relation));
    tables.truncate(PROBED);
    tables
}

/// The second fork: the same migration among readers, writers, and somebody who does not end a transaction. Fills in what it
/// measures.
///
/// # Errors
/// As for [`clean`].
pub async fn among_clients(
    place: &impl Place,
    session: Session,
    client: lakebase::api::Client,
    plan: &Plan,
    facts: &mut Facts,
    ui: &mut Ui,
) -> Result<()> {
    let tables = touched(&facts.up);
    if tables.is_empty() {
        facts.measured = Some(Vec::new());
        facts.queue = Some(Vec::new());
        return Ok(());
    }
    let fork = Fork::make(session, client, ui).await?;
    let (ca, login) = (fork.session.auth.ca.as_deref(), fork.login());
    let relation = |oid: &u32| facts.up.before.relations.get(oid);
    let origin = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let mut probes = Vec::new();
    for oid in &tables {
        for kind in Client::ALL {
            let Some(relation) = relation(oid) else { continue };
            probes.extend(Probe::start(&login, ca, (*oid, relation), kind, origin, stopped.clone()).await?);
        }
    }
    let read: Vec<&catalog::Relation> = tables.iter().filter_map(relation).collect();
    let antagonists = Antagonists::start(&login, ca, &read, origin, stopped).await?;
    let ran = run(place, &fork, &plan.up, plan, origin, "up among clients", ui).await?;
    stop.send_replace(true);
    let (queue, antagonised) = antagonists.end().await;
    let mut measured = Vec::new();
    for probe in probes {
        let (table, client) = (probe.table, probe.client);
        // What the open reader brought about is another line of the report.
        let waits = probe
            .waits()
            .await
            .into_iter()
            .filter(|wait| !antagonised.iter().any(|other| overlap(wait, other)));
        if let Some(worst) = waits.max_by(|one, other| one.ms.total_cmp(&other.ms)) {
            measured.push(Stall {
                client,
                table,
                ms: worst.ms,
                from: worst.from,
                mode: client.needs(),
                statement: None,
            });
        }
    }
    facts.queue = Some(queue);
    if ran.ended.how == How::Code(0) {
        facts.sensors.push("probes");
        facts.measured = Some(measured);
    } else {
        facts.unseen.push("measured stalls: the migration gave up behind an open query".into());
    }
    Ok(())
}

fn overlap(one: &Wait, other: &Wait) -> bool {
    one.from < other.from + other.ms && other.from < one.from + one.ms
}
