//! `doctor` finds what is wrong before anything fails, and says what to do about it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::{Lab, Project, Ran};
use serde_json::{Value, json};

const COMPOSE: &str = "services:\n  postgres:\n    image: postgres:17\n  app:\n    image: app\n    environment:\n      DATABASE_URL: x\n";
const CONFIG: &str = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\n";
const UNWELL: i32 = 94;

fn project(lab: &Lab) -> Project<'_> {
    let files = [("compose.yaml", COMPOSE), ("lakebase.config", CONFIG), (".gitignore", ".env.lakebase\n")];
    lab.project("shop", &files)
}

/// What `doctor --json` found.
struct Found {
    ran: Ran,
    checks: BTreeMap<String, Value>,
}

impl Found {
    /// Runs the command, which must end with the code that belongs to its findings.
    #[track_caller]
    fn by(command: &mut Command) -> Self {
        let ran = Ran::of(command);
        let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:#?}"));
        let checks = document["checks"].as_array().unwrap().iter();
        let checks: BTreeMap<_, _> =
            checks.map(|check| (check["id"].as_str().unwrap().to_owned(), check.clone())).collect();
        let has_failed = checks.values().any(|check| check["status"] == "fail");
        assert_eq!(document["healthy"], !has_failed);
        assert_eq!(ran.code, Some(if has_failed { UNWELL } else { 0 }), "{ran:#?}");
        Self { ran, checks }
    }

    /// The same with `docker compose lakebase`.
    #[track_caller]
    fn of(project: &Project<'_>) -> Self {
        Self::by(&mut project.command("docker", ["compose", "lakebase", "doctor", "--json"]))
    }

    #[track_caller]
    fn status(&self, id: &str) -> &str {
        let check = self.checks.get(id).unwrap_or_else(|| panic!("no {id}: {:#?}", self.ran));
        check["status"].as_str().unwrap()
    }

    /// The check must have failed, and say each of these, in what is wrong or in what to do.
    #[track_caller]
    fn fails(&self, id: &str, says: &[&str]) {
        assert_eq!(self.status(id), "fail", "{}: {:#?}", id, self.ran);
        let text = self.checks[id].to_string();
        for words in says {
            assert!(text.contains(words), "{id} lacks {words:?}: {text}");
        }
        assert!(!self.checks[id]["cure"].as_array().unwrap().is_empty(), "{id} has no cure: {text}");
    }

    #[track_caller]
    fn are(&self, status: &str, ids: &[&str]) {
        for id in ids {
            assert_eq!(self.status(id), status, "{id}: {:#?}", self.ran);
        }
    }
}

/// What stands behind the workspace.
const INSIDE: [&str; 9] = [
    "project.exists",
    "project.rights",
    "project.slots",
    "project.parent",
    "branch.state",
    "branch.endpoint",
    "database.login",
    "database.role",
    "database.ownership",
];

#[test]
fn a_healthy_machine_has_nothing_to_say_but_ok() {
    // given a project whose branch is not made yet
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("init").ok();
    // when doctor looks, then nothing fails, and what needs a branch waits for it
    let found = Found::of(&project);
    found.are("ok", &["branch.state", "project.slots", "doors.compose", "gateway.image", "agent"]);
    found.are("skip", &["branch.endpoint", "database.login", "database.ownership"]);
    assert!(!project.has_branch(), "doctor makes no branch");
    // and the parent is read when that is asked for
    let mut parent = project.command("cargo", ["lakebase", "doctor", "--json", "--parent"]);
    Found::by(&mut parent).are("ok", &["database.login", "database.ownership", "doors.compose"]);

    // given the branch, then every line is `ok`, for people and for machines, under both faces
    project.cargo("env").ok();
    let found = Found::of(&project);
    let ids: Vec<&str> = found.checks.keys().map(String::as_str).collect();
    found.are("ok", &ids);
    let what = |id: &str| found.checks[id]["what"].as_str().unwrap();
    assert!(what("git.user").contains("Ada Lovelace <ada@example.com>"));
    assert!(what("config.project-name").contains("lakebase.config"));
    assert!(what("config.ttl").contains("(default)"));
    assert!(what("credential.source").contains("embedded Lakebase"));
    assert!(what("project.slots").starts_with("2 of 10"));
    for ran in [project.lakebase("doctor").ok(), project.cargo("doctor").ok()] {
        assert!(ran.stdout.lines().all(|line| line.starts_with("ok    ")), "{ran:#?}");
        assert!(!ran.all().contains('\u{1b}'), "no colours without a terminal: {ran:#?}");
        assert!(!ran.all().contains(&lab.token()));
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn what_is_missing_of_git_is_told_with_the_rest() {
    let lab = Lab::new();
    let project = project(&lab);
    fs::write(lab.path("home/.gitconfig"), "[user]\n\temail = ada@example.com\n").unwrap();
    let found = Found::of(&project);
    found.fails("git.user", &["git config --global user.name"]);
    // One failure hides no other: the embedded Lakebase is stopped, too.
    found.fails("credential.source", &["not running", "embedded start"]);
    found.are("skip", &INSIDE);
    found.are("ok", &["git.branch", "docker.engine", "compose.version"]);

    lab.git_user("Ada Lovelace", "ada@example.com");
    project.run("git", ["checkout", "--quiet", "--detach"]).ok();
    Found::of(&project).fails("git.branch", &["detached", "git switch"]);

    project.write(".env.lakebase", "# Somebody's\n");
    project.write(".gitignore", "");
    Found::of(&project).fails("git.env-file", &[".gitignore"]);

    fs::remove_dir_all(project.folder.join(".git")).unwrap();
    let found = Found::of(&project);
    found.fails("git.repository", &["git init"]);
    found.are("skip", &["git.user", "git.branch", "git.env-file"]);
}

#[test]
fn hostile_words_drive_no_terminal() {
    let lab = Lab::new();
    let project = project(&lab);
    lab.git_user("Ada \u{1b}[2J\u{9b}31m\u{7f}", "ada@example.com");
    for ran in [project.lakebase("doctor"), project.lakebase("doctor --json")] {
        assert!(ran.stdout.contains("Ada"), "{ran:#?}");
        assert!(!ran.all().chars().any(|c| c.is_control() && c != '\n'), "{ran:#?}");
    }
}

#[test]
fn docker_compose_and_the_doors_are_told_apart() {
    let lab = Lab::new();
    let project = project(&lab);
    // The engine is stopped.
    let mut command = project.command("docker", ["compose", "lakebase", "doctor", "--json"]);
    let found = Found::by(command.env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    found.fails("docker.engine", &["/nowhere/docker.sock"]);
    found.are("ok", &["docker.cli", "compose.version", "doors.compose", "doors.real", "doors.plugin"]);
    // For the cargo face that is a warning: `cargo lakebase run` does without.
    let mut command = project.command("cargo", ["lakebase", "doctor", "--json"]);
    let found = Found::by(command.env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    found.are("warn", &["docker.engine"]);
    found.are("ok", &["doors.compose"]);

    // The database's service can't be told.
    project.write("compose.yaml", "services:\n  app:\n    image: app\n");
    Found::of(&project).fails("compose.model", &["LAKEBASE_DATABASE_SERVICE"]);

    // Compose is too old.
    let old = lab.path("docker/cli-plugins/docker-compose");
    fs::write(&old, "#!/bin/sh\necho 2.23.3\n").unwrap();
    fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
    let direct = || project.command("docker-compose-lakebase", ["doctor", "--json"]);
    Found::by(&mut direct()).fails("compose.version", &["2.23.3", "2.24"]);

    // Another Compose stands before the door; then there is no door.
    let doors = lab.path("doors");
    let before = json!({"cliPluginsExtraDirs": [lab.path("docker/cli-plugins"), doors]});
    fs::write(lab.path("docker/config.json"), before.to_string()).unwrap();
    Found::by(&mut direct()).fails("doors.compose", &["stands before", "doors add"]);
    lab.run("docker-compose-lakebase", ["doors", "remove", doors.to_str().unwrap()]).ok();
    Found::by(&mut direct()).fails("doors.compose", &["no front door", "install.sh"]);
    let mut cargo = project.command("cargo", ["lakebase", "doctor", "--json"]);
    Found::by(&mut cargo).are("warn", &["doors.compose"]);

    // A program of another version, or of somebody else's.
    fs::remove_file(lab.bin.join("cargo-lakebase")).unwrap();
    fs::write(lab.bin.join("cargo-lakebase"), "#!/bin/sh\necho cargo lakebase 0.0.1\n").unwrap();
    fs::set_permissions(lab.bin.join("cargo-lakebase"), PermissionsExt::from_mode(0o755)).unwrap();
    Found::by(&mut direct()).fails("doors.cargo", &["0.0.1"]);
}

#[test]
fn what_is_wrong_with_the_configuration_is_told_at_once() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("lakebase.config", "LAKEBASE_TTL=soon\nLAKEBASE_CONNECT=sideways\n");
    let found = Found::of(&project);
    found.fails("config.project-name", &["lakebase init"]);
    found.fails("config.ttl", &["soon", "24h"]);
    found.fails("config.connect", &["sideways", "gateway"]);
    project.write("lakebase.config", CONFIG);
    project.write("src/lib.rs", "");
    let manifest = "[package]\nname = \"shop\"\n[package.metadata.lakebase]\nproject-name = \"shop\"\n";
    project.write("Cargo.toml", manifest);
    let found = Found::of(&project);
    found.fails("config.file", &["two configurations", "Cargo.toml"]);
    found.are("skip", &INSIDE);
    found.are("ok", &["git.user", "docker.engine"]);
}

#[test]
fn the_stage_at_which_the_workspace_is_lost_is_named() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("lakebase.config", "LAKEBASE_PROJECT_NAME=shop\n");
    let at = |host: &str| {
        let mut command = project.command("cargo", ["lakebase", "doctor", "--json"]);
        let found = Found::by(command.env("DATABRICKS_HOST", host).env("DATABRICKS_TOKEN", "hunter2"));
        assert!(!found.ran.all().contains("hunter2"));
        found
    };
    let stage = |host: &str, stage: &str| {
        let found = at(host);
        found.fails("host.reachable", &[]);
        assert_eq!(found.checks["host.reachable"]["data"]["stage"], stage, "{:#?}", found.ran);
        found.are("skip", &["credential.accepted", "host.clock"]);
        found.are("skip", &INSIDE);
    };
    stage("https://workspace.invalid", "dns");
    stage(&format!("https://127.0.0.1:{}", e2e::free_port()), "tcp");
    let (port, _) = server(|_| b"no TLS at all\r\n\r\n".to_vec());
    stage(&format!("https://127.0.0.1:{port}"), "tls");
    let (port, _) = server(|_| Vec::new());
    stage(&format!("http://127.0.0.1:{port}"), "http");

    // A clock that is wrong shows, whether or not the workspace takes the credential.
    let (port, _) =
        server(|_| answer("200 OK", "Sat, 01 Jan 2000 00:00:00 GMT", "{\"userName\": \"ada@example.com\"}"));
    let found = at(&format!("http://127.0.0.1:{port}"));
    found.are("ok", &["host.reachable", "credential.accepted"]);
    found.fails("host.clock", &["ahead of", "timedatectl"]);
    let (port, _) =
        server(|_| answer("403 Forbidden", "Sat, 01 Jan 2000 00:00:00 GMT", "{\"message\": \"blocked\"}"));
    let found = at(&format!("http://127.0.0.1:{port}"));
    found.fails("credential.accepted", &["blocked"]);
    found.fails("host.clock", &[]);
}

/// A server on this machine that says this to everybody.
fn server(say: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 8192];
            let count = stream.read(&mut bytes).unwrap_or(0);
            let _ = stream.write_all(&say(&String::from_utf8_lossy(&bytes[..count])));
        }
    });
    (port, serving)
}

fn answer(status: &str, date: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into()
}

#[test]
fn what_the_workspace_refuses_or_lacks_is_told_apart() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    // There is no such project.
    let found = Found::of(&project);
    found.fails("project.exists", &["there is no Lakebase project `shop`", "lakebase init"]);
    found.are("skip", &INSIDE[1..]);
    found.are("ok", &["host.reachable", "credential.accepted", "host.clock"]);

    // The token is wrong.
    project.cargo("init").ok();
    let configured = project.read("lakebase.config");
    project.write("lakebase.config", "LAKEBASE_PROJECT_NAME=shop\n");
    let mut command = project.command("docker", ["compose", "lakebase", "doctor", "--json"]);
    let found = Found::by(command.env("DATABRICKS_HOST", lab.host()).env("DATABRICKS_TOKEN", "hunter2"));
    assert!(!found.ran.all().contains("hunter2"));
    found.fails("credential.accepted", &["refused the credential", "DATABRICKS_TOKEN"]);
    found.are("ok", &["credential.source", "host.reachable"]);
    found.are("skip", &INSIDE);

    // The project is another one, or its parent branch is not there.
    project.write("lakebase.config", &configured.replace("PROJECT_ID=", "PROJECT_ID=x"));
    Found::of(&project).fails("project.exists", &["is not the one that is configured"]);
    project.write("lakebase.config", &format!("{configured}LAKEBASE_PARENT_BRANCH=prodction\n"));
    Found::of(&project).fails("project.parent", &["prodction", "there are: production"]);
    project.write("lakebase.config", &configured);

    // It is full.
    for number in 1..10 {
        let spec = json!({"spec": {"source_branch": "projects/shop/branches/production", "ttl": "3600s"}});
        lab.api("POST", &format!("projects/shop/branches?branch_id=dev-other-{number}"), &spec);
    }
    let found = Found::of(&project);
    found.fails("project.slots", &["10 of 10", "--free-slot", "--wait-slot"]);
    assert_eq!(found.checks["project.slots"]["data"]["free"], 0);
}

#[test]
fn a_limit_of_check_that_can_not_be_read_is_found_before_a_check_is() {
    // given limits that nobody can read, one that can be, and an exception without a reason
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("init").ok();
    let limits = "LAKEBASE_CHECK_MAX_STALL=fast\nLAKEBASE_CHECK_MAX_WAL=1XB\nLAKEBASE_CHECK_MAX_QUEUE=2s\n\
                  LAKEBASE_CHECK_EXCEPT='stall until 2027-01-31'\n";
    project.write("lakebase.config", &format!("{}{limits}", project.read("lakebase.config")));
    // then both faces say so, and where they come from
    for words in [["docker", "compose", "lakebase"].as_slice(), &["cargo", "lakebase"]] {
        let found = Found::by(&mut project.command(words[0], [&words[1..], &["doctor", "--json"]].concat()));
        for (id, wanted) in [("stall", "500ms"), ("wal", "500MB")] {
            found.fails(&format!("config.check-max-{id}"), &["lakebase.config", wanted]);
        }
        found.fails("config.check-except", &["lakebase.config", "the reason"]);
        found.are("ok", &["config.check-max-queue"]);
    }
}
