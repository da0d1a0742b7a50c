//! A branch that is reused, and whether it still tests the project's migrations.

use std::collections::BTreeMap;

use e2e::{Lab, Project};
use serde_json::{Value, json};

const STALE: i32 = 91;

/// What `status` says of each tool.
fn states(project: &Project<'_>) -> BTreeMap<String, String> {
    let status = project.status();
    let tools = status["freshness"].as_array().unwrap_or_else(|| panic!("{status:#}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    tools.iter().map(|tool| (text(&tool["tool"]), text(&tool["state"]))).collect()
}

#[test]
fn a_branch_that_ran_another_git_branchs_migration_starts_nothing() {
    // Given a git branch whose migration ran on its Lakebase branch, and which then lost it.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.switch("feature/x");
    let next = "next-migrations/0004_task_archived.py";
    let installed = "backend/migrations/versions/0004_task_archived.py";
    project.write(installed, &project.read(next));
    project.commit("A migration");
    let up = project.lakebase("up -d --build --wait").ok();
    assert!(up.stderr.contains("Alembic: to be run: ") && up.stderr.contains(installed), "{up:#?}");
    assert_eq!(states(&project), BTreeMap::from([("alembic".into(), "level".into())]));
    project.lakebase("down").ok();
    project.run("git", ["switch", "--quiet", "--force-create", "feature/x", "main"]).ok();

    // When it comes up again, then nothing starts, and the file and both ways on are named.
    let up = project.lakebase("up -d --build").fails(STALE, &[installed, "--fresh up", "--keep up"]);
    assert_eq!(project.lakebase("ps -aq").ok().stdout, "", "{up:#?}");
    assert_eq!(states(&project)["alembic"], "ahead");

    // A command of the user's own, which may be the cure, is only warned.
    let run = project.lakebase("run --rm --no-deps --build --entrypoint true backend").ok();
    assert!(run.stderr.contains("tests nothing any more"), "{run:#?}");

    // When it is to be kept, then it goes on, and is not asked about again.
    project.lakebase("--keep create --build").ok();
    project.lakebase("create").ok();
    // When it is made anew, then it is what production is.
    let fresh = project.lakebase("--fresh up -d --build --wait").ok();
    assert!(fresh.stderr.contains("0003_task_priority.py"), "{fresh:#?}");
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0003");
}

#[test]
fn an_edited_migration_that_has_run_is_no_test() {
    // Given a migration that ran on the branch, at the one `up` that there was.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.lakebase("up -d --build --wait").ok();
    let before = project.containers();

    // When it is edited, then `up` says so, and what runs is left alone.
    let file = "backend/migrations/versions/0003_task_priority.py";
    let edit = |project: &Project<'_>, to: &str| {
        project
            .write(file, &project.read(file).replace("BETWEEN 1 AND 3", to).replace("BETWEEN 1 AND 4", to));
    };
    edit(&project, "BETWEEN 1 AND 4");
    project.lakebase("up -d --build --wait").fails(STALE, &[file, "--fresh up", "--keep up"]);
    assert_eq!(project.containers(), before);
    assert_eq!(states(&project)["alembic"], "edited");

    // When the branch is kept, then it goes on; and says so again at the next edit.
    project.lakebase("--keep up -d --build --wait").ok();
    project.lakebase("up -d --build --wait").ok();
    edit(&project, "BETWEEN 1 AND 5");
    project.lakebase("up -d --build").fails(STALE, &[file]);

    // When it is made anew, then the edited one runs.
    project.lakebase("--fresh up -d --build --wait").ok();
    let check = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'tasks_priority_known'";
    assert!(project.sql(check).contains("<= 5"), "{}", project.sql(check));

    // And one that failed may be edited until it runs.
    let fourth = "backend/migrations/versions/0004_x.py";
    let migration = |sql: &str| {
        format!(
            "from alembic import op\nrevision, down_revision = '0004', '0003'\n\ndef upgrade():\n    op.execute({sql:?})\n"
        )
    };
    project.write(fourth, &migration("SELECT 1 / 0"));
    let up = project.lakebase("up --build --abort-on-container-exit --exit-code-from backend");
    assert!(up.all().contains("division by zero"), "{up:#?}");
    project.write(fourth, &migration("SELECT 1"));
    project.lakebase("up -d --build --wait").ok();
    project.lakebase("up -d --wait").ok();
    assert_eq!(states(&project)["alembic"], "level");
}

/// A project with files for every tool but Alembic. In production's history is the first of each, as the tool itself writes it.
fn every_tool(lab: &Lab) -> Project<'_> {
    let config = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_TTL=72h\n";
    let compose = "services:\n  db: {image: localhost:1/postgres}\n  app: {image: localhost:1/app}\n";
    let django =
        |replaces: &str| format!("class Migration(migrations.Migration):\n    initial = True\n{replaces}");
    let project = lab.project(
        "shop",
        &[
            ("lakebase.config", config),
            ("compose.yaml", compose),
            (".gitignore", ".lakebase\nbuild/\n"),
            ("api/migrations/1_a.sql", "SELECT 1;\n"),
            ("web/shop/migrations/0001_initial.py", &django("")),
            ("diesel/migrations/2024-01-01-000000_a/up.sql", "SELECT 1;\n"),
            ("refinery/V1__initial.sql", "CREATE TABLE persons (id int);\n"),
            ("java/src/main/resources/db/migration/V1__a.sql", "CREATE TABLE persons (id int);\n"),
            ("java/build/resources/main/db/migration/V9__old.sql", ""),
            ("node/prisma/migrations/1_a/migration.sql", "SELECT 1;\n"),
            ("rails/db/migrate/20240101000000_a.rb", "class A; end\n"),
            ("rails/node_modules/x/db/migrate/20250101000000_b.rb", ""),
        ],
    );
    project.cargo("init").ok();
    // The sums are those of `sha384sum`, refinery-core 0.9.2, Python's `zlib.crc32` and `sha256sum`.
    project.production_sql(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
           installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);
         INSERT INTO _sqlx_migrations VALUES (1, 'a', DEFAULT, true, decode('24454095d8d7876ca8e842f34296ca645c83e0f7b50f048c99db4b2ff4da659267afc4ef3e994f3d74e18c741165d931', 'hex'), 1);
         CREATE TABLE django_migrations (id BIGINT PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, app VARCHAR(255) NOT NULL,
           name VARCHAR(255) NOT NULL, applied TIMESTAMPTZ NOT NULL DEFAULT now());
         INSERT INTO django_migrations (app, name) VALUES ('shop', '0001_initial'), ('auth', '0001_initial');
         CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO __diesel_schema_migrations VALUES ('20240101000000');
         CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255));
         INSERT INTO refinery_schema_history VALUES (1, 'initial', '2024-01-01T00:00:00Z', '1091441964215326441');
         CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL,
           type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL DEFAULT 'x',
           installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL DEFAULT 1, success BOOLEAN NOT NULL);
         INSERT INTO flyway_schema_history VALUES (1, '1', 'a', 'SQL', 'V1__a.sql', 720324465, DEFAULT, DEFAULT, DEFAULT, true);
         CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
           migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
           applied_steps_count INTEGER NOT NULL DEFAULT 0);
         INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES
           ('a', 'b4e0497804e46e0a0b0b8c31975b062152d551bac49c3c2e80932567b4085dcd', now(), '1_a'), ('b', 'x', NULL, '0_failed');
         CREATE TABLE schema_migrations (version VARCHAR NOT NULL PRIMARY KEY);
         INSERT INTO schema_migrations VALUES ('20240101000000')",
    );
    project
}

const TOOLS: [&str; 7] = ["diesel", "django", "flyway", "prisma", "rails", "refinery", "sqlx"];

fn all(state: &str) -> BTreeMap<String, String> {
    TOOLS.map(|tool| (tool.to_owned(), state.to_owned())).into()
}

/// Runs the second migration of each tool, as the tool notes it.
const SECOND: &str = "
    INSERT INTO _sqlx_migrations VALUES (2, 'b', DEFAULT, true, decode(repeat('00', 48), 'hex'), 1);
    INSERT INTO django_migrations (app, name) VALUES ('shop', '0002_b');
    INSERT INTO __diesel_schema_migrations VALUES ('20240202000000');
    INSERT INTO refinery_schema_history VALUES (2, 'b', '2024-01-01T00:00:00Z', '7');
    INSERT INTO flyway_schema_history VALUES (2, '2', 'b', 'SQL', 'V2__b.sql', 7, DEFAULT, DEFAULT, DEFAULT, true);
    INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES ('c', 'x', now(), '2_b');
    INSERT INTO schema_migrations VALUES ('20240202000000')";

#[test]
fn every_tools_history_is_understood() {
    // Given a branch of a production that has run every file.
    let lab = Lab::with_embedded();
    let project = every_tool(&lab);
    project.cargo("env").ok();
    assert_eq!(states(&project), all("level"));

    // When the files have more, then that is the normal case.
    let more = [
        "api/migrations/2_b.sql",
        "web/shop/migrations/0002_b.py",
        "diesel/migrations/2024-02-02-000000_b/up.sql",
        "refinery/V2__b.sql",
        "java/src/main/resources/db/migration/V2__b.sql",
        "node/prisma/migrations/2_b/migration.sql",
        "rails/db/migrate/20240202000000_b.rb",
    ];
    for file in more {
        project.write(file, "class Migration(migrations.Migration):\n    pass\n");
    }
    assert_eq!(states(&project), all("behind"));

    // When they have run, and are gone from the files, then the branch is ahead with each.
    for file in more {
        std::fs::remove_file(project.folder.join(file)).unwrap();
    }
    project.sql(SECOND);
    assert_eq!(states(&project), all("ahead"));
    let names = ["sqlx", "Django", "diesel", "refinery", "Flyway", "Prisma", "Rails"];
    let up = project.lakebase("up -d").fails(STALE, &["--fresh up"]);
    for name in names {
        assert!(up.stderr.contains(&format!("caused by: {name}: it has run ")), "{name}: {up:#?}");
    }
    // A person's words are the same.
    assert!(project.cargo("status").ok().stdout.contains("which is not in the files of this git branch"));

    // When it is a tool's own sum that does not fit, then the file was edited, whoever looks.
    project.cargo("reset --yes").ok();
    assert_eq!(states(&project), all("level"));
    project.sql(SECOND);
    for file in more {
        project.write(file, "class Migration(migrations.Migration):\n    pass\n");
    }
    let summed = ["flyway", "prisma", "refinery", "sqlx"];
    let seen = states(&project);
    for tool in TOOLS {
        let wanted = if summed.contains(&tool) { "edited" } else { "level" };
        assert_eq!(seen[tool], wanted, "{tool}");
    }

    // What production itself ran otherwise is no reason for another fork.
    project.cargo("reset --yes").ok();
    for file in more {
        std::fs::remove_file(project.folder.join(file)).unwrap();
    }
    project.write("api/migrations/1_a.sql", "SELECT 2;\n");
    std::fs::remove_file(project.folder.join("rails/db/migrate/20240101000000_a.rb")).unwrap();
    project.write("rails/db/migrate/20230101000000_before.rb", "");
    let status = project.status();
    let tool = |name: &str| {
        let tools = status["freshness"].as_array().unwrap();
        tools.iter().find(|tool| tool["tool"] == name).unwrap().clone()
    };
    assert_eq!(tool("sqlx")["settled"][0]["file"], "api/migrations/1_a.sql");
    assert_eq!(
        (&tool("rails")["missing"][0]["id"], &tool("rails")["ahead"]),
        (&json!("20240101000000"), &json!([]))
    );
    let up = project.lakebase("up -d");
    assert!(up.code != Some(STALE) && up.stderr.contains("will never run there"), "{up:#?}");
    assert!(up.stderr.contains("the checkout is older than production"), "{up:#?}");
}

#[test]
fn a_production_that_moved_on_and_an_old_fork_are_told() {
    // Given a fork that was made thirty hours ago, by the service's clock.
    let lab = Lab::with_embedded();
    let project = every_tool(&lab);
    lab.call("PATCH", "/embedded/clock", &json!({"skew_seconds": -30 * 3600}));
    project.cargo("env").ok();
    lab.call("PATCH", "/embedded/clock", &json!({"skew_seconds": 0}));
    // By the new clock nobody has used it for thirty hours, so it may sleep, and `status` wakes nobody.
    project.sql("SELECT 1");

    // When production has run more since.
    project.production_sql(SECOND);

    // Then `status` says so, and `up` warns of the age and goes on.
    assert_eq!(states(&project), all("parent-ahead"));
    let words = project.cargo("status").ok().stdout;
    assert!(words.contains("the parent has run since the fork was made: `2_b`"), "{words}");
    let up = project.lakebase("up -d");
    assert_ne!(up.code, Some(STALE), "{up:#?}");
    assert!(up.stderr.contains("the fork is 30 h old") && up.stderr.contains("localhost:1"), "{up:#?}");

    // And a production that sleeps is not woken to be asked.
    lab.call(
        "POST",
        "/embedded/suspend",
        &json!({"endpoint": "projects/shop/branches/production/endpoints/primary"}),
    );
    assert_eq!(states(&project), all("level"));
    let endpoint =
        lab.ask("GET", "/api/2.0/postgres/projects/shop/branches/production/endpoints/primary", None);
    assert_eq!(endpoint.body["status"]["current_state"], "IDLE");
}
