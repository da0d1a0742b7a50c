//! The server-side sampler: it sees what event triggers do not, `UPDATE`, `LOCK`, `VACUUM FULL` and `CREATE INDEX
//! CONCURRENTLY` among it, as long as it is held longer than the sampler sleeps.
//!
//! A loop on the server looks at `pg_locks` and commits each turn, so that it holds no snapshot that `CREATE INDEX
//! CONCURRENTLY` would wait for. It tells only what has changed, and ends when the lock that its owner holds is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lakebase::connection::Connection;
use lakebase::error::{Error, Result};
use lakebase::sql::{Refused, Session};
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::lock::Mode;
use crate::timeline::{Hold, Seen, Statement};
use crate::wire::MOMENT;

/// SQLSTATE of its messages.
const SQLSTATE: &str = "LB002";
/// How often it looks. Each look costs the migration some of the server's time: at the quicker pace a tenth of an index build's
/// on two cores, at the other one nothing that can be measured.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What it sleeps between two looks, in milliseconds.
    pause: u32,
    /// The sampler's name in reports.
    pub sensor: &'static str,
}

impl Pace {
    /// Nobody else sees locks of a few milliseconds.
    pub const ALONE: Self = Self { pause: 2, sensor: "sampler 2 ms" };
    /// Event triggers see those.
    pub const BESIDE_TRIGGERS: Self = Self { pause: 10, sensor: "sampler 10 ms" };
}

/// An event trigger that is later than the sampler by more than this, in milliseconds, was not there when the lock was taken.
const LATE: f64 = 5.0;
/// Names the advisory lock that lets it run.
const KEY: (i32, i32) = (0x1a_ba5e, 0xc4ec);

/// What was held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Milliseconds since the run began.
    pub at: f64,
    /// Process, relation, mode, and whether it is held or waited for.
    pub locks: Vec<(i32, u32, Mode, bool)>,
}

#[derive(Deserialize)]
struct Told {
    at: f64,
    #[serde(default)]
    locks: Option<Vec<(i32, u32, String, bool)>>,
    /// Processes of nobody: autovacuum's. Asking for them costs more than a look, so it is done where a look shows something new.
    #[serde(default)]
    nobodys: Option<Vec<i32>>,
}

/// What was seen by the server's clock, and what to add to that for ours.
#[derive(Default)]
struct Log {
    watched: Watched,
    has_looked: bool,
    skew: Option<f64>,
}

/// A process's lock of a relation.
type Lock = (i32, u32, Mode);

/// So many locks of less than a moment are kept.
const MOST: usize = 10_000;

/// The locks that samples show, each from when to when.
#[derive(Debug, Default)]
pub struct Watched {
    open: BTreeMap<Lock, f64>,
    closed: Vec<(Lock, f64, f64)>,
    last: f64,
    /// How many were left out: there were very many, and none was held for longer than a moment.
    pub left_out: usize,
}

impl Watched {
    /// The next sample.
    pub fn see(&mut self, sample: &Sample) {
        let held = sample.locks.iter().filter(|lock| lock.3);
        let now: Vec<Lock> = held.map(|(pid, relation, mode, _)| (*pid, *relation, *mode)).collect();
        let gone: Vec<Lock> = self.open.keys().filter(|key| !now.contains(key)).copied().collect();
        for key in gone {
            let Some(from) = self.open.remove(&key) else { continue };
            if self.closed.len() >= MOST && sample.at - from < MOMENT {
                self.left_out += 1;
            } else {
                self.closed.push((key, from, sample.at));
            }
        }
        for key in now {
            self.open.entry(key).or_insert(sample.at);
        }
        self.last = sample.at;
    }

    /// The same by a clock that is ahead by `skew` milliseconds.
    fn shifted(mut self, skew: f64) -> Self {
        self.open.values_mut().for_each(|from| *from += skew);
        self.closed.iter_mut().for_each(|(_, from, to)| (*from, *to) = (*from + skew, *to + skew));
        self.last += skew;
        self
    }
}

/// A sampler that runs.
pub struct Sampler {
    log: Arc<Mutex<Log>>,
    running: JoinHandle<Result<()>>,
}

impl Sampler {
    /// Starts it. `owner` is the session that keeps it running; sessions of `ours` are not looked at. `origin` is when the
    /// run begins.
    ///
    /// # Errors
    /// [`lakebase::error::Kind::Database`] or [`lakebase::error::Kind::Unreachable`].
    pub async fn start(
        owner: &Session,
        connection: &Connection,
        ca: Option<&str>,
        ours: &[i32],
        pace: Pace,
        origin: Instant,
    ) -> Result<Self> {
        owner.run(&format!("SELECT pg_advisory_lock({}, {})", KEY.0, KEY.1)).await?;
        let log = Arc::<Mutex<Log>>::default();
        let hears = Arc::clone(&log);
        let session = Session::open_heard(connection, ca, move |notice| {
            let now = origin.elapsed().as_secs_f64() * 1000.0;
            if notice.code().code() != SQLSTATE {
                return;
            }
            let Ok(told) = serde_json::from_str::<Told>(notice.message()) else { return };
            let mut log = hears.lock().unwrap_or_else(PoisonError::into_inner);
            let skew = now - told.at * 1000.0;
            log.skew = Some(log.skew.map_or(skew, |least| least.min(skew)));
            log.has_looked = true;
            let nobodys = told.nobodys.unwrap_or_default();
            let locks = told.locks.iter().flatten();
            let locks = locks
                .filter(|(pid, ..)| !nobodys.contains(pid))
                .filter_map(|(pid, relation, mode, held)| Some((*pid, *relation, Mode::parse(mode)?, *held)));
            let sample = Sample { at: told.at * 1000.0, locks: locks.collect() };
            log.watched.see(&sample);
        });
        let session = session.await.map_err(|refused: Refused| Error::from(refused))?;
        // That of a role or a database would end the loop in the middle of a long migration.
        session.run("SET statement_timeout = 0").await?;
        let text = program(ours, pace);
        let running = tokio::spawn(async move { session.run(&text).await });
        let sampler = Self { log, running };
        sampler.first_look().await;
        Ok(sampler)
    }

    /// Waits until it has looked once.
    async fn first_look(&self) {
        while !self.running.is_finished() && !self.log().has_looked {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and gives what it saw.
    ///
    /// # Errors
    /// [`lakebase::error::Kind::Database`]: it did not run to this end.
    pub async fn stop(self, owner: &Session) -> Result<Watched> {
        owner.run(&format!("SELECT pg_advisory_unlock({}, {})", KEY.0, KEY.1)).await?;
        let Self { log, running } = self;
        running.await.unwrap_or(Ok(()))?;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let skew = log.skew.unwrap_or_default();
        Ok(std::mem::take(&mut log.watched).shifted(skew))
    }
}

fn program(ours: &[i32], pace: Pace) -> String {
    let ours: Vec<String> = ours.iter().map(i32::to_string).collect();
    let (class, object) = KEY;
    format!(
        "DO $lakebase$
        DECLARE
            seen text;
            seen_before text := '-';
            goes_on boolean;
        BEGIN
            LOOP
                SELECT jsonb_agg(jsonb_build_array(pid, relation::int8, mode, granted) ORDER BY pid, relation, mode, granted)
                        FILTER (WHERE locktype = 'relation' AND relation::int8 >= 16384 AND pid <> pg_backend_pid()
                            AND pid <> ALL ('{{{}}}'::int[]))::text,
                    coalesce(bool_or(locktype = 'advisory' AND granted AND classid::int8 = {class} AND objid::int8 = {object}), false)
                    INTO seen, goes_on
                    FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database());
                IF seen IS DISTINCT FROM seen_before THEN
                    RAISE INFO USING ERRCODE = '{SQLSTATE}', MESSAGE = jsonb_build_object(
                        'at', date_part('epoch', clock_timestamp()), 'locks', seen::jsonb,
                        'nobodys', (SELECT jsonb_agg(pid) FROM pg_stat_activity WHERE usesysid IS NULL))::text;
                    seen_before := seen;
                END IF;
                EXIT WHEN NOT goes_on;
                COMMIT;
                PERFORM pg_sleep({});
            END LOOP;
        END $lakebase$",
        ours.join(","),
        f64::from(pace.pause) / 1000.0,
    )
}

/// The locks that samples show. The statement is the one that ran, or whose transaction was open, when a lock was first
/// seen.
pub fn holds(watched: &Watched, statements: &[Statement]) -> Vec<Hold> {
    let open = watched.open.iter().map(|(lock, from)| (*lock, *from, watched.last));
    let hold = |((_, relation, mode), from, to): (Lock, f64, f64)| {
        let runs = |statement: &&Statement| statement.from <= from && from <= statement.until;
        let of = |running: bool| {
            let mut all = statements.iter().enumerate().rev();
            all.find(|(_, one)| runs(one) && (!running || from <= one.to)).map(|(index, _)| index)
        };
        let statement = of(true).or_else(|| of(false));
        Hold { relation, mode, from, to, statement, seen: Seen::Sampler }
    };
    watched.closed.iter().copied().chain(open).map(hold).collect()
}

/// What event triggers saw, and of what the sampler saw the rest: its times are the less exact ones. An event trigger sees a
/// lock that something else took before, an `UPDATE` say, when it fires; the sampler knows since when.
pub fn merge(exact: Vec<Hold>, sampled: Vec<Hold>) -> Vec<Hold> {
    let mut all = exact;
    let exact = all.len();
    for hold in sampled {
        let is_same = |known: &&mut Hold| {
            known.relation == hold.relation
                && known.mode == hold.mode
                && known.from <= hold.to
                && hold.from <= known.to
        };
        match all[..exact].iter_mut().find(is_same) {
            Some(known) if hold.from + LATE < known.from => {
                (known.from, known.statement) = (hold.from, hold.statement);
            }
            Some(_) => {}
            None => all.push(hold),
        }
    }
    all.sort_by(|one, other| one.from.total_cmp(&other.from));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_from_its_first_sample_to_the_first_without_it() {
        let sample = |at, locks: &[(i32, u32, Mode, bool)]| Sample { at, locks: locks.to_vec() };
        let strong = (7, 20000, Mode::AccessExclusive, true);
        let waits = (8, 20001, Mode::Share, false);
        let samples =
            [sample(1.0, &[]), sample(3.0, &[strong, waits]), sample(8.0, &[strong]), sample(9.0, &[])];
        let mut watched = Watched::default();
        samples.iter().for_each(|sample| watched.see(sample));
        let seen = holds(&watched, &[]);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].relation, seen[0].from, seen[0].to), (20000, 3.0, 9.0));
    }

    #[test]
    fn very_many_short_locks_are_counted_and_long_ones_kept() {
        // given a session that takes a lock of two milliseconds again and again, and another that keeps one
        let mut watched = Watched::default();
        let (short, long) = ((7, 20000, Mode::RowExclusive, true), (8, 20001, Mode::Share, true));
        let turns = 3 * MOST;
        for turn in 0..turns {
            let at = turn as f64 * 4.0;
            watched.see(&Sample { at, locks: vec![short, long] });
            // Near the end, one is held for longer.
            let gap = if turn == turns - 5 { 0.0 } else { 2.0 };
            let locks = if gap > 0.0 { vec![long] } else { vec![short, long] };
            watched.see(&Sample { at: at + 2.0, locks });
        }
        watched.see(&Sample { at: turns as f64 * 4.0, locks: Vec::new() });
        let seen = holds(&watched, &[]);
        assert!(seen.len() <= MOST + 2, "{}", seen.len());
        assert_eq!(seen.len() + watched.left_out, turns);
        assert!(seen.iter().any(|one| one.relation == 20001 && one.to - one.from == turns as f64 * 4.0));
    }

    #[test]
    fn what_event_triggers_saw_counts_once() {
        let hold = |from, to, seen| Hold { relation: 1, mode: Mode::Share, from, to, statement: None, seen };
        let exact = vec![hold(10.0, 20.0, Seen::EventTrigger)];
        let sampled = vec![hold(12.0, 21.0, Seen::Sampler), hold(30.0, 40.0, Seen::Sampler)];
        let all = merge(exact, sampled);
        assert_eq!(all.iter().map(|hold| hold.from).collect::<Vec<_>>(), [10.0, 30.0]);
        // One that was taken before the event trigger fired is as old as the sampler says.
        let all = merge(vec![hold(90.0, 99.0, Seen::EventTrigger)], vec![hold(50.0, 98.0, Seen::Sampler)]);
        assert_eq!((all.len(), all[0].from, all[0].to), (1, 50.0, 99.0));
    }
}
