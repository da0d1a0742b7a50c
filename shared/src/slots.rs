//! Which branches of a full project may be given up: only what this machine recorded as made for its user. Pure.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use crate::api::Branch;
use crate::branch::BranchId;
use crate::identity::{Fate, GitIdentity};
use crate::plan;
use crate::record::Entry;

/// Branches of a project that are not archived, at most.
pub const LIMIT: usize = 10;

/// As long after its last use, a run of CI may still be at work. It has no git branch to tell by.
const RUN: SignedDuration = SignedDuration::from_hours(1);

/// A branch that may be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id, made of the recorded identity: what a deletion takes.
    pub id: BranchId,
    /// What was recorded of it.
    pub entry: Entry,
    /// What became of its git branch.
    pub fate: Fate,
    /// The branch as it was listed.
    pub branch: Branch,
    /// How long ago it was last used from here.
    pub unused: SignedDuration,
}

impl Candidate {
    /// Whether giving it up makes room for another: an archived branch does not count against [`LIMIT`].
    pub fn holds_slot(&self) -> bool {
        holds_slot(&self.branch)
    }
}

/// How many branches count against [`LIMIT`].
pub fn used(branches: &[Branch]) -> usize {
    branches.iter().filter(|branch| holds_slot(branch)).count()
}

/// The entries of one person, each with what became of its git branch. Two people may share a machine's account; their
/// e-mail tells them apart, as it does in a branch's id.
pub fn of_user(entries: Vec<Entry>, user: &GitIdentity) -> Vec<(Entry, Fate)> {
    let own = entries.into_iter().filter(|entry| entry.identity.email == user.email);
    own.map(|entry| {
        let fate = Fate::of(&entry.repository, &entry.identity.branch);
        (entry, fate)
    })
    .collect()
}

/// The branches that may be given up, the least missed first: those whose git branch is merged or gone, then those that
/// have expired and only wait to be cleared away, then the one that was used the longest time ago.
///
/// `listed` is every branch of one project, and `recorded` what was recorded of it ([`of_user`]). What is not in both,
/// what a worktree is on, the `current` one, what was just used by who knows whom, and whatever the service itself would not
/// let go is never among them.
pub fn candidates(
    listed: &[Branch],
    recorded: &[(Entry, Fate)],
    current: &BranchId,
    now: Timestamp,
) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for (entry, fate) in recorded {
        let id = entry.id();
        let of_id = || recorded.iter().filter(|(other, _)| other.id() == id);
        if id == *current
            || of_id().any(|(_, fate)| *fate == Fate::CheckedOut)
            || found.iter().any(|candidate| candidate.id == id)
        {
            continue;
        }
        let mut same = listed.iter().filter(|branch| branch.id() == id.id().as_str()).peekable();
        let Some(branch) = same.peek().copied().cloned() else { continue };
        if !same.all(|branch| is_disposable(branch, listed)) {
            continue;
        }
        // Where one id was recorded twice, the more cautious of the two counts.
        let fate = of_id().map(|(_, fate)| *fate).max().unwrap_or(*fate);
        let entry = of_id().map(|(entry, _)| entry).max_by_key(|entry| entry.used).unwrap_or(entry).clone();
        let unused = now.duration_since(entry.used);
        if fate == Fate::Unknown && unused < RUN {
            continue;
        }
        found.push(Candidate { id, entry, fate, branch, unused });
    }
    let has_expired = |candidate: &Candidate| candidate.branch.expires.is_some_and(|at| at <= now);
    found.sort_by_cached_key(|candidate| {
        let missed = (!candidate.fate.is_over(), !has_expired(candidate));
        (missed, Reverse(candidate.unused), candidate.id.to_string())
    });
    found
}

fn holds_slot(branch: &Branch) -> bool {
    branch.state != "ARCHIVED"
}

/// Whether it has one of our prefixes and the service would let it go: neither default, protected nor a root, and nobody's
/// parent.
fn is_disposable(branch: &Branch, listed: &[Branch]) -> bool {
    let is_parent = listed.iter().any(|other| other.parent.as_deref() == Some(branch.name.as_str()));
    plan::to_gone(Some(branch)).is_ok() && !is_parent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "projects/shop/branches/production";

    fn now() -> Timestamp {
        "2026-01-10T00:00:00Z".parse().unwrap()
    }

    fn identity(branch: &str) -> GitIdentity {
        GitIdentity { user: "Ada".into(), email: "ada@example.com".into(), branch: branch.into() }
    }

    fn entry(branch: &str, hours: i64) -> Entry {
        Entry {
            project_uid: "uid".into(),
            identity: identity(branch),
            repository: "/shop/.git".into(),
            used: now() - SignedDuration::from_hours(hours),
        }
    }

    fn listed(branch: &str) -> Branch {
        Branch {
            name: format!("projects/shop/branches/{}", BranchId::of(&identity(branch))),
            uid: "br-1".into(),
            state: "READY".into(),
            default: false,
            protected: false,
            expires: Some(now() + SignedDuration::from_hours(1)),
            parent: Some(PARENT.into()),
            forked: None,
            created: None,
            size: None,
        }
    }

    fn current() -> BranchId {
        BranchId::of(&identity("current"))
    }

    fn names(listed: &[Branch], recorded: &[(Entry, Fate)]) -> Vec<String> {
        let found = candidates(listed, recorded, &current(), now());
        found.into_iter().map(|candidate| candidate.entry.identity.branch).collect()
    }

    #[test]
    fn what_is_over_goes_first_then_what_expired_then_what_was_not_used_for_long() {
        let branches = ["recent", "old", "merged", "gone", "expired", "away"];
        let mut all: Vec<Branch> = branches.into_iter().map(listed).collect();
        all[4].expires = Some(now());
        let recorded = [
            (entry("recent", 1), Fate::Open),
            (entry("old", 30), Fate::Open),
            (entry("merged", 2), Fate::Merged),
            (entry("gone", 3), Fate::Gone),
            (entry("expired", 1), Fate::Open),
            (entry("away", 20), Fate::Unknown),
        ];
        assert_eq!(names(&all, &recorded), ["gone", "merged", "expired", "old", "away", "recent"]);
        let first = &candidates(&all, &recorded, &current(), now())[0];
        assert_eq!((first.unused, &first.branch), (SignedDuration::from_hours(3), &all[3]));
    }

    #[test]
    fn what_is_in_use_or_not_recorded_is_never_offered() {
        let all = ["current", "in-a-worktree", "of-somebody", "mine", "of-ci", "of-ci-before"].map(listed);
        let recorded = [
            (entry("current", 9), Fate::Gone),
            (entry("in-a-worktree", 9), Fate::CheckedOut),
            (entry("not-there-any-more", 9), Fate::Gone),
            (entry("mine", 9), Fate::Open),
            (entry("of-ci", 0), Fate::Unknown),
            (entry("of-ci-before", 1), Fate::Unknown),
        ];
        assert_eq!(names(&all, &recorded), ["mine", "of-ci-before"]);
    }

    #[test]
    fn what_the_service_would_not_let_go_is_never_offered() {
        let recorded = [(entry("mine", 9), Fate::Gone)];
        let mine = listed("mine");
        let child = Branch { parent: Some(mine.name.clone()), ..listed("child") };
        for guarded in [
            Branch { default: true, ..mine.clone() },
            Branch { protected: true, ..mine.clone() },
            Branch { parent: None, ..mine.clone() },
        ] {
            assert_eq!(names(std::slice::from_ref(&guarded), &recorded), [""; 0]);
            // However often it is listed.
            assert_eq!(names(&[mine.clone(), guarded], &recorded), [""; 0]);
        }
        assert_eq!(names(&[mine.clone(), child], &recorded), [""; 0]);
        assert_eq!(names(&[mine], &recorded), ["mine"]);
    }

    #[test]
    fn of_two_records_of_one_branch_the_cautious_one_counts() {
        let all = [listed("twice")];
        let with = |second: Fate| {
            let recorded = [(entry("twice", 5), Fate::Gone), (entry("twice", 2), second)];
            candidates(&all, &recorded, &current(), now())
        };
        assert_eq!(with(Fate::CheckedOut), []);
        let [found] = with(Fate::Open).try_into().unwrap();
        assert_eq!((found.fate, found.unused), (Fate::Open, SignedDuration::from_hours(2)));
    }

    #[test]
    fn an_archived_branch_holds_no_slot() {
        let archived = Branch { state: "ARCHIVED".into(), ..listed("archived") };
        let all = [listed("one"), archived, Branch { state: "INIT".into(), ..listed("two") }];
        assert_eq!(used(&all), 2);
        let recorded = [(entry("archived", 1), Fate::Open), (entry("one", 2), Fate::Open)];
        let found = candidates(&all, &recorded, &current(), now());
        assert_eq!(found.iter().map(Candidate::holds_slot).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn two_people_of_one_account_are_told_apart() {
        let bob = GitIdentity { email: "bob@example.com".into(), ..identity("his") };
        let entries = vec![entry("mine", 1), Entry { identity: bob, ..entry("his", 1) }];
        let found = of_user(entries, &identity("any"));
        assert_eq!(found, [(entry("mine", 1), Fate::Unknown)]);
    }

    fn some_branch() -> impl Strategy<Value = Branch> {
        let ids = prop_oneof![
            // Few enough that records and lists meet.
            (0..6_u8).prop_map(|n| BranchId::of(&identity(&n.to_string())).to_string()),
            (0..3_u8).prop_map(|n| format!("dev-somebody-else-{n}")),
            Just("production".to_owned()),
            Just("check-1".to_owned()),
            ".{0,12}",
        ];
        let parents = prop_oneof![
            6 => Just(Some(PARENT.to_owned())),
            1 => Just(None),
            1 => (0..6_u8).prop_map(|n| Some(listed(&n.to_string()).name)),
        ];
        let states = prop::sample::select(vec!["READY", "INIT", "ARCHIVED", "DELETED", "", "?"]);
        let guards = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
        (ids, parents, states, guards, prop::option::of(-50_i64..50)).prop_map(
            |(id, parent, state, (default, protected), expires)| Branch {
                name: format!("projects/shop/branches/{id}"),
                state: state.into(),
                default,
                protected,
                parent,
                expires: expires.map(|hours| now() + SignedDuration::from_hours(hours)),
                ..listed("")
            },
        )
    }

    fn some_record() -> impl Strategy<Value = (Entry, Fate)> {
        let fates =
            prop::sample::select(vec![Fate::Gone, Fate::Merged, Fate::Open, Fate::CheckedOut, Fate::Unknown]);
        let branches = prop_oneof![4 => (0..6_u8).prop_map(|n| n.to_string()), 1 => ".{0,12}"];
        (branches, -50_i64..50, fates).prop_map(|(branch, hours, fate)| (entry(&branch, hours), fate))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn only_what_is_recorded_own_and_disposable_is_ever_offered(
            all in prop::collection::vec(some_branch(), 0..14),
            recorded in prop::collection::vec(some_record(), 0..10),
            at in 0..6_u8,
        ) {
            let current = BranchId::of(&identity(&at.to_string()));
            let found = candidates(&all, &recorded, &current, now());
            for Candidate { id, entry, branch, fate, unused } in &found {
                prop_assert!(*fate != Fate::Unknown || *unused >= RUN);
                prop_assert_eq!(&entry.id(), id);
                prop_assert!(recorded.iter().any(|(recorded, _)| recorded == entry));
                prop_assert!(all.contains(branch) && branch.id() == id.id().as_str());
                prop_assert!(id.to_string().starts_with("dev-ada-") || id.to_string().starts_with("ci-"));
                prop_assert!(*id != current);
                prop_assert!(recorded.iter().all(|(other, fate)| other.id() != *id || *fate != Fate::CheckedOut));
                for same in all.iter().filter(|other| other.id() == branch.id()) {
                    prop_assert!(!same.default && !same.protected && same.parent.is_some());
                }
                prop_assert!(all.iter().all(|other| other.parent.as_ref() != Some(&branch.name)));
            }
            // Each once, and what is over before what is not.
            let ids: std::collections::BTreeSet<String> = found.iter().map(|it| it.id.to_string()).collect();
            prop_assert_eq!(ids.len(), found.len());
            prop_assert!(found.is_sorted_by_key(|it| !it.fate.is_over()));
        }

        #[test]
        fn whatever_is_recorded_and_disposable_is_offered(
            recorded in prop::collection::vec(some_record(), 0..10),
        ) {
            let all: Vec<Branch> = recorded.iter().map(|(entry, _)| listed(&entry.identity.branch)).collect();
            let found = candidates(&all, &recorded, &current(), now());
            for (entry, _) in &recorded {
                let id = entry.id();
                let of_id = || recorded.iter().filter(|(it, _)| it.id() == id);
                let in_use = of_id().any(|(_, fate)| *fate == Fate::CheckedOut);
                let unknown = of_id().any(|(_, fate)| *fate == Fate::Unknown);
                let run = unknown && of_id().any(|(it, _)| now().duration_since(it.used) < RUN);
                prop_assert_eq!(found.iter().any(|candidate| candidate.id == id), !in_use && !run);
            }
        }
    }
}
