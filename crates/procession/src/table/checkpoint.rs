//! A copy of a table's state, from which another table goes on.

use std::iter::successors;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::arena::Slot;
use crate::ids::ProcessKey;
use crate::image::{Image, ProgramFile};
use crate::process::End;
use crate::time::BootTime;

use super::clock::Clock;
use super::node::{Body, Life, Marks, Node, Waiting};
use super::parts::{SavedContent, SavedEntry, SavedState};
use super::reclaim::Queue;
use super::{Table, TableConfig};

/// The state of a [`Table`] at one moment, free of it.
///
/// A table that is [restored](Table::restore) from it and told the rest of a log knows what a table
/// knows that was told all of it, as long as neither is ever short of memory.
///
/// Under pressure the two may differ in what they have
/// [dropped early, folded or evicted](crate::Explanation), and in nothing else. What goes first is decided by
/// what the entries are: ended ones in the order in which they ended, then the youngest of the living. When
/// it goes is decided by the bytes that are allocated, which depend on the past: a table that has shrunk has
/// pages that are not full and indexes that have grown, where its copy is dense. Neither that nor how much
/// was dropped since shared values were last swept is in the copy; to charge entries by their number instead
/// would break the promise that the budget holds for what is allocated.
///
/// Handles belong to the table that gave them: what only they keep is in the copy, and goes with the
/// next [`Table::advance`] for which it is due.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(super) config: TableConfig,
    pub(super) state: SavedState,
    /// Each after those to which it links.
    pub(super) entries: Vec<Saved>,
    /// Those that wait for the end of their grace time, and the ancestors; in the order of the queues.
    pub(super) grace: Vec<ProcessKey>,
    pub(super) ancestors: Vec<ProcessKey>,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    /// All but what it runs.
    pub(super) entry: SavedEntry,
    pub(super) content: Content,
}

/// What is known of what an entry runs.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Unknown,
    Image(Image),
    Tombstone { program: Arc<ProgramFile>, stands_for: u32 },
}

/// The images that were put back already, by where the originals are.
type Images = HashMap<usize, Image, FixedState>;

impl Table {
    /// Copies the state. The images are shared with the table.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by_key(|(_, node)| node.rank());
        Checkpoint {
            config: self.config,
            state: self.pressure.saved_in(&SavedState {
                now: self.clock.settled(),
                latest: self.clock.latest(),
                ledger: self.ledger,
                ..SavedState::default()
            }),
            entries: nodes.into_iter().map(|(slot, node)| self.save(slot, node)).collect(),
            grace: self.keys_of(&self.grace),
            ancestors: self.keys_of(&self.ancestors),
        }
    }

    fn save(&self, slot: Slot, node: &Node) -> Saved {
        let key_of = |slot| self.nodes.get(slot).map(Node::key);
        let body = self.body(slot);
        let entry = SavedEntry {
            subject: node.subject(),
            origin: node.origin,
            parent: node.parent.and_then(key_of),
            parent_provenance: node.parent_provenance,
            owner: body.and_then(Body::owner),
            previous: node.previous.and_then(key_of),
            ns_pid: body.and_then(Body::ns_pid),
            session: body.and_then(Body::session),
            is_followed: node.marks.has(Marks::FOLLOWED),
            in_init_tree: node.marks.has(Marks::IN_INIT_TREE),
            depth: node.depth,
            is_latest: self.latest_slot_of(node.pid) == Some(slot),
            content: SavedContent::Unknown,
            end: node.end(body.and_then(|body| body.status)),
        };
        let image = body.and_then(|body| body.image.clone());
        let content = match node.tombstone() {
            Some((program, folded)) => {
                Content::Tombstone { program: Arc::clone(program), stands_for: folded }
            }
            None => image.map_or(Content::Unknown, Content::Image),
        };
        Saved { entry, content }
    }

    fn keys_of(&self, queue: &Queue) -> Vec<ProcessKey> {
        let slots = successors(queue.front, |slot| self.body(*slot)?.after);
        slots.filter_map(|slot| self.nodes.get(slot)).map(Node::key).collect()
    }

    /// A table in the state of `checkpoint`, with the same configuration.
    pub fn restore(checkpoint: &Checkpoint) -> Self {
        Self::restore_with(checkpoint, checkpoint.config)
    }

    /// A table in the state of `checkpoint`, with another configuration. Arguments that are too long for
    /// its budget are [cut](super::MINIMUM_BUDGET); what else does not fit goes, as when memory is short.
    pub fn restore_with(checkpoint: &Checkpoint, config: TableConfig) -> Self {
        let mut table = Self::new(config);
        let SavedState { now, latest, .. } = checkpoint.state;
        table.clock = Clock::at(now, latest);
        let mut images = Images::default();
        for saved in &checkpoint.entries {
            table.put_back(saved, &mut images);
        }
        table.put_back_queues(checkpoint);
        table.ledger = checkpoint.state.ledger;
        table.pressure.restore(&checkpoint.state);
        table.stay_within_budget();
        table
    }

    fn put_back(&mut self, saved: &Saved, images: &mut Images) {
        let entry = &saved.entry;
        let Some(slot) = self.insert(entry.subject, entry.origin) else { return };
        if let Some(parent) = entry.parent.and_then(|key| self.slot_of(key)) {
            self.link_parent(slot, parent);
        }
        if let Some(previous) = entry.previous.and_then(|key| self.slot_of(key)) {
            self.link_previous(slot, previous);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            node.parent_provenance = entry.parent_provenance;
            node.marks = Marks::of(entry.is_followed, entry.in_init_tree);
            node.depth = entry.depth;
        }
        if entry.is_latest {
            self.link_latest(entry.subject.key.pid, None, slot);
        }
        self.put_back_end(slot, entry.end);
        self.put_back_body(slot, saved, images);
    }

    fn put_back_end(&mut self, slot: Slot, end: Option<End>) {
        let (Some(end), Some(node)) = (end, self.nodes.get_mut(slot)) else { return };
        let (life, status) = Life::of(end.how);
        self.running -= 1;
        node.ended = end.time;
        node.life = life;
        if let Some(body) = self.body_mut(slot) {
            body.status = status;
        }
    }

    fn put_back_body(&mut self, slot: Slot, saved: &Saved, images: &mut Images) {
        let (most, shared) = (self.longest_text(), &mut self.shared);
        let image = match &saved.content {
            Content::Unknown => None,
            Content::Image(image) => {
                Some(images.entry(image.address()).or_insert_with(|| shared.adopt(image, most)).clone())
            }
            Content::Tombstone { program, stands_for } => {
                let program = shared.adopt_program(program);
                return self.entomb(slot, program, *stands_for);
            }
        };
        self.set_image(slot, image);
        if let Some(body) = self.body_mut(slot) {
            body.set_ns_pid(saved.entry.ns_pid);
            body.set_session(saved.entry.session);
            body.set_owner(saved.entry.owner);
        }
    }

    fn put_back_queues(&mut self, checkpoint: &Checkpoint) {
        for (which, keys) in [(Waiting::Grace, &checkpoint.grace), (Waiting::Ancestor, &checkpoint.ancestors)]
        {
            for key in keys {
                let slot = self.slot_of(*key).filter(|slot| which == Waiting::Grace || self.is_kept(*slot));
                if let Some(slot) = slot {
                    self.enqueue(which, slot);
                }
            }
        }
        // What is in no queue was kept by a handle, and there are none now.
        for slot in checkpoint.entries.iter().map(|saved| saved.entry.subject.key) {
            let Some(slot) = self.slot_of(slot) else { continue };
            let is_idle = |node: &Node| !node.is_running() && node.queue == Waiting::No;
            if !self.nodes.get(slot).is_some_and(is_idle) {
                continue;
            }
            match self.body(slot) {
                Some(_) => self.enqueue(Waiting::Grace, slot),
                None => self.remove_unkept(slot),
            }
        }
    }

    fn is_kept(&self, slot: Slot) -> bool {
        self.nodes.get(slot).is_some_and(|node| node.kept_by > 0)
    }
}

impl Checkpoint {
    /// When it was made.
    pub fn time(&self) -> BootTime {
        self.state.now.max(self.state.latest)
    }

    /// How the table behaved that it is of.
    pub fn config(&self) -> TableConfig {
        self.config
    }

    /// What it holds besides its [parts](Self::parts).
    pub fn state(&self) -> SavedState {
        self.state
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
