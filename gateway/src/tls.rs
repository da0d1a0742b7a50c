//! TLS of the server's side.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The protocol name that clients offer when they start TLS without asking first (PostgreSQL 17, `sslnegotiation=direct`).
pub const ALPN: &[u8] = b"postgresql";

/// Why a certificate and its key are of no use.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The PEM text is damaged or holds something else.
    #[error("the certificate or its key is not readable as PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// rustls refuses the pair.
    #[error("the certificate and its key can't be used")]
    Refused(#[from] rustls::Error),
}

/// Makes the acceptor for a certificate chain and its private key, both PEM.
/// The provider is ring, chosen here so that the process needs no global default.
pub fn acceptor(certificate_pem: &str, key_pem: &str) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
