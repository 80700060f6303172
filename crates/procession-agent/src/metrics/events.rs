//! Events, counted by the process they are about.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{EventType, GetEventsResponse, Process};

use super::series::{Count, LABELS, Series, Values};

/// How events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMetricsConfig {
    /// Whether they are counted by process at all.
    pub is_enabled: bool,
    /// Which labels have values.
    pub labels: LabelFilter,
    /// The most series. More of them are folded into few.
    pub series: usize,
}

impl Default for EventMetricsConfig {
    /// With the reference's labels, in at most 2,000 series.
    fn default() -> Self {
        Self { is_enabled: true, labels: LabelFilter::default(), series: 2_000 }
    }
}

/// Which labels of processes have values. The others are there, and empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelFilter([bool; LABELS]);

/// The labels of a process, in order.
pub(super) const NAMES: [&str; LABELS] = ["namespace", "workload", "pod", "binary", "node_name"];

/// Counts events. Made to be shared.
#[derive(Debug)]
pub struct EventMetrics {
    is_enabled: bool,
    labels: RwLock<LabelFilter>,
    series: Mutex<Series>,
    without_process: AtomicU64,
    with_pod: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct EventCounts {
    pub(super) is_enabled: bool,
    pub(super) counts: Vec<Count>,
    pub(super) series: usize,
    pub(super) limit: usize,
    pub(super) displaced: u64,
    pub(super) without_process: u64,
    pub(super) with_pod: u64,
}

impl EventMetrics {
    /// Nothing counted yet.
    pub fn new(config: EventMetricsConfig) -> Self {
        Self {
            is_enabled: config.is_enabled,
            labels: RwLock::new(config.labels),
            series: Mutex::new(Series::new(config.series)),
            without_process: AtomicU64::new(0),
            with_pod: AtomicU64::new(0),
        }
    }

    /// Counts an event that is told.
    pub fn observe(&self, event: &GetEventsResponse) {
        let (kind, process) = parts(event);
        let pod = process.and_then(|process| process.pod.as_ref());
        self.without_process.fetch_add(u64::from(process.is_none()), Ordering::Relaxed);
        self.with_pod.fetch_add(u64::from(pod.is_some()), Ordering::Relaxed);
        if !self.is_enabled {
            return;
        }
        let (namespace, workload, name) =
            pod.map_or(("", "", ""), |pod| (&pod.namespace, &pod.workload, &pod.name));
        let binary = process.map_or("", |process| &process.binary);
        let labels = *self.labels.read().unwrap_or_else(PoisonError::into_inner);
        let values = labels.apply([namespace, workload, name, binary, &event.node_name]);
        self.series().count(kind, values, Instant::now());
    }

    /// Counts by other labels from now on. What was counted before stays as it is.
    pub fn set_labels(&self, labels: LabelFilter) {
        *self.labels.write().unwrap_or_else(PoisonError::into_inner) = labels;
    }

    pub(super) fn counts(&self) -> EventCounts {
        let mut series = self.series();
        series.sweep(Instant::now());
        EventCounts {
            is_enabled: self.is_enabled,
            counts: series.counts(),
            series: series.len(),
            limit: series.limit(),
            displaced: series.displaced(),
            without_process: self.without_process.load(Ordering::Relaxed),
            with_pod: self.with_pod.load(Ordering::Relaxed),
        }
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        // Whatever was half done, the counts can be used.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for EventMetrics {
    fn default() -> Self {
        Self::new(EventMetricsConfig::default())
    }
}

impl LabelFilter {
    fn apply(self, values: Values<'_>) -> Values<'_> {
        std::array::from_fn(|label| if self.0[label] { values[label] } else { "" })
    }
}

impl Default for LabelFilter {
    /// All but the name of the node.
    fn default() -> Self {
        Self([true, true, true, true, false])
    }
}

impl FromStr for LabelFilter {
    type Err = std::convert::Infallible;

    /// Of names separated by commas. Those that are no labels mean nothing, as with the reference.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_named = |name: &str| text.split(',').any(|word| word.trim() == name);
        Ok(Self(NAMES.map(is_named)))
    }
}

/// What kind of event it is, and whose.
fn parts(event: &GetEventsResponse) -> (EventType, Option<&Process>) {
    let Some(event) = &event.event else { return (EventType::Undef, None) };
    match event {
        Event::ProcessExec(event) => (EventType::ProcessExec, event.process.as_ref()),
        Event::ProcessExit(event) => (EventType::ProcessExit, event.process.as_ref()),
        Event::ProcessKprobe(event) => (EventType::ProcessKprobe, event.process.as_ref()),
        Event::ProcessTracepoint(event) => (EventType::ProcessTracepoint, event.process.as_ref()),
        Event::ProcessLoader(event) => (EventType::ProcessLoader, event.process.as_ref()),
        Event::ProcessUprobe(event) => (EventType::ProcessUprobe, event.process.as_ref()),
        Event::ProcessLsm(event) => (EventType::ProcessLsm, event.process.as_ref()),
        Event::ProcessUsdt(event) => (EventType::ProcessUsdt, event.process.as_ref()),
        Event::ProcessThrottle(_) => (EventType::ProcessThrottle, None),
        Event::Test(_) => (EventType::Test, None),
        Event::RateLimitInfo(_) => (EventType::RateLimitInfo, None),
    }
}

/// What the kind is called in the label `type`.
pub(super) fn type_name(kind: EventType) -> &'static str {
    match kind {
        EventType::Undef => "unhandled",
        kind => kind.as_str_name(),
    }
}
