//! The server's log: one line an event, with its time. Nothing that is written holds a token or a password.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{IoContext, Result};
use crate::home::Home;

/// Size in bytes from which the log is begun anew at a start; the one before is kept as `server.log.1`.
const ROTATED_FROM: u64 = 4 << 20;

/// The log; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log {
    file: Arc<Mutex<File>>,
}

impl Log {
    /// Opens the log of a home for appending.
    pub fn open(home: &Home) -> Result<Self> {
        let path = home.log_file();
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > ROTATED_FROM) {
            let _ = std::fs::rename(&path, path.with_extension("log.1"));
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .doing(|| format!("can't write `{}`", path.display()))?;
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// Writes one line. Control characters, which a client can bring into a path, are made visible.
    pub fn line(&self, text: &str) {
        let now = jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default();
        let text: String = text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the server; there is nowhere left to say so.
        let _ = file.write_all(format!("{now} {text}\n").as_bytes());
    }
}
