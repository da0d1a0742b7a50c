//! Small words of the verdict's lines.

use std::collections::BTreeSet;

use lakebase_gateway::TapEvent;

use crate::wire::{ABORTED, Failure, Recording};

/// The SQLSTATE of PL/pgSQL's `RAISE` (PostgreSQL documentation, appendix A).
const RAISED: &str = "P0001";

/// Things that a line names at most.
const NAMED: usize = 5;

/// The first of a list, and how many more there are.
pub fn some(all: &[String]) -> String {
    let rest = all.len().saturating_sub(NAMED);
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if rest > 0 { format!("{shown} and {rest} more") } else { shown }
}

/// The last words of a command's output.
pub fn last_words(output: &str) -> Option<&str> {
    output.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// Where a way back says that there is none: Django's and Rails' own words for it, and what Alembic's users raise.
fn refusal(output: &str) -> Option<&str> {
    let says = |line: &&str| {
        ["IrreversibleError", "IrreversibleMigration", "NotImplementedError"]
            .iter()
            .any(|word| line.contains(word))
    };
    output.lines().rev().map(str::trim).find(says)
}

/// What a way back that failed said, and whether that is that there is none: the server's words, else its own.
pub fn of_failure(recording: &Recording, output: &str) -> (String, bool) {
    let refused = recording.heard.iter().rev().find_map(|one| match &one.event {
        TapEvent::Error(error) if error.sqlstate != ABORTED => Some(Failure::of(error)),
        _ => None,
    });
    if let Some(failure) = refused {
        // SQL itself can only raise it.
        let raised = failure.sqlstate == RAISED && failure.message.to_lowercase().contains("irreversible");
        return (format!("{} ({})", failure.message, failure.sqlstate), raised);
    }
    match refusal(output) {
        Some(words) => (words.to_owned(), true),
        None => (last_words(output).unwrap_or_default().to_owned(), false),
    }
}

/// Each name once.
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let unique: BTreeSet<&str> = all.collect();
    unique.into_iter().map(str::to_owned).collect()
}

/// What every driver says before and between: no statement of a migration.
pub fn is_small_talk(text: &str) -> bool {
    let first = crate::text::words(text).next().unwrap_or_default().to_uppercase();
    matches!(
        first.trim_end_matches(';'),
        "" | "BEGIN"
            | "COMMIT"
            | "ROLLBACK"
            | "START"
            | "SET"
            | "SHOW"
            | "RESET"
            | "SAVEPOINT"
            | "RELEASE"
            | "DEALLOCATE"
            | "DISCARD"
    )
}

#[cfg(test)]
mod tests {
    use lakebase_gateway::TapError;

    use super::*;
    use crate::wire::Heard;

    #[test]
    fn a_command_that_failed_is_quoted_without_values_of_rows() {
        let nothing = Recording::default();
        let rails = "rails aborted!\nActiveRecord::IrreversibleMigration\nTasks: TOP => db:rollback\n";
        assert_eq!(of_failure(&nothing, rails), ("ActiveRecord::IrreversibleMigration".into(), true));
        let python = "Running downgrade b -> a, make refunds irreversible\nKeyError: 'region'\n\n";
        assert_eq!(of_failure(&nothing, python), ("KeyError: 'region'".into(), false));
        // What the server said counts before how a driver shows it, with its detail.
        let says = |sqlstate: &str, message: &str| {
            let (sqlstate, message) = (sqlstate.into(), message.into());
            let mut recording = Recording::default();
            let event = TapEvent::Error(TapError { sqlstate, message, ..TapError::default() });
            recording.heard.push(Heard { at: 0.0, session: 1, event });
            of_failure(&recording, "NotImplementedError: \"ada\"\n")
        };
        let syntax = "invalid input syntax for type integer";
        assert_eq!(says("22P02", &format!("{syntax}: \"ada\"")), (format!("{syntax} (22P02)"), false));
        assert_eq!(says("P0001", "this is irreversible"), ("this is irreversible (P0001)".into(), true));
        let column = "column \"irreversible\" does not exist";
        assert_eq!(says("42703", column), (format!("{column} (42703)"), false));
    }
}
