//! The loop that lists, watches, and begins again.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use crossbeam_channel::Sender;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use procession::BootTime;
use tokio::time::sleep;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use super::WatchConfig;
use super::connection;
use super::failure::{Reason, Setback};
use super::notice::{Notice, Notices};
use super::shared::Shared;
use crate::ContainerId;
use crate::index::PodIndex;
use crate::pod::Converter;

/// How often those who missed notices are told so, until they have room for it.
const SETTLE: Duration = Duration::from_millis(50);
/// How often what is gone is looked through for what has been remembered for long enough.
const ADVANCE: Duration = Duration::from_secs(10);

/// How many watches in a row bring nothing before the place they begin from is given up, and all
/// is listed anew. After a server came back with older data, a watch would wait at its old place
/// until the data has caught up.
const LOST_AFTER: u32 = 2;

/// Follows the pods of a node.
pub(super) struct Follower {
    config: WatchConfig,
    shared: Arc<Shared>,
    converter: Converter,
    notices: Notices,
}

impl Follower {
    pub(super) fn new(config: WatchConfig, shared: Arc<Shared>, notices: Sender<Notice>) -> Self {
        let converter = Converter::new(config.annotations);
        Self { config, shared, converter, notices: Notices::new(notices) }
    }

    /// Marks the watch as stopped when it is dropped, whatever made it stop.
    pub(super) fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.shared))
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new(&self.config);
        loop {
            match connection::client(&self.config, Arc::clone(&self.shared)).await {
                Ok(client) => self.follow(client, &mut pauses).await,
                Err(failure) => self.shared.failed(failure),
            }
            self.rest(&mut pauses).await;
        }
    }

    /// Returns when another client is called for.
    async fn follow(&mut self, client: Client, pauses: &mut Pauses) {
        let mut events = pin!(watcher(Api::<Pod>::all(client), self.watcher_config()));
        loop {
            // `kube` warns at each attempt, this module once.
            let next = events.next().with_subscriber(Dispatch::none());
            let event = tokio::select! {
                event = next => event,
                () = sleep(if self.notices.settle() { SETTLE } else { ADVANCE }) => {
                    self.shared.change(PodIndex::advance);
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.apply(event, pauses),
                Some(Err(error)) => match Setback::from(&error) {
                    // The pause between two watches is enough.
                    Setback::Interrupted => {
                        self.shared.counters.interruptions.count();
                        if self.shared.health().silences() >= LOST_AFTER {
                            return;
                        }
                    }
                    Setback::Expired => self.rest(pauses).await,
                    Setback::Failed(failure) => {
                        let is_refused = matches!(failure.reason, Reason::Unauthorized | Reason::Forbidden);
                        self.shared.failed(failure);
                        // Where the API is, and who asks, may be written elsewhere by now.
                        if is_refused || pauses.have_been_long(Instant::now()) {
                            return;
                        }
                        self.rest(pauses).await;
                    }
                },
                None => return,
            }
        }
    }

    async fn rest(&self, pauses: &mut Pauses) {
        self.shared.change(PodIndex::advance);
        sleep(pauses.next(Instant::now())).await;
    }

    fn watcher_config(&self) -> watcher::Config {
        let WatchConfig { node, watch, page, .. } = &self.config;
        let seconds = u32::try_from(watch.as_secs()).unwrap_or(u32::MAX).max(1);
        watcher::Config::default().fields(&format!("spec.nodeName={node}")).timeout(seconds).page_size(*page)
    }

    fn apply(&mut self, event: Event<Pod>, pauses: &mut Pauses) {
        match event {
            Event::Init => self.shared.change(|index, _| index.begin_list()),
            // What is listed is there at once, and what was there stays until the list is complete.
            Event::InitApply(pod) => self.take(&pod, PodIndex::apply),
            Event::InitDone => {
                self.shared.change(PodIndex::end_list);
                self.shared.synced();
            }
            Event::Apply(pod) => {
                self.take(&pod, PodIndex::apply);
                pauses.reset();
            }
            Event::Delete(pod) => {
                self.take(&pod, PodIndex::delete);
                self.shared.counters.deleted.count();
                pauses.reset();
            }
        }
    }

    fn take(&mut self, pod: &Pod, change: Change) {
        let pod = self.converter.convert(pod);
        self.shared.set_defects(self.converter.defects());
        let new = self.shared.change(|index, now| change(index, &pod, now));
        self.shared.told();
        self.notices.appeared(new);
    }
}

/// What is done to the index with a pod. Gives the containers that could not be found before.
type Change = fn(&mut PodIndex, &Arc<crate::Pod>, BootTime) -> Vec<ContainerId>;

/// See [`Follower::ending`].
pub(super) struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.health().stopped(Instant::now());
    }
}

/// The pauses between attempts: they grow, with chance, until a pod changes or nothing has failed
/// for a while.
struct Pauses {
    builder: ExponentialBuilder,
    growing: ExponentialBackoff,
    longest: Duration,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Pauses {
    fn new(config: &WatchConfig) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(config.shortest_pause)
            .with_max_delay(config.longest_pause)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        let longest = config.longest_pause;
        Self { builder, growing: builder.build(), longest, first: None, last: None }
    }

    fn next(&mut self, now: Instant) -> Duration {
        self.forget(now);
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.growing.next().unwrap_or(self.longest)
    }

    /// Whether attempts have failed for so long that a changed configuration is likely.
    fn have_been_long(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.first.is_some_and(|first| now.saturating_duration_since(first) > 6 * self.longest)
    }

    /// Forgets failures that lie further back than a pause with an attempt can take.
    fn forget(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > 4 * self.longest) {
            self.reset();
        }
    }

    fn reset(&mut self) {
        (self.first, self.last) = (None, None);
        self.growing = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pauses;
    use crate::watch::WatchConfig;

    #[test]
    fn pauses_grow_with_failures_and_not_with_those_of_long_ago() {
        let config = WatchConfig {
            shortest_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            ..WatchConfig::new("node")
        };
        let mut pauses = Pauses::new(&config);
        let mut now = Instant::now();
        let grown: Vec<_> = (0..8).map(|_| pauses.next(now)).collect();
        assert!(grown[0] >= Duration::from_secs(1) && grown[0] <= Duration::from_secs(2));
        assert!(grown[7] >= Duration::from_secs(30) && grown[7] <= Duration::from_mins(1));
        assert!(!pauses.have_been_long(now));
        for _ in 0..4 {
            now += Duration::from_mins(1);
            pauses.next(now);
        }
        assert!(pauses.have_been_long(now));
        now += Duration::from_hours(1);
        assert!(!pauses.have_been_long(now), "that was another time");
        assert!(pauses.next(now) <= Duration::from_secs(2));
    }
}
