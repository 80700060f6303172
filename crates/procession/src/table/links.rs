//! Links between entries: taken, dropped, and with the last of them the entry.

use std::sync::Arc;

use crate::arena::Slot;
use crate::image::ProgramFile;
use crate::process::Origin;

use super::Table;
use super::node::{Detail, Node, Waiting};

/// How many tombstones in a row stay single. What is older is folded into the oldest of them.
const LONGEST_RUN: usize = 8;

impl Table {
    /// Whether a link from `later` to `earlier` is one that time allows.
    ///
    /// Every link goes from an entry to one that precedes it in this order, so links form no
    /// cycle, whatever the events say. A parent began before its child; where both are known to
    /// the same clock tick only, the smaller pid is taken to be the parent. An image began before
    /// the one that replaced it.
    pub(super) fn precedes(&self, earlier: Slot, later: Slot) -> bool {
        let rank = |slot| self.nodes.get(slot).map(Node::rank);
        rank(earlier) < rank(later)
    }

    /// The image that `node` replaced, but for that which its process shared with its parent since
    /// the fork: that one says nothing that the parent does not say.
    pub(super) fn replaced_by(&self, node: &Node) -> Option<Slot> {
        node.previous.filter(|slot| self.nodes.get(*slot).is_some_and(|it| it.origin != Origin::Fork))
    }

    /// Makes `parent`, which precedes it, the parent of `child`, which has none.
    pub(super) fn link_parent(&mut self, child: Slot, parent: Slot) {
        self.keep(parent);
        // A tombstone is in no list of children.
        if self.body(child).is_some() {
            let next = self.body_mut(parent).and_then(|body| body.first_child.replace(child));
            if let Some(body) = next.and_then(|next| self.body_mut(next)) {
                body.previous_sibling = Some(child);
            }
            if let Some(body) = self.body_mut(child) {
                body.next_sibling = next;
            }
        }
        if let Some(node) = self.nodes.get_mut(child) {
            node.parent = Some(parent);
        }
    }

    /// Makes `previous` the image that `next` replaced, unless it has one or time forbids it.
    pub(super) fn link_previous(&mut self, next: Slot, previous: Slot) {
        if !self.precedes(previous, next) {
            return;
        }
        let Some(node) = self.nodes.get_mut(next).filter(|node| node.previous.is_none()) else { return };
        node.previous = Some(previous);
        self.keep(previous);
    }

    /// Takes `child` out of its parent's care, and returns the parent.
    pub(super) fn unlink_parent(&mut self, child: Slot) -> Option<Slot> {
        self.unlink_sibling(child);
        let parent = self.nodes.get_mut(child)?.parent.take()?;
        self.let_go(parent);
        Some(parent)
    }

    /// Restores the order of links after `slot` turned out to be older than was thought.
    pub(super) fn unlink_what_does_not_precede(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get(slot) else { return };
        let (parent, previous) = (node.parent, node.previous);
        if let Some(parent) = parent.filter(|parent| !self.precedes(*parent, slot)) {
            self.unlink_parent(slot);
            self.remove_unkept(parent);
        }
        if let Some(previous) = previous.filter(|previous| !self.precedes(*previous, slot)) {
            if let Some(node) = self.nodes.get_mut(slot) {
                node.previous = None;
            }
            self.let_go(previous);
            self.remove_unkept(previous);
        }
    }

    /// Removes `slot` if it has ended long enough ago and nothing keeps it, then whatever only it
    /// had kept. A loop, not a recursion, so that no chain is too long.
    pub(super) fn remove_unkept(&mut self, slot: Slot) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.push(slot);
        while let Some(slot) = candidates.pop() {
            if self.is_needed(slot) {
                self.await_need(slot);
            } else {
                candidates.extend(self.remove(slot).into_iter().flatten());
            }
        }
        self.candidates = candidates;
    }

    fn is_needed(&self, slot: Slot) -> bool {
        let Some(node) = self.nodes.get(slot) else { return true };
        let is_wanted = node.is_running() || node.kept_by > 0 || node.queue == Waiting::Grace;
        is_wanted || self.body(slot).is_some_and(|body| body.holds > 0)
    }

    /// An ended entry that others keep waits to become a tombstone.
    fn await_need(&mut self, slot: Slot) {
        let is_idle = |node: &Node| !node.is_running() && node.queue == Waiting::No;
        let is_idle = self.nodes.get(slot).is_some_and(is_idle);
        if is_idle && self.body(slot).is_some_and(|body| body.holds == 0) {
            self.enqueue(Waiting::Ancestor, slot);
        }
    }

    /// Removes an entry that nothing keeps, and returns those that it kept.
    pub(super) fn remove(&mut self, slot: Slot) -> [Option<Slot>; 2] {
        let Some(node) = self.nodes.get(slot) else { return [None; 2] };
        let (key, parent, previous, body) = (node.key(), node.parent, node.previous, node.body());
        self.running -= usize::from(node.is_running());
        self.tombstones -= usize::from(node.tombstone().is_some());
        self.unlink_latest(key.pid, slot);
        self.unlink_key(key, slot);
        self.unlink_sibling(slot);
        self.dequeue(slot);
        self.set_image(slot, None);
        if let Some(body) = body {
            self.bodies.remove(body);
        }
        self.nodes.remove(slot);
        for kept in [parent, previous].into_iter().flatten() {
            self.let_go(kept);
        }
        [parent, previous]
    }

    /// Reduces an ended entry to a tombstone: key, links, program and times.
    pub(super) fn bury(&mut self, slot: Slot) {
        self.dequeue(slot);
        let program = match self.image(slot) {
            Some(image) => image.program().clone(),
            None => self.shared.no_program(),
        };
        self.set_image(slot, None);
        self.entomb(slot, program, 0);
        self.fold_run(slot);
    }

    /// Puts a tombstone in the place of a body that has no image and is in no queue.
    pub(super) fn entomb(&mut self, slot: Slot, program: Arc<ProgramFile>, folded: u32) {
        self.unlink_sibling(slot);
        let Some(node) = self.nodes.get_mut(slot) else { return };
        let detail = std::mem::replace(&mut node.detail, Detail::Tombstone { program, folded });
        if let Detail::Body(body) = detail {
            self.bodies.remove(body);
            self.tombstones += 1;
        }
    }

    /// When `slot` is the youngest of too many tombstones in a row, folds the oldest of them.
    fn fold_run(&mut self, slot: Slot) {
        for link in [Link::Parent, Link::Previous] {
            let mut run = std::iter::successors(Some(slot), |slot| self.foldable(*slot, link));
            if let Some(oldest) = run.nth(LONGEST_RUN - 1) {
                self.fold_into(oldest, link);
            }
        }
    }

    /// The tombstone that `slot` links to, when nothing else does.
    fn foldable(&self, slot: Slot, link: Link) -> Option<Slot> {
        let older = link.of(self.nodes.get(slot)?)?;
        let node = self.nodes.get(older)?;
        (node.tombstone().is_some() && node.kept_by == 1).then_some(older)
    }

    /// Lets the tombstone `slot` stand for the older one that it links to as well.
    fn fold_into(&mut self, slot: Slot, link: Link) {
        let Some(older) = self.foldable(slot, link) else { return };
        let Some(node) = self.nodes.get(older) else { return };
        let next = link.of(node);
        let stands_for = match node.detail {
            Detail::Tombstone { folded, .. } => folded.saturating_add(1),
            Detail::Body(_) => return,
        };
        if let Some(next) = next {
            self.keep(next);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            *link.of_mut(node) = next;
            if let Detail::Tombstone { folded, .. } = &mut node.detail {
                *folded = folded.saturating_add(stands_for);
            }
        }
        self.let_go(older);
        self.remove_unkept(older);
        self.pressure.note_fold();
    }

    fn keep(&mut self, slot: Slot) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.kept_by += 1;
        }
    }

    fn let_go(&mut self, slot: Slot) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.kept_by -= 1;
        }
    }

    fn unlink_sibling(&mut self, slot: Slot) {
        let parent = self.nodes.get(slot).and_then(|node| node.parent);
        let Some(body) = self.body_mut(slot) else { return };
        let (before, after) = (body.previous_sibling.take(), body.next_sibling.take());
        if let Some(body) = after.and_then(|after| self.body_mut(after)) {
            body.previous_sibling = before;
        }
        if let Some(body) = before.and_then(|before| self.body_mut(before)) {
            body.next_sibling = after;
        } else if let Some(body) = parent.and_then(|parent| self.body_mut(parent)) {
            // Only the first of the list has none before it; one that is in no list is not named.
            if body.first_child == Some(slot) {
                body.first_child = after;
            }
        }
    }
}

/// A kind of link.
#[derive(Clone, Copy)]
enum Link {
    Parent,
    Previous,
}

impl Link {
    fn of(self, node: &Node) -> Option<Slot> {
        match self {
            Self::Parent => node.parent,
            Self::Previous => node.previous,
        }
    }

    fn of_mut(self, node: &mut Node) -> &mut Option<Slot> {
        match self {
            Self::Parent => &mut node.parent,
            Self::Previous => &mut node.previous,
        }
    }
}
