//! Who may enter at the seat, and as whom the branch sees them.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::tokens::{Credential, NoToken, Tokens};
use crate::frontend::{Encryption, Login, Method, Policy};
use crate::refusal::{CANNOT_CONNECT_NOW, Refusal, ServerError};
use crate::session::{Admission, Authenticator};
use crate::upstream::{Remote, Upstream, UpstreamError};

/// Pause before a fresh branch, which may refuse its first logins, is tried again (2 to 8 s in the field reports).
const FRESH_BRANCH_PAUSE: Duration = Duration::from_secs(2);
/// New tokens after which "not authorized" is believed.
const NEW_TOKENS: u32 = 2;
/// What a client does about a login that can't be had.
const RUN_UP: &str = "run `docker compose lakebase up`";

/// The seat's door: one local user in, one branch out.
pub struct Door {
    config: Config,
    method: Method,
    remote: Arc<Remote>,
    tokens: Arc<Tokens>,
}

impl Door {
    /// Lets in whom `method` lets in, to `remote`, with the tokens of `tokens`.
    pub fn new(config: Config, method: Method, remote: Arc<Remote>, tokens: Arc<Tokens>) -> Self {
        Self { config, method, remote, tokens }
    }

    fn admission(&self, database: String, options: Option<String>, credential: Credential) -> Admission {
        Admission {
            upstream: Upstream::Remote(Arc::clone(&self.remote)),
            user: credential.user.unwrap_or_else(|| self.config.user.clone()),
            database,
            password: Some(credential.token),
            parameters: options.map(|options| ("options".to_owned(), options)).into_iter().collect(),
        }
    }

    /// What a client is told once the host has said its last word: that alone, for it says what to do.
    fn closed(&self) -> Option<Refusal> {
        Some(Refusal::new(CANNOT_CONNECT_NOW, self.tokens.closed()?))
    }

    /// The local database, or none, is the branch's; any other is the branch's of that name.
    fn database(&self, login: &Login) -> String {
        if !login.names_database || login.database == self.config.local_database {
            self.config.database.clone()
        } else {
            login.database.clone()
        }
    }

    /// The client's start-up options, and the role after them, so that it wins.
    fn options(&self, login: &Login) -> Option<String> {
        let role = self.config.role.as_deref()?;
        let own = login.parameters.iter().find(|(name, _)| name == "options");
        let own = own.map_or("", |(_, value)| value.as_str());
        Some(format!("{own} -c role={}", escape_option(role)).trim_start().to_owned())
    }
}

/// A value inside `options`: PostgreSQL splits them at blanks, and a backslash takes the next character as it is.
fn escape_option(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if character == '\\' || character.is_ascii_whitespace() || character == '\u{b}' {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

impl Authenticator for Door {
    fn policy(&self) -> Policy {
        Policy { encryption: Encryption::Optional, method: self.method.clone() }
    }

    async fn authenticate(&self, login: &Login) -> Result<Admission, Refusal> {
        let credential = self.tokens.get(self.config.token_wait).await.map_err(|NoToken(why)| {
            self.closed().unwrap_or_else(|| {
                Refusal::new(CANNOT_CONNECT_NOW, "no login for the Lakebase branch could be had")
                    .detail(why)
                    .hint(RUN_UP)
            })
        })?;
        Ok(self.admission(self.database(login), self.options(login), credential))
    }

    /// A newer token, at once for the first refusal and after a pause for later ones. A fresh branch is asked again for as
    /// long as the connection's deadline allows.
    async fn renew(&self, admission: &Admission, error: &ServerError, attempt: u32) -> Option<Admission> {
        let fresh_branch = error.message().contains("External authorization failed");
        if attempt > NEW_TOKENS && !fresh_branch {
            return None;
        }
        self.tokens.refuse(admission.password.as_ref()?);
        if attempt > 1 {
            tokio::time::sleep(FRESH_BRANCH_PAUSE).await;
        }
        let credential = self.tokens.get(self.config.token_wait).await.ok()?;
        let options = admission.parameters.first().map(|(_, options)| options.clone());
        Some(self.admission(admission.database.clone(), options, credential))
    }

    /// A branch that gives no answer may be gone: who mints knows.
    fn give_up(&self, error: &UpstreamError) -> Option<Refusal> {
        if error.leaves_doubt() {
            self.tokens.doubt();
        }
        self.closed()
    }

    fn hint(&self, error: &UpstreamError) -> Option<String> {
        match error {
            UpstreamError::Refused(error) if error.is_login_refused() => Some(RUN_UP.to_owned()),
            UpstreamError::Refused(_) => None,
            UpstreamError::Resolve(_) | UpstreamError::Connect(_) => Some(format!(
                "the Lakebase branch at {} does not answer; see `docker compose lakebase status`",
                self.remote.address()
            )),
            UpstreamError::Certificate(_) | UpstreamError::Plain => {
                Some(format!("what answers at {} is not the Lakebase branch", self.remote.address()))
            }
            UpstreamError::Protocol(_) | UpstreamError::Authentication(_) => None,
        }
    }

    fn cancel_target(&self) -> Option<Upstream> {
        Some(Upstream::Remote(Arc::clone(&self.remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_can_say_nothing_but_its_name() {
        assert_eq!(escape_option("team"), "team");
        assert_eq!(escape_option("a -c x=1"), r"a\ -c\ x=1");
        assert_eq!(escape_option("a\\\tb"), "a\\\\\\\tb");
    }
}
