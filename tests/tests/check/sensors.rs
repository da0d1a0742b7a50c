//! What is judged where a branch lacks a sensor, and what a report then says it has not seen.

use e2e::{Lab, Project};
use serde_json::{Value, json};

use super::report;

const FILE: &[&str] =
    &["--quick", "--max-stall", "100ms", "--", "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "migration.sql"];

fn project(lab: &Lab) -> Project<'_> {
    let project = lab.project("shop", &[("README.md", "A shop.\n")]);
    project.cargo("init --project-name shop --profile embedded").ok();
    project.production_sql(
        "CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'x'), (2, 'x')",
    );
    project
}

fn unseen(report: &Value) -> String {
    report["unseen"].to_string()
}

#[test]
fn a_branch_without_event_triggers_is_judged_by_the_sampler() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    // given a lock that is held for a while, and a column that does not fit the rows
    project.write("migration.sql", "BEGIN; LOCK TABLE orders; SELECT pg_sleep(0.5); COMMIT;\n");
    let (ran, with) = report(&project, FILE);
    assert_eq!((ran.code, &with["sensors"][0]), (Some(1), &json!("event trigger")), "{ran:#?}");
    // when the workspace forbids event triggers
    lab.call("POST", "/embedded/faults", &json!({"fault": "no-event-triggers"}));
    let (ran, without) = report(&project, FILE);
    // then the sampler sees the lock all the same, and the report says what may have passed unseen
    assert_eq!((ran.code, &without["sensors"][0]), (Some(1), &json!("sampler 2 ms")), "{ran:#?}");
    assert!(unseen(&without).contains("the branch allows no event triggers"), "{without:#}");
    let locks = without["run"]["locks"].as_array().unwrap();
    assert!(
        locks.iter().any(|lock| lock["seen"] == "sampler" && lock["mode"] == "ACCESS_EXCLUSIVE"),
        "{without:#}"
    );
    // A failure is a failure, whoever looks.
    project.write("migration.sql", "ALTER TABLE orders ALTER COLUMN note TYPE int USING note::int;\n");
    let (ran, _) = report(&project, FILE);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
}

#[test]
fn a_lock_of_a_moment_is_seen_by_event_triggers_every_time() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    // given a hundred tables, and a lock of a moment on each
    let tables: String = (0..100).map(|number| format!("CREATE TABLE short_{number} (id int);")).collect();
    project.production_sql(&tables);
    let locks: String =
        (0..100).map(|number| format!("ALTER TABLE short_{number} ADD COLUMN x int;\n")).collect();
    project.write("migration.sql", &locks);
    // when they are checked, then each was seen
    let (ran, report) = report(&project, FILE);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let seen =
        report["run"]["locks"].as_array().unwrap().iter().filter(|lock| lock["seen"] == "event-trigger");
    assert_eq!(seen.filter(|lock| lock["mode"] == "ACCESS_EXCLUSIVE").count(), 100);
}

#[test]
fn the_old_applications_queries_are_not_judged_where_nobody_keeps_them() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.write("migration.sql", "ALTER TABLE orders RENAME COLUMN note TO text;\n");
    // given a production without statistics of queries, then that is said
    let (ran, without) = report(&project, FILE);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(unseen(&without).contains("no extension pg_stat_statements"), "{without:#}");
    // given a file of queries, then those are judged
    project.write(
        "queries.sql",
        "SELECT note FROM orders WHERE id = $1; SELECT id FROM orders; SELECT gone FROM orders",
    );
    let (ran, with) = report(&project, &[&["--queries", "queries.sql"], FILE].concat());
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(
        (&with["queries"]["worked"], with["queries"]["broken"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
}

#[test]
fn a_query_that_fails_is_shown_without_the_values_in_it() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    // given a query with a value in it, which the new type refuses in words that quote it
    project.write("migration.sql", "ALTER TABLE orders ALTER COLUMN note TYPE int USING 1;\n");
    project.write("queries.sql", "SELECT id FROM orders WHERE note = 'kestrel'");
    // when it is judged, in every form
    let forms = "text,json=report.json,html=report.html,markdown=report.md,github=report.txt";
    let words = ["check", "--format", forms, "--queries", "queries.sql"];
    let ran = project.run("cargo-lakebase", [&words[..], FILE].concat());
    // then it is named, and why, and the value is nowhere
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let reports = ["report.json", "report.html", "report.md", "report.txt"].map(|file| project.read(file));
    for said in reports.iter().chain([&ran.all()]) {
        assert!(said.contains("invalid input syntax for type integer"), "{said}");
        assert!(!said.contains("kestrel"), "{said}");
    }
}
