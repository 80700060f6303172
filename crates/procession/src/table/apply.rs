//! What each kind of event does to the table, in order, out of order, and with others missing.
//!
//! | event | what it needs | when that is missing |
//! |---|---|---|
//! | fork | the parent's image | the parent is inferred, and filled in when heard of |
//! | exec | the image that is replaced | it is inferred, with the parent that the kernel names |
//! | exit | the process | it is inferred, and has ended |
//! | any | the pid's last owner has exited | that one has vanished |

use crate::arena::Slot;
use crate::event::{Context, Event, EventKind, Exec, Exit, Fork, Precision, Program, Running, Subject};
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::ledger::{Counted, Outcome};
use crate::process::{EndKind, Origin, Provenance};

use super::node::{Body, Life, Node};
use super::{Applied, Table};

type Result = (Outcome, Option<Slot>);

const REJECTED: Result = (Outcome::Rejected, None);

impl Table {
    pub(super) fn fold(&mut self, event: &Event<'_>) -> Applied {
        let (outcome, slot) = match &event.kind {
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
        Applied { outcome, process: slot.and_then(|slot| self.id_of(slot)) }
    }

    fn fork(&mut self, fork: &Fork<'_>) -> Result {
        let pid = fork.child.key.pid;
        if pid == fork.parent.pid || pid == Pid(0) {
            return REJECTED;
        }
        if let Some(known) = self.slot_of(fork.child.key).or_else(|| self.live_image_of(fork.child)) {
            return self.fork_of_known(known, fork);
        }
        let parent = self.resolve(fork.parent);
        let image = parent.and_then(|parent| self.inherited_image(parent, &fork.context));
        let Some(slot) = self.insert(fork.child, Origin::Fork) else { return REJECTED };
        self.set_image(slot, image);
        self.set_ns_pid(slot, fork.context.ns_pid);
        if let Some(parent) = parent {
            self.relink_parent(slot, parent, Provenance::Observed);
        }
        self.note_owner(slot, fork.owner);
        self.make_live(slot);
        (Outcome::Applied, Some(slot))
    }

    /// The child was heard of before its fork: what remains to learn is who forked it.
    fn fork_of_known(&mut self, known: Slot, fork: &Fork<'_>) -> Result {
        let Some(node) = self.nodes.get(known) else { return REJECTED };
        if node.parent.is_some() && node.parent_provenance == Provenance::Observed {
            return (Outcome::Duplicate, Some(known));
        }
        let Some(parent) = self.resolve(fork.parent) else { return (Outcome::Late, Some(known)) };
        let later_image = self.live_image_of(fork.child).filter(|live| *live != known);
        for slot in [Some(known), later_image].into_iter().flatten() {
            self.relink_parent(slot, parent, Provenance::Observed);
        }
        if self.body(known).is_some_and(|body| body.image.is_none()) {
            let inherited = self.inherited_image(parent, &fork.context);
            self.set_image(known, inherited);
            if let Some(node) = self.nodes.get_mut(known) {
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
        let known = self.slot_of(subject.key);
        if known.and_then(|known| self.nodes.get(known)).is_some_and(|node| node.origin != Origin::Inferred) {
            return (Outcome::Duplicate, known);
        }
        let old = self.image_to_replace(exec, known);
        let first = old.and_then(|old| self.nodes.get(old)).is_some_and(|old| old.origin == Origin::Fork);
        let origin = if first { Origin::FirstExec } else { Origin::Exec };
        let Some(slot) = known.or_else(|| self.insert(subject, origin)) else { return REJECTED };
        self.describe(slot, subject, origin, &exec.program, &exec.context);
        match old {
            Some(old) => self.replace(old, slot),
            None => self.adopt(slot, exec.owner, Provenance::Inferred),
        }
        self.note_owner(slot, exec.owner);
        if self.nodes.get(slot).is_some_and(Node::is_running) {
            self.make_live(slot);
        }
        // One that was heard of before, by its exit or as a parent, came too late.
        (if known.is_some() { Outcome::Late } else { Outcome::Applied }, Some(slot))
    }

    /// The image that `exec` replaces; inferred when it was never heard of.
    ///
    /// `known` is the entry of the new image, when it was heard of before.
    fn image_to_replace(&mut self, exec: &Exec<'_>, known: Option<Slot>) -> Option<Slot> {
        let subject = exec.process;
        let live = self.live_image_of(subject).filter(|live| Some(*live) != known);
        let Some(key) = exec.replaces.filter(|key| key.pid == subject.key.pid) else {
            return live;
        };
        if let Some(exact) = self.slot_of(key) {
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
    fn replace(&mut self, old: Slot, new: Slot) {
        let Some(node) = self.nodes.get(old) else { return };
        let (parent, provenance) = (node.parent, node.parent_provenance);
        let (shared_since_fork, runs) = (node.origin == Origin::Fork, node.is_running());
        let ns_pid = self.body(old).and_then(Body::ns_pid);
        if let Some(parent) = parent {
            self.relink_parent(new, parent, provenance);
        }
        // The image shared since the fork says nothing that the parent does not say.
        if !shared_since_fork {
            self.link_previous(new, old);
        }
        if self.body(new).is_some_and(|body| body.ns_pid().is_none()) {
            self.set_ns_pid(new, ns_pid);
        }
        if runs {
            self.end(old, EndKind::Replaced);
        }
    }

    fn exit(&mut self, exit: &Exit<'_>) -> Result {
        let subject = exit.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.slot_of(subject.key).or_else(|| self.live_image_of(subject));
        let life = known.and_then(|known| self.nodes.get(known)).map(|node| node.life);
        let outcome = match life {
            None | Some(Life::Running) => Outcome::Applied,
            Some(Life::Exited) => return (Outcome::Duplicate, known),
            Some(Life::Replaced | Life::Vanished) => Outcome::Late,
        };
        let Some(slot) = known.or_else(|| self.infer(subject, exit.owner)) else { return REJECTED };
        if self.body(slot).is_some_and(|body| body.image.is_none()) {
            let program = Program { comm: exit.comm, ..Program::default() };
            let image = self.shared.image(&program, &Context::default());
            self.set_image(slot, Some(image));
        }
        self.note_owner(slot, exit.owner);
        self.end(slot, EndKind::Exited(exit.status));
        (outcome, Some(slot))
    }

    fn running(&mut self, running: &Running<'_>) -> Result {
        let subject = running.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.slot_of(subject.key).or_else(|| self.live_image_of(subject));
        let is_news = |node: &Node| node.origin == Origin::Inferred && node.is_running();
        if known.and_then(|known| self.nodes.get(known)).is_some_and(|node| !is_news(node)) {
            return (Outcome::Duplicate, known);
        }
        let Some(slot) = known.or_else(|| self.insert(subject, Origin::Running)) else { return REJECTED };
        self.describe(slot, subject, Origin::Running, &running.program, &running.context);
        if self.nodes.get(slot).is_some_and(|node| node.parent.is_none()) {
            self.adopt(slot, running.owner, Provenance::Found);
        }
        self.make_live(slot);
        (Outcome::Applied, Some(slot))
    }

    /// Gives a node what an event says of its image.
    fn describe(
        &mut self,
        slot: Slot,
        subject: Subject,
        origin: Origin,
        program: &Program<'_>,
        context: &Context<'_>,
    ) {
        let image = self.shared.image(program, context);
        self.set_image(slot, Some(image));
        self.set_ns_pid(slot, context.ns_pid);
        let Some(node) = self.nodes.get_mut(slot) else { return };
        node.origin = origin;
        node.precision = subject.precision;
        // What was inferred began no later than the image by which it was known.
        if subject.began < node.began {
            node.began = subject.began;
            self.unlink_what_does_not_precede(slot);
        }
    }

    /// Makes the process called `owner` the parent of `slot`.
    fn adopt(&mut self, slot: Slot, owner: ProcessKey, provenance: Provenance) {
        let is_other = self.nodes.get(slot).is_some_and(|node| node.pid != owner.pid);
        if let Some(parent) = is_other.then(|| self.resolve(owner)).flatten() {
            self.relink_parent(slot, parent, provenance);
        }
    }

    /// The entry of `key`, which another event names as a parent; inferred when never heard of.
    ///
    /// `None` where there is no process behind the name: pid 0 is the kernel.
    fn resolve(&mut self, key: ProcessKey) -> Option<Slot> {
        if key.pid == Pid(0) {
            return None;
        }
        if let Some(exact) = self.slot_of(key) {
            return Some(exact);
        }
        let live = self.live_slot_of(key.pid);
        let Some((live, node)) = live.and_then(|live| Some((live, self.nodes.get(live)?))) else {
            return self
                .infer(Subject { key, began: key.start, precision: Precision::default() }, ProcessKey::NONE);
        };
        // A source that reads /proc names a process by its start, to the tick, whatever it runs.
        if node.began.as_ticks() == key.start.as_ticks() {
            return Some(live);
        }
        let subject = Subject { key, began: node.began, precision: node.precision };
        let is_newer = key.start > node.start;
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
    fn infer(&mut self, subject: Subject, owner: ProcessKey) -> Option<Slot> {
        let slot = self.insert(subject, Origin::Inferred)?;
        self.ledger.record_inferred_process();
        if self.live_slot_of(subject.key.pid).is_none() {
            self.make_live(slot);
        }
        self.adopt(slot, owner, Provenance::Inferred);
        Some(slot)
    }

    fn insert(&mut self, subject: Subject, origin: Origin) -> Option<Slot> {
        let body = self.bodies.insert(Body::default())?;
        let Some(slot) = self.nodes.insert(Node::new(subject, origin, body)) else {
            self.bodies.remove(body);
            return None;
        };
        self.link_key(subject.key, slot);
        Some(slot)
    }

    /// Makes `slot` the current image of its pid.
    ///
    /// When the pid has another one, that process has exited, and the exit was missed.
    fn make_live(&mut self, slot: Slot) {
        let Some(pid) = self.nodes.get(slot).map(|node| node.pid) else { return };
        if let Some(stale) = self.live_slot_of(pid).filter(|live| *live != slot) {
            self.ledger.record_inferred_exit();
            self.end(stale, EndKind::Vanished);
        }
        self.link_live(pid, slot);
    }

    fn live_image_of(&self, subject: Subject) -> Option<Slot> {
        let live = self.live_slot_of(subject.key.pid)?;
        self.nodes.get(live).filter(|node| node.is_same_process(subject)).map(|_| live)
    }

    /// Makes `parent` the parent of `child`, in place of the one it had.
    ///
    /// Refused when the parent does not precede the child, which only false events can say.
    fn relink_parent(&mut self, child: Slot, parent: Slot, provenance: Provenance) {
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

    fn set_ns_pid(&mut self, slot: Slot, ns_pid: Option<Pid>) {
        if let Some(body) = self.body_mut(slot) {
            body.set_ns_pid(ns_pid);
        }
    }

    /// Notes who owns `slot`, when that is not its parent.
    fn note_owner(&mut self, slot: Slot, owner: ProcessKey) {
        let Some(node) = self.nodes.get(slot) else { return };
        let parent = node.parent.and_then(|parent| self.nodes.get(parent)).map(|parent| parent.pid);
        let is_other = Some(owner.pid) != parent && owner.pid != Pid(0) && owner.pid != node.pid;
        if let Some(body) = self.body_mut(slot) {
            body.set_owner(is_other.then_some(owner));
        }
    }

    /// What a child runs after the fork: its parent's image, unless the fork changed the setting.
    fn inherited_image(&mut self, parent: Slot, context: &Context<'_>) -> Option<Image> {
        let image = self.image(parent)?;
        if image.setting().agrees_with(context) {
            return Some(image.clone());
        }
        let image = image.clone();
        let setting = self.shared.setting(context, image.setting());
        Some(image.in_setting(setting))
    }
}
