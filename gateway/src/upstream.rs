//! The server's side: connecting to a PostgreSQL and starting a session there.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::message::{self, MessageError};

/// Longest first answer of a server that is believed, in bytes: an authentication request or an error.
const MAX_FIRST_ANSWER: usize = 64 * 1024;

/// Where a PostgreSQL listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// Its unix socket (the whole path, `…/.s.PGSQL.5432`).
    Unix(PathBuf),
    /// Host name or address, and port.
    Tcp(String, u16),
}

/// Why no session started upstream.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// Nobody answers at the address.
    #[error("the database can't be reached")]
    Connect(#[source] io::Error),
    /// The connection failed or the answer is no PostgreSQL's.
    #[error("the database's answer can't be read")]
    Protocol(#[from] MessageError),
    /// The database refused the session; the message is its own error, ready to be passed on.
    #[error("the database refused the session")]
    Refused(Vec<u8>),
    /// The database wants a way of authentication that this side has nothing for.
    #[error("the database asks for an authentication that the gateway has nothing for (code {0})")]
    Authentication(u32),
}

/// A connection to a PostgreSQL.
pub enum UpstreamStream {
    /// Over its unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Upstream {
    /// Connects, without sending anything.
    pub async fn connect(&self) -> io::Result<UpstreamStream> {
        match self {
            Self::Unix(path) => Ok(UpstreamStream::Unix(UnixStream::connect(path).await?)),
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(UpstreamStream::Tcp(stream))
            }
        }
    }

    /// Connects and starts a session with these start-up parameters (`user` and `database` among them). Gives the stream and
    /// the bytes that the client has to see first: the server's "authentication ok".
    pub async fn start(
        &self,
        parameters: &[(String, String)],
    ) -> Result<(UpstreamStream, Vec<u8>), UpstreamError> {
        let mut stream = self.connect().await.map_err(UpstreamError::Connect)?;
        stream.write_all(&message::write_startup(parameters)?).await.map_err(MessageError::Io)?;
        let (tag, body) = message::read_message(&mut stream, MAX_FIRST_ANSWER).await?;
        match (tag, body.first_chunk::<4>()) {
            (b'R', Some(code)) if u32::from_be_bytes(*code) == 0 => {
                Ok((stream, message::with_length(Some(tag), &body)))
            }
            (b'R', Some(code)) => Err(UpstreamError::Authentication(u32::from_be_bytes(*code))),
            (b'E', _) => Err(UpstreamError::Refused(message::with_length(Some(tag), &body))),
            _ => Err(MessageError::Invalid("not the answer to a start-up message").into()),
        }
    }

    /// Forwards a cancel request and waits until the server closed the connection, which is how it says that it acted.
    pub async fn cancel(&self, key: &[u8]) -> io::Result<()> {
        let mut stream = self.connect().await?;
        stream.write_all(&message::write_cancel(key)).await?;
        let mut rest = [0; 16];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
