//! `cargo lakebase`: init, status, env, run, psql, destroy, on the embedded Lakebase.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Lab, Project, Ran, wait_for};
use serde_json::Value;

const CONFIG: &str = "# Where production is.\nLAKEBASE_PROJECT_NAME=shop # the shop\n\nexport LAKEBASE_PROFILE='embedded'\nLAKEBASE_DATABASE=shop_db\n# End.\n";

fn project(lab: &Lab) -> Project<'_> {
    let project = lab.project("shop", &[("lakebase.config", CONFIG), (".gitignore", ".env.lakebase\n")]);
    project.cargo("init").ok();
    project
}

#[test]
fn init_makes_what_is_missing_and_a_second_run_changes_nothing() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let written = project.read("lakebase.config");
    let id = written.lines().find_map(|line| line.strip_prefix("LAKEBASE_PROJECT_ID=")).unwrap();
    assert_eq!(written.replace(&format!("LAKEBASE_PROJECT_ID={id}\n"), ""), CONFIG);
    assert_eq!(project.production_sql("SELECT current_database()"), "shop_db");
    project.cargo("init").ok();
    assert_eq!(project.read("lakebase.config"), written);
    // Another project under the same id is noticed, by every command.
    project.write("lakebase.config", &written.replace(id, "somebody-elses"));
    project.cargo("init").fails(70, &["somebody-elses"]);
    project.cargo("env").fails(70, &["somebody-elses"]);
}

#[test]
fn init_without_a_file_makes_one_after_the_folder() {
    let lab = Lab::with_embedded();
    let project = lab.project("My Shop", &[("README.md", "")]);
    project.cargo("init --profile embedded").ok();
    let written = project.read("lakebase.config");
    assert!(written.contains("LAKEBASE_PROJECT_NAME=my-shop\nLAKEBASE_PROFILE=embedded\n"), "{written}");
    assert_eq!(project.production_sql("SELECT 1"), "1");
}

#[test]
fn a_cargo_project_keeps_its_configuration_in_its_manifest() {
    let lab = Lab::with_embedded();
    let manifest = "[package]\nname = \"shop\" # ours\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[package.metadata.lakebase]\n# Where production is.\nproject-name = \"shop\"\nprofile = \"embedded\" # offline\n\n[dependencies]\n";
    let project = lab.project("shop", &[("Cargo.toml", manifest), ("src/lib.rs", "")]);
    project.cargo("init").ok();
    let written = project.read("Cargo.toml");
    let id = written.lines().find(|line| line.starts_with("project-id = ")).unwrap();
    assert_eq!(written.replace(&format!("{id}\n"), ""), manifest);
    assert!(!project.folder.join("lakebase.config").exists());
    assert_eq!(project.sql("SELECT 1"), "1");
    project.cargo("init").ok();
    assert_eq!(project.read("Cargo.toml"), written);
}

#[test]
fn the_pages_of_a_branchs_life() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.production_sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id");

    // Before: status looks and makes nothing.
    assert!(!project.has_branch());
    let before = project.cargo("status").ok();
    assert!(before.stdout.contains("not made yet"), "{before:#?}");

    // A command gets the branch in its environment and gives its own exit code.
    let ran = project.run(
        "cargo",
        ["lakebase", "run", "--", "sh", "-c", "psql -XAtqc 'DELETE FROM orders RETURNING 1' \"$DATABASE_URL\" | wc -l; echo $DB_SOURCE $LAKEBASE_BRANCH_PATH; exit 7"],
    );
    let id = project.branch_id();
    assert_eq!(ran.code, Some(7), "{ran:#?}");
    assert_eq!(ran.stdout, format!("1000\nlakebase/{id} projects/shop/branches/{id}\n"));
    assert_eq!(project.production_sql("SELECT count(*) FROM orders"), "1000");

    // Each use extends its life.
    let expires = |project: &Project<'_>| project.status()["branch"]["expires"].as_str().unwrap().to_owned();
    let short = expires(&project);
    project.cargo("env --ttl 48h").ok();
    assert!(expires(&project) > short);

    // Every form of `env` opens the database.
    let shell = project.cargo("env --format shell").ok().stdout;
    let script = format!("{shell}\npsql -XAtqc 'SELECT count(*) FROM orders'");
    assert_eq!(project.run("sh", ["-c", &script]).ok().stdout, "0\n");
    let json: Value = serde_json::from_str(&project.cargo("env --format json").ok().stdout).unwrap();
    assert_eq!(json["PGDATABASE"], "shop_db");
    assert!(json["DATABASE_URL"].as_str().unwrap().contains("%40"), "the identity's @ is escaped");

    // And destroy ends it, with the file.
    project.cargo("env --write").ok();
    let file = project.folder.join(".env.lakebase");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    project.cargo("destroy").ok();
    assert!(!file.exists() && !project.has_branch());
    assert_eq!(project.production_sql("SELECT count(*) FROM orders"), "1000");
}

#[test]
fn a_login_is_not_written_where_git_would_commit_it() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.write(".gitignore", "");
    project.cargo("env --write").fails(84, &["git would commit it", ".gitignore"]);
    assert!(!project.folder.join(".env.lakebase").exists() && !project.has_branch());

    // Where somebody sits at the terminal, the entry is offered: a no leaves all as it is, a yes goes on.
    let at_a_terminal = |answer: &str| {
        let command = format!("printf '{answer}\\n' | script -qec 'cargo lakebase env --write' /dev/null");
        project.run("sh", ["-c", &command])
    };
    at_a_terminal("n").fails(84, &[]);
    assert_eq!(project.read(".gitignore"), "");
    assert!(!project.folder.join(".env.lakebase").exists() && !project.has_branch());
    let said = at_a_terminal("y").ok().stdout;
    assert!(said.contains("Add it to"), "{said}");
    assert_eq!(project.read(".gitignore"), ".env.lakebase\n");
    assert!(project.folder.join(".env.lakebase").exists() && project.has_branch());
}

#[test]
fn a_branch_that_was_made_anew_while_a_question_stood_is_left_alone() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("env").ok();
    // Given a question about a branch, which nobody answers for long
    let late =
        "(while [ ! -e answer ]; do sleep 0.1; done; echo y) | script -qefc 'cargo lakebase reset' asked";
    let asked = || fs::read_to_string(project.folder.join("asked")).unwrap_or_default();
    std::thread::scope(|scope| {
        let reset = scope.spawn(|| project.run("sh", ["-c", late]));
        wait_for("the question", || asked().contains("are lost").then_some(()));
        // When the branch is another one by then, then the answer is not about that
        project.cargo("destroy").ok();
        project.cargo("env").ok();
        let uid = || lab.read(&format!("projects/shop/branches/{}", project.branch_id()))["uid"].clone();
        let other = uid();
        project.write("answer", "");
        reset.join().unwrap().fails(84, &[]);
        assert!(asked().contains("not there any more"), "{}", asked());
        assert!(other.is_string() && uid() == other);
    });
}

#[test]
fn destroy_deletes_the_branch_of_this_git_branch_whatever_a_file_says() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.production_sql("CREATE TABLE orders (id int)");
    project.cargo("env").ok();
    let first = project.branch_id();

    // Given files that name production and a colleague's branch in every way there is.
    project.switch("other");
    project.write(".env.lakebase", "# Written by lakebase; holds a short-lived login. Do not commit.\nLAKEBASE_BRANCH_PATH='projects/shop/branches/production'\n");
    project.write(".env", "LAKEBASE_BRANCH_PATH=projects/shop/branches/production\n");
    let mut command = project.command("cargo", ["lakebase", "destroy", "--parent-branch", &first]);
    command
        .env("LAKEBASE_BRANCH_PATH", "projects/shop/branches/production")
        .env("DB_SOURCE", "lakebase/production")
        .env("LAKEBASE_BRANCH_ID", "production");

    // When this branch is destroyed, then there is nothing to delete.
    let ran = Ran::of(&mut command).ok();
    assert!(ran.stderr.contains("There was no branch dev-ada-lovelace-other-"), "{ran:#?}");
    assert_eq!(project.production_sql("SELECT count(*) FROM orders"), "0");
    project.switch("main");
    assert!(project.has_branch());
    // And no argument names a branch.
    project.cargo("destroy production").fails(64, &["production"]);
    project.cargo("destroy --project-name ../shop").fails(70, &["project-name"]);
}

#[test]
fn the_users_own_libpq_settings_do_not_lead_a_login_elsewhere() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let service = project.folder.join("pg_service.conf");
    fs::write(&service, "[elsewhere]\nhost=127.0.0.1\nport=1\n").unwrap();
    let psql = ["lakebase", "psql", "--", "-XAtqc", "SELECT current_database()"];
    let url =
        ["lakebase", "run", "--", "sh", "-c", "psql -XAtqc 'SELECT current_database()' \"$DATABASE_URL\""];
    for words in [psql.as_slice(), url.as_slice()] {
        let mut command = project.command("cargo", words);
        command.env("PGSERVICEFILE", &service).env("PGSERVICE", "elsewhere").env("PGHOSTADDR", "127.0.0.9");
        assert_eq!(Ran::of(&mut command).ok().stdout, "shop_db\n", "{words:?}");
    }
}

#[test]
fn a_parent_that_is_not_there_costs_no_branch() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("env").ok();
    let forked = project.status()["branch"]["forked"].clone();
    // `--fresh` would delete the branch, and there is nothing to make it anew from.
    project.write(
        "compose.yaml",
        "services:\n  db: {image: postgres}\n  app: {image: app, environment: {DATABASE_URL: x}}\n",
    );
    let mut command = project.command("docker", ["compose", "lakebase", "--fresh", "up"]);
    Ran::of(command.env("LAKEBASE_PARENT_BRANCH", "prodction")).fails(70, &["no parent branch", "prodction"]);
    let mut command = project.command("docker", ["compose", "lakebase", "--fresh", "up"]);
    Ran::of(command.env("LAKEBASE_PARENT_BRANCH", project.branch_id())).fails(70, &["own"]);
    assert_eq!(project.status()["branch"]["forked"], forked);
}

#[test]
fn a_protected_branch_is_left_alone_even_under_our_name() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("env").ok();
    let path = format!("projects/shop/branches/{}", project.branch_id());
    lab.api(
        "PATCH",
        &format!("{path}?update_mask=spec.is_protected,spec.expiration"),
        &serde_json::json!({"spec": {"is_protected": true, "no_expiry": true}}),
    );
    project.cargo("destroy").fails(84, &["is left alone", "protected"]);
    assert!(project.has_branch());
}

#[test]
fn aliases_are_for_the_shell() {
    let lab = Lab::new();
    let printed = lab.run("cargo-lakebase", ["aliases", "sh"]).ok().stdout;
    let script = format!(
        "{printed}\nalias dev-lakebase refresh-token lakebase-init dev-local dev-down dev-destroy dev-status"
    );
    let known = lab.run("sh", ["-c", &script]).ok().stdout;
    assert!(known.contains("docker compose lakebase up -d") && known.contains("cargo lakebase env --write"));
    assert!(lab.run("cargo-lakebase", ["aliases", "fish"]).ok().stdout.contains("alias dev-down '"));
}
