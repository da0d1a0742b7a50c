//! A small world to strike commands in, and what must hold of it whatever struck.

use std::collections::BTreeMap;
use std::process::Command;

use e2e::{Lab, Project, Ran, Seat, Secrets, wait_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::cells::{Blow, Cell};
use super::scenario::{Scenario, Start};
use super::strike;

const PROJECT: &str = "shop";
/// Branches that are not ours: a colleague's, and one whose name alone looks like ours.
const FOREIGN: [&str; 2] = ["dev-grace-main-0a1b2c", "release"];
/// The git branch that is merged.
const MERGED: &str = "done";
/// A branch lives no longer than that; the configuration's default.
const TTL: SignedDuration = SignedDuration::from_hours(24);

/// What is to be seen of a world, but for names and times that differ from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Branch id -> state, parent, whether it has an expiry; of the project that the scenario is about.
    branches: BTreeMap<String, (String, String, bool)>,
    /// The recorded git branches.
    recorded: Vec<String>,
    /// The project's own files.
    files: Vec<String>,
    /// The project's containers that run.
    containers: usize,
}

/// A lab with production, other people's branches, and a project.
pub struct World<'a> {
    lab: &'a Lab,
    project: &'a Project<'a>,
    scenario: &'a Scenario,
    secrets: Secrets,
    /// A login to production, for psql.
    production: Vec<(&'static str, String)>,
    /// What never changes.
    untouched: Value,
}

impl World<'_> {
    /// Makes one for a scenario, and takes it away after `work`.
    pub fn with(scenario: &Scenario, work: impl FnOnce(&World<'_>)) {
        let lab = Lab::with_embedded();
        let seat = Seat::new(&lab, PROJECT, "LAKEBASE_PROFILE=embedded\n");
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
                let all = branches(&lab, PROJECT);
                all.iter()
                    .any(|branch| id_of(branch) == id && branch["status"]["current_state"] == "READY")
                    .then_some(())
            });
        }
        let production = production(&lab);
        let secrets = Secrets::of(&lab);
        let mut world = World {
            lab: &lab,
            project: &seat.project,
            scenario,
            secrets,
            production,
            untouched: Value::Null,
        };
        world.untouched = world.what_is_not_ours();
        work(&world);
    }

    /// The calls of the command when nothing disturbs it, each once, in their order; and where it ends then.
    pub fn undisturbed_run(&self) -> (Vec<String>, View) {
        self.prepare();
        let since = self.last_call();
        self.undisturbed().ok();
        let mut calls: Vec<String> = Vec::new();
        for call in self.calls_since(since) {
            let name = call["call"].as_str().expect("a name").to_owned();
            if !calls.contains(&name) {
                calls.push(name);
            }
        }
        assert!(!calls.is_empty(), "{} makes no call", self.scenario.name());
        (calls, self.view())
    }

    /// Strikes the command, and looks at everything. Gives what does not hold.
    pub fn strike(&self, cell: &Cell, wanted: &View) -> Vec<String> {
        self.prepare();
        let since = self.last_call();
        self.lab.call("PUT", "/embedded/faults", &json!({"faults": [cell.fault()]}));
        let ran = match cell.blow {
            Blow::Fault(_) => strike::run(&mut self.command()),
            Blow::Signal(signal) => {
                let call = cell.call.as_deref().unwrap_or_default();
                strike::interrupt(&mut self.command(), signal, || self.waits_at(since, call, cell.moment))
            }
        };
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
        let documented = ran.code.is_none_or(|code| code == 0 || (64..100).contains(&code));
        holds(documented, format!("exit code {:?}: {}", ran.code, ran.stderr));
        let told = ran.code.is_none_or(|code| code == 0 || ran.stderr.contains("error:"));
        holds(told, "it failed without a word".into());
        holds(!ran.stderr.contains("panicked"), format!("it panicked: {}", ran.stderr));
        holds(!self.secrets.are_in(ran.all().as_bytes()), "a secret was printed".into());
        for folder in [self.project.folder.clone(), self.lab.path("home")] {
            let found = self.secrets.files(&folder);
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
        self.lab.call("DELETE", "/embedded/faults", &json!({}));
        let again = self.undisturbed();
        holds(again.code == Some(0), format!("the next run fails: {}", again.stderr));
        let seen = self.view();
        holds(seen == *wanted, format!("the next run ends elsewhere: {seen:?}, not {wanted:?}"));
        holds(self.what_is_not_ours() == self.untouched, "the next run changed what is not ours".into());
        violations
    }

    /// Brings the world into the scenario's start, undisturbed.
    fn prepare(&self) {
        self.lab.call("DELETE", "/embedded/faults", &json!({}));
        let program = self.scenario.words[0];
        let (make, unmake) = if program == "cargo-lakebase" {
            (vec!["run", "--", "true"], vec!["destroy"])
        } else {
            (vec!["up", "-d"], vec!["destroy"])
        };
        match self.scenario.start {
            Start::Absent => drop(self.project.run(program, unmake).ok()),
            Start::Present => drop(self.project.run(program, make).ok()),
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
        }
    }

    fn command(&self) -> Command {
        let (program, arguments) = self.scenario.words.split_first().expect("a program");
        self.project.command(program, arguments)
    }

    fn undisturbed(&self) -> Ran {
        Ran::of(&mut self.command())
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
        psql.envs(self.production.iter().map(|(name, value)| (name, value)));
        let production = Ran::of(&mut psql).ok().stdout;
        let others: Vec<Value> = branches(self.lab, PROJECT)
            .iter()
            .filter(|branch| id_of(branch) == "production" || FOREIGN.contains(&id_of(branch)))
            .map(|branch| json!({"uid": branch["uid"], "state": branch["status"]["current_state"], "expires": branch["status"]["expire_time"]}))
            .collect();
        json!({"production": production, "others": others})
    }

    /// Branches of ours without an end, or with one that is too late.
    fn leaks(&self) -> Vec<String> {
        let latest = Timestamp::now() + TTL + SignedDuration::from_mins(1);
        let ours = branches(self.lab, PROJECT)
            .into_iter()
            .filter(|branch| id_of(branch) != "production" && !FOREIGN.contains(&id_of(branch)));
        let endless = |branch: &Value| {
            let expires =
                branch["status"]["expire_time"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            expires.is_none_or(|at| at > latest)
        };
        ours.filter(endless).map(|branch| id_of(&branch).to_owned()).collect()
    }

    fn view(&self) -> View {
        let about = if self.scenario.start == Start::NoProject { "new" } else { PROJECT };
        let view = |branch: &Value| {
            let status = &branch["status"];
            let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
            let seen = (text("current_state"), text("source_branch"), status["expire_time"].is_string());
            (id_of(branch).to_owned(), seen)
        };
        let record = self.lab.path("home/.local/state/lakebase/branches.json");
        let record: Value = std::fs::read_to_string(record)
            .map(|text| serde_json::from_str(&text).expect("a record"))
            .unwrap_or(Value::Null);
        let recorded = record.as_array().into_iter().flatten();
        let mut recorded: Vec<String> =
            recorded.map(|entry| entry["identity"]["branch"].to_string()).collect();
        recorded.sort();
        let label = format!("label=com.docker.compose.project={}", self.project.compose_name);
        let running = self.project.run("docker", ["ps", "--quiet", "--filter", &label]).ok().stdout;
        View {
            branches: branches(self.lab, about).iter().map(view).collect(),
            recorded,
            files: files(&self.project.folder),
            containers: running.lines().count(),
        }
    }
}

/// The names of a folder's files, sorted; git's own apart.
fn files(folder: &std::path::Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true if path.ends_with(".git") => {}
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

fn branches(lab: &Lab, project: &str) -> Vec<Value> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/2.0/postgres/projects/{project}/branches?page_token={token}");
        let page = lab.ask("GET", &path, None).body;
        all.extend(page["branches"].as_array().cloned().unwrap_or_default());
        match page["next_page_token"].as_str().filter(|next| !next.is_empty()) {
            Some(next) => token = next.to_owned(),
            None => return all,
        }
    }
}

fn id_of(branch: &Value) -> &str {
    branch["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

/// The variables of a login to production that lasts for an hour.
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
