//! Runs what PostgreSQL leaves to a superuser, on a connection of our own, as the user's session would have.

use serde::Deserialize;

use super::statement::{About, Wanted};
use crate::app::App;
use crate::catalog::{SUPERUSER, identifier};

/// What is asked of a session before a statement of its is run elsewhere: its role, where it looks for names, and whether it
/// may write. Names that anybody could make are qualified, and the answer is spelled in letters that every encoding has.
pub(super) const QUESTION: &str = "SELECT pg_catalog.encode(pg_catalog.convert_to(\
    pg_catalog.json_build_object('role', current_user, 'path', pg_catalog.current_schemas(false), \
    'read_only', pg_catalog.current_setting('transaction_read_only'), \
    'encoding', pg_catalog.current_setting('client_encoding'))::pg_catalog.text, 'UTF8'), 'hex')";

/// The error of PostgreSQL for what it does not do.
const NOT_SUPPORTED: &str = "0A000";
/// Its error for what is not allowed.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Its error for what nobody foresaw.
const INTERNAL_ERROR: &str = "XX000";

/// What a session said about itself.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Context {
    role: String,
    path: Vec<String>,
    read_only: String,
    encoding: String,
}

/// How a statement ended.
pub(super) enum Ran {
    /// Well.
    Done,
    /// With the body of an error message.
    Failed(Vec<u8>),
    /// Not at all: PostgreSQL itself has the better words for it.
    NotOurs,
}

/// An error for the client.
struct Failure {
    sqlstate: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// Runs a statement in the database of a branch, where the session with this answer to [`QUESTION`] may.
pub(super) async fn run(app: &App, branch: &str, database: &str, wanted: &Wanted, answer: &[u8]) -> Ran {
    let Some(context) = Context::read(answer) else { return Ran::NotOurs };
    // The text would have to be read as the session does.
    if !wanted.sql.is_ascii() && context.encoding != "UTF8" {
        return Ran::NotOurs;
    }
    match execute(app, branch, database, wanted, &context).await {
        Ok(true) => Ran::Done,
        Ok(false) => Ran::NotOurs,
        Err(failure) => Ran::Failed(failure.body()),
    }
}

/// Whether it ran. Dropped before the end, the transaction is rolled back.
async fn execute(
    app: &App,
    branch: &str,
    database: &str,
    wanted: &Wanted,
    context: &Context,
) -> Result<bool, Failure> {
    let session = app.control(branch, database).await.map_err(|_| Failure {
        sqlstate: INTERNAL_ERROR.to_owned(),
        message: "the server has no connection for this statement".to_owned(),
        detail: None,
        hint: Some("see the log of the embedded Lakebase".to_owned()),
    })?;
    let client = &session.client;
    let writes = if context.read_only == "on" { "BEGIN READ ONLY" } else { "BEGIN" };
    client.batch_execute(writes).await?;
    let may = "SELECT pg_has_role($1::text::name, $2::text::name, 'MEMBER')";
    if !client.query_one(may, &[&context.role, &SUPERUSER]).await?.get::<_, bool>(0) {
        return Ok(false);
    }
    let path: Vec<String> = context.path.iter().map(|schema| identifier(schema)).collect();
    client.query("SELECT set_config('search_path', $1, true)", &[&path.join(", ")]).await?;
    // Prepared, so that it can't be two; and what is no SQL is so in the words of the session.
    let Ok(statement) = client.prepare(&wanted.sql).await else { return Ok(false) };
    client.execute(&statement, &[]).await?;
    client.batch_execute("SET LOCAL search_path = pg_catalog").await?;
    match wanted.about {
        About::NewEventTrigger | About::EventTrigger => {
            let sql = "SELECT coalesce(bool_or(evtenabled IN ('R', 'A')), false),
                              coalesce(bool_or(NOT has_function_privilege($1::text::name, evtfoid, 'EXECUTE')), false),
                              min(proname::text)
                       FROM pg_event_trigger e LEFT JOIN pg_proc p ON p.oid = evtfoid
                       WHERE e.xmin = pg_current_xact_id()::xid";
            let row = client.query_one(sql, &[&context.role]).await?;
            if row.get::<_, bool>(0) && !session.is_out_of_reach() {
                // It would fire for our own superuser, too; see `Control::is_out_of_reach`.
                return Err(Failure::new(
                    NOT_SUPPORTED,
                    "event triggers that are enabled for replicas or always are not supported before PostgreSQL 17",
                ));
            }
            if wanted.about == About::NewEventTrigger && row.get::<_, bool>(1) {
                let function: Option<String> = row.get(2);
                let message = format!("permission denied for function {}", function.unwrap_or_default());
                return Err(Failure::new(INSUFFICIENT_PRIVILEGE, message));
            }
        }
        About::Statistics => {
            let sql =
                "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                       WHERE e.xmin = pg_current_xact_id()::xid
                         AND NOT has_schema_privilege($1::text::name, n.oid, 'CREATE')";
            if let Some(row) = client.query_opt(sql, &[&context.role]).await? {
                let message = format!("permission denied for schema {}", row.get::<_, String>(0));
                return Err(Failure::new(INSUFFICIENT_PRIVILEGE, message));
            }
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(true)
}

impl Context {
    /// From the body of a row with one value.
    fn read(row: &[u8]) -> Option<Self> {
        let (head, value) = row.split_first_chunk::<6>()?;
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if head[..2] != [0, 1] || value.len() != length {
            return None;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> = value
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            })
            .collect();
        serde_json::from_slice(&bytes?).ok()
    }
}

impl Failure {
    fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        Self { sqlstate: sqlstate.to_owned(), message: message.into(), detail: None, hint: None }
    }

    /// As the body of an error message. Positions are left out: they are those of a text that was rebuilt.
    fn body(&self) -> Vec<u8> {
        let fields = [
            (b'S', Some("ERROR")),
            (b'V', Some("ERROR")),
            (b'C', Some(self.sqlstate.as_str())),
            (b'M', Some(self.message.as_str())),
            (b'D', self.detail.as_deref()),
            (b'H', self.hint.as_deref()),
        ];
        let mut body = Vec::new();
        for (kind, text) in fields {
            if let Some(text) = text {
                body.push(kind);
                body.extend(text.bytes().filter(|byte| *byte != 0));
                body.push(0);
            }
        }
        body.push(0);
        body
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self {
                sqlstate: error.code().code().to_owned(),
                message: error.message().to_owned(),
                detail: error.detail().map(str::to_owned),
                hint: error.hint().map(str::to_owned),
            },
            None => Self::new(INTERNAL_ERROR, "the server's own connection for this statement failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_session_is_read_and_nothing_else_is() {
        let row = |text: &str| {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            let length = u32::try_from(hex.len()).unwrap().to_be_bytes();
            [&[0, 1], &length[..], hex.as_bytes()].concat()
        };
        let text = r#"{"role":"ädä","path":["public"],"read_only":"off","encoding":"UTF8"}"#;
        let context = Context {
            role: "ädä".into(),
            path: vec!["public".into()],
            read_only: "off".into(),
            encoding: "UTF8".into(),
        };
        assert_eq!(Context::read(&row(text)), Some(context));
        assert_eq!(Context::read(&row("{}")), None);
        assert_eq!(Context::read(&row(text)[..20]), None);
        assert_eq!(Context::read(&[]), None);
    }
}
