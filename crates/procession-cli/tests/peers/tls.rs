//! Certificates: an authority, and what it signed for a server and for a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Files, made anew for each test.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn make() -> Self {
        let made = Self(TempDir::new().unwrap());
        fs::write(made.path("extensions"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        openssl(&format!(
            "req -x509 {KEY} -keyout {} -out {} -days 2 -subj /CN=authority",
            made.path("ca.key").display(),
            made.path("ca.pem").display()
        ));
        for name in ["server", "client"] {
            let [key, request, certificate] =
                ["key", "csr", "pem"].map(|kind| made.path(&format!("{name}.{kind}")));
            openssl(&format!(
                "req {KEY} -keyout {} -out {} -subj /CN={name}",
                key.display(),
                request.display()
            ));
            openssl(&format!(
                "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -out {} -days 2 -extfile {}",
                request.display(),
                made.path("ca.pem").display(),
                made.path("ca.key").display(),
                certificate.display(),
                made.path("extensions").display()
            ));
        }
        openssl(&format!(
            "req -x509 {KEY} -keyout {} -out {} -days 2 -subj /CN=client",
            made.path("self.key").display(),
            made.path("self.pem").display()
        ));
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What an agent that wants certificates is told.
    pub(crate) fn options(&self) -> Vec<String> {
        vec![
            format!("--server-tls-cert-file={}", self.path("server.pem").display()),
            format!("--server-tls-key-file={}", self.path("server.key").display()),
            format!("--server-tls-client-ca-files={}", self.path("ca.pem").display()),
            "--server-tls-require-client-cert".to_owned(),
        ]
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A client's certificate and key.
    pub(crate) fn client(&self) -> [PathBuf; 2] {
        [self.path("client.pem"), self.path("client.key")]
    }

    /// A certificate that vouches for itself, and its key.
    pub(crate) fn self_signed(&self) -> [PathBuf; 2] {
        [self.path("self.pem"), self.path("self.key")]
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// No argument has a space in it.
fn openssl(arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).stderr(Stdio::null()).current_dir(Path::new("/"));
    assert!(command.status().unwrap().success(), "{command:?}");
}
