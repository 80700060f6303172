//! Processes and all that ever descended from them, however many of them the table has forgotten.

use std::collections::HashMap;
use std::time::SystemTime;

use procession::{Entry, Process, ProcessKey, Table, WallClock};

use super::Target;

/// A process that belongs to a [`Family`].
#[derive(Debug)]
pub(super) struct Member {
    /// As it was last heard of.
    pub(super) process: Process,
    /// Where its parent is. `None`: it is one of those that were asked for.
    pub(super) parent: Option<usize>,
    /// Generations since the last one that was asked for.
    level: u32,
    pub(super) began: SystemTime,
    pub(super) ended: Option<SystemTime>,
    /// Children that are no members, because there is no room for them.
    pub(super) left_out: u64,
    /// Whether an image of it is the one that was asked for.
    pub(super) is_target: bool,
}

/// How much of a family is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Generations after those that were asked for.
    pub(super) levels: u32,
    pub(super) members: usize,
}

/// All processes that had a pid, and what descended from them.
#[derive(Debug)]
pub(super) struct Family {
    target: Target,
    extent: Extent,
    members: Vec<Member>,
    /// By the key of the latest image, and by that of the image since the fork, which all the others
    /// tell: [`first_key`].
    by_key: HashMap<ProcessKey, usize>,
}

impl Family {
    pub(super) fn new(target: Target, extent: Extent) -> Self {
        Self { target, extent, members: Vec::new(), by_key: HashMap::new() }
    }

    pub(super) fn into_members(self) -> Vec<Member> {
        self.members
    }

    /// Looks for members in a table whose past was not seen, parents before children.
    pub(super) fn look_through(&mut self, table: &Table, clock: WallClock) {
        let mut entries: Vec<_> = table.entries().collect();
        entries.sort_by_key(|entry| (entry.began(), entry.key().start));
        for entry in entries {
            self.meet(entry, clock);
        }
    }

    /// Sees an entry to which something happened: which member it is, and whether it is a new one.
    pub(super) fn meet(&mut self, entry: Entry<'_>, clock: WallClock) -> Option<(usize, bool)> {
        if let Some(known) = self.find(entry) {
            self.update(known, entry, clock);
            return Some((known, false));
        }
        let parent = entry.parent().and_then(|parent| self.find(parent));
        let is_asked_for = entry.key().pid == self.target.pid();
        let parents_level = parent.filter(|_| !is_asked_for).map(|parent| self.members[parent].level);
        let level = parents_level.map_or(0, |level| level.saturating_add(1));
        let has_room = level <= self.extent.levels && self.members.len() < self.extent.members;
        if !is_asked_for && (parent.is_none() || !has_room) {
            // Whoever is not kept is met again with its next event: it is counted by its fork.
            if let Some(parent) = parent.filter(|_| entry.is_running() && is_since_fork(entry)) {
                self.members[parent].left_out += 1;
            }
            return None;
        }
        let number = self.members.len();
        self.members.push(Member {
            process: entry.snapshot(),
            parent,
            level,
            began: clock.at(entry.began()),
            ended: None,
            left_out: 0,
            is_target: false,
        });
        self.update(number, entry, clock);
        Some((number, true))
    }

    fn find(&self, entry: Entry<'_>) -> Option<usize> {
        let of = |key| self.by_key.get(&key).copied();
        // A source that knew the beginning to the tick only named another than the next one did.
        let by_previous = || of(entry.previous()?.key());
        of(entry.key()).or_else(|| of(first_key(entry))).or_else(by_previous)
    }

    fn update(&mut self, number: usize, entry: Entry<'_>, clock: WallClock) {
        let member = &mut self.members[number];
        member.is_target |= self.target.names(entry.key()) || self.target.names(first_key(entry));
        if entry.key() < member.process.key {
            return;
        }
        if member.process.key != first_key(entry) {
            self.by_key.remove(&member.process.key);
        }
        member.process = entry.snapshot();
        member.ended = member.process.end.filter(|_| entry.has_exited()).map(|end| clock.at(end.time));
        self.by_key.insert(entry.key(), number);
        self.by_key.insert(first_key(entry), number);
    }
}

/// The name of the image that the process had since its fork.
pub(super) fn first_key(entry: Entry<'_>) -> ProcessKey {
    ProcessKey::new(entry.key().pid, entry.began())
}

fn is_since_fork(entry: Entry<'_>) -> bool {
    entry.key() == first_key(entry)
}
