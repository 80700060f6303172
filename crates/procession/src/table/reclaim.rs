//! When an entry goes because time has passed: it has ended, its grace time is over, and nothing
//! keeps it.
//!
//! A child keeps its parent, an image keeps the one it replaced, a handle keeps its entry. When
//! the last of these goes after the grace time, the entry goes with it.

use crate::arena::Slot;
use crate::process::EndKind;
use crate::time::BootTime;

use super::Table;
use super::node::{Life, Waiting};

/// A first-in-first-out list of entries, linked through their bodies.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) front: Option<Slot>,
    back: Option<Slot>,
}

impl Table {
    /// Marks `slot` as ended, now, and starts its grace time.
    pub(super) fn end(&mut self, slot: Slot, how: EndKind) {
        self.end_at(slot, how, self.now());
    }

    /// The same when it ended before now. In the queue it stands behind those that were told of before
    /// it, and goes no sooner than they.
    pub(super) fn end_at(&mut self, slot: Slot, how: EndKind, time: BootTime) {
        let Some(node) = self.nodes.get_mut(slot) else { return };
        self.running -= usize::from(node.is_running());
        let (life, status) = Life::of(how);
        node.ended = time;
        node.life = life;
        // A tombstone waits in no queue: it goes with those that keep it.
        let Some(body) = self.body_mut(slot) else { return };
        body.status = status;
        // One that is told of twice waits again, so that the queue stays in order.
        self.dequeue(slot);
        self.enqueue(Waiting::Grace, slot);
    }

    /// Drops what is due. Constant time per entry, over its life.
    pub(super) fn reclaim(&mut self) {
        self.take_back_handles();
        let (grace, settled) = (self.config.grace, self.clock.settled());
        let is_due = |ended: BootTime| ended.after(grace) <= settled;
        while let Some((slot, ended)) = self.first_in_grace() {
            if is_due(ended) {
                self.dequeue(slot);
                self.remove_unkept(slot);
            } else if ended > self.now() {
                self.correct_end(slot);
            } else {
                break;
            }
        }
    }

    /// The entry whose grace time is over first, and when it ended.
    fn first_in_grace(&self) -> Option<(Slot, BootTime)> {
        let slot = self.grace.front?;
        Some((slot, self.nodes.get(slot)?.ended))
    }

    /// Takes `slot` to have ended now: what told of its end had a time that nothing after it agreed to. So
    /// it does not hold up those that wait behind it.
    fn correct_end(&mut self, slot: Slot) {
        let now = self.now();
        if let Some(node) = self.nodes.get_mut(slot) {
            node.ended = now;
        }
        self.dequeue(slot);
        self.enqueue(Waiting::Grace, slot);
    }

    pub(super) fn enqueue(&mut self, which: Waiting, slot: Slot) {
        let Some(queue) = self.queue_mut(which) else { return };
        let back = queue.back.replace(slot);
        if back.is_none() {
            queue.front = Some(slot);
        }
        if let Some(body) = back.and_then(|back| self.body_mut(back)) {
            body.after = Some(slot);
        }
        if let Some(body) = self.body_mut(slot) {
            (body.before, body.after) = (back, None);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            node.queue = which;
        }
    }

    pub(super) fn dequeue(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get_mut(slot).filter(|node| node.queue != Waiting::No) else { return };
        let which = std::mem::take(&mut node.queue);
        let Some(body) = self.body_mut(slot) else { return };
        let (before, after) = (body.before.take(), body.after.take());
        let Some(queue) = self.queue_mut(which) else { return };
        if before.is_none() {
            queue.front = after;
        }
        if after.is_none() {
            queue.back = before;
        }
        if let Some(body) = before.and_then(|before| self.body_mut(before)) {
            body.after = after;
        }
        if let Some(body) = after.and_then(|after| self.body_mut(after)) {
            body.before = before;
        }
    }

    fn queue_mut(&mut self, which: Waiting) -> Option<&mut Queue> {
        match which {
            Waiting::No => None,
            Waiting::Grace => Some(&mut self.grace),
            Waiting::Ancestor => Some(&mut self.ancestors),
        }
    }
}
