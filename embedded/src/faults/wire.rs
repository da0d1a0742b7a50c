//! Connections of the HTTP API that can be cut from within.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a connection; clones are the same one's.
#[derive(Debug, Clone, Default)]
pub struct Fuse(Arc<AtomicU8>);

const WHOLE: u8 = 0;
/// Half of what is written next passes, then nothing.
const HALF: u8 = 1;
const BLOWN: u8 = 2;

impl Fuse {
    /// Nothing passes from here on: the connection is closed without an answer.
    pub fn blow(&self) {
        self.0.store(BLOWN, Ordering::Relaxed);
    }

    /// Half of the answer passes: a short one is written at once, head and body together.
    pub fn halve(&self) {
        self.0.store(HALF, Ordering::Relaxed);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes connections of the HTTP API.
pub struct Door(pub TcpListener);

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, from) = Listener::accept(&mut self.0).await;
        (Wire { stream, fuse: Fuse::default() }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Fuse {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().fuse.clone()
    }
}

/// A connection with its fuse.
pub struct Wire {
    stream: TcpStream,
    fuse: Fuse,
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut by a fault")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.fuse.state() == BLOWN {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.fuse.state() {
            WHOLE => Pin::new(&mut self.stream).poll_write(cx, buf),
            HALF => {
                let written = Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().div_ceil(2)]);
                if written.is_ready() {
                    self.fuse.blow();
                }
                written
            }
            _ => Poll::Ready(Err(cut())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
