//! What the catalogs of a branch say before and after a migration, and what it left behind. The comparison is pure.

use std::collections::{BTreeMap, BTreeSet};

use lakebase::error::{Error, Kind, Result};
use lakebase::schema::Object;
use lakebase::sql::Session;
use serde::Serialize;

use crate::sensor::SCHEMA;

/// A relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// As SQL writes it, with its schema.
    pub name: String,
    /// `r` a table, `i` an index and so on, as `pg_class.relkind`.
    pub kind: char,
    /// Who owns it.
    pub owner: String,
    /// Its file, another one after each rewrite; 0 where it has none.
    pub file: u32,
    /// Its bytes, what it keeps out of line included; 0 where it has no page for a row.
    pub bytes: i64,
    /// Its rows as the planner estimates them; less than 0 where nobody counted.
    pub rows: f64,
    /// Whether a materialized view was filled.
    pub populated: bool,
    /// The table of an index.
    pub of_table: Option<u32>,
    /// Whether an index may be used.
    pub valid: bool,
    /// `role PRIVILEGE` for everybody but the owner.
    pub grants: BTreeSet<String>,
    /// The columns of the primary key.
    pub primary_key: Vec<String>,
    /// A table's columns, as SQL writes them, each with the number that no other one ever gets.
    pub columns: BTreeMap<String, i16>,
    /// Rows that were inserted since the server began to count.
    pub inserted: i64,
    /// Rows that were changed since then.
    pub updated: i64,
    /// Rows that were deleted since then.
    pub deleted: i64,
    /// How often it was read from one end to the other since then.
    pub scans: i64,
}

impl Relation {
    /// Whether it holds rows of its own, or its partitions do.
    pub fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p')
    }

    /// The name without the schema that everybody uses.
    pub fn short(&self) -> &str {
        self.name.strip_prefix("public.").unwrap_or(&self.name)
    }
}

/// The catalogs at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Relations by oid.
    pub relations: BTreeMap<u32, Relation>,
    /// Constraints that hold for new rows only.
    pub not_validated: BTreeSet<String>,
    /// Foreign keys between two tables: the one that references, and the one that is referenced.
    pub references: BTreeSet<(u32, u32)>,
    /// Every object with its definition.
    pub objects: Vec<Object>,
    /// Functions in SQL whose text does not fit the schema.
    pub broken: BTreeMap<String, String>,
    /// Bytes of write-ahead log since the beginning of time; `None` where the server does not tell.
    pub wal: Option<i64>,
    /// Bytes of the whole database.
    pub bytes: i64,
    /// Bytes of temporary files since the server's start.
    pub temporary: i64,
}

/// What a migration left behind that nobody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What it is, such as `invalid index`.
    pub what: String,
    /// Which, as SQL writes it.
    pub name: String,
    /// Why it matters, or what is the matter.
    pub why: String,
}

/// Reads the catalogs. `open` opens another session, which the reading of definitions uses up.
///
/// # Errors
/// [`Kind::Database`] in the server's words.
pub async fn read(session: &Session, another: Session) -> Result<Snapshot> {
    let bad = |error: &dyn std::error::Error| {
        Error::new(Kind::Database, "the branch's catalogs can't be understood").because(error)
    };
    let mut snapshot = Snapshot::default();
    for row in session.rows(include_str!("catalog.sql"), &[]).await? {
        let relation = || -> Result<(u32, Relation), Box<dyn std::error::Error>> {
            let text = |name: &str| row.try_get::<_, String>(name);
            let relation = Relation {
                schema: text("schema")?,
                name: text("name")?,
                kind: text("kind")?.chars().next().unwrap_or(' '),
                owner: text("owner")?,
                file: row.try_get("file")?,
                bytes: row.try_get("bytes")?,
                rows: row.try_get("rows")?,
                populated: row.try_get("populated")?,
                of_table: row.try_get("of_table")?,
                valid: row.try_get("valid")?,
                grants: row.try_get::<_, Vec<String>>("grants")?.into_iter().collect(),
                primary_key: row.try_get::<_, Option<Vec<String>>>("primary_key")?.unwrap_or_default(),
                columns: columns(&row.try_get::<_, Option<Vec<String>>>("columns")?.unwrap_or_default()),
                inserted: row.try_get("inserted")?,
                updated: row.try_get("updated")?,
                deleted: row.try_get("deleted")?,
                scans: row.try_get("scans")?,
            };
            Ok((row.try_get("oid")?, relation))
        };
        let (oid, relation) = relation().map_err(|error| bad(&*error))?;
        snapshot.relations.insert(oid, relation);
    }
    let constraints = "SELECT quote_ident(conname) || ' on ' || conrelid::regclass::text FROM pg_constraint \
                       WHERE NOT convalidated AND conrelid <> 0";
    for row in session.rows(constraints, &[]).await? {
        snapshot.not_validated.insert(row.try_get(0).map_err(|error| bad(&error))?);
    }
    let references =
        "SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid";
    for row in session.rows(references, &[]).await? {
        let pair = row.try_get(0).and_then(|child| Ok((child, row.try_get(1)?)));
        snapshot.references.insert(pair.map_err(|error| bad(&error))?);
    }
    let numbers = "SELECT pg_database_size(current_database()), \
                   (SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database())";
    if let Some(row) = session.rows(numbers, &[]).await?.first() {
        snapshot.bytes = row.try_get(0).map_err(|error| bad(&error))?;
        snapshot.temporary =
            row.try_get::<_, Option<i64>>(1).map_err(|error| bad(&error))?.unwrap_or_default();
    }
    let wal = session.rows("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8", &[]).await;
    snapshot.wal = wal.ok().and_then(|rows| rows.first()?.try_get(0).ok());
    snapshot.broken = broken_functions(session).await?;
    let objects = lakebase::schema::read(another, true).await?;
    snapshot.objects = objects.into_iter().filter(|object| object.schema != SCHEMA).collect();
    Ok(snapshot)
}

/// Each column is written as its number and its name.
fn columns(texts: &[String]) -> BTreeMap<String, i16> {
    let column = |text: &String| {
        let (number, name) = text.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    texts.iter().filter_map(column).collect()
}

/// Makes each function that is written in SQL again, in transactions that are rolled back: PostgreSQL reads its text then.
async fn broken_functions(session: &Session) -> Result<BTreeMap<String, String>> {
    let texts = "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid) FROM pg_proc p \
                 JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace \
                 WHERE l.lanname = 'sql' AND p.prokind IN ('f', 'p') AND n.nspname !~ '^pg_' \
                 AND n.nspname NOT IN ('information_schema', 'lakebase_check') AND pg_has_role(p.proowner, 'MEMBER') \
                 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid \
                 AND d.deptype = 'e')";
    let mut broken = BTreeMap::new();
    for row in session.rows(texts, &[]).await? {
        let (Ok(name), Ok(text)) = (row.try_get::<_, String>(0), row.try_get::<_, String>(1)) else {
            continue;
        };
        let made = session.run(&format!("BEGIN; {text}; ROLLBACK")).await;
        if let Err(error) = made {
            session.run("ROLLBACK").await?;
            broken.insert(name, error.causes.first().cloned().unwrap_or_default());
        }
    }
    Ok(broken)
}

/// What a migration left behind that nobody wants: whatever is so after it and was not before.
pub fn left_behind(before: &Snapshot, after: &Snapshot) -> Vec<Left> {
    let mut left = Vec::new();
    let mut add = |what: &str, name: &str, why: String| {
        left.push(Left { what: what.to_owned(), name: name.to_owned(), why });
    };
    let was = |oid: &u32| before.relations.get(oid);
    for (oid, relation) in &after.relations {
        if !relation.valid && was(oid).is_none_or(|was| was.valid) {
            add(
                "invalid index",
                relation.short(),
                "it is kept up to date and never used; `IF NOT EXISTS` takes it for a good one".into(),
            );
        }
        if !relation.populated && was(oid).is_none_or(|was| was.populated) {
            add(
                "empty materialized view",
                relation.short(),
                "queries of it fail until it is refreshed".into(),
            );
        }
        if was(oid).is_none() && relation.is_table() {
            for (what, why) in unlike_siblings(relation, before) {
                add(what, relation.short(), why);
            }
        }
    }
    for name in after.not_validated.difference(&before.not_validated) {
        add(
            "constraint not validated",
            name,
            "rows from before may break it: run `VALIDATE CONSTRAINT`".into(),
        );
    }
    for (name, why) in after.broken.iter().filter(|(name, _)| !before.broken.contains_key(*name)) {
        add("broken function", name, why.clone());
    }
    left
}

/// How a new table differs from all those that stood in its schema before.
fn unlike_siblings(table: &Relation, before: &Snapshot) -> Vec<(&'static str, String)> {
    let tables = || before.relations.values().filter(|relation| relation.is_table());
    let siblings: Vec<&Relation> = tables().filter(|relation| relation.schema == table.schema).collect();
    let mut found = Vec::new();
    let Some(first) = siblings.first() else {
        let others: BTreeSet<&str> = tables().map(|relation| relation.schema.as_str()).collect();
        // A schema that comes with its tables is meant.
        let is_old =
            before.objects.iter().any(|object| object.kind == "schema" && object.name == table.schema);
        if let (true, [other]) = (is_old, others.into_iter().collect::<Vec<_>>().as_slice()) {
            found.push(("table in another schema", format!("all other tables are in `{other}`")));
        }
        return found;
    };
    if siblings.iter().all(|sibling| sibling.owner == first.owner) && table.owner != first.owner {
        found.push((
            "another owner",
            format!("it belongs to `{}`, its {} siblings to `{}`", table.owner, siblings.len(), first.owner),
        ));
    }
    // One table alone sets no custom.
    if siblings.len() > 1 {
        let common = siblings.iter().skip(1).fold(first.grants.clone(), |common, sibling| {
            common.intersection(&sibling.grants).cloned().collect()
        });
        let missing: Vec<&str> = common
            .difference(&table.grants)
            .map(String::as_str)
            .filter(|grant| grant.split(' ').next() != Some(table.owner.as_str()))
            .collect();
        if !missing.is_empty() {
            found.push(("missing grants", format!("all its siblings have {}", missing.join(", "))));
        }
    }
    found
}

/// Relations that were written anew: another file, the same relation.
pub fn rewritten<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Vec<(u32, &'a Relation)> {
    let same = after.relations.iter().filter_map(|(oid, now)| Some((*oid, before.relations.get(oid)?, now)));
    // TRUNCATE gives a new file, too, and writes nothing into it.
    same.filter(|(_, was, now)| was.file != now.file && matches!(now.kind, 'r' | 'm') && now.bytes > 0)
        .map(|(oid, was, _)| (oid, was))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn table(name: &str, owner: &str, grants: &[&str]) -> Relation {
        Relation {
            schema: name.split('.').next().unwrap().into(),
            name: name.into(),
            kind: 'r',
            owner: owner.into(),
            file: 1,
            bytes: 8192,
            rows: 10.0,
            populated: true,
            of_table: None,
            valid: true,
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            primary_key: vec!["id".into()],
            columns: BTreeMap::new(),
            inserted: 0,
            updated: 0,
            deleted: 0,
            scans: 0,
        }
    }

    pub(crate) fn snapshot(relations: Vec<Relation>) -> Snapshot {
        let relations = (16384..).zip(relations).collect();
        let schema = |name: &str| Object {
            kind: "schema".into(),
            schema: name.into(),
            relation: None,
            name: name.into(),
            clauses: Vec::new(),
        };
        Snapshot { relations, objects: vec![schema("public"), schema("shop")], ..Snapshot::default() }
    }

    fn left(before: Vec<Relation>, after: Vec<Relation>) -> Vec<String> {
        let left = left_behind(&snapshot(before), &snapshot(after));
        left.into_iter().map(|left| format!("{} {}: {}", left.what, left.name, left.why)).collect()
    }

    #[test]
    fn a_table_like_its_siblings_is_nothing_to_speak_of() {
        let two = || {
            vec![
                table("shop.a", "app", &["web SELECT"]),
                table("shop.b", "app", &["web SELECT", "bi SELECT"]),
            ]
        };
        let with = |new: Relation| two().into_iter().chain([new]).collect::<Vec<_>>();
        assert_eq!(left(two(), with(table("shop.c", "app", &["web SELECT"]))), [""; 0]);
        // then another owner, or no grant, is
        let found = left(two(), with(table("shop.c", "ada", &[])));
        assert_eq!(
            found,
            [
                "another owner shop.c: it belongs to `ada`, its 2 siblings to `app`",
                "missing grants shop.c: all its siblings have web SELECT",
            ]
        );
    }

    #[test]
    fn a_table_in_a_schema_that_stood_empty_is_told() {
        let old = || vec![table("shop.a", "app", &[])];
        let new = |name| old().into_iter().chain([table(name, "app", &[])]).collect::<Vec<_>>();
        assert_eq!(
            left(old(), new("public.c")),
            ["table in another schema c: all other tables are in `shop`"]
        );
        // A schema that came with it is meant.
        assert_eq!(left(old(), new("fresh.c")), [""; 0]);
    }

    #[test]
    fn what_was_broken_before_is_not_left_behind() {
        let invalid = || Relation { kind: 'i', valid: false, ..table("shop.i", "app", &[]) };
        let valid = || Relation { valid: true, ..invalid() };
        assert_eq!(left(vec![invalid()], vec![invalid()]), [""; 0]);
        assert_eq!(left(vec![valid()], vec![invalid()]).len(), 1);
        assert_eq!(left(vec![], vec![invalid()]).len(), 1);
    }

    #[test]
    fn a_new_file_is_a_rewrite_unless_it_is_empty() {
        let before = snapshot(vec![table("shop.a", "app", &[]), table("shop.b", "app", &[])]);
        let mut after = before.clone();
        after.relations.get_mut(&16384).unwrap().file = 2;
        let other = after.relations.get_mut(&16385).unwrap();
        (other.file, other.bytes) = (3, 0);
        let names: Vec<&str> =
            rewritten(&before, &after).into_iter().map(|(_, table)| table.short()).collect();
        assert_eq!(names, ["shop.a"]);
    }
}
