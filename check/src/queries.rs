//! The old application on the new schema: the queries that production runs, prepared before and after.

use std::collections::BTreeSet;

use lakebase::api::Client;
use lakebase::ensure::Target;
use lakebase::error::Result;
use lakebase::sql::Session;

use crate::facts::Queries;
use crate::fork::Fork;
use crate::text;

/// Queries that are tried at most, those that are called most often.
const MOST: i64 = 2_000;

/// The queries that work on a fork before the migration, of those that are `given`, else of production's own, to which client
/// and target lead; and how many of these can't be seen.
///
/// # Errors
/// Those of the sessions, and [`lakebase::error::Kind::Database`] where production keeps no statistics of queries.
pub async fn of_old_application(
    fork: &Fork,
    given: Option<&[String]>,
    (client, target): &(Client, Target),
) -> Result<(Vec<String>, usize)> {
    let (texts, hidden) = match given {
        Some(texts) => (texts.to_vec(), 0),
        None => of_production(&fork.enter_branch(client, &target.parent).await?).await?,
    };
    let texts = of_application(texts);
    Ok((working(&fork.enter_as_application().await?, texts).await, hidden))
}

/// The queries that production's `pg_stat_statements` has seen in this database, and how many more it shows to others only.
///
/// # Errors
/// [`lakebase::error::Kind::Database`] where it is not there, or not to be read.
async fn of_production(session: &Session) -> Result<(Vec<String>, usize)> {
    session.run("SET default_transaction_read_only = on; SET statement_timeout = '30s'").await?;
    let place = "SELECT quote_ident(n.nspname) FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace \
                 WHERE x.extname = 'pg_stat_statements'";
    let schema = session.text(place).await?.ok_or_else(|| {
        lakebase::error::Error::new(
            lakebase::error::Kind::Database,
            "production has no extension pg_stat_statements",
        )
    })?;
    let rows = session
        .rows(
            &format!(
                "SELECT query FROM {schema}.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = \
                 current_database()) AND query IS NOT NULL ORDER BY calls DESC LIMIT $1"
            ),
            &[&MOST],
        )
        .await?;
    let mut texts: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let all = texts.len();
    // In the place of what another role runs, for who is no member of `pg_read_all_stats`.
    texts.retain(|text| text != "<insufficient privilege>");
    let hidden = all - texts.len();
    Ok((texts, hidden))
}

/// Those of `texts` that are an application's: what reads and changes rows.
fn of_application(texts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let is_query = |text: &String| {
        let first = text::words(text).next().unwrap_or_default().to_uppercase();
        matches!(
            first.as_str(),
            "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "WITH" | "VALUES" | "TABLE"
        ) && !text.contains("lakebase_check")
    };
    texts.into_iter().filter(is_query).filter(|text| seen.insert(text.clone())).collect()
}

/// Those of `texts` that the branch takes.
async fn working(session: &Session, texts: Vec<String>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        if session.prepares(&text).await.is_ok() {
            all.push(text);
        }
    }
    all
}

/// What becomes of those that worked.
pub async fn compare(session: &Session, worked: &[String]) -> Queries {
    let mut broken = Vec::new();
    for text in worked {
        if let Err(error) = session.prepares(text).await {
            // A file of queries, or what was seen of production, may have values in it.
            broken.push((text::without_values(text), error.causes.first().cloned().unwrap_or_default()));
        }
    }
    Queries { worked: worked.len(), broken }
}
