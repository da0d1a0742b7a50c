//! Databricks unified auth: which source of credentials wins, and a token from it.
//!
//! Sources now: the embedded Lakebase, a personal access token (`pat`) and the Databricks CLI
//! (`databricks-cli`). Order, as in the Databricks SDKs: an explicitly named profile, the environment,
//! `~/.databrickscfg`.

mod way;

use std::path::PathBuf;
use std::time::Duration;

use ini::Ini;
use serde::Deserialize;

pub use self::way::Way;
use crate::config::{Key, Settings};
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The profile that means the embedded Lakebase, and nothing else does.
pub const EMBEDDED: &str = "embedded";

/// How long the Databricks CLI may take; it may refresh a token over the network.
const CLI_TIMEOUT: Duration = Duration::from_secs(60);

/// A workspace and the way to a token for it.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Base URL, such as `https://dbc-1.cloud.databricks.com`, without a slash at the end.
    pub host: String,
    /// Which source won, for `status`.
    pub source: String,
    /// PEM of an authority to trust for the endpoints, where no public one signed them.
    pub ca: Option<String>,
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    /// The token itself.
    Token(Secret),
    /// The token itself, which nothing but the environment holds.
    OfEnvironment(Secret),
    /// The Databricks CLI, the arguments that choose the profile or host, and the variables that say where its files are.
    Cli { program: String, choice: [String; 2], places: Vec<(&'static str, Option<String>)> },
}

/// The running embedded Lakebase.
pub struct Embedded {
    /// Base URL of its API.
    pub host: String,
    /// Its token.
    pub token: Secret,
    /// PEM of the authority that signed its endpoints' certificate.
    pub ca: String,
}

/// Finds the running embedded Lakebase. The face gives it.
pub type FindEmbedded<'a> = &'a dyn Fn() -> Result<Embedded>;

impl Auth {
    /// Decides which credential counts.
    ///
    /// # Errors
    /// [`Kind::NoCredential`] where none is found or the named profile is missing; what `embedded` says
    /// where the profile is `embedded`.
    pub fn resolve(settings: &Settings, env: &Env, embedded: FindEmbedded) -> Result<Self> {
        if settings.text(Key::Profile) == Some(EMBEDDED) {
            let Embedded { host, token, ca } = embedded()?;
            let (source, method) = ("embedded Lakebase".into(), Method::Token(token));
            return Ok(Self { host, source, ca: Some(ca), method });
        }
        if let Some(profile) = settings.text(Key::Profile) {
            return Self::from_profile(profile, &config_file(env)?, env);
        }
        // A source that this version does not know must not be passed over: another identity would win.
        for name in env_vars::DATABRICKS_UNKNOWN {
            if env.get(name).is_some() {
                return Err(Error::new(Kind::Unsupported, format!("${name} is set"))
                    .because_of("this version knows personal access tokens and the Databricks CLI")
                    .hint(format!(
                        "unset {name}, or name a profile of ~/.databrickscfg with `LAKEBASE_PROFILE`"
                    )));
            }
        }
        match (env.get(env_vars::DATABRICKS_HOST), env.get(env_vars::DATABRICKS_TOKEN)) {
            (None, Some(_)) => Err(Error::new(
                Kind::NoCredential,
                format!("${} is set, but not ${}", env_vars::DATABRICKS_TOKEN, env_vars::DATABRICKS_HOST),
            )
            .hint(format!("set {} to the workspace of the token", env_vars::DATABRICKS_HOST))),
            (Some(host), Some(token)) => Ok(Self {
                host: base_url(host)?,
                source: format!("${} and ${}", env_vars::DATABRICKS_HOST, env_vars::DATABRICKS_TOKEN),
                ca: authority(&base_url(host)?, embedded),
                method: Method::OfEnvironment(Secret::new(token)),
            }),
            (Some(_), None) if env.get(env_vars::DATABRICKS_CONFIG_PROFILE).is_some() => {
                let profile = env.get(env_vars::DATABRICKS_CONFIG_PROFILE).unwrap_or_default();
                Self::from_profile(profile, &config_file(env)?, env)
            }
            (Some(host), None) => Self::cli(host, ["--host".into(), base_url(host)?], env),
            (None, None) => {
                let named = env.get(env_vars::DATABRICKS_CONFIG_PROFILE);
                let file = config_file(env)?;
                let default = file.as_ref().and_then(|(_, ini)| ini.section(Some("DEFAULT")));
                if named.is_none() && default.is_none() {
                    return Err(none_found());
                }
                Self::from_profile(named.unwrap_or("DEFAULT"), &file, env)
            }
        }
    }

    /// Whether the workspace runs on this machine, so that containers reach its endpoints by another name.
    pub fn is_loopback(&self) -> bool {
        reqwest::Url::parse(&self.host).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host))
    }

    /// A token for the API.
    ///
    /// # Errors
    /// [`Kind::NoCredential`] with the CLI's own words.
    pub async fn token(&self) -> Result<Secret> {
        match &self.method {
            Method::Token(token) | Method::OfEnvironment(token) => Ok(token.clone()),
            Method::Cli { program, choice, places } => cli_token(program, choice, places).await,
        }
    }

    fn from_profile(profile: &str, file: &Option<(PathBuf, Ini)>, env: &Env) -> Result<Self> {
        let missing = |path: &str| {
            Error::new(Kind::NoCredential, format!("the Databricks profile `{profile}` does not exist"))
                .because_of(format!("it is not in {path}"))
                .hint(format!("run `databricks auth login --profile {profile}`"))
                .hint("or set `LAKEBASE_PROFILE=embedded` for the embedded Lakebase")
        };
        let Some((path, ini)) = file else { return Err(missing("~/.databrickscfg: there is no such file")) };
        let path = path.display().to_string();
        let section = ini.section(Some(profile)).ok_or_else(|| missing(&format!("`{path}`")))?;
        let host = section.get("host").filter(|host| !host.is_empty()).ok_or_else(|| {
            Error::new(Kind::NoCredential, format!("the Databricks profile `{profile}` has no host"))
                .because_of(format!("in `{path}`"))
        })?;
        match (section.get("auth_type"), section.get("token")) {
            (None | Some("pat"), Some(token)) if !token.is_empty() => Ok(Self {
                host: base_url(host)?,
                source: format!("profile {profile} of {path} (pat)"),
                ca: None,
                method: Method::Token(Secret::new(token)),
            }),
            (None | Some("databricks-cli"), _) => {
                Self::cli(host, ["--profile".into(), profile.to_owned()], env)
            }
            (Some(other), _) => Err(Error::new(
                Kind::Unsupported,
                format!("the Databricks profile `{profile}` uses `auth_type = {other}`"),
            )
            .because_of("this version knows `pat` and `databricks-cli`")
            .hint(format!(
                "set {} and {}",
                env_vars::DATABRICKS_HOST,
                env_vars::DATABRICKS_TOKEN
            ))),
        }
    }

    fn cli(host: &str, choice: [String; 2], env: &Env) -> Result<Self> {
        let wanted = env.get(env_vars::DATABRICKS_CLI_PATH).unwrap_or("databricks");
        let program = which::which(wanted).map_err(|error| {
            Error::new(Kind::NoCredential, format!("there is a Databricks host ({host}) but no token"))
                .because_of(format!("`{wanted}` is not installed"))
                .because(&error)
                .hint(format!("set {}", env_vars::DATABRICKS_TOKEN))
                .hint("or install the Databricks CLI and run `databricks auth login`")
        })?;
        let place = |name: &'static str| (name, env.get(name).map(str::to_owned));
        let places = [env_vars::DATABRICKS_CONFIG_FILE, env_vars::HOME].map(place).into();
        Ok(Self {
            host: base_url(host)?,
            source: format!("databricks auth token {} {}", choice[0], choice[1]),
            ca: None,
            method: Method::Cli { program: program.display().to_string(), choice, places },
        })
    }
}

/// The authority of the embedded Lakebase, where the host is its API.
fn authority(host: &str, embedded: FindEmbedded) -> Option<String> {
    let url = reqwest::Url::parse(host).ok()?;
    let found = url.host_str().is_some_and(is_loopback_host).then(embedded)?.ok()?;
    (found.host.trim_end_matches('/') == host).then_some(found.ca)
}

fn none_found() -> Error {
    Error::new(Kind::NoCredential, "no Databricks credential was found")
        .because_of("neither the configuration nor the environment names one, and ~/.databrickscfg has no DEFAULT profile")
        .hint(format!("set {} and {}", env_vars::DATABRICKS_HOST, env_vars::DATABRICKS_TOKEN))
        .hint("or name a profile of ~/.databrickscfg with `LAKEBASE_PROFILE`")
        .hint("or work offline with `LAKEBASE_PROFILE=embedded`")
}

/// The file of profiles, if there is one.
fn config_file(env: &Env) -> Result<Option<(PathBuf, Ini)>> {
    let home = || Some(PathBuf::from(env.get(env_vars::HOME)?).join(".databrickscfg"));
    let Some(path) = env.get(env_vars::DATABRICKS_CONFIG_FILE).map(PathBuf::from).or_else(home) else {
        return Ok(None);
    };
    if !path.exists() {
        return Ok(None);
    }
    match Ini::load_from_file_noescape(&path) {
        Ok(ini) => Ok(Some((path, ini))),
        // The parser's own message could quote a line that holds a token.
        Err(ini::Error::Parse(error)) => Err(Error::new(
            Kind::BadConfig,
            format!("line {} of `{}` can't be read", error.line, path.display()),
        )),
        Err(ini::Error::Io(error)) => Err(Error::io(format!("reading `{}`", path.display()), &error)),
    }
}

/// The host as a base URL. `https` unless `http` is written; plain `http` only towards this machine.
fn base_url(host: &str) -> Result<String> {
    let host = host.trim().trim_end_matches('/');
    let url = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    let bad =
        |why: &str| Error::new(Kind::BadConfig, format!("{host:?} is no workspace host")).because_of(why);
    let parsed = reqwest::Url::parse(&url).map_err(|error| bad(&error.to_string()))?;
    let name = parsed.host_str().unwrap_or_default();
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::new(Kind::BadConfig, "the workspace host can't carry a user or password"));
    }
    match parsed.scheme() {
        "https" => {}
        "http" if is_loopback_host(name) => {}
        "http" => {
            return Err(bad("a token is sent over plain http to this machine only").hint("write https://"));
        }
        _ => return Err(bad("it must start with https://")),
    }
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{name}{port}", parsed.scheme()))
}

/// Whether the workspace that is configured runs on this machine, as far as that can be told without
/// asking anybody.
pub fn is_on_this_machine(settings: &Settings, env: &Env) -> bool {
    match settings.text(Key::Profile) {
        Some(profile) => profile == EMBEDDED,
        None => env
            .get(env_vars::DATABRICKS_HOST)
            .and_then(|host| reqwest::Url::parse(host).ok())
            .is_some_and(|url| url.host_str().is_some_and(is_loopback_host)),
    }
}

/// Whether a host name or address means this machine.
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Deserialize)]
struct CliToken {
    access_token: String,
}

/// Since its version 1.0 the CLI keeps tokens in the keyring of the system: it alone can read them.
async fn cli_token(program: &str, choice: &[String; 2], places: &[(&str, Option<String>)]) -> Result<Secret> {
    let shown = format!("databricks auth token {} {}", choice[0], choice[1]);
    let failed = || {
        Error::new(Kind::NoCredential, format!("`{shown}` gave no token"))
            .hint(format!("run `databricks auth login {} {}`", choice[0], choice[1]))
    };
    let mut command = tokio::process::Command::new(program);
    command.args(["auth", "token"]).args(choice).stdin(std::process::Stdio::null()).kill_on_drop(true);
    // The agent serves projects of several places.
    for (name, value) in places {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = match tokio::time::timeout(CLI_TIMEOUT, command.output()).await {
        Err(_) => return Err(failed().because_of("it did not answer within 60 s")),
        Ok(Err(error)) => return Err(failed().because(&error)),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(failed().because_of(String::from_utf8_lossy(&output.stderr)));
    }
    // Not the parser's message: it could quote a part of the answer.
    let parsed: CliToken = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed().because_of("its answer is not the JSON that the Databricks CLI prints"))?;
    Ok(Secret::new(parsed.access_token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    fn no_embedded() -> Result<Embedded> {
        Err(Error::new(Kind::EmbeddedStopped, "stopped"))
    }

    fn resolve(profile: Option<&str>, env: &[(&str, &str)]) -> Result<Auth> {
        let flags: Layer = profile.map(|profile| (Key::Profile, profile.to_owned())).into_iter().collect();
        let settings = Settings::layered(flags, &Env::default(), None);
        Auth::resolve(&settings, &env.iter().copied().collect(), &no_embedded)
    }

    fn token(auth: &Auth) -> &str {
        match &auth.method {
            Method::Token(token) | Method::OfEnvironment(token) => token.expose(),
            Method::Cli { .. } => panic!("not a token"),
        }
    }

    #[test]
    fn the_embedded_profile_never_falls_back_to_a_workspace() {
        let env = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_TOKEN", "t")];
        assert_eq!(resolve(Some(EMBEDDED), &env).unwrap_err().kind, Kind::EmbeddedStopped);
    }

    #[test]
    fn a_named_profile_wins_over_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "[DEFAULT]\nhost = https://default\ntoken = d\n[team]\nhost = team.example/\ntoken = p\n",
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let env =
            [("DATABRICKS_CONFIG_FILE", path), ("DATABRICKS_HOST", "https://w"), ("DATABRICKS_TOKEN", "t")];
        let named = resolve(Some("team"), &env).unwrap();
        assert_eq!((named.host.as_str(), token(&named)), ("https://team.example", "p"));
        assert_eq!(token(&resolve(None, &env).unwrap()), "t");
        assert_eq!(token(&resolve(None, &env[..1]).unwrap()), "d");
        assert_eq!(resolve(Some("gone"), &env).unwrap_err().kind, Kind::NoCredential);
    }

    #[test]
    fn a_source_that_is_not_known_is_not_passed_over() {
        let env = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_CLIENT_ID", "x")];
        assert_eq!(resolve(None, &env).unwrap_err().kind, Kind::Unsupported);
        assert_eq!(resolve(None, &[("DATABRICKS_TOKEN", "t")]).unwrap_err().kind, Kind::NoCredential);
    }

    #[test]
    fn without_any_source_the_error_says_how_to_get_one() {
        let error = resolve(None, &[]).unwrap_err();
        assert_eq!(error.kind, Kind::NoCredential);
        assert_eq!(error.hints.len(), 3);
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        let host = |host| base_url(host).map_err(|error| error.kind);
        assert_eq!(host("http://127.0.0.1:7432/"), Ok("http://127.0.0.1:7432".into()));
        assert_eq!(host("http://localhost"), Ok("http://localhost".into()));
        assert_eq!(host("http://127.0.0.1.example.com"), Err(Kind::BadConfig));
        assert_eq!(host("https://user:pass@w"), Err(Kind::BadConfig));
        assert_eq!(host("file:///etc"), Err(Kind::BadConfig));
        assert_eq!(host("dbc-1.cloud.databricks.com"), Ok("https://dbc-1.cloud.databricks.com".into()));
    }
}
