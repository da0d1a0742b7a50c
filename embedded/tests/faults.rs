//! What goes wrong on demand goes wrong as it says, and nothing else does.

mod common;

use common::{IDENTITY, Server, TTL, check, wait};
use serde_json::{Value, json};

const BRANCHES: &str = "/projects/shop/branches";

/// Sets a fault as a user does.
fn fault(server: &Server, words: &str) {
    let args: Vec<&str> = ["fault", "add"].into_iter().chain(words.split(' ')).collect();
    let output = server.run(&args);
    assert!(output.status.success(), "{output:?}");
}

/// Asks for branch `id`; gives what came back.
fn create(server: &Server, id: &str) -> String {
    server.raw("POST", &format!("{BRANCHES}?branch_id={id}"), &json!({"spec": {"ttl": TTL}}))
}

fn refused(server: &Server, id: &str, ttl: &str) -> (u16, Value) {
    server.refused("POST", &format!("{BRANCHES}?branch_id={id}"), &json!({"spec": {"ttl": ttl}}))
}

/// Whether there is a branch.
fn exists(server: &Server, id: &str) -> bool {
    server.call("GET", &format!("{BRANCHES}/{id}"), &Value::Null).0 == 200
}

#[test]
fn a_call_is_dropped_or_cut_before_or_after_it_took_effect() {
    let server = Server::with_project();
    for (words, lands) in [
        ("branches.create drop", false),
        ("branches.create after drop", true),
        ("branches.create before cut", false),
        ("POST /projects/*/branches after cut", true),
    ] {
        let id = words.replace(|c: char| !c.is_ascii_lowercase(), "-").trim_matches('-').to_owned();
        // given a fault, when a branch is asked for
        fault(&server, words);
        let answer = create(&server, &id);
        // then its client gets nothing, or half of something
        if words.contains("drop") {
            assert_eq!(answer, "", "{words}");
        } else {
            let length = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole: usize = length.map_or(usize::MAX, |length| length.parse().unwrap());
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(answer.starts_with("HTTP/1.1 ") && body.len() < whole, "{words}: {answer}");
        }
        // and the branch is there where it took effect; the fault has struck once and no more
        assert_eq!(exists(&server, &id), lands, "{words}");
        if !lands {
            assert!(create(&server, &id).starts_with("HTTP/1.1 200 "), "{words}");
        }
    }
    // and the connection of another client was not concerned
    assert_eq!(server.get(BRANCHES)["branches"].as_array().unwrap().len(), 5);
}

#[test]
fn an_answer_is_an_error_or_garbage_before_or_after_the_call_took_effect() {
    let server = Server::with_project();
    let get = |words: &str| {
        fault(&server, words);
        server.raw("GET", "/projects/shop", &Value::Null)
    };
    // errors as the service says them
    let limited = get("projects.get status=429 retry-after=2");
    assert!(limited.starts_with("HTTP/1.1 429 ") && limited.contains("\r\nretry-after: 2\r\n"), "{limited}");
    for (words, status, code) in [
        ("projects.get status=500", 500, json!("INTERNAL_ERROR")),
        ("* status=503", 503, json!("TEMPORARILY_UNAVAILABLE")),
        ("projects.* status=401", 401, json!(401)),
        ("projects.get status=403", 403, json!("PERMISSION_DENIED")),
        ("*.get status=409 code=RESOURCE_CONFLICT", 409, json!("RESOURCE_CONFLICT")),
    ] {
        fault(&server, words);
        let (found, error) = server.call("GET", "/projects/shop", &Value::Null);
        assert_eq!((found, &error["error_code"]), (status, &code), "{words}");
    }
    fault(
        &server,
        "projects.get status=403 message=Source IP address: 1.2.3.4 is blocked by Databricks IP ACL",
    );
    let error = server.refused("GET", "/projects/shop", &Value::Null);
    assert_eq!(error.1["message"], "Source IP address: 1.2.3.4 is blocked by Databricks IP ACL");
    // what is no answer at all
    let html = get("projects.get garbage");
    assert!(html.starts_with("HTTP/1.1 200 ") && html.contains("<html>"), "{html}");
    let empty = get("projects.get garbage=empty");
    assert!(empty.starts_with("HTTP/1.1 200 ") && empty.ends_with("\r\n\r\n"), "{empty}");
    fault(&server, "projects.get garbage=json");
    assert_eq!(server.get("/projects/shop")["name"], 7);
    assert_eq!(server.get("/projects/shop")["name"], "projects/shop");
    // a creation that failed and one that failed for its client only; the branch's name chooses
    fault(&server, "branches.create branch=lost status=503");
    fault(&server, "branches.create branch=landed after status=500");
    for (id, status) in [("other", "200"), ("lost", "503"), ("landed", "500")] {
        assert!(create(&server, id).starts_with(&format!("HTTP/1.1 {status} ")), "{id}");
        assert_eq!(exists(&server, id), id != "lost", "{id}");
    }
    // credentials name their branch in the body
    fault(&server, "credentials.create branch=production status=500");
    wait("the branch", || exists(&server, "other").then_some(()));
    let wanted =
        |branch: &str| json!({"endpoint": format!("projects/shop/branches/{branch}/endpoints/primary")});
    assert_eq!(server.call("POST", "/credentials", &wanted("other")).0, 200);
    assert_eq!(server.call("POST", "/credentials", &wanted("production")).0, 500);
    assert_eq!(server.call("POST", "/credentials", &wanted("production")).0, 200);
}

#[test]
fn a_branch_stays_in_init_and_ignores_its_deletion_there() {
    let server = Server::with_project();
    fault(&server, "stay-in-init");
    fault(&server, "ignore-delete=init always");
    // given a branch whose data are long there
    let (_, creation) =
        server.call("POST", &format!("{BRANCHES}?branch_id=dev"), &json!({"spec": {"ttl": TTL}}));
    let uid = server.get(&format!("{BRANCHES}/dev"))["uid"].as_str().unwrap().to_owned();
    wait("its PostgreSQL", || {
        server.log().contains(&format!("branch {uid}: PostgreSQL started")).then_some(())
    });
    let state = || server.get(&format!("{BRANCHES}/dev"))["status"]["current_state"].clone();
    assert_eq!(state(), "INIT");
    // when it is deleted, then that is accepted, and it is still there
    let deletion = server.operate("DELETE", &format!("{BRANCHES}/dev?purge=true"), &Value::Null);
    assert_eq!(deletion["@type"], "type.googleapis.com/google.protobuf.Empty");
    assert_eq!(state(), "INIT");
    assert_eq!(server.get(&format!("/{}", creation["name"].as_str().unwrap()))["done"], false);
    // when the fault is lifted, then it becomes ready, and goes when it is told to
    assert!(server.run(&["fault", "clear", "1"]).status.success());
    let ended = server.wait_for(creation["name"].as_str().unwrap());
    assert_eq!(ended["response"]["status"]["current_state"], "READY");
    assert_eq!(server.query("dev", "SELECT 1"), "1");
    server.operate("DELETE", &format!("{BRANCHES}/dev?purge=true"), &Value::Null);
    assert!(!exists(&server, "dev"));
    // one that is held does not outlive a deletion that counts, nor hold up the server's end
    fault(&server, "stay-in-init times=2");
    assert!(server.run(&["fault", "clear", "2"]).status.success());
    create(&server, "one");
    server.operate("DELETE", &format!("{BRANCHES}/one?purge=true"), &Value::Null);
    create(&server, "two");
    assert!(server.run(&["stop"]).status.success());
}

#[test]
fn the_first_logins_at_a_new_branch_are_refused() {
    let server = Server::with_project();
    fault(&server, "refuse-logins=2");
    server.branch("dev");
    let psql = server.psql("dev");
    for _ in 0..2 {
        assert!(psql.failure("SELECT 1").contains("FATAL:  External authorization failed"));
    }
    assert_eq!(psql.query("SELECT 1"), "1");
    // a wrong password is another matter, and what was there before is not new
    let mut wrong = server.psql("production");
    assert_eq!(wrong.query("SELECT 1"), "1");
    wrong.password = "wrong".into();
    assert!(wrong.failure("SELECT 1").contains("OAuth: User is not authorized"));
}

#[test]
fn limits_and_spellings_are_those_that_were_set() {
    let server = Server::with_project();
    for words in
        ["max-ttl=3600", "quota=3 code=RESOURCE_EXHAUSTED status=429", "already-exists=400", "page-size=1"]
    {
        fault(&server, words);
    }
    // the longest expiry, at creation and extension
    let exceeds = "expiration time exceeds the maximum expiration time [TraceId: ";
    check(refused(&server, "dev", "3601s"), 400, "INVALID_PARAMETER_VALUE", exceeds);
    server.branch("dev");
    let patch = format!("{BRANCHES}/dev?update_mask=spec.expiration");
    check(
        server.refused("PATCH", &patch, &json!({"spec": {"ttl": "3700s"}})),
        400,
        "INVALID_PARAMETER_VALUE",
        exceeds,
    );
    // a taken id
    let spelled = "branch already exists; branch_name:\"dev\" [TraceId: ";
    check(refused(&server, "dev", TTL), 400, "BAD_REQUEST", spelled);
    check(
        server.refused("POST", "/projects?project_id=shop", &json!({})),
        400,
        "BAD_REQUEST",
        "project already exists; project_name:\"shop\" [TraceId: ",
    );
    // the quota
    server.branch("second");
    check(refused(&server, "third", TTL), 429, "RESOURCE_EXHAUSTED", "3 of 3");
    // pages of one
    let first = server.get(&format!("{BRANCHES}?page_size=50"));
    assert_eq!(first["branches"].as_array().unwrap().len(), 1);
    let token = first["next_page_token"].as_str().unwrap();
    let next = server.get(&format!("{BRANCHES}?page_token={token}"));
    assert_eq!(next["branches"][0]["branch_id"], "dev");
    // credentials that end early
    fault(&server, "expire-tokens=60");
    let endpoint = json!({"endpoint": "projects/shop/branches/dev/endpoints/primary", "ttl": "3600s"});
    let (_, credential) = server.call("POST", "/credentials", &endpoint);
    let ends: jiff::Timestamp = credential["expire_time"].as_str().unwrap().parse().unwrap();
    assert!(ends.duration_since(jiff::Timestamp::now()).as_secs() <= 61, "{credential}");
    let psql = server.psql("dev");
    server.skew(62);
    assert!(psql.failure("SELECT 1").contains("OAuth: User is not authorized"));
    server.skew(0);
    // and without the faults all is as ever
    assert!(server.run(&["fault", "clear"]).status.success());
    assert_eq!(server.get(BRANCHES)["branches"].as_array().unwrap().len(), 3);
    check(refused(&server, "dev", TTL), 409, "ALREADY_EXISTS", "branch with such id already exists");
    server.branch("third");
}

#[test]
fn a_deletion_that_is_ignored_is_accepted() {
    let server = Server::with_project();
    server.branch("dev");
    fault(&server, "ignore-delete branch=dev");
    server.operate("DELETE", &format!("{BRANCHES}/dev?purge=true"), &Value::Null);
    assert_eq!(server.query("dev", "SELECT 1"), "1");
    server.operate("DELETE", &format!("{BRANCHES}/dev?purge=true"), &Value::Null);
    assert!(!exists(&server, "dev"));
}

#[test]
fn a_clock_that_is_wrong_is_wrong_in_every_answer() {
    let server = Server::with_project();
    fault(&server, "clock-skew=7200");
    let answer = server.raw("GET", "/projects", &Value::Null);
    let date = answer.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    let ahead = date.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((7100..7300).contains(&ahead), "{answer}");
    assert!(server.run(&["fault", "clear"]).status.success());
    let answer = server.raw("GET", "/projects", &Value::Null);
    let date = answer.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    assert!(date.duration_since(jiff::Timestamp::now()).as_secs().abs() < 100, "{answer}");
}

#[test]
fn calls_are_counted_with_their_times_and_without_secrets() {
    let server = Server::with_project();
    let ada = server.add_user(&["ada@example.com"])["DATABRICKS_TOKEN"].clone();
    let last = |calls: &Value| {
        calls["calls"].as_array().unwrap().last().map_or(0, |it| it["number"].as_u64().unwrap())
    };
    let before = last(&server.control("GET", "/embedded/calls", &Value::Null).1);
    // given calls of two, one of them slow, one refused and one dropped
    fault(&server, "projects.list delay=50");
    fault(&server, "branches.list drop");
    server.get("/projects");
    server.request("GET", "/api/2.0/postgres/projects/shop?x=1", Some(&ada), &Value::Null);
    server.request("GET", "/api/2.0/preview/scim/v2/Me", Some("wrong-token"), &Value::Null);
    server.raw("GET", BRANCHES, &Value::Null);
    let password = server.credential("production");
    // when they are asked for
    let (status, calls) = server.control("GET", &format!("/embedded/calls?since={before}"), &Value::Null);
    // then each is there with name, status and who it was, and the controls are not
    assert_eq!(status, 200);
    let seen: Vec<(&str, &Value, &Value)> = calls["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["call"].as_str().unwrap(), &it["status"], &it["identity"]))
        .collect();
    let developer = json!(IDENTITY);
    let expected = [
        ("projects.list", &json!(200), &developer),
        ("projects.get", &json!(200), &json!("ada@example.com")),
        ("me.get", &json!(401), &Value::Null),
        ("branches.list", &Value::Null, &Value::Null),
        ("credentials.create", &json!(200), &developer),
        ("endpoints.get", &json!(200), &developer),
    ];
    assert_eq!(seen, expected, "{calls}");
    assert_eq!(calls["calls"][1]["query"], "x=1");
    assert_eq!(calls["calls"][0]["faults"], json!(["projects.list delay=50"]));
    // and their times: a call ends after it began, a slow one by as much as it was slowed
    for call in calls["calls"].as_array().unwrap() {
        let (start, end) = (call["start_ms"].as_f64().unwrap(), call["end_ms"].as_f64().unwrap());
        let least = if call["call"] == "projects.list" { 50.0 } else { 0.0 };
        assert!(end - start >= least && end <= calls["now_ms"].as_f64().unwrap(), "{call}");
    }
    let text = calls.to_string();
    for secret in [&ada, "wrong-token", &password] {
        assert!(!text.contains(secret));
    }
    // and they, like the faults, are for the home's own identity
    for (method, path) in [("GET", "calls"), ("GET", "faults"), ("DELETE", "faults"), ("DELETE", "faults/1")]
    {
        let path = format!("/embedded/{path}");
        assert_eq!(server.request(method, &path, Some(&ada), &Value::Null).0, 403, "{method} {path}");
        assert_eq!(server.request(method, &path, None, &Value::Null).0, 401, "{method} {path}");
    }
}

#[test]
fn faults_come_with_the_start_by_the_setting_and_at_run_time_and_never_lock_their_user_out() {
    let mut server = Server::stopped();
    // given words that mean nothing
    for args in
        [&["start", "--port", "0", "--fault", "drip"][..], &["start", "--port", "0", "--fault", "delay"]]
    {
        let output = server.run(args);
        assert!(!output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Usage") && said.contains("fault add --help"), "{said}");
    }
    server.set("LAKEBASE_EMBEDDED_FAULTS", "me.get drop; nonsense");
    let output = server.run(&["start", "--port", "0"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("`nonsense`"));
    assert_eq!(String::from_utf8_lossy(&server.run(&["fault", "list"]).stderr).matches("Stopped").count(), 1);
    // when faults are given with the start and by the setting
    server.set("LAKEBASE_EMBEDDED_FAULTS", "me.get status=500; projects.list status=503 always");
    let start = ["start", "--port", "0", "--fault", "* drop always", "--fault", "page-size=1"];
    assert!(server.run(&start).status.success());
    server.start_again();
    // then all are there, in their order
    let listed: Value = serde_json::from_slice(&server.run(&["fault", "list", "--json"]).stdout).unwrap();
    let lines: Vec<&str> =
        listed["faults"].as_array().unwrap().iter().map(|it| it["fault"].as_str().unwrap()).collect();
    assert_eq!(
        lines,
        ["me.get status=500", "projects.list status=503 always", "* drop always", "page-size=1"]
    );
    assert_eq!(server.raw("GET", "/projects/shop", &Value::Null), "");
    assert!(server.raw("GET", "/projects", &Value::Null).starts_with("HTTP/1.1 503 "));
    let text = String::from_utf8(server.run(&["fault", "list"]).stdout).unwrap();
    assert!(text.contains("3: * drop always (struck 1 times, always)"), "{text}");
    // and others are set in their place
    let (status, _) = server.control("PUT", "/embedded/faults", &json!({"faults": ["drop", "nonsense"]}));
    assert_eq!(status, 400);
    let (status, set) = server.control("PUT", "/embedded/faults", &json!({"faults": ["projects.list drop"]}));
    assert_eq!((status, set["faults"].as_array().unwrap().len()), (200, 1));
    assert_eq!(server.raw("GET", "/projects", &Value::Null), "");
    assert_eq!(server.get("/projects")["projects"], json!([]));
    // and a server that runs is told about them otherwise
    let output = server.run(&["start", "--fault", "drop"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("fault add"));
    assert!(!server.run(&["fault", "add", "nonsense"]).status.success());
    assert!(!server.run(&["fault", "clear", "77"]).status.success());
}
