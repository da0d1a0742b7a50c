//! `branches`: every branch of the project, and whose it is.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::roster::Roster;
use super::session::{Session, SettingArgs, World};
use super::table;
use crate::api::Branch;
use crate::branch::BranchId;
use crate::error::Result;
use crate::identity::Fate;
use crate::record::Entry;
use crate::{slots, ui};

/// Arguments of `branches`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Looks and prints; changes nothing.
///
/// # Errors
/// Those of the session and of [`Roster::read`].
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let session = Session::open(args.settings, world)?;
    let client = session.client().await?;
    let roster = Roster::read(&session, &client).await?;
    let rows = rows(&roster.branches, &roster.recorded, &session.id, &session.identity.branch);
    let used = slots::used(&roster.branches);
    // More than we know of: then the project has another limit.
    let limit = (used <= slots::LIMIT).then_some(slots::LIMIT);
    if args.json {
        world.ui.json(&json!({
            "project": session.target.path.project.to_string(),
            "slots": {"used": used, "limit": limit},
            "branches": rows.iter().map(Row::document).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let now = Timestamp::now();
    let header = ["", "BRANCH", "STATE", "AGE", "EXPIRES", "SIZE", "WHOSE", "GIT BRANCH"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(header).chain(rows.iter().map(|row| row.cells(now))).collect();
    for line in table::lines(&cells) {
        world.ui.data(&line);
    }
    world.ui.note(&match limit {
        Some(limit) => format!("{used} of {limit} branch slots are used"),
        None => format!("{used} branch slots are used"),
    });
    Ok(())
}

/// A branch and what is known of it here.
#[derive(Debug, PartialEq)]
struct Row<'a> {
    branch: &'a Branch,
    /// Whether it is the current git branch's own.
    current: bool,
    whose: Whose<'a>,
}

#[derive(Debug, PartialEq)]
enum Whose<'a> {
    /// This user's: its git branch, what became of that, and when it was last used from here.
    Yours { branch: &'a str, fate: Fate, used: Option<Timestamp> },
    /// Somebody's: the readable words of its id.
    Others(&'a str),
    /// Nobody's in particular.
    Projects,
}

/// Every branch, what is most likely looked for first: the current one, the user's own, the project's, then all others.
fn rows<'a>(
    branches: &'a [Branch],
    recorded: &'a [(Entry, Fate)],
    own: &BranchId,
    git_branch: &'a str,
) -> Vec<Row<'a>> {
    let row = |branch: &'a Branch| {
        let current = branch.id() == own.id().as_str();
        let entry = recorded.iter().find(|(entry, _)| entry.id().id().as_str() == branch.id());
        let whose = match entry {
            Some((entry, fate)) => {
                Whose::Yours { branch: &entry.identity.branch, fate: *fate, used: Some(entry.used) }
            }
            // Made on another machine, for the same user on the same git branch.
            None if current => Whose::Yours { branch: git_branch, fate: Fate::CheckedOut, used: None },
            None => others(branch.id()).map_or(Whose::Projects, Whose::Others),
        };
        Row { branch, current, whose }
    };
    let mut rows: Vec<Row<'a>> = branches.iter().map(row).collect();
    rows.sort_by_key(Row::order);
    rows
}

/// The readable words of an id of ours: what stands between prefix and hash.
fn others(id: &str) -> Option<&str> {
    let words = ["dev-", "ci-", "check-"].iter().find_map(|prefix| id.strip_prefix(prefix))?;
    let is_hash = |text: &str| text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match words.rsplit_once('-') {
        Some((words, hash)) if is_hash(hash) => Some(words),
        _ if is_hash(words) => Some(""),
        _ => Some(words),
    }
}

impl Row<'_> {
    fn order(&self) -> (u8, Reverse<Option<Timestamp>>, String) {
        let (rank, used) = match &self.whose {
            _ if self.current => (0, None),
            Whose::Yours { fate, used, .. } => (if fate.is_over() { 2 } else { 1 }, *used),
            Whose::Projects => (3, None),
            Whose::Others(_) => (4, None),
        };
        (rank, Reverse(used), self.branch.id().to_owned())
    }

    /// What makes it other than a copy that comes and goes.
    fn marks(&self) -> Vec<&'static str> {
        let Branch { default, protected, parent, .. } = self.branch;
        let marks = [(*default, "default"), (*protected, "protected"), (parent.is_none(), "root")];
        marks.into_iter().filter_map(|(has, mark)| has.then_some(mark)).collect()
    }

    fn cells(&self, now: Timestamp) -> [String; 8] {
        let branch = self.branch;
        let age = |at: Timestamp| ui::duration(now.duration_since(at));
        let expires = |at: Timestamp| match at.duration_since(now) {
            left if left.is_positive() => format!("in {}", ui::duration(left)),
            _ => "expired".to_owned(),
        };
        let mut marks = self.marks().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let (whose, of) = match &self.whose {
            Whose::Yours { branch, fate, .. } => {
                marks.insert(0, fate.to_string());
                ("you", *branch)
            }
            Whose::Others(words) => (*words, ""),
            Whose::Projects => ("", ""),
        };
        let marks = marks.join(", ");
        let whose = match (whose, marks.as_str()) {
            (whose, "") => whose.to_owned(),
            ("", marks) => marks.to_owned(),
            (whose, marks) => format!("{whose} ({marks})"),
        };
        [
            if self.current { "*" } else { "" }.to_owned(),
            branch.id().to_owned(),
            branch.state.clone(),
            branch.forked.map(age).unwrap_or_default(),
            branch.expires.map_or_else(|| "never".to_owned(), expires),
            branch.size.map(table::size).unwrap_or_default(),
            whose,
            of.to_owned(),
        ]
    }

    fn document(&self) -> Value {
        let branch = self.branch;
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let (git_branch, fate, used, words) = match &self.whose {
            Whose::Yours { branch, fate, used } => (Some(*branch), Some(fate.to_string()), *used, None),
            Whose::Others(words) => (None, None, None, Some(*words)),
            Whose::Projects => (None, None, None, None),
        };
        json!({
            "id": branch.id(),
            "path": branch.name,
            "current": self.current,
            "yours": git_branch.is_some(),
            "git_branch": git_branch,
            "git_state": fate,
            "used": time(used),
            "words": words,
            "state": branch.state,
            "default": branch.default,
            "protected": branch.protected,
            "parent": branch.parent,
            "forked": time(branch.forked),
            "expires": time(branch.expires),
            "size_bytes": branch.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::GitIdentity;

    const PARENT: &str = "projects/shop/branches/production";

    fn now() -> Timestamp {
        "2026-01-10T00:00:00Z".parse().unwrap()
    }

    fn entry(branch: &str, used: &str) -> Entry {
        let identity =
            GitIdentity { user: "Ada".into(), email: "ada@example.com".into(), branch: branch.into() };
        let used = used.parse().unwrap();
        Entry { project_uid: "uid".into(), identity, repository: "/shop/.git".into(), used }
    }

    fn own(branch: &str) -> BranchId {
        entry(branch, "2026-01-01T00:00:00Z").id()
    }

    fn branch(id: &str) -> Branch {
        Branch {
            name: format!("projects/shop/branches/{id}"),
            uid: "br-1".into(),
            state: "READY".into(),
            default: false,
            protected: false,
            expires: Some("2026-01-10T05:00:00Z".parse().unwrap()),
            parent: Some(PARENT.into()),
            forked: Some("2026-01-09T21:00:00Z".parse().unwrap()),
            created: None,
            size: Some(31_457_280),
        }
    }

    #[test]
    fn what_is_looked_for_stands_first() {
        let production =
            Branch { default: true, protected: true, parent: None, expires: None, ..branch("production") };
        let all = [
            branch("dev-bob-x-123456"),
            production,
            branch(&own("merged").to_string()),
            branch(&own("old").to_string()),
            branch(&own("new").to_string()),
            branch(&own("here").to_string()),
            branch("check-7f"),
        ];
        let recorded = [
            (entry("merged", "2026-01-09T00:00:00Z"), Fate::Merged),
            (entry("old", "2026-01-01T00:00:00Z"), Fate::Open),
            (entry("new", "2026-01-08T00:00:00Z"), Fate::CheckedOut),
            (entry("deleted-meanwhile", "2026-01-08T00:00:00Z"), Fate::Open),
        ];
        let rows = rows(&all, &recorded, &own("here"), "here");
        let read: Vec<_> = rows.iter().map(|row| row.cells(now())).collect();
        let column = |at: usize| read.iter().map(|cells| cells[at].as_str()).collect::<Vec<_>>();
        assert_eq!(column(0), ["*", "", "", "", "", "", ""]);
        assert_eq!(
            column(6),
            [
                "you (checked out)",
                "you (checked out)",
                "you (open)",
                "you (merged)",
                "default, protected, root",
                "7f",
                "bob-x",
            ]
        );
        assert_eq!(column(7), ["here", "new", "old", "merged", "", "", ""]);
        assert_eq!(column(3)[0], "3 h");
        assert_eq!(column(4)[0], "in 5 h");
        assert_eq!(column(4)[4], "never");
        assert_eq!(column(5)[0], "31.5 MB");
    }

    #[test]
    fn a_document_says_all_that_the_rows_say() {
        let all = [branch(&own("here").to_string()), branch("dev-bob-x-123456")];
        let recorded = [(entry("here", "2026-01-09T00:00:00Z"), Fate::CheckedOut)];
        let rows = rows(&all, &recorded, &own("here"), "here");
        let read: Vec<_> = rows.iter().map(Row::document).collect();
        assert_eq!((&read[0]["current"], &read[0]["yours"]), (&json!(true), &json!(true)));
        assert_eq!((&read[0]["git_branch"], &read[0]["git_state"]), (&json!("here"), &json!("checked out")));
        assert_eq!(read[0]["used"], "2026-01-09T00:00:00Z");
        assert_eq!((&read[1]["yours"], &read[1]["words"]), (&json!(false), &json!("bob-x")));
        assert_eq!(read[1]["git_branch"], Value::Null);
    }

    #[test]
    fn whose_a_branch_is_stands_in_its_id() {
        assert_eq!(others("dev-ada-lovelace-x-653c23"), Some("ada-lovelace-x"));
        assert_eq!(others("ci-main-653c23"), Some("main"));
        assert_eq!(others("dev-653c23"), Some(""));
        assert_eq!(others("dev-ada-feature"), Some("ada-feature"));
        assert_eq!(others("production"), None);
    }
}
