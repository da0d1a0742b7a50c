//! A job of a CI service: a checkout without a git branch, often without a git user, and variables that say more.

use super::head::is_valid;
use crate::env_vars::{self, Env};

/// The job that we run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The variable that says that this is CI.
    pub(super) marker: &'static str,
    /// The branch that the job works on, and the variable that names it.
    pub(super) branch: Option<(String, &'static str)>,
}

impl Job {
    /// The job, if this is one. The variables of a service whose own marker is set come before those of the others.
    pub(super) fn of(env: &Env) -> Option<Self> {
        let set = |name: &str| env.get(name).is_some_and(|value| !matches!(value, "false" | "0"));
        let services = || env_vars::CI_SERVICES.into_iter();
        let own = services().find(|(marker, _)| set(marker));
        let marker = own.map(|(marker, _)| marker).or_else(|| set(env_vars::CI).then_some(env_vars::CI))?;
        let named = |variables: &'static [&'static str]| {
            variables.iter().find_map(|name| Some((branch(env.get(name)?)?, *name)))
        };
        let of_own = own.and_then(|(_, variables)| named(variables));
        Some(Self {
            marker,
            branch: of_own.or_else(|| services().find_map(|(_, variables)| named(variables))),
        })
    }
}

/// A branch as the services write it: bare, as a reference, or with the remote's name before it.
fn branch(value: &str) -> Option<String> {
    let value = value.trim();
    let short = value.strip_prefix("refs/heads/").or_else(|| value.strip_prefix("refs/")).unwrap_or(value);
    let short = short.strip_prefix("remotes/").unwrap_or(short);
    let short = short.strip_prefix("origin/").unwrap_or(short);
    // What is no name of a branch could be anything, a line end included.
    (is_valid(short.as_bytes()) && short != "HEAD").then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(env: &[(&str, &str)]) -> Option<(&'static str, Option<(String, &'static str)>)> {
        Job::of(&env.iter().copied().collect()).map(|job| (job.marker, job.branch))
    }

    fn named(env: &[(&str, &str)]) -> (String, &'static str) {
        job(env).unwrap().1.unwrap()
    }

    #[test]
    fn each_service_names_its_branch() {
        for (env, branch, variable) in [
            (
                &[
                    ("GITHUB_ACTIONS", "true"),
                    ("GITHUB_HEAD_REF", "feature/x"),
                    ("GITHUB_REF_NAME", "7/merge"),
                ][..],
                "feature/x",
                "GITHUB_HEAD_REF",
            ),
            (
                &[("GITHUB_ACTIONS", "true"), ("GITHUB_HEAD_REF", ""), ("GITHUB_REF_NAME", "main")],
                "main",
                "GITHUB_REF_NAME",
            ),
            (&[("GITLAB_CI", "true"), ("CI_COMMIT_REF_NAME", "main")], "main", "CI_COMMIT_REF_NAME"),
            (
                &[
                    ("GITLAB_CI", "true"),
                    ("CI_COMMIT_REF_NAME", "x"),
                    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "y"),
                ],
                "y",
                "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
            ),
            (&[("BITBUCKET_BUILD_NUMBER", "7"), ("BITBUCKET_BRANCH", "b")], "b", "BITBUCKET_BRANCH"),
            (&[("BUILDKITE", "true"), ("BUILDKITE_BRANCH", "b")], "b", "BUILDKITE_BRANCH"),
            (&[("CIRCLECI", "true"), ("CIRCLE_BRANCH", "b")], "b", "CIRCLE_BRANCH"),
            (
                &[("TRAVIS", "true"), ("TRAVIS_PULL_REQUEST_BRANCH", "b"), ("TRAVIS_BRANCH", "main")],
                "b",
                "TRAVIS_PULL_REQUEST_BRANCH",
            ),
            (&[("TRAVIS", "true"), ("TRAVIS_BRANCH", "main")], "main", "TRAVIS_BRANCH"),
            (&[("TF_BUILD", "True"), ("BUILD_SOURCEBRANCH", "refs/heads/a/b")], "a/b", "BUILD_SOURCEBRANCH"),
            (
                &[
                    ("TF_BUILD", "True"),
                    ("BUILD_SOURCEBRANCH", "refs/pull/7/merge"),
                    ("SYSTEM_PULLREQUEST_SOURCEBRANCH", "refs/heads/b"),
                ],
                "b",
                "SYSTEM_PULLREQUEST_SOURCEBRANCH",
            ),
            (
                &[("TF_BUILD", "True"), ("BUILD_SOURCEBRANCH", "refs/tags/v1")],
                "tags/v1",
                "BUILD_SOURCEBRANCH",
            ),
            (&[("JENKINS_URL", "https://j"), ("GIT_BRANCH", "origin/a/b")], "a/b", "GIT_BRANCH"),
            (
                &[("JENKINS_URL", "https://j"), ("GIT_BRANCH", "PR-7"), ("CHANGE_BRANCH", "b")],
                "b",
                "CHANGE_BRANCH",
            ),
            (&[("CI", "true"), ("GIT_BRANCH", "refs/remotes/origin/b")], "b", "GIT_BRANCH"),
        ] {
            assert_eq!(named(env), (branch.to_owned(), variable), "{env:?}");
        }
    }

    #[test]
    fn outside_of_ci_nothing_names_a_branch() {
        assert_eq!(job(&[("GITHUB_REF_NAME", "main"), ("GIT_BRANCH", "main")]), None);
        assert_eq!(job(&[("CI", "false"), ("CIRCLECI", "0"), ("CIRCLE_BRANCH", "main")]), None);
    }

    #[test]
    fn what_is_no_name_of_a_branch_names_none() {
        for value in [" ", "a b", "a\nb", "\u{1b}[31m", "..", "refs/heads/", "origin/", "x\u{0}"] {
            assert_eq!(job(&[("CI", "1"), ("GIT_BRANCH", value)]), Some(("CI", None)), "{value:?}");
        }
        let next = [
            ("GITLAB_CI", "1"),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "a b"),
            ("CI_COMMIT_REF_NAME", "分支"),
        ];
        assert_eq!(named(&next), ("分支".to_owned(), "CI_COMMIT_REF_NAME"));
    }

    #[test]
    fn the_service_that_runs_the_job_has_the_word() {
        let both =
            [("CI", "1"), ("GITHUB_REF_NAME", "other"), ("BUILDKITE", "true"), ("BUILDKITE_BRANCH", "ours")];
        assert_eq!(job(&both), Some(("BUILDKITE", Some(("ours".to_owned(), "BUILDKITE_BRANCH")))));
        assert_eq!(job(&[("CI", "yes")]), Some(("CI", None)));
        assert_eq!(job(&[("CI", "1"), ("GIT_BRANCH", "origin/HEAD")]), Some(("CI", None)));
    }
}
