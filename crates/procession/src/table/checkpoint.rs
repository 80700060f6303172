//! A copy of a table's state, from which another table goes on.

use std::collections::HashMap;
use std::iter::successors;

use crate::arena::Slot;
use crate::event::{Precision, Subject};
use crate::ids::ProcessKey;
use crate::image::Image;
use crate::ledger::Ledger;
use crate::process::{End, Process, Provenance};
use crate::time::BootTime;

use super::node::{Life, Marks, Node, Waiting};
use super::pressure::Totals;
use super::reclaim::Queue;
use super::{Table, TableConfig};

/// The state of a [`Table`] at one moment, free of it.
///
/// A table that is [restored](Table::restore) from it and told the rest of a log knows what a table
/// knows that was told all of it. Handles belong to the table that gave them: what only they keep is
/// in the copy, and goes with the next [`Table::advance`] for which it is due.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    config: TableConfig,
    now: BootTime,
    ledger: Ledger,
    totals: Totals,
    /// Each after those to which it links.
    entries: Vec<Saved>,
    /// Those that wait for the end of their grace time, and the ancestors; in the order of the queues.
    grace: Vec<ProcessKey>,
    ancestors: Vec<ProcessKey>,
}

/// One entry: what a reader sees of it, and what is for the table alone.
#[derive(Clone, Debug)]
struct Saved {
    process: Process,
    precision: Precision,
    parent_provenance: Provenance,
    /// With that which a process shared with its parent, unlike [`Process::previous`].
    previous: Option<ProcessKey>,
    marks: Marks,
    depth: u16,
    /// Whether it is the latest image of its pid.
    is_latest: bool,
}

impl Table {
    /// Copies the state. The images are shared with the table.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by_key(|(_, node)| node.rank());
        Checkpoint {
            config: self.config,
            now: self.now,
            ledger: self.ledger,
            totals: self.pressure.totals(),
            entries: nodes.into_iter().map(|(slot, node)| self.save(slot, node)).collect(),
            grace: self.keys_of(&self.grace),
            ancestors: self.keys_of(&self.ancestors),
        }
    }

    fn save(&self, slot: Slot, node: &Node) -> Saved {
        Saved {
            process: node.snapshot(self),
            precision: node.precision,
            parent_provenance: node.parent_provenance,
            previous: node.previous.and_then(|slot| self.nodes.get(slot)).map(Node::key),
            marks: node.marks,
            depth: node.depth,
            is_latest: self.latest_slot_of(node.pid) == Some(slot),
        }
    }

    fn keys_of(&self, queue: &Queue) -> Vec<ProcessKey> {
        let slots = successors(queue.front, |slot| self.body(*slot)?.after);
        slots.filter_map(|slot| self.nodes.get(slot)).map(Node::key).collect()
    }

    /// A table in the state of `checkpoint`, with the same configuration.
    pub fn restore(checkpoint: &Checkpoint) -> Self {
        let mut table = Self::new(checkpoint.config);
        table.now = checkpoint.now;
        let mut images = HashMap::new();
        for saved in &checkpoint.entries {
            table.put_back(saved, &mut images);
        }
        for (which, keys) in [(Waiting::Grace, &checkpoint.grace), (Waiting::Ancestor, &checkpoint.ancestors)]
        {
            for slot in keys.iter().filter_map(|key| table.slot_of(*key)).collect::<Vec<_>>() {
                table.enqueue(which, slot);
            }
        }
        table.ledger = checkpoint.ledger;
        table.pressure.set_totals(checkpoint.totals);
        table
    }

    /// `images` has those that were put back already, by where the originals are.
    fn put_back(&mut self, saved: &Saved, images: &mut HashMap<usize, Image>) {
        let Saved { process, precision, .. } = saved;
        let subject = Subject { key: process.key, began: process.began, precision: *precision };
        let Some(slot) = self.insert(subject, process.origin) else { return };
        if let Some(parent) = process.parent.and_then(|link| self.slot_of(link.key)) {
            self.link_parent(slot, parent);
        }
        if let Some(previous) = saved.previous.and_then(|key| self.slot_of(key)) {
            self.link_previous(slot, previous);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            node.parent_provenance = saved.parent_provenance;
            node.marks = saved.marks;
            node.depth = saved.depth;
        }
        if saved.is_latest {
            self.link_latest(process.pid(), None, slot);
        }
        self.put_back_end(slot, process.end);
        self.put_back_body(slot, process, images);
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

    fn put_back_body(&mut self, slot: Slot, process: &Process, images: &mut HashMap<usize, Image>) {
        if let Some(tombstone) = &process.tombstone {
            let program = self.shared.adopt_program(&tombstone.program);
            return self.entomb(slot, program, tombstone.stands_for);
        }
        let shared = &mut self.shared;
        let image = process
            .image
            .as_ref()
            .map(|image| images.entry(image.address()).or_insert_with(|| shared.adopt(image)).clone());
        self.set_image(slot, image);
        if let Some(body) = self.body_mut(slot) {
            body.set_ns_pid(process.ns_pid);
            body.set_session(process.session);
            body.set_owner(process.owner);
        }
    }
}

impl Checkpoint {
    /// When it was made.
    pub fn time(&self) -> BootTime {
        self.now
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
