//! A node's agent: the observation, and all who serve what it sees.
//!
//! It starts from the edges inwards, so that what cannot be had is told before anything is observed; and
//! stops from the source outwards, so that what is under way arrives.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use procession::TableConfig;
use procession_api::messages::MessageEncoder;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_filter::{Filter, Kinds, Redaction};
use procession_sensor::{Source, SourceError};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::clock::boot_id;
use crate::control::{AgentControl, LogLevel};
use crate::detail::Detail;
use crate::export::{Envelope, ExportConfig, ExportHandle, ExportSink, Exporter, FileConfig};
use crate::hold::HoldConfig;
use crate::hub::{Telling, Witness};
use crate::inventory::Inventory;
use crate::journal::OpenJournal;
use crate::metrics::{EventMetrics, EventMetricsConfig};
use crate::node::{Node, NodeParts};
use crate::observation::{Observation, ObservationConfig};
use crate::observed::NodeObserved;
use crate::pipeline::{Account, Scope, Selection};
use crate::presenter::Presenter;
use crate::redaction::SharedRedaction;
use crate::server::{Bound, Server, ServerAddress, ServerConfig, ServerCounters};
use crate::stream::{EventLog, Form, LogConfig};
use crate::web::{Web, WebConfig};

/// What an agent does.
pub struct AgentConfig {
    /// The name of this machine.
    pub node_name: String,
    /// The name of the cluster it belongs to. Empty: none.
    pub cluster_name: String,
    /// What events tell beyond the usual.
    pub detail: Detail,
    /// The most bytes that the table of processes may use.
    pub table_budget: usize,
    /// How long events may wait until it is known whose container they happened in.
    pub hold: HoldConfig,
    /// How many events are kept for who reads them.
    pub log: LogConfig,
    /// What is hidden.
    pub redaction: Redaction,
    /// The API. Without an address it is nowhere.
    pub server: ServerConfig,
    /// Metrics and health. `None`: nowhere.
    pub web: Option<WebConfig>,
    /// What is counted of events.
    pub event_metrics: EventMetricsConfig,
    /// Where events are exported to. `None`: nowhere.
    pub export: Option<ExportConfig>,
    /// Where all events are written to, and what it goes on from when it is started again. It hides what
    /// `redaction` says. `None`: the agent forgets.
    pub journal: Option<OpenJournal>,
    /// How much is logged.
    pub log_level: Arc<dyn LogLevel>,
    /// Every option and its value, to be shown to who asks for them.
    pub settings: Vec<(String, String)>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An address cannot be listened on, or a certificate not be used.
    #[error("cannot serve the API")]
    Server(#[source] io::Error),
    /// The address for metrics cannot be listened on.
    #[error("cannot serve metrics at {address}")]
    Web {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot export events")]
    Export(#[source] io::Error),
    /// Nothing can be observed.
    #[error("cannot observe")]
    Source(#[from] SourceError),
    /// The system refuses a thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// An agent at work.
pub struct Agent {
    node: Node,
    observation: Observation,
    hub: Telling,
    exporter: Option<Exporter>,
    runtime: Runtime,
    servers: Vec<Serving>,
    addresses: Vec<ServerAddress>,
    events: Arc<EventMetrics>,
}

/// Somebody who serves.
struct Serving {
    /// Ends it.
    end: oneshot::Sender<()>,
    /// Disconnected when it has ended.
    ended: Receiver<Infallible>,
}

/// How long the export and clients may take in all for what is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl AgentConfig {
    /// Of a node that is observed and served nowhere.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            cluster_name: String::new(),
            detail: Detail::default(),
            table_budget: TableConfig::default().budget,
            hold: HoldConfig::default(),
            log: LogConfig::default(),
            redaction: Redaction::default(),
            server: ServerConfig::default(),
            web: None,
            event_metrics: EventMetricsConfig::default(),
            export: None,
            journal: None,
            log_level: Arc::new(crate::control::Fixed),
            settings: Vec::new(),
        }
    }

    /// Serves the API there too.
    #[must_use]
    pub fn serve_at(mut self, address: ServerAddress) -> Self {
        self.server.addresses.push(address);
        self
    }

    /// Exports all events to a file.
    #[must_use]
    pub fn export_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.export = Some(ExportConfig {
            sink: ExportSink::File(FileConfig::new(path)),
            rate_limit: None,
            filter: Box::new(|_| true),
            form: Form::default(),
            envelope: envelope(&self.node_name, &self.cluster_name),
        });
        self
    }
}

/// What lines of an export have that are about no process.
pub fn envelope(node_name: &str, cluster_name: &str) -> Envelope {
    let (node_name, cluster_name) = (node_name.to_owned(), cluster_name.to_owned());
    Box::new(move || GetEventsResponse {
        node_name: node_name.clone(),
        cluster_name: cluster_name.clone(),
        ..GetEventsResponse::default()
    })
}

impl Agent {
    /// Starts to observe `source`, and to serve what is seen. `inventory` is asked whose containers are.
    ///
    /// # Errors
    ///
    /// Something cannot be had that the configuration asks for, or the source fails.
    pub fn start(
        source: Box<dyn Source>,
        inventory: Box<dyn Inventory>,
        config: AgentConfig,
    ) -> Result<Self, AgentError> {
        let runtime = runtime().map_err(AgentError::Thread)?;
        let bound = runtime.block_on(Server::bind(config.server)).map_err(AgentError::Server)?;
        let web = config.web.map(|config| bind_web(&runtime, config)).transpose()?;
        let log = EventLog::new(config.log);
        // Before anything is observed: what runs already is exported too.
        let exporter = config.export.map(|export| Exporter::start(&log, export)).transpose();
        let exporter = exporter.map_err(AgentError::Export)?;

        let redaction = SharedRedaction::from(config.redaction);
        let (kind, unseen) = (source.kind(), source.unseen_changes());
        let mut observed = ObservationConfig::new(selection(config.detail));
        observed.hold = config.hold;
        observed.table.budget = config.table_budget;
        observed.journal = config.journal.map(|journal| journal.with_redaction(redaction.clone()));
        observed.resume = observed.journal.as_ref().and_then(|journal| journal.restore(observed.table));
        let mut observation = Observation::start(source, observed, inventory)?;
        let encoder = MessageEncoder {
            node_name: config.node_name,
            cluster_name: config.cluster_name,
            options: config.detail.annotations(observation.host_namespaces()),
        };
        let node = Node::new(NodeParts {
            log,
            queries: observation.queries().clone(),
            presenter: Presenter::new(encoder, boot_id().ok(), redaction),
            pulse: observation.pulse().clone(),
            source: kind,
            shortcomings: shortcomings(kind.shortcomings(), unseen),
        });

        let events = Arc::new(EventMetrics::new(config.event_metrics));
        let hub = start_hub(&node, &events, &mut observation).map_err(AgentError::Thread)?;
        let mut agent = Self {
            node,
            observation,
            hub,
            exporter,
            runtime,
            servers: Vec::new(),
            addresses: bound.addresses().map_err(AgentError::Server)?,
            events,
        };
        agent.serve(bound, web, config.log_level, config.settings);
        Ok(agent)
    }

    fn serve(
        &mut self,
        bound: Bound,
        web: Option<Web>,
        log_level: Arc<dyn LogLevel>,
        settings: Vec<(String, String)>,
    ) {
        let export = self.exporter.as_ref().map(Exporter::handle);
        if let Some(web) = web {
            let counters = bound.counters();
            let observed = self.observed(counters, export.clone());
            self.spawn(|end| web.serve(Arc::new(observed), end));
        }
        let control = Arc::new(AgentControl::new(log_level, export, settings));
        let node = self.node.clone();
        self.spawn(|end| async move {
            if let Err(error) = bound.serve(node, control, end).await {
                tracing::error!(%error, "the API is not served any more");
            }
        });
    }

    fn observed(&self, server: ServerCounters, export: Option<ExportHandle>) -> NodeObserved {
        NodeObserved::new(self.node.clone(), Arc::clone(&self.events), server, export)
    }

    /// Runs what `serve` makes of the end that it is told.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(End) -> F) {
        let (end, told_to_end) = oneshot::channel();
        let (is_there, ended) = bounded(0);
        let serving = serve(Box::pin(async {
            // An agent that is gone is at its end too.
            let _ = told_to_end.await;
        }));
        self.runtime.spawn(async move {
            let _is_there: Sender<Infallible> = is_there;
            serving.await;
        });
        self.servers.push(Serving { end, ended });
    }

    /// What it sees.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where the API is served, with the ports that were chosen.
    pub fn addresses(&self) -> &[ServerAddress] {
        &self.addresses
    }

    /// The export, to look at it and to change it.
    pub fn export(&self) -> Option<ExportHandle> {
        self.exporter.as_ref().map(Exporter::handle)
    }

    /// What is counted of events.
    pub fn events(&self) -> &EventMetrics {
        &self.events
    }

    /// Whether nothing is observed, told or exported any more. [`stop`](Self::stop) says why.
    pub fn has_failed(&self) -> bool {
        let export_has_ended = self.exporter.as_ref().is_some_and(Exporter::has_ended);
        self.node.pulse().is_over() || self.hub.has_ended() || export_has_ended
    }

    /// Stops. What has happened until now is told to clients and exported, as far as they take it within
    /// some seconds.
    ///
    /// # Errors
    ///
    /// The source has failed.
    pub fn stop(self) -> Result<Account, SourceError> {
        let Self { node, observation, hub, exporter, runtime, servers, .. } = self;
        observation.stop();
        let account = observation.join();
        let end = Instant::now() + LAST_WORDS;
        // Messages of all that was told; then the log is closed, and who reads it comes to its end.
        let untold = hub.finish(end);
        node.log().close();
        let ended: Vec<_> = servers
            .into_iter()
            .map(|serving| {
                // It may have ended by itself.
                let _ = serving.end.send(());
                serving.ended
            })
            .collect();
        if let Some(exporter) = exporter
            && let Err(error) = exporter.finish(end.saturating_duration_since(Instant::now()))
        {
            tracing::error!(%error, "not all events could be exported");
        }
        // Not the runtime's timers: nobody may be there to drive them.
        for ended in ended {
            let _ = ended.recv_deadline(end);
        }
        runtime.shutdown_background();
        let dropped = tell_what_is_untold(untold);
        account.map(|account| Account { dropped: account.dropped + dropped, ..account })
    }
}

/// Says how many events nobody was told of before the end, and returns that as far as it is known.
fn tell_what_is_untold(untold: Option<u64>) -> u64 {
    match untold {
        Some(0) => {}
        Some(events) => tracing::warn!(
            events,
            "there was no time to tell of all that happened before the end: clients and the export miss the last \
             events. The journal, if there is one, has them"
        ),
        None => tracing::warn!(
            "the thread that makes messages does not end, or has broken down: clients and the export may miss the last events. The \
             journal, if there is one, has them"
        ),
    }
    untold.unwrap_or_default()
}

/// What tells a server to end.
type End = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread().worker_threads(2).thread_name("serve").enable_all().build()
}

/// Makes messages of what is observed, and counts them in `events`, in a thread of its own.
fn start_hub(node: &Node, events: &Arc<EventMetrics>, observation: &mut Observation) -> io::Result<Telling> {
    let events = Arc::clone(events);
    let witness: Witness = Box::new(move |event| events.observe(event));
    let (found, told) = (observation.take_found(), observation.told().clone());
    Telling::start(node.clone(), witness, found, told)
}

fn bind_web(runtime: &Runtime, config: WebConfig) -> Result<Web, AgentError> {
    let bound = runtime.block_on(Web::bind(&config));
    bound.map_err(|source| AgentError::Web { address: config.address, source })
}

/// What the reference tells of: what runs already, execs and exits.
fn selection(detail: Detail) -> Selection {
    let kinds = Kinds { running: true, ..Kinds::default() };
    Selection { scope: Scope::Everything, filter: Filter::new(kinds), lineage: detail.lineage() }
}

fn shortcomings(of_kind: &str, unseen: Option<String>) -> Vec<String> {
    let of_kind = Some(of_kind).filter(|text| !text.is_empty()).map(str::to_owned);
    of_kind.into_iter().chain(unseen).collect()
}
