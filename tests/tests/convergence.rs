//! Observe, plan, apply: what a command would do is told before it is done, and what it did is found again.

use e2e::{Lab, wait_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

#[test]
fn the_plan_is_what_up_does_and_changes_nothing_itself() {
    // given a project whose branch does not exist
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    // when the plan is asked for, then it says what would be done, and nothing is
    let plan = project.lakebase("--plan up -d").ok().stdout;
    let id = project.branch_id();
    assert!(plan.starts_with(&format!("create   branch {id} from production, for 24 h\n")), "{plan}");
    assert!(plan.contains("replace  service `postgres` by a gateway"), "{plan}");
    assert!(!plan.contains("mask"), "{plan}");
    assert!(plan.ends_with("run      docker compose up -d\n"), "{plan}");
    assert!(project.lakebase("status").ok().stdout.contains("not made yet"));
    assert!(!project.folder.join(".lakebase").exists());
    assert_eq!(project.compose("ps --all --quiet").ok().stdout, "");

    // given the branch, then the plan is to take it as it is, and a fresh one is deleted first
    project.lakebase("env").ok();
    let plan = project.lakebase("--plan up").ok().stdout;
    assert!(plan.starts_with(&format!("reuse    branch {id} as it is\n")), "{plan}");
    let plan = project.lakebase("--plan --json --fresh up").ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("a document");
    assert_eq!(plan["steps"][0]["step"], "delete");
    assert_eq!(plan["steps"][1]["step"], "create");
    assert_eq!(plan["steps"][1]["ttl_seconds"], 86_400);
    assert!(plan["branch_path"].as_str().is_some_and(|path| path.ends_with(&id)), "{plan}");

    // and a command that needs no branch has no plan
    project.lakebase("--plan ps").fails(64, &["`ps` needs no branch", "--plan"]);
}

#[test]
fn a_life_that_the_workspace_refuses_is_shortened() {
    // given a workspace in which no branch may live longer than two hours
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    lab.call("PUT", "/embedded/faults", &json!({"faults": ["max-ttl=7200"]}));
    // when a branch is made that shall live for a day, then it is, and lives as long as it may
    let ran = project.cargo("env").ok();
    assert!(ran.stderr.contains("allows a branch no longer life"), "{}", ran.stderr);
    let life = || {
        let expires = project.status()["branch"]["expires"].as_str().expect("an expiry").to_owned();
        expires.parse::<Timestamp>().expect("a time").duration_since(Timestamp::now())
    };
    assert!(
        life() > SignedDuration::from_mins(30) && life() <= SignedDuration::from_hours(2),
        "{:?}",
        life()
    );
    // and extending it is no failure either
    project.cargo("env").ok();
    assert!(life() <= SignedDuration::from_hours(2), "{:?}", life());
}

#[test]
fn a_full_project_gives_up_what_this_machine_made_and_nothing_else() {
    // given a project of three branches at most: production, a colleague's and ours
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let colleague = "dev-grace-hopper-main-0a1b2c";
    let parent = "projects/todo/branches/production";
    let body = json!({"spec": {"source_branch": parent, "ttl": "86400s"}});
    lab.api("POST", &format!("projects/todo/branches?branch_id={colleague}"), &body);
    project.cargo("env").ok();
    let ours = project.branch_id();
    lab.call("PUT", "/embedded/faults", &json!({"faults": ["quota=3 code=RESOURCE_EXHAUSTED status=400"]}));
    let there = |id: &str| !lab.read(&format!("projects/todo/branches/{id}")).is_null();

    // when another git branch wants one, then it is told what could go, and nothing has gone
    project.switch("feature/x");
    project.commit("Work");
    project.cargo("env").fails(86, &["branch limit", &ours, "--free-slot", "--wait-slot"]);
    assert!(there(&ours) && there(colleague));

    // when a slot is to be freed, then ours goes
    let ran = project.cargo("env --free-slot").ok();
    assert!(ran.stderr.contains(&format!("Deleted {ours}")), "{}", ran.stderr);
    assert!(!there(&ours) && there(colleague));

    // when there is none of ours, then the colleague's stays, and a slot can be waited for
    lab.call("PUT", "/embedded/faults", &json!({"faults": ["quota=2 code=RESOURCE_EXHAUSTED status=400"]}));
    project.cargo("destroy").ok();
    project.cargo("env --free-slot").fails(86, &["nobody else's is touched"]);
    assert!(there(colleague));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| project.cargo("env --wait-slot"));
        wait_for("the command to wait", || {
            let calls = lab.ask("GET", "/embedded/calls", None).body;
            let calls = calls["calls"].as_array().expect("a list").clone();
            // The refusal, and then the look at who is there.
            let refused = calls.iter().rposition(|call| call["call"] == "branches.create")?;
            calls[refused..].iter().any(|call| call["call"] == "branches.list").then_some(())
        });
        lab.call(
            "DELETE",
            &format!("/api/2.0/postgres/projects/todo/branches/{colleague}?purge=true"),
            &json!({}),
        );
        waiting.join().expect("it ends").ok();
    });
    assert!(project.has_branch());
}
