//! Clients of production at work while the migration runs: what they wait for, measured.

use std::time::{Duration, Instant};

use lakebase::connection::Connection;
use lakebase::error::Result;
use lakebase::sql::Session;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::catalog::Relation;
use crate::lock::Client;

/// What a probe sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// A shorter wait is the network's and the machine's.
pub(crate) const NOISE: f64 = 3.0;

/// A wait that a probe felt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// When it began, in milliseconds since the run did.
    pub from: f64,
    /// How long it was, in milliseconds.
    pub ms: f64,
}

/// A client that knocks at one table until it is told to stop.
pub struct Probe {
    /// The table's oid.
    pub table: u32,
    /// What it does.
    pub client: Client,
    running: JoinHandle<Vec<Wait>>,
}

impl Probe {
    /// Starts one. None is started for rows of a table without a primary key, or without rows.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub async fn start(
        connection: &Connection,
        ca: Option<&str>,
        (oid, relation): (u32, &Relation),
        client: Client,
        origin: Instant,
        stop: watch::Receiver<bool>,
    ) -> Result<Option<Self>> {
        let Some(knocks) = knocks(relation, client) else { return Ok(None) };
        let session = Session::open(connection, ca).await?;
        session.run("SET lock_timeout = '10min'; SET statement_timeout = 0; SET application_name = 'lakebase check'").await?;
        let running = tokio::spawn(knock(session, knocks, origin, stop));
        Ok(Some(Self { table: oid, client, running }))
    }

    /// What it felt, once it was told to stop.
    pub async fn waits(self) -> Vec<Wait> {
        self.running.await.unwrap_or_default()
    }
}

/// What a client does, again and again. None changes anything.
fn knocks(relation: &Relation, client: Client) -> Option<Vec<String>> {
    let name = &relation.name;
    Some(match client {
        Client::Reader => vec![format!("BEGIN; LOCK TABLE {name} IN ACCESS SHARE MODE; COMMIT")],
        Client::Writer => vec![format!("BEGIN; LOCK TABLE {name} IN ROW EXCLUSIVE MODE; COMMIT")],
        Client::Row => {
            if relation.primary_key.is_empty() || relation.kind != 'r' {
                return None;
            }
            let key = relation.primary_key.join(", ");
            let end = |direction: &str| {
                let order: Vec<String> =
                    relation.primary_key.iter().map(|column| format!("{column} {direction}")).collect();
                format!(
                    "SELECT 1 FROM {name} WHERE ({key}) = (SELECT {key} FROM {name} ORDER BY {} LIMIT 1) FOR NO KEY UPDATE",
                    order.join(", ")
                )
            };
            vec![end("ASC"), end("DESC")]
        }
    })
}

async fn knock(
    session: Session,
    knocks: Vec<String>,
    origin: Instant,
    stop: watch::Receiver<bool>,
) -> Vec<Wait> {
    let mut waits = Vec::new();
    for knock in knocks.iter().cycle() {
        if *stop.borrow() {
            break;
        }
        let from = Instant::now();
        let knocked = session.run(knock).await;
        let ms = from.elapsed().as_secs_f64() * 1000.0;
        // A table that was renamed or dropped meanwhile refuses; the waiting before that counts all the same.
        if knocked.is_err() && session.run("ROLLBACK").await.is_err() {
            break;
        }
        if ms > NOISE {
            waits.push(Wait { from: from.saturating_duration_since(origin).as_secs_f64() * 1000.0, ms });
        }
        tokio::time::sleep(PAUSE).await;
    }
    waits
}
