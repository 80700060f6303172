//! What the program takes of the machine, under the names that Prometheus has for it.

use super::seconds;
use crate::metrics::family::{Family, Group, Samples};
use crate::metrics::page::Page;
use crate::metrics::usage::Usage;

const READABLE: &str = "/proc can be read";

/// Puts a value of the process, if they are known.
fn put(page: &Page, samples: &mut Samples<'_>, value: impl FnOnce(&Usage, &mut Samples<'_>)) {
    if let Some(usage) = &page.now.usage {
        value(usage, samples);
    }
}

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        Group::Process,
        "process_cpu_seconds_total",
        &[],
        "Time on a CPU, in user and in kernel mode",
        |page, samples| put(page, samples, |usage, samples| samples.put(usage.cpu.as_secs_f64())),
    )
    .only(READABLE),
    Family::gauge(
        Group::Process,
        "process_resident_memory_bytes",
        &[],
        "Memory that is resident",
        |page, samples| put(page, samples, |usage, samples| samples.put(usage.resident_bytes)),
    )
    .only(READABLE),
    Family::gauge(
        Group::Process,
        "process_virtual_memory_bytes",
        &[],
        "The size of the address space",
        |page, samples| put(page, samples, |usage, samples| samples.put(usage.virtual_bytes)),
    )
    .only(READABLE),
    Family::gauge(Group::Process, "process_open_fds", &[], "Files that are open", |page, samples| {
        put(page, samples, |usage, samples| samples.put(usage.open_files));
    })
    .only(READABLE),
    Family::gauge(
        Group::Process,
        "process_max_fds",
        &[],
        "The most files that may be open",
        |page, samples| {
            put(page, samples, |usage, samples| {
                if let Some(limit) = usage.max_files {
                    samples.put(limit);
                }
            });
        },
    )
    .only("there is a limit"),
    Family::gauge(
        Group::Process,
        "process_start_time_seconds",
        &[],
        "When the program started, in seconds since the epoch",
        |page, samples| put(page, samples, |usage, samples| samples.put(seconds(usage.started))),
    )
    .only(READABLE),
];
