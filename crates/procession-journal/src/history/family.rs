//! Processes and all that ever descended from them, however many of them the table has forgotten.

use std::collections::HashMap;

use procession::{Entry, Process, ProcessKey, Table};

/// A process that belongs to a [`Family`].
#[derive(Debug)]
pub(super) struct Member {
    /// As it was last heard of.
    pub(super) process: Process,
    /// Where its parent is. `None`: it is one of those that were asked for.
    pub(super) parent: Option<usize>,
    /// How many members led to it.
    pub(super) level: u32,
    /// All children that it had, those that were not kept included.
    pub(super) children: u64,
    /// Whether an image of it is the one that was asked for.
    pub(super) is_target: bool,
}

/// How much of a family is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) levels: u32,
    /// Members of the family.
    pub(super) members: usize,
}

/// All processes that had a pid, and what descended from them.
#[derive(Debug)]
pub(super) struct Family {
    target: super::Target,
    extent: Extent,
    members: Vec<Member>,
    /// By the key of the latest image, and by that of the image since the fork, which all the others
    /// tell ([`Entry::began`]).
    by_key: HashMap<ProcessKey, usize>,
}

impl Family {
    pub(super) fn new(target: super::Target, extent: Extent) -> Self {
        Self { target, extent, members: Vec::new(), by_key: HashMap::new() }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Looks for members in a table that was not followed until now, parents before children.
    pub(super) fn look_through(&mut self, table: &Table) {
        let mut entries: Vec<_> = table.entries().collect();
        entries.sort_by_key(|entry| (entry.began(), entry.key().start));
        for entry in entries {
            self.meet(entry);
        }
    }

    /// Sees the entry that an event spoke of: which member it is. The second is whether it is a new one.
    pub(super) fn meet(&mut self, entry: Entry<'_>) -> Option<(usize, bool)> {
        if let Some(known) = self.find(entry) {
            self.update(known, entry);
            return Some((known, false));
        }
        let parent = entry.parent().and_then(|parent| self.find(parent));
        if let Some(parent) = parent {
            self.members[parent].children += 1;
        }
        let is_root = entry.key().pid == self.target.pid();
        let level = parent.map_or(0, |parent| self.members[parent].level + 1);
        let is_kept = level <= self.extent.levels && self.members.len() < self.extent.members;
        if !(is_root || parent.is_some() && is_kept) {
            return None;
        }
        let number = self.members.len();
        let process = entry.snapshot();
        self.members.push(Member { process, parent, level, children: 0, is_target: false });
        self.update(number, entry);
        Some((number, true))
    }

    fn find(&self, entry: Entry<'_>) -> Option<usize> {
        let known = self.by_key.get(&entry.key());
        known.or_else(|| self.by_key.get(&first_key(entry))).copied()
    }

    fn update(&mut self, number: usize, entry: Entry<'_>) {
        let member = &mut self.members[number];
        member.is_target |= self.target.names(entry.key());
        if member.process.key > entry.key() {
            return;
        }
        let first = ProcessKey::new(member.process.key.pid, member.process.began);
        if member.process.key != first {
            self.by_key.remove(&member.process.key);
        }
        member.process = entry.snapshot();
        self.by_key.insert(entry.key(), number);
        self.by_key.insert(first_key(entry), number);
    }
}

/// The name of the image that the process had since its fork.
fn first_key(entry: Entry<'_>) -> ProcessKey {
    ProcessKey::new(entry.key().pid, entry.began())
}
