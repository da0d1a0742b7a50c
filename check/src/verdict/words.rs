//! Small words of the verdict's lines.

use std::collections::BTreeSet;

/// Things that a line names at most.
const NAMED: usize = 5;

/// The first of a list, and how many more there are.
pub fn some(all: &[String]) -> String {
    let rest = all.len().saturating_sub(NAMED);
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if rest > 0 { format!("{shown} and {rest} more") } else { shown }
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
