//! How the agent does, under our names.

use procession::Counted;
use procession_kube::Phase;
use procession_sensor::{Count, KernelCounts};

use super::seconds;
use crate::journal::JournalCounts;
use crate::metrics::family::{Family, Group, Samples};
use crate::metrics::page::Page;
use crate::stream::ReaderCounts;

const KERNEL: &str = "the source is eBPF";
const PODS: &str = "pods are watched";
const JOURNAL: &str = "there is a journal";
const RUNTIMES: &str = "container runtimes are asked";

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
    read: fn(&Page, &mut Samples<'_>),
) -> Family {
    Family::counter(Group::Own, name, labels, meaning, read)
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
    read: fn(&Page, &mut Samples<'_>),
) -> Family {
    Family::gauge(Group::Own, name, labels, meaning, read)
}

pub(super) const FAMILIES: &[Family] = &[
    // The source.
    Family::info(
        Group::Own,
        "procession_source_info",
        &["source"],
        "Where events come from",
        |page, samples| {
            if let Some(source) = page.now.source {
                samples.put_at(&[&source.to_string()], true);
            }
        },
    )
    .only("there is a source"),
    Family::info(
        Group::Own,
        "procession_capability_info",
        &["capability"],
        "Rights of root that the agent holds, each by its name",
        |page, samples| {
            for capability in &page.now.capabilities {
                samples.put_at(&[capability], true);
            }
        },
    )
    .only("it has some"),
    gauge("procession_observing", &[], "Whether the source is attached and read", |page, samples| {
        samples.put(page.now.is_observing);
    }),
    gauge(
        "procession_observation_start_time_seconds",
        &[],
        "When the observation began, in seconds since the epoch",
        |page, samples| {
            if let Some(started) = page.now.started {
                samples.put(seconds(started));
            }
        },
    )
    .only("it has begun"),
    gauge(
        "procession_last_event_timestamp_seconds",
        &[],
        "When the last event came, in seconds since the epoch",
        |page, samples| {
            if let Some(time) = page.now.last_event {
                samples.put(seconds(time));
            }
        },
    )
    .only("one has come"),
    counter(
        "procession_kernel_records_total",
        &["kind"],
        "Records that the kernel side made",
        |page, samples| put_kernel(page, samples, |count| count.attempted),
    )
    .only(KERNEL),
    counter(
        "procession_kernel_lost_records_total",
        &["kind"],
        "Of those, the ones for which there was no room",
        |page, samples| put_kernel(page, samples, |count| count.lost),
    )
    .only(KERNEL),
    counter(
        "procession_kernel_skipped_total",
        &[],
        "How often the kernel did not run the sensor although something happened, in a process or a thread",
        |page, samples| {
            if let Some(kernel) = &page.now.kernel {
                samples.put(kernel.skipped);
            }
        },
    )
    .only(KERNEL),
    counter(
        "procession_decode_errors_total",
        &[],
        "Records of the source that could not be read",
        |page, samples| samples.put(page.now.malformed),
    ),
    // The table.
    counter(
        "procession_ledger_events_total",
        &["kind", "outcome"],
        "Events that the table was given, by what became of them",
        put_ledger,
    ),
    counter(
        "procession_ledger_lost_events_total",
        &[],
        "Events that the source said it lost",
        |page, samples| samples.put(page.now.ledger.lost()),
    ),
    counter(
        "procession_ledger_inferred_processes_total",
        &[],
        "Processes that are known only because other events speak of them",
        |page, samples| samples.put(page.now.ledger.inferred_processes()),
    ),
    counter(
        "procession_ledger_inferred_exits_total",
        &[],
        "Exits that were concluded from the reuse of a pid",
        |page, samples| samples.put(page.now.ledger.inferred_exits()),
    ),
    counter(
        "procession_repair_surveys_total",
        &[],
        "How often it was looked at all that runs, because something was missed",
        |page, samples| samples.put(page.now.repair.surveys),
    ),
    counter(
        "procession_repair_seconds_total",
        &[],
        "How long that took in all",
        |page, samples| samples.put(page.now.repair.time.as_secs_f64()),
    ),
    counter(
        "procession_repair_processes_total",
        &["outcome"],
        "Processes that were put right then: missing ones ran and were not known, gone ones were thought to run and did not, changed ones ran as somebody else or elsewhere",
        |page, samples| {
            let repair = &page.now.repair;
            samples.put_at(&["missing"], repair.missing);
            samples.put_at(&["gone"], repair.gone);
            samples.put_at(&["changed"], repair.changed);
        },
    ),
    gauge(
        "procession_table_entries",
        &["state"],
        "Entries of the table, by why they are there",
        |page, samples| {
            let table = &page.now.table;
            samples.put_at(&["running"], table.running);
            samples.put_at(&["in_grace"], table.in_grace);
            samples.put_at(&["held"], table.held);
            samples.put_at(&["ancestor"], table.ancestors);
            samples.put_at(&["tombstone"], table.tombstones);
        },
    ),
    gauge(
        "procession_table_bytes",
        &["kind"],
        "Memory that the table takes, by what for",
        |page, samples| {
            let table = &page.now.table;
            samples.put_at(&["entries"], table.entry_bytes);
            samples.put_at(&["bodies"], table.body_bytes);
            samples.put_at(&["indexes"], table.index_bytes);
            samples.put_at(&["images"], table.image_bytes);
            samples.put_at(&["shared"], table.shared_bytes);
        },
    ),
    gauge("procession_table_budget_bytes", &[], "The most memory that the table may take", |page, samples| {
        samples.put(page.now.table.budget);
    }),
    counter(
        "procession_table_evictions_total",
        &["kind"],
        "Entries that went because memory was short: early, before their grace time was over; folded, tombstones that others stand for now; live, processes that run",
        |page, samples| {
            let table = &page.now.table;
            samples.put_at(&["early"], table.dropped_early);
            samples.put_at(&["folded"], table.folded);
            samples.put_at(&["live"], table.evicted_live);
        },
    ),
    // On disk.
    counter(
        "procession_journal_events_total",
        &[],
        "Events that were written to the journal",
        |page, samples| put_journal(page, samples, |journal| journal.events),
    )
    .only(JOURNAL),
    counter(
        "procession_journal_lost_events_total",
        &[],
        "Events that are missing in the journal, because it could not be written fast enough",
        |page, samples| put_journal(page, samples, |journal| journal.lost_events),
    )
    .only(JOURNAL),
    gauge(
        "procession_journal_waiting_events",
        &[],
        "Events that wait to be written to the journal",
        |page, samples| put_journal(page, samples, |journal| journal.waiting_events),
    )
    .only(JOURNAL),
    counter(
        "procession_journal_blocks_total",
        &[],
        "Blocks of events that were written to the journal",
        |page, samples| put_journal(page, samples, |journal| journal.blocks),
    )
    .only(JOURNAL),
    counter(
        "procession_journal_written_bytes_total",
        &[],
        "Bytes that were written to the journal",
        |page, samples| put_journal(page, samples, |journal| journal.bytes),
    )
    .only(JOURNAL),
    counter(
        "procession_journal_write_errors_total",
        &[],
        "Attempts to write the journal that failed; each is repeated",
        |page, samples| put_journal(page, samples, |journal| journal.errors),
    )
    .only(JOURNAL),
    gauge(
        "procession_journal_failing",
        &[],
        "1 while the journal cannot be written, else 0",
        |page, samples| put_journal(page, samples, |journal| u64::from(journal.is_failing)),
    )
    .only(JOURNAL),
    gauge(
        "procession_journal_bytes",
        &[],
        "Room that the files of the journal take",
        |page, samples| put_journal(page, samples, |journal| journal.disk_bytes),
    )
    .only(JOURNAL),
    gauge(
        "procession_journal_files",
        &[],
        "Files of the journal",
        |page, samples| put_journal(page, samples, |journal| journal.files),
    )
    .only(JOURNAL),
    // Whose container it was.
    counter("procession_held_facts_total", &[], "Facts that had to wait for their container", |page, samples| {
        samples.put(page.now.told.hold.held);
    }),
    counter(
        "procession_released_facts_total",
        &["outcome"],
        "Of those, the ones that wait no more, by how that ended",
        |page, samples| {
            let hold = &page.now.told.hold;
            samples.put_at(&["answered"], hold.answered);
            samples.put_at(&["refused"], hold.refused);
            samples.put_at(&["expired"], hold.expired);
            samples.put_at(&["overflowed"], hold.overflowed);
        },
    ),
    gauge("procession_waiting_facts", &[], "Of those, the ones that wait", |page, samples| {
        samples.put(page.now.told.hold.waiting);
    }),
    gauge("procession_waiting_facts_bytes", &[], "Memory that those take, about", |page, samples| {
        samples.put(page.now.told.hold.bytes);
    }),
    counter(
        "procession_incomplete_facts_total",
        &[],
        "Facts that were told without their container's name, because nobody said it in time",
        |page, samples| samples.put(page.now.told.incomplete),
    ),
    counter(
        "procession_unplaced_facts_total",
        &[],
        "Facts that were not told because a condition asked for the name of the container, and nobody said it in time",
        |page, samples| samples.put(page.now.told.unplaced),
    ),
    gauge(
        "procession_pod_watch_state",
        &["state"],
        "1 for the state that the watch on the pods is in, 0 for the others",
        put_watch_state,
    )
    .only(PODS),
    gauge(
        "procession_pod_watch_silence_seconds",
        &[],
        "For how long the Kubernetes API has sent nothing",
        |page, samples| {
            let heard = page.now.inventory.pods.as_ref().and_then(|pods| pods.last_heard);
            if let Some(heard) = heard {
                samples.put(heard.elapsed().as_secs_f64());
            }
        },
    )
    .only("pods are watched, and it has sent something"),
    counter(
        "procession_runtime_questions_total",
        &["outcome"],
        "Containers that runtimes were to be asked for, by what came of it: refused ones found too many others waiting",
        |page, samples| {
            let Some(runtimes) = &page.now.inventory.runtimes else { return };
            samples.put_at(&["known"], runtimes.known);
            samples.put_at(&["unknown"], runtimes.unknown);
            samples.put_at(&["unreachable"], runtimes.unreachable);
            samples.put_at(&["refused"], runtimes.refused);
        },
    )
    .only(RUNTIMES),
    counter(
        "procession_runtime_dropped_replies_total",
        &[],
        "Replies of runtimes that found no room",
        |page, samples| {
            if let Some(runtimes) = &page.now.inventory.runtimes {
                samples.put(runtimes.dropped_replies);
            }
        },
    )
    .only(RUNTIMES),
    // On the way to readers.
    counter(
        "procession_queue_dropped_facts_total",
        &[],
        "Facts that nobody was told of: the queue to whoever presents them was full, or the table had no room for the process",
        |page, samples| samples.put(page.now.dropped),
    ),
    gauge("procession_log_events", &[], "Events that are kept for readers", |page, samples| {
        samples.put(page.now.log.events);
    }),
    gauge("procession_log_events_limit", &[], "The most events that are kept for readers", |page, samples| {
        samples.put(page.now.log.event_limit);
    }),
    gauge("procession_log_bytes", &[], "Memory that those take, about", |page, samples| {
        samples.put(page.now.log.bytes);
    }),
    gauge("procession_log_limit_bytes", &[], "The most memory that those may take", |page, samples| {
        samples.put(page.now.log.byte_limit);
    }),
    gauge("procession_readers", &["kind"], "Readers of events that there are", |page, samples| {
        put_readers(page, samples, |counts| counts.readers);
    }),
    counter("procession_reader_events_total", &["kind"], "Events that readers took", |page, samples| {
        put_readers(page, samples, |counts| counts.read);
    }),
    counter(
        "procession_reader_lost_events_total",
        &["kind"],
        "Events that readers lost because they were too slow",
        |page, samples| put_readers(page, samples, |counts| counts.lost),
    ),
    gauge(
        "procession_reader_waiting_events",
        &["kind"],
        "Events that the slowest reader of the kind has yet to take",
        |page, samples| put_readers(page, samples, |counts| counts.waiting),
    ),
    counter(
        "procession_filter_errors_total",
        &[],
        "Events that a reader was not told of because a field filter failed on them",
        |page, samples| samples.put(page.now.filter_errors),
    ),
    // Out.
    counter(
        "procession_export_write_errors_total",
        &[],
        "Attempts of the export to write or to rotate that failed; it tries again",
        |page, samples| samples.put(page.now.export.write_errors),
    ),
    counter(
        "procession_export_lost_events_total",
        &[],
        "Events that fell out of the log before the export could write them",
        |page, samples| samples.put(page.now.export.lost),
    ),
    counter(
        "procession_export_filtered_events_total",
        &[],
        "Events that the filters of the export did not admit",
        |page, samples| samples.put(page.now.export.filtered_out),
    ),
    counter(
        "procession_export_rotations_total",
        &[],
        "Files of the export that became backups",
        |page, samples| samples.put(page.now.export.rotations),
    ),
    counter(
        "procession_export_backup_errors_total",
        &[],
        "Backups that could not be compressed or removed",
        |page, samples| samples.put(page.now.export.backup_errors),
    ),
    gauge("procession_export_failing", &[], "1 while the export cannot write, or nothing comes of a write for ten seconds, else 0", |page, samples| {
        samples.put(u64::from(page.now.export.is_failing));
    }),
    gauge("procession_server_connections", &[], "Connections to the API that are open", |page, samples| {
        samples.put(page.now.server.open);
    }),
    counter(
        "procession_server_accepted_connections_total",
        &[],
        "Connections to the API that were taken",
        |page, samples| samples.put(page.now.server.accepted),
    ),
    counter(
        "procession_server_refused_connections_total",
        &[],
        "Connections to the API that were turned away because there were too many",
        |page, samples| samples.put(page.now.server.refused),
    ),
    counter(
        "procession_server_failed_connections_total",
        &[],
        "Connections to the API that came to nothing: no TLS, no HTTP/2",
        |page, samples| samples.put(page.now.server.failed),
    ),
    counter(
        "procession_server_accept_errors_total",
        &[],
        "Times that a connection to the API could not be taken, most likely for want of file descriptors",
        |page, samples| samples.put(page.now.server.accept_errors),
    ),
    gauge("procession_server_streams", &[], "Streams of events that are open", |page, samples| {
        samples.put(page.now.server.streams);
    }),
    counter(
        "procession_server_begun_streams_total",
        &[],
        "Streams of events that were begun",
        |page, samples| samples.put(page.now.server.streams_begun),
    ),
    counter(
        "procession_web_accepted_connections_total",
        &[],
        "Connections to the server of this page that were taken",
        |page, samples| samples.put(page.now.web.accepted),
    ),
    counter(
        "procession_web_refused_connections_total",
        &[],
        "Connections to the server of this page that were turned away because there were too many",
        |page, samples| samples.put(page.now.web.refused),
    ),
];

fn put_ledger(page: &Page, samples: &mut Samples<'_>) {
    for kind in Counted::ALL {
        let name = kind.name();
        let account = page.now.ledger.account(kind);
        samples.put_at(&[name, "applied"], account.applied);
        samples.put_at(&[name, "duplicate"], account.duplicate);
        samples.put_at(&[name, "late"], account.late);
        samples.put_at(&[name, "rejected"], account.rejected);
    }
}

fn put_kernel(page: &Page, samples: &mut Samples<'_>, number: impl Fn(&Count) -> u64) {
    let Some(KernelCounts { fork, exec, exit, change, arguments, .. }) = &page.now.kernel else { return };
    let counts =
        [("fork", fork), ("exec", exec), ("exit", exit), ("change", change), ("arguments", arguments)];
    for (kind, count) in counts {
        samples.put_at(&[kind], number(count));
    }
}

fn put_journal(page: &Page, samples: &mut Samples<'_>, number: impl Fn(&JournalCounts) -> u64) {
    if let Some(journal) = &page.now.journal {
        samples.put(number(journal));
    }
}

fn put_readers(page: &Page, samples: &mut Samples<'_>, number: impl Fn(&ReaderCounts) -> u64) {
    samples.put_at(&["client"], number(&page.now.clients));
    samples.put_at(&["export"], number(&page.now.exporters));
}

fn put_watch_state(page: &Page, samples: &mut Samples<'_>) {
    let Some(pods) = &page.now.inventory.pods else { return };
    let phase = &pods.phase;
    samples.put_at(&["connecting"], matches!(phase, Phase::Connecting));
    samples.put_at(&["synced"], matches!(phase, Phase::Synced));
    samples.put_at(&["degraded"], matches!(phase, Phase::Degraded { .. }));
    samples.put_at(&["stopped"], matches!(phase, Phase::Stopped));
}
