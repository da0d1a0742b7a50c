//! `connect = "direct"`: no container in the database's place; a login in `DATABASE_URL`.

use e2e::{Lab, Project};
use serde_json::json;

fn todo(lab: &Lab) -> Project<'_> {
    let project = lab.todo("todo").with_production();
    let config = format!("{}LAKEBASE_CONNECT=direct\n", project.read("lakebase.config"));
    project.write("lakebase.config", &config);
    project.commit("Without the gateway");
    project
}

#[test]
fn the_url_leads_to_the_branch_and_the_local_database_leaves_the_model() {
    // Given the application on its local database, with a task.
    let lab = Lab::with_embedded();
    let project = todo(&lab);
    let rows: i64 = project.production_sql("SELECT count(*) FROM tasks").parse().unwrap();
    project.compose("--profile local up -d --build --wait").ok();
    project.send("POST", "/api/tasks", &json!({"title": "offline"}));

    // When it goes over to Lakebase, then the local database stops and its volume stays.
    let over = project.lakebase("up -d --wait").ok();
    assert!(over.stderr.contains("Stopping the local database `postgres`"), "{over:#?}");
    assert!(!over.stderr.contains("orphan"), "{over:#?}");
    let info = project.get("/api/info");
    assert_eq!(info["db_source"], format!("lakebase/{}", project.branch_id()));
    assert_eq!(info["tasks"], rows);
    assert_eq!(running(&project), ["backend", "redis"]);
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0003");

    // When it goes back, offline, then the task is there.
    lab.run("cargo-lakebase", ["embedded", "stop"]).ok();
    project.compose("--profile local up -d --wait").ok();
    let info = project.get("/api/info");
    assert_eq!((&info["db_source"], &info["tasks"]), (&"local".into(), &1.into()));

    // And `down`, in whichever mode, leaves no container, no network, and the volume.
    project.lakebase("down -v").ok();
    assert_eq!(project.compose("--profile * ps -aq").ok().stdout, "");
    let label = format!("label=com.docker.compose.project={}", project.compose_name);
    assert_eq!(lab.run("docker", ["network", "ls", "-q", "--filter", &label]).ok().stdout, "");
    let volumes = lab.run("docker", ["volume", "ls", "-q", "--filter", &label]).ok().stdout;
    assert_eq!(volumes.trim(), format!("{}_postgres-data", project.compose_name));
}

#[test]
fn each_git_branch_gets_its_url_and_destroy_takes_one_away() {
    let lab = Lab::with_embedded();
    let project = todo(&lab);
    project.lakebase("up -d --build --wait").ok();
    let main = project.branch_id();
    project.switch("feature/x");
    project.lakebase("up -d --wait").ok();
    assert_eq!(project.get("/api/info")["db_source"], format!("lakebase/{}", project.branch_id()));
    assert_ne!(project.branch_id(), main);
    project.lakebase("destroy").ok();
    assert!(!project.has_branch());
    assert_eq!(project.compose("ps -q").ok().stdout, "");
    project.switch("main");
    assert!(project.has_branch());
}

fn running(project: &Project<'_>) -> Vec<String> {
    let listed = project.compose("--profile * ps --services").ok().stdout;
    let mut services: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
    services.sort();
    services
}
