//! Walks along the links between entries. No step hashes anything.

use crate::arena::Index;
use crate::process::{EndKind, Process, Provenance};

use super::{ProcessId, Table};

/// The chain of processes that leads to one, nearest first. See [`Table::ancestors`].
#[derive(Clone, Debug)]
pub struct Ancestors<'t> {
    table: &'t Table,
    next: Option<Index>,
}

impl Iterator for Ancestors<'_> {
    type Item = ProcessId;

    fn next(&mut self) -> Option<ProcessId> {
        let current = self.next?;
        self.next = self.table.nodes.get(current)?.parent;
        Some(ProcessId(current))
    }
}

impl Table {
    /// The process that forked `id`, the one that forked that one, and so on to the first known.
    ///
    /// Each in the image it ran at the time of the fork.
    pub fn ancestors(&self, id: ProcessId) -> Ancestors<'_> {
        Ancestors { table: self, next: self.nodes.get(id.0).and_then(|node| node.parent) }
    }

    /// The parent of `id` by the reference system's rule: the image that it replaced when there
    /// was no fork in between, else the image that forked it.
    pub fn reference_parent(&self, id: ProcessId) -> Option<ProcessId> {
        let node = self.nodes.get(id.0)?;
        node.previous.or(node.parent).map(ProcessId)
    }

    /// The image that `id` replaced by an exec with no fork in between.
    pub fn previous_image(&self, id: ProcessId) -> Option<ProcessId> {
        self.nodes.get(id.0)?.previous.map(ProcessId)
    }

    /// Snapshots of [`reference_parent`](Self::reference_parent), its own, and so on: the list
    /// that the reference system calls ancestors, with the parent in front of it.
    pub fn reference_lineage(&self, id: ProcessId) -> Vec<Process> {
        let parents = std::iter::successors(self.reference_parent(id), |id| self.reference_parent(*id));
        parents.map_while(|id| self.process(id)).collect()
    }

    /// The processes that `id` forked from this image and that have not ended, newest first.
    pub fn children(&self, id: ProcessId) -> impl Iterator<Item = ProcessId> {
        let first = self.nodes.get(id.0).and_then(|node| node.first_child);
        std::iter::successors(first, |index| self.nodes.get(*index)?.next_sibling)
            .filter(|index| self.nodes.get(*index).is_some_and(|node| node.end.is_none()))
            .map(ProcessId)
    }

    /// Whether `ancestor`, in any of its images, is among the processes that led to `id`.
    pub fn descends_from(&self, id: ProcessId, ancestor: ProcessId) -> bool {
        let Some(ancestor) = self.nodes.get(ancestor.0) else { return false };
        self.ancestors(id).any(|id| {
            let node = self.nodes.get(id.0);
            node.is_some_and(|node| node.key.pid == ancestor.key.pid && node.began == ancestor.began)
        })
    }

    /// The current image of the process that `id` is an image of, if that process is alive.
    pub fn current_image(&self, id: ProcessId) -> Option<ProcessId> {
        let node = self.nodes.get(id.0)?;
        let index = self.live_index_of(node.key.pid)?;
        self.nodes.get(index).filter(|live| live.began == node.began).map(|_| ProcessId(index))
    }

    /// How many of the ancestors of `id`, from the nearest on, were seen starting.
    pub(crate) fn observed_depth(&self, id: ProcessId) -> u32 {
        let seen = self.ancestors(id).take_while(|id| {
            self.nodes.get(id.0).is_some_and(|node| node.parent_provenance == Provenance::Observed)
        });
        u32::try_from(seen.count()).unwrap_or(u32::MAX)
    }

    /// Whether the process has exited, rather than gone on in another image.
    pub fn has_exited(&self, id: ProcessId) -> bool {
        let end = self.nodes.get(id.0).and_then(|node| node.end);
        end.is_some_and(|end| end.how != EndKind::Replaced)
    }
}
