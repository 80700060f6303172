//! How the agent does, under the names that the reference has for it.

use procession::Counted;
use procession_sensor::Count;

use super::seconds;
use crate::metrics::family::{Family, Group, Samples};
use crate::metrics::page::Page;

/// The reference's numbers for what the kernel side hands over.
const EXEC: &str = "5";
const EXIT: &str = "7";
const CLONE: &str = "23";
const DATA: &str = "24";
/// Of what is none of them.
const UNDEFINED: &str = "0";

/// The events that have such a number.
const OPERATIONS: [(&str, Counted); 3] =
    [(EXEC, Counted::Exec), (EXIT, Counted::Exit), (CLONE, Counted::Fork)];

const KERNEL: &str = "the source is eBPF";
const PODS: &str = "pods are watched";

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
    read: fn(&Page, &mut Samples<'_>),
) -> Family {
    Family::counter(Group::Reference, name, labels, meaning, read)
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
    read: fn(&Page, &mut Samples<'_>),
) -> Family {
    Family::gauge(Group::Reference, name, labels, meaning, read)
}

pub(super) const FAMILIES: &[Family] = &[
    Family::info(
        Group::Reference,
        "tetragon_build_info",
        &["version", "commit", "modified", "time"],
        "What program this is",
        |page, samples| {
            let build = &page.now.build;
            let modified = build.modified.map_or("", |modified| if modified { "true" } else { "false" });
            samples.put_at(&[&build.version, &build.commit, modified, &build.time], true);
        },
    ),
    gauge("tetragon_process_cache_size", &[], "Entries of the table of processes", |page, samples| {
        samples.put(entries(page));
    }),
    counter(
        "tetragon_process_cache_capacity_evictions_total",
        &[],
        "Entries that went from the table of processes because memory was short",
        |page, samples| samples.put(page.now.table.dropped_early + page.now.table.evicted_live),
    ),
    counter(
        "tetragon_msg_op_total",
        &["msg_op"],
        "Records of the kernel side that were processed, by the reference's number for what they tell: 5 exec, 7 exit, 23 clone",
        |page, samples| {
            for (operation, kind) in OPERATIONS {
                samples.put_at(&[operation], page.now.ledger.account(kind).received);
            }
        },
    ),
    counter(
        "tetragon_handler_errors_total",
        &["opcode", "error"],
        "Records of the kernel side that could not be read; what they were to tell is not known, so their number is 0",
        |page, samples| samples.put_at(&[UNDEFINED, "event_handler_failed"], page.now.malformed),
    ),
    counter(
        "tetragon_events_missing_process_info_total",
        &[],
        "Events that were told and name no process",
        |page, samples| samples.put(page.events.without_process),
    ),
    gauge(
        "tetragon_event_cache_entries",
        &[],
        "Events that wait until it is known whose container they happened in",
        |page, samples| samples.put(page.now.told.hold.waiting),
    ),
    counter("tetragon_event_cache_inserts_total", &[], "Events that had to wait for that", |page, samples| {
        samples.put(page.now.told.hold.held);
    }),
    counter(
        "tetragon_event_cache_fetch_failures_total",
        &["entry_type"],
        "Events that had waited for that, and were told without",
        |page, samples| {
            let hold = &page.now.told.hold;
            samples.put_at(&["pod_info"], hold.refused + hold.expired + hold.overflowed);
        },
    ),
    counter(
        "tetragon_bpf_missed_events_total",
        &["msg_op", "error"],
        "Records for which the kernel side had no room, by the reference's number for what they were to tell: 5 exec, 7 exit, 23 clone, 24 part of the arguments, 0 a change between execs",
        |page, samples| {
            let Some(kernel) = &page.now.kernel else { return };
            let lost: [(&str, &Count); 5] = [
                (EXEC, &kernel.exec),
                (EXIT, &kernel.exit),
                (CLONE, &kernel.fork),
                (DATA, &kernel.arguments),
                (UNDEFINED, &kernel.change),
            ];
            for (operation, count) in lost {
                samples.put_at(&[operation, "ENOSPC"], count.lost);
            }
        },
    )
    .only(KERNEL),
    counter(
        "tetragon_observer_ringbuf_events_received_total",
        &[],
        "Records that the kernel side handed over",
        |page, samples| {
            let Some(kernel) = &page.now.kernel else { return };
            let counts = [kernel.fork, kernel.exec, kernel.exit, kernel.change, kernel.arguments];
            samples.put(counts.iter().map(|count| count.attempted.saturating_sub(count.lost)).sum::<u64>());
        },
    )
    .only(KERNEL),
    counter(
        "tetragon_observer_ringbuf_events_lost_total",
        &[],
        "Events that the source said it lost",
        |page, samples| samples.put(page.now.ledger.lost()),
    ),
    counter(
        "tetragon_observer_ringbuf_queue_events_received_total",
        &[],
        "Events that the table was given, those of processes that were found running not counted",
        |page, samples| {
            let ledger = &page.now.ledger;
            samples.put(ledger.received() - ledger.account(Counted::Running).received);
        },
    ),
    counter(
        "tetragon_observer_ringbuf_queue_events_lost_total",
        &[],
        "Events that the table took in, and that were not told because the queue behind it was full",
        |page, samples| samples.put(page.now.dropped),
    ),
    counter(
        "tetragon_notify_overflowed_events_total",
        &[],
        "Events that a reader, a stream of a client or the export, lost because it was too slow",
        |page, samples| samples.put(page.now.clients.lost + page.now.exporters.lost),
    ),
    counter("tetragon_events_exported_total", &[], "Events that the export wrote", |page, samples| {
        samples.put(page.now.export.exported);
    }),
    counter("tetragon_events_exported_bytes_total", &[], "Bytes that the export wrote", |page, samples| {
        samples.put(page.now.export.bytes);
    }),
    gauge(
        "tetragon_events_last_exported_timestamp",
        &[],
        "When the event happened that the export wrote last, in seconds since the epoch; 0 before the first",
        |page, samples| samples.put(page.now.export.last_exported.map_or(0.0, seconds)),
    ),
    counter(
        "tetragon_export_ratelimit_events_dropped_total",
        &[],
        "Events that the export dropped because there were too many",
        |page, samples| samples.put(page.now.export.rate_limited),
    ),
    counter(
        "tetragon_watcher_events_total",
        &["watcher"],
        "Events that were told with their pod",
        |page, samples| {
            if page.now.inventory.pods.is_some() {
                samples.put_at(&["k8s"], page.events.with_pod);
            }
        },
    )
    .only(PODS),
    counter(
        "tetragon_watcher_errors_total",
        &["watcher", "error"],
        "Events of containers that were told without their pod, or not told because nobody knew it",
        |page, samples| {
            if page.now.inventory.pods.is_some() {
                let told = &page.now.told;
                samples.put_at(&["k8s", "failed_to_get_pod"], told.incomplete + told.unplaced);
            }
        },
    )
    .only(PODS),
];

/// Entries of the table. Each has one reason to be there.
fn entries(page: &Page) -> usize {
    let table = &page.now.table;
    table.running + table.in_grace + table.held + table.ancestors + table.tombstones
}
