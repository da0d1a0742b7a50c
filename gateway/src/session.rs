//! The whole life of one connection.

use std::future::Future;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::frontend::{self, Greeting, GreetingError, Login, Refusal};
use crate::message::MessageError;
use crate::proxy;
use crate::upstream::{Upstream, UpstreamError};

/// SQLSTATE "connection failure", for a server that can't be reached.
const CONNECTION_FAILURE: &str = "08006";
/// SQLSTATE "cannot connect now", for a server that is not there yet.
pub const CANNOT_CONNECT_NOW: &str = "57P03";

/// Where an admitted client goes.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The server.
    pub upstream: Upstream,
    /// The user it is there.
    pub user: String,
    /// The database it asked for, or the one it gets.
    pub database: String,
    /// Start-up parameters set after the client's own, so that they win.
    pub parameters: Vec<(String, String)>,
}

/// Decides who enters, and where to.
pub trait Authenticator: Send + Sync {
    /// Checks a login. An error is shown to the client as it is.
    fn authenticate(&self, login: &Login) -> impl Future<Output = Result<Admission, Refusal>> + Send;

    /// Where cancel requests of this endpoint go. `None` when there is nothing to cancel.
    fn cancel_target(&self) -> Option<Upstream>;
}

/// Limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// How long a client may take from connecting to its password, as `authentication_timeout` in PostgreSQL.
    pub startup_timeout: Duration,
}

impl Default for SessionOptions {
    /// One minute, PostgreSQL's own default.
    fn default() -> Self {
        Self { startup_timeout: Duration::from_secs(60) }
    }
}

/// How a connection ended, for the caller's log. Holds no secret.
#[derive(Debug)]
pub enum Outcome {
    /// A session ran and ended.
    Ended,
    /// A cancel request was forwarded.
    Cancelled,
    /// The client was told why it may not enter.
    Refused(Refusal),
    /// The client did not finish its start-up in time.
    TimedOut,
    /// The connection failed or spoke another protocol.
    Failed(String),
}

/// Serves one connection from its first byte to its last. `admitted` is called when the client is let in:
/// whatever the caller holds to limit strangers can be let go then.
pub async fn serve<A: Authenticator>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    authenticator: &A,
    options: SessionOptions,
    admitted: impl FnOnce(),
) -> Outcome {
    let _ = stream.set_nodelay(true);
    let start = async {
        match frontend::greet(stream, tls).await? {
            Greeting::Cancel(key) => Ok::<_, GreetingError>(Err(key)),
            Greeting::Session(mut stream, startup) => {
                let login = frontend::login(&mut stream, &startup).await?;
                Ok(Ok((stream, login)))
            }
        }
    };
    let (mut client, login) = match tokio::time::timeout(options.startup_timeout, start).await {
        Err(_) => return Outcome::TimedOut,
        Ok(Err(GreetingError::Refused(refusal))) => return Outcome::Refused(refusal),
        Ok(Err(GreetingError::Message(error))) => return Outcome::Failed(describe(&error)),
        Ok(Ok(Err(key))) => return cancel(authenticator, &key, options).await,
        Ok(Ok(Ok(session))) => session,
    };
    let admission = match authenticator.authenticate(&login).await {
        Ok(admission) => admission,
        Err(refusal) => {
            frontend::refuse(&mut client, refusal.clone()).await;
            return Outcome::Refused(refusal);
        }
    };
    admitted();
    let parameters = startup_parameters(login, &admission);
    let (mut server, first) = match admission.upstream.start(&parameters).await {
        Ok(started) => started,
        Err(UpstreamError::Refused(error)) => {
            // The server's own words are the best there are: unknown database, no such role, too many clients.
            let _ = client.write_all(&error).await;
            let _ = client.shutdown().await;
            return Outcome::Refused(Refusal::new(CANNOT_CONNECT_NOW, "the database refused the session"));
        }
        Err(error) => {
            let refusal = Refusal::new(CONNECTION_FAILURE, error.to_string());
            frontend::refuse(&mut client, refusal.clone()).await;
            return Outcome::Refused(refusal);
        }
    };
    if let Err(error) = client.write_all(&first).await {
        let _ = server.shutdown().await;
        return Outcome::Failed(error.kind().to_string());
    }
    match proxy::join(client, server).await {
        Ok(()) => Outcome::Ended,
        Err(error) => Outcome::Failed(error.kind().to_string()),
    }
}

/// The client's parameters, then the admission's. A name given twice is taken from the admission.
fn startup_parameters(login: Login, admission: &Admission) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("user".to_owned(), admission.user.clone()),
        ("database".to_owned(), admission.database.clone()),
    ];
    let overridden = |name: &str| admission.parameters.iter().any(|(key, _)| key == name);
    parameters.extend(login.parameters.into_iter().filter(|(key, _)| !overridden(key)));
    parameters.extend(admission.parameters.iter().cloned());
    parameters
}

async fn cancel<A: Authenticator>(authenticator: &A, key: &[u8], options: SessionOptions) -> Outcome {
    // Nothing is answered to a cancel request, whether or not it worked: the protocol has no answer for it.
    if let Some(upstream) = authenticator.cancel_target() {
        match tokio::time::timeout(options.startup_timeout, upstream.cancel(key)).await {
            Ok(Ok(())) => return Outcome::Cancelled,
            Ok(Err(error)) => return Outcome::Failed(error.kind().to_string()),
            Err(_) => return Outcome::TimedOut,
        }
    }
    Outcome::Cancelled
}

fn describe(error: &MessageError) -> String {
    match error {
        MessageError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
