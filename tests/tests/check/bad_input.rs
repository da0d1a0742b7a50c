//! What is no migration, or does not come to an end.

use std::process::Command;

use e2e::{Lab, Project, Ran, signal, wait_for};

use super::branches;

fn project(lab: &Lab) -> Project<'_> {
    let project = lab.project("shop", &[("README.md", "A shop.\n")]);
    project.cargo("init --project-name shop --profile embedded").ok();
    project
}

fn check(project: &Project<'_>, words: &[&str]) -> Ran {
    project.run("cargo-lakebase", [&["check"], words].concat())
}

#[test]
fn what_can_not_be_judged_never_passes() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    // given no command, and one that is not there: no branch is made for them
    check(&project, &[]).fails(64, &["there is no migration command", "check -- alembic upgrade head"]);
    check(&project, &["--", "no-such-program", "up"]).fails(87, &["`no-such-program` was not found"]);
    check(&project, &["--format", "pdf", "--", "true"]).fails(64, &["no format `pdf`"]);
    // when it connects elsewhere, or nowhere, then it is not judged
    let elsewhere = check(&project, &["--", "true"]);
    assert_eq!(elsewhere.code, Some(3), "{elsewhere:#?}");
    assert!(elsewhere.stdout.contains("never came to the branch"), "{elsewhere:#?}");
    // when it hangs without anything running, or asks for something, then it does not hang us
    let hangs =
        check(&project, &["--deadline", "3", "--", "sh", "-c", "psql -Xqc 'SELECT 1'; exec sleep 1000"]);
    assert_eq!(hangs.code, Some(3), "{hangs:#?}");
    assert!(hangs.stdout.contains("hangs, and nothing runs on the branch"), "{hangs:#?}");
    let asks = check(&project, &["--", "sh", "-c", "psql -Xqc 'SELECT 1'; read answer"]);
    assert_eq!(asks.code, Some(2), "{asks:#?}");
    // when it goes on after a statement that failed, then that is said
    let goes_on = ["psql", "-Xqc", "ALTER TABLE nowhere ADD a int", "-c", "CREATE TABLE there ()"];
    let goes_on = check(&project, &[&["--quick", "--"][..], &goes_on].concat());
    assert_eq!(goes_on.code, Some(0), "{goes_on:#?}");
    assert!(goes_on.stdout.contains("but a statement failed"), "{goes_on:#?}");
    assert!(goes_on.stdout.contains("ON_ERROR_STOP=1"), "{goes_on:#?}");
    // when it is slow, then that is a limit
    let slow = check(
        &project,
        &["--deadline", "3", "--max-duration", "1s", "--", "psql", "-Xqc", "SELECT pg_sleep(1000)"],
    );
    assert_eq!(slow.code, Some(1), "{slow:#?}");
    assert_eq!(branches(&lab).len(), 1, "forks are left");
}

#[test]
fn the_merge_is_gone_after_ctrl_c_before_there_is_a_fork() {
    let lab = Lab::with_embedded();
    let project = lab.project("shop", &[("README.md", "A shop.\n")]);
    project.commit("The shop");
    let scratch = project.folder.join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    // given a workspace that takes calls and answers none
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", silent.local_addr().unwrap());
    let mut running = project
        .command("cargo-lakebase", ["check", "--with", "HEAD", "--project-name", "shop", "--", "true"]);
    let silenced = running
        .env("TMPDIR", &scratch)
        .env("DATABRICKS_HOST", host)
        .env("DATABRICKS_CLIENT_ID", "id")
        .env("DATABRICKS_CLIENT_SECRET", "secret");
    let mut running = silenced.stderr(std::process::Stdio::piped()).spawn().unwrap();
    silent.set_nonblocking(true).unwrap();
    let _call = wait_for("the first call", || silent.accept().ok());
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1, "no merge");
    // when it is ended
    signal(&running.id().to_string(), "INT");
    // then it ends at once, and leaves nothing
    let code = running.wait().unwrap().code();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(89), "{said}");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "{said}");
}

#[test]
fn the_fork_is_gone_after_ctrl_c_and_found_after_kill() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    for (name, is_gone) in [("INT", true), ("TERM", true), ("KILL", false)] {
        // given a check in the middle of its migration
        let words = ["check", "--", "sh", "-c", "psql -Xqc 'SELECT 1'; touch began; exec sleep 1000"];
        let _ = std::fs::remove_file(project.folder.join("began"));
        let mut running: Command = project.command("cargo-lakebase", words);
        let mut running =
            running.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        wait_for("the migration", || project.folder.join("began").exists().then_some(()));
        // when it is ended
        signal(&running.id().to_string(), name);
        let status = running.wait().unwrap();
        // then the fork is gone, or has an end of its own and is ours to prune
        if is_gone {
            assert_eq!(status.code(), Some(89), "{name}");
            assert_eq!(branches(&lab).len(), 1, "{name}");
        } else {
            let listed = lab.read("projects/shop/branches");
            let fork = listed["branches"]
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["name"].as_str().unwrap().contains("check"))
                .unwrap()
                .clone();
            assert!(fork["status"]["expire_time"].is_string(), "{fork:#}");
            project.cargo("prune --yes").ok();
            assert_eq!(branches(&lab).len(), 1, "{name}");
        }
    }
}
