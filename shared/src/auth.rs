//! Databricks unified auth: which source of credentials wins, and a token from it for as long as one is needed.
//!
//! [`resolve`] decides, and touches nothing; this module reads the file, finds the program, and asks for tokens.

mod cli;
pub mod credential;
mod fields;
mod host;
mod http;
mod oauth;
pub mod profile;
pub mod resolve;
mod token;
mod trouble;
mod way;
mod words;

use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use self::host::is_loopback_host;
pub use self::resolve::Reason;
pub use self::way::Way;

use self::cli::Program;
use self::credential::Credential;
use self::oauth::{Job, OAuth};
use self::profile::Profiles;
use self::resolve::{Asked, Decision};
use self::token::{Held, Token};
use crate::config::{Key, Settings};
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The profile that means the embedded Lakebase, and nothing else does.
pub const EMBEDDED: &str = "embedded";

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
    /// The variable that alone holds the secret, if one does.
    secret_variable: Option<&'static str>,
    reasons: Vec<Reason>,
    /// Made where it is needed, and shared by clones.
    http: Arc<OnceLock<reqwest::Client>>,
    held: Held,
}

/// How a token is had.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    /// The token itself.
    Token(Secret),
    /// OAuth with the client's secret.
    Client { id: String, secret: Secret, scopes: String },
    /// OAuth with the token that GitHub signs for the job.
    Github { id: String, audience: Option<String>, url: String, token: Secret, scopes: String },
    /// The Databricks CLI, with the arguments that choose the profile or host.
    DatabricksCli { program: Program, choice: [String; 2] },
    /// The Azure CLI.
    AzureCli { program: Program },
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
    /// Decides which credential counts. Asks nobody for a token yet.
    ///
    /// # Errors
    /// Those of [`resolve::decide`] and of reading the file of profiles; what `embedded` says where the profile is
    /// `embedded`; [`Kind::NoCredential`] where the program that the credential needs is not installed.
    pub fn resolve(settings: &Settings, env: &Env, embedded: FindEmbedded) -> Result<Self> {
        Self::with_program(settings, env, embedded, None)
    }

    /// The same with the path of the program that gives tokens, where it was found before.
    fn with_program(
        settings: &Settings,
        env: &Env,
        embedded: FindEmbedded,
        program: Option<&Path>,
    ) -> Result<Self> {
        let Decision { host, credential, source, secret_variable, reasons } = decided(settings, env)?;
        let of = |host, ca, method| Self {
            host,
            source,
            ca,
            method,
            secret_variable,
            reasons,
            http: Arc::default(),
            held: Held::default(),
        };
        let found = |name: &str| match program {
            Some(path) => Ok(Program::at(path, env)),
            None => Program::find(name, env).map_err(|error| not_installed(name, &host, &error)),
        };
        let method = match credential {
            Credential::Embedded => {
                let Embedded { host, token, ca } = embedded()?;
                return Ok(of(host, Some(ca), Method::Token(token)));
            }
            Credential::Token(token) => Method::Token(token),
            Credential::Client { id, secret, scopes } => Method::Client { id, secret, scopes },
            Credential::Github { id, audience, url, token, scopes } => {
                Method::Github { id, audience, url, token, scopes }
            }
            Credential::DatabricksCli { program, profile } => {
                let choice = match profile {
                    Some(profile) => ["--profile".to_owned(), profile],
                    None => ["--host".to_owned(), host.clone()],
                };
                Method::DatabricksCli { program: found(&program)?, choice }
            }
            Credential::AzureCli => Method::AzureCli { program: found("az")? },
        };
        let ca = authority(&host, embedded);
        Ok(of(host, ca, method))
    }

    /// The sources that were looked at in their order: which are a part of what is used, which lost, and why. It holds
    /// no secret.
    pub fn explain(&self) -> &[Reason] {
        &self.reasons
    }

    /// Whether the workspace runs on this machine, so that containers reach its endpoints by another name.
    pub fn is_loopback(&self) -> bool {
        reqwest::Url::parse(&self.host).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host))
    }

    /// The program that gives the tokens, where one does.
    pub fn program(&self) -> Option<&Path> {
        match &self.method {
            Method::DatabricksCli { program, .. } | Method::AzureCli { program } => Some(&program.path),
            Method::Token(_) | Method::Client { .. } | Method::Github { .. } => None,
        }
    }

    /// The HTTP client for the workspace: TLS is verified, and no redirect followed.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] where the system gives no such client.
    pub fn http(&self) -> Result<reqwest::Client> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = http::client(self.is_loopback())?;
        Ok(self.http.get_or_init(|| client).clone())
    }

    /// A token for the API, renewed before it ends. Clones of this share it, and one of them at a time fetches it.
    ///
    /// # Errors
    /// [`Kind::NoCredential`], [`Kind::Denied`] or [`Kind::Unreachable`], in the words of the program or server that was
    /// asked.
    pub async fn token(&self) -> Result<Secret> {
        match &self.method {
            Method::Token(token) => Ok(token.clone()),
            method => self.held.token(|refused| self.fetch(method, refused)).await,
        }
    }

    /// Lets go of a token that the workspace refused; whether another one can be had.
    pub async fn renews(&self, refused: &Secret) -> bool {
        self.held.refuse(refused).await;
        !matches!(self.method, Method::Token(_))
    }

    /// Goes on with the token of `before`, where that had the same credential for the same workspace. Not with its
    /// connections: through a laptop's sleep one may be dead and not know it.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        if self.host != before.host || self.method != before.method {
            return self;
        }
        Self { held: before.held.clone(), ..self }
    }

    async fn fetch(&self, method: &Method, refused: bool) -> Result<Token> {
        match method {
            Method::Token(token) => Ok(Token { secret: token.clone(), expires: None }),
            Method::Client { id, secret, scopes } => {
                OAuth { http: &self.http()?, host: &self.host, scopes }.by_secret(id, secret).await
            }
            Method::Github { id, audience, url, token, scopes } => {
                let job = Job { url, token, audience: audience.as_deref() };
                OAuth { http: &self.http()?, host: &self.host, scopes }.by_job(id, &job).await
            }
            Method::DatabricksCli { program, choice } => program.databricks_token(choice, refused).await,
            Method::AzureCli { program } => program.azure_token().await,
        }
    }
}

fn not_installed(name: &str, host: &str, error: &which::Error) -> Error {
    let error = Error::new(Kind::NoCredential, format!("there is a Databricks host ({host}) but no token"))
        .because_of(format!("`{name}` is not installed"))
        .because(error)
        .hint(format!("set {}", env_vars::DATABRICKS_TOKEN));
    match name {
        "az" => error.hint("or install the Azure CLI and run `az login`"),
        _ => error.hint("or install the Databricks CLI and run `databricks auth login`"),
    }
}

/// The authority of the embedded Lakebase, where the host is its API.
fn authority(host: &str, embedded: FindEmbedded) -> Option<String> {
    let url = reqwest::Url::parse(host).ok()?;
    let found = url.host_str().is_some_and(is_loopback_host).then(embedded)?.ok()?;
    (found.host.trim_end_matches('/') == host).then_some(found.ca)
}

/// What settings, environment and the file of profiles decide.
fn decided(settings: &Settings, env: &Env) -> Result<Decision> {
    let asked = Asked { profile: settings.get(Key::Profile), variables: env, file: None };
    let file = match Profiles::place(env).filter(|_| asked.wants_file()) {
        Some(path) => Profiles::read(&path)?,
        None => None,
    };
    resolve::decide(&Asked { file: file.as_ref(), ..asked })
}

/// Whether the workspace that is configured runs on this machine, as far as that can be told without
/// asking anybody.
pub fn is_on_this_machine(settings: &Settings, env: &Env) -> bool {
    let is_here =
        |host: &str| reqwest::Url::parse(host).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host));
    match decided(settings, env) {
        Ok(Decision { credential: Credential::Embedded, .. }) => true,
        Ok(Decision { host, .. }) => is_here(&host),
        // The command goes on without a credential.
        Err(_) => env.get(env_vars::DATABRICKS_HOST).is_some_and(is_here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    #[test]
    fn a_workspace_of_this_machine_is_known_whichever_source_names_it() {
        let home = tempfile::tempdir().unwrap();
        let profiles =
            "[here]\nhost = http://127.0.0.1:7432\ntoken = t\n[there]\nhost = https://w\ntoken = t\n";
        std::fs::write(home.path().join(".databrickscfg"), profiles).unwrap();
        let is = |profile: Option<&str>, more: &[(&str, &str)]| {
            let flags: Layer =
                profile.map(|profile| (Key::Profile, profile.to_owned())).into_iter().collect();
            let env: Env = more.iter().copied().chain([("HOME", home.path().to_str().unwrap())]).collect();
            is_on_this_machine(&Settings::layered(flags, &Env::default(), None), &env)
        };
        let here = ("DATABRICKS_HOST", "http://localhost:7432");
        assert!(is(Some(EMBEDDED), &[]) && is(Some("here"), &[]) && is(None, &[here]));
        assert!(is(None, &[("DATABRICKS_CONFIG_PROFILE", "here")]));
        assert!(is(None, &[here, ("DATABRICKS_CLIENT_ID", "half")]), "an error is told elsewhere");
        assert!(!is(Some("there"), &[here]) && !is(Some("gone"), &[]) && !is(None, &[]));
    }
}
