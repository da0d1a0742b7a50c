//! The history tables of a database, all of them in one round trip.

use std::fmt::Write;

use serde::Deserialize;

use super::{History, Row, Tool};
use crate::error::{Error, Kind, Result};
use crate::sql::Session;

/// How long the database may take. A migration that is just running may hold its table.
const PATIENCE: &str = "5s";

#[derive(Deserialize)]
struct Found {
    table: String,
    rows: Option<Vec<Row>>,
}

/// Reads what the migration tools have noted. It writes nothing, and a table that is none of a tool's, or that may not be
/// read, counts as none.
///
/// # Errors
/// [`Kind::Database`] in the server's words.
pub async fn read(session: &Session) -> Result<History> {
    let said = session.text(&statement()).await;
    if said.is_err() {
        // The session has further uses.
        let _ = session.run("ROLLBACK").await;
    }
    let text = said?.unwrap_or_default();
    let found: Vec<Found> = serde_json::from_str(&text).map_err(|error| {
        Error::new(Kind::Database, "the branch's migration history can't be read").because(&error)
    })?;
    let tool = |table: &str| Tool::ALL.into_iter().find(|tool| tool.craft().table == table);
    Ok(found
        .into_iter()
        .filter_map(|found| Some((tool(&found.table)?, found.rows.unwrap_or_default())))
        .collect())
}

/// One simple query, since the tables that are there are not known before: a block reads them, and leaves what it found in
/// a setting of its transaction. Of several tables of one name the one that an unqualified name means is taken, and none
/// where that is none of them.
fn statement() -> String {
    let mut wanted = String::new();
    for (at, tool) in Tool::ALL.into_iter().enumerate() {
        let craft = tool.craft();
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(wanted, "{comma}('{}', '{}')", craft.table, craft.query.replace('\'', "''"));
    }
    format!(
        "BEGIN READ ONLY;
SET LOCAL lock_timeout = '{PATIENCE}'; SET LOCAL statement_timeout = '{PATIENCE}';
DO $lakebase$
DECLARE
  one record;
  found pg_catalog.json;
  everything pg_catalog.jsonb := '[]';
BEGIN
  FOR one IN
    SELECT wanted.name, wanted.query, pg_catalog.min(t.path) FILTER (WHERE t.visible OR t.count = 1) AS path
    FROM (VALUES {wanted}) AS wanted(name, query)
    JOIN (
      SELECT c.relname::text AS name, pg_catalog.format('%I.%I', n.nspname, c.relname) AS path,
             pg_catalog.pg_table_is_visible(c.oid) AS visible,
             pg_catalog.count(*) OVER (PARTITION BY c.relname) AS count
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ) t USING (name)
    GROUP BY wanted.name, wanted.query
  LOOP
    CONTINUE WHEN one.path IS NULL;
    BEGIN
      EXECUTE pg_catalog.replace(one.query, '%s', one.path) INTO found;
      everything := everything || pg_catalog.jsonb_build_object('table', one.name, 'rows', found);
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  PERFORM pg_catalog.set_config('lakebase.history', everything::text, true);
END
$lakebase$;
SELECT pg_catalog.current_setting('lakebase.history');
COMMIT"
    )
}
