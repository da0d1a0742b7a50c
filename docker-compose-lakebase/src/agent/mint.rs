//! A login for one endpoint, or words for the client that waits for one.

use std::time::Duration;

use lakebase::api::{BranchPath, Client, Credential};
use lakebase::auth::{Auth, Embedded};
use lakebase::branch::ResourceId;
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Project;

/// A login must be had within this time: less than the gateway lets its clients wait (20 s), so that they hear why not.
const DEADLINE: Duration = Duration::from_secs(15);
/// An API that can't be reached is tried again for this long: after a laptop's sleep the network comes later than we.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two such tries.
const PAUSE: Duration = Duration::from_millis(500);
/// What helps in every case: it meets the same trouble, and says more about it.
const UP: &str = "run `docker compose lakebase up`";

/// What becomes of a wish.
pub enum Minted {
    /// A login.
    Login(Credential),
    /// None this time, and why.
    Not(String),
    /// None ever, and why: the branch is gone.
    Never(String),
}

impl Minted {
    /// The line for the gateway; see its `seat::lines`.
    pub fn line(&self) -> Value {
        match self {
            Self::Login(credential) => {
                json!({"token": credential.token.expose(), "expires": credential.expires.to_string()})
            }
            Self::Not(words) => json!({"error": words}),
            Self::Never(words) => json!({"error": words, "final": true}),
        }
    }
}

/// Mints logins for one project.
pub struct Mint {
    project: Project,
    /// The secret that the way to the credential needs; in memory only.
    secret: Option<Secret>,
    /// The credential as it was found last, with the API token that it holds.
    last: Mutex<Option<Auth>>,
}

impl Mint {
    /// For a project, with the secret that the way to its credential needs.
    pub fn new(project: Project, secret: Option<Secret>) -> Self {
        Self { project, secret, last: Mutex::default() }
    }

    /// Mints a login for the project's endpoint. Ends in time, whatever the API, the Databricks CLI and the clocks do.
    pub async fn login(&self) -> Minted {
        let began = Instant::now();
        loop {
            let error = match tokio::time::timeout_at(began + DEADLINE, self.once()).await {
                Ok(Ok(minted)) => return minted,
                Ok(Err(error)) => error,
                Err(_) => {
                    let seconds = DEADLINE.as_secs();
                    return Minted::Not(format!("getting a login for the branch took more than {seconds} s"));
                }
            };
            let passing = matches!(error.kind, Kind::Unreachable | Kind::EmbeddedStopped);
            if !passing || began.elapsed() + PAUSE >= PATIENCE {
                return Minted::Not(words(&error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(&self) -> Result<Minted> {
        let client = Client::new(self.credential().await?).await?;
        let endpoint = &self.project.endpoint;
        match client.credential(endpoint).await {
            Ok(credential) => match self.other(&client).await? {
                Some(branch) => Ok(Minted::Never(format!("the branch `{branch}` was made anew; {UP}"))),
                None => Ok(Minted::Login(credential)),
            },
            Err(error) if error.is_not_found() => match branch_of(endpoint) {
                Some(path) if is_gone(&client, &path).await? => {
                    Ok(Minted::Never(format!("the branch `{}` does not exist any more; {UP}", path.branch)))
                }
                _ => Err(error.into_error("getting a login for the branch")),
            },
            Err(error) => Err(error.into_error("getting a login for the branch")),
        }
    }

    /// The branch, where a new one stands in the place of the only one that may be opened: nobody has masked it yet. Asked
    /// after the login was minted, so that the login can be the old one's only.
    async fn other(&self, client: &Client) -> Result<Option<String>> {
        let (Some(only), Some(path)) = (&self.project.only, branch_of(&self.project.endpoint)) else {
            return Ok(None);
        };
        match client.branch(&path).await {
            Ok(branch) => Ok((branch.uid != *only).then(|| path.branch.to_string())),
            Err(error) => Err(error.into_error("looking for the branch")),
        }
    }

    /// Goes the way to the credential, which may have been renewed since the last time; where it was not, its API token
    /// still counts. On a thread of its own: it reads files and may look whether a server answers, and the other projects
    /// do not wait for that.
    async fn credential(&self) -> Result<Auth> {
        let (way, secret) = (self.project.way.clone(), self.secret.clone());
        let walk = move || {
            let lookup = |name: &str| way.variable(name).map(str::to_owned);
            way.walk(secret.as_ref(), &|| embedded(&lookup))
        };
        let failed = |_| Error::new(Kind::Io, "looking for the credential failed");
        let found = tokio::task::spawn_blocking(walk).await.map_err(failed)??;
        let mut last = self.last.lock().await;
        let found = match last.as_ref() {
            Some(before) => found.after(before),
            None => found,
        };
        *last = Some(found.clone());
        Ok(found)
    }
}

/// The running embedded Lakebase, found by the variables of `lookup`.
///
/// # Errors
/// [`Kind::EmbeddedStopped`] where it does not run.
pub fn embedded(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Embedded> {
    let found = lakebase_embedded::discover(lookup)?;
    Ok(Embedded { host: found.host, token: Secret::new(found.token), ca: found.ca })
}

/// Whether a branch does not exist, or is on its way out.
async fn is_gone(client: &Client, path: &BranchPath) -> Result<bool> {
    match client.branch(path).await {
        Ok(branch) => Ok(branch.state == "DELETED"),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into_error("looking for the branch")),
    }
}

/// The branch of an endpoint, `projects/{p}/branches/{b}/endpoints/{e}`.
fn branch_of(endpoint: &str) -> Option<BranchPath> {
    let mut parts = endpoint.split('/');
    let mut id = |kind: &str| ResourceId::parse(parts.next().filter(|part| *part == kind).and(parts.next())?);
    Some(BranchPath { project: id("projects")?, branch: id("branches")? })
}

/// What failed, why, and what to do, in one line.
fn words(error: &Error) -> String {
    let hints: String = error.hints.iter().map(|hint| format!("; {hint}")).collect();
    let text = format!("{error}{hints}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_names_its_branch() {
        let path = branch_of("projects/shop/branches/dev-ada/endpoints/primary").unwrap();
        assert_eq!(path.to_string(), "projects/shop/branches/dev-ada");
        for other in ["", "projects/shop", "projects/shop/roles/x", "projects/../branches/x", "a/b/c/d"] {
            assert!(branch_of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn words_say_what_failed_and_what_to_do() {
        let error = Error::new(Kind::Denied, "getting a login\nfailed").because_of("401").hint("log in");
        assert_eq!(words(&error), "getting a login failed: 401; log in");
    }

    #[test]
    fn a_last_word_is_marked() {
        assert_eq!(Minted::Never("gone".into()).line(), json!({"error": "gone", "final": true}));
        assert_eq!(Minted::Not("away".into()).line(), json!({"error": "away"}));
    }
}
