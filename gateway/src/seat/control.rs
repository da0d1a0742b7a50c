//! The control socket: where tokens come in, where `healthy` asks, and where what the sessions do goes out.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config;
use super::lines::{self, Ask, FromHost, Health, ToHost};
use super::log::Log;
use super::tap::{Recorder, TapLine};
use super::tokens::{Freshness, Tokens};

/// How long a connection may take to say what it is for. Our own subcommands say it at once.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the gateway's health is looked at while somebody waits for it to change.
const LOOK: Duration = Duration::from_secs(1);

/// What a control connection needs.
pub struct Control {
    /// The tokens that feeds hand over.
    pub tokens: Arc<Tokens>,
    /// The name of the branch, told to feeds.
    pub branch: Option<String>,
    /// Where failures are written.
    pub log: Arc<Log>,
    /// What was last said to a `healthy` that waits for changes.
    pub said_healthy: AtomicBool,
    /// What the sessions do, where they are listened to.
    pub recorder: Option<Arc<Recorder>>,
}

/// Opens the socket at `path` for its owner alone. A socket that nobody listens on, left by a `serve` that was killed, is
/// replaced; one that is in use is an error.
pub async fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

impl Control {
    /// Serves the socket for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let control = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = control.connection(stream).await {
                            control.log.failure("control", &format!("a control connection failed: {error}"));
                        }
                    });
                }
                Err(error) => {
                    self.log.failure("control", &format!("can't accept on the control socket: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut reader = BufReader::new(read);
        let mut line = Vec::new();
        let Ok(said) = tokio::time::timeout(ASK_TIMEOUT, lines::read(&mut reader, &mut line)).await else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        if !said? {
            return Ok(());
        }
        match serde_json::from_slice(&line) {
            Ok(Ask::Feed) => self.feed(reader, write).await,
            Ok(Ask::Tap) => self.tap(reader, write).await,
            Ok(Ask::Health { hold }) => {
                let why = tokio::select! {
                    why = self.health(Duration::from_secs(hold)) => why,
                    // Nobody is left to hear it.
                    _ = lines::read(&mut reader, &mut line) => return Ok(()),
                };
                let health = Health { ok: why.is_none(), why };
                if hold > 0 {
                    self.said_healthy.store(health.ok, Ordering::Relaxed);
                }
                write.write_all(&lines::write(&ToHost::Health(health))).await
            }
            Err(_) => write.write_all(&lines::write(&ToHost::Problem("unknown request".to_owned()))).await,
        }
    }

    /// Why no client could log in, if that is so: as soon as it is not what was last said of it, else after `hold`.
    async fn health(&self, hold: Duration) -> Option<String> {
        let until = Instant::now() + hold;
        let mut changed = self.tokens.changes();
        loop {
            changed.mark_unchanged();
            let why = self.tokens.health().err().map(|why| why.to_string());
            let now = Instant::now();
            if now >= until || self.said_healthy.load(Ordering::Relaxed) != why.is_none() {
                return why;
            }
            // A token's end announces itself to nobody.
            let _ = tokio::time::timeout_at(until.min(now + LOOK), changed.changed()).await;
        }
    }

    /// Takes lines until the feed ends; meanwhile tells it what is wanted.
    async fn feed(&self, mut reader: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) -> io::Result<()> {
        let hello = ToHost::Hello { branch: self.branch.as_deref(), version: env!("CARGO_PKG_VERSION") };
        write.write_all(&lines::write(&hello)).await?;
        let (wants, mut wanted) = mpsc::unbounded_channel();
        let (answers, mut answer) = mpsc::unbounded_channel();
        let id = self.tokens.attach(wants);
        let speak = async {
            loop {
                let line = tokio::select! {
                    Some(()) = wanted.recv() => ToHost::Want("token"),
                    Some(answer) = answer.recv() => answer,
                    else => return Ok(()),
                };
                write.write_all(&lines::write(&line)).await?;
            }
        };
        let listen = async {
            let mut line = Vec::new();
            while lines::read(&mut reader, &mut line).await? {
                match self.hear(id, &line) {
                    Heard::Taken => {}
                    Heard::Answer(answer) => drop(answers.send(answer)),
                    Heard::Last => break,
                }
            }
            Ok(())
        };
        let ended: io::Result<()> = tokio::select! {
            ended = speak => ended,
            ended = listen => ended,
        };
        self.tokens.detach(id);
        ended
    }

    /// Says what the sessions do until the listener ends, or another one comes.
    async fn tap(&self, mut reader: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) -> io::Result<()> {
        let Some(recorder) = &self.recorder else {
            let problem = format!("nobody listens to the sessions here: {} is not 1", config::TAP);
            return write.write_all(&lines::write(&TapLine::Problem { problem })).await;
        };
        let listener = recorder.attach();
        let speak = async {
            write.write_all(&lines::write(&recorder.hello())).await?;
            while let Some(taken) = recorder.take(listener).await {
                for line in taken {
                    write.write_all(&lines::write(&line)).await?;
                }
            }
            Ok(())
        };
        // Whatever it says has no meaning; its end has.
        let mut line = Vec::new();
        let listen = async { while lines::read(&mut reader, &mut line).await.is_ok_and(|more| more) {} };
        tokio::select! {
            ended = speak => ended,
            () = listen => Ok(()),
        }
    }

    /// Acts on a line of the feed with this number.
    fn hear(&self, id: u64, line: &[u8]) -> Heard {
        let problem = match lines::parse(line) {
            Ok(FromHost::Ping) => return Heard::Answer(ToHost::Pong(true)),
            Ok(FromHost::Token(credential, expires)) => match self.tokens.offer(credential, expires) {
                Freshness::Fresh => return Heard::Taken,
                Freshness::Ended => format!(
                    "the token ended at {expires} and it is {} here: one of the clocks is wrong",
                    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")
                ),
            },
            Ok(FromHost::Error(words)) => {
                self.log.failure("minting", &format!("the host has no login: {words}"));
                self.tokens.fail(words);
                return Heard::Taken;
            }
            Ok(FromHost::Final(words)) => {
                self.log.failure("minting", &format!("the host has no more logins: {words}"));
                self.tokens.close(id, words);
                return Heard::Last;
            }
            Err(error) => error.to_string(),
        };
        self.log.failure("feed", &format!("the feed: {problem}"));
        Heard::Answer(ToHost::Problem(problem))
    }
}

/// What a line of a feed leads to.
enum Heard {
    /// Nothing more.
    Taken,
    /// A line back.
    Answer(ToHost<'static>),
    /// The end of the feed.
    Last,
}
