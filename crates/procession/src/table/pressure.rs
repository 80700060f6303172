//! What goes when memory is short, in this order:
//!
//! 1. what has ended and nothing needs, oldest first, before its grace time is over;
//! 2. ended ancestors of the living shrink to tombstones, oldest first. Long runs of tombstones in
//!    one chain are folded into one that says how many it stands for;
//! 3. interned values that no image has any more;
//! 4. only then a live process: the youngest without known children, counted, and known again from
//!    its next event on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::successors;

use crate::arena::Slot;
use crate::event::{Event, EventKind, Exec, Running};
use crate::time::BootTime;

use super::Table;
use super::node::{Node, Waiting};
use super::parts::SavedState;

/// The least budget, in bytes: what an empty table and the largest events need.
///
/// Arguments, and an environment, that alone exceed a quarter of the budget are cut to that; how many
/// bytes are missing is kept. The kernel's limit for both is 6 MiB.
///
/// Above it, a table holds all of the living as long as it has about 256 bytes and the length of
/// its arguments for each of them, and 64 bytes for each dead ancestor that two of them share.
pub const MINIMUM_BUDGET: usize = 1 << 20;

/// Entries that one event makes at the most: its own, and inferred ones.
const MOST_ENTRIES: usize = 4;

/// Entries that were reduced or dropped between two looks at the interned values.
const SWEEP_EVERY: u32 = 1_024;

/// Live processes that one search for those to evict yields.
const MOST_LEAVES: usize = 1_024;

/// What was done for want of memory.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    totals: Totals,
    since_sweep: u32,
    /// Live processes that may go, the youngest last; looked at again before they do.
    leaves: Vec<Slot>,
    /// Evictions until those are looked for again: others are younger by then.
    evictions_left: usize,
}

/// What went so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    dropped_early: u64,
    folded: u64,
    evicted_live: u64,
}

impl Pressure {
    pub(super) fn note_fold(&mut self) {
        self.totals.folded += 1;
    }

    /// `state` with what went so far.
    pub(super) fn saved_in(&self, state: &SavedState) -> SavedState {
        let Totals { dropped_early, folded, evicted_live } = self.totals;
        SavedState { dropped_early, folded, evicted_live, ..*state }
    }

    pub(super) fn restore(&mut self, state: &SavedState) {
        let SavedState { dropped_early, folded, evicted_live, .. } = *state;
        self.totals = Totals { dropped_early, folded, evicted_live };
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

/// Why an entry is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// It runs.
    Running,
    /// It has ended, and stays for late events.
    Grace {
        /// Until then at least.
        until: BootTime,
    },
    /// It has ended, and handles keep it.
    Held {
        /// How many.
        handles: u32,
    },
    /// It has ended, and entries keep it that it led to, or that came after it.
    Needed {
        /// How many.
        by: u32,
    },
}

impl Table {
    /// Bytes of memory in use. After each event it is within the budget, unless handles keep more than
    /// that.
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
            dropped_early: self.pressure.totals.dropped_early,
            folded: self.pressure.totals.folded,
            evicted_live: self.pressure.totals.evicted_live,
            ..Explanation::default()
        };
        for (slot, node) in self.nodes.iter() {
            let count = match self.retention(slot, node) {
                _ if node.tombstone().is_some() => &mut explanation.tombstones,
                Retention::Running => &mut explanation.running,
                Retention::Grace { .. } => &mut explanation.in_grace,
                Retention::Held { .. } => &mut explanation.held,
                Retention::Needed { .. } => &mut explanation.ancestors,
            };
            *count += 1;
        }
        explanation
    }

    pub(super) fn retention(&self, slot: Slot, node: &Node) -> Retention {
        if node.is_running() {
            return Retention::Running;
        }
        if node.queue == Waiting::Grace {
            return Retention::Grace { until: node.ended.after(self.config.grace) };
        }
        match self.body(slot).map_or(0, |body| body.holds) {
            0 => Retention::Needed { by: node.kept_by },
            handles => Retention::Held { handles },
        }
    }

    /// The most bytes that the arguments of one process may have, and those of its environment.
    pub(super) fn longest_text(&self) -> usize {
        self.config.budget / 4
    }

    /// `event` with no more arguments than one process may have, if it has more: to make room for one
    /// that never fits, all others would go.
    pub(super) fn shortened<'e>(&self, event: &Event<'e>) -> Option<Event<'e>> {
        let most = self.longest_text();
        let program = match &event.kind {
            EventKind::Exec(exec) => &exec.program,
            EventKind::Running(running) => &running.program,
            _ => return None,
        };
        if program.arguments.bytes.len() <= most && program.environment.bytes.len() <= most {
            return None;
        }
        let mut event = *event;
        if let EventKind::Exec(Exec { program, .. }) | EventKind::Running(Running { program, .. }) =
            &mut event.kind
        {
            program.arguments = program.arguments.cut(most);
            program.environment = program.environment.cut(most);
        }
        Some(event)
    }

    /// Makes room for what `event` may add.
    pub(super) fn make_room(&mut self, event: &Event<'_>) {
        let tables = self.by_key.growth() + self.latest.growth();
        let pages = self.nodes.growth(MOST_ENTRIES) + self.bodies.growth(MOST_ENTRIES);
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
            self.pressure.totals.dropped_early += 1;
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

    /// Evicts the youngest live process that may go: those that were there first stay, and who makes
    /// more and more of them loses their own. When it goes, its parent may be next.
    fn evict_live(&mut self) -> bool {
        loop {
            let is_stale = self.pressure.evictions_left == 0;
            let Some(slot) = self.pressure.leaves.pop().filter(|_| !is_stale) else {
                if self.find_leaves() {
                    continue;
                }
                return false;
            };
            if !self.is_evictable(slot) {
                continue;
            }
            self.pressure.evictions_left -= 1;
            self.pressure.totals.evicted_live += 1;
            self.pressure.since_sweep += 1;
            let parent = self.nodes.get(slot).and_then(|node| self.living_ancestor(node.parent));
            for kept in self.remove(slot).into_iter().flatten() {
                self.remove_unkept(kept);
            }
            self.pressure.leaves.extend(parent);
            return true;
        }
    }

    /// Looks at every entry for the youngest that may go. Once for many evictions, so that its cost
    /// for each is a few entries.
    fn find_leaves(&mut self) -> bool {
        let mut youngest = BinaryHeap::new();
        self.pressure.evictions_left = 1 + self.nodes.len() / 8;
        for (slot, node) in self.nodes.iter().filter(|(slot, _)| self.is_evictable(*slot)) {
            youngest.push((Reverse(node.rank()), slot));
            if youngest.len() > MOST_LEAVES {
                youngest.pop();
            }
        }
        let from_the_youngest = youngest.into_sorted_vec().into_iter().map(|(_, slot)| slot);
        self.pressure.leaves.clear();
        self.pressure.leaves.extend(from_the_youngest.rev());
        !self.pressure.leaves.is_empty()
    }

    /// Whether `slot` is alive, without known children and handles.
    fn is_evictable(&self, slot: Slot) -> bool {
        self.nodes.get(slot).is_some_and(|node| node.is_running() && node.kept_by == 0)
            && self.body(slot).is_some_and(|body| body.holds == 0)
    }

    /// The nearest that lives, of `slot` and those that led to it.
    fn living_ancestor(&self, slot: Option<Slot>) -> Option<Slot> {
        let parent = |slot: &Slot| self.nodes.get(*slot)?.parent;
        successors(slot, parent).find(|slot| self.nodes.get(*slot).is_some_and(Node::is_running))
    }
}
