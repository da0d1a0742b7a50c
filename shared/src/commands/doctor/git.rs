//! Git: who works on what, and whether a login would be committed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::check::{Check, skipped};
use crate::env_file;
use crate::env_vars::Env;
use crate::error::{Kind, Result};
use crate::identity::{self, GitIdentity, Told};

/// A login ends after this time.
const LOGIN_LASTS: Duration = Duration::from_secs(3600);

/// What git says.
pub struct Facts {
    root: Result<PathBuf>,
    user: Result<(Told, Told)>,
    branch: Result<Told>,
    env_file: EnvFile,
}

/// The file that may hold a login.
struct EnvFile {
    /// How long ago it was written; none where it is not there.
    age: Option<Duration>,
    /// Whether what it holds is a password that stays.
    stays: bool,
    left_out: Result<bool>,
}

impl Facts {
    /// Asks git, from the call's folder; `folder` is where `.env.lakebase` would be, and `stays` whether a password that
    /// stays is in it.
    pub fn look(cwd: &Path, folder: &Path, stays: bool, env: &Env) -> Self {
        let (user, branch) = identity::parts(cwd, env);
        let file = folder.join(env_file::NAME);
        let written = std::fs::metadata(&file).and_then(|data| data.modified()).ok();
        let age = written.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        let env_file = EnvFile { age, stays, left_out: identity::is_left_out(&file) };
        Self { root: identity::worktree_root(cwd), user, branch, env_file }
    }

    /// The identity, where git tells all of it.
    pub fn identity(&self) -> Option<GitIdentity> {
        let (Ok(((user, _), (email, _))), Ok((branch, _))) = (&self.user, &self.branch) else { return None };
        Some(GitIdentity { user: user.clone(), email: email.clone(), branch: branch.clone() })
    }

    /// The findings.
    pub fn checks(&self) -> Vec<Check> {
        let root = match &self.root {
            Ok(root) => Check::ok("git.repository", format!("git repository {}", root.display())),
            Err(error) => {
                let rest = [
                    ("git.user", "git's user"),
                    ("git.branch", "git's branch"),
                    ("git.env-file", env_file::NAME),
                ];
                let mut checks = vec![Check::failed("git.repository", error)];
                checks.extend(skipped(&rest, "there is no git repository"));
                return checks;
            }
        };
        let user = match &self.user {
            Ok(((user, from), _)) if user.is_empty() => {
                Check::ok("git.user", format!("git user: none, {from}"))
            }
            Ok(((user, from), (email, _))) => {
                Check::ok("git.user", format!("git user {user} <{email}>")).with("origin", from.as_str())
            }
            Err(error) => Check::failed("git.user", error),
        };
        let branch = match &self.branch {
            Ok((branch, from)) => Check::ok("git.branch", format!("git branch {branch} ({from})"))
                .with("branch", branch.as_str()),
            Err(error) => Check::failed("git.branch", error),
        };
        vec![root, user, branch, self.env_file.check()]
    }
}

impl EnvFile {
    fn check(&self) -> Check {
        let (id, name) = ("git.env-file", env_file::NAME);
        let add = format!("run `echo {name} >> .gitignore`");
        match &self.left_out {
            Ok(true) if !self.stays && self.age.is_some_and(|age| age > LOGIN_LASTS) => Check::warn(
                id,
                format!("the login in {name} has ended: it was written more than an hour ago"),
            )
            .cure("run `env --write` for a new one"),
            Ok(true) => Check::ok(id, format!("{name} is ignored by git")),
            Ok(false) if self.age.is_some() => {
                Check::fail(id, format!("{name} holds a login, and git would commit it"))
                    .cure(format!("{add}, and `git rm --cached {name}` if it is tracked"))
            }
            Ok(false) => {
                Check::warn(id, format!("{name} is not ignored by git, so `env --write` refuses to write it"))
                    .cure(add)
            }
            Err(error) if error.kind == Kind::NoRepository => {
                Check::skip(id, name, "there is no git repository")
            }
            Err(error) => Check::failed(id, error).softened(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;
    use crate::error::Error;

    fn told(text: &str) -> Told {
        (text.to_owned(), "here".to_owned())
    }

    fn facts() -> Facts {
        Facts {
            root: Ok("/shop".into()),
            user: Ok((told("Ada"), told("ada@example.com"))),
            branch: Ok(told("main")),
            env_file: EnvFile { age: None, stays: false, left_out: Ok(true) },
        }
    }

    fn status(facts: &Facts) -> Vec<(String, &'static str)> {
        facts.checks().into_iter().map(|check| (check.id, check.status.word())).collect()
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let ids = ["git.repository", "git.user", "git.branch", "git.env-file"];
        let with =
            |words: [&'static str; 4]| ids.map(str::to_owned).into_iter().zip(words).collect::<Vec<_>>();
        assert_eq!(status(&facts()), with(["ok"; 4]));
        let no_user = Facts { user: Err(Error::new(Kind::NoGitUser, "no").hint("do")), ..facts() };
        assert_eq!(status(&no_user), with(["ok", "fail", "ok", "ok"]));
        assert_eq!(no_user.checks()[1].cure, ["do"]);
        assert!(no_user.identity().is_none() && facts().identity().is_some());
        let job = Facts { user: Ok((told(""), told(""))), ..facts() };
        assert!(job.checks()[1].status == Status::Ok && job.identity().is_some());
        let detached = Facts { branch: Err(Error::new(Kind::DetachedHead, "no")), ..facts() };
        assert_eq!(status(&detached), with(["ok", "ok", "fail", "ok"]));
        let outside = Facts { root: Err(Error::new(Kind::NoRepository, "no")), ..facts() };
        assert_eq!(status(&outside), with(["fail", "skip", "skip", "skip"]));
    }

    #[test]
    fn a_login_that_git_would_commit_is_worse_than_one_that_is_not_there() {
        let check = |minutes: Option<u64>, stays, left_out| {
            let age = minutes.map(|minutes| Duration::from_secs(60 * minutes));
            EnvFile { age, stays, left_out: Ok(left_out) }.check().status
        };
        assert_eq!(check(None, false, true), Status::Ok);
        assert_eq!(check(Some(5), false, true), Status::Ok);
        assert_eq!(check(None, false, false), Status::Warn);
        assert_eq!(check(Some(5), false, false), Status::Fail);
        // And one that has ended is of no use.
        assert_eq!(check(Some(61), false, true), Status::Warn);
        assert_eq!(check(Some(61), true, true), Status::Ok);
    }
}
