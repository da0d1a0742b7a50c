//! What this machine knows of the forks that it has handed out: a small file for each, beside the record of branches.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::env_file;
use crate::env_vars::Env;
use crate::error::{Error, Result};
use crate::freshness::Known;
use crate::record::Record;

/// No branch lives longer than 30 days.
const FORGET: Duration = Duration::from_secs(40 * 86_400);

/// A fork, as this machine knows it. It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fork {
    /// Its resource name, for who reads the file.
    pub branch: String,
    /// Whether somebody here got a login to it while it was not masked.
    pub seen_unmasked: bool,
    /// Its migrations.
    pub known: Known,
}

/// The files.
#[derive(Debug, Clone)]
pub struct Forks {
    folder: PathBuf,
}

/// Which fork: a branch that was made anew is another one.
#[derive(Debug, Clone)]
pub struct ForkId(String);

impl ForkId {
    /// By the `uid`s of project and branch.
    pub fn new(project_uid: &str, branch_uid: &str) -> Self {
        let mut sum = Sha256::new();
        for part in [project_uid, branch_uid] {
            sum.update(part.len().to_be_bytes());
            sum.update(part);
        }
        Self(sum.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Forks {
    /// Beside the record of branches; `None` without a home folder.
    pub fn of(env: &Env) -> Option<Self> {
        Some(Self { folder: Record::of(env)?.folder().join("forks") })
    }

    /// What is known of a fork; nothing, where the file can't be understood.
    pub fn read(&self, fork: &ForkId) -> Fork {
        let text = std::fs::read_to_string(self.path(fork)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Changes what is known of a fork, one terminal after the other. The file is written only if that changes it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`]
    pub fn change(&self, fork: &ForkId, change: impl FnOnce(&mut Fork)) -> Result<()> {
        let failed =
            |error: &std::io::Error| Error::io(format!("writing below `{}`", self.folder.display()), error);
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let lock: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.folder.join("lock"))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| failed(&error))?;
        let before = self.read(fork);
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let path = self.path(fork);
        if !path.exists() {
            self.forget_the_old();
        }
        let written =
            env_file::replace(&path, &serde_json::to_string_pretty(&after).unwrap_or_default(), 0o600);
        drop(lock);
        written
    }

    fn path(&self, fork: &ForkId) -> PathBuf {
        self.folder.join(format!("{}.json", fork.0))
    }

    /// Removes what is known of forks that can't exist any more.
    fn forget_the_old(&self) {
        let is_old = |path: &Path| {
            let changed = path.metadata().and_then(|about| about.modified());
            changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > FORGET))
        };
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|end| end == "json") && is_old(&path) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forks() -> (tempfile::TempDir, Forks) {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let forks = Forks::of(&env).unwrap();
        (home, forks)
    }

    #[test]
    fn each_fork_has_its_own_and_a_new_one_of_the_same_name_has_nothing() {
        let (_home, forks) = forks();
        let (one, other) = (ForkId::new("p", "br-1"), ForkId::new("p", "br-2"));
        forks.change(&one, |fork| fork.seen_unmasked = true).unwrap();
        assert!(forks.read(&one).seen_unmasked);
        assert_eq!(forks.read(&other), Fork::default());
        assert_eq!(forks.read(&ForkId::new("pb", "r-1")), Fork::default());
    }

    #[test]
    fn two_terminals_lose_nothing_of_each_other() {
        let (_home, forks) = forks();
        let id = ForkId::new("p", "br-1");
        std::thread::scope(|scope| {
            for terminal in 0..8 {
                let (forks, id) = (&forks, &id);
                scope.spawn(move || {
                    let note = |fork: &mut Fork| {
                        fork.known.kept.insert(terminal.to_string());
                    };
                    forks.change(id, note).unwrap();
                });
            }
        });
        assert_eq!(forks.read(&id).known.kept.len(), 8);
    }

    #[test]
    fn what_is_not_understood_counts_as_nothing_and_what_is_old_goes() {
        let (_home, forks) = forks();
        let (one, other) = (ForkId::new("p", "br-1"), ForkId::new("p", "br-2"));
        forks.change(&one, |fork| fork.branch = "b".into()).unwrap();
        std::fs::write(forks.path(&one), "{\"branch\": 7").unwrap();
        assert_eq!(forks.read(&one), Fork::default());
        let long_ago = SystemTime::now() - FORGET - Duration::from_secs(60);
        let file = OpenOptions::new().write(true).open(forks.path(&one)).unwrap();
        file.set_modified(long_ago).unwrap();
        forks.change(&other, |fork| fork.branch = "b".into()).unwrap();
        assert!(!forks.path(&one).exists() && forks.path(&other).exists());
    }
}
