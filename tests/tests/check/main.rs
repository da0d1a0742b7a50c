//! `check`: migrations that fail or hurt in production, each with an empty PostgreSQL on which it passes; and the same done
//! right.

mod bad_input;
mod cases;
mod container;
mod deadlock;
mod histories;
mod knex;
mod leftovers;
mod locks;
mod rails;
mod sensors;
mod tools;
mod with;

use cases::{CLEAN, Case, HURTFUL, ROWS, SCHEMA};
use e2e::{Lab, Project, Ran};
use serde_json::Value;

/// A stall of less than this is a small matter on a production of a million rows.
const LIMIT: &str = "500ms";

/// A project with a production, and an empty database with the same tables beside it.
fn project(lab: &Lab) -> Project<'_> {
    let project = lab.project("shop", &[("README.md", "A shop.\n")]);
    project.commit("The shop");
    project.cargo("init --project-name shop --profile embedded").ok();
    project.production_sql("CREATE DATABASE empty");
    project.production_sql(SCHEMA);
    on_empty(&project, SCHEMA).ok();
    project.production_sql(ROWS);
    project
}

/// Runs SQL on the empty database, as a local Postgres would get it.
fn on_empty(project: &Project<'_>, sql: &str) -> Ran {
    let words = ["psql", "--parent", "--database", "empty", "--", "-Xq", "-v", "ON_ERROR_STOP=1", "-c", sql];
    project.run("cargo-lakebase", words)
}

/// `check` of a file of SQL that psql runs statement by statement, and its report as JSON.
fn check(project: &Project<'_>, sql: &str, options: &[&str]) -> (Ran, Value) {
    project.write("migration.sql", sql);
    let psql = ["--", "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "migration.sql"];
    report(project, &[&["--max-stall", LIMIT], options, &psql].concat())
}

/// `check` of whatever it finds, or of the command behind `--`, and its report as JSON.
fn report(project: &Project<'_>, words: &[&str]) -> (Ran, Value) {
    let ran =
        project.run("cargo-lakebase", [&["check", "--format", "text,json=report.json"], words].concat());
    assert!(project.folder.join("report.json").exists(), "{ran:#?}");
    let report = serde_json::from_str(&project.read("report.json")).unwrap();
    (ran, report)
}

/// The branches of the project.
fn branches(lab: &Lab) -> Vec<String> {
    branches_of(lab, "shop")
}

fn branches_of(lab: &Lab, project: &str) -> Vec<String> {
    let listed = lab.read(&format!("projects/{project}/branches"));
    let branches = listed["branches"].as_array().unwrap().iter();
    branches.map(|branch| branch["name"].as_str().unwrap().to_owned()).collect()
}

fn holds(project: &Project<'_>, case: &Case) -> Result<(), String> {
    // given an empty database, then the migration passes there
    let local = project.run("cargo-lakebase", local(case));
    if local.code != Some(0) {
        return Err(format!("{}: it fails on an empty database: {local:#?}", case.name));
    }
    // when it is checked, then the answer and the words are right
    let (ran, _) = check(project, case.migration, case.options);
    let lacks = case.says.iter().find(|words| !ran.stdout.contains(**words));
    if ran.code != Some(case.code) || lacks.is_some() {
        return Err(format!("{}: expected {} and {:?}: {ran:#?}", case.name, case.code, case.says));
    }
    Ok(())
}

/// The migration on the empty database, rolled back as well as that is possible.
fn local(case: &Case) -> Vec<&str> {
    let all = ["psql", "--parent", "--database", "empty", "--", "-Xq", "-v", "ON_ERROR_STOP=1"];
    let mut words: Vec<&str> = all.to_vec();
    words.extend(["-c", "DROP SCHEMA public CASCADE; CREATE SCHEMA public", "-c", SCHEMA]);
    for statement in case.migration.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        words.extend(["-c", statement]);
    }
    words
}

fn all_hold(cases: &[Case]) {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let before = branches(&lab);
    let fingerprint = fingerprint(&project);
    let wrong: Vec<String> = cases.iter().filter_map(|case| holds(&project, case).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases: {}", wrong.len(), cases.len(), wrong.join("\n"));
    // The forks are gone, and production is as it was.
    assert_eq!(branches(&lab), before);
    assert_eq!(self::fingerprint(&project), fingerprint);
}

/// Production's rows and columns in one line.
fn fingerprint(project: &Project<'_>) -> String {
    project.production_sql(
        "SELECT (SELECT count(*) || ' ' || sum(hashtext(o::text)) FROM orders o), (SELECT count(*) || ' ' || \
         sum(hashtext(u::text)) FROM users u), (SELECT string_agg(attrelid::regclass || '.' || attname, ',' ORDER BY 1) \
         FROM pg_attribute WHERE attrelid IN ('orders'::regclass, 'users'::regclass))",
    )
}

#[test]
fn a_migration_that_hurts_in_production_is_caught() {
    all_hold(HURTFUL);
}

/// A table of ten million rows, with an index that nobody remembered on what the migration changes.
const TEN_MILLION: &str = "
    CREATE TABLE events (id bigint PRIMARY KEY, kind text, note text);
    INSERT INTO events SELECT n, 'k' || n % 100, 'x' FROM generate_series(1, 10000000) AS n;
    CREATE INDEX events_forgotten ON events (kind, id);
    ANALYZE events;
";

#[test]
#[ignore = "--full"]
fn a_backfill_of_ten_million_rows_is_caught_in_all_runs() {
    // given a production of ten million rows
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.production_sql(TEN_MILLION);
    let before = branches(&lab);
    // when they are changed in one piece, which an empty database does at once
    let migration = "UPDATE events SET kind = upper(kind)";
    on_empty(&project, "CREATE TABLE events (id bigint PRIMARY KEY, kind text, note text)").ok();
    on_empty(&project, migration).ok();
    let (ran, report) = check(&project, migration, &["--max-duration", "30min"]);
    // then it is said who waits for it, as long as it took, and the forks are gone
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("would block updates of one row on `events` for"), "{ran:#?}");
    let ms = |stalls: &Value| {
        let all = stalls.as_array().unwrap().iter().filter(|one| one["client"] == "row");
        all.map(|one| one["ms"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    let took = report["run"]["ms"].as_f64().unwrap();
    assert!(ms(&report["stalls"]["computed"]) > took * 0.9, "{report:#}");
    assert!(ms(&report["stalls"]["measured"]) > took * 0.5, "{report:#}");
    assert_eq!(branches(&lab), before);
}

#[test]
fn the_same_done_right_is_no_alarm() {
    all_hold(CLEAN);
}
