//! The branch's database: a login, and what the catalog says of owners.

use std::time::Duration;

use jiff::Timestamp;

use super::check::{Check, skipped};
use super::ownership::{self, Place, catalog};
use crate::api::{BranchPath, Client, Credential, Endpoint};
use crate::config::{Connect, Key, Settings};
use crate::connection::Connection;
use crate::error::{Error, Kind, Result};
use crate::sql::Session;

/// A login must be minted within this time.
const MINTED: Duration = Duration::from_secs(8);
/// A database must take a login within this time: one that sleeps wakes under it.
const LOGIN: Duration = Duration::from_secs(15);
/// The catalog must be read within this time.
const READ: Duration = Duration::from_secs(12);

/// The check of the login.
const DATABASE: (&str, &str) = ("database.login", "a login to the database");

/// Which database to look at, and as whom.
pub struct Look<'a> {
    /// The workspace.
    pub client: &'a Client,
    /// The settings.
    pub settings: &'a Settings,
    /// The user behind the credential.
    pub user: &'a str,
    /// The branch to read.
    pub read: &'a BranchPath,
    /// The branch that others are copies of.
    pub parent: &'a BranchPath,
}

/// The checks of this file and of [`ownership`], all skipped.
pub fn not_looked_at(why: &str) -> Vec<Check> {
    let mut checks = skipped(&[DATABASE], why);
    checks.extend(skipped(&ownership::ALL, why));
    checks
}

impl Look<'_> {
    /// Logs in at the endpoint and looks.
    pub async fn checks(&self, endpoint: &Endpoint) -> Vec<Check> {
        let id = DATABASE.0;
        let on_parent = async {
            let asked = tokio::time::timeout(MINTED, self.client.role(self.parent, self.user)).await;
            asked.ok().and_then(std::result::Result::ok).map(|role| role.is_some())
        };
        let (session, user_is_on_parent) = tokio::join!(self.login(endpoint), on_parent);
        let (session, credential) = match session {
            Ok(opened) => opened,
            Err(error) => {
                let mut checks = vec![refused(&error)];
                checks.extend(skipped(&ownership::ALL, "the database takes no login"));
                return checks;
            }
        };
        let what = format!(
            "database {} of branch {} takes logins as {}",
            self.settings.database(),
            self.read.branch,
            self.user
        );
        let login = Check::ok(id, what).with("until", credential.expires.to_string());
        let mut checks = vec![short_lived(login, &credential)];
        let facts =
            tokio::time::timeout(READ, catalog::read(&session, self.user, self.settings.text(Key::Role)));
        match facts.await {
            Ok(Ok(mut facts)) => {
                if matches!(self.settings.connect(), Ok(Connect::Password)) {
                    facts.role_logs_in_itself();
                }
                let place = Place { read: self.read, parent: self.parent, user_is_on_parent };
                checks.extend(facts.checks(&place));
            }
            Ok(Err(error)) => {
                checks.extend(skipped(&ownership::ALL, &format!("the catalog can't be read: {error}")));
            }
            Err(_) => checks.extend(skipped(&ownership::ALL, "reading the catalog takes too long")),
        }
        checks
    }

    /// A session as the user itself: whether it may become another role is looked up, not tried.
    async fn login(&self, endpoint: &Endpoint) -> Result<(Session, Credential)> {
        let late = |what: &str, limit: Duration| {
            Error::new(Kind::Unreachable, format!("{what} took more than {} s", limit.as_secs()))
                .hint("an endpoint that sleeps may take long to wake: run the same command again")
        };
        let minted = tokio::time::timeout(MINTED, self.client.credential(&endpoint.name)).await;
        let minted = minted.map_err(|_| late("getting a login", MINTED))?;
        let credential = minted.map_err(|error| error.into_error("getting a login for the branch"))?;
        let connection = Connection {
            host: endpoint.host.clone(),
            port: endpoint.port,
            user: self.user.to_owned(),
            password: credential.token.clone(),
            database: self.settings.database().to_owned(),
            role: None,
            tls: true,
        };
        let ca = self.client.auth().ca.as_deref();
        let opened = tokio::time::timeout(LOGIN, Session::open(&connection, ca)).await;
        Ok((opened.map_err(|_| late("logging in", LOGIN))??, credential))
    }
}

/// A login that ends at once is the sign of a clock that is wrong.
fn short_lived(check: Check, credential: &Credential) -> Check {
    if credential.expires > Timestamp::now() {
        return check;
    }
    Check { status: super::check::Status::Warn, ..check }
        .cure("by this machine's clock, the login has expired already: set the clock")
}

fn refused(error: &Error) -> Check {
    let check = Check::failed(DATABASE.0, error);
    let says = |words: &str| error.causes.iter().any(|cause| cause.contains(words));
    if says("(3D000)") {
        return check
            .cure("run `init`, which makes the database in the parent, then fork anew with `--fresh`")
            .cure("or correct `LAKEBASE_DATABASE`");
    }
    if says("authorization") || says("authorized") {
        return check.cure("a branch refuses logins in its first moments: run the same command again").cure(
            "if it goes on, the user has no role on the branch: let a manager of the project make one",
        );
    }
    if error.kind == Kind::Unreachable && error.hints.is_empty() {
        return check.cure("let the firewall pass connections to that port, which is PostgreSQL's");
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_about_it() {
        let refusal = |cause: &str, kind| refused(&Error::new(kind, "logging in failed").because_of(cause));
        let missing = refusal("database \"shop\" does not exist (3D000)", Kind::Database);
        assert!(missing.cure[0].contains("init"), "{missing:?}");
        let wrong = refusal("OAuth: User is not authorized (28P01)", Kind::Database);
        assert!(wrong.cure[1].contains("no role"), "{wrong:?}");
        let closed = refusal("connection refused", Kind::Unreachable);
        assert!(closed.cure[0].contains("firewall"), "{closed:?}");
    }
}
