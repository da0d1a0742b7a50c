//! The agent that feeds logins to gateways: killed, replaced, told that a branch is gone, cut off, crowded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use e2e::{Lab, Project, Ran, Seat, memory_peak, wait_for};
use serde_json::json;

/// Logins of a few seconds, so that a gateway needs its agent all the time.
fn lab() -> Lab {
    Lab::with_embedded_set(&[("LAKEBASE_EMBEDDED_TOKEN_TTL", "3")])
}

/// Waits until the seat refuses a new session, which must be for this reason, and again at once.
#[track_caller]
fn refused(seat: &Seat<'_>, reason: &str) {
    let refused = wait_for(&format!("a refusal: {reason}"), || {
        Some(seat.session()).filter(|ran| ran.code != Some(0) && ran.stderr.contains(reason))
    });
    assert!(refused.stderr.contains("run `docker compose lakebase up`"), "{refused:#?}");
}

#[test]
fn a_new_agent_goes_on_with_every_project_that_needs_no_secret_of_the_one_before() {
    // Given three projects: two whose credential can be found again, one whose token was in the environment of `up`.
    let lab = lab();
    let (one, two) = (Seat::up(&lab, "one"), Seat::up(&lab, "two"));
    let three = Seat::new(&lab, "three", "");
    three.project.cargo("init --profile embedded").ok();
    let config = three.project.read("lakebase.config");
    three.project.write("lakebase.config", &config.replace("LAKEBASE_PROFILE=embedded\n", ""));
    let with_token = |line: &str| {
        let words = ["compose", "lakebase"].into_iter().chain(line.split(' '));
        let mut command = three.project.command("docker", words);
        command.env("DATABRICKS_HOST", lab.host()).env("DATABRICKS_TOKEN", lab.token());
        Ran::of(&mut command).ok()
    };
    with_token("up -d --wait");
    [&one, &two, &three].iter().for_each(|seat| seat.enter());

    // Then what the agent keeps is the user's alone, and holds no secret.
    let folder = lab.path("home/.local/state/lakebase/agent");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        assert!(!text.contains(&lab.token()) && !text.contains("eyJ"), "{}", path.display());
    }
    let kept = folder.join("projects.json");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let names = fs::read_to_string(&kept).unwrap();
    assert!([&one, &two, &three].iter().all(|seat| names.contains(&seat.project.compose_name)), "{names}");

    // When the agent is killed and one project comes up, then the other that can go on does.
    lab.kill_agent("-9");
    one.project.lakebase("up -d").ok();
    refused(&three, "the workspace token of this project ended with the agent that had it");
    two.enter();
    one.enter();
    // And the third is back after its own `up`, and no container was touched by any of this.
    let before = three.project.containers();
    with_token("up -d --wait");
    three.enter();
    assert_eq!(three.project.containers(), before);
}

#[test]
fn what_brings_a_gateway_back_brings_its_logins_back() {
    let lab = lab();
    let seat = Seat::up(&lab, "shop");
    for (away, back) in [("stop", "start"), ("ps", "restart"), ("pause", "unpause")] {
        // Given a gateway without an agent.
        seat.project.lakebase(away).ok();
        lab.run("docker-compose-lakebase", ["agent", "--stop"]).ok();
        // When it comes back without `up`, then there is an agent again.
        seat.project.lakebase(back).ok();
        seat.enter();
        assert!(lab.agent().is_some(), "{back}");
    }
    // A credential that can't be had is no reason not to start, and the agent that has one needs none.
    lab.run("cargo-lakebase", ["embedded", "stop"]).ok();
    let started = seat.project.lakebase("restart").ok();
    assert!(!started.stderr.contains("warning"), "{started:#?}");
    seat.project.lakebase("stop").ok();
    lab.run("docker-compose-lakebase", ["agent", "--stop"]).ok();
    let started = seat.project.lakebase("start").ok();
    assert!(started.stderr.contains("the gateway gets no logins"), "{started:#?}");
}

#[test]
fn a_project_that_is_taken_down_is_forgotten_at_once() {
    // Given two projects, which the next agent would go on with.
    let lab = lab();
    let (one, two) = (Seat::up(&lab, "one"), Seat::up(&lab, "two"));
    let kept = |seat: &Seat<'_>| {
        let text = fs::read_to_string(lab.path("home/.local/state/lakebase/agent/projects.json")).unwrap();
        text.contains(&seat.project.compose_name)
    };
    assert!(kept(&one) && kept(&two));
    // When one is taken down, and not only for show, then it is forgotten, and the other goes on.
    one.project.lakebase("down --dry-run").ok();
    assert!(kept(&one));
    one.project.lakebase("down").ok();
    assert!(!kept(&one) && kept(&two));
    two.enter();
    // When it comes up again, then it is served again.
    one.project.lakebase("up -d --wait").ok();
    one.enter();
    assert!(kept(&one));
    // When there is no agent, then none is started to forget it.
    lab.kill_agent("-9");
    one.project.lakebase("down").ok();
    assert!(!kept(&one) && kept(&two));
    assert_eq!(lab.agent(), None);
    // When the last one is destroyed, then nobody needs the agent.
    two.project.lakebase("up -d --wait").ok();
    two.project.lakebase("destroy").ok();
    assert!(!kept(&two));
    wait_for("the agent to end", || lab.agent().is_none().then_some(()));
}

#[test]
fn a_branch_that_is_gone_is_said_once_and_for_all() {
    // Given a gateway whose login is good for an hour.
    let lab = Lab::with_embedded();
    let seat = Seat::up(&lab, "shop");
    seat.enter();
    let branch = seat.project.branch_id();

    // When the branch is deleted elsewhere, then a client hears it.
    lab.api("DELETE", &format!("projects/shop/branches/{branch}?purge=true"), &json!({}));
    let gone = format!("the branch `{branch}` does not exist any more");
    refused(&seat, &gone);

    // And the agent, which nobody needs now, ends; the gateway keeps the words, and asks nobody.
    wait_for("the agent to end", || lab.agent().is_none().then_some(()));
    assert!(!lab.path("home/.local/state/lakebase/agent/agent.sock").exists());
    refused(&seat, &gone);

    // When `up` makes the branch anew, then it answers.
    seat.project.lakebase("up -d --wait").ok();
    seat.enter();
}

#[test]
fn an_api_that_is_away_is_said_and_when_it_is_back_nobody_waits() {
    // Given an API that is away: its server is frozen, so that it takes connections and answers none.
    let lab = lab();
    let seat = Seat::up(&lab, "shop");
    let server = lab.embedded_pid();
    let frozen = e2e::Frozen::new(&server);
    // Then a client hears why in the time that it waits.
    refused(&seat, "getting a login for the branch took more than 15 s");
    // And with the API back the next one gets in.
    drop(frozen);
    wait_for("the API to be back", || (seat.session().code == Some(0)).then_some(()));
    // When it is stopped altogether, then the words say what to run.
    lab.run("cargo-lakebase", ["embedded", "stop"]).ok();
    refused(&seat, "the embedded Lakebase is not running");
    // And when it is started, on another port, clients get in without any `up`.
    Ran::of(
        &mut lab.command("cargo-lakebase", ["embedded", "start", "--port", &e2e::free_port().to_string()]),
    )
    .ok();
    wait_for("logins from another port", || (seat.session().code == Some(0)).then_some(()));
}

#[test]
fn a_docker_that_hangs_keeps_no_other_project_waiting() {
    // Given a project whose `docker` says nothing once it is told to hang.
    let lab = lab();
    let (slow, quick) = (Seat::new(&lab, "slow", "LAKEBASE_PROFILE=embedded\n"), Seat::up(&lab, "quick"));
    let folder = lab.path("slow-docker");
    fs::create_dir(&folder).unwrap();
    let (docker, hang) = (folder.join("docker"), folder.join("hang"));
    let real = lab.run("sh", ["-c", "command -v docker"]).ok().stdout;
    let script = format!(
        "#!/bin/sh\nwhile [ -e '{}' ]; do sleep 0.1; done\nexec {} \"$@\"\n",
        hang.display(),
        real.trim()
    );
    fs::write(&docker, script).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    slow.project.cargo("init").ok();
    let mut up = slow.project.command("docker", ["compose", "lakebase", "up", "-d", "--wait"]);
    let path = up.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
    let path = [folder.as_os_str().to_owned(), path].join(std::ffi::OsStr::new(":"));
    Ran::of(up.env("PATH", path)).ok();
    slow.enter();

    // When it hangs and its gateway has to be found anew.
    fs::write(&hang, "").unwrap();
    slow.project.compose("restart").ok();
    let mut waiting = slow.psql("SELECT 1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    // Then the other project's clients notice nothing, over several logins.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(8) {
        quick.enter();
    }
    fs::remove_file(&hang).unwrap();
    wait_for("the slow one", || (slow.session().code == Some(0)).then_some(()));
    assert!(waiting.wait().unwrap().code().is_some(), "it was answered");
}

#[test]
fn many_starts_at_once_and_a_disk_without_room_make_one_agent() {
    // Given no agent, a socket that nobody listens on, and a place where no log and no memory can be written.
    let lab = lab();
    let seats = ["one", "two", "three"].map(|name| Seat::up(&lab, name));
    lab.kill_agent("-9");
    let folder = lab.path("home/.local/state/lakebase/agent");
    assert!(folder.join("agent.sock").exists());
    for name in ["agent.log", "projects.json"] {
        let _ = fs::remove_file(folder.join(name));
        fs::create_dir(folder.join(name)).unwrap();
    }
    // When all come up at the same time, then each is served.
    let up = |seat: &Seat<'_>| {
        let mut command = seat.project.command("docker", ["compose", "lakebase", "up", "-d"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let starting: Vec<_> = seats.iter().map(up).collect();
    for start in starting {
        let output = start.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Over the life of several logins, by the one agent that the lock names.
    let agent = lab.agent().expect("an agent");
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(8) {
        seats.iter().for_each(Seat::enter);
    }
    assert_eq!(lab.agents(), [agent]);
}

/// Most memory that an agent may take, in bytes, whatever a container says.
const AGENT_MEMORY: u64 = 64 << 20;

/// The folder of an image that is not the gateway's, and does this where the agent joins it.
fn impostor(lab: &Lab, project: &Project<'_>, feed: &str) -> PathBuf {
    let folder = lab.path("impostor");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let base = std::env::var("TODO_PYTHON_IMAGE").unwrap_or_else(|_| "python:3.13-slim".to_owned());
    let name = &project.compose_name;
    // The label lets the image go with the project.
    let dockerfile = format!(
        "FROM {base}\nLABEL com.docker.compose.project={name}\nCOPY program /lakebase-gateway\n\
         ENTRYPOINT [\"/lakebase-gateway\", \"serve\"]\n"
    );
    write("Dockerfile", &dockerfile);
    let program = format!("#!/bin/sh\ncase $1 in\nserve) exec sleep infinity ;;\nfeed)\n{feed}\n;;\nesac\n");
    write("program", &program);
    fs::set_permissions(folder.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    write("tag", &format!("lakebase-impostor:{name}"));
    folder
}

/// A seat that the impostor has.
fn taken<'a>(lab: &'a Lab, name: &str, feed: &str) -> Seat<'a> {
    let seat = Seat::new(lab, name, "LAKEBASE_PROFILE=embedded\n");
    seat.project.cargo("init").ok();
    let folder = impostor(lab, &seat.project, feed);
    let mut up = seat.project.command("docker", ["compose", "lakebase", "up", "-d", "--wait"]);
    Ran::of(up.env("LAKEBASE_GATEWAY_DIR", folder)).ok();
    seat
}

/// The lines that the impostor has written into a file of its container.
fn written(seat: &Seat<'_>, file: &str) -> Vec<String> {
    let container = seat.project.inspect("{{.Id}}");
    let ran = seat.project.run("docker", ["exec", container.trim(), "cat", file]);
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_container_that_never_ends_its_line_is_dropped_and_fills_no_memory() {
    // Given a project that is served, and one whose gateway says a line of 300 MB.
    let lab = lab();
    let other = Seat::up(&lab, "other");
    let endless = "echo >>/joined; echo '{\"hello\":{}}'; head -c 300000000 /dev/zero | tr '\\0' x";
    let seat = taken(&lab, "shop", endless);
    // When the agent has joined it several times.
    wait_for("the agent to join", || (written(&seat, "/joined").len() > 2).then_some(()));
    // Then it has kept none of it, has said so once, and still serves the other.
    let peak = memory_peak(&lab.agent().unwrap());
    println!("the agent took {} MiB at most", peak >> 20);
    assert!(peak < AGENT_MEMORY, "the agent took {} MiB", peak >> 20);
    let log = fs::read_to_string(lab.path("home/.local/state/lakebase/agent/agent.log")).unwrap();
    assert_eq!(log.matches("a line without an end").count(), 1, "{log}");
    other.enter();
}

#[test]
fn a_container_that_asks_all_the_time_gets_one_login_a_second() {
    // Given a gateway that asks again as soon as it is answered, and every third time hangs up and is joined anew.
    let lab = Lab::with_embedded();
    let asks = "now() { cut -d' ' -f1 /proc/uptime; }\necho '{\"hello\":{}}'\n[ -e /times ] || now >/times\n\
                for turn in 1 2 3; do echo '{\"want\":\"token\"}'; read -r login || exit; now >>/times; done";
    let seat = taken(&lab, "shop", asks);
    // Then it waited five seconds at least from its first wish to its sixth login.
    let times = wait_for("six logins", || Some(written(&seat, "/times")).filter(|times| times.len() > 6));
    let time = |at: usize| times[at].parse::<f64>().unwrap();
    assert!(time(6) - time(0) > 4.9, "{times:?}");
}

#[test]
fn another_service_that_bears_the_gateways_labels_gets_no_login() {
    // Given a younger container of the project that says it is for the same endpoint.
    let lab = lab();
    let seat = Seat::up(&lab, "shop");
    let folder = impostor(&lab, &seat.project, "touch /joined; sleep infinity");
    let endpoint = seat.project.inspect("{{index .Config.Labels \"lakebase.endpoint\"}}");
    let labels = [
        format!("com.docker.compose.project={}", seat.project.compose_name),
        "com.docker.compose.service=other".to_owned(),
        "com.docker.compose.oneoff=False".to_owned(),
        format!("lakebase.endpoint={}", endpoint.trim()),
    ];
    let image = seat.project.run("docker", ["build", "--quiet", folder.to_str().unwrap()]).ok().stdout;
    let mut run = seat.project.command("docker", ["run", "--detach", "--network", "none"]);
    run.args(labels.iter().flat_map(|label| ["--label", label])).arg(image.trim());
    let other = Ran::of(&mut run).ok().stdout;
    // When the gateway has to be found anew.
    lab.kill_agent("-9");
    seat.project.lakebase("up -d").ok();
    // Then it is the one that is found, over several logins.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(8) {
        seat.enter();
    }
    let joined = seat.project.run("docker", ["exec", other.trim(), "test", "-e", "/joined"]);
    assert_eq!(joined.code, Some(1), "{joined:#?}");
}
