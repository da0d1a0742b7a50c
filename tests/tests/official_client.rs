//! The official Python client (`databricks-sdk`) against the embedded Lakebase: every call it has for projects, branches,
//! endpoints, databases, roles, credentials and operations, and a login with psycopg.

use std::path::Path;

use e2e::{Lab, Ran, tools, wait_for};

/// What the script needs, pinned: the client is the specification that the embedded server is held against. Later clients
/// (0.157 to 0.162) want a certifi newer than the one that the package index had when this was written.
const REQUIREMENTS: &str = include_str!("official_client/requirements.txt");

#[test]
fn the_official_client_creates_a_branch_and_psycopg_reads_a_row_from_it() {
    // given a running embedded Lakebase, and the client with nothing but host and token
    let lab = Lab::with_embedded();
    let python = tools::python(&lab, "official-client", REQUIREMENTS);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official_client/every_call.py");
    let mut command = lab.command(python.to_str().expect("a path"), [script]);
    let env = lab.run("cargo-lakebase", ["embedded", "env"]).ok().stdout;
    for line in env.lines() {
        let (name, value) = line.trim_start_matches("export ").split_once('=').expect("a variable");
        command.env(name, value.trim_matches('\''));
    }
    // when the script makes its calls, then each answers as the client expects
    let ran = Ran::of(&mut command).ok();
    assert!(ran.stdout.ends_with("every call answered\n"), "{}", ran.stdout);
}

#[test]
fn the_official_client_signs_in_as_a_machine_by_a_secret_and_as_a_job_of_github() {
    // given an embedded Lakebase with a project, and two machines that it knows
    let lab = Lab::with_embedded();
    lab.api("POST", "projects?project_id=shop", &serde_json::json!({"spec": {}}));
    wait_for("production", || {
        let branch = lab.read("projects/shop/branches/production");
        (branch["status"]["current_state"] == "READY").then_some(())
    });
    let python = tools::python(&lab, "official-client", REQUIREMENTS);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official_client/machines.py");
    for (auth_type, flags) in [
        ("oauth-m2m", &["--service-principal"][..]),
        ("github-oidc", &["--github", "repo:acme/shop:ref:refs/heads/main"]),
    ] {
        let add = [&["embedded", "user", "add", auth_type], flags].concat();
        let printed = lab.run("cargo-lakebase", add).ok().stdout;
        let mut command = lab.command(python.to_str().expect("a path"), [&script]);
        command.arg(auth_type);
        for line in printed.lines() {
            let (name, value) = line.trim_start_matches("export ").split_once('=').expect("a variable");
            command.env(name, value.trim_matches('\''));
        }
        // when the client finds nothing but what was printed for one of them, then it signs in as that one
        let ran = Ran::of(&mut command).ok();
        assert_eq!(ran.stdout, format!("{auth_type} signed in\n"));
    }
}
