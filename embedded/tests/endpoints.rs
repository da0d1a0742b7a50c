//! What an endpoint does by the clock and under load: tokens that end, engines that sleep and wake, crowds, passwords.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{IDENTITY, Server, wait};
use serde_json::{Value, json};

const REFUSED: &str = "FATAL:  OAuth: User is not authorized";
const PRODUCTION: &str = "projects/shop/branches/production/endpoints/primary";

/// The state of production's endpoint.
fn state(server: &Server) -> Value {
    server.get(&format!("/{PRODUCTION}"))["status"]["current_state"].clone()
}

#[test]
fn a_session_outlives_its_token_and_a_new_one_does_not_begin_with_it() {
    // given a session that began in time
    let server = Server::with_project();
    let psql = server.psql("production");
    let mut session = psql.command("").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(session.stdout.take().unwrap()).lines();
    let mut ask = |number: u32| {
        writeln!(session.stdin.as_mut().unwrap(), "SELECT {number};").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert_eq!(ask(1), "1");
    // when the clock passes the end of its token
    server.skew(3000);
    assert_eq!(psql.query("SELECT 1"), "1", "ten minutes before its end");
    server.skew(3601);
    // then it goes on, a login with the token is refused, and one with a new token is not
    assert!(psql.failure("SELECT 1").contains(REFUSED));
    assert_eq!(ask(2), "2");
    assert_eq!(server.query("production", "SELECT 3"), "3");
    // and the clock can go back
    server.skew(0);
    assert_eq!(psql.query("SELECT 4"), "4");
    drop(session.stdin.take());
    assert!(session.wait().unwrap().success());
}

#[test]
fn the_clock_is_moved_by_whoever_has_the_token_and_within_reason() {
    let server = Server::with_project();
    assert_eq!(server.request("PATCH", "/embedded/clock", None, &json!({"skew_seconds": 1})).0, 401);
    for bad in [json!({}), json!({"skew_seconds": "1"}), json!({"skew_seconds": i64::MAX})] {
        assert_eq!(server.control("PATCH", "/embedded/clock", &bad).0, 400, "{bad}");
    }
    let (status, clock) = server.control("PATCH", "/embedded/clock", &json!({"skew_seconds": -86_400}));
    assert_eq!((status, &clock["skew_seconds"]), (200, &json!(-86_400)));
    assert_eq!(server.control("GET", "/embedded/clock", &Value::Null).1["skew_seconds"], -86_400);
}

#[test]
fn credentials_live_as_short_as_a_setting_says() {
    // given a server whose tokens live three seconds
    let mut server = Server::stopped();
    server.set("LAKEBASE_EMBEDDED_TOKEN_TTL", "3");
    server.start_again();
    server.create("/projects?project_id=shop", json!({"spec": {}}));
    // then a client that asks for the API's shortest gets less, and is told so
    let now = |server: &Server| -> jiff::Timestamp {
        server.control("GET", "/embedded/clock", &Value::Null).1["now"].as_str().unwrap().parse().unwrap()
    };
    let (status, body) = server.call("POST", "/credentials", &json!({"endpoint": PRODUCTION, "ttl": "300s"}));
    assert_eq!(status, 200, "{body}");
    let ends: jiff::Timestamp = body["expire_time"].as_str().unwrap().parse().unwrap();
    let left = ends.duration_since(now(&server)).as_secs();
    assert!((0..=4).contains(&left), "{left}");
    // and it is good until then and no longer
    let psql = server.psql("production");
    assert_eq!(psql.query("SELECT 1"), "1");
    server.skew(5);
    assert!(psql.failure("SELECT 1").contains(REFUSED));
    // and what the API refuses stays refused
    assert_eq!(server.call("POST", "/credentials", &json!({"endpoint": PRODUCTION, "ttl": "3s"})).0, 400);
    server.run(&["stop"]);
    server.set("LAKEBASE_EMBEDDED_TOKEN_TTL", "0");
    assert!(String::from_utf8_lossy(&server.run(&["start"]).stderr).contains("Setting"));
}

#[test]
fn an_endpoint_is_suspended_on_demand_and_wakes_under_its_client() {
    // given an endpoint with a session
    let server = Server::with_project();
    let psql = server.psql("production");
    psql.query("CREATE TABLE kept AS SELECT 42 AS answer");
    let sleeper = psql.spawn("SELECT pg_sleep(600)");
    wait("the session to begin", || {
        (psql.query("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'") == "1")
            .then_some(())
    });
    // when it is suspended
    let (status, endpoint) = server.control("POST", "/embedded/suspend", &json!({"endpoint": PRODUCTION}));
    // then it is idle and its session has ended
    assert_eq!((status, &endpoint["status"]["current_state"]), (200, &json!("IDLE")), "{endpoint}");
    assert!(!sleeper.wait_with_output().unwrap().status.success());
    assert_eq!(state(&server), "IDLE");
    // and a crowd that comes while it wakes gets in, all of it
    let crowd: Vec<_> = (0..10).map(|_| psql.spawn("SELECT answer FROM kept")).collect();
    for client in crowd {
        let output = client.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "{output:?}");
    }
    assert_eq!(state(&server), "ACTIVE");
    // and nothing but an endpoint can be suspended
    assert_eq!(server.control("POST", "/embedded/suspend", &json!({})).0, 400);
    let nowhere = json!({"endpoint": "projects/shop/branches/production/endpoints/nowhere"});
    assert_eq!(server.control("POST", "/embedded/suspend", &nowhere).0, 404);
}

#[test]
fn an_endpoint_without_sessions_is_suspended_in_its_time() {
    // given an endpoint with a session, and one that is never suspended
    let server = Server::with_project();
    server.create("/projects/shop/branches?branch_id=dev", json!({"spec": {"no_expiry": true}}));
    let awake = "/projects/shop/branches/dev/endpoints/primary";
    let spec = json!({"spec": {"no_suspension": true}});
    server.operate("PATCH", &format!("{awake}?update_mask=spec.suspension"), &spec);
    let psql = server.psql("production");
    let mut session = psql.command("").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(session.stdout.take().unwrap()).lines();
    writeln!(session.stdin.as_mut().unwrap(), "SELECT 1;").unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "1");
    // when hours pass, it stays, for it is used
    server.skew(7200);
    server.query("dev", "SELECT 1");
    assert_eq!(state(&server), "ACTIVE");
    writeln!(session.stdin.as_mut().unwrap(), "SELECT 2;").unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "2");
    // when nobody has used it for five minutes more
    drop(session.stdin.take());
    assert!(session.wait().unwrap().success());
    let mut ahead = 7200;
    wait("it to be suspended", || {
        // Its time begins when the server has seen the session's end.
        ahead += 301;
        server.skew(ahead);
        (state(&server) == "IDLE").then_some(())
    });
    // then the other one is not, and a login wakes it
    assert_eq!(server.get(awake)["status"]["current_state"], "ACTIVE");
    assert_eq!(server.query("production", "SELECT 3"), "3");
    // and a branch can be made of a parent that sleeps
    server.control("POST", "/embedded/suspend", &json!({"endpoint": PRODUCTION}));
    server.branch("dev-2");
}

#[test]
fn a_role_with_a_password_of_its_own_logs_in_where_the_project_allows_it() {
    // given a role with native login
    let server = Server::with_project();
    let roles = "/projects/shop/branches/production/roles";
    let spec = json!({"spec": {"postgres_role": "app_user", "auth_method": "PG_PASSWORD_SCRAM_SHA_256"}});
    let role = server.create(&format!("{roles}?role_id=app-user"), spec);
    assert_eq!(role["status"]["auth_method"], "PG_PASSWORD_SCRAM_SHA_256");
    let (status, revealed) = server.call("POST", &format!("{roles}/app-user/password"), &json!({}));
    assert_eq!(status, 200, "{revealed}");
    let mut psql = server.psql("production");
    psql.user = "app_user".into();
    psql.password = revealed["password"].as_str().unwrap().to_owned();
    // then it is refused as long as the project does not allow it
    assert!(psql.failure("SELECT 1").contains(REFUSED));
    let allow = json!({"spec": {"enable_pg_native_login": true}});
    server.operate("PATCH", "/projects/shop?update_mask=spec.enable_pg_native_login", &allow);
    assert_eq!(psql.query("SELECT current_user"), "app_user");
    // and it gets in while the endpoint sleeps, at any time, and into branches made of this one
    server.control("POST", "/embedded/suspend", &json!({"endpoint": PRODUCTION}));
    server.skew(86_400);
    assert_eq!(psql.query("SELECT 1"), "1");
    server.branch("dev");
    let mut branch = psql.clone();
    branch.port = server.port("dev");
    assert_eq!(branch.query("SELECT 1"), "1");
    // and a wrong password, an identity's name with this password, and a changed password are what they are
    let mut wrong = psql.clone();
    wrong.password.push('x');
    assert!(wrong.failure("SELECT 1").contains(REFUSED));
    wrong = psql.clone();
    wrong.user = IDENTITY.into();
    assert!(wrong.failure("SELECT 1").contains(REFUSED));
    server.query("production", "ALTER ROLE app_user PASSWORD 'another one'");
    assert!(psql.failure("SELECT 1").contains(REFUSED));
    psql.password = "another one".into();
    assert_eq!(psql.query("SELECT 1"), "1");
    assert!(!server.log().contains(revealed["password"].as_str().unwrap()));
}

#[test]
fn five_hundred_connections_at_once_are_all_served() {
    let server = Server::with_project();
    let port = server.port("production");
    // given five hundred clients that connect at one moment, none of which speaks yet
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut streams: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..10).map(|_| scope.spawn(|| (0..50).map(|_| connect()).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // then the door hears each of them: a request for TLS is answered
    for stream in &mut streams {
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    }
    for mut stream in &streams {
        let mut answer = [0];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        assert_eq!(&answer, b"S");
    }
    // and one more client gets in while they stay, here and at another door
    assert_eq!(server.query("production", "SELECT 1"), "1");
    server.branch("dev");
    assert_eq!(server.query("dev", "SELECT 1"), "1");
}
