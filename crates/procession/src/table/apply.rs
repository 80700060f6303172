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
use crate::process::{EndKind, Origin, Provenance};

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
        self.vacate(fork.child.key.pid);
        let parent = self.resolve(fork.parent);
        let mut node = Node::new(fork.child, Origin::Fork);
        node.owner = other_owner(fork.owner, fork.parent.pid);
        node.ns_pid = fork.context.ns_pid;
        node.image = parent.and_then(|parent| self.inherited_image(parent, &fork.context));
        let Some(index) = self.insert(node) else { return REJECTED };
        self.link_live(fork.child.key.pid, index);
        if let Some(parent) = parent {
            self.link_parent(index, parent);
            self.set_provenance(index, Provenance::Observed);
        }
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
            self.relink_parent(index, parent);
        }
        let inherited = self.inherited_image(parent, &fork.context);
        if let Some(node) = self.nodes.get_mut(known) {
            node.owner = other_owner(fork.owner, fork.parent.pid);
            if node.image.is_none() {
                node.image = inherited;
                node.origin = Origin::Fork;
            }
        }
        (Outcome::Late, Some(known))
    }

    fn exec(&mut self, exec: &Exec<'_>) -> Result {
        let subject = exec.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        if let Some(known) = self.index_of(subject.key) {
            return self.exec_of_known(known, exec);
        }
        let Some(old) = self.image_to_replace(exec) else { return REJECTED };
        let (parent, provenance, ns_pid, first) = match self.nodes.get(old) {
            Some(old) => (old.parent, old.parent_provenance, old.ns_pid, old.origin == Origin::Fork),
            None => return REJECTED,
        };
        let mut node = Node::new(subject, if first { Origin::FirstExec } else { Origin::Exec });
        node.owner = self.other_owner_than(parent, exec.owner);
        node.ns_pid = exec.context.ns_pid.or(ns_pid);
        node.image = Some(self.shared.image(&exec.program, &exec.context));
        let Some(index) = self.insert(node) else { return REJECTED };
        if let Some(parent) = parent {
            self.link_parent(index, parent);
            self.set_provenance(index, provenance);
        }
        // The image shared since the fork says nothing that the parent does not say.
        if !first {
            self.link_previous(index, old);
        }
        if self.nodes.get(old).is_some_and(|node| node.end.is_none()) {
            self.end(old, EndKind::Replaced);
        }
        self.link_live(subject.key.pid, index);
        (Outcome::Applied, Some(index))
    }

    /// The image was heard of before its exec, by its exit or as a parent.
    fn exec_of_known(&mut self, known: Index, exec: &Exec<'_>) -> Result {
        if self.nodes.get(known).is_some_and(|node| node.origin != Origin::Inferred) {
            return (Outcome::Duplicate, Some(known));
        }
        self.fill(known, exec.process, exec.owner, &exec.program, &exec.context, Origin::Exec);
        (Outcome::Late, Some(known))
    }

    /// The image that `exec` replaces; inferred when it was never heard of.
    fn image_to_replace(&mut self, exec: &Exec<'_>) -> Option<Index> {
        let live = self.live_image_of(exec.process);
        let Some(key) = exec.replaces.filter(|key| key.pid == exec.process.key.pid) else {
            return live.or_else(|| {
                let fork = ProcessKey::new(exec.process.key.pid, exec.process.began);
                self.infer(Subject { key: fork, ..exec.process }, exec.owner)
            });
        };
        if let Some(exact) = self.index_of(key) {
            return Some(exact);
        }
        // Where the starts are known to the tick only, keys of one image need not be equal.
        let coarse =
            live.and_then(|live| self.nodes.get(live)).is_some_and(|node| node.precision == Precision::Ticks);
        if coarse && key.start == exec.process.began {
            return live;
        }
        let missed = self.infer(Subject { key, ..exec.process }, exec.owner)?;
        if let Some(live) = live {
            self.replace_unseen(live, missed);
        }
        Some(missed)
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
        let image = self.nodes.get(index).is_some_and(|node| node.image.is_none()).then(|| {
            let program = Program { comm: exit.comm, ..Program::default() };
            self.shared.image(&program, &Context::default())
        });
        let owner = self.nodes.get(index).and_then(|node| self.other_owner_than(node.parent, exit.owner));
        if let Some(node) = self.nodes.get_mut(index) {
            node.image = image.or(node.image.take());
            node.owner = owner.or(node.owner);
        }
        if end.is_some() {
            let time = self.now;
            if let Some(end) = self.nodes.get_mut(index).and_then(|node| node.end.as_mut()) {
                *end = crate::process::End { time, how: EndKind::Exited(exit.status) };
            }
        } else {
            self.end(index, EndKind::Exited(exit.status));
        }
        (outcome, Some(index))
    }

    fn running(&mut self, running: &Running<'_>) -> Result {
        let subject = running.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        if let Some(known) = self.index_of(subject.key).or_else(|| self.live_image_of(subject)) {
            if self.nodes.get(known).is_some_and(|node| node.origin != Origin::Inferred || node.end.is_some())
            {
                return (Outcome::Duplicate, Some(known));
            }
            self.fill(known, subject, running.owner, &running.program, &running.context, Origin::Running);
            return (Outcome::Applied, Some(known));
        }
        self.vacate(subject.key.pid);
        let mut node = Node::new(subject, Origin::Running);
        node.ns_pid = running.context.ns_pid;
        node.image = Some(self.shared.image(&running.program, &running.context));
        let parent = self.resolve(running.owner);
        let Some(index) = self.insert(node) else { return REJECTED };
        self.link_live(subject.key.pid, index);
        if let Some(parent) = parent.filter(|parent| !self.is_or_descends_from(*parent, index)) {
            self.link_parent(index, parent);
            self.set_provenance(index, Provenance::Found);
        }
        (Outcome::Applied, Some(index))
    }

    /// Gives an inferred node what an event now says of it.
    fn fill(
        &mut self,
        known: Index,
        subject: Subject,
        owner: ProcessKey,
        program: &Program<'_>,
        context: &Context<'_>,
        origin: Origin,
    ) {
        let image = self.shared.image(program, context);
        let has_parent = self.nodes.get(known).is_some_and(|node| node.parent.is_some());
        if let Some(node) = self.nodes.get_mut(known) {
            node.image = Some(image);
            node.origin = origin;
            node.ns_pid = context.ns_pid;
            node.began = subject.began;
            node.precision = subject.precision;
        }
        if !has_parent && let Some(parent) = self.resolve(owner) {
            self.relink_parent(known, parent);
            let found = if origin == Origin::Running { Provenance::Found } else { Provenance::Inferred };
            self.set_provenance(known, found);
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
            self.replace_unseen(live, missed);
        } else {
            self.end(missed, EndKind::Vanished);
        }
        Some(missed)
    }

    /// Makes `missed`, an inferred image, the one that replaced `live` unseen.
    fn replace_unseen(&mut self, live: Index, missed: Index) {
        let Some(old) = self.nodes.get(live) else { return };
        let (pid, parent, provenance) = (old.key.pid, old.parent, old.parent_provenance);
        if let Some(parent) = parent {
            self.relink_parent(missed, parent);
            self.set_provenance(missed, provenance);
        }
        self.link_previous(missed, live);
        self.end(live, EndKind::Replaced);
        self.link_live(pid, missed);
    }

    /// A node for an image that other events speak of. It is alive, unless its pid has a live
    /// image already.
    fn infer(&mut self, subject: Subject, owner: ProcessKey) -> Option<Index> {
        let parent = (owner.pid != subject.key.pid).then(|| self.resolve(owner)).flatten();
        let index = self.insert(Node::new(subject, Origin::Inferred))?;
        self.ledger.record_inferred_process();
        if self.live_index_of(subject.key.pid).is_none() {
            self.link_live(subject.key.pid, index);
        }
        if let Some(parent) = parent {
            self.link_parent(index, parent);
        }
        Some(index)
    }

    fn insert(&mut self, node: Node) -> Option<Index> {
        let key = node.key;
        let index = self.nodes.insert(node)?;
        self.link_key(key, index);
        Some(index)
    }

    /// The pid is seen in another process: its last owner has exited, and that was missed.
    fn vacate(&mut self, pid: Pid) {
        if let Some(stale) = self.live_index_of(pid) {
            self.ledger.record_inferred_exit();
            self.end(stale, EndKind::Vanished);
        }
    }

    fn live_image_of(&self, subject: Subject) -> Option<Index> {
        let live = self.live_index_of(subject.key.pid)?;
        self.nodes.get(live).filter(|node| node.is_same_process(subject)).map(|_| live)
    }

    /// Makes `parent` the parent of `child`, in place of the one it had.
    ///
    /// A parent that descends from the child is refused: links form no cycle, whatever the events.
    fn relink_parent(&mut self, child: Index, parent: Index) {
        if self.is_or_descends_from(parent, child) {
            return;
        }
        let old = self.nodes.get(child).and_then(|node| node.parent);
        self.unlink_parent(child);
        self.link_parent(child, parent);
        self.set_provenance(child, Provenance::Observed);
        if let Some(old) = old {
            self.remove_unkept(old);
        }
    }

    fn is_or_descends_from(&self, index: Index, ancestor: Index) -> bool {
        index == ancestor || self.ancestors(ProcessId(index)).any(|id| id.0 == ancestor)
    }

    fn set_provenance(&mut self, index: Index, provenance: Provenance) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.parent_provenance = provenance;
        }
    }

    fn other_owner_than(&self, parent: Option<Index>, owner: ProcessKey) -> Option<ProcessKey> {
        let parent = parent.and_then(|parent| self.nodes.get(parent));
        other_owner(owner, parent.map_or(Pid(0), |parent| parent.key.pid))
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

fn other_owner(owner: ProcessKey, parent: Pid) -> Option<ProcessKey> {
    (owner.pid != parent && owner.pid != Pid(0)).then_some(owner)
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
