//! The migration in the container of its service, with the application's own files and tool.

use e2e::Lab;

use super::branches_of;

/// A revision after the example's last.
fn revision(up: &str) -> String {
    format!(
        "from alembic import op\nrevision, down_revision = '0004', '0003'\n\ndef upgrade():\n    op.execute({up:?})\n\n\
         def downgrade():\n    op.execute('ALTER TABLE tasks DROP COLUMN IF EXISTS noted')\n"
    )
}

#[test]
fn a_service_checks_its_own_migrations_beside_the_project_that_runs() {
    // given a project that runs on its branch, with its ports published
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.lakebase("up -d --build --wait").ok();
    let running = project.inspect("{{.Id}} {{.State.StartedAt}}");
    let before = branches_of(&lab, "todo");
    // when a revision is clean, then it passes in the container, goes back, and up again
    let file = "backend/migrations/versions/0004_noted.py";
    project.write(file, &revision("ALTER TABLE tasks ADD COLUMN noted text"));
    let ran = project.lakebase("check --format text,json=report.json");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let report: serde_json::Value = serde_json::from_str(&project.read("report.json")).unwrap();
    assert!(report["pending"].as_array().unwrap().iter().any(|id| id == "0004"), "{report:#}");
    assert_eq!(report["down"]["ok"], true, "{report:#}");
    let locks = report["run"]["locks"].as_array().unwrap();
    assert!(
        locks.iter().any(|lock| lock["relation"] == "tasks"
            && lock["mode"] == "ACCESS_EXCLUSIVE"
            && lock["seen"] == "event-trigger"),
        "{report:#}"
    );
    // when it fails on production's rows, then that is said, with the statement
    project.write(file, &revision("ALTER TABLE tasks ADD COLUMN noted text NOT NULL"));
    let ran = project.lakebase("check --quick backend -- alembic upgrade head");
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("(23502)") && ran.stdout.contains("noted text NOT NULL"), "{ran:#?}");
    // Then nothing of it is left: no container, no volume, no branch; and who ran before runs still.
    assert_eq!(branches_of(&lab, "todo"), before);
    assert_eq!(project.inspect("{{.Id}} {{.State.StartedAt}}"), running);
    for list in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"], &["image", "ls"]] {
        let left = project.run("docker", list).ok().stdout;
        assert!(!left.contains(&format!("{}-check-", project.compose_name)), "{left}");
    }
    // A service that is not there is named, and so are those that are.
    project.lakebase("check bakend").fails(64, &["no service `bakend`", "backend"]);
}
