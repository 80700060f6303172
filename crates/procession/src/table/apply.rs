//! What each kind of event does to the table, in order, out of order, and with others missing.
//!
//! | event | what it needs | when that is missing |
//! |---|---|---|
//! | fork | the parent's image | the parent is inferred, and filled in when heard of |
//! | exec | the image that is replaced | it is inferred, with the parent that the kernel names |
//! | exit | the process | it is inferred, and has ended |
//! | any | the pid's last owner has exited | that one has vanished |

use std::sync::Arc;

use crate::arena::Index;
use crate::event::{
    Context, Event, EventKind, Exec, Exit, Fork, Precision, Program, Running, Subject, WorkingDirectory,
};
use crate::ids::{Pid, ProcessKey};
use crate::image::{Cwd, Image, Setting};
use crate::ledger::{Counted, Outcome};
use crate::namespaces::Cgroup;
use crate::process::{End, EndKind, Origin, Provenance};

use super::node::Node;
use super::{Applied, ProcessId, Shared, Table};

type Result = (Outcome, Option<Index>);

const REJECTED: Result = (Outcome::Rejected, None);

impl Table {
    pub(super) fn fold(&mut self, event: &Event<'_>) -> Applied {
        let (outcome, index) = match &event.kind {
            EventKind::Fork(fork) => self.fork(fork),
            EventKind::Exec(exec) => self.exec(exec),
            EventKind::Exit(exit) => self.exit(exit),
            EventKind::Running(running) => self.running(running),
            EventKind::Lost(count) => {
                self.ledger.record_lost(*count);
                (Outcome::Applied, None)
            }
        };
        if let Some(kind) = Counted::of(&event.kind) {
            self.ledger.record(kind, outcome);
        }
        Applied { outcome, process: index.map(ProcessId) }
    }

    fn fork(&mut self, fork: &Fork<'_>) -> Result {
        if fork.child.key.pid == fork.parent.pid || fork.child.key.pid == Pid(0) {
            return REJECTED;
        }
        if let Some(known) = self.index_of(fork.child.key).or_else(|| self.live_image_of(fork.child)) {
            return self.fork_of_known(known, fork);
        }
        let parent = self.resolve(fork.parent);
        let mut node = Node::new(fork.child, Origin::Fork);
        node.ns_pid = fork.context.ns_pid;
        node.image = parent.and_then(|parent| self.inherited_image(parent, &fork.context));
        let Some(index) = self.insert(node) else { return REJECTED };
        if let Some(parent) = parent {
            self.relink_parent(index, parent, Provenance::Observed);
        }
        self.note_owner(index, fork.owner);
        self.make_live(index);
        (Outcome::Applied, Some(index))
    }

    /// The child was heard of before its fork: what remains to learn is who forked it.
    fn fork_of_known(&mut self, known: Index, fork: &Fork<'_>) -> Result {
        let Some(node) = self.nodes.get(known) else { return REJECTED };
        if node.parent.is_some() && node.parent_provenance == Provenance::Observed {
            return (Outcome::Duplicate, Some(known));
        }
        let Some(parent) = self.resolve(fork.parent) else { return (Outcome::Late, Some(known)) };
        let later_image = self.live_image_of(fork.child).filter(|live| *live != known);
        for index in [Some(known), later_image].into_iter().flatten() {
            self.relink_parent(index, parent, Provenance::Observed);
        }
        if self.nodes.get(known).is_some_and(|node| node.image.is_none()) {
            let inherited = self.inherited_image(parent, &fork.context);
            if let Some(node) = self.nodes.get_mut(known) {
                node.image = inherited;
                node.origin = Origin::Fork;
            }
        }
        self.note_owner(known, fork.owner);
        (Outcome::Late, Some(known))
    }

    fn exec(&mut self, exec: &Exec<'_>) -> Result {
        let subject = exec.process;
        if subject.key.pid == Pid(0) || exec.replaces == Some(subject.key) {
            return REJECTED;
        }
        let known = self.index_of(subject.key);
        if known.and_then(|known| self.nodes.get(known)).is_some_and(|node| node.origin != Origin::Inferred) {
            return (Outcome::Duplicate, known);
        }
        let old = self.image_to_replace(exec, known);
        let first = old.and_then(|old| self.nodes.get(old)).is_some_and(|old| old.origin == Origin::Fork);
        let origin = if first { Origin::FirstExec } else { Origin::Exec };
        let Some(index) = known.or_else(|| self.insert(Node::new(subject, origin))) else { return REJECTED };
        self.describe(index, subject, origin, &exec.program, &exec.context);
        match old {
            Some(old) => self.replace(old, index),
            None => self.adopt(index, exec.owner, Provenance::Inferred),
        }
        self.note_owner(index, exec.owner);
        if self.nodes.get(index).is_some_and(|node| node.end.is_none()) {
            self.make_live(index);
        }
        // One that was heard of before, by its exit or as a parent, came too late.
        (if known.is_some() { Outcome::Late } else { Outcome::Applied }, Some(index))
    }

    /// The image that `exec` replaces; inferred when it was never heard of.
    ///
    /// `known` is the entry of the new image, when it was heard of before.
    fn image_to_replace(&mut self, exec: &Exec<'_>, known: Option<Index>) -> Option<Index> {
        let subject = exec.process;
        let live = self.live_image_of(subject).filter(|live| Some(*live) != known);
        let Some(key) = exec.replaces.filter(|key| key.pid == subject.key.pid) else {
            return live;
        };
        if let Some(exact) = self.index_of(key) {
            return Some(exact);
        }
        // Where starts are known to the tick only, the names of one image need not be equal.
        let coarse =
            live.and_then(|live| self.nodes.get(live)).filter(|node| node.precision == Precision::Ticks);
        if coarse.is_some() && key.start == subject.began {
            return live;
        }
        let missed = self.infer(Subject { key, ..subject }, exec.owner)?;
        if let Some(live) = live {
            self.replace(live, missed);
        }
        Some(missed)
    }

    /// Makes `new` the image that replaced `old` in one process: it has the same parent.
    fn replace(&mut self, old: Index, new: Index) {
        let Some(node) = self.nodes.get(old) else { return };
        let (parent, provenance, ns_pid) = (node.parent, node.parent_provenance, node.ns_pid);
        let (shared_since_fork, ended) = (node.origin == Origin::Fork, node.end.is_some());
        if let Some(parent) = parent {
            self.relink_parent(new, parent, provenance);
        }
        // The image shared since the fork says nothing that the parent does not say.
        if !shared_since_fork {
            self.link_previous(new, old);
        }
        if let Some(node) = self.nodes.get_mut(new) {
            node.ns_pid = node.ns_pid.or(ns_pid);
        }
        if !ended {
            self.end(old, EndKind::Replaced);
        }
    }

    fn exit(&mut self, exit: &Exit<'_>) -> Result {
        let subject = exit.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.index_of(subject.key).or_else(|| self.live_image_of(subject));
        let end = known.and_then(|known| self.nodes.get(known)?.end);
        let outcome = match end {
            None => Outcome::Applied,
            Some(end) if matches!(end.how, EndKind::Exited(_)) => return (Outcome::Duplicate, known),
            Some(_) => Outcome::Late,
        };
        let Some(index) = known.or_else(|| self.infer(subject, exit.owner)) else { return REJECTED };
        if self.nodes.get(index).is_some_and(|node| node.image.is_none()) {
            let program = Program { comm: exit.comm, ..Program::default() };
            let image = self.shared.image(&program, &Context::default());
            self.set_image(index, image);
        }
        self.note_owner(index, exit.owner);
        let how = EndKind::Exited(exit.status);
        match self.nodes.get_mut(index).and_then(|node| node.end.as_mut()) {
            Some(end) => *end = End { time: self.now, how },
            None => self.end(index, how),
        }
        (outcome, Some(index))
    }

    fn running(&mut self, running: &Running<'_>) -> Result {
        let subject = running.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.index_of(subject.key).or_else(|| self.live_image_of(subject));
        let is_news = |node: &Node| node.origin == Origin::Inferred && node.end.is_none();
        if known.and_then(|known| self.nodes.get(known)).is_some_and(|node| !is_news(node)) {
            return (Outcome::Duplicate, known);
        }
        let insert = || self.insert(Node::new(subject, Origin::Running));
        let Some(index) = known.or_else(insert) else { return REJECTED };
        self.describe(index, subject, Origin::Running, &running.program, &running.context);
        if self.nodes.get(index).is_some_and(|node| node.parent.is_none()) {
            self.adopt(index, running.owner, Provenance::Found);
        }
        self.make_live(index);
        (Outcome::Applied, Some(index))
    }

    /// Gives a node what an event says of its image.
    fn describe(
        &mut self,
        index: Index,
        subject: Subject,
        origin: Origin,
        program: &Program<'_>,
        context: &Context<'_>,
    ) {
        let image = self.shared.image(program, context);
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.image = Some(image);
        node.origin = origin;
        node.ns_pid = context.ns_pid;
        node.precision = subject.precision;
        // What was inferred began no earlier than the image by which it was known.
        if subject.began < node.began {
            node.began = subject.began;
            self.unlink_what_does_not_precede(index);
        }
    }

    /// Makes the process called `owner` the parent of `index`.
    fn adopt(&mut self, index: Index, owner: ProcessKey, provenance: Provenance) {
        let is_other = self.nodes.get(index).is_some_and(|node| node.key.pid != owner.pid);
        if let Some(parent) = is_other.then(|| self.resolve(owner)).flatten() {
            self.relink_parent(index, parent, provenance);
        }
    }

    /// The entry of `key`, which another event names as a parent; inferred when never heard of.
    ///
    /// `None` where there is no process behind the name: pid 0 is the kernel.
    fn resolve(&mut self, key: ProcessKey) -> Option<Index> {
        if key.pid == Pid(0) {
            return None;
        }
        if let Some(exact) = self.index_of(key) {
            return Some(exact);
        }
        let live = self.live_index_of(key.pid);
        let Some((live, node)) = live.and_then(|live| Some((live, self.nodes.get(live)?))) else {
            return self
                .infer(Subject { key, began: key.start, precision: Precision::default() }, ProcessKey::NONE);
        };
        // A source that reads /proc names a process by its start, to the tick, whatever it runs.
        if node.began.as_ticks() == key.start.as_ticks() {
            return Some(live);
        }
        let subject = Subject { key, began: node.began, precision: node.precision };
        let is_newer = key.start > node.key.start;
        let missed = self.infer(subject, ProcessKey::NONE)?;
        if is_newer {
            self.replace(live, missed);
            self.make_live(missed);
        } else {
            self.end(missed, EndKind::Vanished);
        }
        Some(missed)
    }

    /// A node for an image that other events speak of. It is alive, unless its pid has a live
    /// image already.
    fn infer(&mut self, subject: Subject, owner: ProcessKey) -> Option<Index> {
        let index = self.insert(Node::new(subject, Origin::Inferred))?;
        self.ledger.record_inferred_process();
        if self.live_index_of(subject.key.pid).is_none() {
            self.make_live(index);
        }
        self.adopt(index, owner, Provenance::Inferred);
        Some(index)
    }

    fn insert(&mut self, node: Node) -> Option<Index> {
        let key = node.key;
        let index = self.nodes.insert(node)?;
        self.link_key(key, index);
        Some(index)
    }

    /// Makes `index` the current image of its pid.
    ///
    /// When the pid has another one, that process has exited, and the exit was missed.
    fn make_live(&mut self, index: Index) {
        let Some(pid) = self.nodes.get(index).map(|node| node.key.pid) else { return };
        if let Some(stale) = self.live_index_of(pid).filter(|live| *live != index) {
            self.ledger.record_inferred_exit();
            self.end(stale, EndKind::Vanished);
        }
        self.link_live(pid, index);
    }

    fn live_image_of(&self, subject: Subject) -> Option<Index> {
        let live = self.live_index_of(subject.key.pid)?;
        self.nodes.get(live).filter(|node| node.is_same_process(subject)).map(|_| live)
    }

    /// Makes `parent` the parent of `child`, in place of the one it had.
    ///
    /// Refused when the parent does not precede the child, which only false events can say.
    fn relink_parent(&mut self, child: Index, parent: Index, provenance: Provenance) {
        if !self.precedes(parent, child) {
            return;
        }
        let old = self.unlink_parent(child);
        self.link_parent(child, parent);
        if let Some(node) = self.nodes.get_mut(child) {
            node.parent_provenance = provenance;
        }
        if let Some(old) = old {
            self.remove_unkept(old);
        }
    }

    fn set_image(&mut self, index: Index, image: Arc<Image>) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.image = Some(image);
        }
    }

    fn note_owner(&mut self, index: Index, owner: ProcessKey) {
        let parent = self.nodes.get(index).and_then(|node| node.parent);
        let parent = parent.and_then(|parent| self.nodes.get(parent)).map(|parent| parent.key.pid);
        if let Some(node) = self.nodes.get_mut(index) {
            let is_other = Some(owner.pid) != parent && owner.pid != Pid(0) && owner.pid != node.key.pid;
            node.owner = is_other.then_some(owner);
        }
    }

    /// What a child runs after the fork: its parent's image, unless the fork changed the setting.
    fn inherited_image(&mut self, parent: Index, context: &Context<'_>) -> Option<Arc<Image>> {
        let image = self.nodes.get(parent)?.image.as_ref()?;
        if image.setting.agrees_with(context) {
            return Some(Arc::clone(image));
        }
        let mut changed = Image::clone(image);
        changed.setting = self.shared.setting(context, &changed.setting);
        Some(Arc::new(changed))
    }
}

impl Setting {
    fn agrees_with(&self, context: &Context<'_>) -> bool {
        let credentials =
            context.credentials.is_none() || self.credentials.as_deref() == context.credentials.as_ref();
        let namespaces =
            context.namespaces.is_none() || self.namespaces.as_deref() == context.namespaces.as_ref();
        credentials && namespaces && self.is_in_cgroup(context)
    }

    /// A context without a path names the same cgroup when the ids agree.
    fn is_in_cgroup(&self, context: &Context<'_>) -> bool {
        let Some(cgroup) = context.cgroup else { return true };
        self.cgroup
            .as_ref()
            .is_some_and(|own| own.id == cgroup.id && (cgroup.path.is_empty() || *own.path == *cgroup.path))
    }
}

impl Shared {
    fn image(&mut self, program: &Program<'_>, context: &Context<'_>) -> Arc<Image> {
        Arc::new(Image {
            nature: program.nature,
            binary: self.bytes(program.binary),
            executable: self.bytes(program.executable),
            comm: program.comm.into(),
            cwd: match program.cwd {
                WorkingDirectory::Unknown => Cwd::Unknown,
                WorkingDirectory::Path(path) => Cwd::Path(self.bytes(path)),
                WorkingDirectory::Tail(path) => Cwd::Tail(self.bytes(path)),
            },
            arguments: program.arguments.bytes.into(),
            arguments_len: program.arguments.total_len,
            file: program.file,
            privileges: program.privileges,
            setting: self.setting(context, &Setting::default()),
        })
    }

    /// The setting that `context` describes; where it is silent, that of `base`.
    fn setting(&mut self, context: &Context<'_>, base: &Setting) -> Setting {
        let credentials = context.credentials.map(|it| self.credentials.get(&it, || Arc::new(it)));
        let namespaces = context.namespaces.map(|it| self.namespaces.get(&it, || Arc::new(it)));
        let cgroup = context.cgroup.filter(|_| !base.is_in_cgroup(context));
        let cgroup = cgroup.map(|Cgroup { id, path }| {
            self.cgroups.get(&Cgroup { id, path }, || Arc::new(Cgroup { id, path: path.into() }))
        });
        Setting {
            credentials: credentials.or_else(|| base.credentials.clone()),
            namespaces: namespaces.or_else(|| base.namespaces.clone()),
            cgroup: cgroup.or_else(|| base.cgroup.clone()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        self.bytes.get(bytes, || bytes.into())
    }
}

impl PartialEq<Cgroup<&[u8]>> for Cgroup<Box<[u8]>> {
    fn eq(&self, other: &Cgroup<&[u8]>) -> bool {
        self.id == other.id && *self.path == *other.path
    }
}
