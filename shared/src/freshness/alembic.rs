//! Alembic, with Flask-Migrate: `versions/*.py`, each naming the one before; the table holds the heads only.

use std::collections::{BTreeMap, BTreeSet};

use super::craft::{Craft, Migration, Ran, Read, Row, all_ours};
use super::python;

pub(super) const CRAFT: Craft = Craft {
    table: "alembic_version",
    query: "SELECT json_agg(json_build_array(version_num)) FROM %s",
    is_file,
    migration,
    ran,
    is_ours: all_ours,
};

/// Alembic's own folder is `versions`; those that `alembic.ini` names beside it are found by what is in the files.
fn is_file(path: &str) -> bool {
    path.ends_with(".py") && path.split('/').rev().skip(1).any(|folder| folder.contains("version"))
}

/// Names the folders of an environment that keeps its migrations elsewhere.
pub(super) const INI: &str = "alembic.ini";

/// The folders that `version_locations` names, below the project's folder; the file lies in `here`.
pub(super) fn places(here: &str, ini: &str) -> Vec<String> {
    let mut value = String::new();
    let mut inside = false;
    for line in ini.lines() {
        let goes_on = line.starts_with([' ', '\t']);
        match line.split_once('=') {
            Some((key, first)) if !goes_on && key.trim() == "version_locations" => {
                inside = true;
                value = first.to_owned();
            }
            _ if inside && goes_on => value = format!("{value} {line}"),
            _ => inside = false,
        }
    }
    // `%(here)s` is the file's own folder, which relative paths are of, too.
    let value = value.replace("%(here)s", ".");
    let places =
        value.split(|c: char| c.is_whitespace() || ",;:".contains(c)).filter(|place| !place.is_empty());
    places
        .map(|place| {
            let parts = here.split('/').chain(place.split('/'));
            parts.filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
        })
        .collect()
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    let lines = python::lines(&String::from_utf8_lossy(bytes));
    let id = python::assigned(&lines, "revision", false)?.into_iter().next()?;
    let mut needs = python::assigned(&lines, "down_revision", false)?;
    needs.extend(python::assigned(&lines, "depends_on", false).unwrap_or_default());
    Some(Migration { needs, ..Migration::new(id, path, bytes) })
}

/// The heads, and all that they stand on.
fn ran(rows: &[Row], files: &[Migration]) -> Ran {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files {
        needs.entry(&file.id).or_default().extend(file.needs.iter().map(String::as_str));
    }
    let mut open: Vec<&str> = rows.iter().filter_map(|row| row.at(0)).collect();
    // A file that is missing in the middle hides what is below it; a name of `depends_on` may be a label.
    let is_vague = open.iter().any(|head| !needs.contains_key(head));
    let heads: BTreeSet<&str> = open.iter().copied().collect();
    let mut by_id = BTreeMap::new();
    while let Some(id) = open.pop() {
        let below = needs.get(id);
        if (below.is_some() || heads.contains(id)) && by_id.insert(id.to_owned(), None).is_none() {
            open.extend(below.into_iter().flatten());
        }
    }
    Ran { by_id, is_vague }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(id: &str, needs: &[&str]) -> Migration {
        let needs = needs.iter().map(|id| (*id).to_owned()).collect();
        Migration { needs, ..Migration::new(id, &format!("versions/{id}.py"), b"") }
    }

    fn heads(ids: &[&str]) -> Vec<Row> {
        ids.iter().map(|id| Row(vec![Some((*id).to_owned())])).collect()
    }

    fn ids(ran: &Ran) -> Vec<&str> {
        ran.by_id.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_head_has_run_with_all_below_it_over_merges() {
        let files = [
            file("1", &[]),
            file("2a", &["1"]),
            file("2b", &["1"]),
            file("3", &["2a", "2b"]),
            file("4", &["3", "a label"]),
            file("other", &[]),
        ];
        assert_eq!(ids(&ran(&heads(&["3"]), &files)), ["1", "2a", "2b", "3"]);
        assert_eq!(ids(&ran(&heads(&["4"]), &files)), ["1", "2a", "2b", "3", "4"]);
        assert_eq!(ids(&ran(&heads(&["2a", "other"]), &files)), ["1", "2a", "other"]);
        assert_eq!(ids(&ran(&[], &files)), Vec::<&str>::new());
        let unknown = ran(&heads(&["2b", "gone"]), &files);
        assert!(unknown.is_vague);
        assert_eq!(ids(&unknown), ["1", "2b", "gone"]);
    }

    #[test]
    fn a_file_is_read_as_alembic_writes_it() {
        let text = "\"\"\"add due date\n\nRevision ID: ae10\nRevises: 1975\n\"\"\"\nfrom typing import Sequence, Union\n\nrevision: str = 'ae10'\ndown_revision: Union[str, Sequence[str], None] = ('1975', '27c6')\nbranch_labels = None\ndepends_on: Union[str, Sequence[str], None] = 'f00d'\n";
        let found = migration("m/versions/ae10_add.py", text.as_bytes(), &|_| None).unwrap();
        assert_eq!((found.id.as_str(), found.needs.join(" ").as_str()), ("ae10", "1975 27c6 f00d"));
        assert!(migration("m/versions/__init__.py", b"", &|_| None).is_none());
        assert!(
            is_file("m/versions/2024/ae10_add.py")
                && is_file("db/old_versions/x.py")
                && !is_file("versions.py")
        );
    }

    proptest! {
        /// Whatever graph the files make, circles too, it comes to an end, and everything below a head is in.
        #[test]
        fn the_walk_ends_and_is_closed(
            edges in proptest::collection::vec((0_u8..12, 0_u8..12), 0..40),
            wanted in proptest::collection::vec(0_u8..15, 0..4),
        ) {
            let name = |id: u8| format!("r{id}");
            let files: Vec<Migration> = (0..12)
                .map(|id| {
                    let needs = edges.iter().filter(|(from, _)| *from == id).map(|(_, to)| name(*to)).collect();
                    Migration { needs, ..Migration::new(name(id), "versions/x.py", b"") }
                })
                .collect();
            let rows: Vec<Row> = wanted.iter().map(|id| Row(vec![Some(name(*id))])).collect();
            let ran = ran(&rows, &files);
            for id in &wanted {
                prop_assert!(ran.by_id.contains_key(&name(*id)));
            }
            for file in files.iter().filter(|file| ran.by_id.contains_key(&file.id)) {
                for below in &file.needs {
                    prop_assert!(ran.by_id.contains_key(below));
                }
            }
            prop_assert_eq!(ran.is_vague, wanted.iter().any(|id| *id >= 12));
        }
    }
}
