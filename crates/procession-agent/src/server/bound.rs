//! The server: first it binds, so that what is wrong with its addresses is told before anything starts;
//! then it serves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use procession_api::proto::DESCRIPTORS;
use procession_api::proto::procession_servers::lineage_service_server::LineageServiceServer;
use procession_api::proto::tetragon_servers::event_log_service_server::EventLogServiceServer;
use procession_api::proto::tetragon_servers::fine_guidance_sensors_server::FineGuidanceSensorsServer;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::server::Server as Transport;

use super::connection::Connection;
use super::event_log::EventLogs;
use super::health::Health;
use super::lineage::Lineage;
use super::listen::{Gate, Listener, raise_file_limit};
use super::sensors::Sensors;
use super::stopping::{Stopping, stop};
use super::tls::Tls;
use super::turns::Turns;
use super::{Control, ServerAddress, ServerConfig, ServerCounters};
use crate::Node;

/// A server: see [`Server::bind`].
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A server that has its addresses. What connects waits until it serves.
pub struct Bound {
    listeners: Vec<Listener>,
    health_listener: Option<Listener>,
    config: ServerConfig,
    counters: ServerCounters,
}

/// What several services look at.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) node: Node,
    pub(super) control: Arc<dyn Control>,
    pub(super) counters: ServerCounters,
    pub(super) stopping: Stopping,
    pub(super) config: Arc<ServerConfig>,
    /// Places for streams of events.
    pub(super) streams: Arc<Semaphore>,
    /// Places for the compilation of filters, which takes a processor.
    pub(super) compilations: Arc<Semaphore>,
    /// Who may have a look at the whole table, and when.
    pub(super) turns: Arc<Turns>,
}

/// How many filters are compiled at once.
const COMPILATIONS: usize = 2;

/// The largest request: filters are small.
const LARGEST_REQUEST: usize = 256 << 10;

/// The largest list of headers of a request.
const LARGEST_HEADERS: u32 = 16 << 10;

/// The most streams that one connection may have at once.
const MOST_STREAMS: u32 = 128;

/// How often a silent client is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that have been let in and wait for a moment until they are served.
const HANDED_OVER: usize = 16;

impl Server {
    /// Takes the addresses of a server.
    ///
    /// # Errors
    ///
    /// An address is in use or cannot be had, or a certificate or key cannot be used. The text says
    /// which, and what to do.
    pub async fn bind(config: ServerConfig) -> io::Result<Bound> {
        raise_file_limit();
        let tls = config.tls.as_ref().map(Tls::new).transpose()?;
        let mut listeners = Vec::new();
        for address in &config.addresses {
            let listener = Listener::bind(address, tls.as_ref()).await?;
            listener.warn_of_strangers();
            listeners.push(listener);
        }
        let health_listener = match &config.health_address {
            Some(address) => Some(Listener::bind(address, None).await?),
            None => None,
        };
        Ok(Bound { listeners, health_listener, config, counters: ServerCounters::default() })
    }
}

impl Bound {
    /// Where it listens, with the ports that were chosen, in the order of the configuration.
    pub fn addresses(&self) -> io::Result<Vec<ServerAddress>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Where it serves health alone.
    pub fn health_address(&self) -> Option<ServerAddress> {
        self.health_listener.as_ref().and_then(|listener| listener.address().ok())
    }

    /// How it does, from now on and while it serves.
    pub fn counters(&self) -> ServerCounters {
        self.counters.clone()
    }

    /// Serves until `shutdown`. Then clients get what is in the log of events already, and are told that
    /// the agent stops; who does not take that within [`ServerConfig::drain_timeout`] gets no more.
    ///
    /// # Errors
    ///
    /// The descriptions of the services cannot be served. Nothing that clients do is an error.
    pub async fn serve(
        self,
        node: Node,
        control: Arc<dyn Control>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Self { listeners, health_listener, config, counters } = self;
        let (stop, stopping) = stop();
        let drain_timeout = config.drain_timeout;
        let config = Arc::new(config);
        // Not one for all: probes must get through when clients do not, and a client of the socket when
        // others hold all places of a port.
        let gate = || Gate::new(&config, counters.clone());
        let health = Health::new(node.clone());
        let shared = Shared {
            node,
            control,
            counters: counters.clone(),
            stopping: stopping.clone(),
            config: Arc::clone(&config),
            streams: Arc::new(Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS))),
            compilations: Arc::new(Semaphore::new(COMPILATIONS)),
            turns: Arc::default(),
        };
        let health_routes = Routes::new(health.server());
        let routes = routes(shared)?.add_service(health.server());

        // Both end with this function, however that ends.
        let (mut listening, mut serving) = (JoinSet::new(), JoinSet::new());
        let connections = incoming(&mut listening, gate, listeners);
        serving.spawn(transport(routes, connections, config.answer_timeout, stopping.clone()));
        let connections = incoming(&mut listening, gate, health_listener);
        serving.spawn(transport(health_routes, connections, config.answer_timeout, stopping.clone()));
        serving.spawn(health.keep_true(stopping));

        shutdown.await;
        // With the listeners go their sockets.
        listening.shutdown().await;
        stop.stop();
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(drain_timeout, drained).await.is_err() {
            tracing::warn!("some clients did not read to the end");
        }
        Ok(())
    }
}

/// What all these listeners let in.
fn incoming(
    listening: &mut JoinSet<()>,
    gate: impl Fn() -> Gate,
    listeners: impl IntoIterator<Item = Listener>,
) -> ReceiverStream<Connection> {
    let (sender, receiver) = mpsc::channel(HANDED_OVER);
    for listener in listeners {
        listening.spawn(listener.run(gate(), sender.clone()));
    }
    ReceiverStream::new(receiver)
}

async fn transport(
    routes: Routes,
    connections: ReceiverStream<Connection>,
    answer_timeout: Duration,
    mut stopping: Stopping,
) {
    let connections = connections.map(Ok::<_, io::Error>);
    let served = Transport::builder()
        .timeout(answer_timeout)
        .max_concurrent_streams(MOST_STREAMS)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, stopping.wait())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server ended");
    }
}

fn routes(shared: Shared) -> io::Result<Routes> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let sensors = FineGuidanceSensorsServer::new(Sensors::new(shared.clone()));
    let event_logs = EventLogServiceServer::new(EventLogs::new(Arc::clone(&shared.control)));
    let lineage = LineageServiceServer::new(Lineage::new(shared));
    Ok(Routes::new(sensors.max_decoding_message_size(LARGEST_REQUEST))
        .add_service(event_logs.max_decoding_message_size(LARGEST_REQUEST))
        .add_service(lineage.max_decoding_message_size(LARGEST_REQUEST))
        .add_service(reflection().build_v1().map_err(io::Error::other)?)
        .add_service(reflection().build_v1alpha().map_err(io::Error::other)?)
        .prepare())
}
