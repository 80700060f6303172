//! Events by process: the group that can be switched off.

use crate::metrics::events::type_name;
use crate::metrics::family::{Family, Group};

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        Group::Events,
        "tetragon_events_total",
        &["namespace", "workload", "pod", "binary", "node_name", "type"],
        "Events that were told, before any reader's filter",
        |page, samples| {
            for count in &page.events.counts {
                let [namespace, workload, pod, binary, node] = count.labels.values();
                samples
                    .put_at(&[namespace, workload, pod, binary, node, type_name(count.kind)], count.events);
            }
        },
    )
    .only("such an event was told"),
    Family::gauge(
        Group::Events,
        "procession_event_series",
        &[],
        "Series of tetragon_events_total that have labels of their own",
        |page, samples| samples.put(page.events.series),
    ),
    Family::gauge(
        Group::Events,
        "procession_event_series_limit",
        &[],
        "The most such series",
        |page, samples| samples.put(page.events.limit),
    ),
    Family::counter(
        Group::Events,
        "procession_event_series_displaced_events_total",
        &[],
        "Events that were counted under the label value other, because there were too many series",
        |page, samples| samples.put(page.events.displaced),
    ),
];
