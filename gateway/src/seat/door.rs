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

    fn admission(
        &self,
        database: String,
        parameters: Vec<(String, String)>,
        credential: Credential,
    ) -> Admission {
        Admission {
            upstream: Upstream::Remote(Arc::clone(&self.remote)),
            user: credential.user.unwrap_or_else(|| self.config.user.clone()),
            database,
            password: Some(credential.token),
            parameters,
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

    /// What a session starts as the role by: the parameter of its name, which PostgreSQL sets after all options and all
    /// parameters of the client's, and the same behind the client's options, for what stands before a server may pass
    /// those alone on (as Neon's proxy does).
    fn role(&self, login: &Login) -> Vec<(String, String)> {
        let Some(role) = self.config.role.as_deref() else { return Vec::new() };
        let own = login.parameters.iter().find(|(name, _)| name == "options");
        let own = whole_options(own.map_or("", |(_, value)| value));
        let options = format!("{own} -c role={}", escape_option(role)).trim_start().to_owned();
        vec![("options".to_owned(), options), ("role".to_owned(), role.to_owned())]
    }
}

/// Options that others can follow: PostgreSQL drops a backslash at their end that takes no character with it.
fn whole_options(options: &str) -> &str {
    let backslashes = options.len() - options.trim_end_matches('\\').len();
    &options[..options.len() - backslashes % 2]
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
        Ok(self.admission(self.database(login), self.role(login), credential))
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
        Some(self.admission(admission.database.clone(), admission.parameters.clone(), credential))
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

    #[test]
    fn options_that_end_in_a_backslash_leave_what_follows_alone() {
        for (options, whole) in [
            ("", ""),
            ("-c a=b", "-c a=b"),
            (r"-c a=b\", "-c a=b"),
            (r"-c a=\\", r"-c a=\\"),
            (r"a\\\", r"a\\"),
        ] {
            assert_eq!(whole_options(options), whole);
        }
    }
}
