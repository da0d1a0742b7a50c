//! Small words of the verdict's lines.

use std::collections::BTreeSet;

use lakebase_gateway::TapEvent;

use crate::wire::{ABORTED, Failure, Recording};

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
pub fn irreversible(output: &str) -> Option<&str> {
    let says = |line: &&str| {
        let line = line.to_lowercase();
        ["irreversible", "not reversible", "notimplementederror"].iter().any(|word| line.contains(word))
    };
    output.lines().rev().map(str::trim).find(says)
}

/// What a command that failed said: that there is no way back, the server's words, or its own last ones.
pub fn of_failure(recording: &Recording, output: &str) -> String {
    let refused = recording.heard.iter().rev().find_map(|one| match &one.event {
        TapEvent::Error(error) if error.sqlstate != ABORTED => Some(Failure::of(error)),
        _ => None,
    });
    let said = irreversible(output).map(str::to_owned);
    let said = said.or_else(|| refused.map(|failure| format!("{} ({})", failure.message, failure.sqlstate)));
    said.or_else(|| last_words(output).map(str::to_owned)).unwrap_or_default()
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
        assert_eq!(of_failure(&nothing, rails), "ActiveRecord::IrreversibleMigration");
        let python = "Traceback\nKeyError: 'region'\n\n";
        assert_eq!(of_failure(&nothing, python), "KeyError: 'region'");
        // What the server said counts before how a driver shows it, with its detail.
        let error = TapError {
            sqlstate: "22P02".into(),
            message: "invalid input syntax for type integer: \"ada\"".into(),
            ..TapError::default()
        };
        let mut recording = Recording::default();
        recording.heard.push(Heard { at: 0.0, session: 1, event: TapEvent::Error(error) });
        let said = of_failure(&recording, "psycopg.errors.InvalidTextRepresentation: \"ada\"\n");
        assert_eq!(said, "invalid input syntax for type integer (22P02)");
    }
}
