//! `connect = "gateway"` when something breaks: a client goes on or gets a clear error, and nothing hangs.

use std::net::TcpListener;
use std::time::Duration;

use e2e::{Frozen, Lab, Login, Project, Ran, Refused, Session, memory_peak, signal, wait_for};
use serde_json::json;

/// Longest that what should happen at once may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(20);
/// Longest that bringing containers up or down may take.
const UP: Duration = Duration::from_secs(120);
/// What a client can run about it.
const RUN_UP: &str = "docker compose lakebase up";

/// A project whose database is published at its own port, with variables for the gateway; initialised and committed.
fn shop<'a>(lab: &'a Lab, name: &str, variables: &[(&str, &str)]) -> Project<'a> {
    let variables: String =
        variables.iter().map(|(key, value)| format!("      {key}: \"{value}\"\n")).collect();
    let compose = format!(
        "services:\n  db:\n    image: ${{TODO_POSTGRES_IMAGE:-postgres:17}}\n    restart: always\n    \
         environment:\n      POSTGRES_USER: shop\n      POSTGRES_PASSWORD: local\n{variables}    \
         ports: [\"127.0.0.1:${{TODO_PORT}}:5432\"]\n"
    );
    let config =
        format!("LAKEBASE_PROJECT_NAME={name}\nLAKEBASE_PROFILE=embedded\nLAKEBASE_CONNECT=gateway\n");
    let project = lab.project(name, &[("compose.yaml", &compose), ("lakebase.config", &config)]);
    project.cargo("init").ok();
    project.commit("The project's id");
    project
}

/// `docker compose lakebase up`, which must not hang.
#[track_caller]
fn up(project: &Project<'_>) -> Ran {
    Ran::within(UP, &mut project.command("docker", ["compose", "lakebase", "up", "-d", "--wait"]))
}

/// The application's login.
fn login(project: &Project<'_>) -> Login {
    Login::new(project.port, "shop", "local")
}

/// A session that answers.
#[track_caller]
fn enter(project: &Project<'_>, limit: Duration) -> Session {
    let session = login(project).open(limit).unwrap_or_else(|refused| panic!("{refused:#?}"));
    assert_eq!(session.query(AT_ONCE, "SELECT 1").as_deref(), Ok("1"));
    session
}

/// Why nobody is let in, which somebody must be told within the limit.
#[track_caller]
fn refusal(project: &Project<'_>, limit: Duration) -> Refused {
    let Err(refused) = login(project).open(limit) else { panic!("a client was let in") };
    refused
}

/// What becomes of a session in the middle of a query while `fault` happens. It must end by then.
#[track_caller]
fn cut(project: &Project<'_>, fault: impl FnOnce()) -> Refused {
    let (busy, other) = (enter(project, AT_ONCE), enter(project, AT_ONCE));
    let (process, _) = backend(&busy);
    std::thread::scope(|scope| {
        let ended = scope.spawn(move || busy.query(UP, "SELECT pg_sleep(600)"));
        let sleeps = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {process}");
        wait_for("the query to run", || {
            (other.query(AT_ONCE, &sleeps).as_deref() == Ok("PgSleep")).then_some(())
        });
        fault();
        wait_within(AT_ONCE, "the session to end", || ended.is_finished().then_some(()));
        ended.join().unwrap().expect_err("the query did not end by itself")
    })
}

/// As [`wait_for`], with a limit of its own.
#[track_caller]
fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    wait_for(what, || {
        assert!(began.elapsed() < limit, "waited {limit:?} for {what}");
        look()
    })
}

/// Process of the session's own backend, and of the server that it belongs to: they run on this machine.
fn backend(session: &Session) -> (String, String) {
    let process = session.query(AT_ONCE, "SELECT pg_backend_pid()").unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    (process, parent.to_owned())
}

/// Process of the gateway, as this machine sees it.
fn gateway_process(project: &Project<'_>) -> String {
    project.inspect("{{.State.Pid}}").trim().to_owned()
}

fn suspend(lab: &Lab, project: &Project<'_>) {
    let endpoint = project.inspect("{{index .Config.Labels \"lakebase.endpoint\"}}");
    lab.call("POST", "/embedded/suspend", &json!({"endpoint": endpoint.trim()}));
}

#[test]
fn a_server_that_dies_ends_its_sessions_at_once_and_new_ones_wait_for_the_next() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "shop", &[]);
    up(&project).ok();

    // When a backend crashes, then PostgreSQL ends every session and recovers; who comes meanwhile waits.
    let (victim, server) = backend(&enter(&project, AT_ONCE));
    assert_ne!(victim, server);
    let session = enter(&project, AT_ONCE);
    let (victim, _) = backend(&session);
    cut(&project, || signal(&victim, "KILL"));
    enter(&project, AT_ONCE);

    // When the whole server is killed, then the same, with another server.
    let (_, server) = backend(&enter(&project, AT_ONCE));
    cut(&project, || signal(&server, "KILL"));
    let (_, next) = backend(&enter(&project, AT_ONCE));
    assert_ne!(server, next);

    // When the endpoint is suspended, then its sessions are told so, and the next client wakes it.
    let ended = cut(&project, || suspend(&lab, &project));
    assert_eq!(ended.sqlstate, "57P01", "{ended:#?}");
    enter(&project, AT_ONCE);
}

#[test]
fn an_upstream_that_is_silent_or_gone_is_an_error_in_time() {
    // Given a gateway that waits four seconds for its branch.
    let lab = Lab::with_embedded();
    let project = shop(&lab, "shop", &[("LAKEBASE_CONNECT_WAIT", "4")]);
    up(&project).ok();
    let session = enter(&project, AT_ONCE);

    // When nobody answers any more, then a new client is told so; a session only waits, and goes on.
    let silence = Frozen::new(&lab.embedded_pid());
    let refused = refusal(&project, AT_ONCE);
    assert_eq!(refused.sqlstate, "08006", "{refused:#?}");
    assert!(refused.words.contains("docker compose lakebase status"), "{refused:#?}");
    drop(silence);
    assert_eq!(session.query(AT_ONCE, "SELECT 2").as_deref(), Ok("2"));
    enter(&project, AT_ONCE);

    // When it is killed, then sessions end at once, and a new client is told that nobody listens.
    cut(&project, || signal(&lab.embedded_pid(), "KILL"));
    assert!(session.query(AT_ONCE, "SELECT 3").is_err());
    let refused = refusal(&project, AT_ONCE);
    assert_eq!(refused.sqlstate, "08006", "{refused:#?}");
    assert!(refused.words.contains("docker compose lakebase status"), "{refused:#?}");

    // When it is back, then so is the database, with nothing else run.
    lab.run("cargo-lakebase", ["embedded", "start"]).ok();
    enter(&project, AT_ONCE);
}

#[test]
fn a_branch_that_is_gone_is_an_error_that_says_what_to_run() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "shop", &[("LAKEBASE_CONNECT_WAIT", "2")]);
    let in_another_terminal = || drop(project.cargo("destroy").ok());
    let by_its_age = || {
        lab.call("PATCH", "/embedded/clock", &json!({"skew_seconds": 25 * 3600}));
        wait_for("the branch to expire", || (!project.has_branch()).then_some(()));
        lab.call("PATCH", "/embedded/clock", &json!({"skew_seconds": 0}));
    };
    let ways: [(&str, &dyn Fn()); 2] = [("destroyed", &in_another_terminal), ("expired", &by_its_age)];
    for (way, fault) in ways {
        // Given a table that the branch alone has.
        up(&project).ok();
        enter(&project, AT_ONCE)
            .query(AT_ONCE, "CREATE TABLE mine ()")
            .unwrap_or_else(|error| panic!("{way}: {error:?}"));

        // When the branch goes, then its sessions end, and a new one is refused with what to do.
        cut(&project, fault);
        let refused = refusal(&project, AT_ONCE);
        assert!(refused.words.contains("does not exist any more"), "{way}: {refused:#?}");
        assert!(refused.words.contains(RUN_UP), "{way}: {refused:#?}");
    }

    // When that is done, then the application goes on, on a new copy.
    up(&project).ok();
    let table = enter(&project, AT_ONCE).query(AT_ONCE, "SELECT to_regclass('mine')");
    assert_eq!(table.as_deref(), Ok(""));
}

#[test]
fn without_the_agent_the_last_login_serves_to_its_end_and_up_brings_another() {
    // Given logins of 15 seconds, and a session.
    let lab = Lab::with_embedded_set(&[("LAKEBASE_EMBEDDED_TOKEN_TTL", "15")]);
    let project = shop(&lab, "shop", &[("LAKEBASE_TOKEN_WAIT", "1")]);
    up(&project).ok();
    let before = project.containers();
    let session = enter(&project, AT_ONCE);
    let agent = &lab.agent().unwrap();

    // When the agent is killed, then new sessions come in for as long as its last login holds.
    signal(agent, "KILL");
    enter(&project, AT_ONCE);

    // And after that a client is told what to run, while the old session goes on.
    let refused = wait_within(UP, "the last login to end", || login(&project).open(AT_ONCE).err());
    assert_eq!(refused.sqlstate, "57P03", "{refused:#?}");
    assert!(refused.words.contains(RUN_UP), "{refused:#?}");
    assert_eq!(session.query(AT_ONCE, "SELECT 2").as_deref(), Ok("2"));

    // When somebody does, then all is well, and no container was touched.
    up(&project).ok();
    enter(&project, AT_ONCE);
    assert_eq!(project.containers(), before);
    assert_ne!(&lab.agent().unwrap(), agent);
    assert_eq!(session.query(AT_ONCE, "SELECT 3").as_deref(), Ok("3"));
}

#[test]
fn a_wrong_login_fails_as_it_does_at_the_local_database() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "shop", &[]);
    let right = login(&project);
    let wrong = [
        Login { password: "nonsense".into(), ..right.clone() },
        Login { user: "nobody".into(), ..right.clone() },
        Login { database: "nowhere".into(), ..right.clone() },
    ];
    let said = || {
        let refused = |login: &Login| login.open(AT_ONCE).err().expect("a wrong login was let in");
        wrong.iter().map(refused).collect::<Vec<_>>()
    };

    // Given what PostgreSQL itself says.
    project.compose("up -d --wait").ok();
    wait_within(UP, "the local database", || right.open(AT_ONCE).ok());
    let local = said();
    assert_eq!(
        local.iter().map(|one| one.sqlstate.as_str()).collect::<Vec<_>>(),
        ["28P01", "28P01", "3D000"]
    );

    // When the gateway has its seat, then it says the same.
    up(&project).ok();
    for (ours, theirs) in said().iter().zip(&local) {
        assert_eq!(ours.sqlstate, theirs.sqlstate, "{ours:#?}");
        assert!(ours.words.starts_with(&theirs.words), "{ours:#?} {theirs:#?}");
    }
    enter(&project, AT_ONCE);
}

#[test]
fn a_port_that_is_taken_is_named_and_stands_in_nobodys_way_later() {
    let lab = Lab::with_embedded();
    let project = shop(&lab, "shop", &[]);
    let other = TcpListener::bind(("127.0.0.1", project.port)).unwrap();
    up(&project).fails(1, &[&project.port.to_string(), "in use"]);
    drop(other);
    up(&project).ok();
    enter(&project, AT_ONCE);
}

#[test]
fn projects_and_worktrees_run_side_by_side_with_one_agent() {
    // Given two projects, and a second worktree of one of them.
    let lab = Lab::with_embedded();
    let (shop, office) = (shop(&lab, "shop", &[]), shop(&lab, "office", &[]));
    let beside = shop.worktree("beside", "feature/beside");
    let all = [&shop, &office, &beside];

    // When all come up at once, then each has a branch of its own.
    std::thread::scope(|scope| {
        all.map(|project| scope.spawn(|| drop(up(project).ok()))).map(|up| up.join().unwrap())
    });
    for project in all {
        let name = &project.compose_name;
        let sql = format!("CREATE TABLE mine AS SELECT '{name}' AS name");
        enter(project, AT_ONCE).query(AT_ONCE, &sql).unwrap();
    }
    let mine = |project: &Project<'_>| {
        enter(project, AT_ONCE).query(AT_ONCE, "SELECT string_agg(name, ' ') FROM mine")
    };
    for project in all {
        assert_eq!(mine(project).as_ref(), Ok(&project.compose_name));
    }
    // And one agent serves them: of those that were started at once, one stays.
    let home = format!("HOME={}\0", lab.path("home").display());
    let is_agent = |process: &std::fs::DirEntry| {
        let read = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
        read("cmdline").ends_with("docker-compose-lakebase\0agent\0") && read("environ").contains(&home)
    };
    let agents = || std::fs::read_dir("/proc").unwrap().flatten().filter(is_agent).count();
    wait_for("one agent", || (agents() == 1).then_some(()));

    // When one is destroyed, then the others go on.
    let others = [&office, &beside].map(|project| (project, enter(project, AT_ONCE), project.containers()));
    shop.lakebase("destroy").ok();
    assert!(!shop.has_branch());
    for (project, session, before) in others {
        assert_eq!(session.query(AT_ONCE, "SELECT name FROM mine").as_ref(), Ok(&project.compose_name));
        assert_eq!(mine(project).as_ref(), Ok(&project.compose_name));
        assert_eq!(project.containers(), before);
    }
}

/// Many more than an application opens at once.
const CROWD: usize = 500;
/// More than the server has room for.
const TOO_MANY: usize = 700;
/// Longest that each of them may wait for its answer.
const CROWD_LIMIT: Duration = Duration::from_secs(60);
/// Most memory that a gateway with such crowds may take, in bytes.
const CROWD_MEMORY: u64 = 64 << 20;

#[test]
fn a_crowd_at_the_door_gets_in_or_a_clear_error() {
    let lab = Lab::with_embedded();
    // Without a password: SCRAM costs each client some milliseconds of the machine that the gateway shares with them.
    let trust = ("POSTGRES_HOST_AUTH_METHOD", "trust");
    let project = shop(&lab, "shop", &[("LAKEBASE_TOKEN_WAIT", "10"), trust]);
    up(&project).ok();
    let door = login(&project);
    #[track_caller]
    fn all_in(said: &[Result<(), Refused>]) {
        assert_eq!(said.iter().find(|said| said.is_err()), None);
        assert_eq!(said.len(), CROWD);
    }

    // When five hundred connect at once, then all get in; to a server that sleeps, too.
    all_in(&door.crowd(CROWD, CROWD_LIMIT));
    suspend(&lab, &project);
    all_in(&door.crowd(CROWD, CROWD_LIMIT));

    // When there are more than the server takes, then the others are told so.
    let said = door.crowd(TOO_MANY, CROWD_LIMIT);
    let refused: Vec<_> = said.iter().filter_map(|said| said.as_ref().err()).collect();
    assert!(!refused.is_empty() && refused.len() < TOO_MANY, "{} were refused", refused.len());
    assert!(refused.iter().all(|refused| refused.sqlstate == "53300"), "{refused:#?}");

    let stays_small = || {
        let peak = memory_peak(&gateway_process(&project));
        println!("the gateway took {} MiB at most", peak >> 20);
        assert!(peak < CROWD_MEMORY, "the gateway took {} MiB", peak >> 20);
    };
    stays_small();

    // When there is no login and none comes, then each is told what to run.
    let agent = Frozen::new(&lab.agent().unwrap());
    // Not by Compose: `restart` is one of the commands that see to it that there is an agent.
    project.run("docker", ["restart", project.inspect("{{.Id}}").trim()]).ok();
    let listens = || (sockets(&gateway_process(&project), LISTEN) > 0).then_some(());
    wait_within(AT_ONCE, "the gateway to listen", listens);
    let said = door.crowd(CROWD, CROWD_LIMIT);
    let without = |said: &Result<(), Refused>| {
        said.as_ref().is_err_and(|refused| refused.sqlstate == "57P03" && refused.words.contains(RUN_UP))
    };
    assert!(said.iter().all(without), "{said:#?}");

    // When it comes while they wait, then all get in.
    let gateway = gateway_process(&project);
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| door.crowd(CROWD, CROWD_LIMIT));
        wait_within(AT_ONCE, "the crowd to be there", || {
            (sockets(&gateway, ESTABLISHED) >= CROWD).then_some(())
        });
        drop(agent);
        all_in(&crowd.join().unwrap());
    });
    stays_small();
}

/// States of a socket, as the kernel numbers them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// How many sockets at PostgreSQL's port a gateway has in this state.
fn sockets(gateway: &str, state: &str) -> usize {
    // Local address with the port in hexadecimal, the other side's, and the state.
    let counts = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(":1538")) && words.nth(1) == Some(state)
    };
    let table = std::fs::read_to_string(format!("/proc/{gateway}/net/tcp")).unwrap_or_default();
    table.lines().filter(counts).count()
}
