//! The first login, before anything relies on a branch.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use e2e::{Lab, Project, Ran, wait_for};
use serde_json::json;

const WAITING: &str = "to take logins";
const REFUSED: &str = "External authorization failed";

fn shop<'a>(lab: &'a Lab, connect: &str) -> Project<'a> {
    let compose = "services:
  db:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: local}
    ports: [\"127.0.0.1:${TODO_PORT}:5432\"]
  app:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    entrypoint: sleep 600
    init: true
    environment: [DATABASE_URL]
";
    let config = format!(
        "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_CONNECT={connect}\nLAKEBASE_DATABASE_SERVICE=db\n"
    );
    let project = lab.project(
        "shop",
        &[("compose.yaml", compose), ("lakebase.config", &config), (".gitignore", ".lakebase\n")],
    );
    project.cargo("init").ok();
    project
}

fn fault(lab: &Lab, line: &str) {
    lab.call("POST", "/embedded/faults", &json!({"fault": line}));
}

fn endpoint(lab: &Lab, project: &Project<'_>) -> serde_json::Value {
    let branch = project.status()["branch_path"].as_str().unwrap().to_owned();
    lab.ask("GET", &format!("/api/2.0/postgres/{branch}/endpoints/primary"), None).body
}

#[test]
fn a_new_branch_that_refuses_its_first_logins_is_waited_for() {
    let lab = Lab::with_embedded();
    for connect in ["gateway", "direct"] {
        let project = shop(&lab, connect);
        fault(&lab, "refuse-logins=2");
        // Whoever asks for a new branch gets one that lets him in.
        for words in [
            &["docker", "compose", "lakebase", "up", "-d", "--wait"][..],
            &["cargo", "lakebase", "run", "--", "sh", "-c", "psql -XAtqc 'SELECT 1' \"$DATABASE_URL\""],
            &["cargo", "lakebase", "psql", "--", "-XAtqc", "SELECT 1"],
        ] {
            let ran = project.run(words[0], &words[1..]).ok();
            assert!(ran.stderr.contains(WAITING), "{ran:#?}");
            project.lakebase("destroy").ok();
        }
        // And an old one asks nobody to wait.
        project.cargo("env").ok();
        let up = project.lakebase("up -d --wait").ok();
        assert!(!up.stderr.contains(WAITING), "{up:#?}");
        project.lakebase("destroy").ok();
        lab.call("DELETE", "/embedded/faults", &json!({}));
    }
}

#[test]
fn a_branch_that_lets_nobody_in_starts_nothing() {
    // Given a branch that refuses for longer than anybody waits.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "gateway");
    fault(&lab, "refuse-logins=1000");
    let up = Ran::within(
        Duration::from_secs(180),
        &mut project.command("docker", ["compose", "lakebase", "up", "-d"]),
    );
    let up = up.fails(93, &[REFUSED, "doctor"]);
    assert!(up.stderr.contains(WAITING), "{up:#?}");
    assert_eq!(project.lakebase("ps -aq").ok().stdout, "");
    lab.call("DELETE", "/embedded/faults", &json!({}));

    // When what is refused will be refused in a minute, too, then it is told at once.
    for (variable, value, says) in [
        ("LAKEBASE_ROLE", "nobody", "\"nobody\""),
        ("LAKEBASE_DATABASE", "no_such_one", "\"no_such_one\" does not exist"),
    ] {
        let mut command = project.command("docker", ["compose", "lakebase", "up", "-d"]);
        let up = Ran::within(Duration::from_secs(60), command.env(variable, value)).fails(93, &[says]);
        assert!(!up.stderr.contains(WAITING), "{up:#?}");
    }
    assert_eq!(project.lakebase("ps -aq").ok().stdout, "");
    project.lakebase("up -d --wait").ok();
}

#[test]
fn a_branch_that_sleeps_is_woken() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "gateway");
    project.cargo("env").ok();
    let name = endpoint(&lab, &project)["name"].clone();
    lab.call("POST", "/embedded/suspend", &json!({"endpoint": name}));
    // `status` looks, and wakes nobody.
    assert_eq!(project.status()["not_inspected"], "the branch is asleep");
    assert_eq!(endpoint(&lab, &project)["status"]["current_state"], "IDLE");
    project.lakebase("create").ok();
    assert_eq!(endpoint(&lab, &project)["status"]["current_state"], "ACTIVE");
}

#[test]
fn a_branch_that_sleeps_is_woken_while_compose_reads_the_project() {
    // Given a branch that sleeps, and a file of the Compose model that has no end yet.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "gateway");
    project.cargo("env").ok();
    let name = endpoint(&lab, &project)["name"].as_str().unwrap().to_owned();
    lab.call("POST", "/embedded/suspend", &json!({"endpoint": name}));
    let compose = project.read("compose.yaml").replace("  db:\n", "  db:\n    env_file: late.env\n");
    project.write("compose.yaml", &compose);
    project.run("mkfifo", ["late.env"]).ok();
    project.run("ln", ["late.env", "late.pipe"]).ok();

    // When a command begins, then the branch wakes while Compose still reads. (What fails here ends by itself.)
    let words = ["120", "docker", "compose", "lakebase", "create"];
    let mut create =
        project.command("timeout", words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the endpoint to wake", || {
        let seen = lab.read(&name);
        (seen["status"]["current_state"] == "ACTIVE").then_some(())
    });
    assert!(create.try_wait().unwrap().is_none(), "Compose did not wait for the file");

    // And when the file ends, the command does what it always does.
    project.write("late.txt", "");
    fs::rename(project.folder.join("late.txt"), project.folder.join("late.env")).unwrap();
    let pipe = fs::OpenOptions::new().read(true).write(true).open(project.folder.join("late.pipe")).unwrap();
    drop(pipe);
    assert!(create.wait().unwrap().success());
    assert_ne!(project.lakebase("ps -aq").ok().stdout, "");
}

#[test]
fn an_endpoint_that_this_machine_can_not_reach_is_no_reason_to_stop() {
    // Given a service whose endpoints are elsewhere, for all that this machine can tell.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "direct");
    project.write(
        "lakebase.config",
        "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_CONNECT=direct\nLAKEBASE_DATABASE_SERVICE=db\n",
    );
    let (host, token) = (away(&lab), lab.token());
    let command = |words: &[&str]| {
        let mut command = project.command(words[0], &words[1..]);
        command.env("DATABRICKS_HOST", &host).env("DATABRICKS_TOKEN", &token);
        command
    };
    // Then a command goes on, with a warning.
    let up = Ran::of(&mut command(&["docker", "compose", "lakebase", "up", "-d", "--wait"])).ok();
    assert!(up.stderr.contains("warning: this machine can't look into the branch"), "{up:#?}");
    assert!(Ran::of(&mut command(&["cargo", "lakebase", "env"])).ok().stdout.contains("DATABASE_URL"));
    // But not where the branch has to be masked: it is nobody's then.
    project.write("mask.sql", "SELECT 1");
    let mut masked = command(&["docker", "compose", "lakebase", "--fresh", "up", "-d"]);
    let masked = Ran::of(masked.env("LAKEBASE_AFTER_BRANCH", "mask.sql")).fails(92, &["was deleted again"]);
    assert!(masked.stderr.contains("caused by"), "{masked:#?}");
    let status = Ran::of(&mut command(&["cargo", "lakebase", "status", "--json"])).ok();
    assert!(status.stdout.contains("\"branch\": null"), "{status:#?}");
}

/// The embedded Lakebase behind a relay that names a port of each endpoint at which nobody listens.
fn away(lab: &Lab) -> String {
    let to = lab.host().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let to = to.clone();
            std::thread::spawn(move || relay(client, &TcpStream::connect(to).unwrap()));
        }
    });
    format!("http://{address}")
}

fn relay(client: TcpStream, server: &TcpStream) {
    let (mut asks, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let mut to = server.try_clone().unwrap();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut asks, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut client = client;
    let mut buffer = vec![0; 1 << 20];
    // An answer is small enough to come at once, as is the head before it.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut parts = text.split("\"host\":\"127.0.0.1:");
        let mut answer = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.find('"').unwrap_or(0);
            // As long as it was.
            answer.push_str(&format!("\"host\":\"127.0.0.1:{:0>digits$}{}", 9, &part[digits..]));
        }
        if client.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
