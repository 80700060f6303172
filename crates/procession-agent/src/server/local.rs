//! One client in this process: what it asks of a table that no agent owns is answered as an agent would.

use std::io;
use std::sync::Arc;

use procession_api::proto::procession_servers::lineage_service_server::LineageServiceServer;
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tonic::transport::server::Server as Transport;

use super::ServerConfig;
use super::ServerCounters;
use super::bound::Shared;
use super::lineage::Lineage;
use super::stopping::stop;
use crate::Node;
use crate::control::{AgentControl, Fixed};

/// Serves our own API of `node` on `connection` until the client closes it.
pub(crate) async fn serve_one(node: Node, connection: DuplexStream) {
    let (_stop, stopping) = stop();
    let shared = Shared {
        node,
        control: Arc::new(AgentControl::new(Arc::new(Fixed), None, Vec::new())),
        counters: ServerCounters::default(),
        stopping,
        config: Arc::new(ServerConfig::default()),
        streams: Arc::new(Semaphore::new(1)),
        compilations: Arc::new(Semaphore::new(1)),
        turns: Arc::default(),
    };
    let service = LineageServiceServer::new(Lineage::new(shared));
    let only = tokio_stream::once(Ok::<_, io::Error>(connection));
    // The client sees that the connection broke.
    let _ = Transport::builder().add_service(service).serve_with_incoming(only).await;
}
