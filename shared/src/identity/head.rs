//! The branch that a checkout works on: what HEAD says, and what is known where it says nothing.

use std::path::Path;

use git2::{Reference, Repository};

use super::ci::Job;
use crate::env_vars;
use crate::error::{Error, Kind, Result};

/// Branches, among references.
const HEADS: &str = "refs/heads/";
/// Where git keeps the branch that a rebase will come back to, below its folder.
const REBASES: [&str; 2] = ["rebase-merge/head-name", "rebase-apply/head-name"];
/// How git notes in a branch's log that it was renamed.
const RENAMED: &str = "Branch: renamed ";

/// The branch, and what named it: HEAD, whether or not the branch has a commit; else a rebase; else CI.
pub(super) fn branch(repository: &Repository, job: Option<&Job>) -> Result<(String, String)> {
    let head = repository.find_reference("HEAD").map_err(|error| {
        Error::new(Kind::DetachedHead, "git's HEAD can't be read").because_of(error.message())
    })?;
    if let Some(name) = head.symbolic_target_bytes().and_then(|target| target.strip_prefix(HEADS.as_bytes()))
    {
        let file = repository.path().join("HEAD");
        // libgit2 takes any text here.
        if !is_valid(name) {
            return Err(Error::new(Kind::DetachedHead, "HEAD names a branch that git itself refuses")
                .because_of(format!("{} says {:?}", file.display(), text(name)))
                .hint("run `git switch BRANCH`, or `git switch -c NEW-BRANCH`"));
        }
        return Ok((text(name), format!("{} is on it", file.display())));
    }
    if let Some(found) = REBASES.iter().find_map(|file| rebased(&repository.path().join(file))) {
        return Ok(found);
    }
    match job {
        Some(Job { branch: Some((branch, variable)), .. }) => {
            Ok((branch.clone(), format!("HEAD is detached, and ${variable} names it")))
        }
        _ => Err(detached(job)),
    }
}

fn detached(job: Option<&Job>) -> Error {
    let error = Error::new(Kind::DetachedHead, "HEAD is detached: it is on no git branch")
        .because_of("the Lakebase branch is named after the git branch")
        .hint("run `git switch BRANCH`, or `git switch -c NEW-BRANCH`");
    match job {
        Some(job) => error.hint(format!(
            "${} says that this is a job of CI, but no variable names its branch: check it out by name, or set {}",
            job.marker,
            env_vars::CI_SERVICES[0].1[1]
        )),
        None => error,
    }
}

/// The branch that a worktree is on, or comes back to after a rebase or a bisection, by its folder in `.git`; the worktree
/// itself may be away. `None` where its HEAD is detached.
pub(super) fn of_worktree(folder: &Path) -> Option<String> {
    let head = std::fs::read(folder.join("HEAD")).ok()?;
    let named = head.trim_ascii().strip_prefix(b"ref:").map(<[u8]>::trim_ascii);
    let bisected = || Some(text(std::fs::read(folder.join("BISECT_START")).ok()?.trim_ascii()));
    named
        .and_then(|name| name.strip_prefix(HEADS.as_bytes()))
        .map(text)
        .or_else(|| REBASES.iter().find_map(|file| rebased(&folder.join(file))).map(|(name, _)| name))
        .or_else(bisected)
}

fn rebased(file: &Path) -> Option<(String, String)> {
    let written = std::fs::read(file).ok()?;
    let name = written.trim_ascii().strip_prefix(HEADS.as_bytes())?;
    is_valid(name).then(|| (text(name), format!("a rebase of it is under way, says {}", file.display())))
}

/// Whether git takes a branch of this name.
pub(super) fn is_valid(name: &[u8]) -> bool {
    Reference::is_valid_name(&format!("{HEADS}{}", String::from_utf8_lossy(name)))
}

/// A name that may not be UTF-8. Its other bytes are written as `\xNN`, which no name of a reference holds, so that two
/// names stay two.
fn text(name: &[u8]) -> String {
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let rest: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("{}{rest}", chunk.valid())
    };
    name.utf8_chunks().map(chunk).collect()
}

/// The name that the branch had before, if its log says that it was renamed.
pub(super) fn renamed_from(repository: &Repository, branch: &str) -> Option<String> {
    let log = repository.reflog(&format!("{HEADS}{branch}")).ok()?;
    let old = |message: &str| {
        let (old, new) = message.trim().strip_prefix(RENAMED)?.split_once(" to ")?;
        (new.strip_prefix(HEADS)? == branch).then(|| old.strip_prefix(HEADS).map(str::to_owned))?
    };
    log.iter().find_map(|entry| old(entry.message().ok()??))
}
