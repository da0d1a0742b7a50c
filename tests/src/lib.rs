//! What the end-to-end tests stand on: a lab with a home of its own, the programs installed in it, the embedded
//! Lakebase, and projects with their own git identity. Everything that a lab started ends with it.

mod client;
mod http;
mod output;
mod process;
mod project;
mod seat;
mod secrets;
pub mod tools;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use client::{Login, Refused, Session};
pub use http::{Answer, request};
pub use output::Ran;
pub use process::{Frozen, comm, memory_peak, signal};
pub use project::{Project, wait_for};
pub use seat::Seat;
pub use secrets::{Secrets, Watch};
use serde_json::json;
use tempfile::TempDir;

/// Variables that decide where programs look, or which branch a job works on; a lab sets its own.
const FOREIGN: [&str; 23] = [
    "DATABRICKS_",
    "LAKEBASE_",
    "COMPOSE_",
    "PG",
    "XDG_",
    "ARM_",
    "AZURE_",
    "GOOGLE_",
    "ACTIONS_",
    "CI",
    "GITHUB_",
    "GITLAB_",
    "BITBUCKET_",
    "BUILDKITE",
    "TRAVIS",
    "TF_BUILD",
    "BUILD_",
    "SYSTEM_",
    "JENKINS_",
    "CHANGE_",
    "GIT_BRANCH",
    "GIT_AUTHOR_",
    "GIT_COMMITTER_",
];

/// The folder of the gateway's image, which tests/run.sh prepares.
const GATEWAY: &str = "LAKEBASE_GATEWAY_DIR";

/// A user's machine in a folder.
pub struct Lab {
    folder: TempDir,
    /// The folder of the programs.
    pub bin: PathBuf,
}

impl Lab {
    /// A home with a git identity, and the programs installed as install.sh does it.
    pub fn new() -> Self {
        // Short, since paths of sockets are, and open to the user that PostgreSQL runs as.
        let folder = tempfile::Builder::new().prefix("lb-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Self { bin: folder.path().join("bin"), folder };
        for folder in ["home", "bin", "docker/cli-plugins", "doors", "projects"] {
            fs::create_dir_all(lab.path(folder)).unwrap();
        }
        let built = built();
        for name in ["cargo-lakebase", "docker-compose-lakebase"] {
            symlink(built.join(name), lab.bin.join(name)).unwrap();
        }
        symlink(built.join("docker-compose-lakebase"), lab.path("docker/cli-plugins/docker-lakebase"))
            .unwrap();
        symlink(built.join("docker-compose"), lab.path("doors/docker-compose")).unwrap();
        // A Compose that is installed for the user alone lies in the folder that this lab hides.
        let users =
            std::env::home_dir().map(|home| home.join(".docker/cli-plugins")).filter(|path| path.is_dir());
        let config = json!({"cliPluginsExtraDirs": users.into_iter().collect::<Vec<_>>()});
        fs::write(lab.path("docker/config.json"), config.to_string()).unwrap();
        let doors = lab.path("doors");
        lab.run("docker-compose-lakebase", ["doors", "add", doors.to_str().unwrap()]).ok();
        lab.git_user("Ada Lovelace", "ada@example.com");
        lab
    }

    /// The same with the embedded Lakebase running.
    pub fn with_embedded() -> Self {
        Self::with_embedded_set(&[])
    }

    /// The same with variables of the embedded server set.
    pub fn with_embedded_set(variables: &[(&str, &str)]) -> Self {
        let lab = Self::new();
        lab.start_embedded(variables);
        lab
    }

    /// Starts the embedded Lakebase with these variables set.
    pub fn start_embedded(&self, variables: &[(&str, &str)]) {
        let words = ["embedded", "start", "--port", &free_port().to_string()];
        Ran::of(self.command("cargo-lakebase", words).envs(variables.iter().copied())).ok();
    }

    /// A path inside the lab.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Sets git's identity for everything in the lab.
    pub fn git_user(&self, name: &str, email: &str) {
        let text = format!("[user]\n\tname = {name}\n\temail = {email}\n[init]\n\tdefaultBranch = main\n");
        fs::write(self.path("home/.gitconfig"), text).unwrap();
    }

    /// A command in the lab's environment.
    pub fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            let foreign = |key: &str| FOREIGN.iter().any(|prefix| key.starts_with(prefix)) && key != GATEWAY;
            if key.to_str().is_some_and(foreign) {
                command.env_remove(key);
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(self.bin.clone()).chain(std::env::split_paths(&path)));
        let home = std::env::home_dir().unwrap();
        let rust =
            |name: &str, default: &str| std::env::var_os(name).unwrap_or_else(|| home.join(default).into());
        command
            .args(arguments)
            .env("PATH", path.unwrap())
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("LAKEBASE_EMBEDDED_HOME", self.path("embedded"))
            .env("CARGO_HOME", rust("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", rust("RUSTUP_HOME", ".rustup"))
            .env("NO_COLOR", "1")
            .current_dir(self.path("projects"));
        command
    }

    /// Runs a command in the lab's environment to its end.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(program, arguments))
    }

    /// The lab's own token of the embedded Lakebase, for the tests that look for it where it must not be.
    pub fn token(&self) -> String {
        let printed = self.run("cargo-lakebase", ["embedded", "env"]).ok().stdout;
        let line = printed.lines().find(|line| line.contains("DATABRICKS_TOKEN=")).unwrap();
        line.split_once('=').unwrap().1.trim_matches(['\'', '"']).to_owned()
    }

    /// Where the embedded Lakebase's API is.
    pub fn host(&self) -> String {
        let printed = self.run("cargo-lakebase", ["embedded", "env"]).ok().stdout;
        let host = printed.split(['\'', '\n']).find(|word| word.starts_with("http://")).unwrap();
        host.trim_end_matches('/').to_owned()
    }

    /// One call of the embedded Lakebase's API, which must succeed; `path` stands behind `/api/2.0/postgres/`.
    pub fn api(&self, method: &str, path: &str, body: &serde_json::Value) {
        self.call(method, &format!("/api/2.0/postgres/{path}"), body);
    }

    /// The same for a whole path.
    pub fn call(&self, method: &str, path: &str, body: &serde_json::Value) {
        let answer = self.ask(method, path, Some(body));
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    }

    /// One call of the embedded server by its whole path, whatever it answers.
    pub fn ask(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Answer {
        // As the server itself wrote them down: asking a program for them takes longer than the call.
        let read =
            |file: &str| fs::read_to_string(self.path("embedded").join(file)).expect("a running server");
        let running: serde_json::Value = serde_json::from_str(&read("server.json")).expect("its place");
        let port = running["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        let answer = http::request_with(port, method, path, Some(read("token").trim()), body);
        answer.expect("the embedded Lakebase answers")
    }

    /// What a GET of the embedded Lakebase's API answers, `null` where it is refused; `path` as for [`Lab::api`].
    pub fn read(&self, path: &str) -> serde_json::Value {
        let answer = self.ask("GET", &format!("/api/2.0/postgres/{path}"), None);
        if answer.status == 200 { answer.body } else { serde_json::Value::Null }
    }

    /// The process of the lab's embedded Lakebase.
    pub fn embedded_process(&self) -> u32 {
        let text = fs::read_to_string(self.path("embedded/server.json")).unwrap();
        let running: serde_json::Value = serde_json::from_str(&text).unwrap();
        running["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// The process of the lab's agent; it must run.
    pub fn agent_process(&self) -> u32 {
        fs::read_to_string(self.path("home/.local/state/lakebase/agent/agent.lock")).unwrap().parse().unwrap()
    }

    /// A copy of examples/todo, a git repository on branch `main` with one commit.
    pub fn todo(&self, name: &str) -> Project<'_> {
        let project = Project::new(self, name);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/todo");
        for entry in fs::read_dir(&example).unwrap() {
            let entry = entry.unwrap();
            // What a demo in this clone left behind is not the example.
            let own = [".env", ".lakebase", "lakebase.config", ".env.lakebase"];
            if !own.iter().any(|name| entry.file_name() == *name) {
                copy(&entry.path(), &project.folder.join(entry.file_name()));
            }
        }
        let config = project.folder.join("lakebase.config.example");
        fs::rename(config, project.folder.join("lakebase.config")).unwrap();
        fs::write(project.folder.join(".gitignore"), ".env.lakebase\n").unwrap();
        project.commit("The example");
        project
    }

    /// A project of the given files, a git repository on branch `main` with one commit.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> Project<'_> {
        let project = Project::new(self, name);
        for (file, text) in files {
            project.write(file, text);
        }
        project.commit("The start");
        project
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failed test must not leave a server behind; what this prints is of no use to anybody.
        let _ = self.command("docker-compose-lakebase", ["agent", "--stop"]).output();
        let _ = self.command("cargo-lakebase", ["embedded", "stop"]).output();
    }
}

/// The folder of the programs under test: `LAKEBASE_BIN_DIR`, or where cargo put them beside this test.
fn built() -> PathBuf {
    let folder = match std::env::var_os("LAKEBASE_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned(),
    };
    for name in ["cargo-lakebase", "docker-compose-lakebase", "docker-compose"] {
        assert!(folder.join(name).is_file(), "{name} is not built: run `cargo build` first");
    }
    folder
}

/// A TCP port that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
