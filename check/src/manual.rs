//! The locks of statements for which no event trigger fires, as the PostgreSQL manual states them: for those that are over
//! before the sampler looks.
//!
//! Sources: 13.3.1 "Table-Level Locks", and the pages of `LOCK`, `TRUNCATE`, `CLUSTER`, `VACUUM`, `ANALYZE`, `REINDEX`,
//! `CREATE INDEX`, `DROP INDEX` and `REFRESH MATERIALIZED VIEW`.

use crate::catalog::Snapshot;
use crate::lock::Mode;
use crate::text;
use crate::timeline::{Hold, Seen, Statement};

/// The locks of `statements` that nobody saw among `seen`, each to the end of its transaction.
pub fn unseen(statements: &[Statement], seen: &[Hold], before: &Snapshot) -> Vec<Hold> {
    let mut holds = Vec::new();
    for (index, statement) in statements.iter().enumerate().filter(|(_, one)| one.failure.is_none()) {
        for text in text::statements(&statement.text) {
            for (name, mode) in locks(text) {
                let Some(relation) = find(&name, before) else { continue };
                // An index is built, and dropped, under a lock of its table as well.
                let table = before.relations.get(&relation).and_then(|one| one.of_table);
                for relation in
                    [Some(relation), table.filter(|_| mode < Mode::AccessExclusive)].into_iter().flatten()
                {
                    let is_seen = |hold: &Hold| {
                        let at_once = hold.from <= statement.until && statement.from <= hold.to;
                        hold.relation == relation && hold.mode >= mode && at_once
                    };
                    if !seen.iter().any(is_seen) {
                        let (from, to) = (statement.from, statement.until);
                        holds.push(Hold {
                            relation,
                            mode,
                            from,
                            to,
                            statement: Some(index),
                            seen: Seen::Manual,
                        });
                    }
                }
            }
        }
    }
    holds
}

/// The relation of that name: with its schema, or in whichever has one.
fn find(name: &str, before: &Snapshot) -> Option<u32> {
    let ends = format!(".{name}");
    let exact = before.relations.iter().find(|(_, one)| one.name == name || one.short() == name);
    exact.or_else(|| before.relations.iter().find(|(_, one)| one.name.ends_with(&ends))).map(|(oid, _)| *oid)
}

/// Names and modes of what a statement locks.
fn locks(statement: &str) -> Vec<(String, Mode)> {
    let words = words(statement);
    let upper: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
    let at = |place: usize| upper.get(place).map_or("", String::as_str);
    let has = |word: &str| upper.iter().any(|one| one == word);
    let one =
        |place: usize, mode: Mode| words.get(place).map(|name| (name.clone(), mode)).into_iter().collect();
    // The first word from a place on that is none of these.
    let after = |from: usize, skip: &[&str]| {
        (from..words.len()).find(|place| !skip.contains(&at(*place))).unwrap_or(words.len())
    };
    match (at(0), at(1)) {
        ("LOCK", _) => lock(&words, &upper),
        ("TRUNCATE", _) => list(&words, &upper, after(1, &["TABLE", "ONLY"]), Mode::AccessExclusive),
        ("CLUSTER", _) => one(after(1, &["VERBOSE"]), Mode::AccessExclusive),
        ("VACUUM", _) => {
            let is_full =
                statement.to_uppercase().split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == "FULL");
            let mode = if is_full { Mode::AccessExclusive } else { Mode::ShareUpdateExclusive };
            list(&words, &upper, after(1, &["FULL", "FREEZE", "VERBOSE", "ANALYZE"]), mode)
        }
        ("ANALYZE" | "ANALYSE", _) => {
            list(&words, &upper, after(1, &["VERBOSE"]), Mode::ShareUpdateExclusive)
        }
        ("REINDEX", what) => {
            let place = after(2, &["CONCURRENTLY"]);
            match (what, has("CONCURRENTLY")) {
                ("TABLE" | "INDEX", true) => one(place, Mode::ShareUpdateExclusive),
                ("TABLE", false) => one(place, Mode::Share),
                ("INDEX", false) => one(place, Mode::AccessExclusive),
                _ => Vec::new(),
            }
        }
        ("CREATE", _) if has("INDEX") => match upper.iter().position(|word| word == "ON") {
            Some(on) => {
                let mode = if has("CONCURRENTLY") { Mode::ShareUpdateExclusive } else { Mode::Share };
                one(after(on + 1, &["ONLY"]), mode)
            }
            None => Vec::new(),
        },
        ("DROP", "INDEX") if has("CONCURRENTLY") => {
            one(after(2, &["CONCURRENTLY", "IF", "EXISTS"]), Mode::ShareUpdateExclusive)
        }
        ("REFRESH", "MATERIALIZED") => {
            let mode = if has("CONCURRENTLY") { Mode::Exclusive } else { Mode::AccessExclusive };
            one(after(3, &["CONCURRENTLY"]), mode)
        }
        ("UPDATE", _) => one(after(1, &["ONLY"]), Mode::RowExclusive),
        ("DELETE", "FROM") => one(after(2, &["ONLY"]), Mode::RowExclusive),
        ("INSERT" | "MERGE", "INTO") => one(2, Mode::RowExclusive),
        _ => Vec::new(),
    }
}

/// `LOCK [TABLE] [ONLY] name [*] [, …] [IN mode MODE] [NOWAIT]`.
fn lock(words: &[String], upper: &[String]) -> Vec<(String, Mode)> {
    let into = upper.iter().position(|word| word == "IN");
    let named = into.map(|place| {
        upper[place + 1..].iter().take_while(|word| *word != "MODE").cloned().collect::<Vec<_>>().join(" ")
    });
    let mode = match named {
        None => Some(Mode::AccessExclusive),
        Some(name) => Mode::ALL.into_iter().find(|mode| mode.name() == name),
    };
    let end = into.unwrap_or(words.len());
    let names =
        (1..end).filter(|place| !["TABLE", "ONLY", "NOWAIT", "*", ","].contains(&upper[*place].as_str()));
    mode.map(|mode| names.map(|place| (words[place].clone(), mode)).collect()).unwrap_or_default()
}

/// The names of a list, up to the first word that is none.
fn list(words: &[String], upper: &[String], from: usize, mode: Mode) -> Vec<(String, Mode)> {
    let mut all = Vec::new();
    let mut place = from;
    while let Some(name) = words.get(place) {
        all.push((name.clone(), mode));
        place += 1;
        while upper.get(place).is_some_and(|word| matches!(word.as_str(), "*")) {
            place += 1;
        }
        if upper.get(place).is_none_or(|word| word != ",") {
            break;
        }
        place += 1;
    }
    all
}

/// Words of a statement, what stands in brackets left out, commas apart, and names as the catalogs write them.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut depth, mut quoted) = (0_usize, false);
    let text = text::bare(statement);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            c if quoted => word.push(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ',' | ';' => {
                push(&mut words, &mut word);
                words.push(c.to_string());
            }
            c if c.is_whitespace() => push(&mut words, &mut word),
            c => word.push(c.to_ascii_lowercase()),
        }
        if c == '(' {
            push(&mut words, &mut word);
        }
    }
    push(&mut words, &mut word);
    words
}

fn push(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(plain(&std::mem::take(word)));
    }
}

/// A name without the quotes that it does not need.
fn plain(name: &str) -> String {
    let needs_none = |part: &str| {
        let inner = part.trim_matches('"');
        inner.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && inner.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let parts = name.split('.').map(|part| if needs_none(part) { part.trim_matches('"') } else { part });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{snapshot, table};

    #[test]
    fn the_manual_knows_what_no_event_trigger_tells() {
        let of = |statement: &str| {
            let all = locks(statement).into_iter();
            all.map(|(name, mode)| format!("{name} {mode}")).collect::<Vec<_>>().join(", ")
        };
        for (statement, expected) in [
            ("LOCK t", "t ACCESS EXCLUSIVE"),
            (
                "lock table only a, b in share row exclusive mode nowait",
                "a SHARE ROW EXCLUSIVE, b SHARE ROW EXCLUSIVE",
            ),
            (
                "TRUNCATE TABLE a, public.\"b\" RESTART IDENTITY",
                "a ACCESS EXCLUSIVE, public.b ACCESS EXCLUSIVE",
            ),
            ("VACUUM (FULL, VERBOSE) t", "t ACCESS EXCLUSIVE"),
            ("VACUUM t", "t SHARE UPDATE EXCLUSIVE"),
            ("VACUUM FULL t", "t ACCESS EXCLUSIVE"),
            ("ANALYZE t (a, b)", "t SHARE UPDATE EXCLUSIVE"),
            ("CLUSTER t USING i", "t ACCESS EXCLUSIVE"),
            ("REINDEX INDEX i", "i ACCESS EXCLUSIVE"),
            ("reindex table concurrently t", "t SHARE UPDATE EXCLUSIVE"),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY \"T\" (a)",
                "\"T\" SHARE UPDATE EXCLUSIVE",
            ),
            ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", "m EXCLUSIVE"),
            ("UPDATE ONLY t SET a = 1", "t ROW EXCLUSIVE"),
            ("INSERT INTO t(a) VALUES (1)", "t ROW EXCLUSIVE"),
            ("SELECT 1", ""),
        ] {
            assert_eq!(of(statement), expected, "{statement}");
        }
    }

    #[test]
    fn what_was_seen_is_not_told_twice() {
        let before = snapshot(vec![table("public.t", "app", &[])]);
        let statement =
            Statement { text: "TRUNCATE t".into(), from: 1.0, to: 2.0, until: 9.0, ..Statement::default() };
        let all = unseen(std::slice::from_ref(&statement), &[], &before);
        assert_eq!((all.len(), all[0].from, all[0].to, all[0].mode), (1, 1.0, 9.0, Mode::AccessExclusive));
        assert!(unseen(&[statement], &all, &before).is_empty());
    }
}
