//! Production's rows on a laptop: `after-branch` runs on a new copy before anybody gets a login, and `require-mask` withholds
//! every other.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::{Lab, Project, Ran, signal, wait_for};
use serde_json::json;

const EXIT: i32 = 92;
/// What no test may find in a branch that was handed out.
const SECRET: &str = "grace@example.org";
/// A mask, which tells how often it ran.
const MASK: &str = "CREATE TABLE IF NOT EXISTS mask_runs AS SELECT 0 AS run LIMIT 0;
INSERT INTO mask_runs SELECT 1;
UPDATE people SET mail = 'person-' || id || '@masked.invalid';
";
const COMPOSE: &str = "services:
  db:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: local}
    ports: [\"127.0.0.1:${TODO_PORT}:5432\"]
";

/// A project whose production holds people's addresses.
fn shop<'a>(lab: &'a Lab, config: &str) -> Project<'a> {
    let config = format!("LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\n{config}");
    let files = [
        ("compose.yaml", COMPOSE),
        ("lakebase.config", &config),
        ("mask.sql", MASK),
        (".gitignore", ".lakebase\n"),
    ];
    let project = lab.project("shop", &files);
    project.cargo("init").ok();
    project.production_sql(&format!(
        "CREATE TABLE people AS SELECT id, CASE WHEN id % 2 = 0 THEN '{SECRET}' ELSE id || '@example.org' END AS mail
         FROM generate_series(1, 1000) AS id; ANALYZE people"
    ));
    project.commit("The project's id");
    project
}

fn configure(project: &Project<'_>, line: &str) {
    project.write("lakebase.config", &format!("{}{line}\n", project.read("lakebase.config")));
}

/// How many of production's own addresses a login to the branch shows.
fn secrets(project: &Project<'_>) -> String {
    project.sql("SELECT count(*) FROM people WHERE mail NOT LIKE '%@masked.invalid'")
}

#[test]
fn rows_are_masked_before_anybody_sees_them() {
    // Given tables that belong to the team, and a mask that only the team can run.
    let lab = Lab::with_embedded();
    let project =
        shop(&lab, "LAKEBASE_AFTER_BRANCH=mask.sql\nLAKEBASE_REQUIRE_MASK=true\nLAKEBASE_ROLE='the team'\n");
    project.production_sql(
        "CREATE ROLE \"the team\"; GRANT \"the team\" TO CURRENT_USER; GRANT ALL ON SCHEMA public TO \"the team\";
         ALTER TABLE people OWNER TO \"the team\"",
    );

    // Whose plan says that it will run.
    let plan = project.lakebase("--plan up -d").ok().stdout;
    let planned = "by mask.sql, before anybody gets a login";
    assert!(plan.lines().any(|line| line.starts_with("mask ") && line.contains(planned)), "{plan}");
    let planned = |flags: &str| -> serde_json::Value {
        serde_json::from_str(&project.lakebase(&format!("--plan --json {flags} up")).ok().stdout).unwrap()
    };
    let mask = |step: &str| json!({"after_branch": ["mask.sql"], "required": true, "step": step});
    assert_eq!(planned("")["mask"], mask("run"));

    // When the application comes up on a new branch.
    let up = project.lakebase("up -d --wait").ok();
    assert!(up.stderr.contains("Running mask.sql on the new branch"), "{up:#?}");

    // Then what answers in the database's seat is masked, what PostgreSQL keeps of its columns too, and it ran as the team.
    let url = format!("postgresql://shop:local@127.0.0.1:{}/shop", project.port);
    let ask = |sql: &str| project.run("psql", ["-XAtqc", sql, &url]).ok().stdout.trim().to_owned();
    assert_eq!(
        ask("SELECT count(*), count(*) FILTER (WHERE mail LIKE '%@masked.invalid') FROM people"),
        "1000|1000"
    );
    assert_eq!(
        ask(&format!(
            "SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%{SECRET}%' OR histogram_bounds::text LIKE '%@example.org%'"
        )),
        "0"
    );
    assert_eq!(ask("SELECT tableowner FROM pg_tables WHERE tablename = 'mask_runs'"), "the team");
    assert_eq!(project.status()["masked"], true);

    // And it runs once in a branch's life: another `up` and every other door find it done.
    let again = project.lakebase("up -d --wait").ok();
    assert!(!again.stderr.contains("Running mask.sql"), "{again:#?}");
    assert_eq!(planned("")["mask"], mask("check"));
    assert_eq!(planned("--fresh")["mask"], mask("run"));
    let plan = project.lakebase("--plan up").ok().stdout;
    assert!(plan.contains("is masked by mask.sql; one that is not is handed out to nobody\n"), "{plan}");
    assert_eq!(project.sql("SELECT count(*) FROM mask_runs"), "1");
    assert_eq!(secrets(&project), "0");
    project.cargo("env").ok();

    // And a new one is masked anew, which takes its time; whoever knew the old one sees nothing of it meanwhile.
    project.write("mask.sql", &format!("SELECT pg_sleep(5);\n{MASK}"));
    let mut reset = project.command("cargo-lakebase", ["reset", "--yes"]);
    let mut reset = reset.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_said(&mut reset, "Running mask.sql");
    let early = project.run("psql", ["-XAtqc", "SELECT mail FROM people", &url]);
    assert!(reset.try_wait().unwrap().is_none(), "the mask was too quick for this test");
    assert!(early.stdout.is_empty() && early.stderr.contains("was made anew"), "{early:#?}");
    assert!(reset.wait().unwrap().success());
    project.lakebase("up -d --wait").ok();
    assert_eq!(ask("SELECT count(*) FROM people WHERE mail LIKE '%@masked.invalid'"), "1000");
    assert_eq!((secrets(&project), project.sql("SELECT count(*) FROM mask_runs")), ("0".into(), "1".into()));
    assert_eq!(
        project.production_sql(&format!("SELECT count(*) FROM people WHERE mail = '{SECRET}'")),
        "500"
    );
    assert_eq!(project.production_sql("SELECT count(*) FROM pg_tables WHERE tablename = 'mask_runs'"), "0");
}

#[test]
fn a_mask_that_fails_leaves_no_branch() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_AFTER_BRANCH='mask.sql, more.sql'\n");
    let url = format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = '{SECRET}'; END $$;");
    let late = format!(
        "ALTER TABLE people ADD UNIQUE (mail) DEFERRABLE INITIALLY DEFERRED; UPDATE people SET mail = '{SECRET}';"
    );
    for (more, says) in [
        (
            "SELECT 1;\n\nUPDATE peeple SET mail = '';\n",
            &["relation \"peeple\" does not exist (42P01)", "line 3 of `more.sql`"][..],
        ),
        (url.as_str(), &["no (P0001)"]),
        (late.as_str(), &["duplicate key value violates unique constraint"]),
        ("SELECT mail::int FROM people;\n", &["invalid input syntax for type integer (22P02)"]),
        ("UPDATE people SET mail = '';\nCOMMIT;\n", &["`more.sql` ends its transaction", "`COMMIT`"]),
        ("BEGIN; ROLLBACK; BEGIN;", &["`more.sql` ends its transaction"]),
    ] {
        // When a mask fails, or gets away from its transaction.
        project.write("more.sql", more);
        let up = project.lakebase("up -d").fails(EXIT, says);

        // Then the new branch is gone again, nothing runs, no login was given, and the words show no row in detail.
        assert!(up.stderr.contains("was not masked, and was deleted again"), "{up:#?}");
        assert!(!up.stderr.contains(SECRET), "{up:#?}");
        assert!(!project.has_branch());
        assert_eq!(project.lakebase("ps -aq").ok().stdout, "");
        project.cargo("env").fails(EXIT, says);
        assert!(!project.has_branch());
    }

    // And a file that is not there costs no branch at all.
    std::fs::remove_file(project.folder.join("more.sql")).unwrap();
    let missing = project.cargo("env").fails(70, &["more.sql", "lakebase.config"]);
    assert!(!missing.stderr.contains("Creating"), "{missing:#?}");
    assert_eq!(project.production_sql("SELECT count(*) FROM people"), "1000");

    // When it is mended, then the next one is masked.
    project.write("more.sql", "SELECT pg_catalog.set_config('search_path', '', false)");
    assert_eq!(secrets(&project), "0");
}

#[test]
fn a_branch_that_was_made_and_not_masked_is_masked_by_the_next_command() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_AFTER_BRANCH=mask.sql\nLAKEBASE_REQUIRE_MASK=true\n");

    // Given a command that was killed while the mask ran.
    project.write("mask.sql", &format!("{MASK}SELECT pg_sleep(600);\n"));
    killed_after(&project, "Running mask.sql");
    assert!(project.has_branch());
    project.write("mask.sql", MASK);
    // Then the next one masks it, and hands it out.
    let next = project.cargo("env").ok();
    assert!(
        next.stderr.contains("Running mask.sql") && !next.stderr.contains("Creating branch"),
        "{next:#?}"
    );
    assert_eq!((secrets(&project), project.sql("SELECT count(*) FROM mask_runs")), ("0".into(), "1".into()));

    // And the same for one that was killed while the branch was still being made.
    project.cargo("destroy").ok();
    lab.run("cargo-lakebase", ["embedded", "fault", "add", "stay-in-init"]).ok();
    killed_when(&project, |_| wait_for("the branch", || project.has_branch().then_some(())));
    lab.run("cargo-lakebase", ["embedded", "fault", "clear"]).ok();
    let next = project.lakebase("up -d --wait").ok();
    assert!(
        next.stderr.contains("Running mask.sql") && !next.stderr.contains("Creating branch"),
        "{next:#?}"
    );
    assert_eq!(secrets(&project), "0");
}

/// Reads what a command says until it says this.
fn wait_until_said(child: &mut Child, words: &str) {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = lines.take_while(|line| !line.starts_with("error:"));
    assert!(said.any(|line| line.contains(words)), "it never said {words:?}");
}

/// Runs `env`, and kills it as soon as it says this.
fn killed_after(project: &Project<'_>, words: &str) {
    killed_when(project, |child| wait_until_said(child, words));
}

/// Runs `env`, and kills it when `wait` is over.
fn killed_when(project: &Project<'_>, wait: impl FnOnce(&mut Child)) {
    let mut command = project.command("cargo-lakebase", ["env"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child);
    signal(&child.id().to_string(), "KILL");
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.is_empty(), "no login before the mask");
}

#[test]
fn two_terminals_mask_once() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_AFTER_BRANCH=mask.sql\n");
    project.write("mask.sql", &format!("{MASK}SELECT pg_sleep(1);\n"));
    std::thread::scope(|scope| {
        let terminals = [0; 3].map(|_| scope.spawn(|| project.cargo("env").ok()));
        for terminal in terminals {
            assert!(terminal.join().unwrap().stdout.contains("DATABASE_URL"));
        }
    });
    assert_eq!((secrets(&project), project.sql("SELECT count(*) FROM mask_runs")), ("0".into(), "1".into()));
}

#[test]
fn a_branch_that_must_be_masked_and_is_not_goes_through_no_door() {
    // Given a branch from the time before masks.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "");
    project.lakebase("up -d --wait").ok();
    assert_eq!(secrets(&project), "1000");
    project.lakebase("stop").ok();
    lab.run("docker-compose-lakebase", ["agent", "--stop"]).ok();

    // When there must be a mask and there is none, or there is one now, then no door opens.
    for (line, says) in [
        ("LAKEBASE_REQUIRE_MASK=true", &["nothing masks it", "after-branch"][..]),
        ("LAKEBASE_AFTER_BRANCH=mask.sql", &["is not masked", "--fresh"]),
    ] {
        configure(&project, line);
        for words in [
            &["docker", "compose", "lakebase", "up", "-d"][..],
            &["docker", "compose", "lakebase", "--keep", "up", "-d"],
            &["docker", "compose", "lakebase", "run", "--rm", "db", "true"],
            &["docker", "compose", "lakebase", "create"],
            &["cargo", "lakebase", "env"],
            &["cargo", "lakebase", "env", "--database", "postgres"],
            &["cargo", "lakebase", "psql", "--", "-c", "SELECT 1"],
            &["cargo", "lakebase", "run", "--", "env"],
        ] {
            // No variable is a way round it, and no login comes out.
            let mut command = project.command(words[0], &words[1..]);
            command
                .env("LAKEBASE_REQUIRE_MASK", "false")
                .env("LAKEBASE_AFTER_BRANCH", "compose.yaml")
                .env("LAKEBASE_DATABASE", "postgres");
            let ran = Ran::within(Duration::from_secs(120), &mut command).fails(EXIT, says);
            assert_eq!(ran.stdout, "", "{ran:#?}");
        }
    }
    // And a gateway that comes back is brought no logins.
    let start = project.lakebase("start");
    assert!(start.stderr.contains("the gateway gets no logins") && start.stderr.contains("up"), "{start:#?}");
    assert_eq!(lab.agent(), None);

    // When it is made anew, then it is masked; and withheld again once the mask is another.
    project.lakebase("--fresh up -d --wait").ok();
    assert_eq!(secrets(&project), "0");
    project.write("mask.sql", &format!("{MASK}-- and more\n"));
    project.cargo("env").fails(EXIT, &["masked by other files", "--fresh"]);
    assert_eq!(project.status()["masked"], false);
    project.cargo("reset --yes").ok();
    assert_eq!(secrets(&project), "0");
}
