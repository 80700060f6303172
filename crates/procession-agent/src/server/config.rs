//! How a server listens, and how much it lets clients have.

use std::path::PathBuf;
use std::time::Duration;

use procession_filter::FilterOptions;

use super::ServerAddress;

/// How a server listens.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where. Empty: nowhere.
    pub addresses: Vec<ServerAddress>,
    /// Where only gRPC health is served, in the clear.
    pub health_address: Option<ServerAddress>,
    /// With which certificate, where that is over TCP. `None`: in the clear.
    pub tls: Option<TlsConfig>,
    /// The most connections at once to each address. Further ones are closed at once.
    pub max_connections: usize,
    /// The most streams of events at once, of all clients together. Further ones are refused.
    pub max_streams: usize,
    /// How long a connection may take until it speaks HTTP/2.
    pub opening_timeout: Duration,
    /// How long it may take from the beginning of a request until its answer begins: the client's
    /// message included.
    pub answer_timeout: Duration,
    /// How long a client that asked for all processes may take until it reads some more of them.
    pub read_timeout: Duration,
    /// How long clients may take at the end for what they have not read yet.
    pub drain_timeout: Duration,
    /// What the node's events hold, so that filters can be refused that nothing would match.
    pub filters: FilterOptions,
}

/// Who the server is, and who may be its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate and those that vouch for it: PEM.
    pub cert: PathBuf,
    /// Its key: PEM.
    pub key: PathBuf,
    /// Certificates of those who vouch for clients: PEM. Empty: clients are not asked for theirs.
    pub client_ca: Vec<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub require_client_cert: bool,
}

impl Default for ServerConfig {
    /// Nowhere; and the limits that suit a node.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            health_address: None,
            tls: None,
            max_connections: 1024,
            max_streams: 256,
            opening_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_mins(1),
            // Less than an agent has for its last words, so that it can say who did not read them.
            drain_timeout: Duration::from_secs(2),
            filters: FilterOptions::default(),
        }
    }
}
