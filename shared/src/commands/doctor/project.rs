//! The project in the workspace: there, readable, with a slot free; and the branch in it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::check::{Check, skipped};
use crate::api::{ApiResult, Branch, BranchPath, Client, Endpoint, Project};
use crate::commands::session::Project as Configured;
use crate::ensure;
use crate::error::{Error, Kind, Result};
use crate::plan::{self, Wanted};
use crate::slots;
use crate::ui;

/// One call must be answered within this time.
const WITHIN: Duration = Duration::from_secs(8);
/// A branch that goes sooner than this is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(1);
/// The same for a copy that is older than this.
const OLD: SignedDuration = SignedDuration::from_hours(24);

/// The checks of this file.
pub const ALL: [(&str, &str); 6] = [
    ("project.exists", "the project"),
    ("project.rights", "what this identity may do"),
    ("project.slots", "the project's branch slots"),
    ("project.parent", "the parent branch"),
    ("branch.state", "the branch"),
    ("branch.endpoint", "the branch's endpoint"),
];

/// The ids that are asked for.
pub struct Target<'a> {
    /// The project's configuration.
    pub project: &'a Configured,
    /// The branch that others are copies of.
    pub parent: BranchPath,
    /// The branch of this git branch; none where git names none.
    pub path: Option<BranchPath>,
}

/// What the API says.
pub struct Facts {
    project: Result<Project>,
    branches: Result<Vec<Branch>>,
    /// None where there is no branch to ask for.
    branch: Result<Option<Branch>>,
    /// The same for its endpoint.
    pub endpoint: Result<Option<Endpoint>>,
}

impl Facts {
    /// Asks the API, all at once.
    pub async fn ask(client: &Client, target: &Target<'_>) -> Self {
        let id = &target.parent.project;
        let of_branch = async {
            let Some(path) = &target.path else { return (Ok(None), Ok(None)) };
            let branch = async { client.branch(path).await.map(Some) };
            tokio::join!(
                within("reading the branch", branch),
                within("reading the branch's endpoint", client.endpoint(path)),
            )
        };
        let (project, branches, (branch, endpoint)) = tokio::join!(
            within("reading the project", async { client.project(id).await.map(Some) }),
            within("listing the branches", async { client.branches(id).await.map(Some) }),
            of_branch,
        );
        Self {
            project: project.and_then(|project| project.ok_or_else(|| no_project(target))),
            branches: branches.map(Option::unwrap_or_default),
            branch,
            endpoint,
        }
    }

    /// The findings.
    pub fn checks(&self, target: &Target<'_>, now: Timestamp) -> Vec<Check> {
        let project = match &self.project {
            Ok(project) => self.of_project(project, target),
            Err(error) => Check::failed(ALL[0].0, error),
        };
        if project.status == super::check::Status::Fail {
            let mut checks = vec![project];
            checks.extend(skipped(&ALL[1..], "the project can't be used"));
            return checks;
        }
        let mut checks = vec![project, self.rights()];
        match &self.branches {
            Ok(branches) => checks.extend([self.slots(branches, target), parent(branches, target)]),
            Err(_) => checks.extend(skipped(&ALL[2..4], "the branches can't be listed")),
        }
        checks.extend(self.of_branch(target, now));
        checks
    }

    fn of_project(&self, found: &Project, target: &Target<'_>) -> Check {
        use crate::config::Key;
        let (id, configured) = (&target.parent.project, target.project.settings.text(Key::ProjectId));
        match ensure::same_project(id.as_str(), configured, &found.uid) {
            Err(error) => Check::failed(ALL[0].0, &error),
            Ok(()) => {
                let uid = if configured.is_some() { ", as configured" } else { "" };
                Check::ok(ALL[0].0, format!("project {id} is there (uid {}{uid})", found.uid))
            }
        }
    }

    /// What was tried, which is not all that `up` does.
    fn rights(&self) -> Check {
        let id = ALL[1].0;
        let refused =
            [self.branches.as_ref().err(), self.branch.as_ref().err(), self.endpoint.as_ref().err()];
        match refused.into_iter().flatten().next() {
            Some(error) => Check::failed(id, error),
            None => Check::ok(
                id,
                "this identity may read the project and its branches (making one was not tried)",
            ),
        }
    }

    fn slots(&self, branches: &[Branch], target: &Target<'_>) -> Check {
        let (used, id) = (slots::used(branches), ALL[2].0);
        let free = slots::LIMIT.saturating_sub(used);
        let what = format!("{used} of {} branch slots are used, {free} free", slots::LIMIT);
        let has_own = target
            .path
            .as_ref()
            .is_some_and(|path| branches.iter().any(|branch| branch.id() == path.branch.as_str()));
        let check = match free {
            0 if has_own => Check::warn(id, format!("{what}; this git branch has its own")),
            0 => Check::fail(id, what),
            _ => return Check::ok(id, what).with("used", used).with("free", free),
        };
        check
            .with("used", used)
            .with("free", free)
            .cure("see `branches` for those that this machine made, and `prune` to tidy up")
            .cure("`docker compose lakebase --free-slot up` deletes the one of yours that was needed least lately, `--wait-slot` waits for one")
    }

    fn of_branch(&self, target: &Target<'_>, now: Timestamp) -> Vec<Check> {
        let Some(path) = &target.path else {
            return skipped(&ALL[4..], "git does not say which branch is meant");
        };
        match &self.branch {
            // Said by the rights.
            Err(_) => skipped(&ALL[4..], "it can't be read"),
            Ok(None) => {
                let what = format!("branch {} is not made yet; `up` makes it", path.branch);
                let mut checks = vec![Check::ok(ALL[4].0, what).with("branch", path.branch.as_str())];
                checks.extend(skipped(&ALL[5..], "the branch is not made yet"));
                checks
            }
            Ok(Some(branch)) => vec![self.state(branch, target, now), self.endpoint()],
        }
    }

    fn state(&self, branch: &Branch, target: &Target<'_>, now: Timestamp) -> Check {
        let id = ALL[4].0;
        let settings = &target.project.settings;
        let (Ok(ttl), Ok(max_age)) = (settings.ttl(), settings.max_age()) else {
            return Check::skip(id, ALL[4].1, "its life is not configured");
        };
        let wanted = Wanted { parent: target.parent.to_string(), ttl, max_age, fresh: false };
        let endpoint = self.endpoint.as_ref().ok().and_then(Option::as_ref);
        if let Err(error) = plan::to_live(&wanted, Some(branch), endpoint, now) {
            return Check::failed(id, &error);
        }
        let age = branch.forked.map(|at| now.duration_since(at));
        let left = branch.expires.map(|at| at.duration_since(now));
        let words = [
            age.map(|age| format!("forked {} ago", ui::duration(age))),
            Some(match left {
                None => "no expiry".to_owned(),
                Some(left) if left.is_positive() => format!("expires in {}", ui::duration(left)),
                Some(_) => "has expired".to_owned(),
            }),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        let what = format!("branch {} is {}, {}", branch.id(), branch.state, words.join(", "));
        let fresh = "`docker compose lakebase --fresh up` makes a new copy";
        let check = if branch.state != "READY" {
            Check::warn(id, what).cure("`up` waits for it, or makes it anew")
        } else if left.is_some_and(|left| !left.is_positive()) {
            Check::warn(id, what).cure("the next `up` makes it anew")
        } else if age.is_some_and(|age| age > OLD) {
            Check::warn(id, format!("{what}: production has moved on since")).cure(fresh)
        } else if left.is_some_and(|left| left < SOON) {
            Check::warn(id, what).cure("any `up` extends its life")
        } else {
            Check::ok(id, what)
        };
        let check = check.with("branch", branch.id()).with("state", branch.state.as_str());
        match branch.expires {
            Some(at) => check.with("expires", at.to_string()),
            None => check,
        }
    }

    fn endpoint(&self) -> Check {
        let id = ALL[5].0;
        let endpoint = match &self.endpoint {
            Err(error) => return Check::failed(id, error),
            Ok(None) => {
                return Check::warn(id, "the branch takes no logins yet").cure("`up` waits until it does");
            }
            Ok(Some(endpoint)) => endpoint,
        };
        let what = format!("endpoint {}:{} is {}", endpoint.host, endpoint.port, endpoint.state);
        let check = match endpoint.state.as_str() {
            _ if endpoint.disabled => Check::fail(id, format!("{what} and switched off, so it never wakes"))
                .cure("enable it in the workspace, or make the branch anew with `--fresh`"),
            "ACTIVE" => Check::ok(id, what),
            "IDLE" => Check::ok(id, format!("{what}: asleep, and wakes when somebody connects")),
            "INIT" => Check::warn(id, what).cure("`up` waits until it takes logins"),
            _ => Check::warn(id, what).cure("look at it in the workspace"),
        };
        check.with("state", endpoint.state.as_str())
    }
}

fn parent(branches: &[Branch], target: &Target<'_>) -> Check {
    let (id, wanted) = (ALL[3].0, &target.parent.branch);
    match branches.iter().find(|branch| branch.id() == wanted.as_str()) {
        Some(parent) if parent.expires.is_some() => Check::fail(
            id,
            format!("the parent branch {wanted} has an expiry, so nothing can be forked from it"),
        )
        .cure("name another one with `LAKEBASE_PARENT_BRANCH`, or take its expiry away"),
        Some(parent) => Check::ok(id, format!("the parent branch {wanted} is {}", parent.state)),
        None => {
            let roots = branches.iter().filter(|branch| branch.expires.is_none()).map(Branch::id);
            let others: Vec<&str> = roots.take(5).collect();
            Check::fail(id, format!("there is no parent branch {wanted}"))
                .cure(format!("correct `LAKEBASE_PARENT_BRANCH`; there are: {}", others.join(", ")))
        }
    }
}

/// One call, which may find nothing.
async fn within<T>(doing: &str, call: impl Future<Output = ApiResult<Option<T>>>) -> Result<Option<T>> {
    match tokio::time::timeout(WITHIN, call).await {
        Ok(Err(error)) if error.is_not_found() => Ok(None),
        Ok(answer) => answer.map_err(|error| error.into_error(doing)),
        Err(_) => {
            Err(Error::new(Kind::Unreachable, format!("{doing} took more than {} s", WITHIN.as_secs()))
                .hint("run the same command again"))
        }
    }
}

fn no_project(target: &Target<'_>) -> Error {
    Error::new(Kind::NoProject, format!("there is no Lakebase project `{}`", target.parent.project))
        .hint("run `docker compose lakebase init` or `cargo lakebase init` to make it")
        .hint("or correct `LAKEBASE_PROJECT_NAME`, or ask its owner to let you in")
}

#[cfg(test)]
mod tests;
