//! What passes through a session, and how sessions end.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::{Branch, Seat, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// Sessions on the branch that came through the gateway, the asking one not counted (it is the superuser's own).
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ada@example.org'";

async fn connect(seat: &Seat) -> Client {
    let (client, connection) = seat.target().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn megabytes_of_copy_pass_both_ways_with_and_without_tls() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    // when forty megabytes go in and out again, then they are the same
    seat.carries_bulk(400_000);
}

#[test]
fn a_cancel_request_reaches_the_query_it_is_for() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    for ssl in ["disable", "require"] {
        let mut slow = seat.psql(&format!("sslmode={ssl}"), "SELECT pg_sleep(600)").spawn().unwrap();
        wait("the slow query to run", || (branch.sql(running) == "1").then_some(()));
        // when psql is interrupted
        kill(Pid::from_raw(i32::try_from(slow.id()).unwrap()), Signal::SIGINT).unwrap();
        let mut said = String::new();
        slow.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        slow.wait().unwrap();
        assert!(said.contains("canceling statement due to user request"), "{said}");
        wait("the slow query to end", || (branch.sql(running) == "0").then_some(()));
    }
}

#[test]
fn a_cancel_request_ends_when_the_server_has_acted_on_it_not_before() {
    // given a server that does not look at new connections for now
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    kill(branch.pid(), Signal::SIGSTOP).unwrap();
    // when a client asks it to cancel (the key is nobody's)
    let mut client = std::net::TcpStream::connect(("127.0.0.1", seat.port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    client.write_all(&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 0, 0, 0, 1]).unwrap();
    // then it is kept waiting: libpq, asyncpg and others send their next query as soon as this connection ends
    let early = client.read(&mut [0]);
    assert!(early.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{early:?}");
    // and let go when the server is done
    kill(branch.pid(), Signal::SIGCONT).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_and_pipelines_pass() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    // given a client that listens
    let (listener, mut connection) = seat.target().connect(NoTls).await.unwrap();
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notice) = message {
                let _ = sender.send(notice.payload().to_owned());
            }
        }
    });
    listener.batch_execute("LISTEN news").await.unwrap();
    // when another one notifies, then the first hears it while idle
    let other = connect(&seat).await;
    other.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), notices.recv()).await.unwrap();
    assert_eq!(heard.unwrap(), "hello");
    // a thousand statements sent before the first answer was read
    let statement = other.prepare("SELECT $1::int4 * 2").await.unwrap();
    let other = std::sync::Arc::new(other);
    let mut sent = tokio::task::JoinSet::new();
    for number in 0..1000_i32 {
        let (other, statement) = (std::sync::Arc::clone(&other), statement.clone());
        sent.spawn(async move {
            (number, other.query_one(&statement, &[&number]).await.unwrap().get::<_, i32>(0))
        });
    }
    while let Some(answer) = sent.join_next().await {
        let (number, twice) = answer.unwrap();
        assert_eq!(twice, number * 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    // given a client without a password that sends everything it has to say at once and closes its writing half
    let branch = Branch::start();
    let seat = Seat::with(&branch, &[("POSTGRES_HOST_AUTH_METHOD", "trust")]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", seat.port)).await.unwrap();
    stream.write_all(b"\0\0\0\x13\0\x03\0\0user\0shop\0\0").await.unwrap();
    stream.write_all(b"Q\0\0\0\x28SELECT 'late', pg_sleep(0.2)::text;\0").await.unwrap();
    stream.shutdown().await.unwrap();
    // then the answer comes although it took its time, and the end after it
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.windows(4).any(|bytes| bytes == b"late"), "{}", String::from_utf8_lossy(&answer));
    wait("the session to end", || (branch.sql(SESSIONS) == "0").then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connect_at_once() {
    let branch = Branch::start();
    // Without a password: five hundred proofs of one, by a client that is not optimised, take this test's machine a minute.
    let seat = Seat::with(&branch, &[("POSTGRES_HOST_AUTH_METHOD", "trust")]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let target = seat.target();
        clients.spawn(async move {
            let (client, connection) = target.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            assert_eq!(client.query_one("SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
            client
        });
    }
    let mut open = Vec::new();
    while let Some(client) = clients.join_next().await {
        open.push(client.unwrap());
    }
    // all of them at one time, and none left when they go
    assert_eq!(branch.sql(SESSIONS), "500");
    drop(open);
    wait("the sessions to end", || (branch.sql(SESSIONS) == "0").then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_sides_end_is_the_others() {
    let mut branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    // a client that vanishes leaves no session
    let client = connect(&seat).await;
    client.simple_query("SELECT 1").await.unwrap();
    assert_eq!(branch.sql(SESSIONS), "1");
    drop(client);
    wait("the session to end", || (branch.sql(SESSIONS) == "0").then_some(()));
    // a session that the server ends is over for its idle client, in the server's own words
    let (client, connection) = seat.target().connect(NoTls).await.unwrap();
    let ended = tokio::spawn(connection);
    client.simple_query("SELECT 1").await.unwrap();
    branch.stop();
    let error = ended.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::ADMIN_SHUTDOWN), "{error}");
    // a new client waits for the server to come back
    let target = seat.target();
    let waiting = tokio::spawn(async move { target.connect(NoTls).await.map(drop) });
    branch.run();
    waiting.await.unwrap().unwrap();
}

#[test]
fn a_client_that_is_cut_is_gone_for_a_server_that_looks_for_it_in_the_midst_of_a_query() {
    // given a server that looks, and a query that has nothing to say
    let branch = Branch::with("client_connection_check_interval = '50ms'");
    let (seat, _feed) = Seat::fed(&branch);
    for ssl in ["disable", "require"] {
        let mut client = seat.psql(&format!("sslmode={ssl}"), "SELECT pg_sleep(600)").spawn().unwrap();
        let running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        wait("the query to run", || (branch.sql(running) == "1").then_some(()));
        // when its client is killed
        client.kill().unwrap();
        client.wait().unwrap();
        // then the server's side of the session is closed, and it ends
        wait("the session to end", || (branch.sql(SESSIONS) == "0").then_some(()));
    }
}

#[test]
fn a_server_that_does_not_come_is_an_error_in_time() {
    let mut branch = Branch::start();
    let seat = Seat::with(&branch, &[("LAKEBASE_CONNECT_WAIT", "1")]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    seat.ready();
    branch.stop();
    let said = seat.failure("");
    assert!(
        said.contains("FATAL:  the database can't be reached") && said.contains("Connection refused"),
        "{said}"
    );
    assert!(
        said.contains(&format!("the Lakebase branch at localhost:{} does not answer", branch.port)),
        "{said}"
    );
    // and one that has no address
    let seat =
        Seat::with(&branch, &[("LAKEBASE_UPSTREAM", "nowhere.invalid"), ("LAKEBASE_CONNECT_WAIT", "1")]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    let said = seat.failure("");
    assert!(
        said.contains("the database's host name can't be resolved")
            || said.contains("the database can't be reached"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_ends_within_a_second_whatever_is_open() {
    // given a session, a client in the middle of its login, and a feed
    let branch = Branch::start();
    let (seat, mut feed) = Seat::fed(&branch);
    let client = connect(&seat).await;
    client.simple_query("SELECT 1").await.unwrap();
    let mut half = std::net::TcpStream::connect(("127.0.0.1", seat.port)).unwrap();
    half.write_all(b"\0\0").unwrap();
    // when it is told to stop
    let (status, took) = seat.terminate();
    // then it says so with its exit code, and the feed ends with it
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(feed.end().code(), Some(0));
    wait("the session to end", || (branch.sql(SESSIONS) == "0").then_some(()));
}
