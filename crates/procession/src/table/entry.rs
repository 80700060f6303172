//! What a reader sees of an entry, and the walks from one to the next. No step of a walk hashes
//! anything, and none copies.

use std::fmt;
use std::iter::successors;

use crate::arena::Slot;
use crate::credentials::Credentials;
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::process::{Origin, ParentLink, Process, Provenance};
use crate::time::BootTime;

use super::node::{Body, Life, Marks, Node};
use super::pressure::Retention;
use super::{ProcessId, Table};

/// An image of a process in a [`Table`], borrowed: reading it costs nothing but the reading.
///
/// [`snapshot`](Self::snapshot) makes of it a value that is free of the table.
#[derive(Clone, Copy)]
pub struct Entry<'t> {
    table: &'t Table,
    slot: Slot,
    node: &'t Node,
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.snapshot()).finish()
    }
}

impl Table {
    /// The entry of the image called `key`, live or ended.
    pub fn get(&self, key: ProcessKey) -> Option<Entry<'_>> {
        self.entry_at(self.slot_of(key)?)
    }

    /// The current image of the live process `pid`.
    pub fn get_live(&self, pid: Pid) -> Option<Entry<'_>> {
        self.entry_at(self.live_slot_of(pid)?)
    }

    /// The entry that `id` names. `None`: it has gone.
    pub fn entry(&self, id: ProcessId) -> Option<Entry<'_>> {
        self.entry_at(id.slot).filter(|entry| entry.key() == id.key)
    }

    /// Every entry, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.nodes.iter().map(|(slot, node)| Entry { table: self, slot, node })
    }

    fn live_entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries().filter(|entry| entry.is_running())
    }

    fn entry_at(&self, slot: Slot) -> Option<Entry<'_>> {
        Some(Entry { table: self, slot, node: self.nodes.get(slot)? })
    }
}

impl<'t> Entry<'t> {
    /// Its name in the table.
    pub fn id(self) -> ProcessId {
        ProcessId { slot: self.slot, key: self.key() }
    }

    /// The image's key.
    pub fn key(self) -> ProcessKey {
        self.node.key()
    }

    /// When the process began.
    pub fn began(self) -> BootTime {
        self.node.began
    }

    /// Pid in the innermost pid namespace. `None`: that is the host's, or it is unknown.
    pub fn ns_pid(self) -> Option<Pid> {
        self.body().and_then(Body::ns_pid)
    }

    /// How this image came to be known.
    pub fn origin(self) -> Origin {
        self.node.origin
    }

    /// Whether this image runs.
    pub fn is_running(self) -> bool {
        self.node.is_running()
    }

    /// Whether the process has exited, rather than gone on in another image.
    pub fn has_exited(self) -> bool {
        !matches!(self.node.life, Life::Running | Life::Replaced)
    }

    /// Why it is in the table.
    pub fn retention(self) -> Retention {
        self.table.retention(self.slot, self.node)
    }

    /// What it runs. `None`: never learnt, or forgotten for want of memory.
    pub fn image(self) -> Option<&'t Image> {
        self.body()?.image.as_ref()
    }

    /// The file named in the exec. Empty: unknown.
    pub fn binary(self) -> &'t [u8] {
        match self.node.tombstone() {
            Some((program, _)) => &program.binary,
            None => self.image().map_or(b"", Image::binary),
        }
    }

    /// Ids and capabilities.
    pub fn credentials(self) -> Option<&'t Credentials> {
        self.image()?.credentials()
    }

    /// A value that stays as it is now, whatever becomes of the entry.
    pub fn snapshot(self) -> Process {
        self.node.snapshot(self.table)
    }

    /// The image that forked the process.
    pub fn parent(self) -> Option<Self> {
        self.table.entry_at(self.node.parent?)
    }

    /// The image that the process had before.
    ///
    /// That which it shares with its parent until its first exec is an entry of its own only if it
    /// is needed: when it forked others, or a handle keeps it.
    pub fn previous(self) -> Option<Self> {
        self.table.entry_at(self.node.previous?)
    }

    /// The parent by the reference system's rule: the image that it replaced when there was no
    /// fork in between, else the image that forked the process.
    pub fn reference_parent(self) -> Option<Self> {
        self.table.entry_at(self.table.replaced_by(self.node).or(self.node.parent)?)
    }

    /// The image that forked the process, the one that forked that process, and so on to the first
    /// known: each in the image it ran at the time of the fork.
    pub fn ancestors(self) -> impl Iterator<Item = Self> + Clone {
        successors(self.parent(), |entry| entry.parent())
    }

    /// [`reference_parent`](Self::reference_parent), its own, and so on: the list that the
    /// reference system calls ancestors, with the parent in front of it.
    pub fn reference_lineage(self) -> impl Iterator<Item = Self> + Clone {
        successors(self.reference_parent(), |entry| entry.reference_parent())
    }

    /// Who owns the process now: who will be told of its end.
    ///
    /// Its parent, for as long as that lives. Then another process inherits it, and which one that
    /// is shows with the process's next event ([`Provenance::Observed`]). Until then it is taken to be
    /// the first process of the parent's pid namespace, where that led to the parent, and else pid 1
    /// ([`Provenance::Inferred`]): it may be a subreaper as well.
    pub fn owner(self) -> Option<ParentLink> {
        let noted = self.body().and_then(Body::owner).map(|key| (key, Provenance::Observed));
        let parent = || {
            let current = self.parent()?.current()?;
            Some((current.key(), self.node.parent_provenance))
        };
        let heir = || {
            let heir = self.parent()?.reaper().filter(|heir| heir.slot != self.slot)?;
            Some((heir.key(), Provenance::Inferred))
        };
        // Who began after what was noted has only the pid.
        let is_it = |live: Self, key: ProcessKey| live.began().as_ticks() <= key.start.as_ticks();
        let alive =
            |(key, _): &(ProcessKey, _)| self.table.get_live(key.pid).is_some_and(|it| is_it(it, *key));
        let (key, provenance) = noted.filter(alive).or_else(parent).or_else(heir)?;
        Some(ParentLink { key, provenance })
    }

    /// Who inherits the children of this process, as long as nobody has said that it is a subreaper.
    fn reaper(self) -> Option<Self> {
        let namespace = self.pid_namespace();
        let is_first = |entry: &Self| entry.ns_pid() == Some(Pid(1)) && entry.pid_namespace() == namespace;
        let first = namespace.and_then(|_| self.ancestors().find(is_first));
        first.and_then(Self::current).or_else(|| self.table.get_live(Pid(1)))
    }

    /// The pid namespace that the process lives in. `None`: unknown.
    fn pid_namespace(self) -> Option<u32> {
        self.image()?.namespaces().map(|namespaces| namespaces.pid).filter(|inode| *inode != 0)
    }

    /// Pid of the process that leads the session, which may have exited. `None`: unknown.
    pub fn session(self) -> Option<Pid> {
        self.body()?.session()
    }

    /// The process that leads the session: this one, or one that led to it.
    ///
    /// `None`: the session is unknown, or began in a process that is.
    pub fn session_root(self) -> Option<Self> {
        let leader = self.body()?.session()?;
        let itself = Some(self).filter(|entry| entry.node.pid == leader);
        itself.or_else(|| self.ancestors().find(|entry| entry.node.pid == leader))
    }

    /// The live processes that this process forked, in whichever image, in no particular order.
    ///
    /// The cost is that of those that are found and of the dead among them. It is that of all live
    /// processes when memory was so short that there are
    /// [tombstones](crate::Explanation::tombstones), which do not know their children, and for a
    /// process whose pid another one has by now.
    pub fn children(self) -> Box<dyn Iterator<Item = Self> + 't> {
        let Some(latest) = self.latest_with_lists() else {
            let is_child = move |entry: &Self| entry.parent().is_some_and(|it| it.is_same_process(self));
            return Box::new(self.table.live_entries().filter(is_child));
        };
        Box::new(latest.images().flat_map(Self::forked).filter(|child| child.is_running()))
    }

    /// The live processes that this process led to: its children, theirs, and so on, in no
    /// particular order. The cost is as for [`children`](Self::children).
    pub fn descendants(self) -> Box<dyn Iterator<Item = Self> + 't> {
        let Some(latest) = self.latest_with_lists() else {
            return Box::new(self.table.live_entries().filter(move |entry| entry.descends_from(self)));
        };
        let mut found: Vec<_> = latest.images().flat_map(Self::forked).collect();
        let each = std::iter::from_fn(move || {
            let next = found.pop()?;
            found.extend(next.forked());
            Some(next)
        });
        Box::new(each.filter(|entry| entry.is_running()))
    }

    /// Whether `ancestor`, in any of its images, is among the processes that led to this one.
    pub fn descends_from(self, ancestor: Self) -> bool {
        self.ancestors().any(|entry| entry.is_same_process(ancestor))
    }

    /// Whether both are images of one process.
    pub fn is_same_process(self, other: Self) -> bool {
        self.node.is_same_process(other.node.subject())
    }

    /// The current image of the process, if it is alive.
    pub fn current(self) -> Option<Self> {
        if self.is_running() {
            return Some(self);
        }
        self.table.get_live(self.node.pid).filter(|live| live.is_same_process(self))
    }

    /// How many of the ancestors, from the nearest on, were seen starting when the process was
    /// linked to them: how deep to draw it in a tree.
    pub fn depth(self) -> u16 {
        self.node.depth
    }

    /// Whether the process, or one that led to it, is the first of a pid namespace: see
    /// [`Process::in_init_tree`].
    pub fn is_in_init_tree(self) -> bool {
        self.node.marks.has(Marks::IN_INIT_TREE)
    }

    /// Whether the process, or one that led to it, is [followed](Table::follow).
    pub fn is_followed(self) -> bool {
        self.node.marks.has(Marks::FOLLOWED)
    }

    /// How many events the table has received.
    pub(crate) fn sequence(self) -> u64 {
        self.table.ledger.received()
    }

    /// The latest image of the process, provided that the lists of children are whole.
    fn latest_with_lists(self) -> Option<Self> {
        let latest = self.table.entry_at(self.table.latest_slot_of(self.node.pid)?)?;
        (self.table.tombstones == 0 && latest.is_same_process(self)).then_some(latest)
    }

    /// This image and those before it.
    fn images(self) -> impl Iterator<Item = Self> {
        successors(Some(self), |entry| entry.previous())
    }

    /// All entries whose parent is this very one.
    fn forked(self) -> impl Iterator<Item = Self> {
        let table = self.table;
        let first = self.body().and_then(|body| body.first_child);
        successors(first, |slot| table.body(*slot)?.next_sibling).filter_map(|slot| table.entry_at(slot))
    }

    fn body(self) -> Option<&'t Body> {
        self.table.bodies.get(self.node.body()?)
    }
}

impl Table {
    /// Marks a process, and with it whatever it starts from now on.
    pub fn follow(&mut self, id: ProcessId) {
        if self.entry(id).is_some()
            && let Some(node) = self.nodes.get_mut(id.slot)
        {
            node.marks.add(Marks::FOLLOWED);
        }
    }
}
