//! How one schema differs from another, for people. Pure.

use std::collections::BTreeSet;

use lakebase::freshness::Tool;
use lakebase::schema::{self, Change, Object};

use crate::catalog::Snapshot;

/// What tools keep beside their history, and what those have that freshness does not know (the manuals of Rails and Knex).
const BESIDE: [&str; 5] = [
    "ar_internal_metadata",
    "knex_migrations",
    "knex_migrations_id_seq",
    "knex_migrations_lock",
    "knex_migrations_lock_index_seq",
];

/// What differs, a line for each object. The table that a tool keeps its history in is the tool's own: the first migration
/// of all makes it, and no way back takes it away.
pub fn between(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let objects = |of: &Snapshot| of.objects.iter().filter(|object| !is_history(object)).cloned().collect();
    let changes = schema::compare(objects(before), objects(after));
    let follows = Change::follow(&changes);
    let whole =
        |change: &Change| (change.word() != "changed").then(|| change.object().map(described)).flatten();
    let mut whole: BTreeSet<String> = changes.iter().filter_map(whole).collect();
    // A sequence that is listed for its owner alone is a part of a column, and comes and goes with it.
    let listed: BTreeSet<String> = before.objects.iter().chain(&after.objects).map(described).collect();
    let owners = changes.iter().filter(|change| change.word() != "changed").filter_map(Change::object);
    let sequences = owners.filter_map(subject).filter(|subject| subject.starts_with("sequence "));
    whole.extend(sequences.filter(|subject| !listed.contains(*subject)).map(str::to_owned));
    // Who owns what came or went, and who may use it, says that again.
    let is_of_whole = |object: &Object| subject(object).is_some_and(|subject| whole.contains(subject));
    let lines = changes.iter().filter(|change| !follows(change)).filter_map(|change| {
        let object = change.object().filter(|object| !is_of_whole(object))?;
        Some(format!("{} `{}` {}", object.kind, object.qualified(), change.word()))
    });
    lines.collect()
}

/// An object as its owner and its grants name it, such as `table public.orders`.
fn described(object: &Object) -> String {
    format!("{} {}", object.kind, object.qualified())
}

/// What an owner or a grant is of.
fn subject(object: &Object) -> Option<&str> {
    matches!(object.kind.as_str(), "owner" | "grant").then(|| object.name.split(" to ").next()).flatten()
}

/// Whether an object is, or is of, a table in which a migration tool keeps what has run.
fn is_history(object: &Object) -> bool {
    let named = subject(object).and_then(|subject| subject.split_once(' ')?.1.split_once('.'));
    let relation = match (&object.relation, named) {
        (Some(relation), _) => relation,
        (None, Some((_, relation))) => relation,
        (None, None) => &object.name,
    };
    Tool::ALL.iter().any(|tool| tool.table() == relation) || BESIDE.contains(&relation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects of a table with a column, as they are read.
    fn table(name: &str) -> Vec<Object> {
        let object = |kind: &str, relation: Option<&str>, name: &str| {
            let relation = relation.map(str::to_owned);
            let (kind, schema, name) = (kind.into(), "public".into(), name.into());
            Object { kind, schema, relation, name, clauses: Vec::new() }
        };
        vec![
            object("table", None, name),
            object("column", Some(name), &format!("{name}.id")),
            object("owner", None, &format!("table public.{name}")),
            object("grant", None, &format!("table public.{name} to ada")),
            object("owner", None, &format!("sequence public.{name}_id_seq")),
        ]
    }

    fn lines(before: &[&str], after: &[&str]) -> Vec<String> {
        let of = |names: &[&str]| Snapshot {
            objects: names.iter().flat_map(|name| table(name)).collect(),
            ..Snapshot::default()
        };
        between(&of(before), &of(after))
    }

    #[test]
    fn a_table_that_came_is_one_line() {
        assert_eq!(lines(&["a"], &["a", "b"]), ["table `public.b` added"]);
        assert_eq!(lines(&["a", "b"], &["a"]), ["table `public.b` removed"]);
    }

    #[test]
    fn the_table_of_a_tools_history_is_no_difference() {
        assert_eq!(lines(&["a"], &["a", "alembic_version", "ar_internal_metadata"]), [""; 0]);
        let knex = [
            "knex_migrations",
            "knex_migrations_id_seq",
            "knex_migrations_lock",
            "knex_migrations_lock_index_seq",
        ];
        assert_eq!(lines(&[], &knex), [""; 0]);
        // One that has a part of its name is somebody's own.
        assert_eq!(lines(&[], &["alembic_version_notes"]), ["table `public.alembic_version_notes` added"]);
    }
}
