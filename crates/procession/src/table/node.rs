//! One entry of the table, in two parts: what every entry has, and what goes when memory is short.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::arena::Slot;
use crate::event::{Gap, Precision, Subject};
use crate::ids::{Pid, ProcessKey};
use crate::image::{Image, ProgramFile};
use crate::process::{End, EndKind, Origin, ParentLink, Process, Provenance, Tombstone};
use crate::status::ExitStatus;
use crate::time::BootTime;

use super::Table;

/// An image of a process: the part that stays even of a tombstone.
///
/// Invariants: `kept_by` is the number of nodes whose `parent` or `previous` is this one; a node
/// that is kept is never removed, so links never dangle; every link leads to a node that precedes
/// (`Table::precedes`), so links form no cycle. Only `links` takes and drops links.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) start: BootTime,
    pub(super) began: BootTime,
    /// Meaningful once `life` is not [`Life::Running`].
    pub(super) ended: BootTime,
    pub(super) detail: Detail,
    pub(super) pid: Pid,
    pub(super) parent: Option<Slot>,
    pub(super) previous: Option<Slot>,
    pub(super) kept_by: u32,
    pub(super) life: Life,
    pub(super) origin: Origin,
    pub(super) parent_provenance: Provenance,
    pub(super) precision: Precision,
    /// The queue of those that have ended that this one is in.
    pub(super) queue: Waiting,
    /// What the process has from those that led to it.
    pub(super) marks: Marks,
    /// How many of the ancestors, from the nearest on, were seen starting.
    pub(super) depth: u16,
}

/// A tombstone takes 64 bytes and its place in the index.
const _: () = assert!(size_of::<Option<Node>>() <= 64);
const _: () = assert!(size_of::<Option<Body>>() <= 56);

/// The other half of a node.
#[derive(Debug)]
pub(super) enum Detail {
    /// In the arena of bodies.
    Body(Slot),
    /// Gone for want of memory. What it ran is left, and how many older ones it stands for.
    Tombstone { program: Arc<ProgramFile>, folded: u32 },
}

/// What a process hands on to those that it forks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// It, or one that led to it, is followed ([`Table::follow`]).
    pub(super) const FOLLOWED: Self = Self(1);
    /// It, or one that led to it, is the first process of a pid namespace.
    pub(super) const IN_INIT_TREE: Self = Self(2);

    pub(super) fn of(is_followed: bool, in_init_tree: bool) -> Self {
        let mut marks = Self::default();
        if is_followed {
            marks.add(Self::FOLLOWED);
        }
        if in_init_tree {
            marks.add(Self::IN_INIT_TREE);
        }
        marks
    }

    pub(super) fn add(&mut self, marks: Self) {
        self.0 |= marks.0;
    }

    pub(super) fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }
}

/// How far an image has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    Exited,
    Replaced,
    Vanished,
    Gone(Gap),
}

impl Life {
    /// How far an image has come that ended so, and with which status.
    pub(super) fn of(how: EndKind) -> (Self, Option<ExitStatus>) {
        match how {
            EndKind::Exited(status) => (Self::Exited, status),
            EndKind::Replaced => (Self::Replaced, None),
            EndKind::Vanished => (Self::Vanished, None),
            EndKind::Gone(gap) => (Self::Gone(gap), None),
        }
    }
}

/// The part of an entry that a tombstone has lost.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) image: Option<Image>,
    owner_start: BootTime,
    owner_pid: Option<NonZeroU32>,
    ns_pid: Option<NonZeroU32>,
    session: Option<NonZeroU32>,
    pub(super) status: Option<ExitStatus>,
    /// The list of nodes whose `parent` is this one, linked through their `sibling` fields.
    pub(super) first_child: Option<Slot>,
    pub(super) next_sibling: Option<Slot>,
    pub(super) previous_sibling: Option<Slot>,
    /// The place in one of the queues of those that have ended.
    pub(super) after: Option<Slot>,
    pub(super) before: Option<Slot>,
    /// Handles that keep the entry.
    pub(super) holds: u32,
}

/// Which queue an entry is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waiting {
    /// In none.
    #[default]
    No,
    /// For the end of its grace time.
    Grace,
    /// Ended and kept by others: to become a tombstone when memory is short.
    Ancestor,
}

impl Node {
    pub(super) fn new(subject: Subject, origin: Origin, body: Slot) -> Self {
        Self {
            start: subject.key.start,
            began: subject.began,
            ended: BootTime::ZERO,
            detail: Detail::Body(body),
            pid: subject.key.pid,
            parent: None,
            previous: None,
            kept_by: 0,
            life: Life::Running,
            origin,
            parent_provenance: Provenance::Inferred,
            precision: subject.precision,
            queue: Waiting::No,
            marks: Marks::default(),
            depth: 0,
        }
    }

    pub(super) fn key(&self) -> ProcessKey {
        ProcessKey::new(self.pid, self.start)
    }

    pub(super) fn body(&self) -> Option<Slot> {
        match self.detail {
            Detail::Body(body) => Some(body),
            Detail::Tombstone { .. } => None,
        }
    }

    /// The program that a tombstone still knows, and for how many others it stands.
    pub(super) fn tombstone(&self) -> Option<(&Arc<ProgramFile>, u32)> {
        match &self.detail {
            Detail::Body(_) => None,
            Detail::Tombstone { program, folded } => Some((program, *folded)),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.life == Life::Running
    }

    pub(super) fn subject(&self) -> Subject {
        Subject { key: self.key(), began: self.began, precision: self.precision }
    }

    /// Whether `other` is this process, perhaps in another image.
    ///
    /// A start read from `/proc` is known to the tick only, so where either side has such a one,
    /// ticks are compared: a pid cannot come round within ten milliseconds.
    pub(super) fn is_same_process(&self, other: Subject) -> bool {
        let exact = self.precision == Precision::Nanoseconds && other.precision == Precision::Nanoseconds;
        self.pid == other.key.pid
            && if exact { self.began == other.began } else { self.began.as_ticks() == other.began.as_ticks() }
    }

    /// Where the node stands in the order that links follow. See `Table::precedes`.
    pub(super) fn rank(&self) -> (BootTime, Pid, BootTime) {
        (self.began, self.pid, self.start)
    }

    pub(super) fn snapshot(&self, table: &Table) -> Process {
        let key_of = |slot| table.nodes.get(slot).map(Node::key);
        let body = self.body().and_then(|body| table.bodies.get(body));
        let parent = self.parent.and_then(key_of);
        Process {
            key: self.key(),
            began: self.began,
            origin: self.origin,
            parent: parent.map(|key| ParentLink { key, provenance: self.parent_provenance }),
            owner: body.and_then(Body::owner),
            previous: table.replaced_by(self).and_then(key_of),
            ns_pid: body.and_then(Body::ns_pid),
            session: body.and_then(Body::session),
            in_init_tree: self.marks.has(Marks::IN_INIT_TREE),
            image: body.and_then(|body| body.image.clone()),
            tombstone: self
                .tombstone()
                .map(|(program, folded)| Tombstone { program: Arc::clone(program), stands_for: folded }),
            end: self.end(body.and_then(|body| body.status)),
        }
    }

    pub(super) fn end(&self, status: Option<ExitStatus>) -> Option<End> {
        let how = match self.life {
            Life::Running => return None,
            Life::Exited => EndKind::Exited(status),
            Life::Replaced => EndKind::Replaced,
            Life::Vanished => EndKind::Vanished,
            Life::Gone(gap) => EndKind::Gone(gap),
        };
        Some(End { time: self.ended, how })
    }
}

impl Body {
    pub(super) fn owner(&self) -> Option<ProcessKey> {
        self.owner_pid.map(|pid| ProcessKey::new(Pid(pid.get()), self.owner_start))
    }

    pub(super) fn set_owner(&mut self, owner: Option<ProcessKey>) {
        self.owner_pid = owner.and_then(|owner| NonZeroU32::new(owner.pid.0));
        self.owner_start = owner.map_or(BootTime::ZERO, |owner| owner.start);
    }

    pub(super) fn ns_pid(&self) -> Option<Pid> {
        self.ns_pid.map(|pid| Pid(pid.get()))
    }

    pub(super) fn set_ns_pid(&mut self, pid: Option<Pid>) {
        self.ns_pid = pid.and_then(|pid| NonZeroU32::new(pid.0));
    }

    pub(super) fn session(&self) -> Option<Pid> {
        self.session.map(|pid| Pid(pid.get()))
    }

    pub(super) fn set_session(&mut self, leader: Option<Pid>) {
        self.session = leader.and_then(|pid| NonZeroU32::new(pid.0));
    }
}
