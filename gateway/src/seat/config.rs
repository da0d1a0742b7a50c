//! What the container's environment says: the local service's variables, and the branch's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::secret::Secret;

/// User that the local service declares; default `postgres`. Also as `POSTGRES_USER_FILE`.
pub const POSTGRES_USER: &str = "POSTGRES_USER";
/// Its password; required unless the method is `trust`. Also as `POSTGRES_PASSWORD_FILE`.
pub const POSTGRES_PASSWORD: &str = "POSTGRES_PASSWORD";
/// Its database; default: the user's name. Also as `POSTGRES_DB_FILE`.
pub const POSTGRES_DB: &str = "POSTGRES_DB";
/// `trust` lets the user in without a password; anything else, or nothing, means SCRAM-SHA-256.
pub const POSTGRES_HOST_AUTH_METHOD: &str = "POSTGRES_HOST_AUTH_METHOD";
/// TCP port to listen on, every address; default 5432.
pub const PGPORT: &str = "PGPORT";
/// The branch's endpoint, `host` or `host:port` (5432 without). Required.
pub const UPSTREAM: &str = "LAKEBASE_UPSTREAM";
/// The branch's user: the identity that the tokens are for. Required; a token that names another user wins.
pub const USER: &str = "LAKEBASE_USER";
/// The branch's database, which the local one stands for. Required.
pub const DATABASE: &str = "LAKEBASE_DATABASE";
/// Role that sessions start as. Default: the user.
pub const ROLE: &str = "LAKEBASE_ROLE";
/// PEM text of certificates that are trusted besides Mozilla's authorities. Default: none.
pub const CA: &str = "LAKEBASE_CA";
/// The branch's name, told to the feed. Default: none.
pub const BRANCH: &str = "LAKEBASE_BRANCH";
/// Seconds that a client waits for a token; default 20.
pub const TOKEN_WAIT: &str = "LAKEBASE_TOKEN_WAIT";
/// Seconds that a client waits for the branch to wake and let it in; default 60.
pub const CONNECT_WAIT: &str = "LAKEBASE_CONNECT_WAIT";
/// Path of the control socket; default `/lakebase.sock`.
pub const CONTROL: &str = "LAKEBASE_CONTROL";
/// `1` keeps what the sessions do for a listener, see [`super::tap`]. Default: nobody looks.
pub const TAP: &str = "LAKEBASE_TAP";

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONTROL: &str = "/lakebase.sock";

/// Why the environment can't be used. Holds no value of a password.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A variable that must be there.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A value that is none.
    #[error("{name} is `{value}`; it must be {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value, which is no secret.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Both forms of a variable. The official image refuses that, too.
    #[error("{0} and {0}_FILE are both set, and exclude each other")]
    Both(&'static str),
    /// The file that a variable names.
    #[error("the file that {0}_FILE names can't be read: {1}")]
    File(&'static str, std::io::Error),
    /// No password, and no word that none is wanted.
    #[error(
        "POSTGRES_PASSWORD is not set; set it, or POSTGRES_HOST_AUTH_METHOD=trust for logins without a password"
    )]
    NoPassword,
}

/// Everything the seat needs to know. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one local user.
    pub local_user: String,
    /// Its password; `None` for `trust`.
    pub local_password: Option<Secret>,
    /// The local database.
    pub local_database: String,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// Host of the branch's endpoint.
    pub host: String,
    /// Its port.
    pub host_port: u16,
    /// The branch's user.
    pub user: String,
    /// The branch's database.
    pub database: String,
    /// Role that sessions start as.
    pub role: Option<String>,
    /// More trusted certificates, PEM.
    pub ca: Option<String>,
    /// Name of the branch, for the feed.
    pub branch: Option<String>,
    /// How long a client waits for a token.
    pub token_wait: Duration,
    /// How long a client waits for the branch.
    pub connect_wait: Duration,
    /// Path of the control socket.
    pub control: PathBuf,
    /// Whether sessions are listened to.
    pub tap: bool,
}

/// Path of the control socket, by which `feed` and `healthy` find a running `serve`.
pub fn control(lookup: &impl Fn(&str) -> Option<String>) -> PathBuf {
    value(lookup, CONTROL).unwrap_or_else(|| DEFAULT_CONTROL.to_owned()).into()
}

impl Config {
    /// Reads the variables through `lookup`, and the files that their `_FILE` forms name. An empty value counts as none, as in
    /// the official image.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let local_user = value_or_file(&lookup, POSTGRES_USER)?.unwrap_or_else(|| "postgres".to_owned());
        let trust = value(&lookup, POSTGRES_HOST_AUTH_METHOD).as_deref() == Some("trust");
        let local_password = match value_or_file(&lookup, POSTGRES_PASSWORD)? {
            _ if trust => None,
            Some(password) => Some(Secret::new(password)),
            None => return Err(ConfigError::NoPassword),
        };
        let required = |name| value(&lookup, name).ok_or(ConfigError::Missing(name));
        let (host, host_port) = address(required(UPSTREAM)?)?;
        Ok(Self {
            local_database: value_or_file(&lookup, POSTGRES_DB)?.unwrap_or_else(|| local_user.clone()),
            local_user,
            local_password,
            port: parsed(&lookup, PGPORT, "a TCP port")?.unwrap_or(DEFAULT_PORT),
            host,
            host_port,
            user: required(USER)?,
            database: required(DATABASE)?,
            role: value(&lookup, ROLE),
            ca: value(&lookup, CA),
            branch: value(&lookup, BRANCH),
            token_wait: seconds(&lookup, TOKEN_WAIT, 20)?,
            connect_wait: seconds(&lookup, CONNECT_WAIT, 60)?,
            control: control(&lookup),
            tap: switch(&lookup, TAP)?,
        })
    }
}

fn value(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

/// The variable, or the content of the file that its `_FILE` form names, without the line ends at its end (a shell's `$(<file)`).
fn value_or_file(
    lookup: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<String>, ConfigError> {
    match (value(lookup, name), value(lookup, &format!("{name}_FILE"))) {
        (Some(_), Some(_)) => Err(ConfigError::Both(name)),
        (None, Some(path)) => {
            let text =
                std::fs::read_to_string(Path::new(&path)).map_err(|error| ConfigError::File(name, error))?;
            Ok(Some(text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty()))
        }
        (value, None) => Ok(value),
    }
}

fn parsed<T: std::str::FromStr>(
    lookup: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = value(lookup, name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| ConfigError::Invalid { name, value, expected })
}

fn seconds(
    lookup: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: u32,
) -> Result<Duration, ConfigError> {
    let seconds: Option<u32> = parsed(lookup, name, "a whole number of seconds")?;
    Ok(Duration::from_secs(seconds.unwrap_or(default).into()))
}

fn switch(lookup: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<bool, ConfigError> {
    match value(lookup, name) {
        None => Ok(false),
        Some(value) if value == "0" => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) => Err(ConfigError::Invalid { name, value, expected: "`0` or `1`" }),
    }
}

/// Splits `host`, `host:port` and `[v6]:port`.
fn address(text: String) -> Result<(String, u16), ConfigError> {
    let split = match text.rsplit_once(':') {
        // Several colons without brackets are an IPv6 address by itself.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().ok().map(|port| (host.to_owned(), port))
        }
        _ => Some((text.clone(), DEFAULT_PORT)),
    };
    match split {
        Some((host, port)) if !host.is_empty() => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err(ConfigError::Invalid { name: UPSTREAM, value: text, expected: "`host` or `host:port`" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const BRANCH_SIDE: [(&str, &str); 3] =
        [(UPSTREAM, "db.example.org"), (USER, "ada@example.org"), (DATABASE, "databricks_postgres")];

    fn read(local: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let all: Vec<_> = local.iter().chain(&BRANCH_SIDE).copied().collect();
        Config::read(|name| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_official_images_defaults_hold() {
        let config = read(&[(POSTGRES_PASSWORD, "s3cret")]).unwrap();
        assert_eq!((config.local_user.as_str(), config.local_database.as_str()), ("postgres", "postgres"));
        assert_eq!((config.port, config.host_port), (5432, 5432));
        assert!(!format!("{config:?}").contains("s3cret"));
        let config = read(&[(POSTGRES_PASSWORD, "x"), (POSTGRES_USER, "shop"), (POSTGRES_DB, "")]).unwrap();
        assert_eq!((config.local_user.as_str(), config.local_database.as_str()), ("shop", "shop"));
    }

    #[test]
    fn a_password_is_required_unless_trust_is_said() {
        assert!(matches!(read(&[]), Err(ConfigError::NoPassword)));
        assert_eq!(read(&[(POSTGRES_HOST_AUTH_METHOD, "trust")]).unwrap().local_password, None);
        assert!(matches!(read(&[(POSTGRES_HOST_AUTH_METHOD, "md5")]), Err(ConfigError::NoPassword)));
    }

    #[test]
    fn sessions_are_listened_to_only_when_asked_for() {
        let tap = |value| read(&[(POSTGRES_PASSWORD, "x"), (TAP, value)]).map(|config| config.tap).ok();
        assert_eq!([tap(""), tap("0"), tap("1"), tap("yes")], [Some(false), Some(false), Some(true), None]);
    }

    #[test]
    fn a_file_stands_for_a_value_and_excludes_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"from a file\n\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = read(&[("POSTGRES_PASSWORD_FILE", path)]).unwrap();
        assert_eq!(config.local_password, Some(Secret::new("from a file")));
        let both = read(&[("POSTGRES_PASSWORD_FILE", path), (POSTGRES_PASSWORD, "x")]);
        assert!(matches!(both, Err(ConfigError::Both(POSTGRES_PASSWORD))));
        assert!(matches!(read(&[("POSTGRES_USER_FILE", "/nowhere")]), Err(ConfigError::File(..))));
    }

    #[test]
    fn the_endpoints_address_may_have_a_port() {
        let split = |text: &str| address(text.to_owned()).ok();
        assert_eq!(split("a.b:6000"), Some(("a.b".into(), 6000)));
        assert_eq!(split("a.b"), Some(("a.b".into(), 5432)));
        assert_eq!(split("[::1]:7"), Some(("::1".into(), 7)));
        assert_eq!(split("::1"), Some(("::1".into(), 5432)));
        assert_eq!(split("a:port"), None);
        assert_eq!(split(":1"), None);
    }
}
