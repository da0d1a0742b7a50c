//! The schema of a branch's database: what a migration changes, read from PostgreSQL's catalogs without writing.

mod difference;

use crate::error::{Error, Kind, Result};
use crate::sql::Session;

pub use self::difference::{Change, Edit, compare, edits};

/// Ends the transaction of a server that takes longer; the parent is production, where nobody shall wait for us.
const POLITE: &str = "SET default_transaction_read_only = on; SET statement_timeout = '60s'; SET lock_timeout = '5s'; \
                      SET search_path = ''";
/// One snapshot of the catalogs.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One object of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `table`, `column`, `index` and so on.
    pub kind: String,
    /// The schema that it is in.
    pub schema: String,
    /// The relation that it belongs to, of the same schema: a column's table.
    pub relation: Option<String>,
    /// Its name as SQL writes it, with the relation's before a column's and the arguments behind a function's.
    pub name: String,
    /// What it is, in clauses of which each has its own place; `None` where it lacks one.
    pub clauses: Vec<Option<String>>,
}

impl Object {
    /// The clauses that it has.
    pub fn definition(&self) -> String {
        self.clauses.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// The name with its schema, where that is not a part of it.
    pub fn qualified(&self) -> String {
        match self.kind.as_str() {
            "schema" | "extension" | "owner" | "grant" => self.name.clone(),
            _ => format!("{}.{}", quoted(&self.schema), self.name),
        }
    }

    /// Which clause is meant where it has none.
    fn absent(&self, place: usize) -> &'static str {
        match (self.kind.as_str(), place) {
            ("column" | "domain", 1) => "nullable",
            ("column" | "domain", 2) => "no default",
            ("column", 3) => "no identity",
            ("column", 4) => "not generated",
            ("column", 5) => "default collation",
            ("sequence", 1) => "increment 1",
            ("table", 4) => "no row level security",
            ("trigger", 1) => "enabled",
            _ => "none",
        }
    }
}

/// Reads every object in one read-only transaction, and ends the session; `all` is with owners and grants.
///
/// # Errors
/// [`Kind::Database`] in the server's words.
pub async fn read(session: Session, all: bool) -> Result<Vec<Object>> {
    session.run(POLITE).await?;
    session.run(BEGIN).await?;
    let rows = session.rows(include_str!("schema/catalog.sql"), &[&all]).await?;
    let unreadable = |error: tokio_postgres::Error| {
        Error::new(Kind::Database, "the branch's catalogs can't be understood").because(&error)
    };
    let object = |row: &tokio_postgres::Row| {
        Ok(Object {
            kind: row.try_get("kind")?,
            schema: row.try_get("schema")?,
            relation: row.try_get("relation")?,
            name: row.try_get("name")?,
            clauses: row.try_get("clauses")?,
        })
    };
    rows.iter().map(object).collect::<Result<_, _>>().map_err(unreadable)
}

/// An identifier as SQL writes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && name.starts_with(|c: char| !c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
