//! A client that takes too long to log in is told so, wherever it is in the protocol that has words for it.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

use std::sync::Arc;
use std::time::Duration;

use lakebase_gateway::{
    Account, Admission, Authenticator, Encryption, Login, Method, Outcome, Policy, Refusal, Secret,
    SessionOptions, Upstream, serve, tls,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nobody gets as far as a server.
struct Door(Method);

impl Authenticator for Door {
    fn policy(&self) -> Policy {
        Policy { encryption: Encryption::Optional, method: self.0.clone() }
    }

    async fn authenticate(&self, login: &Login) -> Result<Admission, Refusal> {
        panic!("`{}` was let in", login.user)
    }

    fn cancel_target(&self) -> Option<Upstream> {
        None
    }
}

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const STARTUP: &[u8] = b"\0\0\0\x13\0\x03\0\0user\0shop\0\0";
const FIRST_OF_SCRAM: &[u8] = b"p\0\0\0\x2aSCRAM-SHA-256\0\0\0\0\x14n,,n=,r=0123456789ab";

/// A connection to a door that waits a moment only, and how it will end.
async fn door(method: Method) -> (TcpStream, tokio::task::JoinHandle<Outcome>, tokio_rustls::TlsConnector) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let acceptor = tls::acceptor(&certificate, &key.serialize_pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let options = SessionOptions { startup_timeout: Duration::from_millis(300), ..SessionOptions::default() };
    let outcome = tokio::spawn(async move { serve(stream, &acceptor, &Door(method), options, || {}).await });
    (client, outcome, tls::connector(Some(&certificate)).unwrap())
}

/// What is said until the end: PostgreSQL's words for it behind the messages of these types. An `N` is the one that is no
/// message.
async fn hears(mut client: impl AsyncRead + Unpin, before: &str, state: &str) {
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    let shown = String::from_utf8_lossy(&said).into_owned();
    let mut rest = said.strip_prefix(b"N").unwrap_or(&said);
    let mut types = if rest.len() < said.len() { "N".to_owned() } else { String::new() };
    while let [tag, length @ ..] = rest
        && *tag != b'E'
    {
        types.push((*tag).into());
        let length = u32::from_be_bytes(*length.first_chunk().unwrap());
        rest = &rest[1 + length as usize..];
    }
    assert_eq!(types, before, "{state}: {shown:?}");
    let words = b"SFATAL\0VFATAL\0C57014\0Mcanceling authentication due to timeout\0\0";
    let length = u32::try_from(words.len() + 4).unwrap().to_be_bytes();
    assert_eq!(rest, [b"E", length.as_slice(), words].concat(), "{state}: {shown:?}");
}

fn scram() -> Method {
    Method::Scram(Arc::new(Account::new("shop", &Secret::new("password")).unwrap()))
}

#[tokio::test]
async fn a_client_that_is_late_in_the_clear_hears_it() {
    let states = [
        ("that says nothing", Method::Cleartext, vec![], ""),
        ("in the midst of its start-up packet", Method::Cleartext, STARTUP[..9].to_vec(), ""),
        ("that asked for GSSAPI", Method::Cleartext, GSS_REQUEST.to_vec(), "N"),
        ("that owes its password", Method::Cleartext, STARTUP.to_vec(), "R"),
        ("that owes its first message of SCRAM", scram(), STARTUP.to_vec(), "R"),
        ("that owes its proof", scram(), [STARTUP, FIRST_OF_SCRAM].concat(), "RR"),
    ];
    for (state, method, bytes, before) in states {
        let (mut client, outcome, _) = door(method).await;
        client.write_all(&bytes).await.unwrap();
        hears(client, before, state).await;
        assert!(matches!(outcome.await.unwrap(), Outcome::TimedOut), "{state}");
    }
}

#[tokio::test]
async fn a_client_that_is_late_inside_tls_hears_it_there_and_one_in_the_handshake_nothing() {
    // In the midst of the handshake, whichever way it began, nothing can be said.
    for (bytes, answer) in [(SSL_REQUEST, b"S".as_slice()), (b"\x16\x03\x01", b"")] {
        let (mut client, outcome, _) = door(scram()).await;
        client.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said).await;
        assert_eq!(said, answer);
        assert!(matches!(outcome.await.unwrap(), Outcome::TimedOut));
    }
    // Behind it, what is said is encrypted.
    for (bytes, before) in [(b"".as_slice(), ""), (STARTUP, "R")] {
        let (mut client, outcome, tls) = door(scram()).await;
        client.write_all(SSL_REQUEST).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'S');
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = tls.connect(name, client).await.unwrap();
        client.write_all(bytes).await.unwrap();
        hears(client, before, "inside TLS").await;
        assert!(matches!(outcome.await.unwrap(), Outcome::TimedOut));
    }
}
