//! The process table: a deterministic fold over events, within a budget of bytes.
//!
//! One owner applies events with `&mut self`; time comes with the events or through
//! [`Table::advance`]. Readers never touch the table: they get [`Process`] snapshots.
//!
//! * `apply` holds what each kind of event does, and the repairs when one is missing.
//! * `infer` makes the entries of what was missed.
//! * `links` takes and drops the links between entries, and with them the entries themselves.
//! * `clock` says how far time has come.
//! * `entry` is what a reader sees, and walks along the links.
//! * `survey` compares the table with what somebody saw who looked at all that runs; `program` says when
//!   what a process was seen to run is not what is known.
//! * `reclaim` decides when an entry goes because time has passed.
//! * `pressure` decides what goes because memory is short.
//! * `checkpoint` copies the state, and goes on from a copy; `parts` takes a copy apart, and `rebuild`
//!   makes one of parts.

mod apply;
mod checkpoint;
mod clock;
mod entry;
mod handle;
mod infer;
mod links;
mod node;
mod parts;
mod pressure;
mod program;
mod rebuild;
mod reclaim;
mod shared;
mod survey;

use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::arena::{Arena, Slot};
use crate::event::Event;
use crate::fact::FactKind;
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::index::Index;
use crate::ledger::{Ledger, Outcome};
use crate::process::Process;
use crate::time::BootTime;

use clock::Clock;
use handle::Released;
use node::{Body, Node};
use pressure::Pressure;
use reclaim::Queue;
use shared::Shared;

pub use checkpoint::Checkpoint;
pub use entry::Entry;
pub use handle::Handle;
pub use parts::{
    Part, SavedContent, SavedEntry, SavedImage, SavedProgram, SavedSetting, SavedSpell, SavedState,
};
pub use pressure::{Explanation, MINIMUM_BUDGET, Retention};
pub use rebuild::{CheckpointBuilder, InvalidCheckpoint};
pub use survey::{Survey, Suspects};

/// How a [`Table`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// How long an ended image that nothing needs is kept, so that late events still find it.
    pub grace: Duration,
    /// The most memory that the table may use, in bytes; at least [`MINIMUM_BUDGET`].
    pub budget: usize,
    /// Seed of the hash tables. One log gives one state, but with another seed memory may run short
    /// an event earlier or later. Whoever folds what hostile processes do takes a random one, and
    /// keeps it with the log.
    pub seed: u64,
}

impl Default for TableConfig {
    /// A grace time of 30 seconds, and 48 MiB: room for some 150,000 live processes.
    fn default() -> Self {
        Self { grace: Duration::from_secs(30), budget: 48 << 20, seed: 0 }
    }
}

/// Every process, live or recently ended, with its lineage.
#[derive(Debug, Default)]
pub struct Table {
    config: TableConfig,
    clock: Clock,
    nodes: Arena<Node>,
    bodies: Arena<Body>,
    /// Every node, by its key.
    by_key: Index,
    /// Of every pid, the latest image of the latest process that had it, running or ended.
    latest: Index,
    /// Nodes that run: one for each live process.
    running: usize,
    /// Nodes that are tombstones.
    tombstones: usize,
    hasher: FixedState,
    shared: Shared,
    /// Bytes of the images that nodes have.
    image_bytes: usize,
    /// Ended nodes in the order in which their grace time is over.
    grace: Queue,
    /// Ended nodes whose grace time is over and that others keep, oldest first.
    ancestors: Queue,
    released: Released,
    pressure: Pressure,
    /// Memory for the loop of `remove_unkept`, kept between its calls.
    candidates: Vec<Slot>,
    ledger: Ledger,
}

/// Names an entry of the table for as long as the entry is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    slot: Slot,
    /// Whose it was: a slot gets new tenants.
    key: ProcessKey,
}

/// What [`Table::apply`] did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Applied {
    /// Whether it changed the table.
    pub outcome: Outcome,
    /// The entry that the event speaks of: the child of a fork, the new image of an exec, the
    /// process that exited or was found. `None` for a loss report or a rejected event.
    pub process: Option<ProcessId>,
    /// What that comes to, for a [`Fact`](crate::Fact). Not always [`FactKind::of`] the event: a look at
    /// a process that is known may find only that it changed. `None` for a loss report.
    pub kind: Option<FactKind>,
}

impl Table {
    /// An empty table. A budget below [`MINIMUM_BUDGET`] is raised to it.
    pub fn new(config: TableConfig) -> Self {
        let budget = config.budget.max(MINIMUM_BUDGET);
        Self {
            config: TableConfig { budget, ..config },
            hasher: FixedState::with_seed(config.seed),
            shared: Shared::new(config.seed),
            ..Self::default()
        }
    }

    /// Folds `event` into the table.
    ///
    /// Total: every event, in any order and however often repeated, has a defined result and a
    /// place in the [`ledger`](Self::ledger).
    pub fn apply(&mut self, event: &Event<'_>) -> Applied {
        self.clock.hear(event.time);
        self.reclaim();
        let shortened = self.shortened(event);
        let event = shortened.as_ref().unwrap_or(event);
        self.make_room(event);
        let applied = self.fold(event);
        self.stay_within_budget();
        applied
    }

    /// Lets time pass: what has ended long enough ago, and nothing needs, is dropped.
    ///
    /// Time never goes back: an earlier `now` does nothing. It is believed whatever it is, where a single
    /// event that lies more than a minute ahead is not until the next one agrees.
    pub fn advance(&mut self, now: BootTime) {
        self.clock.set(now);
        self.reclaim();
    }

    /// The latest time that an event or [`advance`](Self::advance) brought; that of an event far ahead only
    /// until the next one says otherwise.
    pub fn now(&self) -> BootTime {
        self.clock.latest()
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
        self.running
    }

    /// A snapshot of an entry. `None`: the entry has gone.
    pub fn process(&self, id: ProcessId) -> Option<Process> {
        self.entry(id).map(Entry::snapshot)
    }

    fn id_of(&self, slot: Slot) -> Option<ProcessId> {
        self.nodes.get(slot).map(|node| ProcessId { slot, key: node.key() })
    }

    fn body(&self, slot: Slot) -> Option<&Body> {
        self.bodies.get(self.nodes.get(slot)?.body()?)
    }

    fn body_mut(&mut self, slot: Slot) -> Option<&mut Body> {
        self.bodies.get_mut(self.nodes.get(slot)?.body()?)
    }

    fn image(&self, slot: Slot) -> Option<&Image> {
        self.body(slot)?.image.as_ref()
    }

    fn set_image(&mut self, slot: Slot, image: Option<Image>) {
        let entered = image.as_ref().map_or(0, Image::enter);
        let Some(body) = self.body_mut(slot) else {
            if let Some(image) = image {
                image.leave();
            }
            return;
        };
        let left = std::mem::replace(&mut body.image, image).as_ref().map_or(0, Image::leave);
        self.image_bytes = self.image_bytes + entered - left;
    }

    fn slot_of(&self, key: ProcessKey) -> Option<Slot> {
        let is_it = |slot: &Slot| self.nodes.get(*slot).is_some_and(|node| node.key() == key);
        self.by_key.find(self.hasher.hash_one(key), is_it)
    }

    fn live_slot_of(&self, pid: Pid) -> Option<Slot> {
        self.latest_slot_of(pid).filter(|slot| self.nodes.get(*slot).is_some_and(Node::is_running))
    }

    fn latest_slot_of(&self, pid: Pid) -> Option<Slot> {
        let is_it = |slot: &Slot| self.nodes.get(*slot).is_some_and(|node| node.pid == pid);
        self.latest.find(self.hasher.hash_one(pid), is_it)
    }

    /// Makes `slot` the latest image of `pid`, in place of `former`.
    fn link_latest(&mut self, pid: Pid, former: Option<Slot>, slot: Slot) {
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        let hash = hasher.hash_one(pid);
        if former.is_some_and(|former| self.latest.replace(hash, former, slot)) {
            return;
        }
        self.latest.insert(hash, slot, |slot| nodes.get(*slot).map_or(0, |node| hasher.hash_one(node.pid)));
    }

    /// Forgets that `slot` is the latest image of `pid`, if it is.
    fn unlink_latest(&mut self, pid: Pid, slot: Slot) {
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.latest.remove(hasher.hash_one(pid), slot, |slot| {
            nodes.get(*slot).map_or(0, |node| hasher.hash_one(node.pid))
        });
    }

    fn link_key(&mut self, key: ProcessKey, slot: Slot) {
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.by_key.insert(hasher.hash_one(key), slot, |slot| {
            nodes.get(*slot).map_or(0, |node| hasher.hash_one(node.key()))
        });
    }

    /// Gives `slot` another key.
    fn rename(&mut self, slot: Slot, key: ProcessKey) {
        let Some(node) = self.nodes.get_mut(slot) else { return };
        let former = std::mem::replace(&mut node.start, key.start);
        debug_assert_eq!(node.pid, key.pid, "a process keeps its pid");
        self.unlink_key(ProcessKey::new(key.pid, former), slot);
        self.link_key(key, slot);
    }

    fn unlink_key(&mut self, key: ProcessKey, slot: Slot) {
        let (hasher, nodes) = (&self.hasher, &self.nodes);
        self.by_key.remove(hasher.hash_one(key), slot, |slot| {
            nodes.get(*slot).map_or(0, |node| hasher.hash_one(node.key()))
        });
    }
}
