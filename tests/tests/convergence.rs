//! Observe, plan, apply: what a command would do is told before it is done, and what it did is found again.

use e2e::Lab;

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
