//! Who works on what: a folder's git user and git branch, or the job of a CI service that has no user. The only user of
//! git2.

mod ci;
mod fate;
mod head;
mod ignored;
mod merge;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use git2::{Config, ConfigLevel, ErrorCode, Repository};
use serde::{Deserialize, Serialize};

pub use self::fate::Fate;
pub use self::ignored::Ignored;
pub use self::merge::{Merged, merged};
use crate::env_vars::Env;
use crate::error::{Error, Kind, Result};

/// How the branch of [`GitIdentity::thrown_away`] begins.
const THROWN_AWAY: &str = "check";

/// The git identity from which a branch id is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitIdentity {
    /// `user.name`; empty for a job of CI where git has no user.
    pub user: String,
    /// `user.email`; it tells two people of one name apart. Empty where `user` is.
    pub email: String,
    /// The branch that HEAD is on, without `refs/heads/`; it may have no commit yet. On a detached HEAD, the one that a
    /// rebase will come back to, else the one that CI says it works on.
    pub branch: String,
}

/// A git identity, and where each part of it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The identity.
    pub identity: GitIdentity,
    /// Where the user's name is set.
    pub user_from: String,
    /// Where the user's e-mail is set.
    pub email_from: String,
    /// What named the branch.
    pub branch_from: String,
    /// The name that the branch had before, where git remembers that it was renamed.
    pub renamed_from: Option<String>,
}

/// The repository that holds `folder`: the root of its worktree.
///
/// # Errors
/// [`Kind::NoRepository`] where there is none, or git's ownership check refuses it.
pub fn worktree_root(folder: &Path) -> Result<PathBuf> {
    let repository = open(folder)?;
    Ok(repository.workdir().unwrap_or_else(|| repository.path()).to_owned())
}

/// The common folder of the repository that holds `folder`, which all of its worktrees share.
///
/// # Errors
/// [`Kind::NoRepository`] as for [`worktree_root`].
pub fn repository(folder: &Path) -> Result<PathBuf> {
    open(folder).map(|repository| repository.commondir().to_owned())
}

/// Whether git would leave `file` out of a commit: it is ignored and not tracked.
///
/// # Errors
/// [`Kind::NoRepository`] as for [`worktree_root`].
pub fn is_left_out(file: &Path) -> Result<bool> {
    let Some(Checked { repository, inside, .. }) = checked_out(file)? else { return Ok(true) };
    let ignored = repository.is_path_ignored(&inside).map_err(|error| unreadable(file, &error))?;
    Ok(ignored && !is_tracked(&repository, &inside, file)?)
}

/// The `.gitignore` of the checkout in which an entry for `file` is enough to leave it out: the nearest one, else a new one at
/// the root. `None` where an entry would not do, because the file is tracked, or the list a link to somewhere else.
///
/// # Errors
/// [`Kind::NoRepository`] as for [`worktree_root`].
pub fn ignore_list(file: &Path) -> Result<Option<PathBuf>> {
    let Some(Checked { repository, root, inside }) = checked_out(file)? else { return Ok(None) };
    if is_tracked(&repository, &inside, file)? {
        return Ok(None);
    }
    let at = |folder: &Path| root.join(folder).join(".gitignore");
    let mut lists = inside.ancestors().skip(1).map(at);
    let nearest = lists.find_map(|list| Some((std::fs::symlink_metadata(&list).ok()?, list)));
    Ok(match nearest {
        Some((data, list)) => data.is_file().then_some(list),
        None => Some(at(Path::new(""))),
    })
}

/// A file's place in the checkout that it is in.
struct Checked {
    repository: Repository,
    /// Without links.
    root: PathBuf,
    /// From there.
    inside: PathBuf,
}

/// `None` where the repository has no checkout, or the file is not in it.
fn checked_out(file: &Path) -> Result<Option<Checked>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let repository = open(folder)?;
    let root = repository.workdir().and_then(|root| root.canonicalize().ok());
    let (Some(root), Ok(folder), Some(name)) = (root, folder.canonicalize(), file.file_name()) else {
        return Ok(None);
    };
    let inside = folder.strip_prefix(&root).map(|inside| inside.join(name)).ok();
    Ok(inside.map(|inside| Checked { repository, root, inside }))
}

fn is_tracked(repository: &Repository, inside: &Path, file: &Path) -> Result<bool> {
    Ok(repository.index().map_err(|error| unreadable(file, &error))?.get_path(inside, 0).is_some())
}

impl GitIdentity {
    /// The identity of a branch that this process alone uses, and throws away: no git branch has such a name. `nonce` tells
    /// two of one process apart, and those of two machines.
    #[must_use]
    pub fn thrown_away(&self, nonce: &str) -> Self {
        let branch =
            format!("{THROWN_AWAY} {}@{} {nonce} of {}", std::process::id(), fate::here(), self.branch);
        Self { branch, ..self.clone() }
    }

    /// Reads the identity of the checkout that holds `folder`.
    ///
    /// # Errors
    /// [`Kind::NoRepository`], [`Kind::NoGitUser`] or [`Kind::DetachedHead`], each with what to do.
    pub fn discover(folder: &Path, env: &Env) -> Result<Self> {
        Found::discover(folder, env).map(|found| found.identity)
    }
}

impl Found {
    /// The same, with the origins.
    ///
    /// # Errors
    /// As for [`GitIdentity::discover`].
    pub fn discover(folder: &Path, env: &Env) -> Result<Self> {
        let repository = open(folder)?;
        let job = ci::Job::of(env);
        let ((user, user_from), (email, email_from)) = user(&repository, folder, job.as_ref())?;
        let (branch, branch_from) = head::branch(&repository, job.as_ref())?;
        let renamed_from = head::renamed_from(&repository, &branch);
        Ok(Self {
            identity: GitIdentity { user, email, branch },
            user_from,
            email_from,
            branch_from,
            renamed_from,
        })
    }
}

/// A text, and where it came from.
pub type Told = (String, String);

/// The parts of an identity, each with its origin, for whoever wants to hear of all that is missing: name and e-mail, and the
/// branch.
pub fn parts(folder: &Path, env: &Env) -> (Result<(Told, Told)>, Result<Told>) {
    let job = ci::Job::of(env);
    match open(folder) {
        Ok(repository) => (user(&repository, folder, job.as_ref()), head::branch(&repository, job.as_ref())),
        Err(error) => (Err(error.clone()), Err(error)),
    }
}

/// Name and e-mail; both empty for a job of CI where git lacks one of them.
fn user(repository: &Repository, folder: &Path, job: Option<&ci::Job>) -> Result<(Told, Told)> {
    let config = repository
        .config()
        .and_then(|mut config| config.snapshot())
        .map_err(|error| unreadable(folder, &error))?;
    let user = setting(repository, &config, "user.name", "Ada Lovelace");
    let email = setting(repository, &config, "user.email", "ada@example.com");
    match (user, email, job) {
        (Ok(user), Ok(email), _) => Ok((user, email)),
        (_, _, Some(job)) => {
            let why = format!("git has none, and ${} says that this is a job of CI", job.marker);
            let none = (String::new(), why);
            Ok((none.clone(), none))
        }
        (Err(error), ..) | (_, Err(error), _) => Err(error),
    }
}

fn open(folder: &Path) -> Result<Repository> {
    Repository::discover(folder).map_err(|error| match error.code() {
        ErrorCode::NotFound => {
            Error::new(Kind::NoRepository, format!("`{}` is not in a git repository", folder.display()))
                .because_of("the Lakebase branch is named after git's user and branch")
                .hint("run `git init`, or change to a folder of your checkout")
        }
        ErrorCode::Owner => Error::new(
            Kind::NoRepository,
            format!("the git repository of `{}` belongs to another user", folder.display()),
        )
        .because_of(error.message())
        .hint(format!("run `git config --global --add safe.directory '{}'`", folder.display())),
        _ => unreadable(folder, &error),
    })
}

fn unreadable(folder: &Path, error: &git2::Error) -> Error {
    Error::new(Kind::NoRepository, format!("the git repository of `{}` can't be read", folder.display()))
        .because_of(error.message())
}

/// A value of git's configuration, and the file that it stands in.
fn setting(
    repository: &Repository,
    config: &Config,
    name: &'static str,
    example: &str,
) -> Result<(String, String)> {
    let entry = config.get_entry(name).ok();
    let found = entry.as_ref().and_then(|entry| Some((entry.value().ok()?.trim(), entry)));
    match found {
        Some((value, entry)) if !value.is_empty() => {
            let file = match entry.level() {
                ConfigLevel::Worktree => Some(repository.path().join("config.worktree")),
                ConfigLevel::Local => Some(repository.commondir().join("config")),
                ConfigLevel::Global => Config::find_global().ok(),
                ConfigLevel::XDG => Config::find_xdg().ok(),
                ConfigLevel::System => Config::find_system().ok(),
                ConfigLevel::ProgramData | ConfigLevel::App | ConfigLevel::Highest => None,
            };
            let file =
                file.map_or_else(|| "git's configuration".to_owned(), |file| file.display().to_string());
            let by = if entry.include_depth() > 0 { ", by a file that it includes" } else { "" };
            Ok((value.to_owned(), format!("`{name}` of {file}{by}")))
        }
        _ => Err(Error::new(Kind::NoGitUser, format!("git has no `{name}`"))
            .because_of("the Lakebase branch is named after git's user and branch")
            .hint(format!("run `git config --global {name} '{example}'`"))),
    }
}
