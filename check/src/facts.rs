//! Everything that was measured, before anybody judges it.

use lakebase::freshness::Tool;
use lakebase::schema::Change;
use serde::Serialize;

use crate::catalog::{self, Left, Relation, Snapshot};
use crate::deadlock::Crossing;
use crate::lock::Mode;
use crate::lost::Lost;
use crate::runner::How;
use crate::stall::Stall;
use crate::timeline::Timeline;
use crate::wire::Failure;

/// Kinds of objects that people use, and miss.
const OF_USERS: [&str; 5] = ["view", "materialized view", "function", "procedure", "trigger"];

/// All facts of one check.
#[derive(Debug, Default)]
pub struct Facts {
    /// What is checked: a migration's name, or the command.
    pub name: String,
    /// The tool whose files the project has.
    pub tool: Option<Tool>,
    /// Migrations in the files that production has not run.
    pub pending: Vec<String>,
    /// Heads of the history in the files; `None` where the tool has no such thing.
    pub heads: Option<Vec<String>>,
    /// Files of migrations that production has run in another form.
    pub edited: Vec<String>,
    /// The clean run.
    pub up: Up,
    /// The second run of the same command.
    pub again: Option<Again>,
    /// The way back.
    pub down: Option<Down>,
    /// What clients waited for, measured in a run of its own.
    pub measured: Option<Vec<Stall>>,
    /// What happened behind an open reader, one for each table.
    pub queue: Option<Vec<Queue>>,
    /// The old application on the new schema.
    pub queries: Option<Queries>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
    /// What saw something.
    pub sensors: Vec<&'static str>,
}

/// One run of the migration.
#[derive(Debug, Default)]
pub struct Up {
    /// How it ended.
    pub ended: Option<How>,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Whether a statement was running when the deadline came.
    pub is_busy: bool,
    /// The end of what it printed.
    pub tail: String,
    /// What passed the wire.
    pub timeline: Timeline,
    /// The failure that counts: the last one of the server.
    pub failure: Option<Failure>,
    /// Rows that offend, and the words for them.
    pub offending: Option<(i64, String)>,
    /// The catalogs before.
    pub before: Snapshot,
    /// The catalogs after.
    pub after: Snapshot,
    /// What it left behind.
    pub left: Vec<Left>,
    /// How the schema changed.
    pub changes: Vec<Change>,
    /// Stalls by the locks that were held.
    pub stalls: Vec<Stall>,
    /// Tables that were locked in an order that can deadlock.
    pub crossings: Vec<Crossing>,
}

impl Up {
    /// Whether the command said that all is well.
    pub fn is_ok(&self) -> bool {
        matches!(self.ended, Some(How::Code(0)))
    }

    /// Bytes of write-ahead log.
    pub fn wal(&self) -> Option<i64> {
        Some(self.after.wal? - self.before.wal?)
    }

    /// By how many bytes the database grew.
    pub fn growth(&self) -> i64 {
        self.after.bytes - self.before.bytes
    }

    /// Bytes of temporary files, as of sorts that did not fit into memory.
    pub fn temporary(&self) -> i64 {
        self.after.temporary - self.before.temporary
    }

    /// Tables that were read from one end to the other under a lock that keeps somebody waiting.
    pub fn scanned(&self) -> Vec<u32> {
        let is_strong = |oid: &u32| {
            self.timeline.holds.iter().any(|hold| hold.relation == *oid && hold.mode >= Mode::Share)
        };
        let read =
            |oid: &u32| Some(self.after.relations.get(oid)?.scans > self.before.relations.get(oid)?.scans);
        let tables = self.before.relations.iter().filter(|(_, one)| matches!(one.kind, 'r' | 'm'));
        tables.map(|(oid, _)| *oid).filter(|oid| read(oid) == Some(true) && is_strong(oid)).collect()
    }

    /// Tables that were written anew.
    pub fn rewritten(&self) -> Vec<(u32, &Relation)> {
        catalog::rewritten(&self.before, &self.after)
    }

    /// What went though no statement named it: it depended on something that a CASCADE took away. Event triggers say so, and
    /// nothing of what was renamed; where there are none, a name that is in no statement does.
    pub fn gone_unnamed(&self) -> Vec<String> {
        let follows = Change::follow(&self.changes);
        let gone = self.changes.iter().filter(|change| change.word() == "removed" && !follows(change));
        let gone = gone.filter_map(Change::object).filter(|object| OF_USERS.contains(&object.kind.as_str()));
        let unnamed = gone.filter(|object| {
            let bare = object.name.split('(').next().unwrap_or_default();
            let bare = bare.rsplit('.').next().unwrap_or_default().trim_matches('"').to_lowercase();
            if self.timeline.told > 0 && self.timeline.garbled == 0 {
                let mut followed = self.timeline.dropped.iter().filter(|one| !one.named);
                followed.any(|one| one.kind == object.kind && names(&one.name, &bare))
            } else {
                !self.timeline.statements.iter().any(|one| names(&one.text, &bare))
            }
        });
        unnamed.map(|object| format!("{} `{}` gone by CASCADE", object.kind, object.qualified())).collect()
    }

    /// The name of a table that existed before.
    pub fn table(&self, oid: u32) -> &str {
        self.before.relations.get(&oid).map_or("?", |relation| relation.short())
    }
}

/// Whether a text has a name in it that is no part of a longer one.
fn names(text: &str, name: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let text = text.to_lowercase();
    let mut places = text.match_indices(name).map(|(at, _)| (&text[..at], &text[at + name.len()..]));
    places.any(|(before, after)| !before.ends_with(is_of_name) && !after.starts_with(is_of_name))
}

/// The second run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Again {
    /// Whether the command said that all is well.
    pub ok: bool,
    /// What it changed, a line for each object.
    pub changed: Vec<String>,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Down {
    /// Whether the command said that all is well.
    pub ok: bool,
    /// What it said, where all is not: a line.
    pub words: String,
    /// Whether that is that there is no way back.
    pub refuses: bool,
    /// What is not as it was at the start, a line for each object.
    pub differs: Vec<String>,
    /// What of the data is gone.
    pub lost: Vec<Lost>,
    /// Whether the way up worked once more.
    pub up_again: Option<bool>,
}

/// What happened while somebody had read a table and not ended the transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Queue {
    /// The table.
    pub table: String,
    /// Whether the migration waited at all.
    pub waited: bool,
    /// How long readers that came later waited, in milliseconds, at least.
    pub readers_ms: f64,
    /// Whether the migration gave up by itself.
    pub gave_up: bool,
}

/// Queries of the old application, prepared before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queries {
    /// How many worked before.
    pub worked: usize,
    /// Those that fail now: the text, and the server's words.
    pub broken: Vec<(String, String)>,
}
