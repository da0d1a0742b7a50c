//! The endpoints' certificate: made by this server for itself, kept in the home. It is signed by itself and no authority, so
//! trusting it trusts these endpoints and nothing else.

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
    let key = fs::read_to_string(&key).doing(|| format!("can't read `{}`", key.display()))?;
    lakebase_gateway::tls::acceptor(&read(home)?, &key).map_err(|error| {
        Error::new(
            ErrorKind::State,
            format!("the certificate `{}` or its key is damaged", certificate.display()),
        )
        .because(error)
        .hint("delete both files; they are made anew at the next start")
    })
}

/// Reads the certificate of a home that has one, as PEM; its key is not in it.
pub(crate) fn read(home: &Home) -> Result<String> {
    let path = home.certificate_file();
    fs::read_to_string(&path).doing(|| format!("can't read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env_vars;
    use tokio_rustls::rustls::pki_types::ServerName;

    /// Whether a client that trusts `authority` finds the server behind `acceptor` to be `name`.
    async fn is_trusted(acceptor: &TlsAcceptor, authority: &str, name: &str) -> bool {
        let connector = lakebase_gateway::tls::connector(Some(authority)).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (client, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        client.is_ok()
    }

    #[tokio::test]
    async fn clients_that_trust_the_certificate_find_it_under_every_name_and_no_other() {
        // given the certificates of two homes
        let made = || {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_str().unwrap().to_owned();
            let home =
                Home::locate(&move |name: &str| (name == env_vars::HOME).then(|| path.clone())).unwrap();
            let acceptor = acceptor(&home).unwrap();
            (acceptor, read(&home).unwrap())
        };
        let ((acceptor, own), (_, another)) = (made(), made());
        assert!(!own.contains("PRIVATE"));
        // then rustls verifies the first under the names it is made for, with itself as the only authority
        for name in NAMES {
            assert!(is_trusted(&acceptor, &own, name).await, "{name}");
            assert!(!is_trusted(&acceptor, &another, name).await, "{name}");
        }
        assert!(!is_trusted(&acceptor, &own, "example.org").await);
    }
}
