//! `embedded stop`: the end of the server and of every PostgreSQL of it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{POLL, say};
use crate::error::{Error, ErrorKind, Result, embedded_command};
use crate::home::{Home, HomeLock};
use crate::postgres::{FAST_PATIENCE, IMMEDIATE_PATIENCE, Stop, postmaster, signal_stop};

/// How long a server may take to stop: its PostgreSQLs get a minute before their sessions are cut.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// Stops the server, if one runs.
pub(super) fn run(home: &Home, err: &mut dyn Write) -> Result<()> {
    let was = bring_down(home)?.is_some_and(|down| down.ran);
    say(err, if was { "the embedded Lakebase is stopped" } else { "the embedded Lakebase was not running" })
}

/// A home on which nothing runs, and nothing starts while this lives.
pub(super) struct Down {
    /// Whether anything ran before.
    pub(super) ran: bool,
    /// Keeps others from starting.
    pub(super) lock: HomeLock,
}

/// Stops server and PostgreSQLs. None where there is no home.
pub(super) fn bring_down(home: &Home) -> Result<Option<Down>> {
    if !home.exists() {
        return Ok(None);
    }
    let deadline = Instant::now() + STOP_PATIENCE;
    let mut ran = false;
    let lock = loop {
        if let Some(running) = home.running() {
            ran = true;
            let pid = i32::try_from(running.pid).unwrap_or(0);
            // The lock is held, so the process that wrote the file lives: this is no other one's number.
            if pid > 1 && matches!(kill(Pid::from_raw(pid), Signal::SIGTERM), Err(nix::Error::EPERM)) {
                return Err(Error::new(ErrorKind::Guarded, "the server belongs to another user"));
            }
        }
        // Also waits for a server that is only just starting and has not said yet where it runs.
        if let Some(lock) = home.lock(Duration::from_millis(500))? {
            break lock;
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Io,
                format!("the server did not stop within {} s", STOP_PATIENCE.as_secs()),
            )
            .hint(format!("see {}", embedded_command("logs"))));
        }
    };
    ran |= end_postgres(home)?;
    let _ = fs::remove_file(home.running_file());
    Ok(Some(Down { ran, lock }))
}

/// Ends the PostgreSQLs that a killed server left running; says whether there were any.
fn end_postgres(home: &Home) -> Result<bool> {
    let data: Vec<PathBuf> = home.branch_folders().iter().map(|folder| folder.join("data")).collect();
    let mut ran = false;
    for (how, patience) in [(Stop::Fast, FAST_PATIENCE), (Stop::Immediate, IMMEDIATE_PATIENCE)] {
        let left: Vec<_> = data.iter().filter_map(|data| Some((data, postmaster(data)?.0))).collect();
        for (_, pid) in &left {
            ran = true;
            signal_stop(*pid, how)?;
        }
        let deadline = Instant::now() + patience;
        while left.iter().any(|(data, pid)| postmaster(data).is_some_and(|(now, _)| now == *pid)) {
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(POLL);
        }
    }
    match data.iter().find_map(|data| postmaster(data)) {
        None => Ok(ran),
        Some((pid, _)) => {
            Err(Error::new(ErrorKind::Postgres, format!("PostgreSQL, process {pid}, does not end")))
        }
    }
}
