//! Which part of the storm a record must have whole: acts that began after its first event.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use procession::BootTime;

use crate::machine;
use crate::plan::FIRST_CONTAINER;

/// Events of a record may be in another order than their times by less than this.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

/// A moment, and the first act and container that had not begun then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    time: BootTime,
    clock: SystemTime,
    act: u64,
    container: u64,
}

impl Page {
    /// Now. What `next` says is asked after the time is taken: what begins in between is older than it may be.
    pub(crate) fn now(next: impl FnOnce() -> (u64, u64)) -> Self {
        let (time, clock) = (machine::now(), SystemTime::now());
        let (act, container) = next();
        Self { time, clock, act, container }
    }

    /// One of a storm that was never played.
    #[cfg(test)]
    pub(crate) fn at(clock: SystemTime, act: u64) -> Self {
        Self { time: BootTime::ZERO, clock, act, container: 0 }
    }

    /// Whether a record whose first event was at that time has all that happened since this page.
    pub(crate) fn is_after(&self, time: BootTime) -> bool {
        Duration::from_nanos(self.time.as_nanos().saturating_sub(time.as_nanos())) > MARGIN
    }

    /// The same by the wall clock.
    pub(crate) fn is_after_clock(&self, clock: SystemTime) -> bool {
        self.clock.duration_since(clock).is_ok_and(|span| span > MARGIN)
    }
}

/// What was played since the last checkpoint, when all of it is over but the held act, which lives on.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// In their order; the first is that of the last checkpoint.
    pub(crate) pages: Vec<Page>,
    pub(crate) held: u64,
    /// The first act and container that were not played.
    pub(crate) end: (u64, u64),
}

impl Stretch {
    /// What began at the first such page or later; nothing if there is none.
    pub(crate) fn since(&self, is_it: impl Fn(&Page) -> bool) -> Part {
        let page = self.pages.iter().position(is_it);
        let (act, container) = page.map_or(self.end, |at| (self.pages[at].act, self.pages[at].container));
        Part {
            acts: act..self.end.0,
            containers: FIRST_CONTAINER + container..FIRST_CONTAINER + self.end.1,
            // It began right after the last checkpoint.
            held: (page == Some(0)).then_some(self.held),
        }
    }

    /// How many acts it has.
    pub(crate) fn acts(&self) -> u64 {
        self.pages.first().map_or(0, |page| self.end.0 - page.act)
    }
}

/// A part of a stretch, up to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) acts: Range<u64>,
    containers: Range<u64>,
    held: Option<u64>,
}

impl Part {
    pub(crate) fn has(&self, act: u64) -> bool {
        self.is_over(act) || self.held == Some(act)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = u64> + use<> {
        self.over().chain(self.held)
    }

    /// Acts of which all processes have ended.
    pub(crate) fn over(&self) -> impl Iterator<Item = u64> + use<> {
        self.acts.clone().chain(self.containers.clone())
    }

    pub(crate) fn is_over(&self, act: u64) -> bool {
        self.acts.contains(&act) || self.containers.contains(&act)
    }

    /// Whether it is the whole stretch.
    pub(crate) fn is_whole(&self) -> bool {
        self.held.is_some()
    }
}
