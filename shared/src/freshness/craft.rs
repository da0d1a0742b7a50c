//! What each tool has of its own, in one shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sums;

/// A migration among the project's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migration {
    /// What the history calls it.
    pub id: String,
    /// Its file, below the project's folder, with slashes.
    pub path: String,
    /// Those that must have run before it, where the tool says so.
    pub needs: Vec<String>,
    /// Those that it stands for.
    pub replaces: Vec<String>,
    /// The file's sum as the tool would have stored it, in each of its spellings; empty where it stores none.
    pub sums: Vec<String>,
    /// Our own digest of the file; empty where it could not be read.
    pub digest: String,
    /// Whether it runs again whenever it changes.
    pub repeatable: bool,
}

impl Migration {
    /// A migration with nothing but its name, its file and its digest.
    pub(super) fn new(id: impl Into<String>, path: &str, bytes: &[u8]) -> Self {
        Self { id: id.into(), path: path.to_owned(), digest: sums::digest(bytes), ..Self::default() }
    }
}

/// A row of a history table, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Row(pub Vec<Option<String>>);

impl Row {
    /// The column at this place.
    pub fn at(&self, place: usize) -> Option<&str> {
        self.0.get(place)?.as_deref()
    }
}

/// What a history says has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Each migration, with its sum where the tool stored one.
    pub by_id: BTreeMap<String, Option<String>>,
    /// Whether the history names something that the files do not explain, so that more may have run than is known.
    pub is_vague: bool,
}

/// Gives another file of the project, by its path.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A tool's own ways.
pub(super) struct Craft {
    /// Its history table.
    pub table: &'static str,
    /// The statement that gives the rows as one JSON array of arrays of text; `%s` is the table.
    pub query: &'static str,
    /// Whether a file, by its path, can be one of its migrations.
    pub is_file: fn(&str) -> bool,
    /// The migration in a file, by its path and its bytes.
    pub migration: fn(&str, &[u8], Read<'_>) -> Option<Migration>,
    /// What has run.
    pub ran: fn(&[Row], &[Migration]) -> Ran,
    /// Whether a migration without a file is the project's at all, by the ids that are known to be.
    pub is_ours: fn(&str, &[&str]) -> bool,
}

/// For a table that holds a row for each migration: its name first, then its sum.
pub(super) fn ran_by_row(rows: &[Row], _files: &[Migration]) -> Ran {
    let pair = |row: &Row| Some((row.at(0)?.to_owned(), row.at(1).map(str::to_owned)));
    Ran { by_id: rows.iter().filter_map(pair).collect(), is_vague: false }
}

/// For a tool whose table holds the project's migrations only.
pub(super) fn all_ours(_id: &str, _known: &[&str]) -> bool {
    true
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of the folder that holds it; empty at the top.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
