//! The real Compose and Docker: found, asked, and become.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use doors::{argv, plugins};
use lakebase::commands::session::exec;
use lakebase::compose::version;
use lakebase::env_vars::{self, Env};
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use tokio::process::Command;

use crate::agent::Docker;
use crate::call::Call;

/// The programs behind a call.
#[derive(Debug, Clone)]
pub struct Real {
    /// The real Compose.
    compose: PathBuf,
    /// The `docker` command.
    docker: PathBuf,
    /// What stands before Compose's flags: Docker's flags and `compose`, where Docker started us.
    before: Vec<String>,
    docker_flags: Vec<String>,
}

impl Real {
    /// Finds both.
    ///
    /// # Errors
    /// [`Kind::NoDocker`], [`Kind::NoCompose`].
    pub fn find(call: &Call, env: &Env) -> Result<Self> {
        let docker = which::which("docker").map_err(|error| {
            Error::new(Kind::NoDocker, "Docker is not installed")
                .because(&error)
                .hint("install Docker Engine or Docker Desktop")
        })?;
        let folders = plugin_folders(call, env);
        let compose = plugins::real_compose(&folders, None).ok_or_else(|| {
            Error::new(Kind::NoCompose, "Docker Compose is not installed")
                .because_of("no `docker-compose` was found in Docker's plugin folders")
                .hint("install Docker Compose 2.24 or later")
        })?;
        // Compose takes itself for a plugin when Docker's variable is set, and then expects Docker's flags
        // and its own name first.
        let is_plugin = env.get(env_vars::DOCKER_PLUGIN_ORIGINAL).is_some();
        let mut before = call.docker.clone();
        before.push("compose".into());
        let before = if is_plugin { before } else { Vec::new() };
        Ok(Self { compose, docker, before, docker_flags: call.docker.clone() })
    }

    /// Asks whether Compose is new enough.
    ///
    /// # Errors
    /// [`Kind::NoCompose`].
    pub async fn check_version(&self) -> Result<()> {
        let output = self.ask(&["version".into(), "--short".into()]).await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let text = version::shown(&printed);
        let install = format!("install Docker Compose {} or later", version::OLDEST);
        match version::parse(&printed) {
            Some(found) if found >= version::OLDEST => Ok(()),
            Some(_) => Err(Error::new(Kind::NoCompose, format!("Docker Compose {text} is too old"))
                .because_of(format!("`{}` can't take a service out of the model", self.compose.display()))
                .hint(install)),
            None => Err(Error::new(Kind::NoCompose, "Docker Compose does not tell its version")
                .because_of(format!("`{} version --short` printed {text:?}", self.compose.display()))
                .because_of(String::from_utf8_lossy(&output.stderr))
                .hint(install)),
        }
    }

    /// Asks Compose for the model: every profile's services, or where an inactive profile is broken, the
    /// chosen ones' (the second value then says why).
    ///
    /// # Errors
    /// [`Kind::NoModel`] with Compose's own words.
    pub async fn model(&self, flags: &[String]) -> Result<(Vec<u8>, Option<String>)> {
        let with = |profiles: &[&str]| {
            let mut arguments = flags.to_vec();
            arguments.extend(profiles.iter().map(|word| (*word).to_owned()));
            arguments.extend(["config", "--format", "json"].map(str::to_owned));
            arguments
        };
        let all = self.ask(&with(&["--profile", "*"])).await?;
        if all.status.success() {
            return Ok((all.stdout, None));
        }
        let chosen = self.ask(&with(&[])).await?;
        let why = |output: &Output| String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if chosen.status.success() {
            return Ok((chosen.stdout, Some(why(&all))));
        }
        Err(Error::new(Kind::NoModel, "Compose refuses the project")
            .because_of(why(&chosen))
            .hint("correct the Compose file; `docker compose config` says the same"))
    }

    /// How Compose is called with these arguments.
    pub fn call<const N: usize>(&self, arguments: [&str; N]) -> (&Path, Vec<String>) {
        (&self.compose, self.arguments(arguments.map(str::to_owned).into()))
    }

    /// Becomes Compose. Returns only when that failed.
    pub fn become_compose(&self, arguments: Vec<String>, variables: &[(&str, Secret)]) -> Error {
        let mut command = std::process::Command::new(&self.compose);
        command.args(self.arguments(arguments));
        exec(command, variables)
    }

    /// Runs Compose on the user's terminal and waits for it.
    ///
    /// # Errors
    /// [`Kind::Program`] where it fails.
    pub async fn run_compose(&self, arguments: Vec<String>, variables: &[(&str, Secret)]) -> Result<()> {
        let mut command = Command::new(&self.compose);
        command
            .args(self.arguments(arguments))
            .envs(variables.iter().map(|(key, value)| (key, value.expose())));
        let status = command.status().await.map_err(|error| self.unusable(&error))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(Kind::Program, format!("`docker compose` ended with {status}")))
    }

    /// Runs Compose and keeps its words for the case that it fails.
    ///
    /// # Errors
    /// [`Kind::Program`] with them.
    pub async fn quietly(&self, arguments: Vec<String>) -> Result<()> {
        let output = self.ask(&arguments).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::new(Kind::Program, format!("`docker compose` ended with {}", output.status))
            .because_of(String::from_utf8_lossy(&output.stderr)))
    }

    /// The program and the arguments that are Compose with these.
    pub fn compose(&self, arguments: Vec<String>) -> (PathBuf, Vec<String>) {
        (self.compose.clone(), self.arguments(arguments))
    }

    /// The `docker` command with the call's own flags, to be given its arguments.
    pub fn docker_command(&self) -> Command {
        let mut command = Command::new(&self.docker);
        command.args(&self.docker_flags).kill_on_drop(true);
        command
    }

    /// Runs a command of Docker's own; its output is data.
    ///
    /// # Errors
    /// [`Kind::NoDocker`] with Docker's own words.
    pub async fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.docker);
        command.args(&self.docker_flags).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let shown = || format!("`docker {}` failed", arguments.first().unwrap_or(&""));
        let output =
            command.output().await.map_err(|error| Error::new(Kind::NoDocker, shown()).because(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::new(Kind::NoDocker, shown())
            .because_of(String::from_utf8_lossy(&output.stderr))
            .hint("check that the Docker engine runs: `docker info`"))
    }

    /// How the agent calls Docker for the same engine.
    pub fn for_agent(&self, env: &Env, cwd: &Path) -> Docker {
        let chosen = |name: &&str| Some(((*name).to_owned(), env.get(name)?.to_owned()));
        Docker {
            program: self.docker.clone(),
            flags: self.docker_flags.clone(),
            variables: Docker::VARIABLES.iter().filter_map(chosen).collect(),
            folder: cwd.to_owned(),
        }
    }

    async fn ask(&self, arguments: &[String]) -> Result<Output> {
        let mut command = Command::new(&self.compose);
        command.args(self.arguments(arguments.to_vec())).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.map_err(|error| self.unusable(&error))
    }

    fn arguments(&self, arguments: Vec<String>) -> Vec<String> {
        self.before.iter().cloned().chain(arguments).collect()
    }

    fn unusable(&self, error: &std::io::Error) -> Error {
        Error::new(Kind::NoCompose, format!("`{}` could not be started", self.compose.display()))
            .because(error)
    }
}

/// Docker's plugin folders, as this call chooses them.
pub fn plugin_folders(call: &Call, env: &Env) -> Vec<PathBuf> {
    let flag = argv::values(&call.docker, "--config", None).pop();
    let variable = env.get(env_vars::DOCKER_CONFIG).map(OsStr::new);
    let home = env.get(env_vars::HOME).map(OsStr::new);
    plugins::folders(plugins::config_folder(flag, variable, home).as_deref())
}
