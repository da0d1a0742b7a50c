//! Start, stop, crash and start again.

mod common;

use std::net::TcpListener;

use common::{Server, TTL, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_restart_keeps_state_ports_and_token() {
    let mut server = Server::with_project();
    server.branch("dev");
    server.query("dev", "CREATE TABLE kept AS SELECT 42 AS answer");
    let (branches, port) = (server.get("/projects/shop/branches"), server.port("dev"));
    let (before, psql) = (server.run(&["env"]).stdout, server.psql("dev"));
    // when server and PostgreSQLs are stopped and started
    assert!(server.run(&["stop"]).status.success());
    assert_eq!(server.run(&["env"]).status.code(), Some(1));
    server.start_again();
    // then everything is as it was, and the old credential is still good
    assert_eq!(server.get("/projects/shop/branches"), branches);
    assert_eq!((server.port("dev"), server.run(&["env"]).stdout), (port, before));
    assert_eq!(
        server.get("/projects/shop/branches/dev/endpoints/primary")["status"]["current_state"],
        "IDLE"
    );
    assert_eq!(psql.query("SELECT answer FROM kept"), "42");
}

#[test]
fn after_kill_9_the_postgres_processes_are_adopted() {
    let mut server = Server::with_project();
    let branch = server.branch("dev");
    let postgres = server.postmaster(&branch);
    server.kill();
    assert!(text(&server.run(&["status"])).starts_with("stopped"));
    server.start_again();
    assert_eq!(server.query("dev", "SELECT 1"), "1");
    assert_eq!(server.postmaster(&branch), postgres);
    // and `stop` after another one ends them, too
    server.kill();
    assert!(server.run(&["stop"]).status.success());
    assert!(!server.folder(&branch).join("data/postmaster.pid").exists());
    server.start_again();
    assert_eq!(server.query("dev", "SELECT 1"), "1");
}

#[test]
fn a_crash_while_a_branch_is_made_leaves_a_whole_branch() {
    let mut server = Server::with_project();
    server.query(
        "production",
        "CREATE TABLE t AS SELECT g, md5(g::text) AS text FROM generate_series(1, 100000) g",
    );
    for round in 0..4 {
        // given a server that is killed while it makes a branch, each time a little later
        let id = format!("dev-{round}");
        let path = format!("/projects/shop/branches?branch_id={id}");
        let (_, creation) = server.call("POST", &path, &json!({"spec": {"ttl": TTL}}));
        let uid = server.get(&format!("/projects/shop/branches/{id}"))["uid"].as_str().unwrap().to_owned();
        let branches = server.home().join("branches");
        match round {
            0 => {}
            1 => wait("the copy to begin", || {
                branches.join(format!("{uid}.partial/data")).exists().then_some(())
            }),
            2 => wait("the copy to grow", || {
                branches.join(format!("{uid}.partial/data/base")).exists().then_some(())
            }),
            _ => wait("the copy to be whole", || branches.join(&uid).exists().then_some(())),
        }
        server.kill();
        // when it is started again
        server.start_again();
        // then the operation ends, and the branch has everything
        let ended = server.wait_for(creation["name"].as_str().unwrap());
        assert_eq!(ended["response"]["status"]["current_state"], "READY", "{ended}\n{}", server.log());
        assert_eq!(server.query(&id, "SELECT count(*) FROM t"), "100000");
        wait("the half-made copy to be deleted", || {
            (std::fs::read_dir(&branches).unwrap().count() == round + 2).then_some(())
        });
    }
    assert_eq!(server.query("production", "SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn a_killed_postgres_comes_back_with_every_committed_row() {
    let server = Server::with_project();
    let branch = server.get("/projects/shop/branches/production");
    server.query("production", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS g");
    kill(Pid::from_raw(server.postmaster(&branch)), Signal::SIGKILL).unwrap();
    // a login starts it again; one that comes before the last process of the old one has ended waits for that
    let psql = server.psql("production");
    assert_eq!(
        wait("PostgreSQL to be back", || {
            let out = psql.spawn("SELECT count(*) FROM t").wait_with_output().unwrap();
            out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
        })
        .trim(),
        "1000"
    );
    // and a branch can be made of it
    server.branch("dev");
}

#[test]
fn start_and_stop_can_be_repeated_and_say_so() {
    let mut server = Server::stopped();
    assert!(text(&server.run(&["stop"])).contains("was not running"));
    let stopped = server.run(&["env"]);
    assert!(
        !stopped.status.success() && text(&stopped).contains("cargo lakebase embedded start"),
        "{stopped:?}"
    );
    server.start_again();
    let again = server.run(&["start"]);
    assert!(again.status.success() && text(&again).contains("runs already"), "{again:?}");
    let status: Value = serde_json::from_slice(&server.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["running"], true);
    // two at the same time end in one server
    assert!(server.run(&["stop"]).status.success());
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| server.run(&["start"]))).collect();
        for start in starts {
            let output = start.join().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    });
}

#[test]
fn a_taken_port_a_missing_postgres_and_a_damaged_state_are_told_apart() {
    let mut server = Server::stopped();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = server.run(&["start", "--port", &port]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("PortTaken")
            && text(&output).contains(&port)
            && text(&output).contains("--port")
    );
    // a setting that can't be used is one, and so is a missing PostgreSQL
    server.set("LAKEBASE_EMBEDDED_CLOCK_SKEW", "soon");
    let output = server.run(&["start", "--port", "0"]);
    assert!(!output.status.success() && text(&output).contains("Setting"), "{output:?}");
    server.set("LAKEBASE_EMBEDDED_CLOCK_SKEW", "0");
    let output = server.run(&["start", "--port", "0", "--postgres-bin", "/nowhere"]);
    assert!(!output.status.success() && text(&output).contains("NoPostgres"), "{output:?}");
    std::fs::write(server.home().join("state.json"), "{\"format\": 1, \"projects\": 7}").unwrap();
    let output = server.run(&["start", "--port", "0"]);
    assert!(!output.status.success() && text(&output).contains("can't be understood"), "{output:?}");
    assert!(std::fs::read_to_string(server.home().join("state.json")).unwrap().contains("7"));
    // a reset is asked for, or confirmed
    let output = server.run(&["reset"]);
    assert!(!output.status.success() && text(&output).contains("--yes"), "{output:?}");
    assert!(text(&output).contains("Guarded"), "{output:?}");
    assert!(server.home().join("state.json").exists());
}

#[test]
fn a_reset_deletes_everything_of_ours_and_nothing_else() {
    let mut server = Server::with_project();
    let token = server.run(&["env"]).stdout;
    // given a home in which its user keeps other things, also where ours are
    let precious =
        ["precious", "branches/mine/data/x", "branches/br-my-own-branch/x", "run/mine/x", "run/pid"];
    for file in precious {
        let path = server.home().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    assert!(server.run(&["stop"]).status.success());
    server.start_again();
    assert_eq!(server.query("production", "SELECT 1"), "1");
    assert!(server.run(&["reset", "--yes"]).status.success());
    let names = |folder: &str| {
        let entries = std::fs::read_dir(server.home().join(folder)).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("."), ["branches", "precious", "run"]);
    assert_eq!((names("branches").len(), names("run").len()), (2, 2));
    assert!(precious.iter().all(|file| server.home().join(file).exists()));
    // and a home that holds nothing else goes, too
    for name in names(".") {
        let path = server.home().join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    assert!(server.run(&["start", "--port", "0"]).status.success());
    assert!(server.run(&["reset", "--yes"]).status.success());
    assert!(!server.home().exists());
    assert!(text(&server.run(&["reset", "--yes"])).contains("nothing to delete"));
    // and a new one begins with nothing of the old
    std::fs::create_dir(server.home()).unwrap();
    assert!(server.run(&["start", "--port", "0"]).status.success());
    server.start_again();
    assert_eq!(server.get("/projects")["projects"], json!([]));
    assert_ne!(server.run(&["env"]).stdout, token);
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_keeps_nothing_open_that_its_caller_had() {
    // given a caller with a file open that a child inherits
    let server = Server::stopped();
    let file = server.home().join("callers");
    let output = std::process::Command::new("sh")
        .args(["-c", "exec \"$0\" embedded start --port 0 9>\"$1\""])
        .args([common::program(), file.clone()])
        .env("LAKEBASE_EMBEDDED_HOME", server.home())
        .env("LAKEBASE_EMBEDDED_BIND", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // then the server has its own files open, and not that one
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect();
    assert!(open.contains(&server.home().join("server.log")), "{open:?}");
    assert!(file.exists() && !open.contains(&file), "{open:?}");
}

#[test]
fn a_state_that_cannot_be_written_is_tried_again_without_haste() {
    // given a branch whose time comes while the state can't be written
    let server = Server::with_project();
    server.branch("dev");
    let (file, kept) = (server.home().join("state.json"), server.home().join("state.kept"));
    std::fs::rename(&file, &kept).unwrap();
    std::fs::create_dir(&file).unwrap();
    server.skew(3601);
    // then the server says so, a second apart, and goes on
    let times = wait("two complaints", || {
        let log = server.log();
        let complaints = log.lines().filter(|line| line.contains("can't note expired branches"));
        let times: Vec<jiff::Timestamp> =
            complaints.filter_map(|line| line.split_once(' ')?.0.parse().ok()).collect();
        (times.len() > 1).then_some(times)
    });
    assert!(times[1].duration_since(times[0]).as_millis() >= 900, "{times:?}");
    assert_eq!(server.query("production", "SELECT 1"), "1");
    // when it can be written again, what is due is done
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&kept, &file).unwrap();
    wait("the branch to go", || {
        (server.call("GET", "/projects/shop/branches/dev", &Value::Null).0 == 404).then_some(())
    });
}

#[test]
fn secrets_are_readable_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::with_project();
    for file in ["token", "signing.key", "tls.key", "state.json", "server.log"] {
        let mode = std::fs::metadata(server.home().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let token = std::fs::read_to_string(server.home().join("token")).unwrap();
    server.query("production", "SELECT 1");
    assert!(!server.log().contains(&token) && !text(&server.run(&["logs"])).contains(&token));
    // nor is it in any process's arguments
    let pid = server.pid();
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!arguments.contains(&token));
}
