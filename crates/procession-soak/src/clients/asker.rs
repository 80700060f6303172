//! A client that asks all the time, whatever else goes on.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::procession::v1::{
    GetLedgerRequest, GetLineageRequest, GetStatusRequest, GetTreeRequest, ListProcessesRequest, Target,
    target,
};
use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{PATIENCE, lineage};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// What came of all questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) answers: u64,
    /// About processes that were gone by then.
    pub(crate) too_late: u64,
    /// What went wrong.
    pub(crate) failures: Vec<String>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    /// While the agent is known to be away.
    is_excused: AtomicBool,
    answers: AtomicU64,
    too_late: AtomicU64,
    slowest_ms: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// A client that asks all the time.
#[derive(Debug)]
pub(crate) struct Asker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    pub(crate) fn start(runtime: &Handle, agent: PathBuf, socket: PathBuf) -> Self {
        let shared = Arc::new(Shared::default());
        let asking = Asking {
            shared: Arc::clone(&shared),
            runtime: runtime.clone(),
            agent,
            socket,
            turn: 0,
            pids: Vec::new(),
        };
        Self { shared, thread: Some(thread::spawn(move || asking.ask())) }
    }

    /// Failures from now on are nobody's fault, or no more.
    pub(crate) fn excuse(&self, is_excused: bool) {
        self.shared.is_excused.store(is_excused, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked {
            answers: self.shared.answers.load(Ordering::Relaxed),
            too_late: self.shared.too_late.load(Ordering::Relaxed),
            failures: self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slowest: Duration::from_millis(self.shared.slowest_ms.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Asking {
    shared: Arc<Shared>,
    runtime: Handle,
    agent: PathBuf,
    socket: PathBuf,
    turn: u64,
    /// Processes that ran a moment ago.
    pids: Vec<u32>,
}

impl Asking {
    fn ask(mut self) {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let was_excused = self.shared.is_excused.load(Ordering::Relaxed);
            let begin = Instant::now();
            match self.ask_next() {
                Ok(()) => {
                    self.shared.answers.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if is_not_found(&error) => {
                    self.shared.too_late.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let is_excused = was_excused || self.shared.is_excused.load(Ordering::Relaxed);
                    let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
                    if !is_excused && failures.len() < 20 {
                        failures.push(format!("question {}: {error:#}", self.turn));
                    }
                }
            }
            let took = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.shared.slowest_ms.fetch_max(took, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    }

    fn ask_next(&mut self) -> Result<()> {
        self.turn += 1;
        if self.turn.is_multiple_of(40) {
            return self.why();
        }
        let runtime = self.runtime.clone();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, self.ask_by_rpc()).await? })
    }

    /// As a person asks.
    fn why(&self) -> Result<()> {
        let mut command = Command::new(&self.agent);
        let pid = std::process::id().to_string();
        let address = format!("unix://{}", self.socket.display());
        command.args(["why", &pid, "--server-address", &address]).stdin(Stdio::null());
        let output = command.output()?;
        ensure!(output.status.success(), "why: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn ask_by_rpc(&mut self) -> Result<()> {
        let mut client = lineage(&self.socket).await?;
        match self.turn % 6 {
            0 => self.list(&mut client).await?,
            1 => drop(client.get_status(GetStatusRequest {}).await?),
            2 => drop(client.get_ledger(GetLedgerRequest {}).await?),
            3 => {
                let request = GetTreeRequest { root: self.target(), with_ended: true };
                let mut tree = client.get_tree(request).await?.into_inner();
                while tree.message().await?.is_some() {}
            }
            _ => drop(client.get_lineage(GetLineageRequest { target: self.target() }).await?),
        }
        Ok(())
    }

    async fn list(&mut self, client: &mut LineageServiceClient<Channel>) -> Result<()> {
        let with_ended = self.turn.is_multiple_of(4);
        let request = ListProcessesRequest { with_ended, ..ListProcessesRequest::default() };
        let mut list = client.list_processes(request).await?.into_inner();
        self.pids.clear();
        while let Some(item) = list.message().await? {
            let process = item.process.and_then(|process| process.process);
            self.pids.extend(process.and_then(|process| process.pid));
        }
        ensure!(self.pids.contains(&1), "the first process is not in the list of {}", self.pids.len());
        Ok(())
    }

    /// One of those that ran a moment ago.
    fn target(&self) -> Option<Target> {
        let at = usize::try_from(self.turn.wrapping_mul(7_919)).unwrap_or(0) % self.pids.len().max(1);
        let pid = self.pids.get(at).copied().unwrap_or(1);
        Some(Target { name: Some(target::Name::Pid(pid)) })
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Status>().is_some_and(|status| status.code() == Code::NotFound)
}
