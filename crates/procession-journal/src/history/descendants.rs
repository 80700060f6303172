//! A process and all that ever descended from it, as a tree.

use std::time::SystemTime;

use procession::{Applied, Outcome, Process, Table};

use crate::journal::{Moment, Witness};
use crate::reader::Damage;
use crate::recording::Recording;

use super::Target;
use super::family::{Extent, Family, Member};

/// A process that descended from the one that was asked for, or that one itself.
#[derive(Clone, Debug)]
pub struct Descendant {
    /// How many processes lie between it and the one that was asked for, itself included: 0 for that one,
    /// 1 for its children.
    pub level: u32,
    /// As it was last heard of, in its last image.
    pub process: Process,
    /// When the process began.
    pub began: SystemTime,
    /// When it exited. `None`: it was not seen to.
    pub ended: Option<SystemTime>,
    /// Children that are not in the list.
    pub left_out: u64,
    /// Of which boot it is: the place of its recording in [`Descendants::recordings`].
    pub boot: usize,
}

/// What [`Journal::descendants_ever`](crate::Journal::descendants_ever) found.
#[derive(Clone, Debug, Default)]
pub struct Descendants {
    /// Parents before their children.
    pub list: Vec<Descendant>,
    /// What the last block of each boot says that has any of them.
    pub recordings: Vec<Recording>,
    /// What could not be read: some may be missing.
    pub damage: Vec<Damage>,
}

impl Descendants {
    /// Children of those in the list that are not in it themselves. They may have had children, too.
    pub fn left_out(&self) -> u64 {
        self.list.iter().map(|descendant| descendant.left_out).sum()
    }
}

/// Gathers the descendants while the journal is folded.
#[derive(Debug)]
pub(super) struct Gathering(Family);

impl Gathering {
    pub(super) fn new(target: Target, members: usize) -> Self {
        Self(Family::new(target, Extent { levels: u32::MAX, members }))
    }

    /// Adds those of one boot, as trees.
    pub(super) fn add_to(self, descendants: &mut Descendants, recording: &Recording) {
        let members = self.0.into_members();
        let trees = trees(&members);
        if trees.is_empty() {
            return;
        }
        let boot = descendants.recordings.len();
        descendants.recordings.push(recording.clone());
        descendants.list.extend(trees.into_iter().map(|(number, level)| {
            let Member { process, began, ended, left_out, .. } = &members[number];
            let (began, ended, left_out) = (*began, *ended, *left_out);
            Descendant { level, process: process.clone(), began, ended, left_out, boot }
        }));
    }
}

/// The places of members and their levels, parents first, in the trees of those that were asked for.
fn trees(members: &[Member]) -> Vec<(usize, u32)> {
    let mut children = vec![Vec::new(); members.len()];
    let mut roots = Vec::new();
    // A parent has a lower place than its children.
    let mut is_within = vec![false; members.len()];
    for (number, member) in members.iter().enumerate() {
        if let Some(parent) = member.parent {
            is_within[number] = is_within[parent] || members[parent].is_target;
            children[parent].push(number);
        }
        if member.is_target && !is_within[number] {
            roots.push(number);
        }
    }
    let mut next: Vec<_> = roots.into_iter().rev().map(|root| (root, 0)).collect();
    let mut order = Vec::new();
    while let Some((number, level)) = next.pop() {
        order.push((number, level));
        next.extend(children[number].iter().rev().map(|child| (*child, level + 1)));
    }
    order
}

impl Witness for Gathering {
    fn restored(&mut self, table: &Table, recording: &Recording) {
        self.0.look_through(table, recording.clock);
    }

    fn applied(&mut self, moment: Moment<'_>, applied: Applied) {
        let Moment { table, recording, .. } = moment;
        let Some(entry) = applied.process.and_then(|id| table.entry(id)) else { return };
        let is_new = self.0.meet(entry, recording.clock).is_some_and(|(_, is_new)| is_new);
        // What came before this one was heard of may be its child.
        if is_new && applied.outcome == Outcome::Late {
            self.0.look_through(table, recording.clock);
        }
    }
}
