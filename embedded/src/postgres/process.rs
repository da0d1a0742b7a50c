//! The process of a PostgreSQL, as its data directory tells of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, ErrorKind, Result};

/// How a PostgreSQL is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, everything is written.
    Fast,
    /// At once; for data that are deleted next.
    Immediate,
}

/// The postmaster of a data directory and whether it takes connections, from its `postmaster.pid` (line 1 the process
/// id, line 8 the state). A file left behind by a process that is gone is seen through.
pub(crate) fn postmaster(data: &Path) -> Option<(Pid, bool)> {
    let (pid, ready) = written(data)?;
    is_postmaster_of(pid, data).then_some((pid, ready))
}

/// Whether the postmaster of a data directory lives and takes connections.
pub(crate) fn is_ready(data: &Path) -> bool {
    written(data).is_some_and(|(pid, ready)| ready && is_postmaster_of(pid, data))
}

fn written(data: &Path) -> Option<(Pid, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?);
    Some((pid, lines.nth(6).is_some_and(|state| state.trim() == "ready")))
}

/// Whether the process is the postmaster of `data` and not another one that got the same number.
fn is_postmaster_of(pid: Pid, data: &Path) -> bool {
    if cfg!(target_os = "linux") {
        // A postmaster works in its data directory.
        let folder = fs::read_link(format!("/proc/{pid}/cwd"));
        matches!((folder, data.canonicalize()), (Ok(folder), Ok(data)) if folder == data)
    } else {
        kill(pid, None).is_ok() && is_command_on(pid, data)
    }
}

/// Whether the command line of a process names the folder, as that of our postmasters does (`postgres -D FOLDER …`).
fn is_command_on(pid: Pid, folder: &Path) -> bool {
    let told = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains(&*folder.to_string_lossy()))
}

/// Signals a postmaster to stop.
pub(crate) fn signal_stop(pid: Pid, how: Stop) -> Result<()> {
    let signal = match how {
        Stop::Fast => Signal::SIGINT,
        Stop::Immediate => Signal::SIGQUIT,
    };
    match kill(pid, signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(error) => Err(Error::new(ErrorKind::Postgres, "can't signal PostgreSQL").because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_with_the_same_number_is_no_postmaster() {
        // given the file of a postmaster that is gone, whose number this test's process has now
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{}\n\n0\n5432\n\n\n\nready\n", std::process::id());
        fs::write(folder.path().join("postmaster.pid"), text).unwrap();
        // then there is none
        assert!(postmaster(folder.path()).is_none());
        assert!(!is_ready(folder.path()));
    }

    #[test]
    fn where_there_is_no_proc_the_command_line_tells() {
        // given a process whose arguments name a folder
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "read line", "-D"])
            .arg(folder.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        // then it is told from one whose arguments do not
        assert!(is_command_on(pid, folder.path()));
        assert!(!is_command_on(Pid::this(), folder.path()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_command_on(pid, folder.path()));
    }
}
