//! What PostgreSQL leaves to a superuser and the service gives to members of `databricks_superuser`: event triggers, and the
//! extension that counts statements.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use common::{IDENTITY, Psql, Server};
use serde_json::Value;

/// Writes down who runs DDL. Trigger `by_start` stands for what a user leaves in a database.
const SPY: &str = "CREATE TABLE runs (who text);
    CREATE FUNCTION spy() RETURNS event_trigger LANGUAGE plpgsql AS
      $$BEGIN INSERT INTO public.runs VALUES (current_user); END$$";
const TRIGGER: &str = "CREATE EVENT TRIGGER spies ON ddl_command_start EXECUTE FUNCTION spy()";

/// Runs statements in one session, each by itself; gives what `psql` said of them.
fn session(psql: &Psql, statements: &[&str]) -> Output {
    let (user, database) = (&psql.user, &psql.database);
    let target = format!("host=127.0.0.1 port={} user='{user}' dbname='{database}' {}", psql.port, psql.more);
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d"]).arg(target);
    for statement in statements {
        command.args(["-c", statement]);
    }
    command.env("PGPASSWORD", &psql.password).output().unwrap()
}

fn tags(psql: &Psql, statements: &[&str]) -> String {
    let output = session(psql, statements);
    assert!(output.status.success(), "{statements:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().replace('\n', ", ")
}

/// What the last of these statements, which has to fail, is refused with.
fn refusal(psql: &Psql, statements: &[&str]) -> String {
    let output = session(psql, statements);
    assert!(!output.status.success(), "{statements:?} should have failed");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs a script by the extended protocol (`extended`, `prepared`); gives whether it worked, and what was said.
fn pgbench(psql: &Psql, mode: &str, times: u32, script: &str) -> (bool, String) {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let program = folders.iter().map(|folder| folder.join("pgbench")).find(|path| path.exists()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    std::fs::write(&file, script).unwrap();
    let (user, database) = (&psql.user, &psql.database);
    let output = Command::new(program)
        .args(["-n", "-M", mode, "-t", &times.to_string(), "-f"])
        .arg(file)
        .arg(format!("host=127.0.0.1 port={} user='{user}' dbname='{database}' {}", psql.port, psql.more))
        .env("PGPASSWORD", &psql.password)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

fn fault(server: &Server, line: &str) {
    let output = server.run(&["fault", "add", line]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn members_of_databricks_superuser_have_event_triggers_as_on_the_service() {
    let server = Server::with_project();
    let psql = server.psql("production");
    psql.query(SPY);
    // when one is made, looked at, changed and dropped, then each says what it was
    let said = tags(
        &psql,
        &[
            TRIGGER,
            "CREATE TABLE first ()",
            "-- a comment\nalter /* another */ EVENT TRIGGER spies DISABLE;",
            "CREATE TABLE second ()",
            "COMMENT ON EVENT TRIGGER spies IS 'watches'",
            "ALTER EVENT TRIGGER spies RENAME TO \"Spies\"",
            "SELECT evtname, evtenabled, obj_description(oid) FROM pg_event_trigger",
            "SELECT count(*) FROM runs",
            "DROP EVENT TRIGGER IF EXISTS \"Spies\"",
        ],
    );
    assert_eq!(
        said,
        "CREATE EVENT TRIGGER, CREATE TABLE, ALTER EVENT TRIGGER, CREATE TABLE, COMMENT, ALTER EVENT TRIGGER, \
         Spies|D|watches, 1, DROP EVENT TRIGGER"
    );
    // names are looked for where the session does
    let trigger = "CREATE EVENT TRIGGER here ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION noop()";
    tags(
        &psql,
        &[
            "CREATE SCHEMA elsewhere",
            "CREATE FUNCTION elsewhere.noop() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        ],
    );
    assert!(refusal(&psql, &[trigger]).contains("42883: function noop() does not exist"));
    tags(&psql, &["SET search_path = elsewhere, public", trigger]);
    // errors are PostgreSQL's, and the session goes on after them
    let output = session(&psql, &["\\set ON_ERROR_STOP 0", TRIGGER, TRIGGER, "SELECT 'still here'"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("42710: event trigger \"spies\" already exists"), "{error}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("still here"));
    assert!(refusal(&psql, &["CREATE EVENT TRIGGER x ON nonsense EXECUTE FUNCTION spy()"]).contains("42601"));
    assert!(refusal(&psql, &["CREATE EVENT TRIGGER x ON"]).contains("42601: syntax error"));
    assert!(
        refusal(&psql, &["SET default_transaction_read_only = on", "DROP EVENT TRIGGER spies"])
            .contains("25006")
    );
    // another member may drop it, and a branch has what its parent had
    server.branch("dev");
    let of_two = server.add_user(&["two@example.com"]);
    let two = server.psql_as("two@example.com", &of_two["DATABRICKS_TOKEN"], "dev");
    assert_eq!(tags(&two, &["DROP EVENT TRIGGER spies"]), "DROP EVENT TRIGGER");
    assert_eq!(server.query("production", "SELECT count(*) FROM pg_event_trigger"), "2");
}

#[test]
fn a_plain_role_a_transaction_and_a_batch_get_postgresqls_refusal() {
    let server = Server::with_project();
    let psql = server.psql("production");
    psql.query(SPY);
    psql.query("CREATE ROLE plain; GRANT CREATE ON SCHEMA public TO plain");
    psql.query("GRANT plain TO CURRENT_USER");
    let denied = "42501: permission denied to create event trigger \"spies\"";
    assert!(refusal(&psql, &["SET ROLE plain", TRIGGER]).contains(denied));
    assert!(refusal(&psql, &["BEGIN", TRIGGER]).contains(denied));
    assert!(refusal(&psql, &[&format!("SELECT 1; {TRIGGER}")]).contains(denied));
    assert!(refusal(&psql, &[&format!("{TRIGGER}; SELECT 1")]).contains(denied));
    // by the extended protocol as well, where the portal was made before
    for mode in ["extended", "prepared"] {
        let (worked, said) = pgbench(&psql, mode, 1, &format!("SET ROLE plain;\n{TRIGGER};\n"));
        assert!(!worked && said.contains("permission denied to create event trigger"), "{mode}: {said}");
        let (worked, said) = pgbench(&psql, mode, 1, &format!("BEGIN;\n{TRIGGER};\nCOMMIT;\n"));
        assert!(!worked && said.contains("permission denied to create event trigger"), "{mode}: {said}");
    }
    assert_eq!(psql.query("SELECT count(*) FROM pg_event_trigger"), "0");
    // nor may it drop one
    tags(&psql, &[TRIGGER]);
    let said = refusal(&psql, &["SET ROLE plain", "DROP EVENT TRIGGER spies"]);
    assert!(said.contains("42501: must be owner of event trigger spies"), "{said}");
    // and a function that is not its maker's to run is none for a trigger
    psql.query("CREATE FUNCTION hidden() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
    psql.query("REVOKE EXECUTE ON FUNCTION hidden() FROM PUBLIC");
    let of_two = server.add_user(&["two@example.com"]);
    let two = server.psql_as("two@example.com", &of_two["DATABRICKS_TOKEN"], "production");
    let said = refusal(&two, &["CREATE EVENT TRIGGER hides ON ddl_command_end EXECUTE FUNCTION hidden()"]);
    assert!(said.contains("42501: permission denied for function hidden"), "{said}");
}

#[test]
fn the_extended_protocol_and_pipelines_have_them_too() {
    let server = Server::with_project();
    let psql = server.psql("production");
    psql.query(SPY);
    let script = format!("{TRIGGER};\nSELECT 1;\nDROP EVENT TRIGGER spies;\n");
    for mode in ["simple", "extended", "prepared"] {
        let (worked, said) = pgbench(&psql, mode, 3, &script);
        assert!(worked, "{mode}: {said}");
    }
    // what follows in the same pipeline runs, too
    let pipeline = |statements: &str| format!("\\startpipeline\n{statements}\n\\endpipeline\n");
    let table = "CREATE TABLE piped ();";
    let (worked, said) = pgbench(&psql, "extended", 1, &pipeline(&format!("{TRIGGER};\n{table}")));
    assert!(worked, "{said}");
    assert_eq!(psql.query("SELECT count(*) FROM runs"), "1");
    // nothing that follows an error does
    let (worked, said) =
        pgbench(&psql, "extended", 1, &pipeline(&format!("{TRIGGER};\nCREATE TABLE never ();")));
    assert!(!worked && said.contains("already exists"), "{said}");
    assert_eq!(psql.query("SELECT to_regclass('never') IS NULL"), "t");
    // and what would be half of a transaction is PostgreSQL's
    let (worked, said) = pgbench(
        &psql,
        "extended",
        1,
        &pipeline(&format!("SELECT 1;\n{}", TRIGGER.replace("spies", "other"))),
    );
    assert!(!worked && said.contains("permission denied to create event trigger"), "{said}");
}

#[test]
fn no_event_trigger_runs_as_the_servers_own_superuser() {
    let server = Server::with_project();
    let branch = "/projects/shop/branches/production";
    let psql = server.psql("production");
    psql.query(SPY);
    psql.query("GRANT INSERT ON runs TO PUBLIC");
    tags(
        &psql,
        &[
            TRIGGER,
            &TRIGGER.replace("spies", "ends").replace("_start", "_end"),
            &TRIGGER.replace("spies", "drops").replace("ddl_command_start", "sql_drop"),
        ],
    );
    // given triggers that would be fired by a replica, or by everybody, where there is a setting against that
    for state in ["ALWAYS", "REPLICA"] {
        let alter = format!("ALTER EVENT TRIGGER spies ENABLE {state}");
        if psql.query("SELECT current_setting('server_version_num')::int >= 170000") == "t" {
            tags(&psql, &[&alter]);
        } else {
            assert!(refusal(&psql, &[&alter]).contains("0A000"));
        }
    }
    tags(&psql, &["ALTER EVENT TRIGGER spies ENABLE"]);
    // that do fire for what the server is going to do there
    psql.query("CREATE ROLE guest; GRANT guest TO CURRENT_USER; GRANT ALL ON SCHEMA public TO guest");
    psql.query("SET ROLE guest; CREATE TABLE mine (); CREATE TABLE ours ()");
    psql.query("DELETE FROM runs; REVOKE ALL ON SCHEMA public FROM guest; DROP OWNED BY guest");
    assert_ne!(psql.query("SELECT count(*) FROM runs"), "0");
    // when it runs DDL in that database: a role's heritage, the extension
    psql.query("GRANT ALL ON SCHEMA public TO guest");
    psql.query("SET ROLE guest; CREATE TABLE mine (); CREATE TABLE ours ()");
    psql.query("DELETE FROM runs");
    let heir = server.get(&format!("{branch}/roles"))["roles"][0]["name"].as_str().unwrap().to_owned();
    server.operate("DELETE", &format!("{branch}/roles/guest?reassign_owned_to={heir}"), &Value::Null);
    assert_eq!(psql.query("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'mine'"), IDENTITY);
    tags(&psql, &["CREATE EXTENSION pg_stat_statements", "DROP EXTENSION pg_stat_statements"]);
    // then none of them ran
    assert_eq!(psql.query("SELECT count(*) FROM runs"), "0");
    // and a path that a database was given leads the server's sessions nowhere
    psql.query("CREATE SCHEMA trap; CREATE VIEW trap.pg_event_trigger AS SELECT 1/0 AS evtenabled");
    psql.query("ALTER DATABASE databricks_postgres SET search_path = trap, pg_catalog, public");
    tags(&server.psql("production"), &["DROP EVENT TRIGGER spies"]);
}

#[test]
fn a_fault_takes_event_triggers_away() {
    let server = Server::with_project();
    let psql = server.psql("production");
    psql.query(SPY);
    fault(&server, "no-event-triggers");
    let said = refusal(&psql, &[TRIGGER]);
    assert!(said.contains("42501: permission denied to create event trigger \"spies\""), "{said}");
    let (worked, said) = pgbench(&psql, "extended", 1, &format!("{TRIGGER};\n"));
    assert!(!worked && said.contains("permission denied to create event trigger"), "{said}");
    assert!(server.run(&["fault", "clear"]).status.success());
    tags(&psql, &[TRIGGER]);
}

#[test]
fn statements_are_counted_and_a_fault_takes_that_away() {
    let server = Server::with_project();
    let psql = server.psql("production");
    // given the extension, which a member may make and a plain role may not
    psql.query("CREATE ROLE plain; GRANT plain TO CURRENT_USER");
    let create = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public";
    assert!(
        refusal(&psql, &["SET ROLE plain", create]).contains("42501: permission denied to create extension")
    );
    assert_eq!(tags(&psql, &[create]), "CREATE EXTENSION");
    let (worked, said) = pgbench(&psql, "extended", 2, &format!("{create};\n"));
    assert!(worked, "{said}");
    // when statements run, one inside of a block
    psql.query("CREATE TABLE counted (id int); INSERT INTO counted VALUES (1)");
    psql.query("DO $$BEGIN UPDATE counted SET id = 2; END$$");
    // then their texts are there
    let seen = |text: &str| {
        psql.query(&format!("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '{text}%'"))
    };
    assert_eq!((seen("INSERT INTO counted"), seen("UPDATE counted")), ("1".into(), "1".into()));
    // and not in a copy of a PostgreSQL that runs
    server.branch("dev");
    let counted =
        "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%counted%' AND query NOT LIKE 'SELECT%'";
    assert_eq!(server.query("dev", counted), "0");
    // given a branch that is to be without
    fault(&server, "no-pg-stat-statements branch=bare");
    server.branch("bare");
    let bare = server.psql("bare");
    let said = refusal(&bare, &["SELECT * FROM pg_stat_statements"]);
    assert!(said.contains("55000: pg_stat_statements must be loaded via"), "{said}");
    let mut elsewhere = bare.clone();
    elsewhere.database = "postgres".into();
    assert!(refusal(&elsewhere, &["CREATE EXTENSION pg_stat_statements"]).contains("42501"));
    assert_eq!(seen("INSERT INTO counted"), "1");
}
