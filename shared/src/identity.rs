//! Who works on what: a folder's git user and git branch. The only user of git2.

mod fate;

use std::path::{Path, PathBuf};

use git2::{Config, ErrorCode, Repository};
use serde::{Deserialize, Serialize};

pub use self::fate::Fate;
use crate::error::{Error, Kind, Result};

/// The git identity from which a branch id is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitIdentity {
    /// `user.name`.
    pub user: String,
    /// `user.email`; it tells two people of one name apart.
    pub email: String,
    /// The branch that HEAD is on, without `refs/heads/`; it may have no commit yet.
    pub branch: String,
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
    let folder = file.parent().unwrap_or(Path::new("."));
    let repository = open(folder)?;
    let Some(root) = repository.workdir() else { return Ok(true) };
    let inside = match (folder.canonicalize(), root.canonicalize(), file.file_name()) {
        (Ok(folder), Ok(root), Some(name)) => folder.strip_prefix(&root).map(|inside| inside.join(name)).ok(),
        _ => None,
    };
    let Some(inside) = inside else { return Ok(true) };
    let tracked =
        repository.index().map_err(|error| unreadable(folder, &error))?.get_path(&inside, 0).is_some();
    let ignored = repository.is_path_ignored(&inside).map_err(|error| unreadable(folder, &error))?;
    Ok(ignored && !tracked)
}

impl GitIdentity {
    /// Reads the identity of the checkout that holds `folder`.
    ///
    /// # Errors
    /// [`Kind::NoRepository`], [`Kind::NoGitUser`] or [`Kind::DetachedHead`], each with what to do.
    pub fn discover(folder: &Path) -> Result<Self> {
        let repository = open(folder)?;
        let config = repository
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(|error| unreadable(folder, &error))?;
        let user = setting(&config, "user.name", "Ada Lovelace")?;
        let email = setting(&config, "user.email", "ada@example.com")?;
        let branch = branch(&repository)?;
        Ok(Self { user, email, branch })
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

fn setting(config: &Config, name: &str, example: &str) -> Result<String> {
    match config.get_string(name) {
        Ok(value) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
        _ => Err(Error::new(Kind::NoGitUser, format!("git has no `{name}`"))
            .because_of("the Lakebase branch is named after git's user and branch")
            .hint(format!("run `git config --global {name} '{example}'`"))),
    }
}

/// The branch that HEAD names, whether or not it has a commit.
fn branch(repository: &Repository) -> Result<String> {
    let detached = || {
        Error::new(Kind::DetachedHead, "HEAD is detached: it is on no git branch")
            .because_of("the Lakebase branch is named after the git branch")
            .hint("run `git switch BRANCH`, or `git switch -c NEW-BRANCH`")
    };
    let head = repository.find_reference("HEAD").map_err(|error| {
        Error::new(Kind::DetachedHead, "git's HEAD can't be read").because_of(error.message())
    })?;
    let target = head.symbolic_target().ok().flatten().ok_or_else(detached)?;
    target.strip_prefix("refs/heads/").map(str::to_owned).ok_or_else(detached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        let repository = Repository::init_opts(folder.path(), options.initial_head("main")).unwrap();
        let mut config = repository.config().unwrap();
        config.set_str("user.name", "Ada Lovelace").unwrap();
        config.set_str("user.email", "ada@example.com").unwrap();
        (folder, repository)
    }

    fn commit(repository: &Repository) -> git2::Oid {
        let signature = repository.signature().unwrap();
        let tree = repository.find_tree(repository.index().unwrap().write_tree().unwrap()).unwrap();
        repository.commit(Some("HEAD"), &signature, &signature, "first", &tree, &[]).unwrap()
    }

    #[test]
    fn a_branch_without_a_commit_has_its_name_already() {
        let (folder, _repository) = repository();
        let found = GitIdentity::discover(folder.path()).unwrap();
        assert_eq!(
            found,
            GitIdentity {
                user: "Ada Lovelace".into(),
                email: "ada@example.com".into(),
                branch: "main".into()
            }
        );
    }

    #[test]
    fn a_folder_below_the_root_finds_the_branch_with_its_slashes() {
        let (folder, repository) = repository();
        commit(&repository);
        repository.set_head("refs/heads/feature/Über/x").unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(GitIdentity::discover(&below).unwrap().branch, "feature/Über/x");
    }

    #[test]
    fn a_detached_head_is_an_error_of_its_own() {
        let (folder, repository) = repository();
        let first = commit(&repository);
        repository.set_head_detached(first).unwrap();
        assert_eq!(GitIdentity::discover(folder.path()).unwrap_err().kind, Kind::DetachedHead);
    }

    #[test]
    fn no_repository_and_no_user_are_told_apart() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(GitIdentity::discover(empty.path()).unwrap_err().kind, Kind::NoRepository);
        let (folder, repository) = repository();
        repository.config().unwrap().set_str("user.name", " ").unwrap();
        assert_eq!(GitIdentity::discover(folder.path()).unwrap_err().kind, Kind::NoGitUser);
    }

    #[test]
    fn a_file_is_left_out_only_when_ignored_and_not_tracked() {
        let (folder, repository) = repository();
        let file = folder.path().join(".env.lakebase");
        std::fs::write(&file, "").unwrap();
        assert!(!is_left_out(&file).unwrap());
        std::fs::write(folder.path().join(".gitignore"), ".env.lakebase\n").unwrap();
        assert!(is_left_out(&file).unwrap());
        let mut index = repository.index().unwrap();
        index.add_path(Path::new(".env.lakebase")).unwrap();
        index.write().unwrap();
        assert!(!is_left_out(&file).unwrap());
    }
}
