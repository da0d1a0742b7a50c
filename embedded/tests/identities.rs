//! Several identities: tokens of their own, roles of their own, and no way to what others own.

mod common;

use common::{IDENTITY, Server, check};
use serde_json::{Value, json};

const ADA: &str = "ada@example.com";
const GRACE: &str = "grace@example.com";
const OWNER: &str = "must be owner of table";

fn me(server: &Server, token: &str) -> (u16, Value) {
    server.request("GET", "/api/2.0/preview/scim/v2/Me", Some(token), &Value::Null)
}

#[test]
fn an_identity_signs_in_with_its_own_token_from_its_adding_to_its_removal() {
    let mut server = Server::with_project();
    // given two more identities
    let ada = server.add_user(&[ADA]);
    let grace = server.add_user(&[GRACE]);
    let (ada, grace) = (&ada["DATABRICKS_TOKEN"], &grace["DATABRICKS_TOKEN"]);
    // then the API knows them apart, and who makes a project owns it
    assert_eq!(me(&server, ada).1["userName"], ADA);
    assert_eq!(me(&server, grace).1["userName"], GRACE);
    assert_ne!(me(&server, ada).1["id"], me(&server, grace).1["id"]);
    let path = "/api/2.0/postgres/projects?project_id=lab";
    let (_, operation) = server.request("POST", path, Some(ada), &json!({"spec": {}}));
    server.wait_for(operation["name"].as_str().unwrap());
    assert_eq!(server.get("/projects/lab")["status"]["owner"], ADA);
    let roles = server.get("/projects/lab/branches/production/roles")["roles"].clone();
    assert_eq!(roles[0]["status"]["postgres_role"], ADA, "{roles}");
    assert_eq!(roles[0]["status"]["identity_type"], "USER");
    // and what belongs to the home is for its own identity
    for path in ["/embedded/clock", "/embedded/suspend"] {
        let method = if path.ends_with("clock") { "GET" } else { "POST" };
        check(
            server.request(method, path, Some(ada), &Value::Null),
            403,
            "PERMISSION_DENIED",
            "embedded env",
        );
    }
    // when one is removed, then its token and its credentials are worth nothing, at once and after a restart
    let login = server.psql_as(ADA, ada, "production");
    assert_eq!(login.query("SELECT current_user"), ADA);
    assert!(server.run(&["user", "remove", ADA]).status.success());
    assert_eq!(me(&server, ada).0, 401);
    assert!(login.failure("SELECT 1").contains("OAuth: User is not authorized"));
    assert!(server.run(&["stop"]).status.success());
    server.start_again();
    assert_eq!((me(&server, ada).0, me(&server, grace).0), (401, 200));
    let listed: Value = serde_json::from_slice(&server.run(&["user", "list", "--json"]).stdout).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|it| it["user_name"].as_str().unwrap()).collect();
    assert_eq!(names, [IDENTITY, GRACE]);
}

#[test]
fn names_are_checked_and_no_secret_is_kept() {
    // given a server that does not run
    let mut server = Server::stopped();
    for name in ["ada", "a b@c", "", IDENTITY] {
        assert!(!server.run(&["user", "add", name]).status.success(), "{name}");
    }
    assert!(!server.run(&["user", "remove", ADA]).status.success());
    let output = server.run(&["user", "add", ADA, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["user_name"], &report["identity_type"]), (&json!(ADA), &json!("USER")));
    let again = server.run(&["user", "add", ADA]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("already"));
    let machine = server.add_user(&["the pipeline", "--service-principal"]);
    // when it starts, then the identity that was added before is known
    server.start_again();
    let token = report["environment"]["DATABRICKS_TOKEN"].as_str().unwrap();
    assert_eq!(me(&server, token).1["userName"], ADA);
    // and neither its secret nor that of the service principal, which is no bearer token, is in any file
    let secret = &machine["DATABRICKS_CLIENT_SECRET"];
    assert_eq!(me(&server, secret).0, 401);
    for file in ["identities.json", "state.json", "server.log"] {
        use std::os::unix::fs::PermissionsExt;
        let path = server.home().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(token) && !text.contains(secret), "{file}");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    // and a reset leaves nothing of them
    assert!(server.run(&["reset", "--yes"]).status.success());
    assert!(!server.home().join("identities.json").exists());
    std::fs::create_dir(server.home()).unwrap();
    server.run(&["start", "--port", "0"]);
}

#[test]
fn another_identity_reads_and_writes_everything_and_owns_nothing_of_it() {
    let server = Server::with_project();
    let ada = server.add_user(&[ADA]);
    // given tables of the developer's, one of them in a schema and one in a database of its own
    let developer = server.psql("production");
    developer.query("CREATE TABLE orders (id serial PRIMARY KEY, item text)");
    developer.query("CREATE SCHEMA sales; CREATE TABLE sales.prices (item text)");
    developer.query("CREATE DATABASE more");
    let mut elsewhere = developer.clone();
    elsewhere.database = "more".into();
    elsewhere.query("CREATE TABLE notes (text text)");
    // when another identity comes to a private branch of them
    server.branch("dev");
    let psql = server.psql_as(ADA, &ada["DATABRICKS_TOKEN"], "dev");
    assert_eq!(psql.query("SELECT current_user || session_user"), ADA.repeat(2));
    // then it reads and writes, sequences too
    psql.query("INSERT INTO orders (item) VALUES ('a'), ('b')");
    psql.query("UPDATE orders SET item = 'c' WHERE item = 'a'; DELETE FROM orders WHERE item = 'b'");
    psql.query("INSERT INTO sales.prices VALUES ('c')");
    assert_eq!(psql.query("SELECT o.item FROM orders o JOIN sales.prices p USING (item)"), "c");
    // and makes tables, roles and databases of its own
    psql.query(
        "CREATE TABLE mine (id int); ALTER TABLE mine ADD COLUMN text text; CREATE ROLE helper NOLOGIN",
    );
    psql.query("CREATE DATABASE own");
    let mut other = psql.clone();
    other.database = "more".into();
    other.query("INSERT INTO notes VALUES ('x'); CREATE TABLE mine_too ()");
    // but is no superuser, and can't change what it does not own
    assert_eq!(psql.query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"), "f");
    for sql in [
        "ALTER TABLE orders ADD COLUMN price int",
        "DROP TABLE orders",
        "CREATE INDEX ON orders (item)",
        "ALTER TABLE sales.prices RENAME TO p",
    ] {
        assert!(psql.failure(sql).contains(OWNER), "{sql}: {}", psql.failure(sql));
    }
    assert!(psql.failure("DROP SCHEMA sales CASCADE").contains("must be owner of schema"));
    assert!(psql.failure("CREATE EXTENSION file_fdw").contains("permission denied"));
    // and the developer, to whom the same applies, reads and writes what it made
    let developer = server.psql("dev");
    developer.query("INSERT INTO mine VALUES (1, 'x')");
    assert!(developer.failure("ALTER TABLE mine ADD COLUMN more int").contains(OWNER));
}

#[test]
fn tables_of_a_role_that_the_team_shares_can_be_changed_by_each_of_them() {
    let server = Server::with_project();
    let ada = server.add_user(&[ADA]);
    // given a role that nobody logs in as, which owns the tables, and into which both are let
    let developer = server.psql("production");
    server.psql_as(ADA, &ada["DATABRICKS_TOKEN"], "production");
    developer.query("CREATE ROLE shop_owner NOLOGIN");
    // PostgreSQL says `WITH INHERIT TRUE` since version 16; before, membership is inherited as the member's role says.
    let newer = developer.query("SELECT current_setting('server_version_num')::int >= 160000") == "t";
    let how = if newer { " WITH INHERIT TRUE" } else { "" };
    developer.query(&format!("GRANT shop_owner TO \"{IDENTITY}\"{how}; GRANT shop_owner TO \"{ADA}\"{how}"));
    developer.query("GRANT CREATE ON SCHEMA public TO shop_owner");
    let mut owner = developer.clone();
    owner.more.push_str(" options='-c role=shop_owner'");
    owner.query("CREATE TABLE orders (id int)");
    // when another identity works on a branch of them
    server.branch("dev");
    let psql = server.psql_as(ADA, &ada["DATABRICKS_TOKEN"], "dev");
    // then it changes them, as itself and as the role that its session starts as
    psql.query("ALTER TABLE orders ADD COLUMN item text");
    let mut owner = psql.clone();
    owner.more.push_str(" options='-c role=shop_owner'");
    assert_eq!(owner.query("SELECT current_user"), "shop_owner");
    owner.query("CREATE TABLE prices (id int)");
    psql.query("DROP TABLE prices");
    // and one that is no member can't start a session as it
    let grace = server.add_user(&[GRACE]);
    let mut stranger = server.psql_as(GRACE, &grace["DATABRICKS_TOKEN"], "dev");
    assert!(stranger.failure("ALTER TABLE orders ADD COLUMN price int").contains(OWNER));
    stranger.more.push_str(" options='-c role=shop_owner'");
    assert!(stranger.failure("SELECT 1").contains("permission denied to set role"));
}

#[test]
fn a_login_is_the_tokens_own_identity_and_its_role_is_the_apis() {
    let server = Server::with_project();
    let ada = server.add_user(&[ADA, "--no-role"])["DATABRICKS_TOKEN"].clone();
    let refused = "FATAL:  OAuth: User is not authorized";
    // given an identity that nobody has granted a role
    let mut psql = server.psql_as(ADA, &ada, "production");
    assert!(psql.failure("SELECT 1").contains("role \"ada@example.com\" does not exist"));
    // then its token opens no other role, and no other's token its own
    psql.user = IDENTITY.into();
    assert!(psql.failure("SELECT 1").contains(refused));
    psql.user = ADA.into();
    psql.password = server.credential("production");
    assert!(psql.failure("SELECT 1").contains(refused));
    // a role that SQL made is not tied to it
    let developer = server.psql("production");
    developer.query(&format!("CREATE ROLE \"{ADA}\" LOGIN IN ROLE databricks_superuser"));
    let psql = server.psql_as(ADA, &ada, "production");
    assert!(psql.failure("SELECT 1").contains(refused), "{}", server.log());
    developer.query(&format!("DROP ROLE \"{ADA}\""));
    // when the API makes it, with or without membership
    let roles = "/projects/shop/branches/production/roles";
    server.create(
        &format!("{roles}?role_id=ada-role"),
        json!({"spec": {"postgres_role": ADA, "identity_type": "USER"}}),
    );
    // then it gets in, here and on branches made from here, with the rights that it was given
    let psql = server.psql_as(ADA, &ada, "production");
    assert_eq!(psql.query("SELECT current_user"), ADA);
    developer.query("CREATE TABLE orders (id int)");
    assert!(psql.failure("SELECT * FROM orders").contains("permission denied for table orders"));
    let member = json!({"spec": {"membership_roles": ["DATABRICKS_SUPERUSER"]}});
    server.operate("PATCH", &format!("{roles}/ada-role?update_mask=spec.membership_roles"), &member);
    assert_eq!(psql.query("SELECT count(*) FROM orders"), "0");
    server.branch("dev");
    let psql = server.psql_as(ADA, &ada, "dev");
    assert!(psql.failure("DROP TABLE orders").contains(OWNER));
}

#[test]
fn a_credential_that_is_older_than_the_branchs_data_opens_it() {
    let server = Server::with_project();
    let ada = server.add_user(&[ADA])["DATABRICKS_TOKEN"].clone();
    // given a credential of a branch that is still being made
    assert!(server.run(&["fault", "add", "stay-in-init"]).status.success());
    let path = "/projects/shop/branches?branch_id=dev";
    let (_, creation) = server.call("POST", path, &json!({"spec": {"ttl": common::TTL}}));
    let psql = server.psql_as(ADA, &ada, "dev");
    // when it is ready
    assert!(server.run(&["fault", "clear"]).status.success());
    server.wait_for(creation["name"].as_str().unwrap());
    // then its identity has a role there
    assert_eq!(psql.query("SELECT current_user"), ADA);
}

#[test]
fn a_crowd_that_asks_at_once_gets_one_role() {
    let server = Server::with_project();
    server.branch("dev");
    let ada = server.add_user(&[ADA])["DATABRICKS_TOKEN"].clone();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| server.psql_as(ADA, &ada, "dev"))).collect();
        for one in asking {
            assert_eq!(one.join().unwrap().query("SELECT 1"), "1");
        }
    });
    let roles = server.get("/projects/shop/branches/dev/roles")["roles"].as_array().unwrap().clone();
    assert_eq!(roles.iter().filter(|role| role["status"]["postgres_role"] == ADA).count(), 1);
    // the parent, where it never asked, has none
    let roles = server.get("/projects/shop/branches/production/roles")["roles"].as_array().unwrap().clone();
    assert!(!roles.iter().any(|role| role["status"]["postgres_role"] == ADA), "{roles:?}");
}
