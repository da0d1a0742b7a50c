//! The second developer of a team: whose tables are these, why does the migration fail, and what has to be granted?

use e2e::{Lab, Project, Ran};
use serde_json::Value;

const OWNER: &str = "must be owner of table";
/// What a developer tries on the host.
const CHANGE: &str =
    "psql -Xqv ON_ERROR_STOP=1 -c 'ALTER TABLE tasks ADD COLUMN noted text' \"$DATABASE_URL\"";

/// A developer: a machine with a home and a git identity of their own, and a credential of the workspace.
struct Developer {
    lab: Lab,
    variables: Vec<(String, String)>,
}

impl Developer {
    fn new(workspace: &Lab, name: &str, email: &str) -> Self {
        let lab = Lab::new();
        lab.git_user(name, email);
        let added = workspace.run("cargo-lakebase", ["embedded", "user", "add", email, "--json"]).ok();
        let added: Value = serde_json::from_str(&added.stdout).unwrap();
        let mut variables: Vec<(String, String)> = added["environment"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        // Where the authority of the endpoints' certificate is found.
        let home = workspace.path("embedded").display().to_string();
        variables.push(("LAKEBASE_EMBEDDED_HOME".to_owned(), home));
        Self { lab, variables }
    }

    /// Their clone of the example, in which nothing says who works on it.
    fn checkout(&self) -> Project<'_> {
        let project = self.lab.todo("todo").with_variables(&self.variables);
        let config = project.read("lakebase.config");
        let lines = config.lines().filter(|line| !line.starts_with("LAKEBASE_PROFILE"));
        project.write("lakebase.config", &lines.map(|line| format!("{line}\n")).collect::<String>());
        project
    }
}

/// What `doctor` finds, and how it ended.
fn doctor(project: &Project<'_>) -> (Ran, Value) {
    let ran = project.lakebase("doctor --json");
    let document = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:#?}"));
    (ran, document)
}

fn check<'a>(document: &'a Value, id: &str) -> &'a Value {
    let mut checks = document["checks"].as_array().unwrap().iter();
    checks.find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {document:#}"))
}

fn on_host(project: &Project<'_>) -> Ran {
    project.run("cargo", ["lakebase", "run", "--", "sh", "-c", CHANGE])
}

/// Ada's production, Ben's branch of it, and the grant that `doctor` tells him to ask for. `given` is what Ada did with her
/// tables before; it gives who owns them then.
fn rehearse(given: impl Fn(&Project<'_>) -> &'static str) {
    // given production with tables of Ada's
    let workspace = Lab::with_embedded();
    let ada = Developer::new(&workspace, "Ada Lovelace", "ada@example.com");
    let ben = Developer::new(&workspace, "Ben Bitdiddle", "ben@example.com");
    let ada = ada.checkout().with_production();
    let owner = given(&ada);
    let before = fingerprint(&ada);

    // when Ben migrates a branch of his own, then he may not, through the gateway and on the host
    let ben = ben.checkout();
    ben.write("lakebase.config", &ada.read("lakebase.config"));
    let up = ben.lakebase("up --build --abort-on-container-exit --exit-code-from backend");
    assert_ne!(up.code, Some(0), "{up:#?}");
    assert!(up.all().contains(&format!("{OWNER} tasks")), "{up:#?}");
    ben.lakebase("down").ok();
    let run = on_host(&ben);
    assert_ne!(run.code, Some(0), "{run:#?}");
    assert!(run.stderr.contains(&format!("{OWNER} tasks")), "{run:#?}");

    // and doctor explains why
    let (ran, document) = doctor(&ben);
    let found = check(&document, "database.ownership");
    assert_eq!((ran.code, &found["status"]), (Some(94), &"fail".into()), "{ran:#?}");
    assert_eq!((&found["data"]["tables"], &found["data"]["foreign_tables"]), (&2.into(), &2.into()));
    assert_eq!(found["data"]["as"], "ben@example.com");
    assert_eq!(found["data"]["owners"][0]["owner"], owner);
    assert_eq!(
        found["data"]["owners"][0]["tables"]["first"],
        serde_json::json!(["public.alembic_version", "public.tasks"])
    );
    assert_eq!(found["data"]["run_on"], "projects/todo/branches/production");
    assert!(found["data"]["run_by"].as_array().unwrap().contains(&"ada@example.com".into()), "{found:#}");
    // in words, too, with every statement on a line of its own
    let told = ben.lakebase("doctor").fails(94, &["doctor found"]);
    assert!(told.stdout.contains(OWNER), "{told:#?}");
    let sql: Vec<&str> =
        found["data"]["sql"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for line in &sql {
        assert!(told.stdout.lines().any(|told| told.trim() == *line), "{line}: {told:#?}");
    }

    // when it is done as doctor printed it: the role on production, the statements there, the setting
    let role = check(&document, "database.parent-role");
    assert_eq!(role["status"], "fail", "{role:#}");
    let call = &role["data"]["call"];
    workspace.api(call["method"].as_str().unwrap(), call["path"].as_str().unwrap(), &call["body"]);
    ada.production_sql(&sql.join("\n"));
    let set = found["data"]["set"]["LAKEBASE_ROLE"].as_str().unwrap();
    let config = format!("{}LAKEBASE_ROLE={set}\n", ada.read("lakebase.config"));
    ada.write("lakebase.config", &config);
    ben.write("lakebase.config", &config);

    // then doctor knows that the old branch has none of it
    let (_, document) = doctor(&ben);
    let stale = check(&document, "database.role");
    assert_eq!(stale["status"], "fail", "{stale:#}");
    assert!(stale["cure"].to_string().contains("--fresh"), "{stale:#}");
    assert_eq!(check(&document, "database.parent-role")["status"], "ok");

    // and the same migrations pass on a new one, through the gateway and on the host, and all belongs to the role
    ben.lakebase("--fresh up -d --build --wait").ok();
    assert!(ben.get("/api/tasks")["total"].as_i64().unwrap() > 100_000);
    assert_eq!(ben.sql("SELECT current_user, version_num FROM alembic_version"), format!("{set}|0003"));
    on_host(&ben).ok();
    let (ran, document) = doctor(&ben);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for id in ["database.role", "database.ownership", "database.create"] {
        assert_eq!(check(&document, id)["status"], "ok", "{ran:#?}");
    }
    // and so it is for Ada
    on_host(&ada).ok();
    assert_eq!(doctor(&ada).0.code, Some(0));

    // and production's rows and schema are as they were
    assert_eq!(fingerprint(&ada), before);
}

#[test]
fn tables_of_a_team_are_opened_to_its_second_developer() {
    rehearse(|ada| {
        ada.production_sql(
            "CREATE ROLE todo_team NOLOGIN; GRANT todo_team TO CURRENT_USER; GRANT ALL ON SCHEMA public TO todo_team;
             ALTER TABLE tasks OWNER TO todo_team; ALTER TABLE alembic_version OWNER TO todo_team",
        );
        "todo_team"
    });
}

#[test]
fn tables_of_the_first_developer_become_the_teams() {
    rehearse(|_| "ada@example.com");
}

/// Rows and schema of production.
fn fingerprint(project: &Project<'_>) -> [String; 3] {
    [
        "SELECT count(*), max(id), md5(string_agg(tasks::text, '|' ORDER BY id)) FROM tasks",
        "SELECT string_agg(format('%s.%s %s %s', table_name, column_name, data_type, is_nullable), ';' ORDER BY table_name, ordinal_position) FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT string_agg(indexdef, ';' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'",
    ]
    .map(|sql| project.production_sql(sql))
}
