//! What differs between two schemas, and how a reviewer reads it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Object;

/// The kinds in the order of reading; what belongs to a relation stands with it.
const ORDER: [&str; 23] = [
    "schema",
    "extension",
    "enum",
    "domain",
    "composite type",
    "range",
    "sequence",
    "table",
    "foreign table",
    "view",
    "materialized view",
    "column",
    "constraint",
    "index",
    "trigger",
    "policy",
    "rule",
    "function",
    "procedure",
    "aggregate",
    "owner",
    "grant",
    // What is none of these.
    "",
];
/// Where relations, and what belongs to them, stand in it.
const RELATIONS: std::ops::RangeInclusive<usize> = 7..=16;

/// Entries of the longest table of common lines: two functions of 2,000 lines.
const TABLE: usize = 4_000_000;

/// An object that is not the same on both sides. One of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As it is in the parent; `None` for a new one.
    pub before: Option<Object>,
    /// As it is on the branch; `None` for one that was dropped.
    pub after: Option<Object>,
}

impl Change {
    /// `added`, `removed` or `changed`.
    pub fn word(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// `+`, `-` or `~`.
    pub fn sign(&self) -> char {
        match (&self.before, &self.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        }
    }

    /// The object on the side that has it, the branch's first.
    pub fn object(&self) -> Option<&Object> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The clauses that differ, each as `before -> after`.
    pub fn clauses(&self) -> Vec<String> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let clause = |object: &Object, place: usize| object.clauses.get(place).cloned().flatten();
        let places = 0..before.clauses.len().max(after.clauses.len());
        let differs = places.filter(|place| clause(before, *place) != clause(after, *place));
        differs
            .map(|place| {
                let read =
                    |object: &Object| clause(object, place).unwrap_or_else(|| object.absent(place).into());
                format!("{} -> {}", read(before), read(after))
            })
            .collect()
    }
}

/// What has to be read of two schemas: the changes in the order of reading. What came or went with its table follows it.
pub fn compare(before: Vec<Object>, after: Vec<Object>) -> Vec<Change> {
    let mut sides: BTreeMap<_, (Option<Object>, Option<Object>)> = BTreeMap::new();
    let key = |object: &Object| {
        let rank = ORDER.iter().position(|kind| *kind == object.kind).unwrap_or(ORDER.len() - 1);
        let group = if RELATIONS.contains(&rank) { *RELATIONS.start() } else { rank };
        let of = object.relation.as_ref().unwrap_or(&object.name).clone();
        (group, object.schema.clone(), of, rank, object.name.clone(), object.kind.clone())
    };
    for object in before {
        let side = sides.entry(key(&object)).or_default();
        side.0 = Some(object);
    }
    for object in after {
        let side = sides.entry(key(&object)).or_default();
        side.1 = Some(object);
    }
    let changes = sides.into_values().filter(|(before, after)| before != after);
    changes.map(|(before, after)| Change { before, after }).collect()
}

impl Change {
    /// Those of the changes that only say again that their whole relation came or went.
    pub fn follow<'a>(changes: &'a [Change]) -> impl Fn(&Change) -> bool + 'a {
        let whole: BTreeSet<(char, &str, &str)> = changes
            .iter()
            .filter(|change| change.sign() != '~')
            .filter_map(|change| Some((change.sign(), change.object()?)))
            .filter(|(_, object)| object.relation.is_none())
            .map(|(sign, object)| (sign, object.schema.as_str(), object.name.as_str()))
            .collect();
        move |change| {
            let object = change.object();
            object.and_then(|object| Some((object, object.relation.as_ref()?))).is_some_and(
                |(object, relation)| {
                    whole.contains(&(change.sign(), object.schema.as_str(), relation.as_str()))
                },
            )
        }
    }
}

/// A line of a text that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It is on both sides.
    Same(&'a str),
    /// It went.
    Out(&'a str),
    /// It came.
    In(&'a str),
    /// Lines that are on both sides and far from any change.
    Skipped,
}

/// How `before` becomes `after`, line by line, with two lines around each change.
pub fn edits<'a>(before: &'a str, after: &'a str) -> Vec<Edit<'a>> {
    const AROUND: usize = 2;
    let all = every(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let is_same = |edit: &Edit<'_>| matches!(edit, Edit::Same(_));
    let near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND).min(all.len() - 1));
        all[from..=to].iter().any(|edit| !is_same(edit))
    };
    let mut shown: Vec<Edit<'a>> = Vec::new();
    for (at, edit) in all.iter().enumerate() {
        if near(at) {
            shown.push(*edit);
        } else if shown.last() != Some(&Edit::Skipped) {
            shown.push(Edit::Skipped);
        }
    }
    shown
}

/// Every line, by the longest common subsequence. Texts that are too long for its table are told one after the other.
fn every<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Edit<'a>> {
    let start = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (head, before) = before.split_at(start);
    let after = &after[start..];
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
    let (before, tail) = before.split_at(before.len() - end);
    let after = &after[..after.len() - end];
    let bounded = before.len().saturating_mul(after.len()) <= TABLE;
    let (rows, columns) = if bounded { (before.len(), after.len()) } else { (0, 0) };
    // common[i][j]: how long the longest common subsequence of before[i..] and after[j..] is.
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            common[i][j] = if before[i] == after[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut all: Vec<Edit<'a>> = head.iter().map(|line| Edit::Same(line)).collect();
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        if bounded && i < before.len() && j < after.len() && before[i] == after[j] {
            all.push(Edit::Same(before[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < before.len() && (!bounded || j == after.len() || common[i + 1][j] >= common[i][j + 1]) {
            all.push(Edit::Out(before[i]));
            i += 1;
        } else {
            all.push(Edit::In(after[j]));
            j += 1;
        }
    }
    all.extend(tail.iter().map(|line| Edit::Same(line)));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(kind: &str, relation: Option<&str>, name: &str, clauses: &[&str]) -> Object {
        let clause = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        Object {
            kind: kind.into(),
            schema: "public".into(),
            relation: relation.map(str::to_owned),
            name: name.into(),
            clauses: clauses.iter().map(clause).collect(),
        }
    }

    fn column(name: &str, clauses: &[&str]) -> Object {
        object("column", Some("todos"), &format!("todos.{name}"), clauses)
    }

    fn read(changes: &[Change]) -> Vec<String> {
        let line = |change: &Change| {
            let object = change.object().unwrap();
            format!("{} {} {}", change.sign(), object.kind, object.qualified())
        };
        changes.iter().map(line).collect()
    }

    #[test]
    fn what_is_the_same_is_no_change_in_whatever_order() {
        let (a, b) = (column("a", &["int"]), column("b", &["int"]));
        assert_eq!(compare(vec![a.clone(), b.clone()], vec![b, a]), []);
    }

    #[test]
    fn changes_stand_by_kind_and_what_a_table_has_stands_with_it() {
        let before = vec![
            object("table", None, "todos", &[]),
            column("title", &["varchar(100)", "not null"]),
            object("function", None, "f()", &["..."]),
            object("table", None, "old", &[]),
            object("column", Some("old"), "old.id", &["int"]),
        ];
        let after = vec![
            object("owner", None, "table public.tags", &["ada"]),
            object("view", None, "open_todos", &["select"]),
            object("index", Some("todos"), "todos_title", &["create index"]),
            object("table", None, "todos", &[]),
            column("title", &["varchar(50)", ""]),
            object("enum", None, "mood", &["'a'"]),
            object("table", None, "tags", &[]),
            object("column", Some("tags"), "tags.id", &["int"]),
        ];
        let changes = compare(before, after);
        assert_eq!(
            read(&changes),
            [
                "+ enum public.mood",
                "- table public.old",
                "- column public.old.id",
                "+ view public.open_todos",
                "+ table public.tags",
                "+ column public.tags.id",
                "~ column public.todos.title",
                "+ index public.todos_title",
                "- function public.f()",
                "+ owner table public.tags",
            ]
        );
        let follows = Change::follow(&changes);
        let followers: Vec<_> = changes.iter().filter(|change| follows(change)).cloned().collect();
        assert_eq!(read(&followers), ["- column public.old.id", "+ column public.tags.id"]);
        let title = changes.iter().find(|change| change.sign() == '~').unwrap();
        assert_eq!(title.clauses(), ["varchar(100) -> varchar(50)", "not null -> nullable"]);
        assert_eq!(title.word(), "changed");
    }

    #[test]
    fn a_name_that_needs_quotes_has_them() {
        let odd = Object { schema: "My \"s\"".into(), ..object("table", None, "\"T\"", &[]) };
        assert_eq!(odd.qualified(), "\"My \"\"s\"\"\".\"T\"");
        assert_eq!(object("extension", None, "citext", &["version 1"]).qualified(), "citext");
    }

    #[test]
    fn a_text_is_read_by_its_lines_with_little_around() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni";
        let after = "a\nb\nc\nd\nE\nf\ng\nh\ni\nj";
        use Edit::{In, Out, Same, Skipped};
        assert_eq!(
            edits(before, after),
            [
                Skipped,
                Same("c"),
                Same("d"),
                Out("e"),
                In("E"),
                Same("f"),
                Same("g"),
                Same("h"),
                Same("i"),
                In("j")
            ]
        );
        assert_eq!(edits("same", "same"), [Skipped]);
        assert_eq!(edits("", "new"), [In("new")]);
    }

    #[test]
    fn texts_that_are_too_long_for_the_table_are_told_one_after_the_other() {
        let text =
            |start: usize| (start..start + 2001).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        let (before, after) = (format!("same\n{}", text(0)), format!("same\n{}", text(1000)));
        let all = edits(&before, &after);
        assert_eq!((all.len(), all[0]), (1 + 2001 + 2001, Edit::Same("same")));
        assert_eq!((all[1], all[2002]), (Edit::Out("0"), Edit::In("1000")));
    }

    proptest! {
        #[test]
        fn the_edits_give_both_texts_back(before in "([abc]\n){0,12}", after in "([abc]\n){0,12}") {
            let (one, other): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
            let all = every(&one, &other);
            let side = |keep: fn(&Edit<'_>) -> bool| -> Vec<&str> {
                all.iter().filter(|edit| keep(edit)).map(|edit| match edit {
                    Edit::Same(line) | Edit::Out(line) | Edit::In(line) => *line,
                    Edit::Skipped => "",
                }).collect()
            };
            prop_assert_eq!(side(|edit| !matches!(edit, Edit::In(_))), one);
            prop_assert_eq!(side(|edit| !matches!(edit, Edit::Out(_))), other);
        }
    }
}
