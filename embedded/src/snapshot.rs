//! A copy of a running PostgreSQL's data directory: PostgreSQL's own online backup, with the copy
//! made by reflink where the file system shares blocks between files, and by bytes where it does not.
//!
//! The backup's rules (PostgreSQL manual, "Making a Base Backup Using the Low Level API"): start and stop in one
//! session; files may change or vanish while they are copied; the write-ahead log from start to stop makes
//! the copy whole; `backup_label` goes into the copy and nowhere else.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::postgres::{Account, Control, private_folder};

/// Folders whose content PostgreSQL makes anew when it starts, or that must not travel (as `pg_basebackup` does).
const EMPTIED: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
];
/// Files at the top that belong to the running process or to another backup.
const SKIPPED: [&str; 8] = [
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "current_logfiles",
    "postgresql.auto.conf.tmp",
];
/// Read last: it must not be older than what was copied before it.
const CONTROL_FILE: &str = "global/pg_control";

/// Where a copy stands in its parent's history.
#[derive(Debug, Clone)]
pub struct Position {
    /// The position in the write-ahead log up to which every change is in the copy.
    pub lsn: String,
    /// How long PostgreSQL took to begin the backup (it writes what is only in memory), the copy, and the end of the backup.
    pub took: [Duration; 3],
}

/// Copies the data directory `from`, which the PostgreSQL behind `control` (version `major`) runs on, to the new folder `to`.
/// `slot` names the temporary replication slot that keeps the write-ahead log until the copy is whole.
/// Ends early, with an error, once `cancelled` is set.
pub async fn take(
    control: &Control,
    major: u32,
    slot: &str,
    from: &Path,
    to: &Path,
    account: Option<Account>,
    cancelled: &Arc<AtomicBool>,
) -> Result<Position> {
    let failed = |error: tokio_postgres::Error| {
        Error::new(ErrorKind::Postgres, "the online backup of the parent failed").because(error)
    };
    let client = &control.client;
    let begun = Instant::now();
    // Temporary: it goes with this session, whatever happens. Reserved at once: from here on no segment disappears.
    client
        .query_one("SELECT pg_create_physical_replication_slot($1, true, true)", &[&slot])
        .await
        .map_err(failed)?;
    let start = if major >= 15 {
        "SELECT pg_walfile_name(pg_backup_start('lakebase branch', true))"
    } else {
        "SELECT pg_walfile_name(pg_start_backup('lakebase branch', true, false))"
    };
    let first: String = client.query_one(start, &[]).await.map_err(failed)?.get(0);
    let started = begun.elapsed();

    let (source, target, flag) = (from.to_owned(), to.to_owned(), Arc::clone(cancelled));
    blocking(move || Copier::new(account, flag).data_directory(&source, &target)).await?;
    let copied = begun.elapsed();

    let stop = if major >= 15 {
        "SELECT lsn::text, pg_walfile_name(lsn), labelfile, spcmapfile FROM pg_backup_stop(false)"
    } else {
        "SELECT lsn::text, pg_walfile_name(lsn), labelfile, spcmapfile FROM pg_stop_backup(false, false)"
    };
    let row = client.query_one(stop, &[]).await.map_err(failed)?;
    let (lsn, last): (String, String) = (row.get(0), row.get(1));
    let (label, tablespaces): (String, Option<String>) = (row.get(2), row.get(3));

    let (source, target, flag) = (from.to_owned(), to.to_owned(), Arc::clone(cancelled));
    blocking(move || {
        let copier = Copier::new(account, flag);
        copier.segments(&source.join("pg_wal"), &target.join("pg_wal"), &first, &last)?;
        copier.write(&target.join("backup_label"), &label)?;
        if let Some(map) = tablespaces.filter(|map| !map.trim().is_empty()) {
            copier.write(&target.join("tablespace_map"), &map)?;
        }
        Ok(())
    })
    .await?;
    client.query("SELECT pg_drop_replication_slot($1)", &[&slot]).await.map_err(failed)?;
    Ok(Position { lsn, took: [started, copied - started, begun.elapsed() - copied] })
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(broken_off()),
    }
}

/// Threads that copy at once, at most. Small files are what a data directory mostly holds, and each costs the file system's
/// own time more than the disk's.
const THREADS: usize = 8;

struct Copier {
    account: Option<Account>,
    cancelled: Arc<AtomicBool>,
    /// Cleared when the file system turns out not to share blocks, so that it is asked once.
    reflink: AtomicBool,
}

impl Copier {
    fn new(account: Option<Account>, cancelled: Arc<AtomicBool>) -> Self {
        Self { account, cancelled, reflink: AtomicBool::new(true) }
    }

    fn data_directory(&self, from: &Path, to: &Path) -> Result<()> {
        private_folder(to, self.account)?;
        let mut files = Vec::new();
        self.folder(from, to, Path::new(""), &mut files)?;
        self.files(&files)?;
        self.file(&from.join(CONTROL_FILE), &to.join(CONTROL_FILE))?;
        private_folder(&to.join("pg_wal/archive_status"), self.account)
    }

    /// Makes the folders below `to` and notes the files that go into them.
    fn folder(
        &self,
        from: &Path,
        to: &Path,
        below: &Path,
        files: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<()> {
        let entries = match fs::read_dir(from) {
            Err(error) if error.kind() == IoKind::NotFound => return Ok(()),
            other => other.doing(|| format!("can't read `{}`", from.display()))?,
        };
        for entry in entries {
            let entry = entry.doing(|| format!("can't read `{}`", from.display()))?;
            let kind = match entry.file_type() {
                Err(error) if error.kind() == IoKind::NotFound => continue,
                other => other.doing(|| format!("can't look at `{}`", entry.path().display()))?,
            };
            let name = entry.file_name();
            let path = below.join(&name);
            if skipped(&path) {
                continue;
            }
            let target = to.join(&name);
            if kind.is_dir() {
                private_folder(&target, self.account)?;
                if !EMPTIED.iter().any(|emptied| path.as_os_str() == *emptied) {
                    self.folder(&entry.path(), &target, &path, files)?;
                }
            } else if kind.is_file() {
                files.push((entry.path(), target));
            }
            // Links are tablespaces or a moved write-ahead log; neither exists here, and following one would leave the home.
        }
        Ok(())
    }

    /// Copies files, several at a time; the first failure ends it.
    fn files(&self, files: &[(PathBuf, PathBuf)]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some((from, to)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.file(from, to).inspect_err(|_| next.store(files.len(), Ordering::Relaxed))?;
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => Err(broken_off()),
            })
        })
    }

    fn file(&self, from: &Path, to: &Path) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Refused, "the branch was deleted while it was being made"));
        }
        let share = self.reflink.load(Ordering::Relaxed);
        let copied =
            if share { reflink_copy::reflink_or_copy(from, to) } else { fs::copy(from, to).map(Some) };
        match copied {
            Ok(None) => {}
            Ok(Some(_)) => self.reflink.store(false, Ordering::Relaxed),
            // Dropped by the running PostgreSQL since the folder was read: the log says so, too.
            Err(error) if error.kind() == IoKind::NotFound && !from.exists() => return Ok(()),
            Err(error) => return Err(error).doing(|| format!("can't copy `{}`", from.display())),
        }
        Account::own(self.account, to).doing(|| format!("can't hand over `{}`", to.display()))
    }

    /// Copies the segments `first` to `last` of the write-ahead log, whose names sort as their content.
    fn segments(&self, from: &Path, to: &Path, first: &str, last: &str) -> Result<()> {
        let entries = fs::read_dir(from).doing(|| format!("can't read `{}`", from.display()))?;
        let mut files = Vec::new();
        let mut found = false;
        for entry in entries {
            let path = entry.doing(|| format!("can't read `{}`", from.display()))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if is_segment(name) && (first..=last).contains(&name) {
                found |= name == last;
                files.push((path.clone(), to.join(name)));
            }
        }
        if !found {
            let message = format!("segment {last} of the parent's write-ahead log is missing");
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        self.files(&files)
    }

    fn write(&self, path: &PathBuf, text: &str) -> Result<()> {
        fs::write(path, text)
            .and_then(|()| Account::own(self.account, path))
            .doing(|| format!("can't write `{}`", path.display()))
    }
}

fn broken_off() -> Error {
    Error::new(ErrorKind::Io, "copying the parent's data was broken off")
}

fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
}

/// Whether the file or folder at this path below the data directory stays behind.
fn skipped(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.as_os_str() == CONTROL_FILE
        || SKIPPED.iter().any(|skipped| path.as_os_str() == *skipped)
        || name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_running_process_stays_behind() {
        for path in [
            "postmaster.pid",
            "backup_label",
            "base/5/pg_internal.init",
            "base/pgsql_tmp",
            "base/pgsql_tmp/pgsql_tmp7.0",
        ] {
            assert!(skipped(Path::new(path)), "{path}");
        }
        for path in [
            "PG_VERSION",
            "base/5/1259",
            "global/pg_filenode.map",
            "postgresql.auto.conf",
            "base/5/postmaster.pid",
        ] {
            assert!(!skipped(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn segments_are_told_from_other_files() {
        assert!(is_segment("00000001000000000000000A"));
        for name in [
            "archive_status",
            "00000001.history",
            "00000001000000000000000A.00000028.backup",
            "00000001000000000000000g",
        ] {
            assert!(!is_segment(name), "{name}");
        }
    }
}
