//! Somebody who has read a table and not ended the transaction: the commonest reason why a migration that takes a moment on
//! an idle database stops an application. The migration waits for the reader, and whoever comes later for the migration.

use std::time::{Duration, Instant};

use lakebase::connection::Connection;
use lakebase::error::Result;
use lakebase::sql::Session;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::catalog::Relation;
use crate::facts::Queue;
use crate::probe::{NOISE, Wait};

/// How often it is looked whether the migration waits.
const LOOK: Duration = Duration::from_millis(5);
/// How long the queue is looked at before the reader goes: long enough to tell a queue from a short `lock_timeout`.
const PATIENCE_MS: u32 = 1_000;

/// Open readers of some tables, and who watches over them.
pub struct Antagonists {
    running: JoinHandle<(Vec<Queue>, Vec<Wait>)>,
}

/// One open reader.
struct Reader {
    session: Session,
    pid: i32,
    table: String,
    name: String,
}

impl Antagonists {
    /// Opens a transaction on each of the tables. Each of them ends soon after the migration was seen to wait for it, the rest
    /// when `stop` says so.
    ///
    /// # Errors
    /// Those of [`Session::open`], and of a table that may not be read.
    pub async fn start(
        connection: &Connection,
        ca: Option<&str>,
        tables: &[&Relation],
        origin: Instant,
        stop: watch::Receiver<bool>,
    ) -> Result<Self> {
        let watcher = Session::open(connection, ca).await?;
        let late = Session::open(connection, ca).await?;
        late.run(&format!("SET lock_timeout = '{PATIENCE_MS}ms'")).await?;
        let mut readers = Vec::new();
        for table in tables {
            let session = Session::open(connection, ca).await?;
            // A snapshot as well: `CREATE INDEX CONCURRENTLY` waits for those.
            session
                .run(&format!(
                    "SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ; \
                     SELECT 1 FROM {} LIMIT 1",
                    table.name
                ))
                .await?;
            let pid = pid(&session).await?;
            readers.push(Reader { session, pid, table: table.short().to_owned(), name: table.name.clone() });
        }
        Ok(Self { running: tokio::spawn(watch_over(watcher, late, readers, origin, stop)) })
    }

    /// What happened behind each, and when somebody waited for one.
    pub async fn end(self) -> (Vec<Queue>, Vec<Wait>) {
        self.running.await.unwrap_or_default()
    }
}

async fn pid(session: &Session) -> Result<i32> {
    let pid = session.text("SELECT pg_backend_pid()").await?;
    Ok(pid.and_then(|pid| pid.parse().ok()).unwrap_or_default())
}

async fn watch_over(
    watcher: Session,
    late: Session,
    mut readers: Vec<Reader>,
    origin: Instant,
    stop: watch::Receiver<bool>,
) -> (Vec<Queue>, Vec<Wait>) {
    let (mut queues, mut waits) = (Vec::new(), Vec::new());
    // How long the network alone keeps a reader waiting.
    let idle = Instant::now();
    let _ = late.run("SELECT 1").await;
    let at_once = 2.0 * idle.elapsed().as_secs_f64() * 1000.0 + NOISE;
    while !*stop.borrow() && !readers.is_empty() {
        let Some(place) = waited_for(&watcher, &readers).await else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let reader = readers.remove(place);
        let from = Instant::now();
        let knock = format!("BEGIN; LOCK TABLE {} IN ACCESS SHARE MODE; COMMIT", reader.name);
        let is_in = late.run(&knock).await.is_ok();
        let took = from.elapsed().as_secs_f64() * 1000.0;
        let readers_ms = if is_in && took <= at_once { 0.0 } else { took };
        if !is_in {
            let _ = late.run("ROLLBACK").await;
        }
        // Who still waits would wait for as long as the reader reads.
        let gave_up = is_in && waited_for(&watcher, std::slice::from_ref(&reader)).await.is_none();
        let _ = reader.session.run("ROLLBACK").await;
        waits.push(Wait {
            from: from.saturating_duration_since(origin).as_secs_f64() * 1000.0 - LOOK.as_secs_f64() * 1000.0,
            ms: took + 2.0 * LOOK.as_secs_f64() * 1000.0,
        });
        queues.push(Queue { table: reader.table, waited: true, readers_ms, gave_up });
    }
    queues.extend(readers.into_iter().map(|reader| Queue {
        table: reader.table,
        waited: false,
        readers_ms: 0.0,
        gave_up: false,
    }));
    (queues, waits)
}

/// The reader that somebody waits for.
async fn waited_for(watcher: &Session, readers: &[Reader]) -> Option<usize> {
    let text = "SELECT string_agg(pid::text, ',') FROM (SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS pid FROM pg_locks WHERE NOT granted) AS blocking";
    let blocking = watcher.text(text).await.ok().flatten()?;
    let blocking: Vec<i32> = blocking.split(',').filter_map(|pid| pid.parse().ok()).collect();
    readers.iter().position(|reader| blocking.contains(&reader.pid))
}
