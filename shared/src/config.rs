//! Settings in layers that remember where each value came from. Reads no file and no environment itself.

pub mod file;
pub mod manifest;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::branch::ResourceId;
use crate::env_vars::Env;
use crate::error::{Error, Kind, Result};

/// One setting: its name in Cargo.toml and on the command line, and what it means.
/// In `lakebase.config` and the environment it is `LAKEBASE_` and the name in upper case with underscores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The project's id in the API.
    ProjectName,
    /// The project's `uid`, written by `init`; a mismatch with the API is an error.
    ProjectId,
    /// The branch that new branches are copies of.
    ParentBranch,
    /// The database's name in PostgreSQL.
    Database,
    /// A profile of `~/.databrickscfg`, or `embedded`.
    Profile,
    /// How long a branch lives after its last use.
    Ttl,
    /// The Compose service that is the local database.
    DatabaseService,
    /// How the application reaches the branch; see [`Connect`].
    Connect,
    /// The role that sessions start as; with `connect = "password"`, the one that logs in.
    Role,
    /// How old a copy may get: extending its life ends there.
    MaxAge,
    /// Files of SQL that run once on a new copy, before anybody gets a login to it.
    AfterBranch,
    /// Whether a copy that no such file ran on is withheld.
    RequireMask,
    /// The migration command that `check` runs.
    CheckCommand,
    /// The command that undoes it.
    CheckDown,
    /// The Compose service whose container runs both.
    CheckService,
    /// The longest time that a migration may keep clients waiting.
    CheckMaxStall,
    /// The longest time that a migration may take.
    CheckMaxDuration,
    /// The most write-ahead log that a migration may write.
    CheckMaxWal,
    /// The longest time that readers may queue behind a migration that waits itself.
    CheckMaxQueue,
    /// Findings of `check` that do not decide, each with a reason and a last day.
    CheckExcept,
}

impl Key {
    /// Every setting.
    pub const ALL: [Self; 20] = [
        Self::ProjectName,
        Self::ProjectId,
        Self::ParentBranch,
        Self::Database,
        Self::Profile,
        Self::Ttl,
        Self::DatabaseService,
        Self::Connect,
        Self::Role,
        Self::MaxAge,
        Self::AfterBranch,
        Self::RequireMask,
        Self::CheckCommand,
        Self::CheckDown,
        Self::CheckService,
        Self::CheckMaxStall,
        Self::CheckMaxDuration,
        Self::CheckMaxWal,
        Self::CheckMaxQueue,
        Self::CheckExcept,
    ];

    /// The name in `metadata.lakebase`, and of the flag: lower case with hyphens.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProjectName => "project-name",
            Self::ProjectId => "project-id",
            Self::ParentBranch => "parent-branch",
            Self::Database => "database",
            Self::Profile => "profile",
            Self::Ttl => "ttl",
            Self::DatabaseService => "database-service",
            Self::Connect => "connect",
            Self::Role => "role",
            Self::MaxAge => "max-age",
            Self::AfterBranch => "after-branch",
            Self::RequireMask => "require-mask",
            Self::CheckCommand => "check-command",
            Self::CheckDown => "check-down",
            Self::CheckService => "check-service",
            Self::CheckMaxStall => "check-max-stall",
            Self::CheckMaxDuration => "check-max-duration",
            Self::CheckMaxWal => "check-max-wal",
            Self::CheckMaxQueue => "check-max-queue",
            Self::CheckExcept => "check-except",
        }
    }

    /// The name in `lakebase.config` and in the environment.
    pub fn variable(self) -> String {
        format!("LAKEBASE_{}", self.name().to_uppercase().replace('-', "_"))
    }

    /// What stands between the items of a list in one text.
    pub fn separator(self) -> &'static str {
        // A reason is a sentence, which may have commas.
        if self == Self::CheckExcept { ";" } else { "," }
    }

    /// The key that `variable` names.
    pub fn from_variable(variable: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.variable() == variable)
    }

    /// The key of that name in `metadata.lakebase`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// What a mask is about: whether there has to be one, of which files, and in which database.
const OF_MASK: [Key; 3] = [Key::RequireMask, Key::AfterBranch, Key::Database];

/// How the application reaches the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// A gateway in the local database's seat: the application's own URL stays as it is.
    Gateway,
    /// A token in `DATABASE_URL`.
    Direct,
    /// The password of a native role in `DATABASE_URL`, where the project allows native login.
    Password,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable of that name.
    Variable(String),
    /// The project's one file.
    File(PathBuf),
    /// The embedded defaults.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As it was written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// The values of one layer.
pub type Layer = BTreeMap<Key, String>;

/// All settings, each from the highest layer that has it.
#[derive(Debug, Clone, Default)]
pub struct Settings(BTreeMap<Key, Setting>);

impl Settings {
    /// Lays `flags` over the environment over the project's file over the defaults. Where the file says `require-mask`, what
    /// that is about is the file's alone: no flag and no variable gets round it.
    pub fn layered(flags: Layer, env: &Env, file: Option<(PathBuf, Layer)>) -> Self {
        let mut all = BTreeMap::new();
        let mut lay = |layer: Layer, origin: &dyn Fn(Key) -> Origin| {
            for (key, value) in layer {
                all.insert(key, Setting { value, origin: origin(key) });
            }
        };
        lay(defaults(), &|_| Origin::Default);
        let is_masked = file
            .as_ref()
            .and_then(|(_, layer)| layer.get(&Key::RequireMask))
            .is_some_and(|text| !matches!(text.as_str(), "" | "false"));
        let is_free = |key: Key| !is_masked || !OF_MASK.contains(&key);
        if let Some((path, layer)) = file {
            lay(layer, &|_| Origin::File(path.clone()));
        }
        let variables =
            Key::ALL.into_iter().filter_map(|key| Some((key, env.get(&key.variable())?.to_owned())));
        lay(variables.filter(|(key, _)| is_free(*key)).collect(), &|key| Origin::Variable(key.variable()));
        lay(flags.into_iter().filter(|(key, _)| is_free(*key)).collect(), &|_| Origin::Flag);
        Self(all)
    }

    /// The setting, if any layer has it; an empty value counts as none.
    pub fn get(&self, key: Key) -> Option<&Setting> {
        self.0.get(&key).filter(|setting| !setting.value.is_empty())
    }

    /// The setting's value as text.
    pub fn text(&self, key: Key) -> Option<&str> {
        self.get(key).map(|setting| setting.value.as_str())
    }

    /// The project's id.
    ///
    /// # Errors
    /// [`Kind::NoConfig`] where no layer names one, [`Kind::BadConfig`] where it is no id.
    pub fn project(&self) -> Result<ResourceId> {
        self.id(Key::ProjectName)
    }

    /// The id of the branch that new branches are copies of.
    ///
    /// # Errors
    /// As for [`Settings::project`].
    pub fn parent_branch(&self) -> Result<ResourceId> {
        self.id(Key::ParentBranch)
    }

    /// The database's name in PostgreSQL; any name that PostgreSQL takes.
    pub fn database(&self) -> &str {
        self.text(Key::Database).unwrap_or_default()
    }

    /// How long a branch lives after its last use; at least a minute.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] where it is no duration such as `24h`, `90m` or `7d`.
    pub fn ttl(&self) -> Result<SignedDuration> {
        self.duration(Key::Ttl)
    }

    /// How old a copy may get: extending its life ends there.
    ///
    /// # Errors
    /// As for [`Settings::ttl`].
    pub fn max_age(&self) -> Result<SignedDuration> {
        self.duration(Key::MaxAge)
    }

    /// The files of SQL that run once on a new copy, in their order, as written: relative to the project's file.
    pub fn after_branch(&self) -> Vec<&str> {
        let list = self.text(Key::AfterBranch).unwrap_or_default();
        list.split(',').map(str::trim).filter(|path| !path.is_empty()).collect()
    }

    /// Whether a copy that was not masked is withheld.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] where it is neither `true` nor `false`.
    pub fn require_mask(&self) -> Result<bool> {
        match self.text(Key::RequireMask) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.bad(Key::RequireMask, "`true` or `false`")),
        }
    }

    fn duration(&self, key: Key) -> Result<SignedDuration> {
        let text = self.text(key).unwrap_or_default();
        let parsed = text.parse::<Span>().ok().and_then(|span| span.total(days_of_24_hours()).ok());
        match parsed {
            Some(seconds) if (60.0..=30.0 * 86_400.0).contains(&seconds) => {
                Ok(SignedDuration::from_secs_f64(seconds.floor()))
            }
            _ => Err(self.bad(key, "a duration from 1m to 30d, such as `24h` or `7d`")),
        }
    }

    /// How the application reaches the branch.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] where `connect` is none of the three.
    pub fn connect(&self) -> Result<Connect> {
        match self.text(Key::Connect) {
            Some("gateway") => Ok(Connect::Gateway),
            Some("direct") => Ok(Connect::Direct),
            Some("password") => Ok(Connect::Password),
            _ => Err(self.bad(Key::Connect, "`gateway`, `direct` or `password`")),
        }
    }

    /// The role whose password is the login; `None` where logins are tokens.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] as for [`Settings::connect`], [`Kind::NoConfig`] where no role is named.
    pub fn native_role(&self) -> Result<Option<&str>> {
        if self.connect()? != Connect::Password {
            return Ok(None);
        }
        self.text(Key::Role).map(Some).ok_or_else(|| {
            Error::new(Kind::NoConfig, "no role is configured, and `connect` is `password`")
                .hint(format!("set `{}` to the role that logs in with a password", Key::Role.variable()))
        })
    }

    /// The role that sessions start as, where another user logs in.
    pub fn session_role(&self) -> Option<&str> {
        self.text(Key::Role).filter(|_| !matches!(self.connect(), Ok(Connect::Password)))
    }

    fn id(&self, key: Key) -> Result<ResourceId> {
        match self.text(key) {
            None => Err(Error::new(Kind::NoConfig, format!("no {} is configured", key.name()))
                .because_of("neither a flag, a variable, `lakebase.config` nor Cargo.toml names one")
                .hint("run `docker compose lakebase init` or `cargo lakebase init`")
                .hint(format!("or set `{}`", key.variable()))),
            Some(text) => ResourceId::parse(text)
                .ok_or_else(|| self.bad(key, "lower-case letters, digits and hyphens, at most 63")),
        }
    }

    /// What is wrong with a setting: its value, where that comes from, and what is `wanted` in its place.
    pub fn bad(&self, key: Key, wanted: &str) -> Error {
        let (value, origin) = match self.get(key) {
            Some(setting) => (setting.value.as_str(), setting.origin.to_string()),
            None => ("", Origin::Default.to_string()),
        };
        Error::new(Kind::BadConfig, format!("{} can't be {value:?}", key.name()))
            .because_of(format!("it comes from {origin}"))
            .hint(format!("write {wanted}"))
    }
}

fn days_of_24_hours() -> (jiff::Unit, SpanRelativeTo<'static>) {
    (jiff::Unit::Second, SpanRelativeTo::days_are_24_hours())
}

fn defaults() -> Layer {
    let table: toml_edit::DocumentMut = include_str!("config/default.toml").parse().unwrap_or_default();
    table
        .iter()
        .filter_map(|(name, value)| Some((Key::from_name(name)?, value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests;
