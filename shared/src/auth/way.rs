//! The way to a credential without the credential: what a background process needs to find it again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::profile::Profiles;
use super::{Auth, EMBEDDED, FindEmbedded, Method};
use crate::config::{Key, Layer, Settings};
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The variables that decide which credential counts. None of them holds one.
const DECIDING: [&str; 6] = [
    env_vars::DATABRICKS_HOST,
    env_vars::DATABRICKS_CONFIG_PROFILE,
    env_vars::DATABRICKS_AUTH_TYPE,
    env_vars::DATABRICKS_CLIENT_ID,
    env_vars::DATABRICKS_TOKEN_AUDIENCE,
    env_vars::ACTIONS_ID_TOKEN_REQUEST_URL,
];
/// The same, those that name files and folders.
const PLACES: [&str; 2] = [env_vars::HOME, env_vars::AZURE_CONFIG_DIR];

/// Where a credential came from, so that it can be had again, renewed meanwhile or not. It holds no secret and may be
/// written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Base URL of the workspace; another one is not what was meant.
    host: String,
    profile: Option<String>,
    variables: Vec<(String, String)>,
    /// The program that gives tokens, as it was found then: another process may search elsewhere.
    program: Option<PathBuf>,
    /// The variable that alone held the secret, if one did.
    secret_variable: Option<String>,
}

impl Way {
    /// The way that `auth` was found by, from the folder `cwd`. `more` names variables with the places that the embedded
    /// Lakebase is found at. The secret is there where the way alone does not lead to one: it is for the memory of the
    /// process that goes the way, and for nothing else.
    pub fn of(
        auth: &Auth,
        settings: &Settings,
        env: &Env,
        more: &[&str],
        cwd: &Path,
    ) -> (Self, Option<Secret>) {
        let kept = |name: &&str| Some(((*name).to_owned(), env.get(name)?.to_owned()));
        // Whoever goes the way does so from another folder.
        let place = |(name, value): (String, String)| (name, cwd.join(value).display().to_string());
        let mut variables: Vec<_> = DECIDING.iter().filter_map(kept).collect();
        variables.extend(PLACES.iter().filter_map(kept).map(place));
        if env.get(env_vars::DATABRICKS_CONFIG_FILE).is_some()
            && let Some(file) = Profiles::place(env)
        {
            let name = env_vars::DATABRICKS_CONFIG_FILE.to_owned();
            variables.push(place((name, file.display().to_string())));
        }
        let embedded = more.iter().filter(|name| !PLACES.contains(name));
        variables.extend(embedded.filter_map(kept).map(place));
        let program = match &auth.method {
            Method::DatabricksCli { program, .. } | Method::AzureCli { program } => {
                Some(program.path.clone())
            }
            Method::Token(_) | Method::Client { .. } | Method::Github { .. } => None,
        };
        let secret = auth.secret_variable.and_then(|name| env.get(name)).map(Secret::new);
        let way = Self {
            host: auth.host.clone(),
            profile: settings.text(Key::Profile).map(str::to_owned),
            variables,
            program,
            secret_variable: auth.secret_variable.map(str::to_owned),
        };
        (way, secret)
    }

    /// A variable as it was.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Goes the way again; reads files, and may take a moment.
    ///
    /// # Errors
    /// Those of [`Auth::resolve`]; [`Kind::NoCredential`] where the secret is missing, [`Kind::BadConfig`] where the
    /// way leads to another workspace by now.
    pub fn walk(&self, secret: Option<&Secret>, embedded: FindEmbedded) -> Result<Auth> {
        if self.secret_variable.is_some() && secret.is_none() {
            let message = "the workspace token of this project ended with the agent that had it";
            let hint = "run `docker compose lakebase up` in the project";
            return Err(Error::new(Kind::NoCredential, message).hint(hint));
        }
        let pairs = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let secret = self.secret_variable.as_deref().zip(secret.map(Secret::expose));
        let env: Env = pairs.chain(secret).collect();
        let profile: Layer = self.profile.iter().map(|profile| (Key::Profile, profile.clone())).collect();
        let settings = Settings::layered(profile, &Env::default(), None);
        let auth = Auth::with_program(&settings, &env, embedded, self.program.as_deref())?;
        // The embedded Lakebase may have another port; it is found by its folder.
        if auth.host != self.host && self.profile.as_deref() != Some(EMBEDDED) {
            return Err(Error::new(Kind::BadConfig, "the credential is of another workspace by now")
                .because_of(format!("it was {}, and is {}", self.host, auth.host)));
        }
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Embedded;

    fn stopped() -> Result<Embedded> {
        Err(Error::new(Kind::EmbeddedStopped, "stopped"))
    }

    fn running(port: u16, token: &str) -> impl Fn() -> Result<Embedded> {
        let (host, token) = (format!("http://127.0.0.1:{port}"), Secret::new(token));
        move || Ok(Embedded { host: host.clone(), token: token.clone(), ca: "PEM".to_owned() })
    }

    fn way(profile: Option<&str>, env: &[(&str, &str)], embedded: FindEmbedded) -> (Way, Option<Secret>) {
        let flags: Layer = profile.map(|profile| (Key::Profile, profile.to_owned())).into_iter().collect();
        let settings = Settings::layered(flags, &Env::default(), None);
        let env: Env = env.iter().copied().collect();
        let auth = Auth::resolve(&settings, &env, embedded).unwrap();
        Way::of(&auth, &settings, &env, &["FOLDER", "HOME"], Path::new("/project"))
    }

    fn token(auth: Result<Auth>) -> String {
        match auth.unwrap().method {
            Method::Token(token) | Method::Github { token, .. } => token.expose().to_owned(),
            Method::Client { id, secret, .. } => format!("{id} {}", secret.expose()),
            Method::DatabricksCli { program, choice } => {
                format!("{} {} {}", program.path.display(), choice[0], choice[1])
            }
            Method::AzureCli { program } => program.path.display().to_string(),
        }
    }

    #[test]
    fn a_token_of_the_environment_is_not_in_the_way_and_needed_on_it() {
        let env = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_TOKEN", "hunter2"), ("HOME", "/home/ada")];
        let (way, secret) = way(None, &env, &stopped);
        let written = serde_json::to_string(&way).unwrap();
        assert!(!written.contains("hunter2"), "{written}");
        assert_eq!(token(way.walk(secret.as_ref(), &stopped)), "hunter2");
        let read: Way = serde_json::from_str(&written).unwrap();
        assert_eq!(read.walk(None, &stopped).unwrap_err().kind, Kind::NoCredential);
    }

    #[test]
    fn the_same_holds_for_a_client_and_a_job() {
        let client = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_CLIENT_ID", "ada")];
        let secret = [("DATABRICKS_CLIENT_SECRET", "hunter2")];
        let job =
            [("ACTIONS_ID_TOKEN_REQUEST_URL", "https://g"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hunter2")];
        for (more, expected) in [(&secret[..], "ada hunter2"), (&job[..], "hunter2")] {
            let (way, secret) = way(None, &[&client[..], more].concat(), &stopped);
            let written = serde_json::to_string(&way).unwrap();
            assert!(!written.contains("hunter2"), "{written}");
            let read: Way = serde_json::from_str(&written).unwrap();
            assert_eq!(token(read.walk(secret.as_ref(), &stopped)), expected);
            assert_eq!(read.walk(None, &stopped).unwrap_err().kind, Kind::NoCredential);
        }
    }

    #[test]
    fn a_credential_that_was_chosen_among_others_is_chosen_again() {
        let all = [
            ("DATABRICKS_HOST", "https://w"),
            ("DATABRICKS_TOKEN", "hunter2"),
            ("DATABRICKS_CLIENT_ID", "ada"),
            ("DATABRICKS_CLIENT_SECRET", "hunter3"),
            ("ARM_TENANT_ID", "x"),
        ];
        for (choice, expected) in [("pat", "hunter2"), ("oauth-m2m", "ada hunter3")] {
            let env = [&all[..], &[("DATABRICKS_AUTH_TYPE", choice)]].concat();
            let (way, secret) = way(None, &env, &stopped);
            assert_eq!(token(way.walk(secret.as_ref(), &stopped)), expected);
        }
    }

    #[test]
    fn a_client_secret_in_a_profile_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let write = |secret: &str| {
            let text = format!(
                "[team]\nhost = https://w\nclient_id = ada\nclient_secret = {secret}\n[DEFAULT]\nhost = https://d\n"
            );
            std::fs::write(home.path().join(".databrickscfg"), text).unwrap();
        };
        write("hunter2");
        let env = [("HOME", home.path().to_str().unwrap()), ("DATABRICKS_CONFIG_PROFILE", "team")];
        let (way, secret) = way(None, &env, &stopped);
        assert!(secret.is_none() && !serde_json::to_string(&way).unwrap().contains("hunter2"));
        write("hunter3");
        assert_eq!(token(way.walk(None, &stopped)), "ada hunter3");
    }

    #[test]
    fn a_profile_is_read_again_and_must_be_of_the_same_workspace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |host: &str, token: &str| {
            std::fs::write(file.path(), format!("[team]\nhost = {host}\ntoken = {token}\n")).unwrap();
        };
        write("https://w", "hunter2");
        let env = [("DATABRICKS_CONFIG_FILE", file.path().to_str().unwrap())];
        let (way, secret) = way(Some("team"), &env, &stopped);
        assert!(secret.is_none() && !serde_json::to_string(&way).unwrap().contains("hunter2"));
        write("https://w", "hunter3");
        assert_eq!(token(way.walk(None, &stopped)), "hunter3");
        write("https://other", "hunter4");
        assert_eq!(way.walk(None, &stopped).unwrap_err().kind, Kind::BadConfig);
    }

    #[test]
    fn the_embedded_lakebase_is_found_again_on_another_port() {
        let env = [("FOLDER", "f"), ("HOME", "/h"), ("OTHER", "x")];
        let (way, secret) = way(Some(EMBEDDED), &env, &running(1, "one"));
        assert!(secret.is_none() && !serde_json::to_string(&way).unwrap().contains("one"));
        assert_eq!((way.variable("FOLDER"), way.variable("HOME")), (Some("/project/f"), Some("/h")));
        assert_eq!(way.variable("OTHER"), None);
        assert_eq!(token(way.walk(None, &running(2, "two"))), "two");
        assert_eq!(way.walk(None, &stopped).unwrap_err().kind, Kind::EmbeddedStopped);
    }

    #[test]
    fn the_databricks_cli_is_the_one_that_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("databricks");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        let env = [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_CLI_PATH", program)];
        let (way, secret) = way(None, &env, &stopped);
        assert!(secret.is_none());
        assert_eq!(token(way.walk(None, &stopped)), format!("{program} --host https://w"));
    }
}
