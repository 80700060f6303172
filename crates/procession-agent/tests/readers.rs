//! Many readers of one agent, while more happens than on any machine: 20 streams of clients, of which
//! one never reads and one comes again and again, and the export to a file.
//!
//! Everything is real but the kernel: what happens comes from a generator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use hyper_util::rt::TokioIo;
use procession::ProcessKey;
use procession_agent::server::ServerAddress;
use procession_agent::{
    Agent, AgentConfig, ExportConfig, ExportSink, NodeInventory, ReaderCounts, ReaderKind,
};
use procession_api::proto::tetragon::GetEventsRequest;
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

use support::{exec, exit, fork, outside, running};

/// An exec and an exit of each.
const PROCESSES_A_SECOND: u32 = 10_000;
const SECONDS: u32 = 5;
const PROCESSES: u32 = PROCESSES_A_SECOND * SECONDS;
const EVENTS: u64 = 2 * PROCESSES as u64;
const STREAMS: usize = 18;

/// Starts processes at a steady rate once it is told to.
struct Load {
    may_begin: Arc<AtomicBool>,
    begin: Option<Instant>,
    started: u32,
}

impl Source for Load {
    fn kind(&self) -> SourceKind {
        SourceKind::Polling
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        sink(&outside(running(1, ProcessKey::NONE)));
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        thread::sleep(timeout);
        if !self.may_begin.load(Ordering::Relaxed) {
            return Ok(());
        }
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let due = begin.elapsed().as_secs_f64() * f64::from(PROCESSES_A_SECOND);
        // Who stood still does not make up for it at once: no machine does so much in a moment.
        let due = due.min(f64::from(self.started + PROCESSES_A_SECOND / 40));
        while self.started < PROCESSES && f64::from(self.started) < due {
            let pid = 1_000 + self.started;
            self.started += 1;
            sink(&outside(fork(1, pid)));
            sink(&outside(exec(pid, 1)));
            sink(&exit(pid, 0));
        }
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

/// An event of which only the kind is looked at: a client that does more would be measured, not the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Glance {
    kind: u32,
    lost: u64,
}

const EXEC: u32 = 1;
const EXIT: u32 = 5;
const RATE_LIMIT_INFO: u32 = 40_001;

impl Message for Glance {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            EXEC | EXIT => self.kind = tag,
            RATE_LIMIT_INFO => {
                let mut info = procession_api::proto::tetragon::RateLimitInfo::default();
                prost::encoding::message::merge(wire_type, &mut info, buf, context)?;
                (self.kind, self.lost) = (tag, info.number_of_dropped_process_events);
                return Ok(());
            }
            _ => {}
        }
        skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a client saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    execs: u64,
    exits: u64,
    lost: u64,
}

impl Seen {
    fn note(&mut self, glance: Glance) {
        match glance.kind {
            EXEC => self.execs += 1,
            EXIT => self.exits += 1,
            _ => self.lost += glance.lost,
        }
    }
}

async fn connect(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    let connect = move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap()
}

async fn get_events(socket: &Path) -> Streaming<Glance> {
    let mut client = tonic::client::Grpc::new(connect(socket).await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/tetragon.FineGuidanceSensors/GetEvents");
    let codec = ProstCodec::<GetEventsRequest, Glance>::default();
    let request = tonic::Request::new(GetEventsRequest::default());
    client.server_streaming(request, path, codec).await.unwrap().into_inner()
}

/// Reads a stream to the end.
async fn read(socket: PathBuf) -> Seen {
    let mut stream = get_events(&socket).await;
    let mut seen = Seen::default();
    while let Ok(Some(glance)) = stream.message().await {
        seen.note(glance);
    }
    seen
}

/// Comes, reads a little, goes, and comes again.
async fn come_and_go(socket: PathBuf, is_over: Arc<AtomicBool>) -> u64 {
    let mut visits = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = get_events(&socket).await;
        for _ in 0..10 {
            let _ = tokio::time::timeout(Duration::from_millis(20), stream.message()).await;
        }
        visits += 1;
    }
    visits
}

#[test]
#[cfg_attr(debug_assertions, ignore = "measures what is optimised: run it with --release")]
fn nobody_pays_for_a_slow_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, export) = (folder.path().join("socket"), folder.path().join("events.log"));
    let may_begin = Arc::new(AtomicBool::new(false));
    let load = Load { may_begin: Arc::clone(&may_begin), begin: None, started: 0 };
    let config = AgentConfig::new("node").serve_at(ServerAddress::Unix(socket.clone()));
    let mut config = config.export_to(export.clone());
    if let Some(ExportConfig { sink: ExportSink::File(file), .. }) = &mut config.export {
        // All lines are looked for in one file.
        file.rotation.max_size_bytes = 0;
    }
    let agent = Agent::start(Box::new(load), Box::new(NodeInventory::new()), config).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();

    let streams: Vec<_> = (0..STREAMS).map(|_| runtime.spawn(read(socket.clone()))).collect();
    // One that never reads: what it is sent piles up in the transport, until there is no more room.
    let stuck = runtime.block_on(get_events(&socket));
    let is_over = Arc::new(AtomicBool::new(false));
    let visitor = runtime.spawn(come_and_go(socket.clone(), Arc::clone(&is_over)));
    let clients = || agent.node().log().counts(ReaderKind::Client);
    support::until("all clients are there", || clients().readers > STREAMS as u64);

    let (peak, before) = (Arc::new(AtomicU64::new(0)), resident());
    let begin = Instant::now();
    may_begin.store(true, Ordering::Relaxed);
    let told = || agent.node().log().counts(ReaderKind::Export).read;
    support::until("all is exported", || {
        peak.fetch_max(resident(), Ordering::Relaxed);
        told() >= EVENTS
    });
    let took = begin.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let visits = runtime.block_on(visitor).unwrap();
    let counts: Vec<ReaderCounts> = agent
        .node()
        .log()
        .readers()
        .into_iter()
        .filter(|(kind, counts)| *kind == ReaderKind::Client && counts.lost > 0)
        .map(|(_, counts)| counts)
        .collect();
    let account = agent.stop().unwrap();

    let half = u64::from(PROCESSES);
    for stream in streams {
        let seen = runtime.block_on(stream).unwrap();
        assert_eq!(seen, Seen { execs: half, exits: half, lost: 0 });
    }
    assert_eq!(account.dropped, 0);
    let lines = fs::read_to_string(&export).unwrap();
    assert_eq!(lines.matches("{\"process_exec\"").count() as u64, half + 1, "and the one found running");
    assert_eq!(lines.matches("{\"process_exit\"").count() as u64, half);
    assert!(!lines.contains("rate_limit_info"), "the export lost nothing");
    let [stuck_one] = counts.as_slice() else { panic!("one reader lost events, and only one: {counts:?}") };
    assert!(stuck_one.lost > EVENTS / 2, "{stuck_one:?}");
    drop(stuck);
    let grown = peak.load(Ordering::Relaxed).saturating_sub(before);
    println!(
        "{EVENTS} events in {took:?} to {STREAMS} clients and a file; a stuck client lost {}, one that came \
         and went did so {visits} times; memory grew by {} MiB; {:?} of CPU, clients included",
        stuck_one.lost,
        grown >> 20,
        Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap(),
    );
    assert!(grown < 256 << 20, "{grown} bytes");
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}
