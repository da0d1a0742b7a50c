//! A workspace whose certificate nobody trusts gets no secret.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::sync::Arc;

use common::{resolve, run};
use lakebase::error::Kind;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

#[test]
fn a_certificate_that_nobody_signed_ends_the_conversation() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let serving = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let mut heard = Vec::new();
            // Each try of the client, and whatever it says to a server that it does not trust.
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read_to_end(&mut heard).await;
                }
            }
            heard
        });
        let env = [
            ("DATABRICKS_HOST", host.as_str()),
            ("DATABRICKS_CLIENT_ID", "ada"),
            ("DATABRICKS_CLIENT_SECRET", "hunter2"),
        ];
        let error = resolve(None, &env).unwrap().token().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unreachable);
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(serving.await.unwrap(), b"");
    });
}
