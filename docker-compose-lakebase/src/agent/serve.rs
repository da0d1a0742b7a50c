//! The agent itself: a socket that takes registrations, and one task for each project.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::feed::Since;
use super::{Call, Project, VERSION, Wish, feed, folder, kept, socket};

/// Longest call that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// How often the agent looks whether anything is left to do; and how long a registration may take.
const LOOK: Duration = Duration::from_secs(5);
/// An agent that was told to end may take this long to let go of its place.
const YIELD_WITHIN: Duration = Duration::from_secs(3);

/// Runs until no project needs it.
///
/// # Errors
/// [`Kind::Io`] where its socket can't be made. Another agent that runs already is no failure.
pub async fn serve(env: &Env) -> Result<()> {
    // Away from the terminal of the `up` that started it; a leader of a group already is away.
    let _ = nix::unistd::setsid();
    let folder =
        folder(env).ok_or_else(|| Error::new(Kind::Io, "there is no place for the agent's socket"))?;
    let failed = |error: std::io::Error| Error::io("opening the agent's socket", &error);
    // Held to the end: the socket's file alone does not tell whether anybody listens.
    let Some(_lock) = lock(&folder).await.map_err(failed)? else { return Ok(()) };
    let path = socket(&folder);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let mut agent = Agent { projects: HashMap::new(), folder };
    for project in kept::read(&agent.folder) {
        agent.tend(project, None, Since::Before);
    }
    agent.run(listener).await;
    let _ = fs::remove_file(&path);
    Ok(())
}

/// The lock that one agent of a user has; `None` where another keeps it.
async fn lock(folder: &Path) -> std::io::Result<Option<fs::File>> {
    // Not truncated before it is ours: the process id in it is the other's.
    let file = fs::OpenOptions::new().create(true).append(true).open(folder.join("agent.lock"))?;
    let until = tokio::time::Instant::now() + YIELD_WITHIN;
    while file.try_lock().is_err() {
        if tokio::time::Instant::now() > until {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // For whoever wants to know which process it is.
    let _ = file.set_len(0).and_then(|()| write!(&file, "{}", std::process::id()));
    Ok(Some(file))
}

/// The projects that are served.
struct Agent {
    folder: PathBuf,
    projects: HashMap<String, Known>,
}

/// A project, and the task that serves it.
struct Known {
    project: Project,
    task: JoinHandle<()>,
    /// Tells the task that its gateway is on the way out: the project goes on with another branch, or is taken down.
    leaving: Arc<AtomicBool>,
}

/// What was said on the socket, and where the answer goes.
type Heard = (Option<Call>, OwnedWriteHalf);

impl Agent {
    /// Takes registrations until nothing is left to do, or something else than this version asks.
    async fn run(&mut self, listener: UnixListener) {
        let (heard, mut hears) = mpsc::channel(16);
        // Apart, so that one that says nothing keeps nobody waiting.
        let accepting = tokio::spawn(accept(listener, heard));
        loop {
            let next = tokio::time::timeout(LOOK, hears.recv()).await;
            self.tidy();
            match next {
                Ok(Some((Some(call), mut answer))) if call.version == VERSION || call.wish.is_last() => {
                    let said: &[u8] = if self.fulfil(call.wish) { b"ok\n" } else { b"no\n" };
                    let _ = answer.write_all(said).await;
                }
                // A newer program asks: it starts its own agent once this one is gone.
                Ok(_) => break,
                Err(_) if self.projects.is_empty() => break,
                Err(_) => {}
            }
        }
        accepting.abort();
    }

    /// Does what is wished; whether it is so.
    fn fulfil(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Serve(registration) => {
                let (project, token) = registration.open();
                self.tend(project, token, Since::Now);
                self.keep();
                true
            }
            Wish::Know { key, endpoint } => {
                let known = self.projects.get(&key).filter(|known| known.project.endpoint == endpoint);
                let Some(known) = known else { return false };
                // It was not taken down after all.
                if known.leaving.swap(false, Ordering::Relaxed) {
                    self.keep();
                }
                true
            }
            Wish::Forget { key } => {
                // Its gateway is served until Compose takes it away, which may fail; nothing waits for it to come back.
                if let Some(known) = self.projects.get(&key) {
                    known.leaving.store(true, Ordering::Relaxed);
                    self.keep();
                }
                true
            }
        }
    }

    /// Serves a project, in the place of what was known of it. A gateway of another branch is served until Compose
    /// takes it away: what Compose does first may fail.
    fn tend(&mut self, project: Project, token: Option<Secret>, since: Since) {
        let leaving = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(feed::tend(project.clone(), token, since, Arc::clone(&leaving)));
        let known = Known { project, task, leaving };
        let endpoint = known.project.endpoint.clone();
        if let Some(before) = self.projects.insert(known.project.key(), known) {
            if before.project.endpoint == endpoint {
                before.task.abort();
            } else {
                before.leaving.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Forgets the projects that nobody needs any more.
    fn tidy(&mut self) {
        let before = self.projects.len();
        self.projects.retain(|_, known| !known.task.is_finished());
        if self.projects.len() < before {
            self.keep();
        }
    }

    fn keep(&self) {
        let staying = self.projects.values().filter(|known| !known.leaving.load(Ordering::Relaxed));
        kept::write(&self.folder, staying.map(|known| &known.project));
    }
}

async fn accept(listener: UnixListener, heard: mpsc::Sender<Heard>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let heard = heard.clone();
                tokio::spawn(async move {
                    if let Some(said) = hear(stream).await {
                        let _ = heard.send(said).await;
                    }
                });
            }
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Reads one line: a call, or something else. Nothing at all means nothing.
async fn hear(stream: UnixStream) -> Option<Heard> {
    let (read, write) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(read.take(LONGEST));
    let count = tokio::time::timeout(LOOK, reading.read_line(&mut line)).await.ok()?.ok()?;
    (count > 0).then(|| (serde_json::from_str(&line).ok(), write))
}
