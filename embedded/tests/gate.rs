//! Endpoints: who gets in, and what passes.

mod common;

use std::io::{Read, Write};

use common::{Server, TTL, wait};
use serde_json::json;

const REFUSED: &str = "FATAL:  OAuth: User is not authorized";

#[test]
fn only_the_tokens_identity_with_a_token_of_this_endpoint_gets_in() {
    let server = Server::with_project();
    server.branch("dev");
    let good = server.psql("production");
    assert_eq!(good.query("SELECT current_user || session_user"), format!("{0}{0}", common::IDENTITY));
    // without TLS
    let mut plain = good.clone();
    plain.more = "sslmode=disable".into();
    assert!(plain.failure("SELECT 1").contains("sslmode=require"));
    // with another endpoint's token, a damaged one, none
    for password in [
        server.credential("dev"),
        format!("{}x", good.password),
        good.password[1..].to_owned(),
        "secret".into(),
        String::from(" "),
    ] {
        let mut other = good.clone();
        other.password = password;
        assert!(other.failure("SELECT 1").contains(REFUSED));
    }
    // as somebody else, our own superuser among them
    for user in ["postgres", "lakebase_admin", "databricks_superuser", "somebody@example.org"] {
        let mut other = good.clone();
        other.user = user.into();
        assert!(other.failure("SELECT 1").contains(REFUSED), "{user}");
    }
    // for replication
    let mut replication = good.clone();
    replication.more = "sslmode=require replication=database".into();
    assert!(replication.failure("IDENTIFY_SYSTEM").contains("replication connections are not supported"));
    // an unknown database is PostgreSQL's own error
    let mut nowhere = good.clone();
    nowhere.database = "nowhere".into();
    assert!(nowhere.failure("SELECT 1").contains("database \"nowhere\" does not exist"));
    // and no password was written down
    let log = server.log();
    assert!(
        log.contains("login refused: made for another endpoint")
            && !log.contains(&good.password)
            && !log.contains("secret"),
        "{log}"
    );
}

#[test]
fn options_large_answers_and_cancel_requests_pass() {
    let server = Server::with_project();
    let mut psql = server.psql("production");
    psql.more = "sslmode=require application_name=probe options='-c work_mem=7MB'".into();
    assert_eq!(
        psql.query("SELECT current_setting('application_name') || current_setting('work_mem')"),
        "probe7MB"
    );
    // ten megabytes in one answer
    assert_eq!(psql.query("SELECT repeat('x', 10000000)").len(), 10_000_000);
    // a COPY both ways
    assert_eq!(
        psql.query("COPY (SELECT g FROM generate_series(1, 200000) g) TO STDOUT").lines().count(),
        200_000
    );
    // Ctrl-C in psql cancels what runs
    let mut slow = psql.spawn("SELECT pg_sleep(600)");
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    wait("the slow query to run", || (psql.query(running) == "1").then_some(()));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(slow.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut said = String::new();
    slow.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    slow.wait().unwrap();
    assert!(said.contains("canceling statement due to user request"), "{said}");
    wait("the slow query to end", || (psql.query(running) == "0").then_some(()));
}

#[test]
fn a_client_that_vanishes_leaves_no_session() {
    let server = Server::with_project();
    let psql = server.psql("production");
    let mut sleeper = psql.spawn("SELECT 1 FROM pg_sleep(600)");
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND pid <> pg_backend_pid()";
    wait("the session to begin", || (psql.query(sessions) == "1").then_some(()));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    // Where PostgreSQL can't look, it notices at its next write; end the query to let it
    if !cfg!(target_os = "linux") {
        psql.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()");
    }
    wait("the session to end", || (psql.query(sessions) == "0").then_some(()));
}

#[test]
fn a_disabled_endpoint_lets_nobody_in_and_a_read_only_one_guards_against_writing() {
    let server = Server::with_project();
    let branch = server.branch("dev");
    let endpoints = "/projects/shop/branches/dev/endpoints";
    let psql = server.psql("dev");
    psql.query("CREATE TABLE t AS SELECT 1 AS one");
    // a read-only endpoint has a port and tokens of its own
    let spec = json!({"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_ONLY"}});
    let reader = server.create(&format!("{endpoints}?endpoint_id=reader"), spec);
    let host = reader["status"]["hosts"]["read_only_host"].as_str().unwrap();
    let mut read = psql.clone();
    read.port = host.rsplit(':').next().unwrap().parse().unwrap();
    assert!(read.failure("SELECT 1").contains(REFUSED));
    read.password = server.call("POST", "/credentials", &json!({"endpoint": reader["name"]})).1["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(read.query("SELECT one FROM t"), "1");
    assert!(read.failure("INSERT INTO t VALUES (2)").contains("read-only transaction"));
    // which guards against mistakes: a session can lift it, and its name alone can't
    read.more.push_str(" options='-c default_transaction_read_only=off'");
    assert!(read.failure("INSERT INTO t VALUES (2)").contains("read-only transaction"));
    read.query("BEGIN READ WRITE; INSERT INTO t VALUES (2); COMMIT");
    assert_eq!(psql.query("DELETE FROM t WHERE one = 2 RETURNING one"), "2");
    server.operate("DELETE", &format!("{endpoints}/reader"), &json!(null));
    wait("its port to close", || {
        std::net::TcpStream::connect(("127.0.0.1", read.port)).is_err().then_some(())
    });
    // a disabled one stops its PostgreSQL and refuses
    let patch = format!("{endpoints}/primary?update_mask=spec.disabled");
    server.operate("PATCH", &patch, &json!({"spec": {"disabled": true}}));
    assert!(psql.failure("SELECT 1").contains("the endpoint is disabled"));
    wait("PostgreSQL to stop", || {
        (!server.folder(&branch).join("data/postmaster.pid").exists()).then_some(())
    });
    assert_eq!(server.get(&format!("{endpoints}/primary"))["status"]["current_state"], "IDLE");
    // and an enabled one wakes under the client
    server.operate("PATCH", &patch, &json!({"spec": {"disabled": false}}));
    assert_eq!(psql.query("SELECT one FROM t"), "1");
    assert_eq!(server.get(&format!("{endpoints}/primary"))["status"]["current_state"], "ACTIVE");
}

#[test]
fn hostile_bytes_are_answered_or_dropped_and_the_door_stays_open() {
    let server = Server::with_project();
    let port = server.port("production");
    let packets: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 4],
        &[0, 0, 0, 8, 4, 210, 22, 47, 0x16, 0x03],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0],
    ];
    for packet in packets {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(packet).unwrap();
        // The door may have hung up already.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert_eq!(server.query("production", "SELECT 1"), "1");
    server.create("/projects/shop/branches?branch_id=dev", json!({"spec": {"ttl": TTL}}));
}
