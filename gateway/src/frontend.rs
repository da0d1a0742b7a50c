//! The client's side up to the login: encryption, start-up packet, authentication, errors.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::message::{self, MessageError, Startup, StartupPacket};
use crate::random;
use crate::refusal::{
    INVALID_AUTHORIZATION, INVALID_PASSWORD, NOT_SUPPORTED, PROTOCOL_VIOLATION, QUERY_CANCELED, Refusal,
};
use crate::scram::{self, ScramError, Verifier};
use crate::secret::Secret;
use crate::stream::Stream;

/// The first byte of a TLS connection: record type "handshake".
const TLS_HANDSHAKE: u8 = 0x16;
/// Requests to encrypt before the start-up packet; a real client sends at most one of each.
const MAX_NEGOTIATIONS: usize = 3;
/// How long the words to a client that is too slow may take: it may be as slow to read them.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether clients must speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// A session without it is refused.
    Required,
    /// The client decides.
    Optional,
}

/// How clients prove who they are.
#[derive(Debug, Clone)]
pub enum Method {
    /// By a password in the clear, for the authenticator to judge: tokens are too long-lived for a hash of them to be known.
    Cleartext,
    /// By SCRAM-SHA-256 as the one user of this account.
    Scram(Arc<Account>),
    /// Not at all: PostgreSQL's `trust`, for the one user named here.
    Trust(String),
}

/// What is asked of a client before the authenticator sees it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether TLS is required.
    pub encryption: Encryption,
    /// How it proves who it is.
    pub method: Method,
}

impl Default for Policy {
    /// The service's own: TLS and a password in the clear.
    fn default() -> Self {
        Self { encryption: Encryption::Required, method: Method::Cleartext }
    }
}

/// The one user that a SCRAM login is for. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Account {
    user: String,
    verifier: Verifier,
    /// Makes the salts of users who do not exist.
    decoy_key: [u8; 32],
    end_point: Option<[u8; 32]>,
    hint: Option<String>,
}

impl Account {
    /// `user` with `password`. Fails only where the system gives no random bytes.
    pub fn new(user: impl Into<String>, password: &Secret) -> Result<Self, ScramError> {
        let decoy_key = random::bytes().ok_or(ScramError::Randomness)?;
        let verifier = Verifier::new(password.reveal())?;
        Ok(Self { user: user.into(), verifier, decoy_key, end_point: None, hint: None })
    }

    /// Offers channel binding to clients on TLS; `certificate` (DER) is the acceptor's, signed with SHA-256.
    #[must_use]
    pub fn bound_to(mut self, certificate: &[u8]) -> Self {
        self.end_point = Some(scram::end_point(certificate));
        self
    }

    /// Says `hint` to a client that is refused.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What a client says about itself before it is let in.
#[derive(Debug, Clone)]
pub struct Login {
    /// Parameter `user`.
    pub user: String,
    /// Parameter `database`; the user's name where the client sent none, as in PostgreSQL.
    pub database: String,
    /// Whether the client named the database itself. libpq always does.
    pub names_database: bool,
    /// The password in the clear; empty where the method needs none.
    pub password: Secret,
    /// The other start-up parameters (`application_name`, `options`, …) in the client's order.
    pub parameters: Vec<(String, String)>,
}

/// What a connection turned out to be.
pub enum Greeting {
    /// A cancel request with its opaque key. Nothing else follows on this connection, which is closed once the server has
    /// acted: a client that sees it end takes its next query to be safe.
    Cancel(Stream, Vec<u8>),
    /// A session with its start-up message.
    Session(Stream, Startup),
}

/// Why no session came about. The client was told where it could be.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// Bytes or length outside of the protocol, or a lost connection.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The client was refused with this error.
    #[error("refused: {}", .0.message)]
    Refused(Refusal),
    /// The client was too slow.
    #[error("the start-up took too long")]
    Late,
}

impl From<std::io::Error> for GreetingError {
    fn from(error: std::io::Error) -> Self {
        Self::Message(error.into())
    }
}

/// Takes a new connection through encryption to its start-up packet, for which it has time `until` then.
///
/// Cancel requests are taken with and without TLS (libpq before 17 sends them without, whatever the
/// session used; they hold no more than the key of one query).
pub async fn greet(
    mut stream: TcpStream,
    tls: &TlsAcceptor,
    encryption: Encryption,
    until: Instant,
) -> Result<Greeting, GreetingError> {
    for _ in 0..MAX_NEGOTIATIONS {
        let mut first = [0; 1];
        let Ok(seen) = timeout_at(until, stream.peek(&mut first)).await else {
            return Err(refuse_late(&mut stream).await);
        };
        if seen? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if first[0] == TLS_HANDSHAKE {
            return encrypted(stream, tls, until).await;
        }
        match read_or_explain(&mut stream, until).await? {
            StartupPacket::SslRequest => {
                stream.write_all(b"S").await?;
                return encrypted(stream, tls, until).await;
            }
            StartupPacket::GssEncRequest => stream.write_all(b"N").await?,
            StartupPacket::Cancel { key } => return Ok(Greeting::Cancel(Stream::Tcp(stream), key)),
            StartupPacket::Startup(startup) if encryption == Encryption::Optional => {
                return session(Stream::Tcp(stream), startup).await;
            }
            StartupPacket::Startup(_) => {
                let refusal =
                    Refusal::new(INVALID_AUTHORIZATION, "this endpoint takes encrypted connections only")
                        .hint("connect with sslmode=require");
                return Err(refuse(&mut stream, refusal).await);
            }
        }
    }
    let refusal = Refusal::new(PROTOCOL_VIOLATION, "too many requests to negotiate encryption");
    Err(refuse(&mut stream, refusal).await)
}

async fn encrypted(stream: TcpStream, tls: &TlsAcceptor, until: Instant) -> Result<Greeting, GreetingError> {
    // In the midst of a handshake there are no words that the client could read.
    let stream = timeout_at(until, tls.accept(stream)).await.map_err(|_| GreetingError::Late)??;
    let mut stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
    match read_or_explain(&mut stream, until).await? {
        StartupPacket::Cancel { key } => Ok(Greeting::Cancel(stream, key)),
        StartupPacket::Startup(startup) => session(stream, startup).await,
        StartupPacket::SslRequest | StartupPacket::GssEncRequest => {
            let refusal = Refusal::new(PROTOCOL_VIOLATION, "the connection is encrypted already");
            Err(refuse(&mut stream, refusal).await)
        }
    }
}

/// Looks at what every session must have, and at the one kind that can't be had.
async fn session(mut stream: Stream, startup: Startup) -> Result<Greeting, GreetingError> {
    let wanted = startup.get("replication").unwrap_or("false");
    // PostgreSQL reads any spelling of a boolean here, and `database`.
    if !["false", "off", "no", "0", "f", "n"].contains(&wanted.to_ascii_lowercase().as_str()) {
        let refusal =
            Refusal::new(NOT_SUPPORTED, "replication connections are not supported by this endpoint");
        return Err(refuse(&mut stream, refusal).await);
    }
    if startup.get("user").is_none_or(str::is_empty) {
        let refusal =
            Refusal::new(INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet");
        return Err(refuse(&mut stream, refusal).await);
    }
    Ok(Greeting::Session(stream, startup))
}

/// Asks for what `method` wants and waits for it `until` then; the answer is the whole login. "Authentication ok" is not
/// said here: the client hears it from the server that it gets.
pub async fn login(
    stream: &mut Stream,
    startup: &Startup,
    method: &Method,
    until: Instant,
) -> Result<Login, GreetingError> {
    match timeout_at(until, prove(stream, startup, method)).await {
        Ok(proved) => proved,
        Err(_) => Err(refuse_late(stream).await),
    }
}

async fn prove(stream: &mut Stream, startup: &Startup, method: &Method) -> Result<Login, GreetingError> {
    if startup.version != message::PROTOCOL_3_0 || startup.protocol_options().next().is_some() {
        stream.write_all(&message::write_negotiate_version(startup.protocol_options())).await?;
    }
    let user = startup.get("user").unwrap_or_default().to_owned();
    let password = match method {
        Method::Cleartext => cleartext(stream).await?,
        Method::Scram(account) => {
            scram(stream, &user, account).await?;
            Secret::new("")
        }
        Method::Trust(known) if *known == user => Secret::new(""),
        Method::Trust(known) => {
            let refusal = Refusal::new(INVALID_AUTHORIZATION, format!("role \"{user}\" does not exist"))
                .hint(format!("the one user here is \"{known}\""));
            return Err(refuse(stream, refusal).await);
        }
    };
    let named = startup.get("database").filter(|name| !name.is_empty());
    let parameters = startup
        .parameters
        .iter()
        .filter(|(key, _)| {
            !matches!(key.as_str(), "user" | "database" | "replication") && !key.starts_with("_pq_.")
        })
        .cloned()
        .collect();
    Ok(Login {
        database: named.unwrap_or(&user).to_owned(),
        names_database: named.is_some(),
        user,
        password,
        parameters,
    })
}

async fn cleartext(stream: &mut Stream) -> Result<Secret, GreetingError> {
    send(stream, &message::write_authentication(message::AUTHENTICATION_CLEARTEXT, &[])).await?;
    let body = password_message(stream, message::MAX_PASSWORD_LENGTH).await?;
    Ok(Secret::new(message::parse_password(&body)?))
}

/// The whole exchange. A user who is not the account's goes through it, too, and fails at its end like a wrong password.
async fn scram(stream: &mut Stream, user: &str, account: &Account) -> Result<(), GreetingError> {
    let end_point = account.end_point.as_ref().filter(|_| stream.is_encrypted()).map(<[u8; 32]>::as_slice);
    let mechanisms: &[&str] = match end_point {
        Some(_) => &[scram::MECHANISM_PLUS, scram::MECHANISM],
        None => &[scram::MECHANISM],
    };
    send(stream, &message::write_sasl_offer(mechanisms)).await?;
    let body = password_message(stream, scram::MAX_MESSAGE_LENGTH).await?;
    let decoy;
    let verifier = if user == account.user {
        &account.verifier
    } else {
        decoy = Verifier::decoy(user, &account.decoy_key);
        &decoy
    };
    let outcome = exchange(stream, &body, verifier, end_point).await;
    let refusal = match outcome {
        Ok(last) => {
            let bytes = message::write_authentication(message::AUTHENTICATION_SASL_FINAL, last.as_bytes());
            return send(stream, &bytes).await;
        }
        Err(ExchangeError::Connection(error)) => return Err(error),
        Err(ExchangeError::Scram(ScramError::WrongPassword)) => Refusal {
            hint: account.hint.clone(),
            ..Refusal::new(INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
        },
        Err(ExchangeError::Scram(error)) => Refusal::new(PROTOCOL_VIOLATION, error.to_string()),
    };
    Err(refuse(stream, refusal).await)
}

enum ExchangeError {
    Connection(GreetingError),
    Scram(ScramError),
}

async fn exchange(
    stream: &mut Stream,
    first: &[u8],
    verifier: &Verifier,
    end_point: Option<&[u8]>,
) -> Result<String, ExchangeError> {
    let connection = ExchangeError::Connection;
    let (mechanism, first) = message::parse_sasl_initial(first).map_err(|error| connection(error.into()))?;
    let challenge = scram::challenge(verifier, &mechanism, end_point, first).map_err(ExchangeError::Scram)?;
    let bytes =
        message::write_authentication(message::AUTHENTICATION_SASL_CONTINUE, challenge.message.as_bytes());
    send(stream, &bytes).await.map_err(connection)?;
    let last = password_message(stream, scram::MAX_MESSAGE_LENGTH).await.map_err(connection)?;
    challenge.finish(&last).map_err(ExchangeError::Scram)
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), GreetingError> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads a message of the one type that passwords and SASL messages come in; gives its body.
async fn password_message(stream: &mut Stream, limit: usize) -> Result<Vec<u8>, GreetingError> {
    match message::read_message(stream, limit).await? {
        (b'p', body) => Ok(body),
        _ => Err(refuse(stream, Refusal::new(PROTOCOL_VIOLATION, "expected a password")).await),
    }
}

/// Sends `refusal` to the client as a fatal error and gives it back for the log.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) -> GreetingError {
    // The refusal stands whether or not the client is still there to read it.
    if stream.write_all(&refusal.to_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        let _ = stream.shutdown().await;
    }
    GreetingError::Refused(refusal)
}

/// Tells a client that its time is over, in PostgreSQL's words.
async fn refuse_late<S: AsyncWrite + Unpin>(stream: &mut S) -> GreetingError {
    let refusal = Refusal::new(QUERY_CANCELED, "canceling authentication due to timeout");
    let _ = timeout(LAST_WORDS, refuse(stream, refusal)).await;
    GreetingError::Late
}

/// Reads a start-up packet; bytes that are none are answered with an error before the connection is given up.
async fn read_or_explain<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    until: Instant,
) -> Result<StartupPacket, GreetingError> {
    match timeout_at(until, message::read_startup(stream)).await {
        Err(_) => Err(refuse_late(stream).await),
        Ok(Ok(packet)) => Ok(packet),
        Ok(Err(MessageError::Io(error))) => Err(error.into()),
        Ok(Err(error)) => Err(refuse(stream, Refusal::new(PROTOCOL_VIOLATION, error.to_string())).await),
    }
}
