//! Which credential counts: one pure function of variables, settings and the file of profiles.
//!
//! Three layers, as in the Databricks SDKs: the profile that our own configuration names, which stands for itself; the
//! environment, laid field by field over the profile that it names; the default profile of `~/.databrickscfg`. Profiles
//! are never merged with one another. Whatever could mean two identities, or two workspaces, is an error.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;

use super::credential::{AuthType, Credential};
use super::fields::{
    self, AUDIENCE, AUTH_TYPE, CLI_PATH, CLIENT_ID, CLIENT_SECRET, Field, Fields, HOST, SCOPES, TOKEN,
};
use super::host::base_url;
use super::profile::{self, Profiles};
use super::{EMBEDDED, trouble};
use crate::config::Setting;
use crate::env_vars::{self, Env};
use crate::error::Result;
use crate::secret::Secret;

/// What a token is for where nothing is said.
const ALL_APIS: &str = "all-apis";

/// All that decides.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The profile of our own configuration, with its origin.
    pub profile: Option<&'a Setting>,
    /// The environment.
    pub variables: &'a Env,
    /// The file of profiles, where there is one and [`Asked::wants_file`].
    pub file: Option<&'a Profiles>,
}

/// A source that was looked at, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The source, in words by which a user finds it; never its value.
    pub source: String,
    /// Whether it is a part of what is used.
    pub wins: bool,
    /// Why.
    pub why: String,
}

/// What counts, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Base URL of the workspace; empty for the embedded Lakebase, which says itself where it is.
    pub host: String,
    /// As whom.
    pub credential: Credential,
    /// The winner in one line.
    pub source: String,
    /// The variable that the credential's secret came from, where nothing but the environment holds it.
    pub secret_variable: Option<&'static str>,
    /// Winners and losers, in the order in which they were looked at. It holds no secret.
    pub reasons: Vec<Reason>,
}

impl Asked<'_> {
    /// Whether the file of profiles has a say.
    pub fn wants_file(&self) -> bool {
        match self.profile {
            Some(setting) => setting.value != EMBEDDED,
            None => self.named_by_environment().is_some() || !self.fields().say_who_or_where(),
        }
    }

    fn named_by_environment(&self) -> Option<&str> {
        self.variables.get(env_vars::DATABRICKS_CONFIG_PROFILE)
    }

    fn fields(&self) -> Fields {
        Fields::of_variables(self.variables)
    }
}

/// Decides which credential counts.
///
/// # Errors
/// [`Kind::NoCredential`](crate::error::Kind::NoCredential) where there is none, a part of one is missing, or a named
/// profile does not exist; [`Kind::BadConfig`](crate::error::Kind::BadConfig) where two clash or a host is none;
/// [`Kind::Unsupported`](crate::error::Kind::Unsupported) for a credential that is not known here. Each says where the
/// values stand, and which to take away; none has a value in it.
pub fn decide(asked: &Asked<'_>) -> Result<Decision> {
    let gathered = match asked.profile {
        Some(setting) if setting.value == EMBEDDED => return Ok(embedded(asked, setting)),
        Some(setting) => explicit(asked, setting)?,
        None => implicit(asked)?,
    };
    gathered.choose(asked.variables)
}

/// The fields that count, before it is known what they are worth.
struct Gathered {
    fields: Fields,
    /// The profile that some of them are of.
    profile: Option<String>,
    /// The same with its file, for words.
    profile_words: String,
    /// The host that the profile itself names.
    profile_host: Option<Field>,
    reasons: Vec<Reason>,
}

fn embedded(asked: &Asked<'_>, setting: &Setting) -> Decision {
    let source = "embedded Lakebase".to_owned();
    let why = format!("the profile `{EMBEDDED}` means it, and is set by {}", setting.origin);
    let mut reasons = vec![Reason { source: source.clone(), wins: true, why }];
    reasons.extend(passed_over(&asked.fields()));
    let credential = Credential::Embedded;
    Decision { host: String::new(), credential, source, secret_variable: None, reasons }
}

/// Variables that lose against a profile of our own configuration.
fn passed_over(fields: &Fields) -> Vec<Reason> {
    let why = "the configuration names a profile, which comes before the environment";
    let lost = |field: &Field| Reason { source: field.place.to_string(), wins: false, why: why.to_owned() };
    // Where the CLI is says nothing about who uses it.
    let place = |field: &&Field| field.place.variable() == Some(env_vars::DATABRICKS_CLI_PATH);
    fields.iter().filter(|field| !place(field)).map(lost).collect()
}

fn explicit(asked: &Asked<'_>, setting: &Setting) -> Result<Gathered> {
    let variables = asked.fields();
    let why = format!("the configuration names it ({})", setting.origin);
    let mut gathered = of_profile(asked, &setting.value, why)?;
    let named = asked.named_by_environment().filter(|name| *name != setting.value);
    if named.is_some() {
        let source = format!("${}", env_vars::DATABRICKS_CONFIG_PROFILE);
        gathered.reasons.push(Reason {
            source,
            wins: false,
            why: "the configuration names another profile".to_owned(),
        });
    }
    gathered.reasons.extend(passed_over(&variables));
    Ok(gathered)
}

fn implicit(asked: &Asked<'_>) -> Result<Gathered> {
    let variables = asked.fields();
    if let Some(name) = asked.named_by_environment() {
        let why = format!("${} names it", env_vars::DATABRICKS_CONFIG_PROFILE);
        return Ok(of_profile(asked, name, why)?.under(variables));
    }
    if variables.say_who_or_where() {
        let place = |field: &Field| field.place.to_string();
        let won = |field: &Field| Reason {
            source: place(field),
            wins: true,
            why: "set in the environment".to_owned(),
        };
        let mut reasons: Vec<Reason> = variables.iter().map(won).collect();
        reasons.push(Reason {
            source: "~/.databrickscfg".to_owned(),
            wins: false,
            why: "no profile is named, and the environment says enough".to_owned(),
        });
        let profile_words = String::new();
        return Ok(Gathered { fields: variables, profile: None, profile_words, profile_host: None, reasons });
    }
    let file = asked.file.ok_or_else(trouble::none_found)?;
    let named = file.default_profile()?;
    let (name, why) = match named {
        Some(name) => (name, format!("`default_profile` of {} names it", file.path())),
        None if file.keys(profile::DEFAULT)?.is_some_and(|keys| !keys.is_empty()) => {
            (profile::DEFAULT, "neither the configuration nor the environment names a workspace".to_owned())
        }
        None => return Err(trouble::none_found()),
    };
    Ok(of_profile(asked, name, why)?.under(variables))
}

fn of_profile(asked: &Asked<'_>, name: &str, why: String) -> Result<Gathered> {
    let place = || Profiles::place(asked.variables).map(|path| path.display().to_string());
    let file = asked.file.ok_or_else(|| trouble::no_file(name, place()))?;
    let fields = Fields::of_profile(file, name)?.ok_or_else(|| trouble::no_profile(name, file))?;
    let profile_words = format!("profile {name} of {}", file.path());
    let reasons = vec![Reason { source: profile_words.clone(), wins: true, why }];
    let profile_host = fields.get(HOST).cloned();
    Ok(Gathered { fields, profile: Some(name.to_owned()), profile_words, profile_host, reasons })
}

impl Gathered {
    /// With the fields of the environment laid over it.
    fn under(mut self, variables: Fields) -> Self {
        let reason = |field: &Field, wins: bool, why: &str| Reason {
            source: field.place.to_string(),
            wins,
            why: why.to_owned(),
        };
        for field in variables.iter() {
            self.reasons.push(reason(field, true, "the environment comes before this profile"));
        }
        for field in self.fields.iter_under(&variables) {
            self.reasons.push(reason(field, false, "the environment comes before it"));
        }
        self.fields = variables.over(self.fields);
        self
    }

    fn choose(mut self, env: &Env) -> Result<Decision> {
        let (auth_type, why) = self.auth_type(env)?;
        for field in
            self.fields.iter().filter(|field| field.family.is_some() && field.family != auth_type.family())
        {
            let source = field.place.to_string();
            self.reasons.retain(|reason| reason.source != source);
            self.reasons.push(Reason { source, wins: false, why: why.clone() });
        }
        let credential = self.credential(auth_type, env)?;
        let host = base_url(self.fields.text(HOST).ok_or_else(|| self.no_host())?)?;
        let secret_place = match auth_type {
            AuthType::Pat => self.fields.get(TOKEN).map(|field| &field.place),
            AuthType::OauthM2m => self.fields.get(CLIENT_SECRET).map(|field| &field.place),
            AuthType::GithubOidc | AuthType::DatabricksCli | AuthType::AzureCli => None,
        };
        let of_the_profile = matches!(&credential, Credential::DatabricksCli { profile: Some(_), .. })
            || secret_place.is_some_and(|place| place.variable().is_none());
        if let (true, Some(other), Some(counts)) = (of_the_profile, &self.profile_host, self.fields.get(HOST))
            && base_url(other.value.expose()).ok().as_deref() != Some(host.as_str())
        {
            return Err(trouble::two_workspaces(counts, other));
        }
        let secret_variable = match auth_type {
            AuthType::GithubOidc => Some(env_vars::ACTIONS_ID_TOKEN_REQUEST_TOKEN),
            _ => secret_place.and_then(fields::Place::variable),
        };
        self.notice_an_idle_profile(auth_type, of_the_profile);
        self.reasons.push(Reason { source: auth_type.name().to_owned(), wins: true, why });
        let source = self.words(auth_type, &credential, &host);
        Ok(Decision { host, credential, source, secret_variable, reasons: self.reasons })
    }

    /// A profile of which nothing is used has not won.
    fn notice_an_idle_profile(&mut self, auth_type: AuthType, used: bool) {
        let counts = |field: &Field| {
            field.place.variable().is_none() && (field.family.is_none() || field.family == auth_type.family())
        };
        if used || self.fields.iter().any(counts) {
            return;
        }
        if let Some(reason) = self.reasons.iter_mut().find(|reason| reason.source == self.profile_words) {
            reason.wins = false;
            "the environment says all of it otherwise".clone_into(&mut reason.why);
        }
    }

    /// The way to a token, and why this one.
    fn auth_type(&self, env: &Env) -> Result<(AuthType, String)> {
        let families = self.fields.families();
        if let Some(chosen) = self.fields.get(AUTH_TYPE) {
            let name = chosen.value.expose();
            let known = AuthType::ALL.into_iter().find(|auth_type| auth_type.name() == name);
            let known = known.ok_or_else(|| trouble::unknown_type(name, &chosen.place))?;
            return Ok((known, format!("{} chooses `{}`", chosen.place, known.name())));
        }
        let mut all = families.iter();
        match (all.next(), all.next()) {
            (None, _) => Ok((AuthType::DatabricksCli, "no token or client is set".to_owned())),
            (Some(_), Some(_)) => Err(trouble::ambiguous(&families, self.profile.as_deref())),
            (Some((&fields::PAT, _)), None) => {
                Ok((AuthType::Pat, "a token is the only credential that is set".to_owned()))
            }
            (Some((&fields::OAUTH, _)), None) => {
                let secret = self.fields.get(CLIENT_SECRET).is_some();
                let job = env.get(env_vars::ACTIONS_ID_TOKEN_REQUEST_URL).is_some();
                if !secret && job {
                    let why = "a client without a secret is set, and this is a job of GitHub Actions";
                    return Ok((AuthType::GithubOidc, why.to_owned()));
                }
                Ok((AuthType::OauthM2m, "a client is the only credential that is set".to_owned()))
            }
            (Some((family, parts)), None) => Err(trouble::unknown_family(family, parts)),
        }
    }

    fn credential(&self, auth_type: AuthType, env: &Env) -> Result<Credential> {
        let text = |key: &str| self.fields.text(key).map(str::to_owned);
        let lacks = |what: &str| trouble::lacks(auth_type, what, &self.fields, &self.profile_words);
        match auth_type {
            AuthType::Pat => {
                let token = self.fields.get(TOKEN).ok_or_else(|| lacks(TOKEN))?;
                Ok(Credential::Token(token.value.clone()))
            }
            AuthType::OauthM2m => {
                let id = text(CLIENT_ID).ok_or_else(|| lacks(CLIENT_ID))?;
                let secret = self.fields.get(CLIENT_SECRET).ok_or_else(|| lacks(CLIENT_SECRET))?;
                Ok(Credential::Client { id, secret: secret.value.clone(), scopes: self.scopes() })
            }
            AuthType::GithubOidc => {
                let id = text(CLIENT_ID).ok_or_else(|| lacks(CLIENT_ID))?;
                let of_job = |name: &str| env.get(name).ok_or_else(trouble::no_job);
                let url = of_job(env_vars::ACTIONS_ID_TOKEN_REQUEST_URL)?.to_owned();
                let token = Secret::new(of_job(env_vars::ACTIONS_ID_TOKEN_REQUEST_TOKEN)?);
                Ok(Credential::Github { id, audience: text(AUDIENCE), url, token, scopes: self.scopes() })
            }
            AuthType::DatabricksCli => {
                // A place, no credential: that of the environment does for a profile too.
                let program =
                    text(CLI_PATH).or_else(|| env.get(env_vars::DATABRICKS_CLI_PATH).map(str::to_owned));
                let program = program.unwrap_or_else(|| "databricks".to_owned());
                // A profile without a host is nothing that the CLI could use.
                let profile = self.profile.clone().filter(|_| self.profile_host.is_some());
                Ok(Credential::DatabricksCli { program, profile })
            }
            AuthType::AzureCli => Ok(Credential::AzureCli),
        }
    }

    /// What a token of OAuth is asked for, as the Databricks SDKs read it: each once, in their order.
    fn scopes(&self) -> String {
        let written = self.fields.text(SCOPES).unwrap_or_default();
        let all: BTreeSet<&str> = written.split([',', ' ']).filter(|scope| !scope.is_empty()).collect();
        if all.is_empty() { ALL_APIS.to_owned() } else { all.into_iter().collect::<Vec<_>>().join(" ") }
    }

    fn no_host(&self) -> crate::error::Error {
        trouble::no_host(self.profile.as_deref(), &self.profile_words, &self.fields)
    }

    /// The winner in one line.
    fn words(&self, auth_type: AuthType, credential: &Credential, host: &str) -> String {
        if let Credential::DatabricksCli { profile, .. } = credential {
            return match profile {
                Some(profile) => format!("databricks auth token --profile {profile}"),
                None => format!("databricks auth token --host {host}"),
            };
        }
        let needed = [HOST, TOKEN, CLIENT_ID, CLIENT_SECRET];
        let used = needed.into_iter().filter_map(|key| self.fields.get(key));
        let used = used.filter(|field| field.family.is_none() || field.family == auth_type.family());
        let mut words: Vec<String> = Vec::new();
        for field in used {
            let word = match field.place.variable() {
                Some(name) => format!("${name}"),
                None => self.profile_words.clone(),
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        format!("{} ({})", trouble::listed(&words), auth_type.name())
    }
}
