//! What became of a git branch that a Lakebase branch was made for.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use git2::{BranchType, ErrorCode, Oid, Repository};

use super::head;

/// What a repository says of one of its branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is no longer there, or what it was pushed to is not.
    Gone,
    /// Its commits are in the default branch.
    Merged,
    /// It is there, with work that is nowhere else.
    Open,
    /// A worktree is on it right now.
    CheckedOut,
    /// Nothing is known: the repository can't be read, or the branch is not in it while a worktree is on a detached HEAD,
    /// as in CI, which checks a commit out and keeps the branch's name elsewhere.
    Unknown,
}

impl Fate {
    /// Whether nobody will work there again.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Gone | Self::Merged)
    }

    /// The fate of `branch` (without `refs/heads/`) in the repository whose common folder is `repository`.
    pub fn of(repository: &Path, branch: &str) -> Self {
        if let Some((process, host)) = thrown_away_by(branch) {
            return match (host == here(), runs(process)) {
                // A container that has the home of its machine, too, has processes of its own.
                (false, _) => Self::Unknown,
                (true, true) => Self::CheckedOut,
                (true, false) => Self::Gone,
            };
        }
        let Ok(repository) = Repository::open(repository) else { return Self::Unknown };
        let worktrees = worktrees(&repository);
        if worktrees.iter().flatten().any(|on| on == branch) {
            return Self::CheckedOut;
        }
        let found = match repository.find_branch(branch, BranchType::Local) {
            Ok(found) => found,
            Err(error) if error.code() == ErrorCode::NotFound && worktrees.iter().all(Option::is_some) => {
                return Self::Gone;
            }
            Err(_) => return Self::Unknown,
        };
        if upstream_is_gone(&repository, branch) {
            return Self::Gone;
        }
        let Some(tip) = found.get().target() else { return Self::Unknown };
        if is_merged(&repository, branch, tip) { Self::Merged } else { Self::Open }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Merged => "merged",
            Self::Open => "open",
            Self::CheckedOut => "checked out",
            Self::Unknown => "not known",
        })
    }
}

/// The process that uses a branch of [`super::GitIdentity::thrown_away`], and where it runs, if it is one.
fn thrown_away_by(branch: &str) -> Option<(i32, &str)> {
    // A space is in no git branch's name.
    let who = branch.strip_prefix(super::THROWN_AWAY)?.strip_prefix(' ')?.split(' ').next()?;
    let (process, host) = who.split_once('@')?;
    Some((process.parse().ok()?, host))
}

/// Where numbers of processes mean what they mean here: the host's name, and the namespace of a container, which may have
/// that name, too. The first namespace of all has one number everywhere (Linux, `PROC_PID_INIT_INO`), and is left out.
pub fn here() -> String {
    const FIRST: u64 = 0xEFFF_FFFC;
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().replace(' ', "-");
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|link| link.ino()).ok();
    match namespace.filter(|number| *number != FIRST) {
        Some(number) => format!("{name}-{number:x}"),
        None => name,
    }
}

/// Whether a process is there, whoever's it is.
fn runs(process: i32) -> bool {
    use nix::errno::Errno;
    use nix::unistd::Pid;
    process > 0 && !matches!(nix::sys::signal::kill(Pid::from_raw(process), None), Err(Errno::ESRCH))
}

/// What each worktree is on; `None` for a detached HEAD.
fn worktrees(repository: &Repository) -> Vec<Option<String>> {
    let common = repository.commondir();
    let linked = std::fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
    // A bare repository's HEAD names the default branch, which nobody has checked out there.
    let main = (!is_bare(repository)).then(|| common.to_owned());
    main.into_iter()
        .chain(linked.map(|entry| entry.path()))
        .map(|folder| head::of_worktree(&folder))
        .collect()
}

/// Whether the repository is bare, which does not change with the folder that it was opened by.
fn is_bare(repository: &Repository) -> bool {
    let config = repository.config().and_then(|config| config.get_bool("core.bare"));
    config.unwrap_or_else(|_| repository.is_bare())
}

/// Whether the branch was pushed, and a later fetch found that it is not there any more (`git fetch --prune`).
fn upstream_is_gone(repository: &Repository, branch: &str) -> bool {
    let name = format!("refs/heads/{branch}");
    let pushed = repository.branch_upstream_name(&name).ok();
    pushed
        .and_then(|name| name.as_str().ok().map(str::to_owned))
        .is_some_and(|name| repository.find_reference(&name).is_err())
}

/// Whether the default branch holds all of it. A branch on which nobody has committed yet holds nothing, and is not
/// merged: its reflog has the one entry of its birth. Nor is the default branch itself, which everybody comes back to.
fn is_merged(repository: &Repository, branch: &str, tip: Oid) -> bool {
    if is_default(repository, branch) {
        return false;
    }
    let worked_on = repository.reflog(&format!("refs/heads/{branch}")).is_ok_and(|log| log.len() > 1);
    let defaults = ["refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master"]
        .into_iter()
        .chain(["refs/heads/main", "refs/heads/master"]);
    worked_on
        && defaults.filter_map(|name| repository.find_reference(name).ok()?.peel_to_commit().ok()).any(
            |default| {
                default.id() == tip || repository.graph_descendant_of(default.id(), tip).unwrap_or_default()
            },
        )
}

fn is_default(repository: &Repository, branch: &str) -> bool {
    let head = repository.find_reference("refs/remotes/origin/HEAD").ok();
    let named = head.and_then(|head| head.symbolic_target().ok().flatten().map(str::to_owned));
    matches!(branch, "main" | "master") || named == Some(format!("refs/remotes/origin/{branch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Git {
        folder: tempfile::TempDir,
        repository: Repository,
    }

    impl Git {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut options = git2::RepositoryInitOptions::new();
            let repository = Repository::init_opts(folder.path(), options.initial_head("main")).unwrap();
            let mut config = repository.config().unwrap();
            config.set_str("user.name", "Ada").unwrap();
            config.set_str("user.email", "ada@example.com").unwrap();
            let git = Self { folder, repository };
            git.commit("refs/heads/main");
            git
        }

        fn commit(&self, reference: &str) -> Oid {
            let signature = self.repository.signature().unwrap();
            let parent =
                self.repository.find_reference(reference).ok().map(|it| it.peel_to_commit().unwrap());
            let tree = self.repository.treebuilder(None).unwrap().write().unwrap();
            let tree = self.repository.find_tree(tree).unwrap();
            let parents: Vec<_> = parent.iter().collect();
            self.repository.commit(Some(reference), &signature, &signature, "work", &tree, &parents).unwrap()
        }

        fn branch(&self, name: &str) {
            let head = self.repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
            self.repository.branch(name, &head, false).unwrap();
        }

        fn fate(&self, name: &str) -> Fate {
            Fate::of(self.repository.commondir(), name)
        }
    }

    #[test]
    fn a_branch_without_work_of_its_own_is_not_merged() {
        let git = Git::new();
        git.branch("new");
        git.commit("refs/heads/main");
        assert_eq!(git.fate("new"), Fate::Open);
    }

    #[test]
    fn a_branch_is_open_until_the_default_branch_has_its_work() {
        let git = Git::new();
        git.branch("feature");
        let tip = git.commit("refs/heads/feature");
        assert_eq!(git.fate("feature"), Fate::Open);
        git.repository.reference("refs/heads/main", tip, true, "fast-forward").unwrap();
        assert_eq!(git.fate("feature"), Fate::Merged);
        git.repository.find_reference("refs/heads/feature").unwrap().delete().unwrap();
        assert_eq!(git.fate("feature"), Fate::Gone);
    }

    #[test]
    fn the_default_branch_is_never_merged_into_itself() {
        let git = Git::new();
        git.branch("develop");
        for name in ["main", "develop"] {
            let tip = git.commit(&format!("refs/heads/{name}"));
            git.repository.reference(&format!("refs/remotes/origin/{name}"), tip, true, "push").unwrap();
        }
        git.repository
            .reference_symbolic("refs/remotes/origin/HEAD", "refs/remotes/origin/develop", true, "clone")
            .unwrap();
        git.branch("elsewhere");
        git.repository.set_head("refs/heads/elsewhere").unwrap();
        assert_eq!((git.fate("main"), git.fate("develop")), (Fate::Open, Fate::Open));
    }

    #[test]
    fn what_a_worktree_is_on_is_in_use() {
        let git = Git::new();
        assert_eq!(git.fate("main"), Fate::CheckedOut);
        git.branch("other");
        let other = git.repository.find_reference("refs/heads/other").unwrap();
        let mut options = git2::WorktreeAddOptions::new();
        options.reference(Some(&other));
        let place = tempfile::tempdir().unwrap();
        git.repository.worktree("other", &place.path().join("w"), Some(&options)).unwrap();
        assert_eq!(git.fate("other"), Fate::CheckedOut);
    }

    #[test]
    fn what_a_worktree_comes_back_to_is_in_use() {
        let git = Git::new();
        let tip = git.repository.find_reference("refs/heads/main").unwrap().target().unwrap();
        for (name, file, written) in [
            ("rebased", "rebase-merge/head-name", "refs/heads/rebased\n"),
            ("bisected", "BISECT_START", "bisected\n"),
        ] {
            git.branch(name);
            git.repository.set_head_detached(tip).unwrap();
            let file = git.repository.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, written).unwrap();
            assert_eq!(git.fate(name), Fate::CheckedOut, "{name}");
            std::fs::remove_file(&file).unwrap();
            assert_eq!(git.fate(name), Fate::Open, "{name}");
        }
    }

    #[test]
    fn a_worktree_that_is_away_is_still_on_its_branch() {
        let git = Git::new();
        git.branch("other");
        let other = git.repository.find_reference("refs/heads/other").unwrap();
        let mut options = git2::WorktreeAddOptions::new();
        options.reference(Some(&other));
        let place = tempfile::tempdir().unwrap();
        git.repository.worktree("other", &place.path().join("w"), Some(&options)).unwrap();
        drop(place);
        assert_eq!(git.fate("other"), Fate::CheckedOut);
    }

    #[test]
    fn of_a_branch_that_is_nowhere_nothing_is_known_while_a_head_is_detached() {
        let git = Git::new();
        assert_eq!(git.fate("of-ci"), Fate::Gone);
        let tip = git.repository.find_reference("refs/heads/main").unwrap().target().unwrap();
        git.repository.set_head_detached(tip).unwrap();
        assert_eq!(git.fate("of-ci"), Fate::Unknown);
        // A name that no reference has can't be looked for.
        git.repository.set_head("refs/heads/main").unwrap();
        assert_eq!(git.fate("caf\\xe9"), Fate::Unknown);
    }

    #[test]
    fn what_was_pushed_and_is_not_there_any_more_is_gone() {
        let git = Git::new();
        git.repository.remote("origin", "https://example.com/x").unwrap();
        git.branch("pushed");
        let mut config = git.repository.config().unwrap();
        config.set_str("branch.pushed.remote", "origin").unwrap();
        config.set_str("branch.pushed.merge", "refs/heads/pushed").unwrap();
        assert_eq!(git.fate("pushed"), Fate::Gone);
        let tip = git.commit("refs/heads/pushed");
        git.repository.reference("refs/remotes/origin/pushed", tip, false, "push").unwrap();
        assert_eq!(git.fate("pushed"), Fate::Open);
    }

    #[test]
    fn of_a_repository_that_is_away_nothing_is_known() {
        let git = Git::new();
        let path = git.repository.commondir().to_owned();
        drop(git.folder);
        assert_eq!(Fate::of(&path, "main"), Fate::Unknown);
    }

    #[test]
    fn a_branch_that_a_process_throws_away_is_over_with_the_process() {
        let nowhere = Path::new("/nowhere");
        let ada =
            crate::identity::GitIdentity { user: "ada".into(), email: "a@x".into(), branch: "main".into() };
        let mine = ada.thrown_away("1").branch;
        assert_eq!(Fate::of(nowhere, &mine), Fate::CheckedOut);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let over = mine.replacen(&std::process::id().to_string(), &ended.id().to_string(), 1);
        assert_eq!(Fate::of(nowhere, &over), Fate::Gone, "{over}");
        // Of a container that has this home, too, nothing is known: its processes are its own.
        let elsewhere = over.replacen(&format!("@{}", here()), "@elsewhere", 1);
        assert_eq!(Fate::of(nowhere, &elsewhere), Fate::Unknown, "{elsewhere}");
        assert_eq!(Fate::of(nowhere, "check"), Fate::Unknown);
    }
}
