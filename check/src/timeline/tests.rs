//! Events as a gateway tells them, and what is made of them.

use lakebase_gateway::{TapError, TapEvent};
use serde_json::json;

use super::*;

/// A run that is told line by line: at each millisecond the next event.
#[derive(Default)]
struct Told(Vec<Heard>);

impl Told {
    fn event(mut self, event: TapEvent) -> Self {
        let at = self.0.len() as f64;
        self.0.push(Heard { at, session: 1, event });
        self
    }

    fn query(self, text: &str) -> Self {
        self.event(TapEvent::Query { text: text.into(), cut: false })
    }

    fn complete(self) -> Self {
        self.event(TapEvent::Complete { tag: String::new() })
    }

    fn ready(self, status: Status) -> Self {
        self.event(TapEvent::Ready { status })
    }

    fn failed(self, sqlstate: &str) -> Self {
        self.event(TapEvent::Error(TapError { sqlstate: sqlstate.into(), ..TapError::default() }))
    }

    /// The sensor says that relation 1 is locked; `transaction` is when that began.
    fn sensor(self, event: &str, transaction: f64, context: &str, locks: &[(u32, &str)]) -> Self {
        let at = self.0.len() as f64 / 1000.0;
        let message = json!({
            "event": event, "tag": "ALTER TABLE", "at": at, "transaction": transaction, "context": context, "role": "ada",
            "search_path": "public", "lock_timeout": "2s", "statement_timeout": "0", "locks": locks,
        });
        self.event(TapEvent::Sensor { sqlstate: "LB001".into(), message: message.to_string() })
    }

    fn read(&self) -> Timeline {
        Timeline::read(&self.0, skew(&self.0), self.0.len() as f64)
    }
}

const STRONG: (u32, &str) = (1, "AccessExclusiveLock");

fn texts(timeline: &Timeline) -> Vec<&str> {
    timeline.statements.iter().map(|one| one.text.as_str()).collect()
}

#[test]
fn a_lock_is_held_to_the_end_of_its_transaction() {
    let told = Told::default().query("BEGIN").complete().ready(Status::InTransaction); // 0 to 2
    let told = told.query("ALTER TABLE a ADD x int"); // 3
    let told = told.sensor("ddl_command_start", 0.0, "", &[]).sensor("ddl_command_end", 0.0, "", &[STRONG]); // 4, 5
    let told = told.complete().ready(Status::InTransaction); // 6, 7
    let timeline = told.query("COMMIT").complete().ready(Status::Idle).read(); // 8 to 10
    assert_eq!(texts(&timeline), ["BEGIN", "ALTER TABLE a ADD x int", "COMMIT"]);
    let hold = &timeline.holds[0];
    assert_eq!((timeline.holds.len(), hold.from, hold.to, hold.statement), (1, 3.0, 10.0, Some(1)));
    let statement = &timeline.statements[1];
    assert_eq!(
        (statement.is_ddl, statement.lock_timeout.as_deref(), statement.until),
        (true, Some("2s"), 10.0)
    );
}

#[test]
fn an_error_behind_a_savepoint_lets_go_of_nothing_before_it() {
    let told = Told::default().query("BEGIN").complete().ready(Status::InTransaction); // 0 to 2
    let told = told.query("ALTER TABLE a ADD x int"); // 3
    let told = told.sensor("ddl_command_start", 0.0, "", &[]).sensor("ddl_command_end", 0.0, "", &[STRONG]); // 4, 5
    let told = told.complete().ready(Status::InTransaction); // 6, 7
    let told = told.query("SAVEPOINT s").complete().ready(Status::InTransaction); // 8 to 10
    let told = told.query("SELECT gone").failed("42703").ready(Status::Failed); // 11 to 13
    let told = told.query("ROLLBACK TO s").complete().ready(Status::InTransaction); // 14 to 16
    let timeline = told.query("COMMIT").complete().ready(Status::Idle).read(); // 17 to 19
    let hold = &timeline.holds[0];
    assert_eq!((timeline.holds.len(), hold.from, hold.to), (1, 3.0, 19.0));
}

#[test]
fn the_statements_of_a_batch_and_of_a_block_are_told_apart() {
    let batch = "SELECT 1; ALTER TABLE a ADD x int; ALTER TABLE b ADD y int";
    let sensors = |told: Told, context: &str, before: &[(u32, &str)]| {
        told.sensor("ddl_command_start", 0.0, context, before).sensor(
            "ddl_command_end",
            0.0,
            context,
            &[STRONG],
        )
    };
    let told = sensors(sensors(Told::default().query(batch), "", &[]), "", &[STRONG]);
    let timeline = told.complete().complete().complete().ready(Status::Idle).read();
    assert_eq!(texts(&timeline), [batch, "ALTER TABLE a ADD x int", "ALTER TABLE b ADD y int"]);
    assert_eq!((timeline.holds.len(), timeline.holds[0].statement, timeline.holds[0].to), (1, Some(1), 8.0));

    let block = "DO $$ BEGIN EXECUTE 'ALTER TABLE a ADD x int'; END $$";
    let context = "PL/pgSQL function lakebase_check.tell() line 6\nSQL statement \"ALTER TABLE a ADD x int\"\nPL/pgSQL function inline";
    let told = sensors(Told::default().query(block), context, &[]);
    let timeline = told.complete().ready(Status::Idle).read();
    assert_eq!(texts(&timeline), [block, "ALTER TABLE a ADD x int"]);
}

#[test]
fn a_commit_inside_of_a_batch_lets_go() {
    let told = Told::default().query("ALTER TABLE a ADD x int; COMMIT; ALTER TABLE a ADD y int");
    let told = told.sensor("ddl_command_start", 0.0, "", &[]).sensor("ddl_command_end", 0.0, "", &[STRONG]); // 1, 2
    // The next transaction began at 2.5 by the server's clock.
    let told =
        told.sensor("ddl_command_start", 0.0025, "", &[]).sensor("ddl_command_end", 0.0025, "", &[STRONG]); // 3, 4
    let timeline = told.complete().ready(Status::Idle).read();
    let spans: Vec<(f64, f64)> = timeline.holds.iter().map(|hold| (hold.from, hold.to)).collect();
    assert_eq!(spans, [(1.0, 2.5), (3.0, 6.0)]);
}

#[test]
fn a_failure_is_its_statements_and_lets_go_at_once() {
    let told = Told::default().query("BEGIN").complete().ready(Status::InTransaction);
    let told =
        told.query("ALTER TABLE a ALTER x SET NOT NULL").sensor("ddl_command_start", 0.0, "", &[STRONG]);
    let told = told.failed("23502").ready(Status::Failed).query("ROLLBACK").complete(); // 5 to 8
    let timeline = told.ready(Status::Idle).read();
    let failed = timeline.statements.iter().find(|one| one.failure.is_some()).unwrap();
    assert_eq!(failed.text, "ALTER TABLE a ALTER x SET NOT NULL");
    assert_eq!((timeline.holds.len(), timeline.holds[0].to), (1, 5.0));
}

#[test]
fn a_prepared_statement_runs_under_the_text_that_it_had_when_it_was_bound() {
    let parse = |text: &str| TapEvent::Parse { statement: "s".into(), text: text.into(), cut: false };
    let bind = |portal: &str| TapEvent::Bind { portal: portal.into(), statement: "s".into() };
    let told = Told::default().event(parse("first")).event(bind("p")).event(parse("second")).event(bind(""));
    let told = told
        .event(TapEvent::Execute { portal: String::new() })
        .event(TapEvent::Execute { portal: "p".into() });
    let timeline = told.event(TapEvent::Sync).complete().complete().ready(Status::Idle).read();
    assert_eq!(texts(&timeline), ["second", "first"]);
    assert_eq!((timeline.statements[0].to, timeline.statements[1].to, timeline.sessions), (7.0, 9.0, 1));
}

#[test]
fn what_is_open_at_the_end_ends_there() {
    let told = Told::default().query("SELECT pg_sleep(1000)");
    assert_eq!(Timeline::read(&told.0, None, 3_000.0).statements[0].until, 3_000.0);
    assert_eq!(Timeline::read(&[], None, 3_000.0), Timeline::default());
}

#[test]
fn a_statement_that_no_answer_came_to_runs_until_its_connection_ends() {
    let sent = Told::default()
        .query("BEGIN")
        .complete()
        .ready(Status::InTransaction)
        .query("ALTER TABLE a ADD x int"); // 3
    assert_eq!(sent.read().statements[1].to, 4.0);
    assert_eq!(sent.event(TapEvent::Closed).read().statements[1].to, 4.0);
}

#[test]
fn the_failure_that_counts_is_not_what_comes_of_it() {
    let told = Told::default().query("BEGIN").complete().ready(Status::InTransaction);
    let told = told.query("ALTER TABLE a ALTER x SET NOT NULL").failed("23502").ready(Status::Failed);
    let told = told.query("UPDATE history SET locked = 0").failed("25P02").ready(Status::Failed);
    let timeline = told.query("ROLLBACK").complete().ready(Status::Idle).read();
    assert_eq!(timeline.failed().unwrap().failure.as_ref().unwrap().sqlstate, "23502");
}
