//! TLS, and who is let in with which certificate. `tests/data/tls/make` made them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use procession_agent::server::{Server, ServerAddress, ServerConfig, TlsConfig};
use procession_api::proto::tetragon::GetVersionRequest;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::lab::{Lab, Plan, tls_file, within};

#[expect(clippy::unnecessary_wraps, reason = "as the configuration wants it")]
fn tls(require_client_cert: bool, client_ca: Vec<PathBuf>) -> Option<TlsConfig> {
    let (cert, key) = (tls_file("server.pem"), tls_file("server.key"));
    Some(TlsConfig { cert, key, client_ca, require_client_cert })
}

async fn lab(tls: Option<TlsConfig>) -> Lab {
    Lab::plan(Plan::tcp(ServerConfig { tls, ..ServerConfig::default() })).await
}

fn address(lab: &Lab) -> &str {
    let ServerAddress::Tcp(address) = &lab.address else { panic!("no port") };
    address
}

/// Whether a client with this certificate gets an answer.
async fn answers(lab: &Lab, identity: Option<&str>) -> bool {
    let read = |name: String| fs::read(tls_file(&name)).unwrap();
    let ca = Certificate::from_pem(read("ca.pem".into()));
    let mut config = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    if let Some(name) = identity {
        config =
            config.identity(Identity::from_pem(read(format!("{name}.pem")), read(format!("{name}.key"))));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", address(lab))).unwrap();
    let channel = endpoint.tls_config(config).unwrap().connect_lazy();
    within(FineGuidanceSensorsClient::new(channel).get_version(GetVersionRequest {})).await.is_ok()
}

async fn answers_in_the_clear(lab: &Lab) -> bool {
    let endpoint = Endpoint::from_shared(format!("http://{}", address(lab))).unwrap();
    let mut client = FineGuidanceSensorsClient::new(endpoint.connect_lazy());
    within(client.get_version(GetVersionRequest {})).await.is_ok()
}

#[tokio::test]
async fn where_a_certificate_is_required_nobody_else_gets_anything() {
    let lab = lab(tls(true, vec![tls_file("ca.pem")])).await;
    assert!(answers(&lab, Some("client")).await);
    assert!(!answers(&lab, None).await);
    assert!(!answers(&lab, Some("stranger")).await, "another CA vouches for it");
    assert!(!answers_in_the_clear(&lab).await);
    assert!(answers(&lab, Some("client")).await);
}

#[tokio::test]
async fn where_it_is_optional_a_wrong_one_is_worse_than_none() {
    let lab = lab(tls(false, vec![tls_file("ca.pem")])).await;
    assert!(answers(&lab, Some("client")).await);
    assert!(answers(&lab, None).await);
    assert!(!answers(&lab, Some("stranger")).await);
}

#[tokio::test]
async fn several_may_vouch_for_clients() {
    let lab = lab(tls(true, vec![tls_file("ca.pem"), tls_file("other-ca.pem")])).await;
    assert!(answers(&lab, Some("client")).await);
    assert!(answers(&lab, Some("stranger")).await);
}

#[tokio::test]
async fn files_that_change_count_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let replace = |content: &[u8]| {
        fs::write(directory.path().join("new"), content).unwrap();
        fs::rename(directory.path().join("new"), &file).unwrap();
    };
    replace(&fs::read(tls_file("ca.pem")).unwrap());
    let lab = lab(tls(true, vec![file.clone()])).await;
    assert!(answers(&lab, Some("client")).await);
    assert!(!answers(&lab, Some("stranger")).await);
    replace(&fs::read(tls_file("other-ca.pem")).unwrap());
    assert!(answers(&lab, Some("stranger")).await);
    assert!(!answers(&lab, Some("client")).await);
    replace(b"nothing of use");
    assert!(answers(&lab, Some("stranger")).await, "what was read before stays");
    assert!(!answers(&lab, Some("client")).await);
}

#[tokio::test]
async fn without_a_ca_nobody_is_asked() {
    let lab = lab(tls(false, Vec::new())).await;
    assert!(answers(&lab, None).await);
    assert!(!answers_in_the_clear(&lab).await);
}

#[tokio::test]
async fn who_does_not_come_to_terms_is_turned_away() {
    let config = ServerConfig {
        tls: tls(false, Vec::new()),
        opening_timeout: Duration::from_secs(1),
        ..ServerConfig::default()
    };
    let lab = Lab::plan(Plan::tcp(config)).await;
    let mut silent = TcpStream::connect(address(&lab)).await.unwrap();
    let _ = within(silent.read_to_end(&mut Vec::new())).await;
    lab.until("it is gone", |counts| counts.open == 0 && counts.failed == 1).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls_file("ca.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols.push(b"h2".to_vec());
    let plain = TcpStream::connect(address(&lab)).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut silent = TlsConnector::from(Arc::new(client)).connect(name, plain).await.unwrap();
    let _ = within(silent.read_to_end(&mut Vec::new())).await;
    lab.until("that is gone too", |counts| counts.open == 0 && counts.failed == 2).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_named() {
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let server = tls(false, Vec::new()).unwrap();
    let missing = tls_file("missing.pem");
    for (config, name) in [
        (TlsConfig { cert: missing.clone(), ..server.clone() }, "missing.pem"),
        (TlsConfig { key: missing.clone(), ..server.clone() }, "missing.pem"),
        (TlsConfig { client_ca: vec![missing], ..server.clone() }, "missing.pem"),
        (TlsConfig { cert: tls_file("server.key"), ..server.clone() }, "server.key"),
        (TlsConfig { key: tls_file("client.key"), ..server.clone() }, "server.pem"),
        (TlsConfig { client_ca: vec![tls_file("client.key")], ..server.clone() }, "client.key"),
        (TlsConfig { require_client_cert: true, ..server }, "server-tls-client-ca-files"),
    ] {
        let config =
            ServerConfig { addresses: addresses.clone(), tls: Some(config), ..ServerConfig::default() };
        let error = Server::bind(config).await.err().expect("it cannot be used").to_string();
        assert!(error.contains(name), "{error}");
    }
}
