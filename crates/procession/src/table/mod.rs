//! The process table: a deterministic fold over events.
//!
//! One owner applies events with `&mut self`; time comes with the events or through
//! [`Table::advance`]. Readers never touch the table: they get [`Process`] snapshots.
//!
//! * `apply` holds what each kind of event does, and the repairs when one is missing.
//! * `lineage` walks the links.
//! * `reclaim` decides when an entry goes.

mod apply;
mod lineage;
mod node;
mod reclaim;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use crate::arena::{Arena, Index};
use crate::credentials::Credentials;
use crate::event::Event;
use crate::ids::{Pid, ProcessKey};
use crate::intern::Interner;
use crate::ledger::{Ledger, Outcome};
use crate::namespaces::{Cgroup, Namespaces};
use crate::process::Process;
use crate::time::BootTime;

use node::Node;

pub use lineage::Ancestors;

/// How a [`Table`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// How long an ended image that nothing needs is kept, so that late events still find it.
    pub grace: Duration,
}

impl Default for TableConfig {
    /// A grace time of 30 seconds.
    fn default() -> Self {
        Self { grace: Duration::from_secs(30) }
    }
}

/// Every process, live or recently ended, with its lineage.
#[derive(Debug, Default)]
pub struct Table {
    config: TableConfig,
    now: BootTime,
    nodes: Arena<Node>,
    /// Every node, by its key.
    by_key: HashTable<Index>,
    /// The current image of every live process, by pid.
    live: HashTable<Index>,
    hasher: RandomState,
    shared: Shared,
    /// Ended nodes in the order in which their grace time is over.
    grace: VecDeque<(BootTime, Index)>,
    ledger: Ledger,
}

/// Values that many images have in common.
#[derive(Debug, Default)]
struct Shared {
    bytes: Interner<[u8]>,
    credentials: Interner<Credentials>,
    namespaces: Interner<Namespaces>,
    cgroups: Interner<Cgroup<Box<[u8]>>>,
}

/// Names an entry of the table for as long as the entry is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(Index);

/// What [`Table::apply`] did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Applied {
    /// Whether it changed the table.
    pub outcome: Outcome,
    /// The entry that the event speaks of: the child of a fork, the new image of an exec, the
    /// process that exited or was found. `None` for a loss report or a rejected event.
    pub process: Option<ProcessId>,
}

/// Keeps an entry in the table while it lives. Clones share one hold.
#[derive(Clone, Debug)]
pub struct Handle {
    process: Process,
    _hold: Arc<()>,
}

impl Handle {
    /// The process as it was when the handle was taken.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Table {
    /// An empty table.
    pub fn new(config: TableConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Folds `event` into the table.
    ///
    /// Total: every event, in any order and however often repeated, has a defined result and a
    /// place in the [`ledger`](Self::ledger).
    pub fn apply(&mut self, event: &Event<'_>) -> Applied {
        self.advance(event.time);
        self.fold(event)
    }

    /// Lets time pass: what has ended long enough ago, and nothing needs, is dropped.
    ///
    /// Time never goes back: an earlier `now` does nothing.
    pub fn advance(&mut self, now: BootTime) {
        self.now = self.now.max(now);
        self.reclaim();
    }

    /// The latest time that an event or [`advance`](Self::advance) brought.
    pub fn now(&self) -> BootTime {
        self.now
    }

    /// The account of every event so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Entries in the table: images of processes, live and ended.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Processes that are alive as far as the events tell.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// The entry of the image called `key`, live or ended.
    pub fn find(&self, key: ProcessKey) -> Option<ProcessId> {
        self.index_of(key).map(ProcessId)
    }

    /// The current image of the live process `pid`.
    pub fn find_live(&self, pid: Pid) -> Option<ProcessId> {
        self.live_index_of(pid).map(ProcessId)
    }

    /// A snapshot of an entry. `None`: the entry has gone.
    pub fn process(&self, id: ProcessId) -> Option<Process> {
        self.nodes.get(id.0).map(|node| node.snapshot(self))
    }

    /// A snapshot that also keeps the entry, and with it the chain of its parents, in the table.
    pub fn hold(&mut self, id: ProcessId) -> Option<Handle> {
        let process = self.process(id)?;
        let hold = self.nodes.get_mut(id.0)?.hold.get_or_insert_default();
        Some(Handle { process, _hold: Arc::clone(hold) })
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ProcessId, Process)> {
        self.nodes.iter().map(|(index, node)| (ProcessId(index), node.snapshot(self)))
    }

    fn index_of(&self, key: ProcessKey) -> Option<Index> {
        let is_it = |index: &Index| self.nodes.get(*index).is_some_and(|node| node.key == key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied()
    }

    fn live_index_of(&self, pid: Pid) -> Option<Index> {
        let is_it = |index: &Index| self.nodes.get(*index).is_some_and(|node| node.key.pid == pid);
        self.live.find(self.hasher.hash_one(pid), is_it).copied()
    }

    fn link_live(&mut self, pid: Pid, index: Index) {
        self.unlink_live(pid);
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.live.insert_unique(hasher.hash_one(pid), index, |index| {
            nodes.get(*index).map_or(0, |node| hasher.hash_one(node.key.pid))
        });
    }

    fn unlink_live(&mut self, pid: Pid) {
        let nodes = &self.nodes;
        let is_it = |index: &Index| nodes.get(*index).is_some_and(|node| node.key.pid == pid);
        if let Ok(entry) = self.live.find_entry(self.hasher.hash_one(pid), is_it) {
            entry.remove();
        }
    }

    fn link_key(&mut self, key: ProcessKey, index: Index) {
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.by_key.insert_unique(hasher.hash_one(key), index, |index| {
            nodes.get(*index).map_or(0, |node| hasher.hash_one(node.key))
        });
    }

    fn unlink_key(&mut self, key: ProcessKey, index: Index) {
        // By identity, not by key alone: a later entry of the same name must stay.
        let is_it = |other: &Index| *other == index;
        if let Ok(entry) = self.by_key.find_entry(self.hasher.hash_one(key), is_it) {
            entry.remove();
        }
    }
}
