//! Docker and Compose: found, answering, new enough.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::Known;
use super::check::{Check, skipped};
use crate::compose::version;

/// A program must answer within this time; an engine behind `ssh` takes a moment.
const WITHIN: Duration = Duration::from_secs(6);

/// What our program behind `docker compose lakebase` says before its version.
const FRONT: &str = "docker compose lakebase ";

/// What a program did that was started to be asked.
pub enum Said {
    /// It ended well, with this on stdout.
    Well(String),
    /// It did not, with this on stderr.
    Ill(String),
    /// It did not end in time.
    Late,
    /// It could not be started.
    Unusable(String),
}

impl Said {
    /// Why it is of no use, in words.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Well(_) => None,
            Self::Ill(words) if words.is_empty() => Some("it failed without a word".to_owned()),
            Self::Ill(words) | Self::Unusable(words) => Some(words.clone()),
            Self::Late => Some(format!("it did not answer within {} s", WITHIN.as_secs())),
        }
    }
}

/// Asks a program.
pub async fn ask<S: AsRef<std::ffi::OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match tokio::time::timeout(WITHIN, command.output()).await {
        Err(_) => Said::Late,
        Ok(Err(error)) => Said::Unusable(error.to_string()),
        Ok(Ok(Output { status, stdout, .. })) if status.success() => Said::Well(text(&stdout)),
        Ok(Ok(Output { stdout, stderr, .. })) => {
            // An old Docker says on stderr what a new one says on stdout.
            Said::Ill(if stderr.is_empty() { text(&stdout) } else { text(&stderr) })
        }
    }
}

/// What the cargo face knows of Docker: what `which` finds. Nothing of it is needed by `cargo lakebase run`.
pub async fn on_path(_known: Known<'_>) -> Vec<Check> {
    let docker = which::which("docker").ok();
    let compose = async {
        match &docker {
            Some(docker) => vec![
                compose(docker, ["compose", "version", "--short"]).await,
                front(&ask(docker, ["compose", "lakebase", "--version"]).await),
            ],
            None => skipped(
                &[("compose.version", "Docker Compose"), ("doors.compose", "`docker compose lakebase`")],
                "Docker is not installed",
            ),
        }
    };
    let (mut checks, compose) = tokio::join!(engine(docker.as_deref(), &[]), compose);
    checks.extend(compose);
    checks.into_iter().map(Check::softened).collect()
}

/// The `docker` command and its engine; `flags` are Docker's own.
pub async fn engine(docker: Option<&Path>, flags: &[String]) -> Vec<Check> {
    let Some(docker) = docker else {
        let missing = Check::fail("docker.cli", "Docker is not installed")
            .cure("install Docker Engine or Docker Desktop");
        let mut checks = vec![missing];
        checks.extend(skipped(&[("docker.engine", "Docker's engine")], "Docker is not installed"));
        return checks;
    };
    let format = ["version", "--format", "{{.Client.Version}} {{.Server.Version}}"].map(str::to_owned);
    let said = ask(docker, flags.iter().cloned().chain(format)).await;
    vec![Check::ok("docker.cli", format!("Docker {}", docker.display())), engine_check(&said)]
}

fn engine_check(said: &Said) -> Check {
    let id = "docker.engine";
    if let Said::Well(versions) = said
        && let Some((client, server)) = versions.split_once(' ')
        && !server.is_empty()
    {
        let what = format!("Docker's engine {server} answers (the command is {client})");
        return Check::ok(id, what).with("engine", server).with("client", client);
    }
    let why = said.trouble().unwrap_or_else(|| "it does not tell its version".to_owned());
    let check = Check::fail(id, format!("Docker's engine does not answer: {why}"));
    if why.contains("permission denied") {
        return check.cure("let your user use Docker: `sudo usermod -aG docker $USER`, then log in again");
    }
    check
        .cure("start Docker Desktop, or the engine: `sudo systemctl start docker`")
        .cure("check DOCKER_HOST and `docker context ls`")
}

/// Asks a Compose for its version.
pub async fn compose<S: AsRef<std::ffi::OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Check {
    compose_check(&ask(program, arguments).await)
}

fn compose_check(said: &Said) -> Check {
    let (id, install) = ("compose.version", format!("install Docker Compose {} or later", version::OLDEST));
    match said {
        Said::Well(text) => {
            match version::parse(text) {
                Some(found) if found >= version::OLDEST => {
                    Check::ok(id, format!("Docker Compose {}", version::shown(text)))
                        .with("version", version::shown(text))
                }
                Some(_) => Check::fail(id, format!("Docker Compose {} is too old", version::shown(text)))
                    .cure(install),
                None => Check::fail(id, format!("Docker Compose does not tell its version: {text:?}"))
                    .cure(install),
            }
        }
        said => {
            let why = said.trouble().unwrap_or_default();
            Check::fail(id, format!("Docker Compose does not answer: {why}")).cure(install)
        }
    }
}

/// Whether `docker compose lakebase` reaches us, by what it says of its version.
fn front(said: &Said) -> Check {
    let id = "doors.compose";
    let ours = env!("CARGO_PKG_VERSION");
    let words = match said {
        Said::Well(text) => text.strip_prefix(FRONT),
        _ => None,
    };
    match words {
        Some(version) if version == ours => {
            Check::ok(id, format!("`docker compose lakebase` is version {version}, as this program"))
        }
        Some(version) => Check::fail(
            id,
            format!("`docker compose lakebase` is version {version}, and this program {ours}"),
        )
        .cure("run `./install.sh` again"),
        None => Check::fail(id, "`docker compose lakebase` does not reach our program")
            .cure("run `./install.sh`; `docker-compose-lakebase doctor` tells more"),
    }
}

/// A program of ours on PATH, and its version.
pub async fn ours(name: &str) -> Option<(PathBuf, Said)> {
    let path = which::which(name).ok()?;
    let said = ask(&path, ["--version"]).await;
    Some((path, said))
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    fn well(text: &str) -> Said {
        Said::Well(text.to_owned())
    }

    #[test]
    fn an_engine_answers_or_says_why_not() {
        assert_eq!(engine_check(&well("28.2 20.10.24")).status, Status::Ok);
        let down = Said::Ill("Cannot connect to the Docker daemon at unix:///x. Is it running?".into());
        let down = engine_check(&down);
        assert!(down.status == Status::Fail && down.what.contains("unix:///x"), "{down:?}");
        let forbidden = engine_check(&Said::Ill("permission denied while trying to connect".into()));
        assert!(forbidden.cure[0].contains("usermod"), "{forbidden:?}");
        for said in [well(""), well("28.2 "), Said::Late, Said::Unusable("no".into())] {
            assert_eq!(engine_check(&said).status, Status::Fail);
        }
    }

    #[test]
    fn a_compose_is_new_enough_or_not() {
        let status = |text: &str| compose_check(&well(text)).status;
        assert_eq!([status("2.24.0"), status("v5.0.1"), status("2.40.3-3")], [Status::Ok; 3]);
        assert_eq!([status("2.23.9"), status("1.29.2"), status("soon"), status("")], [Status::Fail; 4]);
        assert!(compose_check(&Said::Late).what.contains("6 s"));
    }

    #[test]
    fn the_front_door_is_known_by_its_words() {
        let same = format!("{FRONT}{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(front(&well(&same)).status, Status::Ok);
        assert_eq!(front(&well("docker compose lakebase 0.0.9")).status, Status::Fail);
        assert_eq!(front(&Said::Ill("unknown command".into())).status, Status::Fail);
    }
}
