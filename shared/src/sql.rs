//! SQL towards a branch: one session over TLS, its certificate verified.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Config, Row, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::Connection;
use crate::error::{Error, Kind, Result};

/// A suspended endpoint wakes under a login, which may take tens of seconds.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// The endpoint itself answers at once, asleep or not: where it does not, there is no way to it.
const REACH_WITHIN: Duration = Duration::from_secs(5);
/// SQLSTATE "syntax error".
const SYNTAX_ERROR: &str = "42601";
/// SQLSTATE "cannot connect now".
const CANNOT_CONNECT_NOW: &str = "57P03";

/// A session on a branch. It ends when this is dropped.
pub struct Session {
    client: tokio_postgres::Client,
    /// Carries the session's bytes.
    wire: JoinHandle<()>,
}

/// Why there is no session.
#[derive(Debug)]
pub enum Refused {
    /// The login itself: by another user, with an old token, or on a branch so young that it does not know its users
    /// yet.
    Login(Error),
    /// Whoever it is, for the moment: the branch is starting, or its users can't be asked about
    /// (`External authorization failed`).
    NotYet(Error),
    /// Anything else.
    Other(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Login(error) | Refused::NotYet(error) | Refused::Other(error) => error,
        }
    }
}

impl Session {
    /// Logs in. `ca` is the PEM of an authority to trust beside the public ones.
    ///
    /// # Errors
    /// [`Refused`], of [`Kind::Database`] where the server answered and of [`Kind::Unreachable`] where it did not.
    pub async fn open(connection: &Connection, ca: Option<&str>) -> Result<Self, Refused> {
        Self::open_heard(connection, ca, |_| ()).await
    }

    /// The same, with somebody who hears what the server says beside its answers, as it comes.
    ///
    /// # Errors
    /// As for [`Session::open`].
    pub async fn open_heard(
        connection: &Connection,
        ca: Option<&str>,
        listener: impl Fn(&DbError) + Send + 'static,
    ) -> Result<Self, Refused> {
        let mut config = Config::new();
        config
            .host(&connection.host)
            .port(connection.port)
            .user(&connection.user)
            .password(connection.password.expose())
            .dbname(&connection.database)
            .ssl_mode(SslMode::Require)
            .application_name("lakebase")
            .connect_timeout(REACH_WITHIN);
        if let Some(options) = connection.options() {
            config.options(options);
        }
        let tls = MakeRustlsConnect::new(trust(ca).map_err(Refused::Other)?);
        let connected = tokio::time::timeout(LOGIN_WITHIN, config.connect(tls)).await;
        let Ok(connected) = connected else {
            return Err(Refused::Other(Error::new(
                Kind::Unreachable,
                format!("the branch's database did not take a login within {} s", LOGIN_WITHIN.as_secs()),
            )));
        };
        let (client, mut wire) = connected.map_err(|error| refused(connection, &error))?;
        let wire = tokio::spawn(async move {
            // What goes wrong on the wire is the failure of the statement that waits.
            while let Some(Ok(message)) = poll_fn(|cx| wire.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    listener(&notice);
                }
            }
        });
        Ok(Self { client, wire })
    }

    /// The rows that a statement gives.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words.
    pub async fn rows(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.client.query(statement, parameters).await.map_err(|error| failed("reading the branch", &error))
    }

    /// Whether the server takes a statement, which is parsed and not run.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words, without the values in them.
    pub async fn prepares(&self, statement: &str) -> Result<()> {
        let Err(error) = self.client.prepare(statement).await else { return Ok(()) };
        let failure = Error::new(Kind::Database, "preparing a statement failed");
        Err(match error.as_db_error() {
            Some(said) => failure.because_of(without_values(said)),
            None => failure.because(&error),
        })
    }

    /// The first value that statements give, which run as one simple query.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words.
    pub async fn text(&self, statements: &str) -> Result<Option<String>> {
        let said = self.client.simple_query(statements).await;
        let said = said.map_err(|error| failed("reading the branch", &error))?;
        Ok(said.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// Runs statements that give no rows, as one simple query: the server takes several as one transaction where they
    /// hold no `BEGIN` of their own.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words.
    pub async fn run(&self, statements: &str) -> Result<()> {
        self.client
            .batch_execute(statements)
            .await
            .map_err(|error| failed("running SQL on the branch", &error))
    }

    /// Runs the text of a file; see [`Session::run`]. What PostgreSQL says in detail is left out, for it shows rows.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words, with the line where it names a place.
    pub async fn script(&self, name: &str, text: &str) -> Result<()> {
        let Err(error) = self.client.batch_execute(text).await else { return Ok(()) };
        let failure = Error::new(Kind::Database, format!("running `{name}` failed"));
        let Some(said) = error.as_db_error() else { return Err(failure.because(&error)) };
        let failure = failure.because_of(without_values(said));
        let failure = match said.position() {
            Some(ErrorPosition::Original(at)) => {
                let before = text.chars().take((*at as usize).saturating_sub(1));
                let line = before.filter(|c| *c == '\n').count() + 1;
                failure.because_of(format!("it is line {line} of `{name}`"))
            }
            _ => failure,
        };
        Err(said.hint().into_iter().fold(failure, |failure, hint| failure.because_of(hint)))
    }
}

/// What the server said and its SQLSTATE, without values: no detail, which shows rows.
fn without_values(said: &DbError) -> String {
    let code = said.code().code();
    format!("{} ({code})", said_without_values(code, said.message()))
}

/// The server's words, without the values that those of class 22 quote, at their end or as in `value "7" is out of range`, and
/// without the literal that a syntax error is at.
pub fn said_without_values(sqlstate: &str, message: &str) -> String {
    let near = message.split_once(" at or near \"");
    if let Some((words, _)) = near.filter(|(_, at)| {
        sqlstate == SYNTAX_ERROR && at.starts_with(|c: char| c == '\'' || c.is_ascii_digit())
    }) {
        return words.to_owned();
    }
    if !sqlstate.starts_with("22") {
        return message.to_owned();
    }
    if let Some((words, _)) = message.split_once(": \"") {
        return words.to_owned();
    }
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…{}", &message[..first], &message[last..])
        }
        _ => message.to_owned(),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.wire.abort();
    }
}

/// Public authorities, and `ca`.
fn trust(ca: Option<&str>) -> Result<ClientConfig> {
    let unusable = |why: &dyn std::error::Error| {
        Error::new(Kind::BadConfig, "the certificate authority of the endpoints can't be used").because(why)
    };
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes()) {
        roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn refused(connection: &Connection, error: &tokio_postgres::Error) -> Refused {
    let doing = format!("logging in to `{}` as {}", connection.database, connection.user);
    let failure = failed(&doing, error);
    match error.as_db_error() {
        Some(said)
            if said.code().code() == CANNOT_CONNECT_NOW
                || said.message().contains("External authorization") =>
        {
            Refused::NotYet(failure)
        }
        // Class 28, and what the service says of an identity.
        Some(said) if said.code().code().starts_with("28") || said.message().contains("authorized") => {
            Refused::Login(failure)
        }
        Some(_) => Refused::Other(failure),
        None => Refused::Other(Error { kind: Kind::Unreachable, ..failure }),
    }
}

/// A failure in the server's words, which never hold the password.
fn failed(doing: &str, error: &tokio_postgres::Error) -> Error {
    let failure = Error::new(Kind::Database, format!("{doing} failed"));
    match error.as_db_error() {
        Some(said) => {
            let failure = failure.because_of(format!("{} ({})", said.message(), said.code().code()));
            let more = [said.detail(), said.hint(), said.where_()];
            more.into_iter().flatten().fold(failure, |failure, text| failure.because_of(text))
        }
        None => failure.because(error),
    }
}
