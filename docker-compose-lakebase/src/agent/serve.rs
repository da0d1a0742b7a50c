//! The agent itself: a socket that takes registrations, and one task for each project.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::time::Duration;

use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{Registration, VERSION, feed, folder, socket};

/// Longest registration that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// How often the agent looks whether anything is left to do.
const LOOK: Duration = Duration::from_secs(5);

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
    let lock = fs::File::create(folder.join("agent.lock")).map_err(failed)?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    // For whoever wants to know which process it is.
    let _ = write!(&lock, "{}", std::process::id());
    let path = socket(&folder);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let mut projects: HashMap<String, JoinHandle<()>> = HashMap::new();
    loop {
        let next = tokio::time::timeout(LOOK, listener.accept()).await;
        projects.retain(|_, task| !task.is_finished());
        match next {
            Ok(Ok((stream, _))) => match take(stream).await {
                Some(registration) if registration.version == VERSION => {
                    let key = format!("{:?} {}", registration.docker, registration.project);
                    let task = tokio::spawn(feed::tend(registration));
                    if let Some(before) = projects.insert(key, task) {
                        before.abort();
                    }
                }
                // A newer program asks: it starts its own agent once this one is gone.
                _ => break,
            },
            Ok(Err(_)) => tokio::time::sleep(LOOK).await,
            Err(_) if projects.is_empty() => break,
            Err(_) => {}
        }
    }
    let _ = fs::remove_file(&path);
    Ok(())
}

/// Reads one registration and says whether it is taken.
async fn take(stream: UnixStream) -> Option<Registration> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let reading = BufReader::new(read.take(LONGEST));
    let mut reading = reading;
    tokio::time::timeout(LOOK, reading.read_line(&mut line)).await.ok()?.ok()?;
    let registration: Registration = serde_json::from_str(&line).ok()?;
    let answer: &[u8] = if registration.version == VERSION { b"ok\n" } else { b"another version\n" };
    write.write_all(answer).await.ok()?;
    Some(registration)
}
