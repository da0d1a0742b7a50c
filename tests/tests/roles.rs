//! Who a session is: `role`, and the native logins of `connect = "password"`.

use e2e::{Lab, Project};
use serde_json::json;

/// What leaves production's tables to a role.
fn give_to(role: &str) -> String {
    format!(
        "GRANT {role} TO CURRENT_USER; GRANT ALL ON SCHEMA public TO {role};
         ALTER TABLE tasks OWNER TO {role}; ALTER TABLE alembic_version OWNER TO {role}"
    )
}

fn configure(project: &Project<'_>, line: &str) {
    project.write("lakebase.config", &format!("{}{line}\n", project.read("lakebase.config")));
}

#[test]
fn the_unchanged_entrypoint_migrates_as_the_role_that_owns_the_tables() {
    // Given production's tables in a team's hands, and a database that is published on the host.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.production_sql(&format!("CREATE ROLE \"the team\"; {}", give_to("\"the team\"")));
    let port = e2e::free_port();
    let published = format!("    ports: [\"127.0.0.1:{port}:5432\"]\n    volumes:\n");
    project.write("compose.yaml", &project.read("compose.yaml").replacen("    volumes:\n", &published, 1));
    configure(&project, "LAKEBASE_ROLE='the team'");
    let migration = "migrations/versions/0004_attachments.py";
    project.write(
        &format!("backend/{migration}"),
        "from alembic import op\nrevision, down_revision = '0004', '0003'\n\
         def upgrade():\n    op.execute('CREATE TABLE attachments (id int)')\n",
    );

    // When the application comes up.
    project.lakebase("up -d --build --wait").ok();

    // Then what its entrypoint made belongs to the team.
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'attachments'";
    assert_eq!(project.sql(owner), "the team");
    // And so is every session: through the gateway, and of a command on the host.
    let url = format!("postgresql://todo:todo@127.0.0.1:{port}/todo");
    let seat = project.run("psql", ["-XAtqc", "SELECT current_user", &url]).ok();
    assert_eq!(seat.stdout, "the team\n");
    assert_eq!(project.sql("SELECT current_user"), "the team");
    let words = "psql -XAtqc 'SELECT current_user' \"$DATABASE_URL\"";
    let on_host = project.run("cargo", ["lakebase", "run", "--", "sh", "-c", words]).ok();
    assert_eq!(on_host.stdout, "the team\n");
}

#[test]
fn a_native_role_logs_in_with_its_password_and_nothing_is_made_anew() {
    // Given a role with a password of its own, which owns the tables.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let spec = json!({"spec": {"postgres_role": "app", "auth_method": "PG_PASSWORD_SCRAM_SHA_256"}});
    lab.api("POST", "projects/todo/branches/production/roles?role_id=role-app", &spec);
    project.production_sql(&give_to("app"));
    let up = |code: i32| {
        let ran = project.lakebase("up -d --build --wait");
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        ran
    };

    // When no role is named, or the project allows no native login, then `up` says so before anything is made.
    configure(&project, "LAKEBASE_CONNECT=password");
    assert!(up(68).stderr.contains("LAKEBASE_ROLE"));
    configure(&project, "LAKEBASE_ROLE=app");
    assert!(up(76).stderr.contains("enable_pg_native_login"));
    assert_eq!(project.compose("ps -aq").ok().stdout, "");

    // When it does, then the application is that role.
    let spec = json!({"spec": {"enable_pg_native_login": true}});
    lab.api("PATCH", "projects/todo?update_mask=spec.enable_pg_native_login", &spec);
    let first = up(0);
    assert!(first.stderr.contains("logins as app"), "{first:#?}");
    assert!(project.get("/api/info")["db_source"].as_str().unwrap().starts_with("lakebase/dev-"));
    assert_eq!(project.sql("SELECT session_user, version_num FROM alembic_version"), "app|0003");

    // And the password stays, so the next `up` changes no container.
    let before = project.compose("ps -aq --no-trunc").ok().stdout;
    up(0);
    assert_eq!(project.compose("ps -aq --no-trunc").ok().stdout, before);

    // When the role can't log in with a password, then `up` says that.
    project.write("lakebase.config", &project.read("lakebase.config").replace("ROLE=app", "ROLE=nobody"));
    assert!(up(70).stderr.contains("the branch has no such role"));
}
