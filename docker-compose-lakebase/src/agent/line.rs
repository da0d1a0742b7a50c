//! A connection to a gateway, through the engine. What is at its other end is a container, which nobody vouches for.

use std::process::Stdio;
use std::time::Duration;

use lakebase::compose::overlay::seat;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{Docker, Project};

/// A gateway that has been silent for this long is asked whether it is there, and has as long to answer.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest line that is read, in bytes, as the gateway does; what a gateway has to say is far shorter.
const LONGEST: usize = 64 * 1024;

/// What a gateway says; see the gateway's `seat::lines`.
#[derive(Default, Deserialize)]
pub struct Said {
    want: Option<String>,
}

impl Said {
    /// Whether it wants a login.
    pub fn wants_login(&self) -> bool {
        self.want.as_deref() == Some("token")
    }
}

/// A connection to a gateway.
pub struct Line {
    to: ChildStdin,
    from: Words<BufReader<ChildStdout>>,
    /// Ends with it.
    _docker: Child,
}

impl Line {
    /// Joins the gateway in this container; `None` where Docker can't be started.
    pub fn open(project: &Project, container: &str) -> Option<Self> {
        let mut command = command(&project.docker, &["exec", "-i", container, seat::PROGRAM, "feed"]);
        let mut docker = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let (to, from) = (docker.stdin.take()?, docker.stdout.take()?);
        Some(Self { to, from: Words::of(BufReader::new(from)), _docker: docker })
    }

    /// The gateway's next line; `None` at the end. May be given up half-way.
    pub async fn next(&mut self) -> Option<Said> {
        let line = self.from.next().await?;
        Some(serde_json::from_slice(&line).unwrap_or_default())
    }

    /// The same; a silent gateway is asked whether it is there, and one that does not answer is gone. A connection
    /// through a laptop's sleep may be dead and not know it.
    pub async fn hear(&mut self) -> Option<Said> {
        if let Ok(said) = timeout(SILENCE, self.next()).await {
            return said;
        }
        if !self.say(&json!({"ping": true})).await {
            return None;
        }
        timeout(SILENCE, self.next()).await.ok()?
    }

    /// Says one line; whether it could be said.
    pub async fn say(&mut self, value: &Value) -> bool {
        let line = format!("{value}\n");
        let saying = async { self.to.write_all(line.as_bytes()).await.and(self.to.flush().await) };
        matches!(timeout(SILENCE, saying).await, Ok(Ok(())))
    }

    /// Whether it ended because a line had no end: no gateway of ours says such a thing.
    pub fn is_endless(&self) -> bool {
        self.from.line.len() >= LONGEST
    }
}

/// The lines of a stream, none of which is kept beyond the limit.
struct Words<R> {
    from: R,
    /// What was read of the next one.
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Words<R> {
    fn of(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next line; `None` at the end of the stream, and for good once a line was too long. May be given up half-way.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let room = LONGEST.saturating_sub(self.line.len());
        // What was read stays in `line` where this is given up, and the next call goes on behind it.
        (&mut self.from).take(room as u64).read_until(b'\n', &mut self.line).await.ok()?;
        if self.line.last() == Some(&b'\n') {
            return Some(std::mem::take(&mut self.line));
        }
        None
    }
}

/// A command of Docker for this engine.
pub fn command(docker: &Docker, arguments: &[&str]) -> Command {
    let mut command = Command::new(&docker.program);
    command.args(&docker.flags).args(arguments);
    if docker.folder.is_dir() {
        command.current_dir(&docker.folder);
    }
    // Those of the `up` that started the agent may be of another engine.
    for name in Docker::VARIABLES {
        command.env_remove(name);
    }
    command.envs(docker.variables.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_an_end_takes_no_more_memory_than_the_limit_and_ends_the_words() {
        // Given a short line, then one that never ends.
        let endless = BufReader::new(tokio::io::repeat(b'x'));
        let mut words = Words::of(b"{\"want\":\"token\"}\n".as_slice().chain(endless));
        // Then the first is heard, and of the other no more is kept than the limit, however often it is asked for.
        assert_eq!(words.next().await.unwrap(), b"{\"want\":\"token\"}\n");
        for _ in 0..3 {
            assert!(words.next().await.is_none());
            assert!(words.line.len() == LONGEST && words.line.capacity() <= LONGEST * 2);
        }
    }

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_is_whole_although_it_was_given_up_in_between() {
        let (mut to, from) = tokio::io::duplex(64);
        let mut words = Words::of(BufReader::new(from));
        to.write_all(b"{\"want\":").await.unwrap();
        assert!(timeout(Duration::from_millis(20), words.next()).await.is_err());
        to.write_all(b"\"token\"}\nrest").await.unwrap();
        assert_eq!(words.next().await.unwrap(), b"{\"want\":\"token\"}\n");
        drop(to);
        assert!(words.next().await.is_none(), "a piece at the end is no line");
    }
}
