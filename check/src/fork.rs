//! A throw-away branch: made, used, and deleted however the use ends.

use jiff::SignedDuration;
use lakebase::api::{BranchPath, Client};
use lakebase::branch::BranchId;
use lakebase::commands::session::Session;
use lakebase::connection::Connection;
use lakebase::ensure::{self, Live};
use lakebase::error::{Error, Kind, Result};
use lakebase::sql;
use lakebase::ui::Ui;
use lakebase_gateway::random;

/// How long a fork lives where nobody deletes it: longer than any sensible migration, and no longer.
const LIFE: SignedDuration = SignedDuration::from_hours(4);

/// A fork.
pub struct Fork {
    /// The session that it is the branch of.
    pub session: Session,
    /// The API.
    pub client: Client,
    /// It.
    pub live: Live,
}

impl Fork {
    /// The session of a fork: `session`'s own, with a branch of another name, which is no one else's.
    ///
    /// # Errors
    /// [`lakebase::error::Kind::Io`] where the system gives no random bytes.
    pub fn session(mut session: Session) -> Result<Session> {
        let bytes: [u8; 4] =
            random::bytes().ok_or_else(|| Error::new(Kind::Io, "the system gives no random bytes"))?;
        let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        session.identity = session.identity.thrown_away(&nonce);
        session.id = BranchId::of(&session.identity);
        session.target.path.branch = session.id.id().clone();
        session.target.ttl = session.target.max_age.min(LIFE);
        Ok(session)
    }

    /// Makes it. Whatever binds every branch binds it too: its masks, the project's limit.
    ///
    /// # Errors
    /// Those of [`Session::live_from`].
    pub async fn make(session: Session, client: Client, ui: &mut Ui) -> Result<Self> {
        let seen = ensure::observe(&client, &session.target).await?;
        let live = session.live_from(&client, seen, false, ui).await?;
        Ok(Self { session, client, live })
    }

    /// The login to its database, as an application has it: as the configured role, where there is one.
    pub fn connection(&self) -> Connection {
        self.session.connection(&self.live)
    }

    /// The login of whoever checks.
    pub fn login(&self) -> Connection {
        Connection { role: None, ..self.connection() }
    }

    /// A session of whoever checks.
    ///
    /// # Errors
    /// Those of [`sql::Session::open`].
    pub async fn enter(&self) -> Result<sql::Session> {
        Ok(sql::Session::open(&self.login(), self.session.auth.ca.as_deref()).await?)
    }

    /// A session such as the application's.
    ///
    /// # Errors
    /// Those of [`sql::Session::open`].
    pub async fn enter_as_application(&self) -> Result<sql::Session> {
        Ok(sql::Session::open(&self.connection(), self.session.auth.ca.as_deref()).await?)
    }

    /// A session on another branch of the project: production itself, to read what it alone knows.
    ///
    /// # Errors
    /// Those of the API and of [`sql::Session::open`].
    pub async fn enter_branch(&self, client: &Client, path: &BranchPath) -> Result<sql::Session> {
        let doing = "reading the parent branch";
        let endpoint = client.endpoint(path).await.map_err(|error| error.into_error(doing))?;
        let endpoint = endpoint.filter(|endpoint| !endpoint.disabled).ok_or_else(|| {
            Error::new(Kind::Unreachable, doing).because_of("it has no endpoint that may be used")
        })?;
        let minted = client.credential(&endpoint.name).await.map_err(|error| error.into_error(doing))?;
        let connection =
            Connection { host: endpoint.host, port: endpoint.port, password: minted.token, ..self.login() };
        Ok(sql::Session::open(&connection, self.session.auth.ca.as_deref()).await?)
    }
}

/// Deletes a session's branch, if there is one. Nothing else can be meant: its name is of this check's own making.
///
/// # Errors
/// Those of the API; the branch goes by itself then, when its life ends.
pub async fn delete(session: &Session, client: &Client, ui: &mut Ui) -> Result<()> {
    let seen = ensure::observe(client, &session.target).await?;
    let gone = ensure::gone_as_seen(client, &session.target, &seen, &mut |event| ui.event(&event)).await;
    ui.rest();
    gone?;
    match &session.record {
        Some(record) => record.forget(&seen.project.uid, &session.id),
        None => Ok(()),
    }
}
