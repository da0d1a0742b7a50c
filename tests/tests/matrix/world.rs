//! A small world to strike commands in.

use std::process::Command;

use e2e::{Lab, Project, Ran, Seat, Secrets, wait_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::cells::{Blow, Cell, Place};
use super::scenario::{Scenario, Start};
use super::view::{self, Texts, View};
use super::{steps, strike};

const PROJECT: &str = "shop";
/// Branches that are not ours: a colleague's, and one whose name alone looks like ours.
const FOREIGN: [&str; 2] = ["dev-grace-main-0a1b2c", "release"];
/// The git branch that is merged.
const MERGED: &str = "done";
/// A branch lives no longer than that; the configuration's default.
const TTL: SignedDuration = SignedDuration::from_hours(24);

/// A lab with production, other people's branches, and a project.
pub struct World<'a> {
    lab: &'a Lab,
    seat: &'a Seat<'a>,
    project: &'a Project<'a>,
    secrets: Secrets,
    /// What never changes.
    untouched: Value,
}

/// A command that ran undisturbed.
#[derive(Debug, Clone)]
pub struct Undisturbed {
    /// The calls that it makes, each once, in their order.
    pub calls: Vec<String>,
    /// The steps that it takes.
    pub steps: Vec<String>,
    /// Its exit code: `doctor` has something to say of every lab.
    pub code: Option<i32>,
    /// Where it ends.
    pub view: View,
}

/// What came of a cell.
pub struct Found {
    /// Whether the command came to the place and was struck there.
    pub struck: bool,
    /// What does not hold.
    pub violations: Vec<String>,
}

impl World<'_> {
    /// Makes one, and takes it away after `work`.
    pub fn with(work: impl FnOnce(&World<'_>)) {
        let lab = Lab::with_embedded();
        let seat = Seat::new(&lab, PROJECT, "LAKEBASE_PROFILE=embedded\n");
        seat.project.write(".gitignore", ".env.lakebase\n");
        seat.project.cargo("init").ok();
        seat.project.production_sql(
            "CREATE TABLE tasks (id int PRIMARY KEY, title text NOT NULL); INSERT INTO tasks VALUES (1, 'one'), (2, 'two')",
        );
        seat.project.commit("The project's id");
        for id in FOREIGN {
            let parent = format!("projects/{PROJECT}/branches/production");
            let body = json!({"spec": {"source_branch": parent, "ttl": "86400s"}});
            lab.api("POST", &format!("projects/{PROJECT}/branches?branch_id={id}"), &body);
            wait_for("a foreign branch", || {
                let all = view::branches(&lab, PROJECT);
                all.iter()
                    .any(|branch| view::id_of(branch) == id && branch["status"]["current_state"] == "READY")
                    .then_some(())
            });
        }
        let secrets = Secrets::of(&lab);
        let project = &seat.project;
        let mut world = World { lab: &lab, seat: &seat, project, secrets, untouched: Value::Null };
        world.untouched = world.what_is_not_ours();
        work(&world);
    }

    /// Takes away whatever the scenario before has left.
    pub fn clear(&self) {
        self.lab.call("DELETE", "/embedded/faults", &json!({}));
        self.project.run("git", ["switch", "--quiet", "--force", "main"]).ok();
        self.project.run("git", ["clean", "-dfxq"]).ok();
        self.project.run("docker", ["compose", "down", "--remove-orphans"]).ok();
        for branch in self.ours() {
            let name = format!("/api/2.0/postgres/projects/{PROJECT}/branches/{}", view::id_of(&branch));
            self.lab.ask("DELETE", &format!("{name}?purge=true"), None);
            wait_for("a branch to be gone", || {
                (self.lab.ask("GET", &name, None).status == 404).then_some(())
            });
        }
        self.forget();
        let doors = self.lab.path("doors");
        self.lab.run("docker-compose-lakebase", ["doors", "add", doors.to_str().expect("a path")]).ok();
    }

    /// What the command does when nothing disturbs it.
    pub fn undisturbed_run(&self, scenario: &Scenario) -> Undisturbed {
        self.prepare(scenario);
        let since = self.last_call();
        self.end_agent(scenario);
        let watched = steps::watch(&mut self.command(scenario), self.lab, None);
        let ran = watched.ran.expect("it ends");
        assert!(ran.code == Some(0) || scenario.words.contains(&"doctor"), "{ran:?}");
        let mut calls: Vec<String> = Vec::new();
        for call in self.calls_since(since) {
            let name = call["call"].as_str().expect("a name").to_owned();
            if !calls.contains(&name) {
                calls.push(name);
            }
        }
        assert!(!calls.is_empty() || !watched.steps.is_empty(), "{} does nothing", scenario.name());
        Undisturbed { calls, steps: watched.steps, code: ran.code, view: self.view(scenario) }
    }

    /// Strikes the command, and looks at everything.
    pub fn strike(&self, scenario: &Scenario, cell: &Cell, undisturbed: &Undisturbed) -> Found {
        let wanted = &undisturbed.view;
        self.prepare(scenario);
        let before = Texts::of(self.lab, &self.project.folder);
        let since = self.last_call();
        if let Some(fault) = cell.fault() {
            self.lab.call("PUT", "/embedded/faults", &json!({"faults": [fault]}));
        }
        let mut struck = true;
        let ran = match (&cell.place, cell.blow) {
            (Place::Step(step), Blow::Signal(signal)) => {
                self.end_agent(scenario);
                let watched =
                    steps::watch(&mut self.command(scenario), self.lab, Some((step.as_str(), signal)));
                struck = watched.steps.contains(step);
                watched.ran
            }
            (Place::Call(call, moment), Blow::Signal(signal)) => {
                strike::interrupt(&mut self.command(scenario), signal, || self.waits_at(since, call, moment))
            }
            _ => strike::run(&mut self.command(scenario)),
        };
        // What is looked at below is read through the same API.
        self.lab.call("DELETE", "/embedded/faults", &json!({}));
        let mut violations = Vec::new();
        let mut holds = |holds: bool, what: String| {
            if !holds {
                violations.push(format!("{}: {what}", cell.name));
            }
        };
        holds(ran.is_some(), "the command hung".into());
        let ran = ran.unwrap_or_else(|| Ran {
            line: String::new(),
            code: None,
            stdout: String::new(),
            stderr: String::new(),
        });
        let answers = if scenario.words.contains(&"check") { 1..4 } else { 0..0 };
        // 130 is what Compose, which the command has become, makes of Ctrl-C.
        let documented =
            ran.code.is_none_or(|code| matches!(code, 0 | 64..100 | 130) || answers.contains(&code));
        holds(documented, format!("exit code {:?}: {}", ran.code, ran.stderr));
        let told = ran.code.is_none_or(|code| code == 0 || answers.contains(&code))
            || ran.code == undisturbed.code
            || ran.stderr.contains("error:");
        holds(told, "it failed without a word".into());
        holds(!ran.stderr.contains("panicked"), format!("it panicked: {}", ran.stderr));
        holds(!self.secrets.are_in(ran.all().as_bytes()), "a secret was printed".into());
        for folder in [self.project.folder.clone(), self.lab.path("home")] {
            // The one file that may hold a login, and is not committed.
            let mut found = self.secrets.files(&folder);
            found.retain(|path| !view::may_hold_a_login(path));
            holds(found.is_empty(), format!("a secret was written: {found:?}"));
        }
        let untouched = self.what_is_not_ours();
        holds(
            untouched == self.untouched,
            format!("what is not ours changed: {untouched}, not {}", self.untouched),
        );
        for leak in self.leaks() {
            holds(false, format!("a branch is left behind: {leak}"));
        }
        for half in view::halves(self.lab, &self.project.folder, [&before, &wanted.texts]) {
            holds(false, format!("half a file is left: {half}"));
        }
        let again = self.undisturbed(scenario);
        holds(again.code == undisturbed.code, format!("the next run fails: {}", again.stderr));
        for difference in self.view(scenario).differences(wanted) {
            holds(false, format!("the next run ends elsewhere: {difference}"));
        }
        holds(self.what_is_not_ours() == self.untouched, "the next run changed what is not ours".into());
        Found { struck, violations }
    }

    /// Brings the world into the scenario's start, undisturbed.
    fn prepare(&self, scenario: &Scenario) {
        self.lab.call("DELETE", "/embedded/faults", &json!({}));
        let program = scenario.words[0];
        let (make, unmake) = if scenario.is_of_compose() {
            (vec!["up", "-d"], vec!["destroy"])
        } else {
            (vec!["run", "--", "true"], vec!["destroy"])
        };
        match scenario.start {
            Start::Absent => {
                self.project.run(program, unmake).ok();
                self.forget();
            }
            Start::Present => drop(self.project.run(program, make).ok()),
            Start::WithFile => drop(self.project.run(program, ["env", "--write"]).ok()),
            Start::WithMerged => {
                self.project.run(program, &make).ok();
                self.project.switch(MERGED);
                self.project.run(program, &make).ok();
                self.project.commit("Work");
                self.project.switch("main");
                self.project.run("git", ["merge", "--quiet", "--ff-only", MERGED]).ok();
            }
            Start::NoProject => {
                self.lab.ask("DELETE", "/api/2.0/postgres/projects/new?purge=true", None);
                wait_for("the project to be gone", || {
                    let answer = self.lab.ask("GET", "/api/2.0/postgres/projects/new", None);
                    (answer.status == 404).then_some(())
                });
                self.project.write("lakebase.config", "LAKEBASE_PROFILE=embedded\n");
            }
            Start::NoDoor => {
                let doors = self.lab.path("doors");
                let remove = ["doors", "remove", doors.to_str().expect("a path")];
                self.project.run(program, remove).ok();
            }
            Start::Door => {
                let doors = self.lab.path("doors");
                self.project.run(program, ["doors", "add", doors.to_str().expect("a path")]).ok();
            }
        }
    }

    /// Takes away all that the product keeps on this machine, as on one that never saw it.
    fn forget(&self) {
        self.lab.run("docker-compose-lakebase", ["agent", "--stop"]).ok();
        wait_for("the agent to end", || self.lab.agent().is_none().then_some(()));
        for folder in [self.lab.path("home/.local"), self.project.folder.join(".lakebase")] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).expect("a folder of ours");
            }
        }
    }

    /// Kills the agent of a command that has something to tell it: it starts another where it needs one, whose steps are seen.
    fn end_agent(&self, scenario: &Scenario) {
        if scenario.tells_the_agent() && self.lab.agent().is_some() {
            self.lab.kill_agent("-KILL");
        }
    }

    fn command(&self, scenario: &Scenario) -> Command {
        let doors = self.lab.path("doors").display().to_string();
        let word =
            |word: &&'static str| if *word == Scenario::DOORS { doors.clone() } else { (*word).to_owned() };
        let (program, arguments) = scenario.words.split_first().expect("a program");
        self.project.command(program, arguments.iter().map(word))
    }

    fn undisturbed(&self, scenario: &Scenario) -> Ran {
        Ran::of(&mut self.command(scenario))
    }

    fn view(&self, scenario: &Scenario) -> View {
        let about = if scenario.start == Start::NoProject { "new" } else { PROJECT };
        View::of(self.lab, self.seat, about)
    }

    /// The branches of the project that are not somebody else's.
    fn ours(&self) -> Vec<Value> {
        let mut all = view::branches(self.lab, PROJECT);
        all.retain(|branch| view::id_of(branch) != "production" && !FOREIGN.contains(&view::id_of(branch)));
        all
    }

    /// Whether the command waits at the held call.
    fn waits_at(&self, since: u64, call: &str, moment: &str) -> bool {
        let took_effect = |entry: &Value| moment == "before" || !entry["effect_ms"].is_null();
        self.calls_since(since).iter().any(|entry| {
            entry["call"] == call
                && entry["faults"].as_array().is_some_and(|faults| !faults.is_empty())
                && entry["end_ms"].is_null()
                && took_effect(entry)
        })
    }

    fn calls_since(&self, since: u64) -> Vec<Value> {
        let answer = self.lab.ask("GET", &format!("/embedded/calls?since={since}"), None);
        answer.body["calls"].as_array().expect("a list").clone()
    }

    fn last_call(&self) -> u64 {
        self.calls_since(0).last().and_then(|call| call["number"].as_u64()).unwrap_or(0)
    }

    /// Production's rows and schema, and everybody else's branches as the service has them.
    fn what_is_not_ours(&self) -> Value {
        let rows = "SELECT string_agg(tasks::text, ';' ORDER BY id) FROM tasks";
        let schema = "SELECT string_agg(concat_ws(' ', table_schema, table_name, column_name, data_type), ';' ORDER BY 1) \
             FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
        let mut psql = self.lab.command("psql", ["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", rows, "-c", schema]);
        // A login lasts for an hour, and the whole of the matrix for longer.
        psql.envs(production(self.lab));
        let production = Ran::of(&mut psql).ok().stdout;
        let others: Vec<Value> = view::branches(self.lab, PROJECT)
            .iter()
            .filter(|branch| view::id_of(branch) == "production" || FOREIGN.contains(&view::id_of(branch)))
            .map(|branch| json!({"uid": branch["uid"], "state": branch["status"]["current_state"], "expires": branch["status"]["expire_time"]}))
            .collect();
        json!({"production": production, "others": others})
    }

    /// Branches of ours without an end, or with one that is too late.
    fn leaks(&self) -> Vec<String> {
        let latest = Timestamp::now() + TTL + SignedDuration::from_mins(1);
        let endless = |branch: &Value| {
            let expires =
                branch["status"]["expire_time"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            expires.is_none_or(|at| at > latest)
        };
        self.ours().into_iter().filter(endless).map(|branch| view::id_of(&branch).to_owned()).collect()
    }
}

/// The variables of a login to production.
fn production(lab: &Lab) -> Vec<(&'static str, String)> {
    let endpoint = format!("projects/{PROJECT}/branches/production/endpoints/primary");
    let found = lab.ask("GET", &format!("/api/2.0/postgres/{endpoint}"), None).body;
    let host = found["status"]["hosts"]["host"].as_str().expect("a host");
    let (host, port) = host.split_once(':').expect("a host and its port");
    let minted = lab.ask("POST", "/api/2.0/postgres/credentials", Some(&json!({"endpoint": endpoint})));
    let user = lab.ask("GET", "/api/2.0/preview/scim/v2/Me", None).body;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    vec![
        ("PGHOST", host.to_owned()),
        ("PGPORT", port.to_owned()),
        ("PGUSER", text(&user["userName"])),
        ("PGPASSWORD", text(&minted.body["token"])),
        ("PGDATABASE", "databricks_postgres".to_owned()),
        ("PGSSLMODE", "require".to_owned()),
    ]
}
