//! Who may talk to the server: the developer that every home has, and the identities that `embedded user add` made.
//!
//! They lie in one file beside the state, which the command line writes and the server reads again whenever it was replaced: an
//! identity is known from the moment it is added, and unknown from the moment it is removed. Secrets are kept as digests.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::catalog::IDENTITY;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{Home, replace_file};

/// The kinds of identities, as the API names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// A person, who has a bearer token.
    User,
    /// A machine, which has a client secret, or is trusted because of where it runs.
    ServicePrincipal,
}

/// Somebody who may talk to the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its number in the workspace.
    pub id: u64,
    /// What it logs in as: an e-mail address, or the application id of a service principal. Its role in a branch has this name.
    pub user_name: String,
    /// What people call it.
    pub display_name: String,
    /// Person or machine.
    pub kind: Kind,
    /// Whether a branch gets a role for it when it first asks for a credential there. Otherwise somebody makes one by the API.
    pub gets_roles: bool,
    /// The `sub` of the GitHub tokens that stand for it.
    pub github_subject: Option<String>,
    /// Digest of its bearer token, of its client secret, or of the token that it asks for GitHub's tokens with.
    secret: String,
    /// When it was added.
    pub created: Timestamp,
}

impl Identity {
    /// The identity that every home has. Its token is the home's own.
    pub fn developer() -> Self {
        Self {
            id: 1,
            user_name: IDENTITY.to_owned(),
            display_name: "Developer".to_owned(),
            kind: Kind::User,
            gets_roles: true,
            github_subject: None,
            secret: String::new(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    /// A further identity, which proves itself with `secret`. Its number is set when it is added.
    pub fn new(user_name: &str, display_name: &str, kind: Kind, secret: &str) -> Self {
        Self {
            id: 0,
            user_name: user_name.to_owned(),
            display_name: display_name.to_owned(),
            kind,
            gets_roles: true,
            github_subject: None,
            secret: digest_of(secret),
            created: Timestamp::now(),
        }
    }

    /// Whether it is the one that every home has.
    pub fn is_developer(&self) -> bool {
        self.user_name == IDENTITY
    }

    /// Whether this is its secret. Digests of long random texts are compared, so the time it takes says nothing.
    pub fn has_secret(&self, offered: &str) -> bool {
        !self.secret.is_empty() && self.secret == digest_of(offered)
    }

    /// `USER` or `SERVICE_PRINCIPAL`.
    pub fn identity_type(&self) -> &'static str {
        match self.kind {
            Kind::User => "USER",
            Kind::ServicePrincipal => "SERVICE_PRINCIPAL",
        }
    }
}

/// The further identities of a home, as a server sees them.
#[derive(Debug)]
pub struct Identities {
    file: PathBuf,
    seen: Mutex<Seen>,
}

/// What was read last, and of which file.
#[derive(Debug, Default)]
struct Seen {
    /// Inode and time of change: a replaced file has others.
    stamp: Option<(u64, i64, i64)>,
    identities: Vec<Arc<Identity>>,
}

impl Identities {
    /// Reads those of a home. A file that can't be understood is an error.
    pub fn open(home: &Home) -> Result<Self> {
        let file = home.identities_file();
        let seen = Seen::read(&file)?;
        Ok(Self { file, seen: Mutex::new(seen) })
    }

    /// The one that `wanted` chooses, as the file is now.
    pub fn find(&self, wanted: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp(&self.file) != seen.stamp
            // One that can't be read lets nobody in or out: what was known stays so.
            && let Ok(now) = Seen::read(&self.file)
        {
            *seen = now;
        }
        seen.identities.iter().find(|identity| wanted(identity)).cloned()
    }
}

impl Seen {
    fn read(file: &Path) -> Result<Self> {
        // Looked at before it is read: one that is replaced in between is read again.
        let stamp = stamp(file);
        Ok(Self { stamp, identities: read(file)?.into_iter().map(Arc::new).collect() })
    }
}

/// The further identities of a home, in the order of their creation.
pub fn list(home: &Home) -> Result<Vec<Identity>> {
    read(&home.identities_file())
}

/// Changes the further identities of a home, one change at a time.
pub fn change<T>(home: &Home, work: impl FnOnce(&mut Vec<Identity>) -> Result<T>) -> Result<T> {
    let (file, lock) = (home.identities_file(), home.identities_lock_file());
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(&lock).doing(|| format!("can't open `{}`", lock.display()))?;
    lock.lock().doing(|| "can't lock the identities".to_owned())?;
    let mut identities = read(&file)?;
    let value = work(&mut identities)?;
    let text = serde_json::to_vec_pretty(&identities)
        .map_err(|error| Error::new(ErrorKind::State, "can't write the identities").because(error))?;
    replace_file(&file, &text).doing(|| format!("can't write `{}`", file.display()))?;
    Ok(value)
}

fn read(file: &Path) -> Result<Vec<Identity>> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::State, format!("the file `{}` can't be understood", file.display()))
                .because(error)
                .hint("restore the file, or delete it and add the identities anew")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing(|| format!("can't read `{}`", file.display())),
    }
}

fn stamp(file: &Path) -> Option<(u64, i64, i64)> {
    let meta = fs::metadata(file).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

fn digest_of(secret: &str) -> String {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env_vars;

    #[test]
    fn a_server_knows_an_identity_from_its_adding_to_its_removal_and_no_secret_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let home = Home::locate(&move |name: &str| (name == env_vars::HOME).then(|| path.clone())).unwrap();
        home.create().unwrap();
        let identities = Identities::open(&home).unwrap();
        assert!(identities.find(|_| true).is_none());
        // when one is added
        change(&home, |all| {
            all.push(Identity::new("ada@example.com", "Ada", Kind::User, "a long secret"));
            Ok(())
        })
        .unwrap();
        // then it is known by its secret, which is in no file
        let found = identities.find(|identity| identity.has_secret("a long secret")).unwrap();
        assert_eq!(found.user_name, "ada@example.com");
        assert!(identities.find(|identity| identity.has_secret("another")).is_none());
        assert!(identities.find(|identity| identity.has_secret("")).is_none());
        assert!(!fs::read_to_string(home.identities_file()).unwrap().contains("a long secret"));
        // and a damaged file changes nothing for a server that runs, and stops one that starts
        let kept = fs::read(home.identities_file()).unwrap();
        fs::write(home.identities_file(), "{").unwrap();
        assert!(identities.find(|_| true).is_some());
        assert_eq!(Identities::open(&home).unwrap_err().kind, ErrorKind::State);
        fs::write(home.identities_file(), kept).unwrap();
        change(&home, |all| {
            all.clear();
            Ok(())
        })
        .unwrap();
        assert!(identities.find(|_| true).is_none());
    }

    #[test]
    fn the_developer_has_no_secret_of_this_kind() {
        assert!(!Identity::developer().has_secret(""));
    }
}
