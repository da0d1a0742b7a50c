//! The event triggers that a branch carries while a migration is checked, and what they tell.
//!
//! An event trigger fires for each DDL statement, however it got to the server: alone, in a batch, in a function. Its
//! message passes the wire at once, so it is heard even if the transaction is rolled back later. Source: the PostgreSQL
//! manual, chapter "Event Triggers".

use lakebase::error::Result;
use lakebase::sql::Session;
use serde::Deserialize;

use crate::lock::Mode;
use crate::text;

/// Class of the SQLSTATEs of our messages: none of PostgreSQL's own begins so.
pub const CLASS: &str = "LB";
/// The schema of what `check` puts into a branch.
pub const SCHEMA: &str = "lakebase_check";

/// One message of the sensor. Times are seconds since 1970 by the server's clock.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Message {
    /// `ddl_command_start`, `ddl_command_end`, `sql_drop` or `table_rewrite`.
    pub event: String,
    /// The command, such as `ALTER TABLE`.
    pub tag: String,
    /// When it was said.
    pub at: f64,
    /// When the transaction began, which tells one from another.
    pub transaction: f64,
    /// The call stack, innermost first: it holds the text of a statement inside a function.
    #[serde(default)]
    pub context: String,
    /// Who ran the statement.
    pub role: String,
    /// `search_path` at that time.
    pub search_path: String,
    /// `lock_timeout` at that time, as `SHOW` writes it.
    pub lock_timeout: String,
    /// `statement_timeout` at that time, as `SHOW` writes it.
    pub statement_timeout: String,
    /// Relations by oid, and the modes that the transaction holds on them at that time.
    #[serde(default)]
    pub locks: Option<Vec<(u32, String)>>,
    /// What the command made or dropped.
    #[serde(default)]
    pub objects: Option<Vec<Object>>,
    /// The relation that is being rewritten.
    #[serde(default)]
    pub rewritten: Option<u32>,
    /// Why, as bits: 1 persistence, 2 a default's value, 4 a column's type, 8 access method.
    #[serde(default)]
    pub reason: Option<u32>,
}

/// What a command made or dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// `table`, `index`, `view` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// As SQL writes it, with its schema.
    pub name: String,
    /// Its oid, whatever catalog that is in.
    pub relation: u32,
    /// Of what was dropped: whether the command named it, or it went with something else.
    #[serde(default)]
    pub original: bool,
}

impl Message {
    /// The held locks of table locks' modes.
    pub fn held(&self) -> impl Iterator<Item = (u32, Mode)> + '_ {
        let locks = self.locks.iter().flatten();
        locks.filter_map(|(relation, mode)| Some((*relation, Mode::parse(mode)?)))
    }

    /// The statement that ran inside a function or a `DO` block, if it was one.
    pub fn inner(&self) -> Option<&str> {
        let (_, rest) = self.context.split_once("SQL statement \"")?;
        // The text itself may hold quotes; the next level of the stack begins on a line of its own.
        let end = rest.find("\"\nPL/pgSQL ").or_else(|| rest.find("\"\nSQL ")).or_else(|| rest.rfind('"'))?;
        Some(rest[..end].trim())
    }

    /// Why a table is rewritten, in words.
    pub fn reasons(&self) -> String {
        let bits = self.reason.unwrap_or_default();
        let words = [
            (1, "it becomes logged or unlogged"),
            (2, "a default that differs for each row"),
            (4, "a column's type"),
            (8, "its access method"),
        ];
        let words: Vec<&str> =
            words.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| word).collect();
        if words.is_empty() { "an unknown reason".into() } else { words.join(", ") }
    }
}

/// Puts the event triggers into the branch.
///
/// # Errors
/// [`lakebase::error::Kind::Database`] where the branch does not allow them; nothing is left behind then.
pub async fn arm(session: &Session) -> Result<()> {
    // One by one: a server that allows event triggers to others than superusers may look at a statement's beginning for it.
    for statement in text::statements(include_str!("sensor.sql")) {
        if let Err(error) = session.run(statement).await {
            let _ = disarm(session).await;
            return Err(error);
        }
    }
    Ok(())
}

/// Takes everything of ours out of the branch again.
///
/// # Errors
/// [`lakebase::error::Kind::Database`].
pub async fn disarm(session: &Session) -> Result<()> {
    session.run("SET client_min_messages = warning").await?;
    for event in ["start", "end", "drop", "rewrite"] {
        session.run(&format!("DROP EVENT TRIGGER IF EXISTS lakebase_check_{event}")).await?;
    }
    session.run(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; RESET client_min_messages")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_inside_a_block_is_found_in_the_call_stack() {
        let within = |context: &str| {
            let message = Message { context: context.into(), ..Message::default() };
            message.inner().map(str::to_owned)
        };
        let tell = "PL/pgSQL function lakebase_check.tell() line 6 at GET DIAGNOSTICS";
        assert_eq!(within(tell), None);
        let stack = "\nSQL statement \"ALTER TABLE \"Odd\" ADD x int\"\nPL/pgSQL function inline_code_block line 3 at SQL statement";
        assert_eq!(within(&format!("{tell}{stack}")).unwrap(), "ALTER TABLE \"Odd\" ADD x int");
    }

    #[test]
    fn a_message_without_locks_or_objects_is_understood() {
        let text = r#"{"at": 1.5, "tag": "DROP TABLE", "role": "ada", "event": "ddl_command_start", "locks": null,
            "context": "", "search_path": "public", "transaction": 1, "lock_timeout": "0", "statement_timeout": "0"}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!((message.tag.as_str(), message.held().count()), ("DROP TABLE", 0));
    }
}
