//! `--with` in a service's container: two changes that are each fine, and are not together.

use e2e::{Lab, Project, Ran};

/// A service that is built of a folder, under a name that the developer's own image has; one that mounts it; and one that has
/// nothing of it.
const COMPOSE: &str = "services:
  db:
    image: postgres:17
    environment: {POSTGRES_PASSWORD: local}
  built:
    build: {context: migrations, args: {IMAGE: '${TODO_POSTGRES_IMAGE:-postgres:17}'}}
    image: NAME-tool
    depends_on: [db]
    environment: {PGHOST: db, PGUSER: postgres, PGPASSWORD: local}
  mounted:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    depends_on: [db]
    environment: {PGHOST: db, PGUSER: postgres, PGPASSWORD: local}
    volumes: ['./migrations:/migrations:ro', './notes:/notes']
  alone:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    depends_on: [db]
";
const DOCKERFILE: &str = "ARG IMAGE\nFROM $IMAGE\nCOPY . /migrations\n";
/// Runs every file, in order.
const UP: &str = "set -e; for file in /migrations/*.sql; do psql -Xqv ON_ERROR_STOP=1 -f $file; done";

fn check(project: &Project<'_>, words: &[&str]) -> Ran {
    let call = ["compose", "lakebase", "check", "--quick"];
    project.run("docker", [&call, words, &["--", "sh", "-c", UP]].concat())
}

#[test]
fn two_changes_that_are_each_fine_are_caught_together() {
    // given a table, and two changes of it on git branches of their own
    let lab = Lab::with_embedded();
    let config = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_DATABASE_SERVICE=db\n";
    let project = lab.project("shop", &[("lakebase.config", config), ("migrations/Dockerfile", DOCKERFILE)]);
    project.write("compose.yaml", &COMPOSE.replace("NAME", &project.compose_name));
    project.cargo("init").ok();
    project.production_sql("CREATE TABLE orders (id bigint PRIMARY KEY, region text)");
    project.commit("The shop");
    project.switch("area");
    project.write("migrations/1.sql", "ALTER TABLE orders RENAME COLUMN region TO area;");
    project.commit("The area");
    project.switch("main");
    project.write("migrations/2.sql", "ALTER TABLE orders ALTER COLUMN region SET DEFAULT 'eu';");
    project.commit("Everybody is of Europe");
    // and an image of the developer's own under the service's name, of long ago
    let image = format!("{}-tool", project.compose_name);
    let standin = std::env::var("TODO_POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:17".into());
    project.run("docker", ["tag", &standin, &image]).ok();
    let id = || project.run("docker", ["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout;
    let before = id();
    for service in ["built", "mounted"] {
        // when each is judged alone, then it passes
        let ours = check(&project, &[service]);
        assert_eq!(ours.code, Some(0), "{service}: {ours:#?}");
        project.switch("area");
        let theirs = check(&project, &[service]);
        assert_eq!(theirs.code, Some(0), "{service}: {theirs:#?}");
        project.switch("main");
        // when they are judged together, then the one fails after the other
        let both = check(&project, &["--with", "area", service]);
        assert_eq!(both.code, Some(2), "{service}: {both:#?}");
        assert!(both.stdout.contains("column \"region\"") && both.stdout.contains("(42703)"), "{both:#?}");
    }
    // when a service has nothing of the merge, then nobody can tell, and what to do is said
    let alone = check(&project, &["--with", "area", "alone"]);
    alone.fails(3, &["service `alone` runs none of the merge's files", "cargo lakebase check --with area"]);
    // when the other branch changes the Compose file, then it is said that this one is used
    project.switch("area");
    project.write("compose.yaml", &format!("# Theirs.\n{}", project.read("compose.yaml")));
    project.commit("A comment");
    project.switch("main");
    let warned = check(&project, &["--with", "area", "mounted"]);
    assert!(warned.code == Some(2) && warned.stderr.contains("the merge has another `"), "{warned:#?}");
    // Then the checkout, the developer's image and the branches are as they were, and nothing is left of the merge.
    assert_eq!(id(), before);
    assert!(!project.folder.join("migrations/1.sql").exists());
    assert_eq!(super::branches(&lab).len(), 1);
    let left: Vec<_> = std::fs::read_dir(project.folder.join(".lakebase")).unwrap().collect();
    assert!(left.iter().all(|entry| entry.as_ref().unwrap().file_name() == ".gitignore"), "{left:?}");
    project.run("docker", ["image", "rm", &image]).ok();
}

#[test]
fn a_merge_that_conflicts_or_is_of_nothing_makes_no_branch() {
    let lab = Lab::with_embedded();
    let config = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_DATABASE_SERVICE=db\n";
    let project = lab.project("shop", &[("lakebase.config", config), ("migrations/1.sql", "SELECT 1;")]);
    project.write("compose.yaml", COMPOSE);
    project.cargo("init").ok();
    project.commit("The shop");
    project.switch("theirs");
    project.write("migrations/1.sql", "SELECT 2;");
    project.commit("Theirs");
    project.switch("main");
    project.write("migrations/1.sql", "SELECT 3;");
    project.commit("Ours");
    check(&project, &["--with", "theirs", "mounted"]).fails(84, &["both changed migrations/1.sql"]);
    check(&project, &["--with", "nobody", "mounted"]).fails(64, &["there is no commit `nobody`"]);
    assert_eq!(super::branches(&lab).len(), 1);
    let left = std::fs::read_dir(project.folder.join(".lakebase")).unwrap();
    assert!(left.into_iter().all(|entry| entry.unwrap().file_name() == ".gitignore"));
}
