//! Who the server is, and who may be its client.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::TlsConfig;

/// Reads certificates and keys.
pub(super) fn acceptor(config: &TlsConfig) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(config, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&config.cert, error))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| invalid(&config.key, error))?;
    let chain = certificates(&config.cert)?;
    let mut server = builder.with_single_cert(chain, key).map_err(|error| invalid(&config.cert, error))?;
    server.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Option<Arc<dyn ClientCertVerifier>>> {
    if config.client_ca.is_empty() {
        if config.require_client_cert {
            let text = "client certificates are required, but no file says who vouches for them: \
                        set server-tls-client-ca-files";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for path in &config.client_ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| invalid(path, error))?;
        }
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !config.require_client_cert {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(Some(verifier))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| invalid(path, error))?;
    if certificates.is_empty() {
        return Err(invalid(path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn invalid(path: &Path, error: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot use {}: {error}", path.display()))
}
