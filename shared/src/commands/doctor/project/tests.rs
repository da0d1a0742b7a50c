use super::super::check::Status;
use super::*;
use crate::branch::ResourceId;
use crate::config::{Key, Layer, Settings};
use crate::env_vars::Env;

fn now() -> Timestamp {
    "2026-01-10T00:00:00Z".parse().unwrap()
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

fn path(branch: &str) -> BranchPath {
    BranchPath { project: id("shop"), branch: id(branch) }
}

fn configured(more: &[(Key, &str)]) -> Configured {
    let flags: Layer = more.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Configured { settings: Settings::layered(flags, &Env::default(), None), source: None }
}

fn branch(id: &str) -> Branch {
    Branch {
        name: path(id).to_string(),
        uid: "br-1".into(),
        state: "READY".into(),
        default: false,
        protected: false,
        expires: Some(now() + SignedDuration::from_hours(20)),
        parent: Some(path("production").to_string()),
        forked: Some(now() - SignedDuration::from_hours(3)),
        created: None,
        size: None,
    }
}

fn production() -> Branch {
    Branch { default: true, parent: None, expires: None, ..branch("production") }
}

fn endpoint(state: &str) -> Endpoint {
    Endpoint { name: "e".into(), host: "h".into(), port: 5432, state: state.into(), disabled: false }
}

/// A project with production and the branch `dev-a`.
fn facts() -> Facts {
    Facts {
        project: Ok(Project { uid: "u-1".into(), native_login: false, retention: None }),
        branches: Ok(vec![production(), branch("dev-a")]),
        branch: Ok(Some(branch("dev-a"))),
        endpoint: Ok(Some(endpoint("IDLE"))),
    }
}

fn checks(facts: &Facts, project: &Configured, branch: Option<&str>) -> Vec<Check> {
    let target = Target { project, parent: path("production"), path: branch.map(path) };
    facts.checks(&target, now())
}

#[track_caller]
fn status(facts: &Facts, wanted: [Status; 6]) {
    let checks = checks(facts, &configured(&[]), Some("dev-a"));
    let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ALL.map(|(id, _)| id));
    let found: Vec<Status> = checks.iter().map(|check| check.status).collect();
    assert_eq!(found, wanted, "{checks:#?}");
}

use Status::{Fail, Ok as Well, Skip, Warn};

#[test]
fn a_healthy_project_and_one_whose_branch_is_not_made_yet() {
    status(&facts(), [Well; 6]);
    let new = Facts { branch: Ok(None), endpoint: Ok(None), ..facts() };
    status(&new, [Well, Well, Well, Well, Well, Skip]);
}

#[test]
fn without_the_project_nothing_else_is_looked_at() {
    let denied = || Error::new(Kind::Denied, "no");
    status(&Facts { project: Err(denied()), ..facts() }, [Fail, Skip, Skip, Skip, Skip, Skip]);
    let other = configured(&[(Key::ProjectId, "u-2")]);
    let found = checks(&facts(), &other, Some("dev-a"));
    assert!(found[0].status == Fail && found[0].what.contains("u-2"), "{found:#?}");
    // And what may not be listed is a matter of rights.
    status(&Facts { branches: Err(denied()), ..facts() }, [Well, Fail, Skip, Skip, Well, Well]);
    status(&Facts { branch: Err(denied()), ..facts() }, [Well, Fail, Well, Well, Skip, Skip]);
}

#[test]
fn a_full_project_is_a_failure_only_for_who_has_no_branch() {
    let mut full: Vec<Branch> = (0..8).map(|n| branch(&format!("dev-x{n}"))).collect();
    full.extend([production(), branch("dev-a")]);
    let found = checks(&Facts { branches: Ok(full.clone()), ..facts() }, &configured(&[]), Some("dev-a"));
    assert_eq!((found[2].status, &found[2].data["free"]), (Warn, &0.into()));
    let found = checks(&Facts { branches: Ok(full.clone()), ..facts() }, &configured(&[]), Some("dev-b"));
    assert!(found[2].status == Fail && found[2].cure[1].contains("--free-slot"), "{found:#?}");
    // An archived one takes no slot.
    full[0].state = "ARCHIVED".into();
    let found = checks(&Facts { branches: Ok(full), ..facts() }, &configured(&[]), Some("dev-b"));
    assert_eq!((found[2].status, &found[2].data["used"]), (Well, &9.into()));
}

#[test]
fn a_parent_must_be_there_and_live_for_ever() {
    let gone = Facts { branches: Ok(vec![branch("dev-a"), Branch { ..production() }]), ..facts() };
    let project = configured(&[]);
    let target = Target { project: &project, parent: path("prodction"), path: None };
    let found = gone.checks(&target, now());
    assert!(found[3].status == Fail && found[3].cure[0].contains("there are: production"), "{found:#?}");
    let mortal = Branch { expires: Some(now()), ..production() };
    let found = checks(&Facts { branches: Ok(vec![mortal]), ..facts() }, &project, None);
    assert_eq!((found[3].status, found[4].status, found[5].status), (Fail, Skip, Skip));
}

#[test]
fn a_branch_that_is_old_or_about_to_go_is_worth_a_word() {
    let of = |change: fn(&mut Branch)| {
        let mut branch = branch("dev-a");
        change(&mut branch);
        let found = checks(&Facts { branch: Ok(Some(branch)), ..facts() }, &configured(&[]), Some("dev-a"));
        found[4].clone()
    };
    let old = of(|branch| branch.forked = Some(now() - SignedDuration::from_hours(30)));
    assert!(old.status == Warn && old.cure[0].contains("--fresh"), "{old:?}");
    assert_eq!(of(|branch| branch.expires = Some(now() + SignedDuration::from_mins(5))).status, Warn);
    assert_eq!(of(|branch| branch.expires = Some(now())).status, Warn);
    assert_eq!(of(|branch| branch.state = "ARCHIVED".into()).status, Warn);
    // What no command would touch is a failure in that command's own words.
    assert_eq!(of(|branch| branch.protected = true).status, Fail);
    assert_eq!(of(|branch| branch.parent = Some(path("other").to_string())).status, Fail);
}

#[test]
fn a_sleeping_endpoint_is_fine_and_one_that_is_switched_off_is_not() {
    let of = |endpoint: Option<Endpoint>| {
        let found = checks(&Facts { endpoint: Ok(endpoint), ..facts() }, &configured(&[]), Some("dev-a"));
        found[5].status
    };
    assert_eq!(
        ["ACTIVE", "IDLE", "INIT", "DEGRADED"].map(|state| of(Some(endpoint(state)))),
        [Well, Well, Warn, Warn]
    );
    assert_eq!(of(Some(Endpoint { disabled: true, ..endpoint("IDLE") })), Fail);
    assert_eq!(of(None), Warn);
}
