//! What a check that was killed leaves on the engine, and who tidies it up.

use std::process::{Child, Stdio};

use e2e::{Lab, Project, signal, wait_for};

/// A service with the migration tool, and volumes: one of the project's, one with a name of its own.
const COMPOSE: &str = "services:
  db:
    image: postgres:17
    environment: {POSTGRES_PASSWORD: local}
  tool:
    image: ${TODO_POSTGRES_IMAGE:-postgres:17}
    environment: {DATABASE_URL: 'postgresql://postgres:local@db:5432/postgres'}
    depends_on: [db]
    volumes: ['cache:/cache', 'own:/own']
volumes:
  cache:
  own: {name: NAME-own}
";

/// A project whose only service beside the database has psql.
fn project(lab: &Lab) -> Project<'_> {
    let config = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_DATABASE_SERVICE=db\n";
    let project = lab.project("shop", &[("lakebase.config", config)]);
    project.write("compose.yaml", &COMPOSE.replace("NAME", &project.compose_name));
    project.commit("The shop");
    project.cargo("init").ok();
    project
}

/// The names of what one list of Docker's has of the project's checks.
fn listed(project: &Project<'_>, list: &[&str], name: &str) -> Vec<String> {
    let all = project.run("docker", [list, &["--format", name]].concat()).ok().stdout;
    let of_checks = format!("{}-check-", project.compose_name);
    all.lines().filter(|line| line.starts_with(&of_checks)).map(str::to_owned).collect()
}

fn containers(project: &Project<'_>) -> Vec<String> {
    listed(project, &["ps", "--all"], "{{.Names}}")
}

/// All containers, networks and volumes of the project's checks.
fn all(project: &Project<'_>) -> Vec<String> {
    let [networks, volumes] = ["network", "volume"].map(|kind| listed(project, &[kind, "ls"], "{{.Name}}"));
    [containers(project), networks, volumes].concat()
}

/// A check in the middle of its migration, and the name of its small project. `call` is one way to `docker compose
/// lakebase`.
fn check(project: &Project<'_>, call: &[&str]) -> (Child, String) {
    let before = containers(project);
    let migration = "psql -Xqc 'SELECT 1' \"$DATABASE_URL\"; exec sleep 1000";
    let mut check = project.command(call[0], [&call[1..], &["check", "--", "sh", "-c", migration]].concat());
    let child = check.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let small = wait_for("the migration to run", || {
        let new = containers(project).into_iter().filter(|name| !before.contains(name));
        new.filter_map(|name| Some(name.split_once("-tool-run-")?.0.to_owned())).next()
    });
    (child, small)
}

/// The small projects of which anything is there.
fn of<'a>(all: &'a [String], small: &str) -> Vec<&'a String> {
    all.iter().filter(|name| name.starts_with(small)).collect()
}

/// Something of somebody else's, which is removed at the end.
struct Elses<'a>(&'a Project<'a>, [&'static str; 2], String);

impl Drop for Elses<'_> {
    fn drop(&mut self) {
        let _ = self.0.command("docker", self.1.into_iter().chain([self.2.as_str()])).output();
    }
}

#[test]
fn what_a_killed_check_leaves_goes_with_the_next_and_nothing_else_does() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let own = Elses(&project, ["volume", "rm"], format!("{}-own", project.compose_name));
    // given a check that was killed in its migration, and one that runs
    let (mut killed, dead) = check(&project, &["docker-compose-lakebase"]);
    let (mut running, alive) = check(&project, &["docker-compose-lakebase"]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    // and a container of a project that has such a name and an old process id, and is not ours
    let name = format!("{}-check-{}", project.compose_name, killed.id());
    let label = format!("com.docker.compose.project={name}");
    let image = std::env::var("TODO_POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:17".into());
    let foreign = format!("{name}-elses");
    project.run("docker", ["create", "--name", &foreign, "--label", &label, &image]).ok();
    let _foreign = Elses(&project, ["rm", "--force"], foreign.clone());
    let names = all(&project);
    assert!(of(&names, &format!("{dead}-")).len() >= 2, "the gateway and the migration: {names:?}");
    let of_alive = of(&names, &alive).into_iter().cloned().collect::<Vec<_>>();
    assert!(
        names.contains(&format!("{dead}_default")) && names.contains(&format!("{dead}_cache")),
        "{names:?}"
    );
    // when the next check runs, then what is dead is gone
    let next = project.run("docker-compose-lakebase", ["check", "--", "psql", "--version"]);
    assert_eq!(next.code, Some(3), "{next:#?}");
    assert!(
        next.stderr.contains(&format!("Removed what a check that was killed left: {dead}\n")),
        "{next:#?}"
    );
    let names = all(&project);
    assert_eq!(of(&names, &dead), Vec::<&String>::new());
    // and the one that runs has all that it had; so have others, and a volume that has a name of its own
    assert_eq!(of(&names, &alive), of_alive.iter().collect::<Vec<_>>());
    assert!(names.contains(&foreign), "{names:?}");
    project.run("docker", ["volume", "inspect", &own.2]).ok();
    // when that is killed, too, then `prune` says so, and does it
    signal(&running.id().to_string(), "KILL");
    running.wait().unwrap();
    let said = project.run("docker-compose-lakebase", ["prune", "--dry-run"]).ok();
    assert!(said.stderr.contains(&format!("would remove what a killed check left: {alive}\n")), "{said:#?}");
    assert_eq!(of(&all(&project), &alive).len(), of_alive.len());
    project.run("docker-compose-lakebase", ["prune", "--yes"]).ok();
    assert_eq!(all(&project), [foreign.as_str()]);
    project.run("docker", ["volume", "inspect", &own.2]).ok();
    // and its forks are gone; what was written down goes when nothing was found
    assert_eq!(super::branches(&lab).len(), 1);
    project.run("docker-compose-lakebase", ["prune", "--yes"]).ok();
    let checks = lab.path("home/.local/state/lakebase/checks");
    assert_eq!(std::fs::read_dir(checks).unwrap().count(), 0);
}

#[test]
fn docker_ends_a_check_without_a_signal_and_it_tidies_up() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    let own = Elses(&project, ["volume", "rm"], format!("{}-own", project.compose_name));
    // given a check that Docker started, off a terminal
    let (mut docker, small) = check(&project, &["docker", "compose", "lakebase"]);
    assert!(!of(&all(&project), &small).is_empty());
    // when Docker alone is told to end, which closes its plugin's socket
    signal(&docker.id().to_string(), "TERM");
    let status = docker.wait().unwrap();
    // then it is as with Ctrl-C: no fork, no container, nothing to tidy up later
    assert_eq!(status.code(), Some(89));
    assert_eq!(super::branches(&lab).len(), 1);
    assert_eq!(all(&project), Vec::<String>::new());
    let checks = lab.path("home/.local/state/lakebase/checks");
    assert_eq!(std::fs::read_dir(checks).unwrap().count(), 0);
    drop(own);
}
