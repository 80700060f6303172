//! One entry of the table.

use std::sync::Arc;

use crate::arena::Index;
use crate::event::{Precision, Subject};
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::process::{End, Origin, ParentLink, Process, Provenance};
use crate::time::BootTime;

use super::Table;

/// An image of a process.
///
/// Invariants: `kept_by` is the number of nodes whose `parent` or `previous` is this one; a node
/// that is kept is never removed, so links never dangle; every link leads to a node that precedes
/// (`Table::precedes`), so links form no cycle. Only `reclaim` takes and drops links.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) key: ProcessKey,
    pub(super) began: BootTime,
    pub(super) precision: Precision,
    pub(super) origin: Origin,
    pub(super) parent: Option<Index>,
    pub(super) parent_provenance: Provenance,
    pub(super) owner: Option<ProcessKey>,
    pub(super) previous: Option<Index>,
    pub(super) ns_pid: Option<Pid>,
    pub(super) image: Option<Arc<Image>>,
    pub(super) end: Option<End>,
    /// The list of nodes whose `parent` is this one, linked through their `sibling` fields.
    pub(super) first_child: Option<Index>,
    pub(super) next_sibling: Option<Index>,
    pub(super) previous_sibling: Option<Index>,
    pub(super) kept_by: u32,
    /// The grace time after its end is over: it goes as soon as nothing keeps it.
    pub(super) grace_over: bool,
    pub(super) hold: Option<Arc<()>>,
}

impl Node {
    pub(super) fn new(subject: Subject, origin: Origin) -> Self {
        Self {
            key: subject.key,
            began: subject.began,
            precision: subject.precision,
            origin,
            parent: None,
            parent_provenance: Provenance::Inferred,
            owner: None,
            previous: None,
            ns_pid: None,
            image: None,
            end: None,
            first_child: None,
            next_sibling: None,
            previous_sibling: None,
            kept_by: 0,
            grace_over: false,
            hold: None,
        }
    }

    /// Whether `other` is this process, perhaps in another image.
    ///
    /// A start read from `/proc` is known to the tick only, so where either side has such a one,
    /// ticks are compared: a pid cannot come round within ten milliseconds.
    pub(super) fn is_same_process(&self, other: Subject) -> bool {
        let exact = self.precision == Precision::Nanoseconds && other.precision == Precision::Nanoseconds;
        self.key.pid == other.key.pid
            && if exact { self.began == other.began } else { self.began.as_ticks() == other.began.as_ticks() }
    }

    pub(super) fn is_held(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| Arc::strong_count(hold) > 1)
    }

    pub(super) fn snapshot(&self, table: &Table) -> Process {
        let key_of = |index| table.nodes.get(index).map(|node| node.key);
        let parent = self.parent.and_then(key_of);
        Process {
            key: self.key,
            began: self.began,
            origin: self.origin,
            parent: parent.map(|key| ParentLink { key, provenance: self.parent_provenance }),
            owner: self.owner,
            previous: self.previous.and_then(key_of),
            ns_pid: self.ns_pid,
            image: self.image.clone(),
            end: self.end,
        }
    }
}
