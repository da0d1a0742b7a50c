//! A developer's checkout in a lab.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Answer, Lab, Ran, free_port, request};

/// A git repository with a Compose project, whose containers end with it.
pub struct Project<'a> {
    lab: &'a Lab,
    /// The checkout.
    pub folder: PathBuf,
    /// The Compose project's name, of this test run alone.
    pub compose_name: String,
    /// The host's port of the application.
    pub port: u16,
    /// Variables of every command in the checkout.
    variables: Vec<(String, String)>,
}

impl<'a> Project<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str) -> Self {
        let folder = lab.path("projects").join(name);
        fs::create_dir_all(&folder).unwrap();
        let project = Self::of(lab, folder, name);
        project.run("git", ["init", "--quiet"]).ok();
        project
    }

    fn of(lab: &'a Lab, folder: PathBuf, name: &str) -> Self {
        let unique = lab.path("").file_name().unwrap().to_string_lossy().to_lowercase();
        Self {
            lab,
            folder,
            compose_name: format!("{unique}-{name}"),
            port: free_port(),
            variables: Vec::new(),
        }
    }

    /// The same with variables set for every command, such as a developer's own credential.
    pub fn with_variables(mut self, variables: &[(String, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Another worktree of the same repository, on a new git branch; a Compose project of its own.
    pub fn worktree(&self, name: &str, branch: &str) -> Self {
        let folder = self.lab.path("projects").join(name);
        let path = folder.to_str().unwrap();
        self.run("git", ["worktree", "add", "--quiet", "-b", branch, path]).ok();
        Self::of(self.lab, folder, name)
    }

    /// Writes a file of the checkout.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the checkout.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.run("git", ["add", "--all"]).ok();
        self.run("git", ["commit", "--quiet", "--allow-empty", "--message", message]).ok();
    }

    /// Switches to a git branch, which is made where it is missing.
    pub fn switch(&self, branch: &str) {
        let exists = self.run("git", ["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")]);
        let arguments: &[&str] = if exists.code == Some(0) { &[] } else { &["--create"] };
        self.run("git", [&["switch", "--quiet"], arguments, &[branch]].concat()).ok();
    }

    /// A command in the checkout.
    pub fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.lab.command(program, arguments);
        command
            .current_dir(&self.folder)
            .env("COMPOSE_PROJECT_NAME", &self.compose_name)
            .env("TODO_PORT", self.port.to_string())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command in the checkout.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(program, arguments))
    }

    /// `docker compose …`, the words of one line.
    pub fn compose(&self, line: &str) -> Ran {
        self.run("docker", std::iter::once("compose").chain(line.split_whitespace()))
    }

    /// `docker compose lakebase …`, the words of one line.
    pub fn lakebase(&self, line: &str) -> Ran {
        self.compose(&format!("lakebase {line}"))
    }

    /// `cargo lakebase …`, the words of one line.
    pub fn cargo(&self, line: &str) -> Ran {
        self.run("cargo", std::iter::once("lakebase").chain(line.split_whitespace()))
    }

    /// What SQL says on this git branch's Lakebase branch, unaligned and without headers.
    pub fn sql(&self, sql: &str) -> String {
        self.psql(&[], sql)
    }

    /// What SQL says in production.
    pub fn production_sql(&self, sql: &str) -> String {
        self.psql(&["--parent"], sql)
    }

    fn psql(&self, options: &[&str], sql: &str) -> String {
        let psql = ["--", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let ran = self.run("cargo-lakebase", [&["psql"], options, &psql].concat()).ok();
        ran.stdout.trim().to_owned()
    }

    /// Makes the project in Lakebase and fills production from the example's seed.
    pub fn with_production(self) -> Self {
        self.cargo("init").ok();
        self.cargo("psql --parent -- -Xq -v ON_ERROR_STOP=1 -f production/seed.sql").ok();
        self.commit("The project's id");
        self
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.cargo("status --json").ok().stdout).unwrap()
    }

    /// The id of this git branch's Lakebase branch.
    pub fn branch_id(&self) -> String {
        self.status()["branch_id"].as_str().unwrap().to_owned()
    }

    /// Whether that branch exists.
    pub fn has_branch(&self) -> bool {
        !self.status()["branch"].is_null()
    }

    /// `docker inspect` of every container of the project.
    pub fn inspect(&self, format: &str) -> String {
        let ids = self.lakebase("ps -aq").ok().stdout;
        let words = ["inspect", "--format", format].into_iter().chain(ids.split_whitespace());
        self.run("docker", words).ok().stdout
    }

    /// Waits until the application answers a GET with status 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        wait_for(&format!("GET {path}"), || {
            request(self.port, "GET", path, None).filter(|answer| answer.status == 200)
        })
        .body
    }

    /// One request to the application.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        request(self.port, method, path, Some(body)).expect("the application answers")
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.compose_name);
        for (list, remove) in [
            (vec!["ps", "-aq"], vec!["rm", "-f"]),
            (vec!["volume", "ls", "-q"], vec!["volume", "rm"]),
            (vec!["network", "ls", "-q"], vec!["network", "rm"]),
            (vec!["image", "ls", "-q"], vec!["image", "rm"]),
        ] {
            let found = self.lab.command("docker", list.iter().chain(&["--filter", &label])).output();
            let text =
                found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            if !text.trim().is_empty() {
                let _ =
                    self.lab.command("docker", remove.into_iter().chain(text.split_whitespace())).output();
            }
        }
    }
}

/// Looks until there is something to see, for two minutes at most.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
