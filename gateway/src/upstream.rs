//! The server's side: connecting to a PostgreSQL and starting a session there.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::message::{self, MessageError};
use crate::refusal::ServerError;
use crate::resolve::{ResolveError, Resolver};
use crate::secret::Secret;
use crate::stream::{Stream, tune};

/// Longest first answer of a server that is believed, in bytes: an authentication request or an error.
const MAX_FIRST_ANSWER: usize = 64 * 1024;
/// How long one address of several may leave us without an answer.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a PostgreSQL listens.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// Its unix socket (the whole path, `…/.s.PGSQL.5432`).
    Unix(PathBuf),
    /// Over TLS, which is not optional.
    Remote(Arc<Remote>),
}

/// A server that is reached over TCP and TLS, its certificate verified against its host name.
pub struct Remote {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    resolver: Resolver,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.address())
    }
}

/// Why no session started upstream.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The host's name has no address.
    #[error("the database's host name can't be resolved")]
    Resolve(#[source] ResolveError),
    /// Nobody answers at the address.
    #[error("the database can't be reached")]
    Connect(#[source] io::Error),
    /// There is no trusted encryption: the certificate is another's, unknown, or expired.
    #[error("the database's certificate can't be verified")]
    Certificate(#[source] io::Error),
    /// The server does not speak TLS.
    #[error("the database does not take encrypted connections")]
    Plain,
    /// The connection failed or the answer is no PostgreSQL's.
    #[error("the database's answer can't be read")]
    Protocol(#[from] MessageError),
    /// The database refused the session with an error of its own.
    #[error("the database refused the session")]
    Refused(ServerError),
    /// The database wants a way of authentication that this side has nothing for.
    #[error("the database asks for an authentication that the gateway has nothing for (code {0})")]
    Authentication(u32),
}

impl UpstreamError {
    /// Whether the same attempt may work a moment later: nobody there yet, a connection that broke, a name that is
    /// still spreading, a server on its way up.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Connect(_) | Self::Protocol(MessageError::Io(_)) => true,
            Self::Refused(error) => error.is_starting(),
            Self::Certificate(_) | Self::Plain | Self::Protocol(_) | Self::Authentication(_) => false,
        }
    }

    /// Whether the branch may not be there any more: nobody answered, or with words about none of what the client asked
    /// for. (Classes of SQLSTATE, PostgreSQL documentation, appendix A: 28 login, 3D database, 42 role or setting, 53
    /// resources, 57 on its way up or down.)
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused(error) => {
                !["28", "3D", "42", "53", "57"].iter().any(|class| error.sqlstate().starts_with(class))
            }
            error => error.is_transient(),
        }
    }

    /// The cause in one line. Holds no secret.
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::Resolve(error) => Some(error.to_string()),
            Self::Connect(error) | Self::Certificate(error) => Some(error.to_string()),
            Self::Protocol(error) => Some(match error {
                MessageError::Io(error) => error.to_string(),
                other => other.to_string(),
            }),
            Self::Refused(error) => Some(error.message().to_owned()),
            Self::Plain | Self::Authentication(_) => None,
        }
    }
}

impl Remote {
    /// A server at `host` (a name or an address, both verified by the certificate) and `port`. Fails where `host` is neither.
    pub fn new(host: &str, port: u16, tls: TlsConnector, resolver: Resolver) -> Option<Self> {
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { host: host.to_owned(), port, name, tls, resolver })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn connect(&self) -> Result<Stream, UpstreamError> {
        let mut tcp = self.tcp().await?;
        tcp.write_all(&message::write_ssl_request()).await.map_err(UpstreamError::Connect)?;
        match tcp.read_u8().await.map_err(UpstreamError::Connect)? {
            b'S' => {}
            b'N' => return Err(UpstreamError::Plain),
            // An error before anything else: a server that can't take another connection. Anybody may have written its
            // words, so they are not shown.
            b'E' => {
                return Err(UpstreamError::Connect(io::Error::other("it refused the connection before TLS")));
            }
            _ => return Err(MessageError::Invalid("not the answer to a request for TLS").into()),
        }
        let stream = self.tls.connect(self.name.clone(), tcp).await.map_err(|error| {
            // rustls wraps its verdicts in this kind; everything else is the network's.
            if error.kind() == io::ErrorKind::InvalidData {
                UpstreamError::Certificate(error)
            } else {
                UpstreamError::Connect(error)
            }
        })?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// Tries every address in turn.
    async fn tcp(&self) -> Result<TcpStream, UpstreamError> {
        let addresses = self.resolver.addresses(&self.host).await.map_err(UpstreamError::Resolve)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        // The next attempt asks anew: an endpoint may have moved.
        self.resolver.forget();
        Err(UpstreamError::Connect(last))
    }
}

impl Upstream {
    /// Connects, without starting a session.
    pub async fn connect(&self) -> Result<Stream, UpstreamError> {
        match self {
            Self::Unix(path) => {
                UnixStream::connect(path).await.map(Stream::Unix).map_err(UpstreamError::Connect)
            }
            Self::Remote(remote) => remote.connect().await,
        }
    }

    /// Connects and starts a session with these start-up parameters (`user` and `database` among them), answering a request
    /// for a password with `password`. Gives the stream and the bytes that the client has to see first: the server's
    /// "authentication ok".
    pub async fn start(
        &self,
        parameters: &[(String, String)],
        password: Option<&Secret>,
    ) -> Result<(Stream, Vec<u8>), UpstreamError> {
        let mut stream = self.connect().await?;
        send(&mut stream, &message::write_startup(parameters)?).await?;
        let mut password = password;
        loop {
            let (tag, body) = message::read_message(&mut stream, MAX_FIRST_ANSWER).await?;
            match (tag, body.first_chunk::<4>().map(|code| u32::from_be_bytes(*code))) {
                (b'R', Some(message::AUTHENTICATION_OK)) => {
                    return Ok((stream, message::with_length(Some(tag), &body)));
                }
                (b'R', Some(code)) => {
                    // Asked twice is asked for something else.
                    let answer = password.take().filter(|_| code == message::AUTHENTICATION_CLEARTEXT);
                    let answer = answer.ok_or(UpstreamError::Authentication(code))?;
                    send(&mut stream, &message::write_password(answer.reveal())?).await?;
                }
                (b'E', _) => return Err(UpstreamError::Refused(ServerError::parse(body)?)),
                // Said before anything else to a client that asks for more than this server has; there is nothing we asked for.
                (b'v' | b'N', _) => {}
                _ => return Err(MessageError::Invalid("not the answer to a start-up message").into()),
            }
        }
    }

    /// Forwards a cancel request and waits until the server closed the connection, which is how it says that it acted.
    pub async fn cancel(&self, key: &[u8]) -> Result<(), UpstreamError> {
        let mut stream = self.connect().await?;
        send(&mut stream, &message::write_cancel(key)).await?;
        let mut rest = [0; 16];
        // However the connection ends, the server has had the request.
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        Ok(())
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), MessageError> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(())
}
