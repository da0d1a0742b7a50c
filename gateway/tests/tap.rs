//! `lakebase-gateway tap`: what the sessions of a seat do, heard from outside, with a real PostgreSQL behind it.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{Branch, IDENTITY, Seat, TOKEN};
use lakebase_gateway::seat::tap::TapLine;
use lakebase_gateway::{Status, TapEvent};
use tokio_postgres::NoTls;

/// A seat that listens, with a token.
fn tapped(branch: &Branch) -> (Seat, common::Feed) {
    let seat = Seat::with(branch, &[("LAKEBASE_TAP", "1")]);
    let mut feed = seat.feed();
    feed.token(TOKEN, 3600);
    seat.ready();
    (seat, feed)
}

fn next(lines: &Receiver<String>) -> TapLine {
    serde_json::from_str(&lines.recv_timeout(Duration::from_secs(20)).unwrap()).unwrap()
}

/// The events of the next session to its end.
fn session(lines: &Receiver<String>) -> Vec<TapEvent> {
    let mut events = Vec::new();
    while events.last() != Some(&TapEvent::Closed) {
        if let TapLine::Event { event, .. } = next(lines) {
            events.push(event);
        }
    }
    events
}

#[test]
fn a_listener_that_comes_late_hears_the_first_session_whole() {
    let branch = Branch::start();
    let (seat, _feed) = tapped(&branch);
    // given a session with a sensor in it, a notice of its own, and an error, before anybody listens
    let sensor = "DO $$BEGIN RAISE INFO USING ERRCODE = 'LB001', MESSAGE = 'lock taken'; RAISE NOTICE 'for you'; END$$";
    let table = "CREATE TABLE t (id int PRIMARY KEY, secret text NOT NULL)";
    let mut command = seat.psql("", table);
    let output = command
        .args(["-c", "BEGIN", "-c", sensor, "-c", "INSERT INTO t VALUES (77123, NULL)"])
        .output()
        .unwrap();
    // then the application got its own notice and not the sensor's
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("for you") && said.contains("77123") && !said.contains("lock taken"), "{said}");
    // when a listener comes
    let (mut child, lines) = seat.tap();
    let TapLine::Hello { tap } = next(&lines) else { panic!("no greeting") };
    let mut times = Vec::new();
    let mut events = Vec::new();
    while events.last() != Some(&TapEvent::Closed) {
        let TapLine::Event { at_us, event, .. } = next(&lines) else { panic!("{events:?}") };
        times.push(at_us);
        events.push(event);
    }
    // then it hears all of it, in order, without the row
    assert!(times.is_sorted() && times.iter().all(|time| *time <= tap.now_us), "{times:?}");
    assert!(matches!(&events[0], TapEvent::Opened { user, database, pid: Some(_) }
        if user == IDENTITY && database == "branchdb"));
    let ready = |status| TapEvent::Ready { status };
    let complete = |tag: &str| TapEvent::Complete { tag: tag.into() };
    let query = |text: &str| TapEvent::Query { text: text.into(), cut: false };
    assert_eq!(
        events[1..9],
        [
            ready(Status::Idle),
            query(table),
            complete("CREATE TABLE"),
            ready(Status::Idle),
            query("BEGIN"),
            complete("BEGIN"),
            ready(Status::InTransaction),
            query(sensor),
        ]
    );
    let told = TapEvent::Sensor { sqlstate: "LB001".into(), message: "lock taken".into() };
    assert_eq!(events[9..12], [told, complete("DO"), ready(Status::InTransaction)]);
    let TapEvent::Error(error) = &events[13] else { panic!("{events:?}") };
    assert_eq!((error.sqlstate.as_str(), error.column.as_deref()), ("23502", Some("secret")));
    assert!(!format!("{error:?}").contains("77123"));
    assert_eq!(events[14], ready(Status::Failed));
    // and the log holds no statement
    assert!(!seat.log().contains("CREATE"), "{}", seat.log());
    // and it ends with its input
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_extended_protocol_says_which_statement_runs() {
    let branch = Branch::start();
    let (seat, _feed) = tapped(&branch);
    let (mut child, lines) = seat.tap();
    let (client, connection) = seat.target().connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let statement = client.prepare("SELECT $1::int4 + 1").await.unwrap();
    assert_eq!(client.query_one(&statement, &[&41]).await.unwrap().get::<_, i32>(0), 42);
    drop((statement, client));
    connection.await.unwrap().unwrap();
    let events = session(&lines);
    // what ran, from the execution back to its text
    let bound = events.iter().find_map(|event| match event {
        TapEvent::Bind { statement, .. } => Some(statement),
        _ => None,
    });
    let text = events.iter().find_map(|event| match event {
        TapEvent::Parse { statement, text, .. } if Some(statement) == bound => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(text, Some("SELECT $1::int4 + 1"));
    let at = events.iter().position(|event| matches!(event, TapEvent::Execute { .. })).unwrap();
    assert_eq!(
        events[at + 1..at + 4],
        [
            TapEvent::Sync,
            TapEvent::Complete { tag: "SELECT 1".into() },
            TapEvent::Ready { status: Status::Idle }
        ]
    );
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn what_is_listened_to_passes_whole_both_ways() {
    let branch = Branch::start();
    let (seat, _feed) = tapped(&branch);
    // when twenty megabytes go in and out again, then they are the same
    seat.carries_bulk(200_000);
    // and nothing of the data was told
    let (mut child, lines) = seat.tap();
    let told: Vec<TapEvent> = (0..9).flat_map(|_| session(&lines)).collect();
    assert!(told.len() < 90, "{}", told.len());
    assert!(told.contains(&TapEvent::Complete { tag: "COPY 200000".into() }));
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_seat_that_was_not_told_to_listen_says_so() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    let (mut child, lines) = seat.tap();
    let TapLine::Problem { problem } = next(&lines) else { panic!("it listens") };
    assert!(problem.contains("LAKEBASE_TAP"), "{problem}");
    assert!(child.wait().unwrap().success());
}
