//! Tokens from programs that somebody logged in with: the Databricks CLI and the Azure CLI.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::fields::Fields;
use super::token::Token;
use super::words::shown;
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};

/// How long a program may take; it may refresh a token over the network.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The first Databricks CLI whose `auth token` heeds `--profile`; before it, another profile's token could come.
const OLDEST: Version = Version(0, 207, 1);
/// The first that is more than the Python program of the same name.
const FIRST: Version = Version(0, 100, 0);
/// The first that can be told not to give a token that it keeps.
const FORCES: Version = Version(0, 296, 0);
/// What Azure calls Databricks.
const AZURE_DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";
/// Where the current Databricks CLI is had.
const INSTALL: &str = "https://docs.databricks.com/dev-tools/cli/install.html";

/// A program that gives tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Its path.
    pub(super) path: PathBuf,
    /// The variables that say where its files are.
    places: Vec<(&'static str, Option<String>)>,
    /// Variables that could choose another identity than the arguments do.
    misleading: Vec<&'static str>,
}

/// A version of the Databricks CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[derive(Deserialize)]
struct DatabricksToken {
    access_token: String,
    expiry: Option<String>,
}

#[derive(Deserialize)]
struct AzureToken {
    #[serde(rename = "accessToken")]
    access_token: String,
    /// The end on the local clock.
    #[serde(rename = "expiresOn")]
    expires_on_clock: Option<String>,
    /// The same in seconds since 1970, from newer versions.
    expires_on: Option<Value>,
}

impl Program {
    /// The program `wanted`, a path or a name on PATH.
    ///
    /// # Errors
    /// What `which` says.
    pub(super) fn find(wanted: &str, env: &Env) -> which::Result<Self> {
        let found = which::which_in(wanted, env.get(env_vars::PATH), ".")?;
        let path = std::path::absolute(&found).unwrap_or(found);
        Ok(Self::at(&path, env))
    }

    /// The program at a path, whether or not it is there still.
    pub(super) fn at(path: &Path, env: &Env) -> Self {
        let place = |name: &'static str| (name, env.get(name).map(str::to_owned));
        let places =
            [env_vars::DATABRICKS_CONFIG_FILE, env_vars::HOME, env_vars::AZURE_CONFIG_DIR].map(place);
        let misleading = Fields::variables().chain([env_vars::DATABRICKS_CONFIG_PROFILE]).collect();
        Self { path: path.to_owned(), places: places.into(), misleading }
    }

    /// A token from the Databricks CLI: `choice` is `--profile P` or `--host H`. It keeps tokens in the system's keyring,
    /// where it alone can read them; `anew` for one that it does not keep.
    ///
    /// # Errors
    /// [`Kind::NoCredential`] with the CLI's own words, or with the version to install.
    pub(super) async fn databricks_token(&self, choice: &[String; 2], anew: bool) -> Result<Token> {
        let shown = format!("databricks auth token {} {}", choice[0], choice[1]);
        let failed = || {
            Error::new(Kind::NoCredential, format!("`{shown}` gave no token"))
                .hint(format!("run `databricks auth login {} {}`", choice[0], choice[1]))
        };
        let [option, value] = choice;
        let mut arguments = vec!["auth", "token", option, value];
        let version = ["version", "--output", "json"];
        let (version, output) = if anew {
            let version = self.run(&version, "").await;
            if matches!(&version, Ok(output) if read_version(&output.stdout).is_some_and(|it| it >= FORCES)) {
                arguments.push("--force-refresh");
            }
            (version, self.run(&arguments, &shown).await)
        } else {
            tokio::join!(self.run(&version, ""), self.run(&arguments, &shown))
        };
        self.check_version(version.ok()).await?;
        let output = said(output, failed)?;
        // Not the parser's message: it could quote a part of the answer.
        let unusable = || failed().because_of("its answer is not the JSON that the Databricks CLI prints");
        let parsed: DatabricksToken = serde_json::from_slice(&output.stdout).map_err(|_| unusable())?;
        let expires = parsed.expiry.and_then(|text| text.parse().ok());
        Token::new(&parsed.access_token, expires).ok_or_else(unusable)
    }

    /// A token from the Azure CLI.
    ///
    /// # Errors
    /// [`Kind::NoCredential`] with the CLI's own words.
    pub(super) async fn azure_token(&self) -> Result<Token> {
        let words = "az account get-access-token";
        let failed =
            || Error::new(Kind::NoCredential, format!("`{words}` gave no token")).hint("run `az login`");
        let arguments = ["account", "get-access-token", "--resource", AZURE_DATABRICKS, "--output", "json"];
        let output = said(self.run(&arguments, words).await, failed)?;
        let unusable = || failed().because_of("its answer is not the JSON that the Azure CLI prints");
        let parsed: AzureToken = serde_json::from_slice(&output.stdout).map_err(|_| unusable())?;
        let since_1970 = parsed.expires_on.and_then(|value| Timestamp::from_second(value.as_i64()?).ok());
        let on_clock = || {
            let clock: DateTime = parsed.expires_on_clock?.parse().ok()?;
            Some(clock.to_zoned(TimeZone::system()).ok()?.timestamp())
        };
        Token::new(&parsed.access_token, since_1970.or_else(on_clock)).ok_or_else(unusable)
    }

    /// Refuses a Databricks CLI that is too old. One that does not say its version is taken as it is.
    async fn check_version(&self, output: Option<Output>) -> Result<()> {
        let Some(output) = output else { return Ok(()) };
        let version = match read_version(&output.stdout) {
            Some(version) => version,
            // The Python program of this name knows `-v` alone.
            None => match self
                .run(&["-v"], "")
                .await
                .ok()
                .and_then(|output| read_version(&output.stdout).or_else(|| read_version(&output.stderr)))
            {
                Some(version) => version,
                None => return Ok(()),
            },
        };
        // A build of a developer says 0.0.0.
        if version >= OLDEST || version == Version(0, 0, 0) {
            return Ok(());
        }
        let path = self.path.display();
        let error = Error::new(Kind::NoCredential, format!("the Databricks CLI {version} is too old"))
            .because_of(format!("`{path}` can't log in for others; {OLDEST} or later can"));
        let error = if version < FIRST {
            error.hint(format!("that is the legacy one: run `pip uninstall databricks-cli`, then install the current one: {INSTALL}"))
        } else {
            error.hint(format!("install the current one: {INSTALL}"))
        };
        Err(error.hint(format!("or set {} to the one to use", env_vars::DATABRICKS_CLI_PATH)))
    }

    async fn run(&self, arguments: &[&str], shown: &str) -> Result<Output> {
        let failed = || Error::new(Kind::NoCredential, format!("`{shown}` gave no token"));
        let mut command = tokio::process::Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        for name in &self.misleading {
            command.env_remove(name);
        }
        // The agent serves projects of several places.
        for (name, value) in &self.places {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        match tokio::time::timeout(TIMEOUT, command.output()).await {
            Err(_) => Err(failed().because_of(format!("it did not answer within {} s", TIMEOUT.as_secs()))),
            Ok(Err(error)) => Err(failed().because_of(format!("{}", self.path.display())).because(&error)),
            Ok(Ok(output)) => Ok(output),
        }
    }
}

/// What a program printed, where it succeeded; else its own words.
fn said(output: Result<Output>, failed: impl Fn() -> Error) -> Result<Output> {
    let hints = || failed().hints;
    let output = output.map_err(|error| hints().into_iter().fold(error, Error::hint))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = [&output.stderr, &output.stdout].map(|bytes| shown(&String::from_utf8_lossy(bytes), &[]));
    let words = words.into_iter().find(|words| !words.is_empty());
    Err(failed().because_of(words.unwrap_or_else(|| format!("it ended with {}", output.status))))
}

/// The version in `databricks version --output json`, or the first one in other words.
fn read_version(bytes: &[u8]) -> Option<Version> {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(json) = serde_json::from_str::<Value>(&text) {
        let number = |name: &str| json.get(name)?.as_u64()?.try_into().ok();
        return Some(Version(number("Major")?, number("Minor")?, number("Patch")?));
    }
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v').split(['-', '+']).next()?;
        let mut parts = word.split('.').map(|part| part.parse().ok());
        let version = Version(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_in_each_of_its_spellings() {
        let json =
            r#"{"ProjectName":"cli","Version":"0.296.1","Major":0,"Minor":296,"Patch":1,"Prerelease":""}"#;
        for (text, version) in [
            (json, Some(Version(0, 296, 1))),
            ("Databricks CLI v0.205.0\n", Some(Version(0, 205, 0))),
            ("Version 0.18.0\n", Some(Version(0, 18, 0))),
            ("v1.2.3-dev+abc", Some(Version(1, 2, 3))),
            ("Error: No such command 'version'.", None),
            (r#"{"Major":-1}"#, None),
            ("", None),
        ] {
            assert_eq!(read_version(text.as_bytes()), version, "{text}");
        }
        assert!(Version(1, 0, 0) > FORCES && FORCES > OLDEST && Version(0, 205, 2) < OLDEST);
    }
}
