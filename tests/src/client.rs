//! A PostgreSQL client that is never waited for without an end, and that tells the SQLSTATE of a refusal.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// Where to log in on this machine, and as whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// TCP port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub database: String,
}

/// Why there is no session, or no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The five characters; empty where the server said nothing and the connection broke.
    pub sqlstate: String,
    /// Message, detail and hint, or what broke the connection.
    pub words: String,
}

/// A session of one client.
pub struct Session {
    runtime: Runtime,
    client: Client,
}

impl Login {
    /// A login with a user and a database of the same name.
    pub fn new(port: u16, user: &str, password: &str) -> Self {
        Self { port, user: user.to_owned(), password: password.to_owned(), database: user.to_owned() }
    }

    /// Logs in. A client that is neither let in nor refused within the limit fails the test.
    #[track_caller]
    pub fn open(&self, limit: Duration) -> Result<Session, Refused> {
        let runtime = runtime();
        let client = runtime.block_on(async { tokio::time::timeout(limit, self.connect()).await });
        let client = client.unwrap_or_else(|_| panic!("a client hung for {limit:?}"))?;
        Ok(Session { runtime, client })
    }

    /// Logs in that many times at once and holds every session until the last client has its answer. None may hang.
    #[track_caller]
    pub fn crowd(&self, count: usize, limit: Duration) -> Vec<Result<(), Refused>> {
        runtime().block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..count {
                let login = self.clone();
                let visit = async move {
                    let client = login.connect().await?;
                    client.simple_query("SELECT 1").await.map(|_| client).map_err(refused)
                };
                clients.spawn(tokio::time::timeout(limit, visit));
            }
            let said: Vec<Result<_, tokio::time::error::Elapsed>> = clients.join_all().await;
            let hung = said.iter().filter(|said| said.is_err()).count();
            assert_eq!(hung, 0, "of {count} clients, {hung} hung for {limit:?}");
            said.into_iter().flatten().map(|said| said.map(drop)).collect()
        })
    }

    async fn connect(&self) -> Result<Client, Refused> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).dbname(&self.database);
        config.user(&self.user).password(&self.password);
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Session {
    /// The first value that the statement gives; an answer must come within the limit.
    #[track_caller]
    pub fn query(&self, limit: Duration, sql: &str) -> Result<String, Refused> {
        let answer = async { tokio::time::timeout(limit, self.client.simple_query(sql)).await };
        let answer = self.runtime.block_on(answer).unwrap_or_else(|_| panic!("{sql}: hung for {limit:?}"));
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        Ok(answer.map_err(refused)?.iter().find_map(value).unwrap_or_default())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn refused(error: tokio_postgres::Error) -> Refused {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        return Refused { sqlstate: String::new(), words: format!("{error}{}", cause.unwrap_or_default()) };
    };
    let words = [Some(said.message()), said.detail(), said.hint()];
    Refused {
        sqlstate: said.code().code().to_owned(),
        words: words.into_iter().flatten().collect::<Vec<_>>().join("; "),
    }
}
