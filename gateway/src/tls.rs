//! TLS of both sides. The provider is ring, chosen here so that the process needs no global default.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The protocol name that clients offer when they start TLS without asking first (PostgreSQL 17, `sslnegotiation=direct`).
pub const ALPN: &[u8] = b"postgresql";

/// Why a certificate and its key are of no use.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The PEM text is damaged or holds something else.
    #[error("the certificate or its key is not readable as PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The PEM text holds no certificate.
    #[error("there is no certificate in the PEM text")]
    Empty,
    /// rustls refuses the pair.
    #[error("the certificate and its key can't be used")]
    Refused(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Making(#[from] rcgen::Error),
}

/// Makes the acceptor for a certificate chain and its private key, both PEM.
pub fn acceptor(certificate_pem: &str, key_pem: &str) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    accept_with(chain, PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?)
}

/// Makes a key and a certificate signed by itself for `names`, in memory. Gives the acceptor and the certificate (DER),
/// whose signature's digest is SHA-256.
pub fn self_signed(
    names: &[&str],
    common_name: &str,
) -> Result<(TlsAcceptor, CertificateDer<'static>), TlsError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    Ok((accept_with(vec![certificate.clone()], key)?, certificate))
}

fn accept_with(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Makes the connector that trusts Mozilla's authorities and, where given, the certificates in `more_pem`. It always
/// verifies the chain and the server's name.
pub fn connector(more_pem: Option<&str>) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = more_pem {
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate?)?;
            count += 1;
        }
        if count == 0 {
            return Err(TlsError::Empty);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_no_authority() {
        assert!(matches!(connector(Some("nothing")), Err(TlsError::Empty)));
        assert!(connector(None).is_ok());
    }
}
