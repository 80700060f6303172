//! Clients in this process, and one that never reads.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use procession_api::proto::procession::v1::GetLedgerRequest;
use procession_api::proto::procession::v1::ReaderAccount;
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    Filter, GetEventsRequest, GetEventsResponse, GetVersionRequest, GetVersionResponse,
};
use rustix::process::{Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::agent::{Agent, PATIENCE, pid, wait_until};
use crate::run::procession;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Waits for what clients do.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("an answer") })
}

/// How to reach an agent.
pub(crate) struct Way(Endpoint);

impl Way {
    pub(crate) fn unix(agent: &Agent) -> Self {
        Self(Endpoint::try_from(format!("unix://{}", agent.socket().display())).unwrap())
    }

    pub(crate) fn tcp(agent: &Agent) -> Self {
        Self(Endpoint::try_from(format!("http://localhost:{}", agent.port())).unwrap())
    }

    /// Trusting an authority, and as whom a certificate and its key say.
    pub(crate) fn tls(
        agent: &Agent,
        authority: &std::path::Path,
        files: Option<[std::path::PathBuf; 2]>,
    ) -> Self {
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(authority)));
        if let Some([certificate, key]) = files {
            tls = tls.identity(Identity::from_pem(read(&certificate), read(&key)));
        }
        let endpoint = Endpoint::try_from(format!("https://localhost:{}", agent.port())).unwrap();
        Self(endpoint.tls_config(tls).unwrap())
    }

    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.0.connect().await
    }

    /// The shortest of all conversations.
    pub(crate) async fn version(&self) -> Result<GetVersionResponse, String> {
        let channel = self.connect().await.map_err(|error| format!("{error:?}"))?;
        let answer = FineGuidanceSensorsClient::new(channel).get_version(GetVersionRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| format!("{status:?}"))
    }
}

/// What a stream told: the arguments of what was run and of what ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) execs: Vec<String>,
    pub(crate) exits: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, response: GetEventsResponse) {
        let arguments =
            |process: Option<procession_api::proto::tetragon::Process>| process.unwrap().arguments;
        match response.event {
            Some(Event::ProcessExec(exec)) => self.execs.push(arguments(exec.process)),
            Some(Event::ProcessExit(exit)) => {
                self.exits.insert(arguments(exit.process));
            }
            _ => {}
        }
    }

    /// Each of the markers, once, in the order of their numbers.
    pub(crate) fn check(&self, marker: &str, times: usize) {
        let prefix = format!("{marker}-");
        let execs: Vec<_> = self.execs.iter().filter(|text| text.starts_with(&prefix)).collect();
        let expected: Vec<_> = (0..times).map(|number| format!("{prefix}{number}")).collect();
        let missing = expected.iter().find(|text| !execs.contains(text));
        assert_eq!(execs.len(), times, "{missing:?} is missing");
        assert!(execs.into_iter().eq(&expected), "out of order");
        let missing = expected.iter().find(|text| !self.exits.contains(*text));
        assert_eq!(missing, None, "no exit");
    }
}

/// Reads the events of processes whose arguments have a marker, as fast as they come.
pub(crate) struct Follower {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<Option<Status>>,
}

impl Follower {
    /// From now on.
    pub(crate) fn start(way: &Way, marker: &str) -> Self {
        let allow_list = vec![Filter { arguments_regex: vec![format!("^{marker}-")], ..Filter::default() }];
        let request = GetEventsRequest { allow_list, ..GetEventsRequest::default() };
        let mut stream = block_on(async {
            let channel = way.connect().await.unwrap();
            FineGuidanceSensorsClient::new(channel).get_events(request).await.unwrap().into_inner()
        });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        let task = RUNTIME.spawn(async move {
            loop {
                match stream.message().await {
                    Ok(Some(response)) => told.lock().unwrap().take(response),
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        });
        Self { seen, task }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for the exit of that one.
    pub(crate) fn wait_for(&self, marker: &str) {
        let is_seen = || self.seen.lock().unwrap().exits.contains(marker);
        wait_until(is_seen, || {
            let ended = if self.task.is_finished() { "the stream ended" } else { "the stream goes on" };
            format!("{marker} is not seen, and {ended}; the last is {:?}", self.seen().execs.last())
        });
    }

    /// All it saw until the agent said that it stops.
    pub(crate) fn end(self) -> Seen {
        let status = block_on(self.task).unwrap();
        let status = status.expect("a word about why the stream ends");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }
}

/// What became of what each reader of events was to get.
pub(crate) fn readers(agent: &Agent) -> Vec<ReaderAccount> {
    block_on(async {
        let channel = Way::unix(agent).connect().await.unwrap();
        let ledger = LineageServiceClient::new(channel).get_ledger(GetLedgerRequest {}).await.unwrap();
        ledger.into_inner().readers
    })
}

/// A client that asked for all events and does not take one.
pub(crate) struct Frozen(Child);

impl Frozen {
    pub(crate) fn start(agent: &Agent) -> Self {
        let before = streams(agent);
        let mut events = procession(["events", "-o", "json", "--server-address"]);
        events.arg(format!("localhost:{}", agent.port()));
        let events = events.stdout(Stdio::null()).spawn().unwrap();
        let frozen = Self(events);
        wait_until(|| streams(agent) > before, || "its stream does not begin".to_owned());
        kill_process(pid(&frozen.0), Signal::STOP).unwrap();
        frozen
    }
}

fn streams(agent: &Agent) -> usize {
    readers(agent).iter().filter(|reader| reader.name == "grpc").count()
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
