//! Migrations of very many statements.

use std::time::Duration;

use lakebase_gateway::Status;

use super::*;
use crate::timeline::{Statement, Timeline};

/// A run that is written down, millisecond by millisecond.
struct Run {
    recorder: Recorder,
    origin: Instant,
    micros: u64,
    /// Statements that were run.
    count: usize,
    /// The most events that were ever kept.
    peak: usize,
}

impl Run {
    fn new() -> Self {
        let origin = Instant::now();
        Self { recorder: Recorder::new(origin), origin, micros: 0, count: 0, peak: 0 }
    }

    fn say(&mut self, session: u64, event: TapEvent) {
        self.recorder.note(session, self.origin + Duration::from_micros(self.micros), event);
        self.peak = self.peak.max(self.recorder.recording().heard.len());
    }

    /// A statement by the simple protocol that takes so long.
    fn query(&mut self, session: u64, text: String, micros: u64, status: Status) {
        self.say(session, TapEvent::Query { text, cut: false });
        self.micros += micros;
        self.say(session, TapEvent::Complete { tag: String::new() });
        self.say(session, TapEvent::Ready { status });
        self.count += 1;
    }

    /// What is kept, and how many statements are not.
    fn read(self) -> (Timeline, usize) {
        let end = self.micros as f64 / 1000.0;
        let recording = self.recorder.take();
        assert!(recording.left_out > 0, "nothing was left out");
        (Timeline::read(&recording.heard, None, end), recording.left_out)
    }
}

fn find<'a>(timeline: &'a Timeline, text: &str) -> &'a Statement {
    timeline.statements.iter().find(|one| one.text.starts_with(text)).unwrap_or_else(|| panic!("no {text}"))
}

#[track_caller]
fn near(one: f64, other: f64) {
    assert!((one - other).abs() < 0.001, "{one} is not {other}");
}

fn say(text: &str) -> String {
    text.to_owned()
}

#[test]
fn one_transaction_of_very_many_statements_keeps_its_first_and_its_slow_ones() {
    use Status::{Idle, InTransaction};
    // given a backfill row by row in one transaction, with one row that took longer, a change of the schema, and an error
    let mut run = Run::new();
    run.query(1, say("BEGIN"), 100, InTransaction);
    for row in 0..60_000 {
        let took = if row == 45_000 { 30_000 } else { 200 };
        let value = if row % 3 == 0 { "NULL".to_owned() } else { format!("'it''s {row}'") };
        run.query(1, format!("UPDATE orders SET note = {value} WHERE id = {row}"), took, InTransaction);
        run.query(1, format!("SAVEPOINT s{row}"), 10, InTransaction);
    }
    run.query(1, say("ALTER TABLE orders ADD COLUMN area text"), 300, InTransaction);
    run.query(1, say("LOCK TABLE users"), 300, InTransaction);
    run.query(1, say("INSERT INTO orders VALUES (1, 'a'), (2, NULL)"), 300, InTransaction);
    run.query(1, say("COMMIT"), 100, Idle);
    let (end, count, peak) = (run.micros as f64 / 1000.0, run.count, run.peak);
    // then little is kept
    let (timeline, left_out) = run.read();
    assert!(peak <= MOST + 1, "{peak}");
    // and every statement is there or counted, but for the savepoints, which say nothing
    let kept = timeline.statements.iter().filter(|one| !one.text.starts_with("SAVEPOINT")).count();
    assert_eq!(kept + left_out, count - 60_000);
    // and so is what holds locks, from its beginning to the end of the transaction, and what took long
    let first = find(&timeline, "UPDATE orders SET note = NULL WHERE id = 0");
    near(first.from, 0.1);
    near(first.until, end);
    let slow = timeline.statements.iter().find(|one| one.to - one.from > MOMENT).unwrap();
    assert!(slow.text.contains("id = 45000"), "{slow:?}");
    near(slow.until, end);
    for text in ["ALTER TABLE orders", "LOCK TABLE users", "INSERT INTO orders"] {
        near(find(&timeline, text).until, end);
    }
    assert_eq!(timeline.sessions, 1);
}

#[test]
fn very_many_short_transactions_keep_some_of_each_form_and_all_that_fail() {
    use Status::{Failed, Idle, InTransaction};
    // given two sessions with short transactions of their own, of which one fails and one takes longer
    let mut run = Run::new();
    for row in 0..40_000_u64 {
        run.query(1, format!("INSERT INTO notes VALUES ({row})"), 100, Idle);
        run.query(2, say("BEGIN"), 10, InTransaction);
        run.query(2, format!("DELETE FROM notes WHERE id = {row}"), 100, InTransaction);
        if row == 30_000 {
            run.say(2, TapEvent::Query { text: say("UPDATE notes SET id = 1"), cut: false });
            let error = TapError { sqlstate: "23505".into(), ..TapError::default() };
            run.say(2, TapEvent::Error(error));
            run.say(2, TapEvent::Ready { status: Failed });
            run.count += 1;
            run.query(2, say("ROLLBACK"), 10, Idle);
            continue;
        }
        let wait = if row == 20_000 { 20_000 } else { 10 };
        run.query(2, say("COMMIT"), wait, Idle);
    }
    let (count, peak) = (run.count, run.peak);
    let (timeline, left_out) = run.read();
    assert!(peak <= MOST + 1, "{peak}");
    // Small talk is not counted when it is left out.
    let talk = |one: &&Statement| ["BEGIN", "COMMIT", "ROLLBACK"].contains(&one.text.as_str());
    let kept = timeline.statements.iter().filter(|one| !talk(one)).count();
    assert_eq!(kept + left_out, count - 2 * 40_000);
    // Then the failure is there, and so is who held rows for longer than a moment.
    assert_eq!(find(&timeline, "UPDATE notes").failure.as_ref().unwrap().sqlstate, "23505");
    let late = find(&timeline, "DELETE FROM notes WHERE id = 20000");
    assert!(late.until - late.from > 20.0, "{late:?}");
    find(&timeline, "INSERT INTO notes VALUES (0)");
    assert_eq!(timeline.sessions, 2);
}

#[test]
fn a_batch_of_very_many_runs_of_one_statement_is_thinned_before_it_is_over() {
    // given a prepared statement that is run very many times before the client waits, and another one after it
    let mut run = Run::new();
    run.say(
        1,
        TapEvent::Parse { statement: say("s1"), text: say("INSERT INTO orders VALUES ($1)"), cut: false },
    );
    for row in 0..60_000 {
        run.say(1, TapEvent::Bind { portal: String::new(), statement: say("s1") });
        run.say(1, TapEvent::Execute { portal: String::new() });
        run.micros += 50;
        run.say(1, TapEvent::Complete { tag: format!("INSERT 0 {row}") });
    }
    run.say(1, TapEvent::Sync);
    run.say(1, TapEvent::Ready { status: Status::Idle });
    run.say(1, TapEvent::Bind { portal: String::new(), statement: say("s1") });
    run.say(1, TapEvent::Execute { portal: String::new() });
    run.micros += 40_000;
    run.say(1, TapEvent::Complete { tag: say("INSERT 0 1") });
    run.say(1, TapEvent::Sync);
    run.say(1, TapEvent::Ready { status: Status::Idle });
    let (peak, end) = (run.peak, run.micros as f64 / 1000.0);
    let (timeline, left_out) = run.read();
    assert!(peak <= MOST + 1, "{peak}");
    assert_eq!(timeline.statements.len() + left_out, 60_001);
    // then its first run holds the locks until the end of all, and the other one has its text
    let (first, last) = (&timeline.statements[0], timeline.statements.last().unwrap());
    assert_eq!([first, last].map(|one| one.text.as_str()), ["INSERT INTO orders VALUES ($1)"; 2]);
    near(first.until, end - 40.0);
    near(last.to - last.from, 40.0);
}

#[test]
fn what_few_statements_do_is_kept_whole() {
    let mut run = Run::new();
    for row in 0..10_000 {
        run.query(1, format!("UPDATE orders SET note = '{row}'"), 100, Status::Idle);
    }
    let recording = run.recorder.take();
    assert_eq!((recording.left_out, recording.heard.len()), (0, 30_000));
}

#[test]
fn a_value_that_does_not_fit_is_not_repeated() {
    let said = |sqlstate: &str, message: &str| {
        let error = TapError { sqlstate: sqlstate.into(), message: message.into(), ..TapError::default() };
        Failure::of(&error).message
    };
    assert_eq!(
        said("22P02", "invalid input syntax for type bigint: \"n/a\""),
        "invalid input syntax for type bigint"
    );
    assert_eq!(
        said("22003", "value \"99999999999\" is out of range for type integer"),
        "value \"…\" is out of range for type integer"
    );
    assert_eq!(said("42P01", "relation \"orders\" does not exist"), "relation \"orders\" does not exist");
}
