//! An agent that has something to tell of everything, and its page taken apart.

use std::time::{Duration, Instant, SystemTime};

use procession::Explanation;
use procession_agent::metrics::{EventMetrics, Format, LogCounts, Measurements, Usage, render};
use procession_agent::server::ServerCounts;
use procession_agent::{
    ExportCounts, HoldCounts, InventoryCounts, JournalCounts, ReaderCounts, RepairCounts, TellCounts,
};
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{GetEventsResponse, Pod, Process, ProcessExec, ProcessExit};
use procession_kube::{Phase, RuntimeCounters, Status};
use procession_sensor::{Count, KernelCounts, SourceKind};

/// Values of everything, each another where that is possible.
pub(crate) fn measurements() -> Measurements {
    let hold =
        HoldCounts { held: 51, answered: 5, refused: 6, expired: 7, overflowed: 8, waiting: 25, bytes: 52 };
    let count = |attempted, lost| Count { attempted, lost };
    let kernel = KernelCounts {
        fork: count(101, 1),
        exec: count(202, 2),
        exit: count(303, 3),
        change: count(404, 4),
        arguments: count(505, 5),
        skipped: 61,
        storage_failed: 62,
    };
    let pods = Status {
        phase: Phase::Synced,
        since: Instant::now(),
        last_event: None,
        last_heard: Some(Instant::now()),
    };
    let runtimes =
        RuntimeCounters { asked: 10, known: 1, unknown: 2, unreachable: 3, refused: 4, dropped_replies: 5 };
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
    Measurements {
        started: Some(now),
        source: Some(SourceKind::Ebpf),
        is_observing: true,
        last_event: Some(now),
        kernel: Some(kernel),
        malformed: 71,
        table: table(),
        told: TellCounts { hold, incomplete: 81, unplaced: 82 },
        inventory: InventoryCounts { runtimes: Some(runtimes), pods: Some(pods) },
        dropped: 91,
        log: LogCounts { events: 11, bytes: 12, event_limit: 13, byte_limit: 14 },
        clients: ReaderCounts { readers: 2, read: 1_001, lost: 1_002, waiting: 1_003 },
        exporters: ReaderCounts { readers: 1, read: 2_001, lost: 2_002, waiting: 2_003 },
        export: ExportCounts {
            exported: 3_001,
            bytes: 3_002,
            last_exported: Some(now),
            rate_limited: 3_003,
            filtered_out: 3_004,
            failed_fields: 3_005,
            write_errors: 3_006,
            lost: 3_007,
            rotations: 3_008,
            backup_errors: 3_009,
            is_failing: true,
        },
        server: ServerCounts {
            open: 21,
            accepted: 22,
            refused: 23,
            failed: 24,
            accept_errors: 25,
            streams: 26,
            streams_begun: 27,
            unfiltered: 28,
        },
        filter_errors: 31,
        journal: Some(JournalCounts {
            blocks: 41,
            events: 42,
            bytes: 43,
            lost_events: 44,
            errors: 45,
            is_failing: true,
            waiting_events: 46,
            disk_bytes: 47,
            files: 48,
        }),
        repair: RepairCounts {
            surveys: 53,
            time: Duration::from_millis(1_250),
            missing: 54,
            gone: 55,
            changed: 56,
        },
        usage: Some(Usage::read().unwrap()),
        capabilities: vec!["CAP_SYS_PTRACE".to_owned()],
        ..Measurements::default()
    }
}

fn table() -> Explanation {
    let mut table = Explanation::default();
    (table.budget, table.used) = (4_000, 2_015);
    (table.entry_bytes, table.body_bytes, table.index_bytes) = (401, 402, 403);
    (table.image_bytes, table.shared_bytes) = (404, 405);
    (table.running, table.in_grace, table.held, table.ancestors, table.tombstones) =
        (1, 20, 300, 4_000, 50_000);
    (table.dropped_early, table.folded, table.evicted_live) = (7, 70, 700);
    table
}

/// An exec in a pod.
pub(crate) fn exec(namespace: &str, pod: &str, binary: &str) -> GetEventsResponse {
    let pod =
        Pod { namespace: namespace.into(), name: pod.into(), workload: "work".into(), ..Pod::default() };
    let process = Process { binary: binary.into(), pod: Some(pod), ..Process::default() };
    event(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() }))
}

/// An exit on the host.
pub(crate) fn exit(binary: &str) -> GetEventsResponse {
    let process = Process { binary: binary.into(), ..Process::default() };
    event(Event::ProcessExit(ProcessExit { process: Some(process), ..ProcessExit::default() }))
}

pub(crate) fn event(event: Event) -> GetEventsResponse {
    GetEventsResponse { node_name: "node-1".into(), event: Some(event), ..GetEventsResponse::default() }
}

/// Events of which the names are as hostile as they can be in text.
pub(crate) fn hostile() -> EventMetrics {
    let events = EventMetrics::default();
    for binary in
        ["/bin/sh", "", "a\"b", "back\\slash", "line\nfeed", "\\n", "\r\0\u{7f}\u{fffd}\u{202e}", "{},=# "]
    {
        events.observe(&exec("space", "pod", binary));
        events.observe(&exit(binary));
    }
    events.observe(&GetEventsResponse::default());
    events
}

/// The samples of a page in the classic text: what stands before the value, and that.
pub(crate) fn samples(page: &str) -> Vec<(&str, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

/// The value of one series on the page of these measurements.
pub(crate) fn value(page: &str, series: &str) -> f64 {
    let found: Vec<_> = samples(page).into_iter().filter(|(name, _)| *name == series).collect();
    assert_eq!(found.len(), 1, "{series} in\n{page}");
    found[0].1
}

pub(crate) fn classic(now: Measurements, events: &EventMetrics) -> String {
    render(now, events, Format::Classic)
}
