//! Whether a branch still tests the project's migrations: the history that its migration tool keeps in it, held against the
//! project's files, against the files as they were when they ran, and against its parent. [`compare`] is pure;
//! [`files`] reads the project, [`history`] the database.

mod alembic;
mod craft;
mod diesel;
mod django;
pub mod files;
mod flyway;
pub mod history;
mod prisma;
mod python;
mod rails;
mod refinery;
mod sqlx;
mod sums;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::craft::Craft;
pub use self::craft::{Migration, Ran, Row};

/// A migration tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tool {
    Alembic,
    Django,
    Sqlx,
    Diesel,
    Refinery,
    Flyway,
    Prisma,
    Rails,
}

impl Tool {
    /// Every tool that is known.
    pub const ALL: [Self; 8] = [
        Self::Alembic,
        Self::Django,
        Self::Sqlx,
        Self::Diesel,
        Self::Refinery,
        Self::Flyway,
        Self::Prisma,
        Self::Rails,
    ];

    /// As its users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alembic => "Alembic",
            Self::Django => "Django",
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::Refinery => "refinery",
            Self::Flyway => "Flyway",
            Self::Prisma => "Prisma",
            Self::Rails => "Rails",
        }
    }

    /// Whether its table holds a sum of each file, so that an edit shows without a record of ours.
    pub fn keeps_sums(self) -> bool {
        matches!(self, Self::Sqlx | Self::Refinery | Self::Flyway | Self::Prisma)
    }

    /// The table that it keeps its history in.
    pub fn table(self) -> &'static str {
        self.craft().table
    }

    fn craft(self) -> &'static Craft {
        match self {
            Self::Alembic => &alembic::CRAFT,
            Self::Django => &django::CRAFT,
            Self::Sqlx => &sqlx::CRAFT,
            Self::Diesel => &diesel::CRAFT,
            Self::Refinery => &refinery::CRAFT,
            Self::Flyway => &flyway::CRAFT,
            Self::Prisma => &prisma::CRAFT,
            Self::Rails => &rails::CRAFT,
        }
    }
}

/// The history tables of one database, row by row; a tool without one has no entry.
pub type History = BTreeMap<Tool, Vec<Row>>;

/// What is known of one fork from before. It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// The history that it was made with: what production had run. `None` where nobody looked at that time.
    pub born: Option<History>,
    /// The project's files as they were when they ran, or before that, by tool and path.
    pub files: BTreeMap<Tool, BTreeMap<String, Noted>>,
    /// What the user decided to live with.
    pub kept: BTreeSet<String>,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The migration in it.
    pub id: String,
    /// Its digest.
    pub digest: String,
}

/// A migration as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What the history calls it.
    pub id: String,
    /// Its file, below the project's folder, where one is or was known.
    pub file: Option<String>,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.file.as_deref().unwrap_or(&self.id))
    }
}

/// What there is to say about one tool's migrations on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The tool.
    pub tool: Tool,
    /// In the files and not run yet: the normal case.
    pub behind: Vec<Item>,
    /// Run since the fork was made, and in no file: another git branch's.
    pub ahead: Vec<Item>,
    /// Run, and edited since: what is in the file now was never tried.
    pub edited: Vec<Item>,
    /// Run by production before the fork was made, and in no file: the checkout is older than production.
    pub missing: Vec<Item>,
    /// Run by production before the fork was made, and edited since: no fork will ever run the edit.
    pub settled: Vec<Item>,
    /// Run by production and not by the fork: production moved on.
    pub parent_ahead: Vec<Item>,
}

/// The one word for a [`Freshness`]: the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The branch has run what is in no file.
    Ahead,
    /// What it has run was edited.
    Edited,
    /// Production moved on.
    ParentAhead,
    /// The files have more.
    Behind,
    /// Neither has more than the other.
    Level,
}

impl State {
    /// As a word of JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Edited => "edited",
            Self::ParentAhead => "parent-ahead",
            Self::Behind => "behind",
            Self::Level => "level",
        }
    }
}

impl Freshness {
    /// The gravest that is true of it.
    pub fn state(&self) -> State {
        match self {
            _ if !self.ahead.is_empty() => State::Ahead,
            _ if !self.edited.is_empty() => State::Edited,
            _ if !self.missing.is_empty() || !self.parent_ahead.is_empty() => State::ParentAhead,
            _ if !self.behind.is_empty() => State::Behind,
            _ => State::Level,
        }
    }

    /// Whether an `up` on this branch would test nothing.
    pub fn is_stale(&self) -> bool {
        matches!(self.state(), State::Ahead | State::Edited)
    }

    /// As JSON.
    pub fn document(&self) -> Value {
        let items = |items: &[Item]| -> Vec<Value> {
            items.iter().map(|item| json!({"id": item.id, "file": item.file})).collect()
        };
        json!({
            "tool": self.tool,
            "state": self.state().word(),
            "behind": items(&self.behind),
            "ahead": items(&self.ahead),
            "edited": items(&self.edited),
            "missing": items(&self.missing),
            "settled": items(&self.settled),
            "parent_ahead": items(&self.parent_ahead),
        })
    }
}

/// All that a comparison looks at.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The tool.
    pub tool: Tool,
    /// The project's migrations.
    pub files: &'a [Migration],
    /// The branch's history.
    pub rows: &'a [Row],
    /// The parent's, where it was read.
    pub parent: Option<&'a [Row]>,
    /// What is known of the fork from before.
    pub known: &'a Known,
}

/// Holds one tool's history against everything else. Without files there is nothing to say: they may be in another
/// repository.
pub fn compare(evidence: Evidence<'_>) -> Option<Freshness> {
    let Evidence { tool, files, rows, parent, known } = evidence;
    if files.is_empty() {
        return None;
    }
    let craft = tool.craft();
    let noted = known.files.get(&tool);
    let ran = (craft.ran)(rows, files);
    let ids = files.iter().map(|file| file.id.as_str());
    let ids: Vec<&str> =
        ids.chain(noted.into_iter().flat_map(BTreeMap::values).map(|noted| noted.id.as_str())).collect();
    let is_ours = |id: &str| (craft.is_ours)(id, &ids);
    let born = known.born.as_ref().map(|born| {
        let rows = born.get(&tool).map(Vec::as_slice).unwrap_or_default();
        (craft.ran)(rows, files)
    });
    let production = parent.map(|rows| (craft.ran)(rows, files));
    let of_production = |id: &str, sum: &Option<String>| {
        [&born, &production].into_iter().flatten().any(|ran| ran.by_id.get(id) == Some(sum))
    };
    let has_file = |id: &str| files.iter().any(|file| file.id == id);
    let is_replaced = |id: &str| files.iter().any(|file| file.replaces.iter().any(|old| old == id));
    let mut found = Freshness {
        tool,
        behind: Vec::new(),
        ahead: Vec::new(),
        edited: Vec::new(),
        missing: Vec::new(),
        settled: Vec::new(),
        parent_ahead: Vec::new(),
    };
    for (id, sum) in &ran.by_id {
        if !has_file(id) {
            if !is_ours(id) || is_replaced(id) {
                continue;
            }
            let file = noted.and_then(|noted| noted.iter().find(|(_, noted)| noted.id == *id));
            let item = Item { id: id.clone(), file: file.map(|(path, _)| path.clone()) };
            if of_production(id, sum) {
                found.missing.push(item);
            } else if !known.kept.contains(&kept_ahead(tool, id)) {
                found.ahead.push(item);
            }
            continue;
        }
        let of_id: Vec<&Migration> = files.iter().filter(|file| file.id == *id).collect();
        if !was_edited(&of_id, sum.as_deref(), noted) {
            continue;
        }
        let item = Item { id: id.clone(), file: of_id.first().map(|file| file.path.clone()) };
        if of_production(id, sum) {
            found.settled.push(item);
        } else if !known.kept.contains(&kept_edited(tool, &of_id)) {
            found.edited.push(item);
        }
    }
    let mut seen = BTreeSet::new();
    for file in files {
        let again = file.repeatable
            && ran
                .by_id
                .get(&file.id)
                .is_some_and(|sum| !file.sums.iter().any(|own| Some(own) == sum.as_ref()));
        if !ran.is_vague && (again || !ran.by_id.contains_key(&file.id)) && seen.insert(&file.id) {
            found.behind.push(Item { id: file.id.clone(), file: Some(file.path.clone()) });
        }
    }
    let moved_on = production.iter().flat_map(|production| production.by_id.keys());
    for id in moved_on.filter(|id| !ran.by_id.contains_key(*id) && is_ours(id) && !is_replaced(id)) {
        // A fork whose history can't be followed may have run it under another head.
        if ran.is_vague && has_file(id) {
            continue;
        }
        let file = files.iter().find(|file| file.id == *id).map(|file| file.path.clone());
        found.parent_ahead.push(Item { id: id.clone(), file });
    }
    Some(found)
}

/// Whether none of the files that carry a migration is the one that ran: by the tool's own sum, else by what was noted.
fn was_edited(files: &[&Migration], sum: Option<&str>, noted: Option<&BTreeMap<String, Noted>>) -> bool {
    files.iter().all(|file| {
        if file.repeatable {
            return false;
        }
        match sum {
            Some(sum) if !file.sums.is_empty() => !file.sums.iter().any(|own| own == sum),
            _ => noted
                .and_then(|noted| noted.get(&file.path))
                .is_some_and(|noted| noted.id == file.id && noted.digest != file.digest),
        }
    })
}

fn kept_ahead(tool: Tool, id: &str) -> String {
    format!("{} ahead {id}", tool.name())
}

fn kept_edited(tool: Tool, files: &[&Migration]) -> String {
    let digests: Vec<&str> = files.iter().map(|file| file.digest.as_str()).collect();
    format!("{} edited {}", tool.name(), digests.join(" "))
}

impl Known {
    /// Notes the files of one tool: those that have not run as they are now, and of those that have run the ones that
    /// were never seen before.
    pub fn note(&mut self, tool: Tool, files: &[Migration], rows: &[Row]) {
        let ran = (tool.craft().ran)(rows, files);
        let noted = self.files.entry(tool).or_default();
        for file in files.iter().filter(|file| !file.digest.is_empty()) {
            let now = Noted { id: file.id.clone(), digest: file.digest.clone() };
            let before = noted.get(&file.path);
            let has_run = ran.is_vague || ran.by_id.contains_key(&file.id);
            if !has_run || before.is_none_or(|before| before.id != now.id) {
                noted.insert(file.path.clone(), now);
            }
        }
    }

    /// Notes that the user goes on with what is stale, so that the same is not said again.
    pub fn keep(&mut self, found: &Freshness, files: &[Migration]) {
        self.kept.extend(found.ahead.iter().map(|item| kept_ahead(found.tool, &item.id)));
        for item in &found.edited {
            let of_id: Vec<&Migration> = files.iter().filter(|file| file.id == item.id).collect();
            self.kept.insert(kept_edited(found.tool, &of_id));
        }
    }
}

#[cfg(test)]
mod tests;
