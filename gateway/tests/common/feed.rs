//! The host's side of a feed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A feed, with the test as its host.
pub struct Feed {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Feed {
    /// Of a `feed` that was started; hears its greeting.
    pub fn of(mut child: Child) -> Self {
        let lines = lines(child.stdout.take().unwrap());
        let hello = lines.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(
            hello,
            format!("{{\"hello\":{{\"branch\":\"dev-ada\",\"version\":\"{}\"}}}}", env!("CARGO_PKG_VERSION"))
        );
        Self { input: child.stdin.take(), child, lines }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends bytes without an end of line; the gateway may hang up in their midst.
    pub fn flood(&mut self, count: usize) {
        let _ = self.input.as_mut().unwrap().write_all(&vec![b'x'; count]);
    }

    pub fn token(&mut self, token: &str, seconds: i64) {
        let expires =
            jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        self.say(&format!("{{\"token\":\"{token}\",\"expires\":\"{expires}\"}}"));
    }

    /// The gateway's next line, waited for.
    pub fn hear(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// Waits until a token is wanted.
    pub fn wanted(&self) {
        assert_eq!(self.hear(), "{\"want\":\"token\"}");
    }

    /// Whether nothing more was said.
    pub fn silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// Waits until the gateway ended it.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends as a host that hangs up; waits for the process.
    pub fn end(&mut self) -> std::process::ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
pub fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
