//! The main job: the example application on a branch of production, with the real Docker, Compose and
//! PostgreSQL.

use e2e::Lab;
use serde_json::{Value, json};

/// A migration that fits production's rows.
const NEXT: &str = "next-migrations/0004_task_archived.py";

#[test]
fn a_branch_carries_productions_rows_and_keeps_its_changes_to_itself() {
    // Given production with many tasks, and a developer on a git branch.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let rows: i64 = project.production_sql("SELECT count(*) FROM tasks").parse().unwrap();
    assert!(rows >= 100_000, "{rows}");
    let production_before = fingerprint(|sql| project.production_sql(sql));

    // When the application comes up.
    let up = project.lakebase("up -d --build --wait").ok();

    // Then it says so, and serves production's tasks from a branch named after git's user and branch.
    let id = project.branch_id();
    assert!(id.starts_with("dev-ada-lovelace-main-"), "{id}");
    assert!(up.stderr.contains(&format!("Branch {id}: just forked from production")), "{up:#?}");
    let info = project.get("/api/info");
    assert_eq!(info["db_source"], format!("lakebase/{id}"));
    assert_eq!(project.get("/api/tasks")["total"], rows);
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0003");

    // And a task added there is found there, and not in production.
    let added = project.send("POST", "/api/tasks", &json!({"title": "zanzibar only here"}));
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(project.get("/api/tasks")["total"], rows + 1);
    let found = project.get("/api/tasks/search?q=zanzi");
    assert_eq!(titles(&found), ["zanzibar only here"], "{found}");

    // And a new migration changes the branch only.
    let name = NEXT.rsplit('/').next().unwrap();
    project.write(&format!("backend/migrations/versions/{name}"), &project.read(NEXT));
    let reused = project.lakebase("up -d --build --wait").ok();
    assert!(reused.stderr.contains(&format!("Branch {id}: forked from production")), "{reused:#?}");
    assert!(!reused.stderr.contains("Creating branch"), "{reused:#?}");
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0004");
    assert_eq!(project.get("/api/tasks")["total"], rows + 1);
    assert_eq!(fingerprint(|sql| project.production_sql(sql)), production_before);

    // And `--fresh` starts again from production.
    project.lakebase("--fresh up -d --wait").ok();
    assert_eq!(project.get("/api/tasks")["total"], rows);
    assert_eq!(project.branch_id(), id);
}

#[test]
fn each_git_branch_has_a_database_of_its_own() {
    // Given a branch with a change.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let rows: i64 = project.production_sql("SELECT count(*) FROM tasks").parse().unwrap();
    project.lakebase("up -d --build --wait").ok();
    project.send("POST", "/api/tasks", &json!({"title": "on main"}));
    let main = project.branch_id();

    // When git switches, then there is a second one without it.
    project.switch("feature/x");
    project.lakebase("up -d --wait").ok();
    let other = project.branch_id();
    assert!(other.starts_with("dev-ada-lovelace-feature-x-"), "{other}");
    assert_eq!(project.get("/api/tasks")["total"], rows);

    // And back on the first, the change is there.
    project.switch("main");
    project.lakebase("up -d --wait").ok();
    assert_eq!(project.get("/api/info")["db_source"], format!("lakebase/{main}"));
    assert_eq!(project.get("/api/tasks")["total"], rows + 1);

    // When it is destroyed, then exactly that one goes, and the containers.
    let destroyed = project.lakebase("destroy").ok();
    assert!(destroyed.stderr.contains(&format!("Deleted branch {main}")), "{destroyed:#?}");
    assert!(!project.has_branch());
    assert_eq!(project.compose("ps -q").ok().stdout, "");
    project.switch("feature/x");
    assert!(project.has_branch());
    assert_eq!(project.production_sql("SELECT count(*) FROM tasks"), rows.to_string());
    // And once more is no failure.
    project.lakebase("destroy").ok();
    project.lakebase("destroy").ok();
}

#[test]
fn the_two_modes_follow_each_other_without_a_manual_step() {
    // Given the application on its local database, with a task.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.compose("--profile local up -d --build --wait").ok();
    assert_eq!(project.get("/api/info")["db_source"], "local");
    project.send("POST", "/api/tasks", &json!({"title": "offline"}));

    // When it goes over to Lakebase, then the gateway takes the local database's seat and its volume stays.
    let over = project.lakebase("up -d --wait").ok();
    assert!(!over.stderr.contains("orphan") && !over.stderr.contains("warning"), "{over:#?}");
    assert!(project.get("/api/info")["db_source"].as_str().unwrap().starts_with("lakebase/dev-"));

    // When it goes back, offline, then the task is there.
    lab.run("cargo-lakebase", ["embedded", "stop"]).ok();
    project.compose("--profile local up -d --wait").ok();
    assert_eq!(project.get("/api/info")["db_source"], "local");
    assert_eq!(titles(&project.get("/api/tasks")), ["offline"]);

    // And `down`, in whichever mode, leaves no container, no network, and the volume.
    project.lakebase("down -v").ok();
    assert_eq!(project.compose("--profile * ps -aq").ok().stdout, "");
    let networks = format!("label=com.docker.compose.project={}", project.compose_name);
    assert_eq!(lab.run("docker", ["network", "ls", "-q", "--filter", &networks]).ok().stdout, "");
    let volumes = lab.run("docker", ["volume", "ls", "-q", "--filter", &networks]).ok().stdout;
    assert_eq!(volumes.trim(), format!("{}_postgres-data", project.compose_name));
    project.compose("--profile local up -d --wait").ok();
    assert_eq!(titles(&project.get("/api/tasks")), ["offline"]);
}

#[test]
fn what_fails_on_productions_rows_fails_here_and_harms_nothing() {
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let before = fingerprint(|sql| project.production_sql(sql));
    for (migration, reason) in [
        ("0004_task_reporter_not_null.py", "contains null values"),
        ("0004_task_title_unique.py", "could not create unique index"),
    ] {
        // Given a migration that passes on an empty local database.
        let installed = format!("backend/migrations/versions/{migration}");
        project.write(&installed, &project.read(&format!("next-migrations/{migration}")));
        project.compose("--profile local up -d --build --wait").ok();
        project.compose("--profile local down -v").ok();

        // When it meets production's rows.
        let up = project.lakebase("up --build --abort-on-container-exit --exit-code-from backend");

        // Then `up` fails and shows why, and production is as it was.
        assert_ne!(up.code, Some(0), "{migration}: {up:#?}");
        assert!(up.all().contains(reason), "{migration}: {up:#?}");
        assert_eq!(fingerprint(|sql| project.production_sql(sql)), before, "{migration}");
        project.lakebase("down").ok();
        std::fs::remove_file(project.folder.join(&installed)).unwrap();
    }
}

/// Rows and schema of a database: what must not change in production.
fn fingerprint(sql: impl Fn(&str) -> String) -> [String; 3] {
    [
        sql("SELECT count(*), max(id), md5(string_agg(tasks::text, '|' ORDER BY id)) FROM tasks"),
        sql(
            "SELECT string_agg(format('%s.%s %s %s', table_name, column_name, data_type, is_nullable), ';' ORDER BY table_name, ordinal_position) FROM information_schema.columns WHERE table_schema = 'public'",
        ),
        sql(
            "SELECT string_agg(indexdef, ';' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'",
        ),
    ]
}

fn titles(page: &Value) -> Vec<&str> {
    let tasks = page["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["title"].as_str().unwrap()).collect()
}
