//! The whole life of one connection.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::frontend::{self, Greeting, GreetingError, Login, Policy};
use crate::message::MessageError;
use crate::proxy;
pub use crate::refusal::CANNOT_CONNECT_NOW;
use crate::refusal::{CONNECTION_FAILURE, Refusal, ServerError};
use crate::secret::Secret;
use crate::stream::{self, Stream};
use crate::tap::{self, Tapping};
use crate::upstream::{Upstream, UpstreamError};

/// First pause before a server that was not there is asked again; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long a name without an address is asked for again: a new endpoint's may still spread, a deleted one's never comes.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where an admitted client goes.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The server.
    pub upstream: Upstream,
    /// The user it is there.
    pub user: String,
    /// The database it asked for, or the one it gets.
    pub database: String,
    /// What the server gets when it asks for a password.
    pub password: Option<Secret>,
    /// Start-up parameters set after the client's own, so that they win.
    pub parameters: Vec<(String, String)>,
}

/// Decides who enters, and where to.
pub trait Authenticator: Send + Sync {
    /// What is asked of a client before [`Self::authenticate`] sees it. TLS and a password in the clear, unless said otherwise.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Checks a login. An error is shown to the client as it is.
    fn authenticate(&self, login: &Login) -> impl Future<Output = Result<Admission, Refusal>> + Send;

    /// Another admission, after the server refused the user or the password of `admission`: with a newer password, say.
    /// `attempt` counts from 1 for the first refusal of a connection. `None`, the default, ends the connection with the
    /// server's error.
    fn renew(
        &self,
        admission: &Admission,
        error: &ServerError,
        attempt: u32,
    ) -> impl Future<Output = Option<Admission>> + Send {
        let _ = (admission, error, attempt);
        async { None }
    }

    /// Asked after each vain attempt to reach the server or to log in there: a refusal ends the waiting, for the server
    /// will never be there. `None`, the default, goes on.
    fn give_up(&self, error: &UpstreamError) -> Option<Refusal> {
        let _ = error;
        None
    }

    /// What a client may do about a server that refused it or can't be reached; said as the error's hint.
    fn hint(&self, error: &UpstreamError) -> Option<String> {
        let _ = error;
        None
    }

    /// Where cancel requests of this endpoint go. `None` when there is nothing to cancel.
    fn cancel_target(&self) -> Option<Upstream>;
}

/// Limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// How long a client may take from connecting to its password, as `authentication_timeout` in PostgreSQL.
    pub startup_timeout: Duration,
    /// How long a client waits for its server: connecting, waking, logging in.
    pub upstream_timeout: Duration,
    /// Whether a server that can't be reached is asked again within that time. One that is woken before it is connected to
    /// needs no second try.
    pub retry: bool,
}

impl Default for SessionOptions {
    /// One minute, PostgreSQL's own default, for either; no second try.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { startup_timeout: minute, upstream_timeout: minute, retry: false }
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
    /// The client went away before it had a session: it only looked whether somebody listens, or did not want to wait.
    HungUp,
    /// The client did not finish its start-up in time.
    TimedOut,
    /// The connection failed or spoke another protocol.
    Failed(String),
}

impl Outcome {
    /// That of a session that ran.
    pub fn of(joined: io::Result<()>) -> Self {
        match joined {
            Ok(()) => Self::Ended,
            Err(error) => Self::Failed(error.kind().to_string()),
        }
    }
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
    match open(stream, tls, authenticator, options, admitted).await {
        Ok(opened) => Outcome::of(proxy::join(opened.client, opened.server).await),
        Err(outcome) => outcome,
    }
}

/// The same while `tapping` listens. A connection that is no session is not told.
pub async fn serve_tapped<A: Authenticator>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    authenticator: &A,
    options: SessionOptions,
    tapping: &Tapping,
    admitted: impl FnOnce(),
) -> Outcome {
    match open(stream, tls, authenticator, options, admitted).await {
        Ok(Opened { client, server, user, database }) => {
            Outcome::of(tap::join(client, server, tapping, &user, &database).await)
        }
        Err(outcome) => outcome,
    }
}

/// A client that was let in, and its server, not joined yet.
pub struct Opened {
    /// The client; it has been told "authentication ok".
    pub client: Stream,
    /// The server, which says next what a session begins with.
    pub server: Stream,
    /// The user that the client is there.
    pub user: String,
    /// The database that it is in.
    pub database: String,
}

/// Everything before the first query, for a caller that joins the two itself. Boxed, so that what it needs is given back
/// before the session runs.
///
/// # Errors
/// How the connection ended, where no session came of it.
pub async fn open<A: Authenticator>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    authenticator: &A,
    options: SessionOptions,
    admitted: impl FnOnce(),
) -> Result<Opened, Outcome> {
    Box::pin(start(stream, tls, authenticator, options, admitted)).await
}

async fn start<A: Authenticator>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    authenticator: &A,
    options: SessionOptions,
    admitted: impl FnOnce(),
) -> Result<Opened, Outcome> {
    stream::tune(&stream);
    let policy = authenticator.policy();
    let until = Instant::now() + options.startup_timeout;
    let start = async {
        match frontend::greet(stream, tls, policy.encryption, until).await? {
            Greeting::Cancel(stream, key) => Ok::<_, GreetingError>(Err((stream, key))),
            Greeting::Session(mut stream, startup) => {
                let login = frontend::login(&mut stream, &startup, &policy.method, until).await?;
                Ok(Ok((stream, login)))
            }
        }
    };
    // Whoever is late is told so; nobody holds us longer than that takes.
    let (mut client, login) = match tokio::time::timeout_at(until + frontend::LAST_WORDS, start).await {
        Err(_) | Ok(Err(GreetingError::Late)) => return Err(Outcome::TimedOut),
        Ok(Err(GreetingError::Refused(refusal))) => return Err(Outcome::Refused(refusal)),
        Ok(Err(GreetingError::Message(MessageError::Io(error)))) if is_end(&error) => {
            return Err(Outcome::HungUp);
        }
        Ok(Err(GreetingError::Message(error))) => return Err(Outcome::Failed(describe(&error))),
        Ok(Ok(Err((mut client, key)))) => {
            let outcome = cancel(authenticator, &key, options).await;
            // With TLS's own goodbye: libpq reports a cancel without it as failed.
            let _ = client.shutdown().await;
            return Err(outcome);
        }
        Ok(Ok(Ok(session))) => session,
    };
    let opened = tokio::select! {
        opened = reach(authenticator, &login, options, admitted) => opened,
        // Nobody is left to wait for the answer.
        () = client.gone() => return Err(Outcome::HungUp),
    };
    match opened {
        Ok((server, first, admission)) => {
            if let Err(error) = client.write_all(&first).await {
                return Err(Outcome::Failed(error.kind().to_string()));
            }
            let _ = client.flush().await;
            Ok(Opened { client, server, user: admission.user, database: admission.database })
        }
        Err(Closed::Refusal(refusal)) => {
            frontend::refuse(&mut client, refusal.clone()).await;
            Err(Outcome::Refused(refusal))
        }
        Err(Closed::Server(error, hint)) => {
            // The server's own words are the best there are: unknown database, no such role, too many clients.
            let _ = client.write_all(&error.to_bytes(hint.as_deref())).await;
            let _ = client.shutdown().await;
            let said = format!("the database refused the session: {}", error.message());
            Err(Outcome::Refused(Refusal::new(CANNOT_CONNECT_NOW, said)))
        }
    }
}

/// Why an admitted client got no server.
enum Closed {
    /// For a reason of ours.
    Refusal(Refusal),
    /// For the server's own, with a hint of ours.
    Server(ServerError, Option<String>),
}

/// Gets the client its server, waiting and asking again as the options allow.
async fn reach<A: Authenticator>(
    authenticator: &A,
    login: &Login,
    options: SessionOptions,
    admitted: impl FnOnce(),
) -> Result<(Stream, Vec<u8>, Admission), Closed> {
    let mut admission = authenticator.authenticate(login).await.map_err(Closed::Refusal)?;
    admitted();
    let began = Instant::now();
    let deadline = began + options.upstream_timeout;
    let patience = |error: &UpstreamError| match error {
        UpstreamError::Resolve(_) => deadline.min(began + RESOLVE_PATIENCE),
        _ => deadline,
    };
    let mut pause = FIRST_PAUSE;
    let mut refusals = 0;
    loop {
        let parameters = startup_parameters(login, &admission);
        let attempt = admission.upstream.start(&parameters, admission.password.as_ref());
        let error = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok((server, first))) => return Ok((server, first, admission)),
            Ok(Err(error)) => error,
            Err(_) => UpstreamError::Connect(io::ErrorKind::TimedOut.into()),
        };
        let login_refused = match &error {
            UpstreamError::Refused(refused) if refused.is_login_refused() => Some(refused),
            _ => None,
        };
        if let Some(refused) = login_refused {
            refusals += 1;
            let renewed =
                tokio::time::timeout_at(deadline, authenticator.renew(&admission, refused, refusals)).await;
            if let Ok(Some(renewed)) = renewed {
                admission = renewed;
                continue;
            }
        }
        if let Some(refusal) = authenticator.give_up(&error) {
            return Err(Closed::Refusal(refusal));
        }
        if login_refused.is_none()
            && options.retry
            && error.is_transient()
            && Instant::now() + pause < patience(&error)
        {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            continue;
        }
        let hint = authenticator.hint(&error);
        return Err(match error {
            UpstreamError::Refused(error) => Closed::Server(error, hint),
            error => Closed::Refusal(Refusal {
                detail: error.cause(),
                hint,
                ..Refusal::new(CONNECTION_FAILURE, error.to_string())
            }),
        });
    }
}

/// The client's parameters, then the admission's. A name given twice is taken from the admission.
fn startup_parameters(login: &Login, admission: &Admission) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("user".to_owned(), admission.user.clone()),
        ("database".to_owned(), admission.database.clone()),
    ];
    let overridden = |name: &str| admission.parameters.iter().any(|(key, _)| key == name);
    parameters.extend(login.parameters.iter().filter(|(key, _)| !overridden(key)).cloned());
    parameters.extend(admission.parameters.iter().cloned());
    parameters
}

async fn cancel<A: Authenticator>(authenticator: &A, key: &[u8], options: SessionOptions) -> Outcome {
    // Nothing is answered to a cancel request, whether or not it worked: the protocol has no answer for it.
    if let Some(upstream) = authenticator.cancel_target() {
        match tokio::time::timeout(options.startup_timeout, upstream.cancel(key)).await {
            Ok(Ok(())) => return Outcome::Cancelled,
            Ok(Err(error)) => return Outcome::Failed(error.to_string()),
            Err(_) => return Outcome::TimedOut,
        }
    }
    Outcome::Cancelled
}

/// Whether the other side has gone, with or without a goodbye.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn describe(error: &MessageError) -> String {
    match error {
        MessageError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
