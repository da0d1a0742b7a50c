//! The server's log: one line an event, with its time. Nothing that is written holds a token or a password.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{IoContext, Result};
use crate::home::Home;

/// Size in bytes from which the log is begun anew; the one before is kept as `server.log.1`.
const ROTATED_FROM: u64 = 4 << 20;

/// The log; clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl Log {
    /// Opens the log of a home for appending.
    pub fn open(home: &Home) -> Result<Self> {
        let path = home.log_file();
        let open = open(&path).doing(|| format!("can't write `{}`", path.display()))?;
        Ok(Self { path, open: Arc::new(Mutex::new(open)) })
    }

    /// Writes one line. Control characters, which a client can bring into a path, are made visible.
    pub fn line(&self, text: &str) {
        let now = jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default();
        let text: String = text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect();
        let line = format!("{now} {text}\n");
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.size > ROTATED_FROM
            && std::fs::rename(&self.path, self.path.with_extension("log.1")).is_ok()
            && let Ok(new) = self::open(&self.path)
        {
            *open = new;
        }
        // A full disk must not stop the server; there is nowhere left to say so.
        if open.file.write_all(line.as_bytes()).is_ok() {
            open.size += line.len() as u64;
        }
    }
}

fn open(path: &Path) -> std::io::Result<Open> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env_vars;

    #[test]
    fn a_log_never_grows_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let home = Home::locate(&move |name: &str| (name == env_vars::HOME).then(|| path.clone())).unwrap();
        let log = Log::open(&home).unwrap();
        // given what a client that logs in wrongly all day would write
        let long = "x".repeat(1 << 20);
        for _ in 0..12 {
            log.line(&long);
        }
        log.line("the last");
        // then two files of some megabytes are all there is, and the newest line is in the first
        let text = std::fs::read_to_string(home.log_file()).unwrap();
        assert!(text.ends_with(" the last\n") && text.len() < 6 << 20, "{}", text.len());
        let before = std::fs::metadata(home.log_file().with_extension("log.1")).unwrap();
        assert!(before.len() < 6 << 20);
    }
}
