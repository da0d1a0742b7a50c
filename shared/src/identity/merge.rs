//! What a checkout would be after a merge, in a folder of its own.

use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Index, Repository};

use super::open;
use crate::error::{Error, Kind, Result};

/// The files of a merge.
#[derive(Debug)]
pub struct Merged {
    /// The place in it of the folder that was asked from.
    pub folder: PathBuf,
    /// Whether the checkout has changes that no commit has, so that the merge is without them.
    pub is_dirty: bool,
}

/// Merges what `reference` names into HEAD of the checkout that holds `folder`, and writes the files below `into`. Neither the
/// checkout, its index nor any reference changes; the objects of the merge stay in the repository until git tidies it.
///
/// # Errors
/// [`Kind::NoRepository`]; [`Kind::Usage`] where there is no such commit; [`Kind::Guarded`] where the two conflict, with the
/// files.
pub fn merged(folder: &Path, reference: &str, into: &Path) -> Result<Merged> {
    let repository = open(folder)?;
    let failed = |error: &git2::Error| {
        Error::new(Kind::NoRepository, format!("merging `{reference}` failed")).because_of(error.message())
    };
    let ours = repository.head().and_then(|head| head.peel_to_commit()).map_err(|error| failed(&error))?;
    let theirs = repository.revparse_single(reference).and_then(|object| object.peel_to_commit());
    let theirs = theirs.map_err(|error| {
        Error::new(Kind::Usage, format!("there is no commit `{reference}`"))
            .because_of(error.message())
            .hint("name a branch, a tag or a commit that this repository has; `git fetch` brings others")
    })?;
    let mut index = repository.merge_commits(&ours, &theirs, None).map_err(|error| failed(&error))?;
    if index.has_conflicts() {
        return Err(Error::new(Kind::Guarded, format!("HEAD and `{reference}` do not merge"))
            .because_of(format!("both changed {}", conflicts(&index).join(", ")))
            .hint("merge them by hand, and check the result"));
    }
    let tree = index.write_tree_to(&repository).map_err(|error| failed(&error))?;
    let tree = repository.find_object(tree, None).map_err(|error| failed(&error))?;
    let mut checkout = CheckoutBuilder::new();
    checkout.target_dir(into).force().recreate_missing(true).update_index(false);
    repository.checkout_tree(&tree, Some(&mut checkout)).map_err(|error| failed(&error))?;
    Ok(Merged { folder: inside(&repository, folder, into), is_dirty: is_dirty(&repository) })
}

fn conflicts(index: &Index) -> Vec<String> {
    let Ok(conflicts) = index.conflicts() else { return Vec::new() };
    let path = |conflict: git2::IndexConflict| {
        let entry = conflict.our.or(conflict.their).or(conflict.ancestor)?;
        Some(String::from_utf8_lossy(&entry.path).into_owned())
    };
    conflicts.filter_map(Result::ok).filter_map(path).collect()
}

/// The place of `folder` in the other tree.
fn inside(repository: &Repository, folder: &Path, into: &Path) -> PathBuf {
    let root = repository.workdir().and_then(|root| root.canonicalize().ok());
    let folder = folder.canonicalize().ok();
    let below = folder.zip(root).and_then(|(folder, root)| Some(folder.strip_prefix(root).ok()?.to_owned()));
    below.map_or_else(|| into.to_owned(), |below| into.join(below))
}

fn is_dirty(repository: &Repository) -> bool {
    let mut options = git2::StatusOptions::new();
    options.include_untracked(true).include_ignored(false);
    repository.statuses(Some(&mut options)).is_ok_and(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, words: &[&str]) {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=a@x", "-c", "init.defaultBranch=main"];
        let ran = Command::new("git").current_dir(folder).args(identity).args(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn commit(folder: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        std::fs::write(folder.join(file), text).unwrap();
        git(folder, &["add", "."]);
        git(folder, &["commit", "-qm", file]);
    }

    #[test]
    fn the_merge_has_both_sides_and_changes_nothing_here() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = here.path();
        git(folder, &["init", "-q"]);
        commit(folder, "db/1.sql", "one");
        git(folder, &["switch", "-qc", "theirs"]);
        commit(folder, "db/2.sql", "two");
        git(folder, &["switch", "-q", "main"]);
        commit(folder, "db/3.sql", "three");
        let merged = merged(&folder.join("db"), "theirs", there.path()).unwrap();
        assert!(!merged.is_dirty);
        for (file, text) in [("1.sql", "one"), ("2.sql", "two"), ("3.sql", "three")] {
            assert_eq!(std::fs::read_to_string(merged.folder.join(file)).unwrap(), text);
        }
        assert!(!folder.join("db/2.sql").exists());
        let status =
            Command::new("git").current_dir(folder).args(["status", "--porcelain"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&status.stdout), "");
        // given another change of the same line, then the two conflict
        commit(folder, "db/2.sql", "else");
        let error = super::merged(folder, "theirs", there.path()).unwrap_err();
        assert_eq!((error.kind, error.causes[0].as_str()), (Kind::Guarded, "both changed db/2.sql"));
        assert_eq!(super::merged(folder, "nobody", there.path()).unwrap_err().kind, Kind::Usage);
        std::fs::write(folder.join("new"), "").unwrap();
        git(folder, &["reset", "-q", "--hard", "HEAD~1"]);
        assert!(super::merged(folder, "theirs", there.path()).unwrap().is_dirty);
    }
}
