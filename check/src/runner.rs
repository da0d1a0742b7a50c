//! Starts the project's own migration command, and sees it to its end.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// Lines of its output that are kept.
const LINES: usize = 40;
/// How long it may take to end when it is told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long its last lines may take after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often it is told that it still runs.
const TICK: Duration = Duration::from_secs(1);

/// What happens while a command runs.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// It printed a line.
    Line(&'a str),
    /// It has been running for so long.
    Tick(Duration),
}

/// A command, ready to be started any number of times.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program, found.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where.
    pub folder: PathBuf,
    /// Variables that must not reach it.
    pub without: Vec<&'static str>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By itself, with an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By us, at the deadline.
    Deadline,
}

/// A command's end.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub how: How,
    /// After how many milliseconds.
    pub ms: f64,
    /// The last lines of what it printed.
    pub tail: String,
}

impl Job {
    /// The command that `words` are, found as a shell would.
    ///
    /// # Errors
    /// [`Kind::Program`] where there is none.
    pub fn new(
        words: &[String],
        path: Option<&str>,
        folder: PathBuf,
        without: Vec<&'static str>,
    ) -> Result<Self> {
        let (name, arguments) =
            words.split_first().ok_or_else(|| Error::new(Kind::Usage, "no migration command"))?;
        let program = which::which_in(name, path, &folder).map_err(|error| {
            Error::new(Kind::Program, format!("the command `{name}` was not found")).because(&error)
        })?;
        Ok(Self { program, arguments: arguments.to_vec(), folder, without })
    }

    /// Runs it with `variables` laid over the environment, for no longer than `deadline`. It reads nothing: who asks a question
    /// gets no answer. What it prints is told as it comes, and its end kept.
    ///
    /// # Errors
    /// [`Kind::Program`] where it could not be started.
    pub async fn run(
        &self,
        variables: &[(&str, Secret)],
        deadline: Duration,
        mut tell: impl FnMut(Told<'_>),
    ) -> Result<Ended> {
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .envs(variables.iter().map(|(name, value)| (name, value.expose())));
        for name in &self.without {
            command.env_remove(name);
        }
        // A group of its own: what it starts ends with it.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = command.kill_on_drop(true).spawn();
        let mut child = started.map_err(|error| {
            Error::new(Kind::Program, format!("`{}` could not be started", self.program.display()))
                .because(&error)
        })?;
        let group = Group(child.id());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut tail = VecDeque::new();
        let (told, mut lines) = tokio::sync::mpsc::channel(64);
        let readers = [tokio::spawn(pass(out, told.clone(), true)), tokio::spawn(pass(err, told, false))];
        let until = tokio::time::Instant::now() + deadline;
        let mut ticks = tokio::time::interval(TICK);
        let how = loop {
            tokio::select! {
                biased;
                Some(said) = lines.recv() => {
                    tell(Told::Line(&said.text));
                    keep(said, &mut tail);
                }
                status = child.wait() => break how(status.map_err(|error| Error::io("waiting for the command", &error))?),
                _ = ticks.tick() => tell(Told::Tick(began.elapsed())),
                () = tokio::time::sleep_until(until) => {
                    group.end(&mut child).await;
                    break How::Deadline;
                }
            }
        };
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        // What it left in the background may hold the pipes for ever.
        let rest = async {
            while let Some(said) = lines.recv().await {
                tell(Told::Line(&said.text));
                keep(said, &mut tail);
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        for reader in readers {
            reader.abort();
        }
        drop(group);
        Ok(Ended { how, ms, tail: Vec::from(tail).join("\n") })
    }
}

fn how(status: std::process::ExitStatus) -> How {
    use std::os::unix::process::ExitStatusExt;
    status.code().map_or_else(|| How::Signal(status.signal().unwrap_or_default()), How::Code)
}

/// A line of what a command prints.
struct Said {
    text: String,
    /// Whether it was begun before what else was said, and never came to an end: `Applying 0002_price...`.
    was_cut: bool,
}

/// Adds a line to the end of what was said, or before it.
fn keep(said: Said, tail: &mut VecDeque<String>) {
    if tail.len() == LINES {
        tail.pop_front();
    }
    if said.was_cut {
        tail.push_front(said.text);
    } else {
        tail.push_back(said.text);
    }
}

/// Passes lines on; `may_be_cut`: one without an end was cut by whatever the command complains of elsewhere.
async fn pass(from: Option<impl AsyncRead + Unpin>, to: tokio::sync::mpsc::Sender<Said>, may_be_cut: bool) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        if !matches!(from.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
        let was_cut = may_be_cut && !line.ends_with(b"\n");
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if to.send(Said { text, was_cut }).await.is_err() {
            return;
        }
    }
}

/// The command and all that it started; what is left of it ends with this.
struct Group(Option<u32>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }

    /// Asks it to end, and makes it.
    async fn end(&self, child: &mut Child) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(GOODBYE, child.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
            let _ = child.wait().await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_that_of_the_failure() {
        let tail = |script: &str| {
            let words = ["sh", "-c", script].map(str::to_owned);
            let path = std::env::var("PATH").unwrap();
            let job = Job::new(&words, Some(&path), std::env::temp_dir(), Vec::new()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(job.run(&[], Duration::from_secs(60), |_| {})).unwrap().tail
        };
        // As Django does it, whichever of the two is read first.
        assert_eq!(tail("printf 'Applying a...'; echo 'no such page' >&2"), "Applying a...\nno such page");
        assert_eq!(tail("printf 'no such page'"), "no such page");
    }
}
