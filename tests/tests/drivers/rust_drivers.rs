//! tokio-postgres and sqlx at the seat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future, stream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ways::{Server, Ways};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const MODES: [SslMode; 3] = [SslMode::Prefer, SslMode::Require, SslMode::Disable];

/// Twenty megabytes that no compression makes small.
fn large() -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..20 << 20).map(|_| next()).collect()
}

/// Takes any certificate, as libpq does with `sslmode=require`.
#[derive(Debug)]
struct Unverified(CryptoProvider);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tls() -> MakeRustlsConnect {
    let provider = ring::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()));
    let config = config.with_safe_default_protocol_versions().unwrap().dangerous();
    let verifier = Arc::new(Unverified(provider));
    MakeRustlsConnect::new(config.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn config(server: &Server) -> Config {
    let mut config = Config::new();
    config.host(server.get("PGHOST")).port(server.get("PGPORT").parse().unwrap());
    config.user(server.get("PGUSER")).password(server.get("PGPASSWORD")).dbname(server.get("PGDATABASE"));
    config
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(tls()).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_has_all_it_has_at_a_database() {
    let ways = tokio::task::spawn_blocking(Ways::shared).await.unwrap();
    let config = config(&ways.through);
    encryption_and_large_values(&config).await;
    statements(&config).await;
    cancel(&config).await;
    notifications(&config).await;
    copy_and_cursors(&config).await;
    // A wrong password is refused with its code.
    let refused = config.clone().password("wrong").connect(tls()).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PASSWORD));
    // Start-up options arrive.
    let mut set = config.clone();
    set.application_name("my app").options("-c statement_timeout=54321 -c work_mem=7MB");
    let row = connect(&set).await;
    let shown = "SELECT current_setting('application_name'), current_setting('statement_timeout'), current_setting('work_mem')";
    let row = row.query_one(shown, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("my app", "54321ms", "7MB"));
    let other = connect(config.clone().dbname("template1")).await;
    let name: String = other.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
    assert_eq!(name, "template1");
    // The last holder of the seat ends it, which takes a while.
    tokio::task::spawn_blocking(move || drop(ways)).await.unwrap();
}

async fn encryption_and_large_values(config: &Config) {
    let large = large();
    for mode in MODES {
        let mut config = config.clone();
        config.ssl_mode(mode);
        if mode == SslMode::Require {
            // Which no session in the clear has.
            config.channel_binding(ChannelBinding::Require);
        }
        let client = connect(&config).await;
        let back: Vec<u8> = client.query_one("SELECT $1::bytea", &[&large]).await.unwrap().get(0);
        assert!(back == large, "{mode:?}");
    }
}

async fn statements(config: &Config) {
    let mut client = connect(config).await;
    client.batch_execute("CREATE TABLE tokio_rollback (id int PRIMARY KEY)").await.unwrap();
    let count = "SELECT count(*) FROM tokio_rollback";
    let transaction = client.transaction().await.unwrap();
    transaction.execute("INSERT INTO tokio_rollback VALUES ($1)", &[&1]).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
    let twice = client.execute("INSERT INTO tokio_rollback VALUES (2), (2)", &[]).await.unwrap_err();
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_eq!(twice.as_db_error().unwrap().constraint(), Some("tokio_rollback_pkey"));
    // A thousand on their way at once, one of which fails.
    let statement = client.prepare("SELECT 1000 / $1::int").await.unwrap();
    let queries = (0..1000).map(|number: i32| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&number]).await }
    });
    for (number, answer) in (0..).zip(future::join_all(queries).await) {
        match answer {
            Ok(row) => assert_eq!(row.get::<_, i32>(0), 1000 / number),
            Err(error) => assert_eq!((number, error.code()), (0, Some(&SqlState::DIVISION_BY_ZERO))),
        }
    }
}

async fn cancel(config: &Config) {
    let witness = connect(config).await;
    for mode in MODES {
        let mut config = config.clone();
        config.ssl_mode(mode).application_name("tokio-cancel");
        let slow = Arc::new(connect(&config).await);
        let sleep = tokio::spawn({
            let slow = Arc::clone(&slow);
            async move { slow.batch_execute("SELECT pg_sleep(600)").await }
        });
        let running = async || -> i64 {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tokio-cancel' AND state = 'active'";
            witness.query_one(sql, &[]).await.unwrap().get(0)
        };
        let until = Instant::now() + PATIENCE;
        while running().await != 1 {
            assert!(Instant::now() < until, "the query does not run");
        }
        slow.cancel_token().cancel_query(tls()).await.unwrap();
        let ended = timeout(PATIENCE, sleep).await.unwrap().unwrap().unwrap_err();
        assert_eq!(ended.code(), Some(&SqlState::QUERY_CANCELED));
        // Its session goes on, and the query does not: the driver hears of the error before the server is done with it.
        assert_eq!(slow.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        assert_eq!(running().await, 0);
    }
}

async fn notifications(config: &Config) {
    let (listener, mut connection) = config.connect(tls()).await.unwrap();
    let (heard, mut notices) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notice) = message {
                let _ = heard.send((notice.channel().to_owned(), notice.payload().to_owned()));
            }
        }
    });
    listener.batch_execute("LISTEN tokio_news").await.unwrap();
    let payload = "ü".repeat(3000);
    let sender = connect(config).await;
    sender.execute("SELECT pg_notify('tokio_news', $1)", &[&payload]).await.unwrap();
    let notice = timeout(PATIENCE, notices.recv()).await.unwrap().unwrap();
    assert_eq!(notice, ("tokio_news".to_owned(), payload));
}

async fn copy_and_cursors(config: &Config) {
    let mut client = connect(config).await;
    client.batch_execute("CREATE TABLE tokio_copy (id int, text text)").await.unwrap();
    let lines: Vec<Bytes> = (0..200_000).map(|n| format!("{n}\trow {n} ü\n").into()).collect();
    let sink = client.copy_in::<_, Bytes>("COPY tokio_copy FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send_all(&mut stream::iter(lines.clone()).map(Ok)).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 200_000);
    let out = "COPY (SELECT * FROM tokio_copy ORDER BY id) TO STDOUT";
    let out: Vec<Bytes> = client.copy_out(out).await.unwrap().try_collect().await.unwrap();
    assert!(out.concat() == lines.concat());
    // Rows as they come, and by a portal of a thousand at a time.
    let rows = client.query_raw("SELECT id FROM tokio_copy", Vec::<i32>::new()).await.unwrap();
    let sum = rows.try_fold(0, |sum, row| future::ok(sum + i64::from(row.get::<_, i32>(0))));
    assert_eq!(sum.await.unwrap(), 19_999_900_000);
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT id FROM tokio_copy", &[]).await.unwrap();
    let mut sum = 0;
    loop {
        let rows = transaction.query_portal(&portal, 1000).await.unwrap();
        sum += rows.iter().map(|row| i64::from(row.get::<_, i32>(0))).sum::<i64>();
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(sum, 19_999_900_000);
}

fn options(server: &Server) -> PgConnectOptions {
    PgConnectOptions::new()
        .host(server.get("PGHOST"))
        .port(server.get("PGPORT").parse().unwrap())
        .username(server.get("PGUSER"))
        .password(server.get("PGPASSWORD"))
        .database(server.get("PGDATABASE"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_has_all_it_has_at_a_database() {
    let ways = tokio::task::spawn_blocking(Ways::shared).await.unwrap();
    let options = options(&ways.through);
    let large = large();
    for mode in [PgSslMode::Prefer, PgSslMode::Require, PgSslMode::Disable] {
        let mut session = PgConnection::connect_with(&options.clone().ssl_mode(mode)).await.unwrap();
        let back = sqlx::query("SELECT $1").bind(&large).fetch_one(&mut session).await.unwrap();
        assert!(back.get::<Vec<u8>, _>(0) == large, "{mode:?}");
        session.close().await.unwrap();
    }
    let pool = PgPoolOptions::new().max_connections(10).connect_with(options.clone()).await.unwrap();
    transactions_and_errors(&pool).await;
    streams(&pool).await;
    cancelled_statement(&pool, &options).await;
    // What one session notifies, another hears.
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("sqlx_news").await.unwrap();
    let payload = "ü".repeat(3000);
    sqlx::query("SELECT pg_notify('sqlx_news', $1)").bind(&payload).execute(&pool).await.unwrap();
    let notice = timeout(PATIENCE, listener.recv()).await.unwrap().unwrap();
    assert_eq!((notice.channel(), notice.payload()), ("sqlx_news", payload.as_str()));
    drop(listener);
    pool.close().await;
    // A wrong password is refused with its code.
    let refused = PgConnection::connect_with(&options.clone().password("wrong")).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "28P01");
    // Start-up options arrive.
    let set =
        options.application_name("my app").options([("statement_timeout", "54321"), ("work_mem", "7MB")]);
    let mut session = PgConnection::connect_with(&set).await.unwrap();
    let shown = "SELECT current_setting('application_name'), current_setting('statement_timeout'), current_setting('work_mem')";
    let row = session.fetch_one(shown).await.unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("my app", "54321ms", "7MB"));
    session.close().await.unwrap();
    tokio::task::spawn_blocking(move || drop(ways)).await.unwrap();
}

async fn transactions_and_errors(pool: &PgPool) {
    pool.execute("CREATE TABLE sqlx_rollback (id int PRIMARY KEY)").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO sqlx_rollback VALUES ($1)").bind(1).execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let count = "SELECT count(*) FROM sqlx_rollback";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await.unwrap(), 0);
    let twice = pool.execute("INSERT INTO sqlx_rollback VALUES (2), (2)").await.unwrap_err();
    let twice = twice.as_database_error().unwrap();
    assert_eq!(twice.code().unwrap(), "23505");
    assert_eq!(twice.constraint(), Some("sqlx_rollback_pkey"));
    // Prepared once for each session of the pool, which ten tasks share.
    let queries = (0..1000).map(|number: i32| async move {
        sqlx::query_scalar::<_, i32>("SELECT $1 * 2").bind(number).fetch_one(pool).await.unwrap()
    });
    let answers = future::join_all(queries).await;
    assert!(answers.iter().zip(0..).all(|(answer, number)| *answer == number * 2));
}

async fn streams(pool: &PgPool) {
    pool.execute("CREATE TABLE sqlx_copy (id int, text text)").await.unwrap();
    let text: String = (0..200_000).map(|n| format!("{n}\trow {n} ü\n")).collect();
    let mut session = pool.acquire().await.unwrap();
    let mut copy = session.copy_in_raw("COPY sqlx_copy FROM STDIN").await.unwrap();
    copy.send(text.as_bytes()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 200_000);
    let out = "COPY (SELECT * FROM sqlx_copy ORDER BY id) TO STDOUT";
    let out: Vec<Bytes> = session.copy_out_raw(out).await.unwrap().try_collect().await.unwrap();
    assert!(out.concat() == text.as_bytes());
    let rows = sqlx::query_scalar::<_, i32>("SELECT id FROM sqlx_copy").fetch(pool);
    let sum = rows.try_fold(0, |sum, id| future::ok(sum + i64::from(id)));
    assert_eq!(sum.await.unwrap(), 19_999_900_000);
}

/// sqlx has no cancel request of its own: another session asks the server, as its users do.
async fn cancelled_statement(pool: &PgPool, options: &PgConnectOptions) {
    let mut slow = PgConnection::connect_with(options).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut slow).await.unwrap();
    let sleep = tokio::spawn(async move { slow.execute("SELECT pg_sleep(600)").await.map(|_| ()) });
    let until = Instant::now() + PATIENCE;
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND query LIKE 'SELECT pg_sleep%'";
    while sqlx::query(cancel).bind(pid).fetch_optional(pool).await.unwrap().is_none() {
        assert!(Instant::now() < until, "the query does not run");
    }
    let ended = timeout(PATIENCE, sleep).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.as_database_error().unwrap().code().unwrap(), "57014");
}
