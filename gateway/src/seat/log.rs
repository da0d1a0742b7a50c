//! Lines for whoever reads the container's log.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of one class that are written in one [`WINDOW`]; a client that tries in a loop must not fill a disk.
const LINES: u32 = 5;
/// The time that they are counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// Writes lines to a sink, standard error as a rule. Secrets never get here: no error and no outcome of this crate holds one.
pub struct Log {
    sink: Mutex<Box<dyn Write + Send>>,
    classes: Mutex<HashMap<&'static str, Class>>,
}

struct Class {
    since: Instant,
    lines: u32,
}

impl Log {
    /// A log on `sink`.
    pub fn new(sink: impl Write + Send + 'static) -> Self {
        Self { sink: Mutex::new(Box::new(sink)), classes: Mutex::default() }
    }

    /// Writes a line. Control characters in it are escaped: parts of it come from strangers.
    pub fn line(&self, text: &str) {
        let mut line = String::with_capacity(text.len() + 1);
        for character in text.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        // A log that nobody takes is no reason to stop.
        let _ = self.sink.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }

    /// Writes a line about a failure, at most a few of one `class` a minute. How many were left out is said with the next one.
    pub fn failure(&self, class: &'static str, text: &str) {
        let missed = {
            let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let class = classes.entry(class).or_insert(Class { since: now, lines: 0 });
            let missed = class.lines.saturating_sub(LINES);
            let over = now.duration_since(class.since) >= WINDOW;
            if over {
                *class = Class { since: now, lines: 0 };
            }
            class.lines = class.lines.saturating_add(1);
            if class.lines > LINES {
                return;
            }
            if over { missed } else { 0 }
        };
        if missed > 0 {
            self.line(&format!("{text} (and {missed} more of this kind before)"));
        } else {
            self.line(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_of_failures_is_cut_and_counted() {
        let memory = Memory::default();
        let log = Log::new(memory.clone());
        for _ in 0..100 {
            log.failure("login", "refused");
        }
        log.failure("upstream", "away");
        tokio::time::advance(WINDOW).await;
        log.failure("login", "refused");
        let written = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "refused\n".repeat(5) + "away\nrefused (and 95 more of this kind before)\n");
    }

    #[test]
    fn a_strangers_line_end_is_escaped() {
        let memory = Memory::default();
        Log::new(memory.clone()).line("user \"a\nstarted\"");
        assert_eq!(memory.0.lock().unwrap().as_slice(), b"user \"a\\nstarted\"\n");
    }
}
