//! The client's side up to the password: encryption, start-up packet, authentication, errors.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::message::{self, MessageError, Startup, StartupPacket};
use crate::secret::Secret;

/// SQLSTATE "invalid authorization specification".
pub const INVALID_AUTHORIZATION: &str = "28000";
/// SQLSTATE "protocol violation".
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// SQLSTATE "feature not supported".
pub const NOT_SUPPORTED: &str = "0A000";

/// The first byte of a TLS connection: record type "handshake".
const TLS_HANDSHAKE: u8 = 0x16;
/// Requests to encrypt before the start-up packet; a real client sends at most one of each.
const MAX_NEGOTIATIONS: usize = 3;

/// A refusal that the client reads as a PostgreSQL error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters, from PostgreSQL's table of error codes.
    pub sqlstate: &'static str,
    /// One line, shown after `FATAL:`.
    pub message: String,
    /// What to do, shown after `HINT:`.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), hint: None }
    }

    /// The same with a hint.
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
    /// The password, received over TLS.
    pub password: Secret,
    /// The other start-up parameters (`application_name`, `options`, …) in the client's order.
    pub parameters: Vec<(String, String)>,
}

/// What a connection turned out to be once it was encrypted.
pub enum Greeting {
    /// A cancel request with its opaque key; nothing else follows on this connection.
    Cancel(Vec<u8>),
    /// A session with its start-up message.
    Session(Box<TlsStream<TcpStream>>, Startup),
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
}

impl From<std::io::Error> for GreetingError {
    fn from(error: std::io::Error) -> Self {
        Self::Message(error.into())
    }
}

/// Takes a new connection through encryption to its start-up packet.
///
/// Cancel requests are taken with and without TLS (libpq before 17 sends them without, whatever the
/// session used; they hold no more than the key of one query). A session without TLS is refused.
pub async fn greet(mut stream: TcpStream, tls: &TlsAcceptor) -> Result<Greeting, GreetingError> {
    for _ in 0..MAX_NEGOTIATIONS {
        let mut first = [0; 1];
        if stream.peek(&mut first).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if first[0] == TLS_HANDSHAKE {
            return encrypted(stream, tls).await;
        }
        match read_or_explain(&mut stream).await? {
            StartupPacket::SslRequest => {
                stream.write_all(b"S").await?;
                return encrypted(stream, tls).await;
            }
            StartupPacket::GssEncRequest => stream.write_all(b"N").await?,
            StartupPacket::Cancel { key } => return Ok(Greeting::Cancel(key)),
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

async fn encrypted(stream: TcpStream, tls: &TlsAcceptor) -> Result<Greeting, GreetingError> {
    let mut stream = tls.accept(stream).await?;
    match read_or_explain(&mut stream).await? {
        StartupPacket::Cancel { key } => Ok(Greeting::Cancel(key)),
        StartupPacket::Startup(startup) => {
            let wanted = startup.get("replication").unwrap_or("false");
            // PostgreSQL reads any spelling of a boolean here, and `database`.
            if !["false", "off", "no", "0", "f", "n"].contains(&wanted.to_ascii_lowercase().as_str()) {
                let refusal =
                    Refusal::new(NOT_SUPPORTED, "replication connections are not supported by this endpoint");
                return Err(refuse(&mut stream, refusal).await);
            }
            if startup.get("user").is_none_or(str::is_empty) {
                let refusal = Refusal::new(
                    INVALID_AUTHORIZATION,
                    "no PostgreSQL user name specified in startup packet",
                );
                return Err(refuse(&mut stream, refusal).await);
            }
            Ok(Greeting::Session(Box::new(stream), startup))
        }
        StartupPacket::SslRequest | StartupPacket::GssEncRequest => {
            let refusal = Refusal::new(PROTOCOL_VIOLATION, "the connection is encrypted already");
            Err(refuse(&mut stream, refusal).await)
        }
    }
}

/// Asks for the password and waits for it; the answer is the whole login.
pub async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    startup: &Startup,
) -> Result<Login, GreetingError> {
    if startup.version != message::PROTOCOL_3_0 || startup.protocol_options().next().is_some() {
        stream.write_all(&message::write_negotiate_version(startup.protocol_options())).await?;
    }
    stream.write_all(&message::write_password_request()).await?;
    stream.flush().await?;
    let (tag, body) = message::read_message(stream, message::MAX_PASSWORD_LENGTH).await?;
    if tag != b'p' {
        return Err(refuse(stream, Refusal::new(PROTOCOL_VIOLATION, "expected a password")).await);
    }
    let user = startup.get("user").unwrap_or_default().to_owned();
    let database = startup.get("database").filter(|name| !name.is_empty()).unwrap_or(&user).to_owned();
    let parameters = startup
        .parameters
        .iter()
        .filter(|(key, _)| {
            !matches!(key.as_str(), "user" | "database" | "replication") && !key.starts_with("_pq_.")
        })
        .cloned()
        .collect();
    Ok(Login { user, database, password: Secret::new(message::parse_password(&body)?), parameters })
}

/// Sends `refusal` to the client as a fatal error and gives it back for the log.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) -> GreetingError {
    let bytes = message::write_fatal(refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
    // The refusal stands whether or not the client is still there to read it.
    if stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok() {
        let _ = stream.shutdown().await;
    }
    GreetingError::Refused(refusal)
}

/// Reads a start-up packet; bytes that are none are answered with an error before the connection is given up.
async fn read_or_explain<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> Result<StartupPacket, GreetingError> {
    match message::read_startup(stream).await {
        Ok(packet) => Ok(packet),
        Err(MessageError::Io(error)) => Err(error.into()),
        Err(error) => Err(refuse(stream, Refusal::new(PROTOCOL_VIOLATION, error.to_string())).await),
    }
}
