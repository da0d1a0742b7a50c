//! Branches: copies of a running, written-to parent; their isolation and their end.

mod common;

use common::{Server, TTL, wait};
use serde_json::{Value, json};

/// Writes pairs of rows, one transaction each, until it is killed.
const WRITER: &str =
    "DO $$ BEGIN LOOP INSERT INTO a DEFAULT VALUES; INSERT INTO b DEFAULT VALUES; COMMIT; END LOOP; END $$";

#[test]
fn a_branch_of_a_written_to_parent_is_consistent_and_separate() {
    // given a parent that a writer writes to all the time
    let server = Server::with_project();
    server.query(
        "production",
        "CREATE TABLE a (id bigserial PRIMARY KEY); CREATE TABLE b (id bigserial PRIMARY KEY)",
    );
    let mut writer = server.psql("production").spawn(WRITER);
    let count = |branch: &str| -> i64 { server.query(branch, "SELECT count(*) FROM a").parse().unwrap() };
    wait("the writer to begin", || (count("production") > 0).then_some(()));
    // when branches are made of it
    for number in 0..3 {
        let before = count("production");
        let branch = format!("dev-{number}");
        let made = server.branch(&branch);
        // then each holds whole transactions only, none of those committed before is missing, and it stands still
        assert_eq!(made["status"]["current_state"], "READY");
        assert!(made["status"]["source_branch_lsn"].as_str().unwrap().contains('/'));
        let (rows, pairs) =
            (count(&branch), server.query(&branch, "SELECT count(*) FROM a FULL JOIN b USING (id)"));
        assert!(rows >= before, "{rows} rows in the branch, {before} in the parent before");
        assert_eq!(server.query(&branch, "SELECT count(*) FROM b"), rows.to_string());
        assert!(pairs.parse::<i64>().unwrap() >= rows);
        assert_eq!(count(&branch), rows);
    }
    let during = count("production");
    wait("the writer to go on", || (count("production") > during).then_some(()));
    writer.kill().unwrap();
    writer.wait().unwrap();
    // and what happens in a branch stays there
    server.query("dev-0", "DROP TABLE b; UPDATE a SET id = -id");
    assert_eq!(server.query("production", "SELECT count(*) FROM a WHERE id < 0"), "0");
    assert_eq!(server.query("dev-1", "SELECT count(*) > 0 FROM b"), "t");
    // and the copy left nothing on the parent
    assert_eq!(server.query("production", "SELECT count(*) FROM pg_replication_slots"), "0");
    // and every index of a branch fits its table
    assert_eq!(server.query("dev-2", "SELECT count(*) FROM a WHERE id = (SELECT max(id) FROM a)"), "1");
}

#[test]
fn creation_is_an_operation_that_begins_with_init() {
    let server = Server::with_project();
    let (status, operation) =
        server.call("POST", "/projects/shop/branches?branch_id=dev", &json!({"spec": {"ttl": TTL}}));
    assert_eq!((status, &operation["done"]), (200, &json!(false)));
    assert_eq!(server.get("/projects/shop/branches/dev")["status"]["current_state"], "INIT");
    let ended = server.wait_for(operation["name"].as_str().unwrap());
    assert_eq!(ended["response"]["status"]["current_state"], "READY");
    assert_eq!(server.get("/projects/shop/branches/dev")["status"]["current_state"], "READY");
}

#[test]
fn an_expired_branch_goes_with_its_data() {
    // given a branch that lives an hour
    let server = Server::with_project();
    let branch = server.branch("dev");
    let (folder, port) = (server.folder(&branch), server.port("dev"));
    let socket = server.home().join("run").join(branch["uid"].as_str().unwrap().rsplit('-').next().unwrap());
    assert!(folder.join("data/PG_VERSION").exists() && socket.exists());
    server.skew(3590);
    assert_eq!(server.query("dev", "SELECT 1"), "1");
    // when its time has come
    server.skew(3601);
    wait("the branch to go", || {
        (server.call("GET", "/projects/shop/branches/dev", &Value::Null).0 == 404).then_some(())
    });
    // then data, socket and port are gone
    assert!(!folder.exists() && !socket.exists());
    wait("the port to be closed", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
    });
    // and its parent is not
    assert_eq!(server.query("production", "SELECT 1"), "1");
}

#[test]
fn an_expiry_is_extended_by_expire_time_and_a_parent_gets_none() {
    let server = Server::with_project();
    let branch = server.branch("dev");
    let later = "2999-01-01T00:00:00Z";
    let path = "/projects/shop/branches/dev?update_mask=spec.expiration";
    let (_, error) = server.refused("PATCH", path, &json!({"spec": {"expire_time": later}}));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("expiration time exceeds the maximum expiration time [TraceId: ")
    );
    // `ttl` counts from the creation
    let same = server.operate("PATCH", path, &json!({"spec": {"ttl": TTL}}));
    assert_eq!(same["status"]["expire_time"], branch["status"]["expire_time"]);
    let longer = server.operate("PATCH", path, &json!({"spec": {"ttl": "7200s"}}));
    assert!(longer["status"]["expire_time"].as_str() > branch["status"]["expire_time"].as_str());
    let never = server.operate("PATCH", path, &json!({"spec": {"no_expiry": true}}));
    assert!(never["status"].get("expire_time").is_none());
    // a branch without expiry can be a parent, and then can't get one
    server.create(
        "/projects/shop/branches?branch_id=child",
        json!({"spec": {"ttl": TTL, "source_branch": "projects/shop/branches/dev"}}),
    );
    for (branch, word) in [("dev", "parent"), ("production", "default")] {
        let path = format!("/projects/shop/branches/{branch}?update_mask=spec.expiration");
        let (status, error) = server.refused("PATCH", &path, &json!({"spec": {"ttl": "7200s"}}));
        assert_eq!(status, 400);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(server.refused("DELETE", "/projects/shop/branches/dev", &Value::Null).0, 400);
}

#[test]
fn a_branch_deleted_while_it_is_made_is_gone_for_good() {
    let server = Server::with_project();
    let (_, creation) =
        server.call("POST", "/projects/shop/branches?branch_id=dev", &json!({"spec": {"ttl": TTL}}));
    let uid = server.get("/projects/shop/branches/dev")["uid"].as_str().unwrap().to_owned();
    // when it is deleted at once
    server.operate("DELETE", "/projects/shop/branches/dev?purge=true", &Value::Null);
    // then it is gone, its creation has ended in an error, and nothing is left
    assert_eq!(server.call("GET", "/projects/shop/branches/dev", &Value::Null).0, 404);
    assert_eq!(server.wait_for(creation["name"].as_str().unwrap())["error"]["error_code"], "ABORTED");
    let left: Vec<_> = std::fs::read_dir(server.home().join("branches")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_str().unwrap().starts_with(&uid)), "{left:?}");
    // and its name is free again
    server.branch("dev");
}

#[test]
fn a_soft_deleted_branch_is_recovered_with_its_data() {
    let server = Server::with_project();
    server.branch("dev");
    server.query("dev", "CREATE TABLE kept AS SELECT 42 AS answer");
    // when it is deleted without purging
    server.operate("DELETE", "/projects/shop/branches/dev", &Value::Null);
    let deleted = server.get("/projects/shop/branches/dev");
    assert_eq!(deleted["status"]["current_state"], "DELETED");
    assert!(deleted["status"]["purge_time"].is_string());
    let names = |path: &str| server.get(path)["branches"].as_array().unwrap().len();
    assert_eq!(
        (names("/projects/shop/branches"), names("/projects/shop/branches?show_deleted=true")),
        (1, 2)
    );
    // then nobody can connect
    let endpoint = json!({"endpoint": "projects/shop/branches/dev/endpoints/primary"});
    assert_eq!(server.refused("POST", "/credentials", &endpoint).0, 404);
    // and undeleting brings everything back
    server.create("/projects/shop/branches/dev/undelete", json!({}));
    assert_eq!(server.query("dev", "SELECT answer FROM kept"), "42");
    // purging does not
    server.operate("DELETE", "/projects/shop/branches/dev?purge=true", &Value::Null);
    assert_eq!(server.refused("POST", "/projects/shop/branches/dev/undelete", &json!({})).0, 404);
}
