//! A node that plays a script, a server of it, and clients.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use procession::{EventKind, ProcessKey};
use procession_agent::server::{
    Control, ControlError, EventLogChanges, EventLogParams, Server, ServerAddress, ServerConfig,
    ServerCounters, ServerCounts,
};
use procession_agent::{
    Event, EventLog, LogConfig, Node, NodeInventory, NodeParts, Observation, ObservationConfig, Presenter,
};
use procession_api::messages::MessageEncoder;
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use procession_api::proto::tetragon::get_events_response::Event as Kind;
use procession_api::proto::tetragon::{
    CreateContainer, GetEventsRequest, GetEventsResponse, Process, ProcessExec, ProcessExit,
};
use procession_filter::Redaction;
use procession_sensor::SourceKind;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tracing::Level;

use crate::support::{PATIENCE, Script, everything, fork};

/// The name of the node.
pub(crate) const NODE: &str = "node-1";

pub(crate) struct Lab {
    pub(crate) observation: Option<Observation>,
    pub(crate) node: Node,
    pub(crate) address: ServerAddress,
    pub(crate) counters: ServerCounters,
    pub(crate) control: Arc<Settings>,
    pub(crate) directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// What a lab is made of.
pub(crate) struct Plan {
    pub(crate) script: Script,
    pub(crate) log: LogConfig,
    pub(crate) config: ServerConfig,
    pub(crate) observation: ObservationConfig,
}

impl Default for Plan {
    /// Over a socket, a node on which nothing happens.
    fn default() -> Self {
        Self {
            script: Script::new([]),
            log: LogConfig::default(),
            config: ServerConfig::default(),
            observation: everything(),
        }
    }
}

impl Plan {
    pub(crate) fn of(config: ServerConfig) -> Self {
        Self { config, ..Self::default() }
    }

    pub(crate) fn tcp(config: ServerConfig) -> Self {
        Self::of(ServerConfig { addresses: vec!["127.0.0.1:0".parse().unwrap()], ..config })
    }
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::plan(Plan::default()).await
    }

    pub(crate) async fn plan(plan: Plan) -> Self {
        let Plan { script, log, mut config, observation } = plan;
        let directory = tempfile::tempdir().unwrap();
        if config.addresses.is_empty() {
            config.addresses = vec![ServerAddress::Unix(directory.path().join("run/agent.sock"))];
        }
        let observation =
            Observation::start(Box::new(script), observation, Box::new(NodeInventory::new())).unwrap();
        let node = node(&observation, EventLog::new(log));
        let control = Arc::new(Settings::default());
        let bound = Server::bind(config).await.unwrap();
        let address = bound.addresses().unwrap().remove(0);
        let counters = bound.counters();
        let (stop, stopped) = oneshot::channel();
        let serving = bound.serve(node.clone(), control.clone(), async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(async { serving.await.unwrap() });
        let (stop, observation) = (Some(stop), Some(observation));
        Self { observation, node, address, counters, control, directory, stop, server }
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(&self.address).await
    }

    pub(crate) async fn sensors(&self) -> FineGuidanceSensorsClient<Channel> {
        FineGuidanceSensorsClient::new(self.channel().await)
    }

    pub(crate) async fn lineage(&self) -> LineageServiceClient<Channel> {
        LineageServiceClient::new(self.channel().await)
    }

    /// A stream of events that is set up.
    pub(crate) async fn events(&self, request: GetEventsRequest) -> Streaming<GetEventsResponse> {
        self.sensors().await.get_events(request).await.unwrap().into_inner()
    }

    pub(crate) fn socket(&self) -> &Path {
        let ServerAddress::Unix(path) = &self.address else { panic!("{} is no socket", self.address) };
        path
    }

    pub(crate) fn counts(&self) -> ServerCounts {
        self.counters.read()
    }

    /// Waits until the counts are as they should be.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(ServerCounts) -> bool) {
        until(what, || holds(self.counts())).await;
    }

    /// Asks the server to stop.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until it has, and gives the directory of its socket.
    pub(crate) async fn ended(self) -> TempDir {
        within(self.server).await.unwrap();
        self.directory
    }
}

/// The node that is observed.
fn node(observation: &Observation, log: EventLog) -> Node {
    Node::new(NodeParts {
        log,
        queries: observation.queries().clone(),
        presenter: presenter(),
        pulse: observation.pulse().clone(),
        source: SourceKind::Polling,
        shortcomings: vec!["what is gone between two looks is not seen".into()],
    })
}

fn presenter() -> Presenter {
    let encoder = MessageEncoder { node_name: NODE.to_owned(), ..MessageEncoder::default() };
    Presenter::new(encoder, None, Redaction::default())
}

pub(crate) async fn connect(address: &ServerAddress) -> Channel {
    let uri = match address {
        ServerAddress::Unix(_) => address.to_string(),
        ServerAddress::Tcp(address) => format!("http://{address}"),
    };
    Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
}

/// For what would otherwise be waited for without end.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never seen: {what}");
}

/// What a stream gives until it ends, and how it ends.
pub(crate) async fn drain<T>(mut stream: Streaming<T>) -> (Vec<T>, Option<Status>) {
    let mut all = Vec::new();
    loop {
        match within(stream.message()).await {
            Ok(Some(item)) => all.push(item),
            Ok(None) => return (all, None),
            Err(status) => return (all, Some(status)),
        }
    }
}

/// A process runs a program.
pub(crate) fn exec(sequence: u64, pid: u32) -> Event {
    let process = Some(Process { pid: Some(pid), ..Process::default() });
    let exec = ProcessExec { process, ..ProcessExec::default() };
    Event::new(sequence, response(Kind::ProcessExec(exec)))
}

pub(crate) fn response(kind: Kind) -> GetEventsResponse {
    GetEventsResponse { event: Some(kind), node_name: NODE.into(), ..GetEventsResponse::default() }
}

/// Exec or exit and the pid, or what was lost.
pub(crate) fn brief(event: &GetEventsResponse) -> String {
    let pid = |process: &Option<Process>| process.as_ref().and_then(|process| process.pid).unwrap_or(0);
    match event.event.as_ref().unwrap() {
        Kind::ProcessExec(ProcessExec { process, .. }) => format!("exec {}", pid(process)),
        Kind::ProcessExit(ProcessExit { process, .. }) => format!("exit {}", pid(process)),
        Kind::RateLimitInfo(info) => format!("lost {}", info.number_of_dropped_process_events),
        other => panic!("{other:?}"),
    }
}

/// A process that runs `parent` forks another.
pub(crate) fn fork_by(parent: ProcessKey, child: u32) -> procession::Event<'static> {
    let mut event = fork(parent.pid.0, child);
    if let EventKind::Fork(fork) = &mut event.kind {
        fork.parent = parent.into();
    }
    event
}

/// What clients have set.
pub(crate) struct Settings {
    pub(crate) level: Mutex<Level>,
    pub(crate) event_log: Mutex<Option<EventLogParams>>,
    pub(crate) containers: Mutex<Vec<CreateContainer>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: Mutex::new(Level::INFO), event_log: Mutex::default(), containers: Mutex::default() }
    }
}

impl Control for Settings {
    fn log_level(&self) -> Level {
        *self.level.lock().unwrap()
    }

    fn set_log_level(&self, level: Level) -> Result<(), ControlError> {
        *self.level.lock().unwrap() = level;
        Ok(())
    }

    fn event_log(&self) -> Option<EventLogParams> {
        *self.event_log.lock().unwrap()
    }

    fn set_event_log(&self, changes: EventLogChanges) -> Result<(), ControlError> {
        let mut event_log = self.event_log.lock().unwrap();
        let params = event_log.as_mut().ok_or_else(|| ControlError::Unavailable("no file".into()))?;
        params.max_size_mb = changes.max_size_mb.unwrap_or(params.max_size_mb);
        params.rotation_interval = changes.rotation_interval.unwrap_or(params.rotation_interval);
        params.max_backups = changes.max_backups.unwrap_or(params.max_backups);
        Ok(())
    }

    fn runtime_hook(&self, container: CreateContainer) -> Result<(), ControlError> {
        self.containers.lock().unwrap().push(container);
        Ok(())
    }

    fn config(&self) -> Vec<(String, String)> {
        vec![("log-level".into(), "info".into())]
    }
}

/// A certificate or key of the tests.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}
