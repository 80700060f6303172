//! Who the server is, and who may be its client.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::TlsConfig;

/// Secures connections by the certificates as they are in the files at the time.
#[derive(Clone)]
pub(super) struct Tls(Arc<Mutex<Current>>);

struct Current {
    config: TlsConfig,
    /// As they were when they were read.
    files: Vec<Option<Stamp>>,
    acceptor: TlsAcceptor,
}

/// Device, inode and modification of a file: another when it was written or replaced.
type Stamp = (u64, u64, i64, i64);

impl Tls {
    /// Reads the files. Here they must be good.
    pub(super) fn new(config: &TlsConfig) -> io::Result<Self> {
        let files = stamps(config);
        let current = Current { files, acceptor: acceptor(config)?, config: config.clone() };
        Ok(Self(Arc::new(Mutex::new(current))))
    }

    /// Reads files again that have changed. If they are not good, as when only one of two is replaced yet,
    /// what was read before stays.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = stamps(&current.config);
        if files != current.files {
            current.files = files;
            match acceptor(&current.config) {
                Ok(acceptor) => {
                    tracing::info!("the certificates have changed, and are used from now on");
                    current.acceptor = acceptor;
                }
                Err(error) => tracing::warn!(%error, "the certificates have changed, and the old ones stay"),
            }
        }
        current.acceptor.clone()
    }
}

fn stamps(config: &TlsConfig) -> Vec<Option<Stamp>> {
    let TlsConfig { cert, key, client_ca, .. } = config;
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
    };
    [cert, key].into_iter().chain(client_ca).map(stamp).collect()
}

/// Reads certificates and keys.
fn acceptor(config: &TlsConfig) -> io::Result<TlsAcceptor> {
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
