//! The way from the migration to its branch: a gateway on this machine's loopback, open to one password only, that hears
//! what passes.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lakebase::api::Client;
use lakebase::connection::Connection;
use lakebase::ensure::{self, Live, Target};
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use lakebase_gateway::resolve::Resolver;
use lakebase_gateway::session::CANNOT_CONNECT_NOW;
use lakebase_gateway::{
    Account, Admission, Authenticator, Encryption, Login, Method, Policy, Refusal, Remote, SessionOptions,
    Tapping, Upstream, random, serve_tapped, tls,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::sensor;
use crate::wire::Recorder;

/// A login that ends sooner is renewed before it is used.
const RESERVE: i64 = 120;

/// A gateway that listens until it is dropped.
pub struct Door {
    /// How to reach it.
    pub connection: Connection,
    accepting: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Door {
    /// Opens one to a live branch. `recorder` hears every session.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] where no address can be used or the endpoint's name is none, [`Kind::Io`].
    pub async fn open(
        client: &Client,
        target: &Target,
        live: &Live,
        branch: &Connection,
        ca: Option<&str>,
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let failed = |error: &dyn std::error::Error| {
            Error::new(Kind::Io, "opening the gateway to the branch").because(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| failed(&error))?;
        let port = listener.local_addr().map_err(|error| failed(&error))?.port();
        let password = password()?;
        let local = lakebase_gateway::Secret::new(password.expose());
        let (acceptor, certificate) = tls::self_signed(&["localhost", "127.0.0.1"], "lakebase-check")
            .map_err(|error| failed(&error))?;
        let account =
            Account::new(&branch.user, &local).map_err(|error| failed(&error))?.bound_to(&certificate);
        let connector = tls::connector(ca).map_err(|error| failed(&error))?;
        let resolver = Resolver::system().map_err(|error| failed(&error))?;
        let remote = Remote::new(&branch.host, branch.port, connector, resolver).ok_or_else(|| {
            Error::new(Kind::Unreachable, format!("the endpoint's address `{}` is no host name", branch.host))
        })?;
        let host = Host {
            account: Arc::new(account),
            upstream: Upstream::Remote(Arc::new(remote)),
            branch: branch.clone(),
            client: client.clone(),
            target: target.clone(),
            live: Mutex::new(live.clone()),
        };
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::new(host), recorder));
        // The role is given by the gateway, whatever a client says of it. On loopback a client may ask for TLS, and is not told
        // to: some drivers would verify the certificate, which nobody signed.
        let connection =
            Connection { host: "127.0.0.1".into(), port, password, role: None, tls: false, ..branch.clone() };
        Ok(Self { connection, accepting })
    }
}

/// A password for this check alone.
fn password() -> Result<Secret> {
    let bytes: [u8; 24] =
        random::bytes().ok_or_else(|| Error::new(Kind::Io, "the system gives no random bytes"))?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, host: Arc<Host>, recorder: Arc<Recorder>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, host) = (tls.clone(), Arc::clone(&host));
        let tapping = Tapping::new(Arc::clone(&recorder) as Arc<dyn lakebase_gateway::Tap>, sensor::CLASS);
        tokio::spawn(async move {
            let options = SessionOptions { retry: true, ..SessionOptions::default() };
            serve_tapped(stream, &tls, host.as_ref(), options, &tapping, || ()).await;
        });
    }
}

/// Who lets the migration in.
struct Host {
    account: Arc<Account>,
    upstream: Upstream,
    branch: Connection,
    client: Client,
    target: Target,
    live: Mutex<Live>,
}

impl Host {
    /// The live branch with a login that is good for a while: a migration may open connections for hours.
    async fn fresh(&self) -> Result<Live> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ends = |at: Timestamp| at.as_second() - Timestamp::now().as_second() < RESERVE;
        if live.login.expires.is_some_and(ends) {
            ensure::renew(&self.client, &self.target, &mut live).await?;
            *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live.clone();
        }
        Ok(live)
    }
}

impl Authenticator for Host {
    fn policy(&self) -> Policy {
        Policy { encryption: Encryption::Optional, method: Method::Scram(Arc::clone(&self.account)) }
    }

    async fn authenticate(&self, login: &Login) -> Result<Admission, Refusal> {
        let live = self.fresh().await.map_err(|error| Refusal::new(CANNOT_CONNECT_NOW, error.to_string()))?;
        let role = self.branch.role.clone().map(|role| ("role".to_owned(), role));
        Ok(Admission {
            upstream: self.upstream.clone(),
            user: live.login.user.clone(),
            database: if login.names_database {
                login.database.clone()
            } else {
                self.branch.database.clone()
            },
            password: Some(lakebase_gateway::Secret::new(live.login.password.expose())),
            parameters: role.into_iter().collect(),
        })
    }

    fn cancel_target(&self) -> Option<Upstream> {
        Some(self.upstream.clone())
    }
}
