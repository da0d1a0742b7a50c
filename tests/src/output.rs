//! What a command did.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No command of a test takes this long; the first build of an image may take a good part of it.
const LONGEST: Duration = Duration::from_secs(600);

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    /// How it was written.
    pub line: String,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ran {
    /// Runs the command to its end, without standard input.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        Self::within(LONGEST, command)
    }

    /// The same for a command that must have ended by then. One that hangs is killed, and fails the test.
    #[track_caller]
    pub fn within(limit: Duration, command: &mut Command) -> Self {
        // Not the variables: one of them may be a token.
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let until = Instant::now() + limit;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let rest = |until: Instant| until.saturating_duration_since(Instant::now());
        let said = (stdout.recv_timeout(rest(until)), stderr.recv_timeout(rest(until)));
        let (Ok(out), Ok(err)) = said else {
            let _ = child.kill();
            // What it said so far, where nobody else holds its pipes.
            let late = |pipe: Receiver<String>| pipe.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            panic!("`{line}` hung for {limit:?}; it said {:?} {:?}", late(stdout), late(stderr));
        };
        let code = child.wait().unwrap_or_else(|error| panic!("{line}: {error}")).code();
        Self { line, code, stdout: out, stderr: err }
    }

    /// The same, which must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The same, which must have ended with this code, and said each of these on stderr.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for words in says {
            assert!(self.stderr.contains(words), "stderr lacks {words:?}: {self:#?}");
        }
        self
    }

    /// Everything that it wrote.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Reads a pipe to its end, which is when everybody who writes to it has gone.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}
