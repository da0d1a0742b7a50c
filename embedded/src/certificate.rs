//! The endpoints' certificate: made by this server for itself, kept in the home.

use std::fs;

use rcgen::{CertificateParams, DnType, KeyPair};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{Home, replace_file};

/// The names under which clients and containers reach an endpoint.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "host.docker.internal"];

/// Reads the certificate and its key, or makes them on a home's first start.
pub fn acceptor(home: &Home) -> Result<TlsAcceptor> {
    let (certificate, key) = (home.certificate_file(), home.certificate_key_file());
    if !certificate.exists() || !key.exists() {
        let trouble = |error: rcgen::Error| {
            Error::new(ErrorKind::Io, "can't make the endpoints' certificate").because(error)
        };
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).map_err(trouble)?;
        params.distinguished_name.push(DnType::CommonName, "embedded Lakebase");
        let pair = KeyPair::generate().map_err(trouble)?;
        let made = params.self_signed(&pair).map_err(trouble)?;
        replace_file(&key, pair.serialize_pem().as_bytes())
            .doing(|| format!("can't write `{}`", key.display()))?;
        replace_file(&certificate, made.pem().as_bytes())
            .doing(|| format!("can't write `{}`", certificate.display()))?;
    }
    let read = |path: &std::path::Path| {
        fs::read_to_string(path).doing(|| format!("can't read `{}`", path.display()))
    };
    lakebase_gateway::tls::acceptor(&read(&certificate)?, &read(&key)?).map_err(|error| {
        Error::new(
            ErrorKind::State,
            format!("the certificate `{}` or its key is damaged", certificate.display()),
        )
        .because(error)
        .hint("delete both files; they are made anew at the next start")
    })
}
