//! What a PostgreSQL writes about itself.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

/// Size in bytes from which a log is begun anew; what it held is kept as `postgres.log.1`.
const LONGEST: u64 = 4 << 20;

/// The log of the PostgreSQL whose branch lies in `folder`.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("postgres.log")
}

/// Opens the log for a PostgreSQL that is about to start.
pub(super) fn open(folder: &Path) -> Result<File> {
    let path = file(folder);
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .doing(|| format!("can't write `{}`", path.display()))
}

/// Begins a log anew that has grown too long. PostgreSQL keeps its file open, so the content moves and the file stays;
/// a line that is written between the two is lost.
pub(crate) fn bound(folder: &Path) -> std::io::Result<()> {
    let path = file(folder);
    if fs::metadata(&path)?.len() > LONGEST {
        fs::copy(&path, path.with_extension("log.1"))?;
        OpenOptions::new().write(true).open(&path)?.set_len(0)?;
    }
    Ok(())
}

/// PostgreSQL's own reason for ending: the last line that is fatal, else the last.
pub(super) fn last_words(folder: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(file(folder))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let tail = read().unwrap_or_default();
    let fatal = tail.lines().rev().find(|line| line.contains("FATAL")).map(str::to_owned);
    fatal.unwrap_or_else(|| last_line(&tail))
}

/// The last line that says something.
pub(super) fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_is_begun_anew_under_its_writer() {
        // given a log that its writer keeps open
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path()).unwrap();
        writer.write_all(b"short\n").unwrap();
        bound(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(file(folder.path())).unwrap(), "short\n");
        // when it has grown too long
        writer.write_all(&vec![b'x'; 5 << 20]).unwrap();
        bound(folder.path()).unwrap();
        // then what follows begins it anew, and what was there is kept once
        writer.write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(file(folder.path())).unwrap(), "new\n");
        assert!(fs::metadata(folder.path().join("postgres.log.1")).unwrap().len() > 5 << 20);
    }
}
