//! What the project's files and production's history say before anything runs.

use std::collections::BTreeSet;
use std::path::Path;

use lakebase::error::Result;
use lakebase::freshness::files::Files;
use lakebase::freshness::{self, Evidence, Known, Migration, Row, Tool, history};
use lakebase::sql::Session;

/// What is found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The tool, where there is one with files.
    pub tool: Option<Tool>,
    /// Migrations in the files that have not run.
    pub pending: Vec<String>,
    /// The files of these, below the project's folder, with slashes.
    pub files: Vec<String>,
    /// Migrations that nothing follows, where the files say what follows what.
    pub heads: Option<Vec<String>>,
    /// Files that were edited after production ran them.
    pub edited: Vec<String>,
    /// What production has run: each migration, or where it stands.
    pub at: Vec<String>,
    /// What production has run and no file has.
    pub missing: Vec<String>,
}

/// Looks at the files below `folder`, and at the history of the database behind `session`.
///
/// # Errors
/// [`lakebase::error::Kind::Database`].
pub async fn look(session: &Session, folder: &Path) -> Result<Found> {
    let rows = history::read(session).await?;
    let root = folder.to_owned();
    let Ok(files) = tokio::task::spawn_blocking(move || Files::find(&root)).await else {
        return Ok(Found::default());
    };
    let known = Known { born: Some(rows.clone()), ..Known::default() };
    let with_files = || {
        Tool::ALL
            .into_iter()
            .filter_map(|tool| Some((tool, files.of(tool).filter(|files| !files.is_empty())?)))
    };
    // A tool that production knows comes before one that has files only.
    let chosen = with_files().find(|(tool, _)| rows.contains_key(tool)).or_else(|| with_files().next());
    let Some((tool, files)) = chosen else { return Ok(Found::default()) };
    let none = Vec::new();
    let of_tool = rows.get(&tool).unwrap_or(&none);
    let evidence = Evidence { tool, files: &files, rows: of_tool, parent: None, known: &known };
    let mut found = Found { tool: Some(tool), heads: heads(tool, &files), ..Found::default() };
    if let Some(compared) = freshness::compare(evidence) {
        found.files = compared.behind.iter().filter_map(|item| item.file.clone()).collect();
        found.pending = compared.behind.into_iter().map(|item| item.id).collect();
        found.edited = compared.settled.iter().map(ToString::to_string).collect();
        found.missing = compared.missing.into_iter().map(|item| item.id).collect();
    }
    found.at = at(tool, of_tool, &files, &found.pending);
    Ok(found)
}

/// What has run, as the files' ids are written.
fn at(tool: Tool, rows: &[Row], files: &[Migration], pending: &[String]) -> Vec<String> {
    match tool {
        // The rows of what was squashed outlive its files, and Django goes back to no name without one.
        Tool::Django => {
            files.iter().map(|file| &file.id).filter(|id| !pending.contains(*id)).cloned().collect()
        }
        _ => rows.iter().filter_map(|row| row.at(0).map(str::to_owned)).collect(),
    }
}

/// Migrations that nothing follows: more than one, and which runs first is left to chance.
fn heads(tool: Tool, files: &[Migration]) -> Option<Vec<String>> {
    // The others run by number, or their order is not read from the files.
    if tool != Tool::Alembic {
        return None;
    }
    let followed: BTreeSet<&str> =
        files.iter().flat_map(|file| file.needs.iter().chain(&file.replaces)).map(String::as_str).collect();
    Some(files.iter().map(|file| &file.id).filter(|id| !followed.contains(id.as_str())).cloned().collect())
}

/// A name for what is checked.
pub fn name(found: &Found, command: &[String]) -> String {
    match found.pending.as_slice() {
        [] => command.join(" "),
        [one] => one.clone(),
        [first, .., last] => format!("{} migrations, {first} to {last}", found.pending.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, needs: &[&str]) -> Migration {
        let needs = needs.iter().map(|id| (*id).to_owned()).collect();
        Migration { id: id.into(), needs, ..Migration::default() }
    }

    #[test]
    fn two_that_follow_the_same_are_two_heads_until_they_are_merged() {
        let mut files = vec![file("a", &[]), file("b", &["a"]), file("c", &["a"])];
        assert_eq!(heads(Tool::Alembic, &files).unwrap(), ["b", "c"]);
        files.push(file("m", &["b", "c"]));
        assert_eq!(heads(Tool::Alembic, &files).unwrap(), ["m"]);
        assert_eq!(heads(Tool::Sqlx, &files), None);
    }

    #[test]
    fn django_is_where_files_are() {
        let row = |name: &str| Row(vec![Some("shop".into()), Some(name.into())]);
        let rows = ["0001_initial", "0002_price", "0001_all"].map(row);
        let files = [file("shop.0001_all", &[]), file("shop.0003_note", &[])];
        let pending = ["shop.0003_note".to_owned()];
        assert_eq!(at(Tool::Django, &rows, &files, &pending), ["shop.0001_all"]);
        let row = Row(vec![Some("a".into())]);
        assert_eq!(at(Tool::Alembic, &[row], &[file("a", &[])], &[]), ["a"]);
    }
}
