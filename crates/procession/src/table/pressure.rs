//! What goes when memory is short, in this order:
//!
//! 1. what has ended and nothing needs, oldest first, before its grace time is over;
//! 2. ended ancestors of the living shrink to tombstones, oldest first. Long runs of tombstones in
//!    one chain are folded into one that says how many it stands for;
//! 3. interned values that no image has any more;
//! 4. only then a live process: one without known children, counted, and known again from its next
//!    event on.

use crate::arena::{Arena, Slot};
use crate::event::{Event, EventKind};

use super::Table;
use super::node::{Body, Node, Waiting};

/// The least budget, in bytes: what an empty table and the largest events need.
///
/// Above it, a table holds all of the living as long as it has about 256 bytes and the length of
/// its arguments for each of them, and 64 bytes for each dead ancestor that two of them share.
pub const MINIMUM_BUDGET: usize = 1 << 20;

/// Entries that were reduced or dropped between two looks at the interned values.
const SWEEP_EVERY: u32 = 1_024;

/// What was done for want of memory.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    dropped_early: u64,
    folded: u64,
    evicted_live: u64,
    since_sweep: u32,
    /// Where the search for a live process to evict goes on.
    hand: u32,
}

impl Pressure {
    pub(super) fn note_fold(&mut self) {
        self.folded += 1;
    }
}

/// What uses a table's memory, and why what is dead is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The most bytes that may be used.
    pub budget: usize,
    /// Bytes in use: the sum of the following five.
    pub used: usize,
    /// Bytes of entries: 64 each, in pages.
    pub entry_bytes: usize,
    /// Bytes of what entries have beyond a tombstone: 56 each, in pages.
    pub body_bytes: usize,
    /// Bytes of the indexes by key and by pid.
    pub index_bytes: usize,
    /// Bytes of images: arguments, and 64 for each.
    pub image_bytes: usize,
    /// Bytes of values that images share: programs, working directories, credentials, namespaces.
    pub shared_bytes: usize,
    /// Entries of processes that run.
    pub running: usize,
    /// Entries that have ended and whose grace time is not over.
    pub in_grace: usize,
    /// Entries that have ended and that a handle keeps.
    pub held: usize,
    /// Entries that have ended and that descendants or later images keep, in full.
    pub ancestors: usize,
    /// The same, reduced to tombstones.
    pub tombstones: usize,
    /// Entries that went before their grace time was over, so far.
    pub dropped_early: u64,
    /// Tombstones that were folded into younger ones, so far.
    pub folded: u64,
    /// Live processes that were dropped, so far: each is known again from its next event on.
    pub evicted_live: u64,
}

impl Table {
    /// Bytes of memory in use. After each call that changes the table it is within the budget,
    /// unless handles keep more than that.
    pub fn memory(&self) -> usize {
        self.nodes.bytes()
            + self.bodies.bytes()
            + self.by_key.bytes()
            + self.latest.bytes()
            + self.image_bytes
            + self.shared.bytes()
    }

    /// What uses the memory, and why what is dead is still there. Looks at every entry.
    pub fn explain(&self) -> Explanation {
        let mut explanation = Explanation {
            budget: self.config.budget,
            used: self.memory(),
            entry_bytes: self.nodes.bytes(),
            body_bytes: self.bodies.bytes(),
            index_bytes: self.by_key.bytes() + self.latest.bytes(),
            image_bytes: self.image_bytes,
            shared_bytes: self.shared.bytes(),
            dropped_early: self.pressure.dropped_early,
            folded: self.pressure.folded,
            evicted_live: self.pressure.evicted_live,
            ..Explanation::default()
        };
        for (slot, node) in self.nodes.iter() {
            let count = match self.body(slot) {
                None => &mut explanation.tombstones,
                Some(_) if node.is_running() => &mut explanation.running,
                Some(_) if node.queue == Waiting::Grace => &mut explanation.in_grace,
                Some(body) if body.holds > 0 => &mut explanation.held,
                Some(_) => &mut explanation.ancestors,
            };
            *count += 1;
        }
        explanation
    }

    /// Makes room for what `event` may add.
    pub(super) fn make_room(&mut self, event: &Event<'_>) {
        // An event makes four entries at the most: its own, and inferred ones.
        let tables = self.by_key.growth() + self.latest.growth();
        let pages = Arena::<Node>::PAGE_BYTES + Arena::<Body>::PAGE_BYTES;
        let image = match &event.kind {
            EventKind::Exec(exec) => self.shared.growth(&exec.program, &exec.context),
            EventKind::Running(running) => self.shared.growth(&running.program, &running.context),
            _ => 0,
        };
        self.relieve(self.config.budget.saturating_sub(tables + pages + image));
    }

    pub(super) fn stay_within_budget(&mut self) {
        self.relieve(self.config.budget);
    }

    fn relieve(&mut self, goal: usize) {
        while self.memory() > goal && self.relieve_once() {}
    }

    /// One step of relief. False: there is nothing left that may go.
    fn relieve_once(&mut self) -> bool {
        if self.pressure.since_sweep >= SWEEP_EVERY {
            self.sweep();
            return true;
        }
        if let Some(slot) = self.grace.front {
            self.dequeue(slot);
            self.pressure.dropped_early += 1;
            self.pressure.since_sweep += 1;
            self.remove_unkept(slot);
            return true;
        }
        if let Some(slot) = self.ancestors.front {
            self.pressure.since_sweep += 1;
            self.bury(slot);
            return true;
        }
        if self.pressure.since_sweep > 0 {
            self.sweep();
            return true;
        }
        self.evict_live()
    }

    fn sweep(&mut self) {
        self.pressure.since_sweep = 0;
        self.shared.sweep();
    }

    fn evict_live(&mut self) -> bool {
        let Some(slot) = self.next_evictable(self.pressure.hand).or_else(|| self.next_evictable(0)) else {
            return false;
        };
        self.pressure.evicted_live += 1;
        self.pressure.since_sweep += 1;
        for kept in self.remove(slot).into_iter().flatten() {
            self.remove_unkept(kept);
        }
        true
    }

    /// The next live entry without children and handles, from the slot number `from` on.
    fn next_evictable(&mut self, mut from: u32) -> Option<Slot> {
        loop {
            let (number, slot, node) = self.nodes.next_from(from)?;
            from = number + 1;
            let is_held = self.body(slot).is_none_or(|body| body.holds > 0);
            if node.is_running() && node.kept_by == 0 && !is_held {
                self.pressure.hand = from;
                return Some(slot);
            }
        }
    }
}
