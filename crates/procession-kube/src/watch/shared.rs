//! What the thread that watches and those who look up have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use procession::BootTime;
use rustix::time::{ClockId, clock_gettime};
use tracing::dispatcher::{self, Dispatch};

use super::failure::Failure;
use super::health::{Announcement, Health};
use crate::ContainerId;
use crate::index::{Found, Memory, PodIndex};
use crate::pod::Defects;

/// Counts since the start, and how much is known now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pods that are there.
    pub pods: usize,
    /// Their containers.
    pub containers: usize,
    /// Containers that are gone and remembered.
    pub remembered: usize,
    /// Containers that were forgotten before their time, because too many went.
    pub forgotten_early: u64,
    /// Look-ups that found a pod.
    pub found: u64,
    /// Of these, the ones that found it among what is gone.
    pub found_gone: u64,
    /// Look-ups that found none.
    pub not_found: u64,
    /// Pods that were told of: listed, added, changed or removed.
    pub told: u64,
    /// Of these, the ones that were removed.
    pub deleted: u64,
    /// Complete lists. More than one: a place to resume from was lost.
    pub lists: u64,
    /// Watches that the API server began to answer.
    pub watches: u64,
    /// Watches that broke off and were resumed.
    pub interruptions: u64,
    /// Watches that were begun again because they brought nothing for too long.
    pub silences: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Pieces of pods that were not as they should be.
    pub defects: Defects,
}

/// A count that several threads add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts that are kept apart from the index.
#[derive(Debug, Default)]
pub(super) struct Counters {
    found: Counter,
    found_gone: Counter,
    not_found: Counter,
    told: Counter,
    pub(super) deleted: Counter,
    pub(super) lists: Counter,
    pub(super) watches: Counter,
    pub(super) interruptions: Counter,
    pub(super) silences: Counter,
    pub(super) failures: Counter,
}

/// The index, the state and the counts.
///
/// Each lock is held for one look-up or one change, never while something is waited for.
#[derive(Debug)]
pub(super) struct Shared {
    node: String,
    /// Who hears what is told. The thread's own default is none where `kube` is at work.
    listener: Dispatch,
    index: RwLock<PodIndex>,
    health: Mutex<Health>,
    defects: Mutex<Defects>,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(node: String, memory: Memory) -> Self {
        Self {
            node,
            listener: dispatcher::get_default(Dispatch::clone),
            index: RwLock::new(PodIndex::new(memory)),
            health: Mutex::new(Health::new(Instant::now())),
            defects: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(super) fn find(&self, id: &ContainerId) -> Option<Found> {
        let found = self.index.read().unwrap_or_else(PoisonError::into_inner).find(id);
        match &found {
            Some(found) => {
                self.counters.found.count();
                if found.is_gone {
                    self.counters.found_gone.count();
                }
            }
            None => self.counters.not_found.count(),
        }
        found
    }

    /// Changes the index. What `change` drops is dropped under the lock: keep it short.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut PodIndex, BootTime) -> T) -> T {
        let now = boot_time();
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner), now)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server answers.
    pub(super) fn answered(&self) {
        self.health().answered(Instant::now());
    }

    /// A watch brings something.
    pub(super) fn heard(&self) {
        let told = self.health().heard(Instant::now());
        self.announce(told);
    }

    /// A pod was told of.
    pub(super) fn told(&self) {
        self.counters.told.count();
        self.health().changed(Instant::now());
    }

    /// A watch was granted: what was missed comes now.
    pub(super) fn resumed(&self) {
        self.counters.watches.count();
        let told = self.health().resumed(Instant::now());
        self.announce(told);
    }

    pub(super) fn synced(&self) {
        self.counters.lists.count();
        let told = self.health().synced(Instant::now());
        self.announce(told);
        let is_empty = || self.index.read().unwrap_or_else(PoisonError::into_inner).pods().len() == 0;
        if self.counters.lists.get() == 1 && is_empty() {
            self.say(|node| {
                tracing::warn!(node, "the Kubernetes API has no pod of this node; is that its name there?");
            });
        }
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.counters.failures.count();
        let told = self.health().failed(failure, Instant::now());
        self.announce(told);
    }

    pub(super) fn set_defects(&self, defects: Defects) {
        *self.defects.lock().unwrap_or_else(PoisonError::into_inner) = defects;
    }

    pub(super) fn stats(&self) -> Stats {
        let counters = &self.counters;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        Stats {
            pods: index.pods().len(),
            containers: index.containers(),
            remembered: index.remembered(),
            forgotten_early: index.forgotten_early(),
            found: counters.found.get(),
            found_gone: counters.found_gone.get(),
            not_found: counters.not_found.get(),
            told: counters.told.get(),
            deleted: counters.deleted.get(),
            lists: counters.lists.get(),
            watches: counters.watches.get(),
            interruptions: counters.interruptions.get(),
            silences: counters.silences.get(),
            failures: counters.failures.get(),
            defects: *self.defects.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn announce(&self, told: Option<Announcement>) {
        match told {
            Some(Announcement::Lost { reason, detail, had_pods }) => {
                let cost = if had_pods {
                    "containers that start from now on have no pod; those known stay"
                } else {
                    "processes in containers have no pod"
                };
                self.say(|node| {
                    tracing::warn!(node, error = ?detail, "{reason}: {cost} until this is solved; trying again");
                });
            }
            Some(Announcement::Recovered { after }) => self.say(|node| {
                tracing::info!(node, after_seconds = after.as_secs(), "pods are known and followed again");
            }),
            None => {}
        }
    }

    fn say(&self, say: impl FnOnce(&str)) {
        dispatcher::with_default(&self.listener, || say(&self.node));
    }
}

/// The clock that events of the kernel carry.
fn boot_time() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    BootTime::from_nanos(
        time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs()),
    )
}
