//! No token and no workspace credential can be found where none was asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use e2e::{Lab, Project, Ran, Secrets, Watch, signal, wait_for};
use serde_json::Value;

/// A login to the lab's project, as `env` prints it for whoever asks.
fn minted(project: &Project<'_>) -> String {
    let json: Value = serde_json::from_str(&project.cargo("env --format json").ok().stdout).unwrap();
    json["PGPASSWORD"].as_str().unwrap().to_owned()
}

/// A project with nothing but a database and a program that wants its URL.
fn shop<'a>(lab: &'a Lab, config: &str) -> Project<'a> {
    let compose = "services:\n  db:\n    image: postgres:17\n    environment: {POSTGRES_PASSWORD: local}\n  \
                   app:\n    image: app\n    profiles: [app]\n    environment: {DATABASE_URL: x}\n";
    let config = format!("LAKEBASE_PROJECT_NAME=shop\n{config}");
    let project = lab.project("shop", &[("compose.yaml", compose), ("lakebase.config", &config)]);
    Ran::of(project.command("cargo-lakebase", ["init"]).env("LAKEBASE_PROFILE", "embedded")).ok();
    project
}

#[test]
fn what_is_planted_is_found() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_PROFILE=embedded\n");
    let secrets = Secrets::of(&lab);
    let login = minted(&project);
    let unsigned = login.rsplit_once('.').unwrap().0.to_owned();
    let elsewhere = Secrets::of(&Lab::with_embedded());
    for planted in [&login, &unsigned, &lab.token()] {
        // In bytes and in files, at any depth.
        assert!(secrets.are_in(format!("a=postgresql://u:{planted}@h/d").as_bytes()));
        project.write("deep/er/file", planted);
        assert_eq!(secrets.files(&project.folder), [project.folder.join("deep/er/file")]);
        project.write("deep/er/file", "nothing");
        assert!(secrets.files(&project.folder).is_empty());

        // In the environment and in the command line of a process, by the lab that it belongs to and by no other.
        let sleep =
            |program: &mut Command| program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = sleep(Command::new("cat").env("PLANTED", planted));
        let mut other = sleep(Command::new("sh").args(["-c", "read line", planted]));
        // A list of processes is no snapshot: one that has just come may be in the next one only.
        let ours = wait_for("both", || {
            let seen = Watch::new(secrets.clone()).end().found;
            (seen.len() > 1).then_some(seen)
        });
        let others = Watch::new(elsewhere.clone()).end();
        // Their input ends, and so do they.
        drop((child.stdin.take(), other.stdin.take()));
        child.wait().unwrap();
        other.wait().unwrap();
        let found: Vec<_> = ours.iter().map(String::as_str).collect();
        assert_eq!(found, ["cat: environment", "sh: command line"]);
        assert!(others.found.is_empty(), "{:?}", others.found);
    }
    assert!(!secrets.are_in(b"eyJ is no login, and neither is eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9 alone"));
}

/// Everything that can be looked at of a project and its lab. Gives the places that hold a secret.
fn places(lab: &Lab, project: &Project<'_>, since: &str) -> Vec<String> {
    let secrets = Secrets::of(lab);
    let mut found = Vec::new();
    let mut look = |what: &str, must_hold: &str, text: &str| {
        assert!(text.contains(must_hold), "{what} was not looked at: it lacks `{must_hold}`");
        found.extend(secrets.are_in(text.as_bytes()).then(|| what.to_owned()));
    };
    let docker = |line: &str| project.run("docker", line.split_whitespace()).ok().all();
    look("docker inspect", "LAKEBASE_UPSTREAM", &project.inspect("{{json .}}"));
    let images = project.inspect("{{.Image}}");
    for image in images.lines() {
        look("docker image inspect", image, &docker(&format!("image inspect {image}")));
        look("docker history", "", &docker(&format!("history --no-trunc {image}")));
    }
    let label = format!("label=com.docker.compose.project={}", project.compose_name);
    for kind in ["network", "volume"] {
        let names = docker(&format!("{kind} ls --quiet --filter {label}")).replace('\n', " ");
        if kind == "network" || !names.is_empty() {
            look(
                &format!("docker {kind} inspect"),
                &project.compose_name,
                &docker(&format!("{kind} inspect {names}")),
            );
        }
    }
    // How the agent joins the gateway is an event of the engine, with its command line.
    let events = docker(&format!("events --since {since} --until 0s --filter {label}"));
    look("docker events", "exec_create", &events);
    for format in ["yaml", "json"] {
        look(
            "docker compose config",
            "POSTGRES_PASSWORD",
            &project.compose(&format!("--profile * config --format {format}")).ok().all(),
        );
        look(
            "docker compose lakebase config",
            "LAKEBASE_UPSTREAM",
            &project.lakebase(&format!("config --format {format}")).ok().all(),
        );
    }
    look("docker compose logs", "listening on port", &project.lakebase("logs").ok().all());
    look("embedded logs", "endpoint", &project.cargo("embedded logs").ok().all());

    // The gateway's file system, running or not.
    let gateway = project.lakebase("ps -aq postgres").ok().stdout;
    let tar = lab.path("gateway.tar");
    project.run("docker", ["export", "--output", tar.to_str().unwrap(), gateway.trim()]).ok();
    look("the gateway's file system", "lakebase-gateway", &String::from_utf8_lossy(&fs::read(tar).unwrap()));

    let log = lab.path("embedded/server.log");
    look("the embedded server's log", "endpoint", &fs::read_to_string(log).unwrap());

    // The project with `.lakebase/`, the user's home with the agent's folder, and Docker's folder.
    let in_home = "home/.local/state/lakebase/agent/agent.log";
    assert!(project.folder.join(".lakebase").is_dir() && lab.path(in_home).is_file());
    for folder in [project.folder.clone(), lab.path("home"), lab.path("docker")] {
        found.extend(secrets.files(&folder).into_iter().map(|path| path.display().to_string()));
    }
    found
}

#[test]
fn with_the_gateway_nothing_that_can_be_looked_at_holds_a_secret() {
    // Given an application through the gateway, and every process watched.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let config = format!("{}LAKEBASE_CONNECT=gateway\n", project.read("lakebase.config"));
    project.write("lakebase.config", &config);
    project.commit("Through the gateway");
    let since = now();
    let watch = Watch::new(Secrets::of(&lab));

    // When it is used in every way.
    let up = project.lakebase("up -d --build --wait").ok();
    let run = project.lakebase("run --rm -T --no-deps --entrypoint printenv backend DATABASE_URL").ok();
    assert!(run.stdout.starts_with("postgresql://todo:todo@postgres:5432/todo"), "{run:#?}");
    assert_eq!(project.sql("SELECT count(*) FROM tasks, pg_sleep(0.3)"), "120000");
    project.lakebase("psql -- -c SELECT").ok();
    project.lakebase("exec -T backend true").ok();
    project.switch("feature/x");
    let again = project.lakebase("up -d --wait").ok();
    project.get("/api/info");

    // Then no process ever had one in its command line or environment, short-lived ones too.
    let sighted = watch.end();
    for program in ["docker", "docker-compose", "docker-lakebase", "psql", "lakebase-gatewa", "postgres"] {
        assert!(sighted.programs.contains(program), "{program} was not seen: {:?}", sighted.programs);
    }
    assert!(sighted.found.is_empty(), "{:?} in {} rounds", sighted.found, sighted.rounds);
    assert!(!Secrets::of(&lab).are_in((up.all() + &run.all() + &again.all()).as_bytes()));

    // And nowhere else is one, neither while all runs nor when agent and gateway have crashed.
    assert_eq!(places(&lab, &project, &since), Vec::<String>::new());
    lab.kill_agent("-9");
    let gateway = project.lakebase("ps -q postgres").ok().stdout.trim().to_owned();
    let state =
        |format: &str| project.run("docker", ["inspect", "--format", format, gateway.as_str()]).ok().stdout;
    signal(state("{{.State.Pid}}").trim(), "KILL");
    wait_for("the gateway's end", || state("{{.State.Status}}").starts_with("exited").then_some(()));
    assert_eq!(places(&lab, &project, &since), Vec::<String>::new());
}

/// The time now, in seconds since 1970, as Docker takes it.
fn now() -> String {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string()
}

#[test]
fn a_credential_that_the_user_exported_goes_no_further_than_the_users_own_commands() {
    // Given a workspace that the environment names.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_CONNECT=gateway\n");
    let printed = lab.run("cargo-lakebase", ["embedded", "env"]).ok().stdout;
    let host = printed.split(['\'', '\n']).find(|word| word.starts_with("http://")).unwrap();
    let mut up = project.command("docker", ["compose", "lakebase", "up", "-d", "--wait"]);
    up.env("DATABRICKS_HOST", host).env("DATABRICKS_TOKEN", lab.token());

    // When `up` has ended, then what it left running does not have it, and its files do not.
    Ran::of(&mut up).ok();
    let sighted = Watch::new(Secrets::of(&lab)).end();
    assert!(sighted.programs.contains("docker"), "the agent's `docker exec` was not seen");
    assert!(sighted.found.is_empty(), "{:?}", sighted.found);
    let secrets = Secrets::of(&lab);
    let inspected =
        project.run("docker", ["inspect", project.run("docker", ["compose", "ps", "-q"]).ok().stdout.trim()]);
    assert!(!secrets.are_in(inspected.ok().stdout.as_bytes()));
    for folder in [project.folder.clone(), lab.path("home"), lab.path("docker")] {
        assert!(secrets.files(&folder).is_empty(), "{:?}", secrets.files(&folder));
    }
}

#[test]
fn in_direct_mode_the_login_travels_in_the_environment_of_compose_alone() {
    // Given a program in Compose's place that records how `up` reached it.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_PROFILE=embedded\nLAKEBASE_CONNECT=direct\n");
    fs::rename(lab.path("doors"), lab.path("away")).unwrap();
    let format = "{{range .ClientInfo.Plugins}}{{if eq .Name \"compose\"}}{{.Path}}{{end}}{{end}}";
    let real = lab.run("docker", ["info", "--format", format]);
    fs::rename(lab.path("away"), lab.path("doors")).unwrap();
    let record = lab.path("record");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' up '*) tr '\\0' '\\n' </proc/$$/cmdline >'{record}.argv'; env >'{record}.env';; *) exec '{}' \"$@\";; esac\n",
        real.ok().stdout.trim(),
        record = record.display(),
    );
    let program = lab.path("docker/cli-plugins/docker-compose");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();

    // When `up` comes to it.
    let up = project.lakebase("--profile app up -d").ok();

    // Then its environment has the URL, and neither argument list, output, nor a file of the project has its token.
    let secrets = Secrets::of(&lab);
    let environment = fs::read_to_string(lab.path("record.env")).unwrap();
    let url = environment.lines().find_map(|line| line.strip_prefix("LAKEBASE_DATABASE_URL=")).unwrap();
    assert!(secrets.are_in(url.as_bytes()) && url.contains("host.docker.internal"), "a login for containers");
    let arguments = fs::read_to_string(lab.path("record.argv")).unwrap();
    assert!(arguments.contains("-f"), "the argument list was recorded");
    assert!(!secrets.are_in((up.all() + &arguments).as_bytes()), "a secret was printed");
    assert!(project.folder.join(".lakebase").is_dir());
    assert!(secrets.files(&project.folder).is_empty(), "{:?}", secrets.files(&project.folder));
}

#[test]
fn no_command_prints_a_secret_that_it_was_not_asked_for() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "LAKEBASE_PROFILE=embedded\n");
    let secrets = Secrets::of(&lab);
    assert!(secrets.are_in(minted(&project).as_bytes()), "`env` is asked for one");
    for line in [
        "status",
        "status --json",
        "doctor",
        "doctor --json",
        "init",
        "psql -- -c nonsense",
        "destroy",
        "embedded status",
        "embedded logs",
    ] {
        assert!(!secrets.are_in(project.cargo(line).all().as_bytes()), "{line}");
    }
}
