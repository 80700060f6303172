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

    /// Makes `parent` the parent of `child`, which has none yet.
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

    /// Makes `previous` the image that `next` replaced.
    pub(super) fn link_previous(&mut self, next: Index, previous: Index) {
        if let Some(node) = self.nodes.get_mut(previous) {
            node.kept_by += 1;
        }
        if let Some(node) = self.nodes.get_mut(next) {
            node.previous = Some(previous);
        }
    }

    /// Takes `child` out of its parent's care.
    pub(super) fn unlink_parent(&mut self, child: Index) {
        self.unlink_sibling(child);
        let Some(node) = self.nodes.get_mut(child) else { return };
        (node.next_sibling, node.previous_sibling) = (None, None);
        if let Some(parent) = node.parent.take()
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            parent.kept_by -= 1;
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
