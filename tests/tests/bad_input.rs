//! Bad input gets one clear line, its cause, what to do, and an exit code of its own.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::{Lab, Project, Ran};

const COMPOSE: &str = "services:\n  postgres:\n    image: postgres:17\n  app:\n    image: app\n    environment:\n      DATABASE_URL: x\n";
const CONFIG: &str = "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\n";

fn project<'a>(lab: &'a Lab) -> Project<'a> {
    lab.project("shop", &[("compose.yaml", COMPOSE), ("lakebase.config", CONFIG)])
}

/// One line each of error and hint, no backtrace, nothing on stdout.
#[track_caller]
fn is_clear(ran: &Ran) {
    assert_eq!(ran.stdout, "", "{ran:#?}");
    let lines = |label: &str| ran.stderr.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!(lines("error:"), 1, "{ran:#?}");
    assert!(lines("hint:") >= 1, "{ran:#?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
}

#[track_caller]
fn refused(ran: Ran, code: i32, says: &[&str]) {
    let ran = ran.fails(code, says);
    is_clear(&ran);
}

#[test]
fn the_folder_is_in_no_git_repository() {
    let lab = Lab::new();
    let project = project(&lab);
    fs::remove_dir_all(project.folder.join(".git")).unwrap();
    refused(project.lakebase("up"), 65, &["is not in a git repository", "git init"]);
}

#[test]
fn git_has_no_user_name() {
    let lab = Lab::new();
    let project = project(&lab);
    fs::write(lab.path("home/.gitconfig"), "[user]\n\temail = ada@example.com\n").unwrap();
    refused(project.lakebase("up"), 66, &["git has no `user.name`", "git config --global user.name"]);
}

#[test]
fn head_is_detached() {
    let lab = Lab::new();
    let project = project(&lab);
    project.run("git", ["checkout", "--quiet", "--detach"]).ok();
    refused(project.lakebase("up"), 67, &["HEAD is detached", "git switch"]);
}

#[test]
fn there_is_no_configuration() {
    let lab = Lab::new();
    let project = lab.project("shop", &[("compose.yaml", COMPOSE)]);
    refused(project.lakebase("up"), 68, &["no project-name is configured", "lakebase init"]);
}

#[test]
fn there_are_both_kinds_of_configuration() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("src/lib.rs", "");
    project.write(
        "Cargo.toml",
        "[package]\nname = \"shop\"\n[package.metadata.lakebase]\nproject-name = \"shop\"\n",
    );
    refused(project.lakebase("up"), 69, &["two configurations", "lakebase.config", "Cargo.toml"]);
}

#[test]
fn a_setting_is_malformed_or_unknown() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("lakebase.config", &CONFIG.replace("shop", "../../production"));
    refused(project.lakebase("up"), 70, &["project-name can't be", "lakebase.config"]);
    project.write("lakebase.config", &CONFIG.replace("PROFILE", "PROFIL"));
    refused(project.lakebase("up"), 70, &["line 2", "LAKEBASE_PROFIL", "LAKEBASE_PROFILE"]);
}

/// A PATH with git alone.
fn without_docker(lab: &Lab) -> std::path::PathBuf {
    let folder = lab.path("bare");
    fs::create_dir_all(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let git =
        std::env::split_paths(&path).map(|folder| folder.join("git")).find(|git| git.is_file()).unwrap();
    symlink(git, folder.join("git")).unwrap();
    folder
}

#[test]
fn docker_is_not_installed() {
    let lab = Lab::new();
    let project = project(&lab);
    let program = lab.bin.join("docker-compose-lakebase");
    let mut command = project.command(program.to_str().unwrap(), ["up"]);
    refused(Ran::of(command.env("PATH", without_docker(&lab))), 71, &["Docker is not installed"]);
}

#[test]
fn the_engine_does_not_answer() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("init").ok();
    let mut command = project.command("docker", ["compose", "lakebase", "up"]);
    let ran = Ran::of(command.env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    refused(ran, 71, &["/nowhere/docker.sock", "docker info"]);
    assert!(!project.has_branch(), "no branch is made for containers that can't be");
}

/// Puts a program in the place of Compose.
fn with_compose(lab: &Lab, script: &str) {
    let folder = lab.path("docker/cli-plugins");
    let program = folder.join("docker-compose");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn compose_is_too_old() {
    let lab = Lab::new();
    let project = project(&lab);
    with_compose(&lab, "#!/bin/sh\necho 2.23.3\n");
    lab.run("docker-compose-lakebase", ["doors", "remove", lab.path("doors").to_str().unwrap()]).ok();
    let ran = project.run("docker-compose-lakebase", ["config"]);
    refused(ran, 72, &["2.23.3 is too old", "2.24 or later"]);
}

#[test]
fn there_is_no_compose_file_or_compose_refuses_it() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("compose.yaml", "services: 7\n");
    refused(project.lakebase("config"), 73, &["Compose refuses the project", "services"]);
    fs::remove_file(project.folder.join("compose.yaml")).unwrap();
    refused(project.lakebase("config"), 73, &["no Compose file was found"]);
}

#[test]
fn no_or_two_services_could_be_the_database() {
    let lab = Lab::new();
    let project = project(&lab);
    project.write("compose.yaml", &format!("{COMPOSE}  warehouse:\n    image: postgis/postgis\n"));
    refused(project.lakebase("config"), 74, &["postgres, warehouse", "LAKEBASE_DATABASE_SERVICE"]);
    project.write("compose.yaml", "services:\n  app:\n    image: app\n");
    refused(project.lakebase("config"), 74, &["no service has a Postgres image"]);
    project.write("compose.yaml", COMPOSE);
    project.write("lakebase.config", &format!("{CONFIG}LAKEBASE_DATABASE_SERVICE=db\n"));
    refused(project.lakebase("config"), 74, &["no service `db`", "app, postgres"]);
}

#[test]
fn there_is_no_credential_or_a_wrong_one() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    project.cargo("init").ok();
    project.write("lakebase.config", "LAKEBASE_PROJECT_NAME=shop\n");
    refused(project.lakebase("up"), 75, &["no Databricks credential", "DATABRICKS_TOKEN"]);
    let host = project.run("cargo-lakebase", ["embedded", "env"]).ok().stdout;
    let host = host.split(['\'', '"', '\n']).find(|word| word.starts_with("http://")).unwrap().to_owned();
    let mut command = project.command("docker", ["compose", "lakebase", "up"]);
    command.env("DATABRICKS_HOST", host).env("DATABRICKS_TOKEN", "wrong-token");
    let ran = Ran::of(&mut command);
    assert!(!ran.all().contains("wrong-token"));
    refused(ran, 76, &["refused the credential"]);
}

#[test]
fn there_is_no_such_project() {
    let lab = Lab::with_embedded();
    let project = project(&lab);
    refused(project.lakebase("up"), 77, &["there is no Lakebase project `shop`", "lakebase init"]);
}

#[test]
fn the_embedded_lakebase_is_stopped() {
    let lab = Lab::new();
    let project = project(&lab);
    refused(project.lakebase("up"), 80, &["not running", "embedded start"]);
}

#[test]
fn its_port_is_taken() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(lab.run("cargo-lakebase", ["embedded", "start", "--port", &port]), 81, &[&port, "--port"]);
}

#[test]
fn no_postgres_is_installed() {
    let lab = Lab::new();
    let none = lab.path("none");
    fs::create_dir(&none).unwrap();
    let none = none.to_str().unwrap();
    let ran = lab.run("cargo-lakebase", ["embedded", "start", "--postgres-bin", none]);
    refused(ran, 82, &["PostgreSQL"]);
}

#[test]
fn the_command_line_is_wrong() {
    let lab = Lab::new();
    lab.run("cargo-lakebase", ["statsu"]).fails(64, &["statsu"]);
    lab.run("docker", ["lakebase"]).fails(64, &["no command was given"]);
    lab.run("docker", ["lakebase", "status", "--nonsense"]).fails(64, &["--nonsense"]);
}
