//! A program with sqlx's migrator in it, as most that use sqlx have it: `run` brings the database of `DATABASE_URL` to the
//! newest of `migrations/`, `undo VERSION` back to that one.

use std::path::Path;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let migrator = Migrator::new(Path::new("migrations")).await?;
    let mut connection = PgConnection::connect(&std::env::var("DATABASE_URL")?).await?;
    match words.as_slice() {
        [run] if run == "run" => migrator.run(&mut connection).await?,
        [undo, version] if undo == "undo" => migrator.undo(&mut connection, version.parse()?).await?,
        _ => return Err("run, or undo VERSION".into()),
    }
    connection.close().await?;
    Ok(())
}
