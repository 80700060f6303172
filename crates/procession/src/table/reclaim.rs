//! When an entry goes: it has ended, its grace time is over, and nothing keeps it.
//!
//! A child keeps its parent, an image keeps the one it replaced, a handle keeps its entry. When
//! the last of these goes after the grace time, the entry goes with it, and so may its parent:
//! a loop, not a recursion, so that no chain is too long.

use crate::arena::Index;
use crate::process::{End, EndKind};

use super::Table;

impl Table {
    /// Marks `index` as ended and starts its grace time.
    pub(super) fn end(&mut self, index: Index, how: EndKind) {
        let time = self.now;
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.end = Some(End { time, how });
        let pid = node.key.pid;
        if self.live_index_of(pid) == Some(index) {
            self.unlink_live(pid);
        }
        self.grace.push_back((time.after(self.config.grace), index));
    }

    /// Drops what is due. Constant time per entry, over its life.
    pub(super) fn reclaim(&mut self) {
        while let Some(&(due, index)) = self.grace.front().filter(|(due, _)| *due <= self.now) {
            self.grace.pop_front();
            let Some(node) = self.nodes.get_mut(index) else { continue };
            if node.is_held() {
                // Nobody tells when a handle goes, so look again after another grace time.
                self.grace.push_back((due.after(self.config.grace).max(self.now), index));
                continue;
            }
            node.grace_over = true;
            self.remove_unkept(index);
        }
    }

    /// Removes `index` if nothing keeps it, then whatever only it had kept.
    pub(super) fn remove_unkept(&mut self, index: Index) {
        let mut candidates = vec![index];
        while let Some(index) = candidates.pop() {
            let Some(node) = self.nodes.get(index) else { continue };
            if node.kept_by > 0 || !node.grace_over || node.end.is_none() {
                continue;
            }
            if node.is_held() {
                self.grace.push_back((self.now.after(self.config.grace), index));
                continue;
            }
            candidates.extend(self.remove(index));
        }
    }

    /// Removes a node that nothing keeps, and returns the nodes that it kept.
    fn remove(&mut self, index: Index) -> impl Iterator<Item = Index> + use<> {
        let (mut parent, mut previous) = (None, None);
        if let Some(node) = self.nodes.get(index) {
            (parent, previous) = (node.parent, node.previous);
            self.unlink_key(node.key, index);
            self.unlink_sibling(index);
            self.nodes.remove(index);
        }
        for kept in [parent, previous].into_iter().flatten() {
            if let Some(node) = self.nodes.get_mut(kept) {
                node.kept_by -= 1;
            }
        }
        [parent, previous].into_iter().flatten()
    }

    /// Whether a link from `later` to `earlier` is one that time allows.
    ///
    /// Every link goes from an entry to one that precedes it in this order, so links form no
    /// cycle, whatever the events say. A parent began before its child; where both are known to
    /// the same clock tick only, the smaller pid is taken to be the parent. An image began before
    /// the one that replaced it.
    pub(super) fn precedes(&self, earlier: Index, later: Index) -> bool {
        let order = |index| self.nodes.get(index).map(|node| (node.began, node.key.pid, node.key.start));
        order(earlier) < order(later)
    }

    /// Makes `parent`, which precedes it, the parent of `child`, which has none.
    pub(super) fn link_parent(&mut self, child: Index, parent: Index) {
        let Some(node) = self.nodes.get_mut(parent) else { return };
        node.kept_by += 1;
        let next = node.first_child.replace(child);
        if let Some(node) = next.and_then(|next| self.nodes.get_mut(next)) {
            node.previous_sibling = Some(child);
        }
        if let Some(node) = self.nodes.get_mut(child) {
            node.parent = Some(parent);
            node.next_sibling = next;
        }
    }

    /// Makes `previous` the image that `next` replaced, unless it has one or time forbids it.
    pub(super) fn link_previous(&mut self, next: Index, previous: Index) {
        if !self.precedes(previous, next) {
            return;
        }
        let Some(node) = self.nodes.get_mut(next).filter(|node| node.previous.is_none()) else { return };
        node.previous = Some(previous);
        if let Some(node) = self.nodes.get_mut(previous) {
            node.kept_by += 1;
        }
    }

    /// Takes `child` out of its parent's care, and returns the parent.
    pub(super) fn unlink_parent(&mut self, child: Index) -> Option<Index> {
        self.unlink_sibling(child);
        let node = self.nodes.get_mut(child)?;
        (node.next_sibling, node.previous_sibling) = (None, None);
        let parent = node.parent.take()?;
        if let Some(node) = self.nodes.get_mut(parent) {
            node.kept_by -= 1;
        }
        Some(parent)
    }

    /// Restores the order of links after `index` turned out to be older than was thought.
    pub(super) fn unlink_what_does_not_precede(&mut self, index: Index) {
        let links = self.nodes.get(index).map(|node| (node.parent, node.previous));
        let Some((parent, previous)) = links else { return };
        if let Some(parent) = parent.filter(|parent| !self.precedes(*parent, index)) {
            self.unlink_parent(index);
            self.remove_unkept(parent);
        }
        if let Some(previous) = previous.filter(|previous| !self.precedes(*previous, index)) {
            if let Some(node) = self.nodes.get_mut(index) {
                node.previous = None;
            }
            if let Some(node) = self.nodes.get_mut(previous) {
                node.kept_by -= 1;
            }
            self.remove_unkept(previous);
        }
    }

    fn unlink_sibling(&mut self, index: Index) {
        let Some(node) = self.nodes.get(index) else { return };
        let (parent, before, after) = (node.parent, node.previous_sibling, node.next_sibling);
        if let Some(node) = after.and_then(|after| self.nodes.get_mut(after)) {
            node.previous_sibling = before;
        }
        if let Some(node) = before.and_then(|before| self.nodes.get_mut(before)) {
            node.next_sibling = after;
        } else if let Some(node) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            node.first_child = after;
        }
    }
}
