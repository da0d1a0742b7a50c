//! The fields of unified auth: what a variable and a key of a profile are called, and which credential they belong to.

use std::collections::BTreeMap;
use std::fmt;

use super::profile::Profiles;
use crate::env_vars::{self, Env};
use crate::error::Result;
use crate::secret::Secret;

pub(super) const HOST: &str = "host";
pub(super) const AUTH_TYPE: &str = "auth_type";
pub(super) const TOKEN: &str = "token";
pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const CLIENT_SECRET: &str = "client_secret";
pub(super) const AUDIENCE: &str = "token_audience";
pub(super) const CLI_PATH: &str = "databricks_cli_path";
/// What a token of OAuth is for. A key of profiles only: the Databricks SDKs have no variable for it.
pub(super) const SCOPES: &str = "scopes";

/// The fields of a personal access token.
pub(super) const PAT: &str = "pat";
/// The fields of a service principal.
pub(super) const OAUTH: &str = "oauth";

/// The fields that are known here: variable, key, and the family of credentials that it belongs to.
const KNOWN: [(&str, &str, Option<&str>); 7] = [
    (env_vars::DATABRICKS_HOST, HOST, None),
    (env_vars::DATABRICKS_AUTH_TYPE, AUTH_TYPE, None),
    (env_vars::DATABRICKS_TOKEN_AUDIENCE, AUDIENCE, None),
    (env_vars::DATABRICKS_CLI_PATH, CLI_PATH, None),
    (env_vars::DATABRICKS_TOKEN, TOKEN, Some(PAT)),
    (env_vars::DATABRICKS_CLIENT_ID, CLIENT_ID, Some(OAUTH)),
    (env_vars::DATABRICKS_CLIENT_SECRET, CLIENT_SECRET, Some(OAUTH)),
];

fn all() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    let foreign = env_vars::DATABRICKS_UNKNOWN.into_iter();
    KNOWN.into_iter().chain(foreign.map(|(variable, key, family)| (variable, key, Some(family))))
}

/// Where a value stands, so that a user can go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An environment variable.
    Variable(&'static str),
    /// A key of a profile.
    Key { key: &'static str, profile: String, file: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::Key { key, profile, file } => write!(f, "`{key}` of profile {profile} in {file}"),
        }
    }
}

impl Place {
    /// The variable's name, if it is one.
    pub(super) fn variable(&self) -> Option<&'static str> {
        match self {
            Self::Variable(name) => Some(name),
            Self::Key { .. } => None,
        }
    }

    /// How to take the value away.
    pub(super) fn removal(&self) -> String {
        match self {
            Self::Variable(name) => format!("unset {name}"),
            key @ Self::Key { .. } => format!("remove {key}"),
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// A secret or not: nothing here prints one.
    pub(super) value: Secret,
    pub(super) place: Place,
    /// The credential that it is a part of.
    pub(super) family: Option<&'static str>,
}

/// Fields by their key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<&'static str, Field>);

impl Fields {
    /// The variables of all of them.
    pub(super) fn variables() -> impl Iterator<Item = &'static str> {
        all().map(|(variable, _, _)| variable)
    }

    /// Those that the environment sets.
    pub(super) fn of_variables(env: &Env) -> Self {
        let field = |(variable, key, family)| {
            let value = Secret::new(env.get(variable)?);
            Some((key, Field { value, place: Place::Variable(variable), family }))
        };
        Self(all().filter_map(field).collect())
    }

    /// Those of one profile; `None` where it does not exist.
    pub(super) fn of_profile(profiles: &Profiles, profile: &str) -> Result<Option<Self>> {
        let Some(keys) = profiles.keys(profile)? else { return Ok(None) };
        let field = |(key, family): (&'static str, _)| {
            let (_, value) = keys.iter().find(|(written, _)| *written == key)?;
            let place = Place::Key { key, profile: profile.to_owned(), file: profiles.path() };
            Some((key, Field { value: (*value).clone(), place, family }))
        };
        let written = all().map(|(_, key, family)| (key, family)).chain([(SCOPES, None)]);
        Ok(Some(Self(written.filter_map(field).collect())))
    }

    /// Both, where a field of `self` comes before the same field of `below`.
    pub(super) fn over(self, below: Self) -> Self {
        let mut all = below.0;
        all.extend(self.0);
        Self(all)
    }

    /// Those of `self` that `above` has too.
    pub(super) fn iter_under(&self, above: &Self) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(|(key, _)| above.0.contains_key(*key)).map(|(_, field)| field)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Field> {
        self.0.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).map(|field| field.value.expose())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.values()
    }

    /// The families of credentials that there are parts of, each with its parts.
    pub(super) fn families(&self) -> BTreeMap<&'static str, Vec<&Field>> {
        let mut families = BTreeMap::<_, Vec<_>>::new();
        for field in self.iter() {
            if let Some(family) = field.family {
                families.entry(family).or_default().push(field);
            }
        }
        families
    }

    /// Whether these say anything about a workspace or an identity, so that the file of profiles is not read.
    pub(super) fn say_who_or_where(&self) -> bool {
        self.get(HOST).is_some() || self.iter().any(|field| field.family.is_some())
    }
}
