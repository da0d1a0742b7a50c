//! What a user reads where no credential counts: what is wrong, where it stands, what to take away or to set.

use std::collections::BTreeMap;

use super::credential::AuthType;
use super::fields::{self, CLIENT_ID, CLIENT_SECRET, Field, Fields, Place};
use super::host::base_url;
use super::profile::Profiles;
use crate::env_vars;
use crate::error::{Error, Kind};

pub(super) fn none_found() -> Error {
    Error::new(Kind::NoCredential, "no Databricks credential was found")
        .because_of("neither the configuration nor the environment names one, and ~/.databrickscfg has no DEFAULT profile")
        .hint(format!("set {} and {}", env_vars::DATABRICKS_HOST, env_vars::DATABRICKS_TOKEN))
        .hint("or name a profile of ~/.databrickscfg with `LAKEBASE_PROFILE`")
        .hint("or work offline with `LAKEBASE_PROFILE=embedded`")
}

fn missing(profile: &str, why: String) -> Error {
    Error::new(Kind::NoCredential, format!("the Databricks profile `{profile}` does not exist"))
        .because_of(why)
}

pub(super) fn no_file(profile: &str, place: Option<String>) -> Error {
    let place = place.unwrap_or_else(|| "~/.databrickscfg".to_owned());
    with_ways_out(missing(profile, format!("it is not in {place}: there is no such file")), profile)
}

pub(super) fn no_profile(profile: &str, file: &Profiles) -> Error {
    let names = file.names();
    let has =
        if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    with_ways_out(missing(profile, format!("it is not in `{}`: {has}", file.path())), profile)
}

fn with_ways_out(error: Error, profile: &str) -> Error {
    error
        .hint(format!("run `databricks auth login --profile {profile}`, or name another profile"))
        .hint("or set `LAKEBASE_PROFILE=embedded` for the embedded Lakebase")
}

pub(super) fn no_host(profile: Option<&str>, profile_words: &str, fields: &Fields) -> Error {
    match profile {
        Some(profile) => {
            Error::new(Kind::NoCredential, format!("the Databricks profile `{profile}` has no host"))
                .because_of(format!("in {profile_words}"))
                .hint(format!(
                    "add `host = https://…` to it, or run `databricks auth login --profile {profile}`"
                ))
        }
        None => {
            let set: Vec<String> = fields.iter().map(|field| field.place.to_string()).collect();
            let host = env_vars::DATABRICKS_HOST;
            let verb = if set.len() == 1 { "is" } else { "are" };
            Error::new(Kind::NoCredential, format!("{} {verb} set, but not ${host}", listed(&set)))
                .hint(format!("set {host} to the workspace of that credential"))
        }
    }
}

pub(super) fn two_workspaces(counts: &Field, other: &Field) -> Error {
    let says = |field: &Field| {
        // Not as it is written: it could hold a password.
        let host = base_url(field.value.expose()).unwrap_or_else(|_| "what is no host".to_owned());
        format!("{} says {host}", field.place)
    };
    Error::new(Kind::BadConfig, "two Databricks workspaces are set, and the credential is of one of them")
        .because_of(says(counts))
        .because_of(says(other))
        .hint(format!("{}, to use the profile's workspace", counts.place.removal()))
        .hint(format!("or unset {}, to use the environment alone", env_vars::DATABRICKS_CONFIG_PROFILE))
}

/// The name of a family in `auth_type`, where it is known here.
fn known(family: &str) -> Option<&'static str> {
    match family {
        fields::PAT => Some(AuthType::Pat.name()),
        fields::OAUTH => Some(AuthType::OauthM2m.name()),
        _ => None,
    }
}

fn name(family: &str) -> &str {
    known(family).unwrap_or(family)
}

pub(super) fn ambiguous(families: &BTreeMap<&'static str, Vec<&Field>>, profile: Option<&str>) -> Error {
    let names: Vec<String> = families.keys().map(|family| format!("`{}`", name(family))).collect();
    let mut error = Error::new(
        Kind::BadConfig,
        format!("{} Databricks credentials are set, and each may be another identity", names.len()),
    );
    for (family, parts) in families {
        let places: Vec<String> = parts.iter().map(|field| field.place.to_string()).collect();
        error = error.because_of(format!("`{}` by {}", name(family), listed(&places)));
    }
    let in_profile = families.values().flatten().all(|field| field.place.variable().is_none());
    for family in families.keys() {
        let Some(name) = known(family) else { continue };
        let others = families.iter().filter(|(other, _)| *other != family).flat_map(|(_, parts)| parts);
        let others: Vec<String> = others.map(|field| field.place.removal()).collect();
        let choice = match profile {
            Some(profile) if in_profile => format!("write `auth_type = {name}` into profile {profile}"),
            _ => format!("set {}={name}", env_vars::DATABRICKS_AUTH_TYPE),
        };
        error = error.hint(format!("for `{name}`: {}; or {choice}", others.join(", ")));
    }
    error
}

pub(super) fn unknown_type(written: &str, place: &Place) -> Error {
    let known: Vec<String> = AuthType::ALL.iter().map(|known| format!("`{}`", known.name())).collect();
    Error::new(Kind::Unsupported, format!("the Databricks auth type {written:?} is not known here"))
        .because_of(format!("{place} says so"))
        .hint(format!("choose another: {}", known.join(", ")))
        .hint(format!("or set {} and {}", env_vars::DATABRICKS_HOST, env_vars::DATABRICKS_TOKEN))
}

pub(super) fn unknown_family(family: &str, parts: &[&Field]) -> Error {
    let places: Vec<String> = parts.iter().map(|field| field.place.to_string()).collect();
    let removals: Vec<String> = parts.iter().map(|field| field.place.removal()).collect();
    Error::new(Kind::Unsupported, format!("the Databricks credential `{family}` is not known here"))
        .because_of(format!("set by {}", listed(&places)))
        .hint(format!(
            "{}, or name a profile of ~/.databrickscfg with `LAKEBASE_PROFILE`",
            removals.join(", ")
        ))
}

pub(super) fn lacks(auth_type: AuthType, what: &str, fields: &Fields, profile_words: &str) -> Error {
    let set = fields.iter().filter(|field| field.family == Some(fields::OAUTH));
    let set: Vec<String> = set.map(|field| field.place.to_string()).collect();
    let (words, variable) = match what {
        CLIENT_ID => ("client id", env_vars::DATABRICKS_CLIENT_ID),
        CLIENT_SECRET => ("client secret", env_vars::DATABRICKS_CLIENT_SECRET),
        _ => ("token", env_vars::DATABRICKS_TOKEN),
    };
    let message = format!("there is no {words} for the credential `{}`", auth_type.name());
    let error = Error::new(Kind::NoCredential, message);
    let error = match set.as_slice() {
        [] => error,
        [one] => error.because_of(format!("only {one} is set")),
        all => error.because_of(format!("only {} are set", listed(all))),
    };
    let error = match profile_words {
        "" => error.hint(format!("set {variable}")),
        profile => error.hint(format!("add `{what}` to {profile}")),
    };
    if what == CLIENT_SECRET {
        return error
            .hint("in GitHub Actions, give the job `permissions: id-token: write` instead of a secret");
    }
    error
}

pub(super) fn no_job() -> Error {
    let [url, token] = [env_vars::ACTIONS_ID_TOKEN_REQUEST_URL, env_vars::ACTIONS_ID_TOKEN_REQUEST_TOKEN];
    Error::new(Kind::NoCredential, "GitHub gives this job no token of its own")
        .because_of(format!("${url} and ${token} are not both set"))
        .hint("give the job `permissions: id-token: write`; elsewhere than in GitHub Actions, choose another `auth_type`")
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
