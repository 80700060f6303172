//! Walks along the links between entries. No step hashes anything.

use crate::arena::Slot;
use crate::process::Process;

use super::node::{Life, Node};
use super::{ProcessId, Table};

/// The chain of processes that leads to one, nearest first. See [`Table::ancestors`].
#[derive(Clone, Debug)]
pub struct Ancestors<'t> {
    table: &'t Table,
    next: Option<Slot>,
}

impl Iterator for Ancestors<'_> {
    type Item = ProcessId;

    fn next(&mut self) -> Option<ProcessId> {
        let node = self.table.nodes.get(self.next?)?;
        let id = ProcessId { slot: self.next?, key: node.key() };
        self.next = node.parent;
        Some(id)
    }
}

impl Table {
    /// The process that forked `id`, the one that forked that one, and so on to the first known.
    ///
    /// Each in the image it ran at the time of the fork.
    pub fn ancestors(&self, id: ProcessId) -> Ancestors<'_> {
        Ancestors { table: self, next: self.node(id).and_then(|node| node.parent) }
    }

    /// The parent of `id` by the reference system's rule: the image that it replaced when there
    /// was no fork in between, else the image that forked it.
    pub fn reference_parent(&self, id: ProcessId) -> Option<ProcessId> {
        let node = self.node(id)?;
        self.id_of(node.previous.or(node.parent)?)
    }

    /// The image that `id` replaced by an exec with no fork in between.
    pub fn previous_image(&self, id: ProcessId) -> Option<ProcessId> {
        self.id_of(self.node(id)?.previous?)
    }

    /// Snapshots of [`reference_parent`](Self::reference_parent), its own, and so on: the list
    /// that the reference system calls ancestors, with the parent in front of it.
    pub fn reference_lineage(&self, id: ProcessId) -> impl Iterator<Item = Process> {
        let parents = std::iter::successors(self.reference_parent(id), |id| self.reference_parent(*id));
        parents.map_while(|id| self.process(id))
    }

    /// The processes that `id` forked from this image and that have not ended, newest first.
    ///
    /// A tombstone no longer knows its children.
    pub fn children(&self, id: ProcessId) -> impl Iterator<Item = ProcessId> {
        let first = self.node(id).and_then(|_| self.body(id.slot)?.first_child);
        std::iter::successors(first, |slot| self.body(*slot)?.next_sibling)
            .filter(|slot| self.nodes.get(*slot).is_some_and(Node::is_running))
            .filter_map(|slot| self.id_of(slot))
    }

    /// Whether `ancestor`, in any of its images, is among the processes that led to `id`.
    pub fn descends_from(&self, id: ProcessId, ancestor: ProcessId) -> bool {
        self.ancestors(id).any(|id| self.is_same_process(id, ancestor))
    }

    /// The current image of the process that `id` is an image of, if that process is alive.
    pub fn current_image(&self, id: ProcessId) -> Option<ProcessId> {
        self.find_live(self.node(id)?.pid).filter(|live| self.is_same_process(*live, id))
    }

    /// How many of the ancestors of `id`, from the nearest on, were seen starting when it was linked
    /// to them: how deep to draw it in a tree.
    pub fn depth(&self, id: ProcessId) -> u16 {
        self.node(id).map_or(0, |node| node.depth)
    }

    /// Marks a process, and with it whatever it starts from now on.
    pub fn follow(&mut self, id: ProcessId) {
        if self.node(id).is_some()
            && let Some(node) = self.nodes.get_mut(id.slot)
        {
            node.is_followed = true;
        }
    }

    /// Whether the process, or one that led to it, is [followed](Self::follow).
    pub fn is_followed(&self, id: ProcessId) -> bool {
        self.node(id).is_some_and(|node| node.is_followed)
    }

    /// Whether two entries are images of one process.
    pub fn is_same_process(&self, one: ProcessId, other: ProcessId) -> bool {
        let name = |id| self.node(id).map(|node| (node.pid, node.began));
        name(one).is_some() && name(one) == name(other)
    }

    /// Whether the process has exited, rather than gone on in another image.
    pub fn has_exited(&self, id: ProcessId) -> bool {
        self.node(id).is_some_and(|node| !matches!(node.life, Life::Running | Life::Replaced))
    }
}
