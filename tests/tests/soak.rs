//! A day in minutes: logins of a few seconds, applications with pools, and everything that a day does to a laptop.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::{Frozen, Lab, Project, Ran, wait_for};
use serde_json::json;

/// Seconds that a login lives.
const LOGIN: &str = "3";
/// How long the agent is frozen: longer than any login lives, and shorter than the gateway lets its clients wait.
const FREEZE: Duration = Duration::from_secs(7);
/// How long the applications work between two troubles: a life of a login and more.
const BETWEEN: Duration = Duration::from_secs(4);
/// How long the applications pause before the endpoint falls asleep: longer than any connection stays in their pools.
const LUNCH: Duration = Duration::from_secs(3);
/// An hour of the server's clock.
const HOUR: i64 = 3600;
/// The applications.
const NAMES: [&str; 2] = ["sqlalchemy", "node-postgres"];

#[test]
fn a_pool_outlives_every_login_and_whatever_befalls_the_agent() {
    a_day_of(Duration::ZERO);
}

#[test]
#[ignore = "minutes long: tests/run.sh --full"]
fn a_pool_outlives_five_minutes_of_that() {
    a_day_of(Duration::from_secs(300));
}

/// Rounds of trouble until the time is over, one at least; no query may fail and no container be touched.
fn a_day_of(time: Duration) {
    // Given two applications with pools whose connections are made anew all the time, on logins of seconds.
    let lab = Lab::with_embedded_set(&[("LAKEBASE_EMBEDDED_TOKEN_TTL", LOGIN)]);
    let mut day = Day::start(&lab);
    let before = day.project.containers();
    assert_eq!(before.len(), 3);
    let began = Instant::now();

    // When the agent is frozen and killed, clocks jump and the endpoint sleeps, over and over.
    loop {
        day.freeze();
        day.kill();
        day.skew(-HOUR);
        day.skew(0);
        day.sleep();
        day.rounds += 1;
        if began.elapsed() >= time {
            break;
        }
    }
    // (Last, for logins of a later hour are good through the earlier one, and nothing would be seen there.)
    day.skew(HOUR);
    day.freeze();
    day.skew(0);

    // Then each query of each application had its effect, and nothing was made anew.
    day.pause();
    let seen = day.seen();
    let took = began.elapsed().as_secs();
    let minted = day.minted();
    println!(
        "soak: {took} s, {} rounds: {} queries, {} failed, the slowest {:.1} s; {minted} logins minted; the agent frozen {} times and killed {}, {} processes; the clock set {} times, the endpoint suspended {}",
        day.rounds,
        seen.queries,
        seen.failures.len(),
        seen.slowest,
        day.freezes,
        day.kills,
        day.agents.len(),
        day.skews,
        day.sleeps
    );
    let some = &seen.failures[..seen.failures.len().min(10)];
    assert!(some.is_empty(), "{some:#?} in {:#?}", day.story);
    assert_eq!(day.project.sql("SELECT count(*) FROM soak"), seen.queries.to_string());
    assert_eq!(day.project.containers(), before);
    // And it was no fair-weather day: somebody had to wait for a login, and there were many.
    assert!(seen.slowest > 1.0, "nobody ever waited: {}", seen.slowest);
    let troubles = (day.freezes + day.kills) as usize;
    assert!(minted > troubles, "{minted} logins for {troubles} troubles");
}

/// The project, and what was done to it.
struct Day<'a> {
    lab: &'a Lab,
    project: Project<'a>,
    agents: BTreeSet<String>,
    rounds: u32,
    freezes: u32,
    kills: u32,
    skews: u32,
    sleeps: u32,
    /// What was done and when, for whoever looks for the cause of a failure.
    story: Vec<String>,
}

/// What an application wrote down.
#[derive(Default)]
struct Seen {
    queries: usize,
    failures: Vec<String>,
    slowest: f64,
}

impl<'a> Day<'a> {
    fn start(lab: &'a Lab) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak");
        let read = |name: &str| fs::read_to_string(scripts.join(name)).unwrap();
        // As the stand-ins of the base images it stays on this machine: it holds drivers and nothing of this test.
        let image = "lakebase-soak:1";
        let python = std::env::var("TODO_PYTHON_IMAGE").unwrap_or_else(|_| "python:3.13-slim".to_owned());
        let build = ["build", "--quiet", "--tag", image, "--build-arg", &format!("PYTHON_IMAGE={python}")];
        Ran::of(lab.command("docker", build).arg(&scripts)).ok();
        let id = |flag: &str| lab.run("id", [flag]).ok().stdout.trim().to_owned();
        let user = format!("{}:{}", id("-u"), id("-g"));
        let compose = read("compose.yaml").replace("${SOAK_IMAGE}", image).replace("${SOAK_USER}", &user);
        let config = "LAKEBASE_PROJECT_NAME=soak\nLAKEBASE_PROFILE=embedded\nLAKEBASE_CONNECT=gateway\n";
        let project = lab.project(
            "soak",
            &[
                ("lakebase.config", config),
                ("compose.yaml", &compose),
                ("pool.py", &read("pool.py")),
                ("pool.js", &read("pool.js")),
                ("pause", ""),
            ],
        );
        project.cargo("init").ok();
        project.lakebase("up -d --wait").ok();
        project.sql("CREATE TABLE soak (client text, number int, PRIMARY KEY (client, number))");
        fs::remove_file(project.folder.join("pause")).unwrap();
        let mut day = Self {
            lab,
            project,
            agents: BTreeSet::new(),
            rounds: 0,
            freezes: 0,
            kills: 0,
            skews: 0,
            sleeps: 0,
            story: Vec::new(),
        };
        day.work();
        day.agent();
        day
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.project.folder.join(name)
    }

    /// What was written so far.
    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for name in NAMES {
            let text = fs::read_to_string(self.file(&format!("{name}.log"))).unwrap_or_default();
            for line in text.lines() {
                let (at, line) = line.split_once(' ').unwrap_or_default();
                let (seconds, said) = line.split_once(' ').unwrap_or_default();
                seen.queries += 1;
                seen.slowest = seen.slowest.max(seconds.parse().unwrap_or_default());
                if said != "ok" {
                    seen.failures.push(format!("{at} {name} {line}"));
                }
            }
        }
        seen
    }

    /// The applications go on, for [`BETWEEN`] and until each has done a query after that.
    fn work(&self) {
        std::thread::sleep(BETWEEN);
        let sizes =
            || NAMES.map(|name| self.file(&format!("{name}.log")).metadata().map_or(0, |it| it.len()));
        let before = sizes();
        wait_for("queries", || sizes().iter().zip(before).all(|(now, before)| *now > before).then_some(()));
    }

    fn tell(&mut self, what: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        self.story.push(format!("{now:.3} {what}"));
    }

    /// The agent that runs now.
    fn agent(&mut self) -> String {
        let pid = self.lab.agent().expect("an agent runs");
        self.agents.insert(pid.clone());
        pid
    }

    /// The agent stands still for longer than any login lives, as in a laptop's sleep.
    fn freeze(&mut self) {
        self.tell("freeze");
        let frozen = Frozen::new(&self.agent());
        std::thread::sleep(FREEZE);
        drop(frozen);
        self.tell("thaw");
        self.freezes += 1;
        self.work();
    }

    /// The agent is killed, and `up` brings another.
    fn kill(&mut self) {
        self.tell("kill");
        self.agent();
        self.lab.kill_agent("-9");
        self.project.lakebase("up -d").ok();
        self.agent();
        self.tell("up again");
        self.kills += 1;
        self.work();
    }

    /// The server's clock is set, by seconds from ours.
    fn skew(&mut self, seconds: i64) {
        self.lab.call("PATCH", "/embedded/clock", &json!({"skew_seconds": seconds}));
        self.tell(&format!("clock {seconds:+} s"));
        self.skews += 1;
        self.work();
    }

    /// The applications pause, and the endpoint falls asleep meanwhile.
    fn sleep(&mut self) {
        self.tell("pause");
        self.pause();
        std::thread::sleep(LUNCH);
        let endpoint = format!("projects/soak/branches/{}/endpoints/primary", self.project.branch_id());
        self.lab.call("POST", "/embedded/suspend", &json!({"endpoint": endpoint}));
        self.tell("asleep");
        self.sleeps += 1;
        fs::remove_file(self.file("pause")).unwrap();
        self.work();
    }

    /// Lets every query end, and no other begin.
    fn pause(&self) {
        fs::write(self.file("pause"), "").unwrap();
        for name in NAMES {
            wait_for(name, || self.file(&format!("{name}.parked")).exists().then_some(()));
        }
    }

    /// Logins that were minted, as the server's log has it.
    fn minted(&self) -> usize {
        let log = self.lab.run("cargo-lakebase", ["embedded", "logs"]).ok().stdout;
        log.matches("POST /api/2.0/postgres/credentials 200").count()
    }
}
