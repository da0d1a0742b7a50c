//! The branches that this machine made for its user: one small file, so that a full project can be tidied without
//! touching what is somebody else's.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::branch::BranchId;
use crate::env_file;
use crate::env_vars::{self, Env};
use crate::error::{Error, Result};
use crate::identity::GitIdentity;

/// A branch that was made, or was about to be. It holds no id: [`BranchId`] is made of the identity anew, so that a
/// file that somebody changed can't name a branch that is not a developer's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The project's `uid`: its id may be given to another project.
    pub project_uid: String,
    /// Who the branch is for.
    pub identity: GitIdentity,
    /// The repository's common folder, in which the git branch is.
    pub repository: PathBuf,
    /// When it was last used from here.
    pub used: Timestamp,
}

impl Entry {
    /// The branch's id.
    pub fn id(&self) -> BranchId {
        BranchId::of(&self.identity)
    }

    fn is(&self, project_uid: &str, id: &BranchId) -> bool {
        self.project_uid == project_uid && self.id() == *id
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// `$XDG_STATE_HOME/lakebase/branches.json`, else below `~/.local/state`; `None` without a home folder.
    pub fn of(env: &Env) -> Option<Self> {
        // A relative one counts for nothing (XDG Base Directory Specification).
        let state = env.get(env_vars::XDG_STATE_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = state.or_else(|| Some(Path::new(env.get(env_vars::HOME)?).join(".local/state")))?;
        Some(Self { path: state.join("lakebase/branches.json") })
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What was recorded for a project, by its `uid`. What another version wrote and this one does not understand is left
    /// out.
    pub fn of_project(&self, uid: &str) -> Vec<Entry> {
        let mut all = self.read();
        all.retain(|entry| entry.project_uid == uid);
        all
    }

    /// Notes that a branch is made or used, in the place of what was noted of it before. It is written before the branch
    /// is made: whatever ends the command then, the next one knows of it.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`]
    pub fn note(&self, entry: Entry) -> Result<()> {
        const RECENT: SignedDuration = SignedDuration::from_mins(10);
        let id = entry.id();
        // Commands in a row do not write.
        let is_near = |other: &Entry| {
            other.is(&entry.project_uid, &id)
                && other.repository == entry.repository
                && entry.used.duration_since(other.used).abs() < RECENT
        };
        if self.read().iter().any(is_near) {
            return Ok(());
        }
        self.change(|all| {
            all.retain(|other| !other.is(&entry.project_uid, &id));
            all.push(entry);
        })
    }

    /// Forgets a branch that is gone.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`]
    pub fn forget(&self, project_uid: &str, id: &BranchId) -> Result<()> {
        if !self.read().iter().any(|entry| entry.is(project_uid, id)) {
            return Ok(());
        }
        self.change(|all| all.retain(|entry| !entry.is(project_uid, id)))
    }

    fn read(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        all.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
    }

    /// One change at a time, whoever makes it: two terminals must not lose each other's branches.
    fn change(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<()> {
        let failed = |error: &std::io::Error| Error::io(format!("writing `{}`", self.path.display()), error);
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        let lock = folder.join("branches.lock");
        let lock: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| failed(&error))?;
        let mut all = self.read();
        change(&mut all);
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        let written = env_file::replace(&self.path, &text, 0o600);
        drop(lock);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(project: &str, branch: &str) -> Entry {
        Entry {
            project_uid: project.into(),
            identity: GitIdentity { user: "Ada".into(), email: "a@x".into(), branch: branch.into() },
            repository: "/shop/.git".into(),
            used: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn record() -> (tempfile::TempDir, Record) {
        let home = tempfile::tempdir().unwrap();
        let env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        let record = Record::of(&env).unwrap();
        (home, record)
    }

    #[test]
    fn what_is_noted_is_found_until_it_is_forgotten() {
        let (_home, record) = record();
        assert_eq!(record.of_project("p"), []);
        record.note(entry("p", "one")).unwrap();
        record.note(entry("p", "two")).unwrap();
        record.note(entry("other", "one")).unwrap();
        let again = Entry { used: "2026-01-02T00:00:00Z".parse().unwrap(), ..entry("p", "one") };
        record.note(again.clone()).unwrap();
        assert_eq!(record.of_project("p"), [entry("p", "two"), again.clone()]);
        record.forget("p", &again.id()).unwrap();
        assert_eq!(record.of_project("p"), [entry("p", "two")]);
        assert_eq!(record.of_project("other").len(), 1);
    }

    #[test]
    fn commands_in_a_row_from_one_repository_write_once() {
        let (_home, record) = record();
        let noted = |entry: Entry| {
            record.note(entry).unwrap();
            record.of_project("p").remove(0)
        };
        let first = entry("p", "one");
        let after = |mins| Entry { used: first.used + SignedDuration::from_mins(mins), ..first.clone() };
        assert_eq!(noted(first.clone()), first);
        for mins in [-9, 0, 9] {
            assert_eq!(noted(after(mins)), first, "{mins}");
        }
        assert_eq!(noted(after(10)), after(10));
        // Another clone of the repository is where to look for the git branch from now on.
        let clone = Entry { repository: "/clone/.git".into(), ..after(11) };
        assert_eq!(noted(clone.clone()), clone);
        assert_eq!(record.of_project("p").len(), 1);
    }

    #[test]
    fn two_terminals_lose_nothing_of_each_other() {
        let (_home, record) = record();
        std::thread::scope(|scope| {
            for terminal in 0..8 {
                let record = &record;
                scope.spawn(move || record.note(entry("p", &format!("branch-{terminal}"))).unwrap());
            }
        });
        assert_eq!(record.of_project("p").len(), 8);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let (_home, record) = record();
        record.note(entry("p", "one")).unwrap();
        let known = std::fs::read_to_string(&record.path).unwrap();
        std::fs::write(&record.path, known.replacen('[', "[7, {\"of\": \"another time\"},", 1)).unwrap();
        assert_eq!(record.of_project("p"), [entry("p", "one")]);
        std::fs::write(&record.path, "nonsense").unwrap();
        assert_eq!(record.of_project("p"), []);
    }
}
