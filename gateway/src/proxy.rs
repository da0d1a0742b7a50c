//! Bytes both ways between a client and its server.
//!
//! A session owns no buffer: bytes are read into one that all sessions of a thread share, and written from it at once.
//! Only what the other side does not take at that moment is kept, until it does. So a thousand idle sessions hold
//! nothing, and a busy one always finds its buffer in the processor's cache.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes moved at once: four TLS records' worth, so that a bulk copy is not a system call a record.
const CHUNK: usize = 64 * 1024;
/// How long the goodbyes at a session's end may take.
const GOODBYE: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Moves bytes both ways until the server hangs up, or the client does and the server has finished.
///
/// The two ends are not alike. A client that stops sending still reads the answers to what it sent, so
/// only the server's writing half is closed then. A server that stops sending has ended the session,
/// and the client's connection ends with it: an idle client would never find out otherwise.
pub async fn join<C, S>(mut client: C, mut server: S) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Pump::default(), Pump::default());
    let mut client_sends = true;
    let mut server_hears = true;
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = down.poll(cx, &mut server, &mut client) {
            return Poll::Ready(result);
        }
        if client_sends {
            match up.poll(cx, &mut client, &mut server) {
                Poll::Ready(Ok(())) => client_sends = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        // A server that has gone says so on its own side, whatever comes of this.
        if !client_sends && server_hears && Pin::new(&mut server).poll_shutdown(cx).is_ready() {
            server_hears = false;
        }
        Poll::Pending
    })
    .await;
    // A client that vanished without a goodbye ends here too: the server rolls back on seeing the end.
    let goodbyes = async { tokio::join!(client.shutdown(), server.shutdown()) };
    let _ = tokio::time::timeout(GOODBYE, goodbyes).await;
    result
}

/// One direction.
#[derive(Default)]
struct Pump {
    /// What was read and not yet taken, from `taken` on; empty most of the time.
    rest: Vec<u8>,
    taken: usize,
    /// Whether something was written and not flushed since: a TLS stream may keep a record back until then.
    unflushed: bool,
    /// Whether the source has ended.
    ended: bool,
}

impl Pump {
    /// Moves what there is; ready when the source has ended and everything was handed over.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.taken < self.rest.len() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.taken..]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.taken += count;
            }
            if self.taken > 0 {
                // Freed, not cleared: an idle session holds nothing.
                self.rest = Vec::new();
                self.taken = 0;
            }
            if !self.ended {
                let read = SCRATCH.with_borrow_mut(|scratch| self.poll_chunk(cx, from, to, scratch));
                match read {
                    Poll::Ready(result) => {
                        result?;
                        continue;
                    }
                    Poll::Pending if !self.unflushed => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            // Flushed only when nothing more is there to follow.
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.unflushed = false;
            return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }

    /// Reads once and writes as much of it as is taken; keeps the rest.
    fn poll_chunk<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut chunk = ReadBuf::new(scratch);
        match ready!(Pin::new(from).poll_read(cx, &mut chunk)) {
            Ok(()) => {}
            // libpq closes its socket without TLS's own goodbye; that is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        let mut chunk = chunk.filled();
        self.ended = chunk.is_empty();
        while !chunk.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, chunk)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.unflushed = true;
                    chunk = &chunk[count..];
                }
                Poll::Pending => {
                    self.rest = chunk.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn a_half_closed_client_still_gets_its_answer() {
        // given a client and a server joined by the proxy
        let (mut client, client_side) = duplex(64);
        let (mut server, server_side) = duplex(64);
        let proxy = tokio::spawn(join(client_side, server_side));
        // when the client asks and closes its writing half
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        // then the server sees question and end, and its late answer arrives
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        proxy.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_ends_an_idle_client() {
        let (mut client, client_side) = duplex(64);
        let (server, server_side) = duplex(64);
        let proxy = tokio::spawn(join(client_side, server_side));
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        proxy.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn megabytes_pass_whole_both_ways_at_once_through_narrow_pipes() {
        // given pipes that take odd amounts, so that every kind of leftover happens
        let (client, client_side) = duplex(1009);
        let (server, server_side) = duplex(4093);
        let proxy = tokio::spawn(join(client_side, server_side));
        let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        // when both ends send and receive at once
        let end = |stream: tokio::io::DuplexStream, payload: Vec<u8>| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            let mut received = vec![0; payload.len()];
            let (sent, got) = tokio::join!(write.write_all(&payload), read.read_exact(&mut received));
            sent.unwrap();
            got.unwrap();
            assert!(received == payload);
        };
        tokio::join!(end(client, payload.clone()), end(server, payload));
        // then nothing is lost or reordered, and the proxy ends with them
        proxy.await.unwrap().unwrap();
    }
}
