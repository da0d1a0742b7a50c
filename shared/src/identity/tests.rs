//! The identity of real repositories.

use std::fs;

use git2::{Oid, RepositoryInitOptions, WorktreeAddOptions};

use super::*;

/// A repository with the user Ada, on the branch `main` that has no commit yet.
fn repository() -> (tempfile::TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let repository = init(folder.path(), false);
    (folder, repository)
}

fn init(folder: &Path, bare: bool) -> Repository {
    let mut options = RepositoryInitOptions::new();
    let repository = Repository::init_opts(folder, options.initial_head("main").bare(bare)).unwrap();
    set_user(&repository, "Ada Lovelace", "ada@example.com");
    repository
}

fn set_user(repository: &Repository, name: &str, email: &str) {
    let mut config = repository.config().unwrap();
    config.set_str("user.name", name).unwrap();
    config.set_str("user.email", email).unwrap();
}

fn commit(repository: &Repository) -> Oid {
    let signature = git2::Signature::now("Ada", "ada@example.com").unwrap();
    let tree = repository.find_tree(repository.index().unwrap().write_tree().unwrap()).unwrap();
    repository.commit(Some("HEAD"), &signature, &signature, "first", &tree, &[]).unwrap()
}

fn found(folder: &Path, env: &[(&str, &str)]) -> Result<Found> {
    Found::discover(folder, &env.iter().copied().collect())
}

fn branch(folder: &Path) -> String {
    found(folder, &[]).unwrap().identity.branch
}

const JOB: [(&str, &str); 2] = [("GITHUB_ACTIONS", "true"), ("GITHUB_REF_NAME", "feature/x")];

#[test]
fn a_branch_without_a_commit_has_its_name_already() {
    let (folder, _repository) = repository();
    let (user, email, branch) = ("Ada Lovelace".into(), "ada@example.com".into(), "main".into());
    assert_eq!(found(folder.path(), &[]).unwrap().identity, GitIdentity { user, email, branch });
}

#[test]
fn a_folder_below_the_root_finds_the_branch_with_its_slashes() {
    let (folder, repository) = repository();
    commit(&repository);
    repository.set_head("refs/heads/feature/Über/x").unwrap();
    let below = folder.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    assert_eq!(branch(&below), "feature/Über/x");
}

#[test]
fn a_branch_may_have_any_name_that_git_takes() {
    let (folder, repository) = repository();
    let long = "x/".repeat(100) + "y";
    for name in ["分支/功能", "ветка", "عربي", "🚀", "a'b\"c$(d)`e;f|g&h", "-rf", &long] {
        repository.set_head(&format!("refs/heads/{name}")).unwrap();
        assert_eq!(branch(folder.path()), name);
    }
}

#[test]
fn a_name_that_git_refuses_is_no_branch() {
    let (folder, repository) = repository();
    for name in ["\u{1b}[31mred", "a\u{7f}b", "a b", "..", "a..b", "x.lock", "/", ".invalid", ""] {
        fs::write(repository.path().join("HEAD"), format!("ref: refs/heads/{name}\n")).unwrap();
        assert_eq!(found(folder.path(), &[]).unwrap_err().kind, Kind::DetachedHead, "{name:?}");
    }
}

#[test]
fn two_names_that_are_no_unicode_stay_two() {
    let (folder, repository) = repository();
    let mut names = Vec::new();
    for byte in [0xff_u8, 0xfe] {
        let head = [b"ref: refs/heads/caf".as_slice(), &[byte], b"\n"].concat();
        fs::write(repository.path().join("HEAD"), head).unwrap();
        names.push(branch(folder.path()));
    }
    assert_eq!(names, ["caf\\xff", "caf\\xfe"]);
}

#[test]
fn a_detached_head_is_an_error_of_its_own() {
    let (folder, repository) = repository();
    repository.set_head_detached(commit(&repository)).unwrap();
    // Variables of a service count where it runs us, and nowhere else.
    for env in [&[][..], &[("GITHUB_REF_NAME", "main")], &[("CI", "false"), ("GITHUB_REF_NAME", "main")]] {
        let error = found(folder.path(), env).unwrap_err();
        assert_eq!((error.kind, error.hints.len()), (Kind::DetachedHead, 1), "{env:?}");
    }
    let error = found(folder.path(), &[("CI", "true")]).unwrap_err();
    assert!(error.hints[1].contains("no variable names its branch"), "{error:?}");
}

#[test]
fn on_a_detached_head_ci_names_the_branch() {
    let (folder, repository) = repository();
    repository.set_head_detached(commit(&repository)).unwrap();
    let found = found(folder.path(), &JOB).unwrap();
    assert_eq!((found.identity.user.as_str(), found.identity.branch.as_str()), ("Ada Lovelace", "feature/x"));
    assert_eq!(found.branch_from, "HEAD is detached, and $GITHUB_REF_NAME names it");
}

#[test]
fn a_real_branch_comes_before_what_ci_says() {
    let (folder, repository) = repository();
    commit(&repository);
    let found = found(folder.path(), &JOB).unwrap();
    assert_eq!(found.identity.branch, "main");
    assert!(found.branch_from.ends_with("/HEAD is on it"), "{}", found.branch_from);
}

#[test]
fn ci_needs_no_git_user() {
    let (folder, repository) = repository();
    for (name, email) in [(" ", " "), ("Ada", " "), (" ", "ada@example.com")] {
        set_user(&repository, name, email);
        assert_eq!(found(folder.path(), &[]).unwrap_err().kind, Kind::NoGitUser);
        let found = found(folder.path(), &JOB).unwrap();
        let GitIdentity { user, email, branch } = found.identity;
        assert_eq!((user.as_str(), email.as_str(), branch.as_str()), ("", "", "main"));
        assert!(found.user_from.contains("$GITHUB_ACTIONS"), "{}", found.user_from);
    }
}

#[test]
fn a_rebase_comes_back_to_its_branch() {
    let (folder, repository) = repository();
    repository.set_head_detached(commit(&repository)).unwrap();
    for kind in ["rebase-merge", "rebase-apply"] {
        let rebase = repository.path().join(kind);
        fs::create_dir(&rebase).unwrap();
        fs::write(rebase.join("head-name"), "refs/heads/feature/y\n").unwrap();
        let found = found(folder.path(), &JOB).unwrap();
        assert_eq!(found.identity.branch, "feature/y");
        assert!(found.branch_from.contains(kind), "{}", found.branch_from);
        // One that began on a detached HEAD has no branch to come back to; nor has what is no name.
        for none in ["detached HEAD\n", "refs/heads/\n", "refs/heads/../../x\n", "", "refs/heads/a b\n"] {
            fs::write(rebase.join("head-name"), none).unwrap();
            assert_eq!(
                super::GitIdentity::discover(folder.path(), &JOB.into_iter().collect()).unwrap().branch,
                "feature/x"
            );
        }
        fs::remove_dir_all(&rebase).unwrap();
    }
}

#[test]
fn a_real_rebase_is_understood() {
    let (folder, repository) = repository();
    let first = commit(&repository);
    let base = repository.find_annotated_commit(first).unwrap();
    let signature = git2::Signature::now("Ada", "ada@example.com").unwrap();
    let tree = repository.find_commit(first).unwrap().tree().unwrap();
    let parent = repository.find_commit(first).unwrap();
    repository.branch("topic", &parent, false).unwrap();
    repository.set_head("refs/heads/topic").unwrap();
    repository.commit(Some("HEAD"), &signature, &signature, "second", &tree, &[&parent]).unwrap();
    let topic = repository.reference_to_annotated_commit(&repository.head().unwrap()).unwrap();
    let mut rebase = repository.rebase(Some(&topic), Some(&base), None, None).unwrap();
    rebase.next().unwrap().unwrap();
    assert!(repository.head_detached().unwrap());
    assert_eq!(branch(folder.path()), "topic");
}

#[test]
fn a_worktree_has_a_branch_of_its_own() {
    let (folder, repository) = repository();
    commit(&repository);
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("other");
    let mut options = WorktreeAddOptions::new();
    repository.worktree("other", &tree, Some(options.checkout_existing(false))).unwrap();
    assert_eq!((branch(&tree), branch(folder.path())), ("other".into(), "main".into()));
    assert!(tree.join(".git").is_file());
    // A rebase in one of them is none in the other.
    let own = repository.path().join("worktrees/other");
    fs::write(own.join("HEAD"), format!("{}\n", repository.head().unwrap().target().unwrap())).unwrap();
    fs::create_dir(own.join("rebase-merge")).unwrap();
    fs::write(own.join("rebase-merge/head-name"), "refs/heads/other\n").unwrap();
    assert_eq!((branch(&tree), branch(folder.path())), ("other".into(), "main".into()));
    // Its own user counts, and is told.
    repository.config().unwrap().set_bool("extensions.worktreeConfig", true).unwrap();
    fs::write(own.join("config.worktree"), "[user]\n\tname = Grace\n").unwrap();
    let found = found(&tree, &[]).unwrap();
    assert_eq!(found.identity.user, "Grace");
    assert!(found.user_from.ends_with("worktrees/other/config.worktree"), "{}", found.user_from);
    assert!(found.email_from.ends_with(".git/config"), "{}", found.email_from);
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let (folder, outer) = repository();
    commit(&outer);
    // As `git submodule` leaves it: the module's folder in the outer repository, and a file that leads there.
    let module = outer.path().join("modules/lib");
    let inner = init(&module, true);
    inner.config().unwrap().set_bool("core.bare", false).unwrap();
    inner.config().unwrap().set_str("core.worktree", "../../../lib").unwrap();
    inner.set_head("refs/heads/inside").unwrap();
    let checkout = folder.path().join("lib");
    fs::create_dir(&checkout).unwrap();
    fs::write(checkout.join(".git"), "gitdir: ../.git/modules/lib\n").unwrap();
    assert_eq!((branch(&checkout), branch(folder.path())), ("inside".into(), "main".into()));
    assert_eq!(worktree_root(&checkout).unwrap().canonicalize().unwrap(), checkout.canonicalize().unwrap());
}

#[test]
fn a_bare_repository_and_a_file_that_leads_to_it_have_a_branch() {
    let folder = tempfile::tempdir().unwrap();
    let bare = init(&folder.path().join(".bare"), true);
    bare.set_head("refs/heads/trunk").unwrap();
    fs::write(folder.path().join(".git"), "gitdir: ./.bare\n").unwrap();
    assert_eq!(branch(&folder.path().join(".bare")), "trunk");
    assert_eq!(branch(folder.path()), "trunk");
}

#[test]
fn a_git_file_that_leads_nowhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["gitdir: nowhere\n", "nonsense", ""] {
        fs::write(folder.path().join(".git"), text).unwrap();
        assert_eq!(found(folder.path(), &[]).unwrap_err().kind, Kind::NoRepository, "{text}");
    }
}

#[test]
fn a_renamed_branch_remembers_its_name() {
    let (folder, repository) = repository();
    let first = repository.find_commit(commit(&repository)).unwrap();
    assert_eq!(found(folder.path(), &[]).unwrap().renamed_from, None);
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        assert!(command.current_dir(folder.path()).args(arguments).status().unwrap().success());
    };
    git(&["branch", "-m", "main", "trunk"]);
    let renamed = found(folder.path(), &[]).unwrap();
    assert_eq!((renamed.identity.branch.as_str(), renamed.renamed_from.as_deref()), ("trunk", Some("main")));
    // A branch that begins at it was not.
    repository.branch("topic", &first, false).unwrap();
    repository.set_head("refs/heads/topic").unwrap();
    assert_eq!(found(folder.path(), &[]).unwrap().renamed_from, None);
}

#[test]
fn the_file_of_each_setting_is_told() {
    let (folder, repository) = repository();
    let found = found(folder.path(), &[]).unwrap();
    let file = repository.path().join("config");
    assert_eq!(found.user_from, format!("`user.name` of {}", file.display()));
    assert_eq!(found.email_from, format!("`user.email` of {}", file.display()));
    let more = folder.path().join("more");
    fs::write(&more, "[user]\n\tname = Grace\n").unwrap();
    repository.config().unwrap().set_str("include.path", more.to_str().unwrap()).unwrap();
    let found = super::tests::found(folder.path(), &[]).unwrap();
    assert_eq!(found.identity.user, "Grace");
    assert!(found.user_from.ends_with("/config, by a file that it includes"), "{}", found.user_from);
}

#[test]
fn no_repository_and_no_user_are_told_apart() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(found(empty.path(), &JOB).unwrap_err().kind, Kind::NoRepository);
    let (folder, repository) = repository();
    set_user(&repository, " ", "ada@example.com");
    let error = found(folder.path(), &[]).unwrap_err();
    assert_eq!(error.kind, Kind::NoGitUser);
    assert!(error.message.contains("user.name"));
}

#[test]
fn a_file_is_left_out_only_when_ignored_and_not_tracked() {
    let (folder, repository) = repository();
    let file = folder.path().join(".env.lakebase");
    fs::write(&file, "").unwrap();
    assert!(!is_left_out(&file).unwrap());
    fs::write(folder.path().join(".gitignore"), ".env.lakebase\n").unwrap();
    assert!(is_left_out(&file).unwrap());
    let mut index = repository.index().unwrap();
    index.add_path(Path::new(".env.lakebase")).unwrap();
    index.write().unwrap();
    assert!(!is_left_out(&file).unwrap());
}
