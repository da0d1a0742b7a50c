//! Bytes both ways between a client and its server.
//!
//! A session owns no buffer: bytes are read into one that all sessions of a thread share, and written from it at once.
//! Only what the other side does not take at that moment is kept, until it does. So a thousand idle sessions hold
//! nothing, and a busy one always finds its buffer in the processor's cache.
//!
//! Nobody looks at the bytes of [`join`]. What does is a [`Sight`], handed to [`join_seen`]: the same pumps, and nothing of
//! it where there is none.

use std::borrow::Cow;
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
pub async fn join<C, S>(client: C, server: S) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    join_seen(client, server, &mut Blind).await
}

/// The same under the eyes of `sight`, which may keep bytes back.
pub async fn join_seen<C, S>(client: C, server: S, sight: &mut impl Sight) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut joined = Joined::new(client, server);
    let result = joined.carry(sight).await;
    joined.part().await;
    result
}

/// Looks at the bytes of a session as they are read, and says which of them go on.
pub trait Sight {
    /// What goes to the server of what was read from the client.
    fn up<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]>;

    /// What goes to the client of what was read from the server.
    fn down<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]>;

    /// What was kept back of the client's bytes, when it sends no more.
    fn last_up(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// What was kept back of the server's bytes, when it has ended.
    fn last_down(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether more may be read of the client. Asked again after anything came from the server.
    fn hears_client(&self) -> bool {
        true
    }

    /// Whether [`Joined::carry`] is to pause here: nothing is read until it is called again.
    fn pauses(&self) -> bool {
        false
    }
}

/// Sees nothing.
struct Blind;

impl Sight for Blind {
    #[inline]
    fn up<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(chunk)
    }

    #[inline]
    fn down<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(chunk)
    }
}

/// A client and its server, and what is on its way between them.
pub struct Joined<C, S> {
    /// The client.
    pub client: C,
    /// The server.
    pub server: S,
    up: Pump,
    down: Pump,
    client_sends: bool,
    server_hears: bool,
}

impl<C, S> Joined<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Joins the two; nothing moves before [`Self::carry`].
    pub fn new(client: C, server: S) -> Self {
        Self {
            client,
            server,
            up: Pump::default(),
            down: Pump::default(),
            client_sends: true,
            server_hears: true,
        }
    }

    /// Moves bytes as [`join`] does, until the session is over or `sight` pauses. A pause leaves nothing half written: what
    /// was read before it has been taken by the other side.
    pub async fn carry(&mut self, sight: &mut impl Sight) -> io::Result<()> {
        poll_fn(|cx| {
            if let Poll::Ready(result) =
                self.down.poll::<Down, _, _, _>(cx, &mut self.server, &mut self.client, sight)
            {
                return Poll::Ready(result);
            }
            if self.client_sends {
                match self.up.poll::<Up, _, _, _>(cx, &mut self.client, &mut self.server, sight) {
                    Poll::Ready(Ok(())) => self.client_sends = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if sight.pauses() && self.up.is_empty() && self.down.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // A server that has gone says so on its own side, whatever comes of this.
            if !self.client_sends
                && self.server_hears
                && Pin::new(&mut self.server).poll_shutdown(cx).is_ready()
            {
                self.server_hears = false;
            }
            Poll::Pending
        })
        .await
    }

    /// Sends bytes of the caller's own to the server, behind what is on its way, with the next [`Self::carry`].
    pub fn send_up(&mut self, bytes: &[u8]) {
        self.up.rest.extend_from_slice(bytes);
        self.client_sends = true;
    }

    /// The same to the client.
    pub fn send_down(&mut self, bytes: &[u8]) {
        self.down.rest.extend_from_slice(bytes);
    }

    /// Says goodbye to both. A client that vanished without one ends here too: the server rolls back on seeing the end.
    pub async fn part(mut self) {
        let goodbyes = async { tokio::join!(self.client.shutdown(), self.server.shutdown()) };
        let _ = tokio::time::timeout(GOODBYE, goodbyes).await;
    }
}

/// Which of a sight's eyes a direction passes.
trait Direction {
    /// Whether anything may be read now.
    fn open(sight: &impl Sight) -> bool;
    /// What goes on of `chunk`.
    fn pass<'a>(sight: &mut impl Sight, chunk: &'a [u8]) -> Cow<'a, [u8]>;
    /// What was kept back.
    fn last(sight: &mut impl Sight) -> Vec<u8>;
}

/// Towards the server.
struct Up;

impl Direction for Up {
    fn open(sight: &impl Sight) -> bool {
        sight.hears_client() && !sight.pauses()
    }

    fn pass<'a>(sight: &mut impl Sight, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        sight.up(chunk)
    }

    fn last(sight: &mut impl Sight) -> Vec<u8> {
        sight.last_up()
    }
}

/// Towards the client.
struct Down;

impl Direction for Down {
    fn open(sight: &impl Sight) -> bool {
        !sight.pauses()
    }

    fn pass<'a>(sight: &mut impl Sight, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        sight.down(chunk)
    }

    fn last(sight: &mut impl Sight) -> Vec<u8> {
        sight.last_down()
    }
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
    /// Whether everything that was read has been taken.
    fn is_empty(&self) -> bool {
        self.rest.is_empty() && !self.unflushed
    }

    /// Moves what there is; ready when the source has ended and everything was handed over.
    fn poll<D, R, W, V>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        sight: &mut V,
    ) -> Poll<io::Result<()>>
    where
        D: Direction,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
        V: Sight,
    {
        loop {
            while self.taken < self.rest.len() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.taken..]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.taken += count;
                self.unflushed = true;
            }
            if self.taken > 0 {
                // Freed, not cleared: an idle session holds nothing.
                self.rest = Vec::new();
                self.taken = 0;
            }
            if !self.ended && D::open(sight) {
                let read = SCRATCH
                    .with_borrow_mut(|scratch| self.poll_chunk::<D, _, _, _>(cx, from, to, sight, scratch));
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
    fn poll_chunk<D, R, W, V>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        sight: &mut V,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>>
    where
        D: Direction,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
        V: Sight,
    {
        let mut chunk = ReadBuf::new(scratch);
        match ready!(Pin::new(from).poll_read(cx, &mut chunk)) {
            Ok(()) => {}
            // libpq closes its socket without TLS's own goodbye; that is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        if chunk.filled().is_empty() {
            self.ended = true;
            self.rest = D::last(sight);
            return Poll::Ready(Ok(()));
        }
        let seen = D::pass(sight, chunk.filled());
        let mut written = 0;
        while written < seen.len() {
            match Pin::new(&mut *to).poll_write(cx, &seen[written..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.unflushed = true;
                    written += count;
                }
                Poll::Pending => {
                    self.rest = seen[written..].to_vec();
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
