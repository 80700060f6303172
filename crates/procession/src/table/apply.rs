//! What each kind of event does to the table, in order, out of order, and with others missing.
//!
//! | event | what it needs | when that is missing |
//! |---|---|---|
//! | fork | the parent's image | the parent is inferred, and filled in when heard of |
//! | exec | the image that is replaced | it is inferred, with the parent that the kernel names |
//! | exit | the process | it is inferred, and has ended |
//! | change | the image | it is inferred; what it runs is unknown |
//! | gone | the process | it is rejected: nothing was lost |
//! | any | the pid's last owner has exited | that one has vanished |

use std::iter::successors;

use crate::arena::Slot;
use crate::event::{
    Change, Context, Event, EventKind, Exec, Exit, Fork, Gone, Precision, Program, Relative, Running, Subject,
};
use crate::fact::FactKind;
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::ledger::{Counted, Outcome};
use crate::process::{EndKind, Origin, Provenance};
use crate::time::BootTime;

use super::node::{Body, Life, Marks, Node};
use super::survey::{is_undescribed, lacks_session};
use super::{Applied, Table};

type Result = (Outcome, Option<Slot>);

const REJECTED: Result = (Outcome::Rejected, None);

/// What an entry of a walk says, given what is known.
enum Finding {
    /// A process never heard of.
    New,
    /// What runs in an entry that other events have named.
    Description(Slot),
    /// An image whose exec was missed.
    MissedImage {
        /// The image before it.
        before: Slot,
    },
    /// Nothing new.
    Known(Slot),
}

impl Table {
    pub(super) fn fold(&mut self, event: &Event<'_>) -> Applied {
        let mut fact = FactKind::of(&event.kind);
        let (outcome, slot) = match &event.kind {
            EventKind::Fork(fork) => self.fork(fork),
            EventKind::Exec(exec) => self.exec(exec),
            EventKind::Exit(exit) => self.exit(exit, event.time),
            EventKind::Running(running) => match self.correct(running, event.time) {
                Some(slot) => {
                    fact = Some(FactKind::Change);
                    (Outcome::Applied, Some(slot))
                }
                None => self.running(running, event.time),
            },
            EventKind::Change(change) => self.change(change, event.time),
            EventKind::Gone(gone) => self.gone(*gone),
            EventKind::Lost(count) => {
                self.ledger.record_lost(*count);
                (Outcome::Applied, None)
            }
        };
        if let Some(kind) = Counted::of(&event.kind) {
            self.ledger.record(kind, outcome);
        }
        Applied { outcome, process: slot.and_then(|slot| self.id_of(slot)), kind: fact }
    }

    fn fork(&mut self, fork: &Fork<'_>) -> Result {
        let pid = fork.child.key.pid;
        if pid == fork.parent.key.pid || pid == Pid(0) {
            return REJECTED;
        }
        let latest = self.latest_slot_of(pid);
        let is_child = |slot: &Slot| self.nodes.get(*slot).is_some_and(|it| it.is_same_process(fork.child));
        if let Some(known) = self.slot_of(fork.child.key).or(latest.filter(is_child)) {
            return self.fork_of_known(known, fork);
        }
        let parent = self.resolve(fork.parent, fork.child.precision, fork.child.key.start);
        let image = parent.and_then(|parent| self.inherited_image(parent, &fork.context));
        let Some(slot) = self.insert(fork.child, Origin::Fork) else { return REJECTED };
        self.set_image(slot, image);
        self.set_ns_pid(slot, fork.context.ns_pid);
        let session = fork.context.session.or_else(|| self.session_of(parent?));
        self.set_session(slot, session);
        if let Some(parent) = parent {
            self.relink_parent(slot, parent, Provenance::Observed);
        }
        self.note_owner(slot, fork.owner.key);
        self.make_latest_after(latest, slot);
        (Outcome::Applied, Some(slot))
    }

    /// The child was heard of before its fork: what remains to learn is who forked it.
    fn fork_of_known(&mut self, known: Slot, fork: &Fork<'_>) -> Result {
        let Some(node) = self.nodes.get(known) else { return REJECTED };
        if node.parent.is_some() && node.parent_provenance == Provenance::Observed {
            return (Outcome::Duplicate, Some(known));
        }
        let is_news = node.origin == Origin::Inferred && node.key() == fork.child.key;
        let Some(parent) = self.resolve(fork.parent, fork.child.precision, fork.child.key.start) else {
            return (Outcome::Late, Some(known));
        };
        if is_news {
            self.note_owner(known, fork.owner.key);
            if let Some(node) = self.nodes.get_mut(known) {
                node.origin = Origin::Fork;
            }
            let inherited = self.inherited_image(parent, &fork.context);
            self.set_image(known, inherited);
        }
        let mut images = vec![known];
        let latest = self.image_of(fork.child);
        let earlier = |slot: &Slot| self.nodes.get(*slot)?.previous;
        images.extend(successors(latest, earlier).filter(|image| *image != known));
        for image in images {
            self.give_observed_parent(image, parent);
        }
        (Outcome::Late, Some(known))
    }

    /// Puts the one who forked in the place of the one who owned the process when it was found,
    /// which stays its owner.
    fn give_observed_parent(&mut self, slot: Slot, parent: Slot) {
        let former = self.nodes.get(slot).and_then(|node| node.parent);
        let former = former.and_then(|former| self.nodes.get(former)).map(Node::key);
        self.relink_parent(slot, parent, Provenance::Observed);
        if let Some(former) = former
            && self.body(slot).is_some_and(|body| body.owner().is_none())
        {
            self.note_owner(slot, former);
        }
    }

    fn exec(&mut self, exec: &Exec<'_>) -> Result {
        let subject = exec.process;
        if subject.key.pid == Pid(0) || exec.replaces == Some(subject.key) {
            return REJECTED;
        }
        let known = self.slot_of(subject.key);
        let origin = known.and_then(|known| self.nodes.get(known)).map(|node| node.origin);
        if let Some(Origin::Fork | Origin::FirstExec | Origin::Exec) = origin {
            return (Outcome::Duplicate, known);
        }
        let old = self.image_to_replace(exec, known);
        let first = self.is_first_exec(exec, old);
        let origin = if first { Origin::FirstExec } else { Origin::Exec };
        let reused =
            old.filter(|_| first && known.is_none()).and_then(|old| self.take_over(old, subject.key));
        let Some(slot) = known.or(reused).or_else(|| self.insert(subject, origin)) else { return REJECTED };
        self.describe(slot, subject, origin, &exec.program, &exec.context, old);
        if let Some(old) = old.filter(|_| reused.is_none()) {
            self.replace(old, slot);
        }
        if self.nodes.get(slot).is_some_and(|node| node.parent.is_none()) {
            self.adopt(slot, exec.owner, subject.precision, Provenance::Inferred);
            self.share_parent(slot);
        }
        self.note_owner(slot, exec.owner.key);
        self.make_latest(slot);
        // One that was heard of before, by its exit, by a walk or as a parent, came too late.
        (if known.is_some() { Outcome::Late } else { Outcome::Applied }, Some(slot))
    }

    /// Whether `slot` is the image that a process shared with its parent since the fork, and nobody
    /// asks for that very image: then its entry may become that of the next image.
    pub(super) fn is_only_shared(&self, slot: Slot) -> bool {
        let is_unkept = |node: &Node| node.origin == Origin::Fork && node.kept_by == 0;
        self.nodes.get(slot).is_some_and(is_unkept) && self.body(slot).is_some_and(|body| body.holds == 0)
    }

    /// Gives the entry of `old`, if it is [only shared](Self::is_only_shared), to the image `key`.
    pub(super) fn take_over(&mut self, old: Slot, key: ProcessKey) -> Option<Slot> {
        let is_free = self.is_only_shared(old) && self.nodes.get(old)?.life != Life::Replaced;
        is_free.then(|| self.rename(old, key))?;
        Some(old)
    }

    /// Whether `exec` replaces the image that the process shared with its parent since the fork.
    ///
    /// That image began when the process did. So did one that a walk found, which may be older:
    /// nobody knows whether that process did an exec before.
    fn is_first_exec(&self, exec: &Exec<'_>, old: Option<Slot>) -> bool {
        let Some(old) = old.and_then(|old| self.nodes.get(old)) else {
            return exec.replaces.is_some_and(|key| key.start == exec.process.began);
        };
        let began_with_process = old.start == old.began && old.precision == Precision::Nanoseconds;
        old.origin == Origin::Fork || (old.origin == Origin::Inferred && began_with_process)
    }

    /// The image that `exec` replaces, if it was ever heard of; inferred when it is between two
    /// that were.
    ///
    /// `known` is the entry of the new image, when it was heard of before.
    fn image_to_replace(&mut self, exec: &Exec<'_>, known: Option<Slot>) -> Option<Slot> {
        let subject = exec.process;
        let latest = self.image_of(subject).filter(|latest| Some(*latest) != known);
        // An exec that comes late did not replace what came after it.
        let latest = latest.filter(|latest| self.began_before(*latest, subject));
        let Some(key) = exec.replaces.filter(|key| key.pid == subject.key.pid) else {
            return latest;
        };
        // So speaks a source that has lost what it kept of the process: it means whatever that ran.
        if let Some(later) = latest.and(self.later_image(Subject { key, ..subject }, subject.key.start)) {
            return Some(later);
        }
        let is_latest =
            latest.and_then(|latest| self.nodes.get(latest)).is_some_and(|node| node.key() == key);
        if let Some(exact) = latest.filter(|_| is_latest).or_else(|| self.slot_of(key)) {
            self.learn_begin(exact, subject.began);
            return Some(exact);
        }
        // The image since the fork says nothing that the parent does not say.
        if latest.is_none() && key.start == subject.began {
            return None;
        }
        self.infer_between(latest, Subject { key, ..subject }, exec.owner)
    }

    /// Makes `new` the image that replaced `old` in one process: it has the same parent, and if
    /// the process has ended already, that is its end.
    pub(super) fn replace(&mut self, old: Slot, new: Slot) {
        let Some(node) = self.nodes.get(old) else { return };
        let Node { parent, parent_provenance, life, ended, origin, marks, .. } = *node;
        let (ns_pid, status) = self.body(old).map_or((None, None), |body| (body.ns_pid(), body.status));
        if let Some(parent) = parent {
            self.relink_parent(new, parent, parent_provenance);
        }
        // What is shared since the fork is kept only where it is needed.
        if origin != Origin::Fork || !self.is_only_shared(old) {
            self.link_previous(new, old);
        }
        if self.body(new).is_some_and(|body| body.ns_pid().is_none()) {
            self.set_ns_pid(new, ns_pid);
        }
        self.inherit_session(new, old);
        if let Some(node) = self.nodes.get_mut(new) {
            node.marks.add(marks);
        }
        match life {
            // Who was taken for vanished may just have gone on in the new image. If the new one is not
            // the latest of the pid either, it has vanished, and `make_latest` says so.
            Life::Running | Life::Vanished => self.end(old, EndKind::Replaced),
            Life::Replaced => {}
            Life::Exited => self.end_replaced_and(old, new, EndKind::Exited(status), ended),
            // Who ran something new after that was there all the same.
            Life::Gone(_) if self.nodes.get(new).is_some_and(|node| node.start > ended) => {
                self.end(old, EndKind::Replaced);
            }
            Life::Gone(gap) => self.end_replaced_and(old, new, EndKind::Gone(gap), ended),
        }
    }

    /// What was taken for the end of the process in `old` was its end in `new`, which replaced that.
    fn end_replaced_and(&mut self, old: Slot, new: Slot, how: EndKind, time: BootTime) {
        self.end(old, EndKind::Replaced);
        self.end_at(new, how, time);
    }

    fn exit(&mut self, exit: &Exit<'_>, time: BootTime) -> Result {
        let subject = exit.process;
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.image_named_by(subject, exit.owner, time);
        let life = known.and_then(|known| self.nodes.get(known)).map(|node| node.life);
        let outcome = match life {
            None | Some(Life::Running) => Outcome::Applied,
            Some(Life::Exited) => return (Outcome::Duplicate, known),
            Some(Life::Replaced | Life::Vanished | Life::Gone(_)) => Outcome::Late,
        };
        let Some(slot) = known.or_else(|| self.infer(subject, exit.owner)) else { return REJECTED };
        if self.body(slot).is_some_and(|body| body.image.is_none()) {
            let program = Program { comm: exit.comm, ..Program::default() };
            let image = self.shared.image(&program, &Context::default(), None);
            self.set_image(slot, Some(image));
        }
        self.note_owner(slot, exit.owner.key);
        self.end(slot, EndKind::Exited(exit.status));
        (outcome, Some(slot))
    }

    fn gone(&mut self, gone: Gone) -> Result {
        let subject = gone.process;
        let Some((slot, node)) = self.image_of(subject).and_then(|slot| Some((slot, self.nodes.get(slot)?)))
        else {
            return REJECTED;
        };
        if !node.is_running() {
            return (Outcome::Duplicate, Some(slot));
        }
        // Who knows the start of the process only means it in whatever image.
        let is_by_image = subject.precision == Precision::Nanoseconds
            && node.precision == Precision::Nanoseconds
            && subject.key.start != subject.began;
        if is_by_image && subject.key.start < node.start {
            return REJECTED;
        }
        self.end(slot, EndKind::Gone(gone.gap));
        (Outcome::Applied, Some(slot))
    }

    /// Only the process that changed: those with which it shared its image keep that.
    fn change(&mut self, change: &Change<'_>, time: BootTime) -> Result {
        let (subject, context) = (change.process, &change.context);
        if subject.key.pid == Pid(0) {
            return REJECTED;
        }
        let known = self.image_named_by(subject, Relative::NONE, time);
        let Some(slot) = known.or_else(|| self.infer_process(subject)) else { return REJECTED };
        let is_late = self.nodes.get(slot).is_some_and(|node| !node.is_running());
        let is_new_session = context.session.is_some() && self.session_of(slot) != context.session;
        let image = match self.image(slot).cloned() {
            Some(image) => self.shared.changed(&image, (time, None), context),
            None => Some(self.shared.image(&Program::default(), context, None)),
        };
        if image.is_none() && !is_new_session {
            return (Outcome::Duplicate, Some(slot));
        }
        if is_new_session {
            self.set_session(slot, context.session);
        }
        if image.is_some() {
            self.set_image(slot, image);
        }
        (if is_late { Outcome::Late } else { Outcome::Applied }, Some(slot))
    }

    /// What a look at a process that is known says of it, when it lacks a change that was missed.
    fn correct(&mut self, running: &Running<'_>, time: BootTime) -> Option<Slot> {
        let gap = running.gap.filter(|_| self.unseen_image(running, time).is_none())?;
        let Finding::Known(slot) = self.finding(running.process) else { return None };
        let node = self.nodes.get(slot)?;
        let is_exact =
            node.precision == Precision::Nanoseconds && running.process.precision == Precision::Nanoseconds;
        // Who names it by its begin has lost what it kept of it.
        let Subject { key, began, .. } = running.process;
        let is_this_image = !is_exact || node.key() == key || key.start == began;
        // Whoever looked before the image was there saw another.
        if !node.is_running() || !is_this_image || time < node.start {
            return None;
        }
        let session = running.context.session;
        let is_new_session = lacks_session(node.pid, self.session_of(slot), session);
        let image = self.image(slot)?.clone();
        let image = self.shared.changed(&image, (time, Some(gap)), &running.context);
        if image.is_none() && !is_new_session {
            return None;
        }
        if is_new_session {
            self.set_session(slot, session);
        }
        if image.is_some() {
            self.set_image(slot, image);
        }
        self.note_owner(slot, running.owner.key);
        Some(slot)
    }

    fn running(&mut self, running: &Running<'_>, time: BootTime) -> Result {
        if running.process.key.pid == Pid(0) {
            return REJECTED;
        }
        let (subject, finding) = match self.unseen_image(running, time) {
            Some((before, subject)) => (subject, Finding::MissedImage { before }),
            None => (running.process, self.finding(running.process)),
        };
        let (described, before) = match finding {
            Finding::Known(slot) => {
                self.note_owner(slot, running.owner.key);
                return (Outcome::Duplicate, Some(slot));
            }
            Finding::Description(slot) => (Some(slot), None),
            Finding::MissedImage { before } => (None, Some(before)),
            Finding::New => (None, None),
        };
        let reused = before.and_then(|before| self.take_over(before, subject.key));
        let before = before.filter(|_| reused.is_none());
        let described = described.or(reused);
        let origin = running.gap.map_or(Origin::Running, Origin::Found);
        let Some(slot) = described.or_else(|| self.insert(subject, origin)) else { return REJECTED };
        let has_ended = self.nodes.get(slot).is_some_and(|node| !node.is_running());
        self.describe(slot, subject, origin, &running.program, &running.context, None);
        if let Some(before) = before {
            self.replace(before, slot);
        }
        if self.nodes.get(slot).is_some_and(|node| node.parent.is_none()) {
            self.adopt(slot, running.owner, subject.precision, Provenance::Found);
            self.share_parent(slot);
        }
        self.note_owner(slot, running.owner.key);
        if has_ended {
            return (Outcome::Late, Some(slot));
        }
        self.make_latest(slot);
        (Outcome::Applied, Some(slot))
    }

    /// What it says that `subject` was found running.
    fn finding(&self, subject: Subject) -> Finding {
        let exact = self.slot_of(subject.key);
        // A start to the tick is a name of the process, whatever it runs by now.
        let later = self.later_image(subject, self.now());
        let known = match subject.precision {
            Precision::Nanoseconds => later.or(exact).or_else(|| self.image_of(subject)),
            Precision::Ticks => self.image_of(subject).or(exact),
        };
        let Some((slot, node)) = known.and_then(|slot| Some((slot, self.nodes.get(slot)?))) else {
            return Finding::New;
        };
        let runs = node.is_running();
        let is_undescribed = is_undescribed(node, self.image(slot)) && (exact.is_some() || runs);
        // Who knows starts to the tick only cannot tell one image of a process from the next.
        let are_comparable =
            node.precision == Precision::Nanoseconds && subject.precision == Precision::Nanoseconds;
        let is_later = are_comparable && exact.is_none() && subject.key.start > node.start;
        match (is_later && runs, is_undescribed) {
            (true, _) => Finding::MissedImage { before: slot },
            (false, true) => Finding::Description(slot),
            (false, false) => Finding::Known(slot),
        }
    }

    /// Gives a node what an event says of its image; that of `like` may well have the same setting.
    fn describe(
        &mut self,
        slot: Slot,
        subject: Subject,
        origin: Origin,
        program: &Program<'_>,
        context: &Context<'_>,
        like: Option<Slot>,
    ) {
        let like = like.and_then(|like| self.bodies.get(self.nodes.get(like)?.body()?)?.image.as_ref());
        let image = self.shared.image(program, context, like);
        self.set_image(slot, Some(image));
        self.set_ns_pid(slot, context.ns_pid);
        if context.session.is_some() {
            self.set_session(slot, context.session);
        }
        if let Some(node) = self.nodes.get_mut(slot) {
            node.origin = origin;
            node.precision = subject.precision;
        }
        self.learn_begin(slot, subject.began);
    }

    /// What was inferred began no later than the image by which it was known.
    pub(super) fn learn_begin(&mut self, slot: Slot, began: BootTime) {
        let Some(node) = self.nodes.get_mut(slot).filter(|node| began < node.began) else { return };
        node.began = began;
        self.unlink_what_does_not_precede(slot);
    }

    pub(super) fn insert(&mut self, subject: Subject, origin: Origin) -> Option<Slot> {
        let body = self.bodies.insert(Body::default())?;
        let Some(slot) = self.nodes.insert(Node::new(subject, origin, body)) else {
            self.bodies.remove(body);
            return None;
        };
        self.running += 1;
        self.link_key(subject.key, slot);
        Some(slot)
    }

    /// Makes `slot` the latest image of its pid, unless a later one is known.
    ///
    /// A process that the pid is seen to have left without an exit has vanished: its exit was
    /// missed. That is so for the one that was there, or, when events come late, for this one.
    pub(super) fn make_latest(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get(slot) else { return };
        self.make_latest_after(self.latest_slot_of(node.pid), slot);
    }

    /// [`make_latest`](Self::make_latest), when `latest` is what the index names by now.
    fn make_latest_after(&mut self, latest: Option<Slot>, slot: Slot) {
        let Some(node) = self.nodes.get(slot).filter(|_| latest != Some(slot)) else { return };
        let (pid, rank) = (node.pid, node.rank());
        let Some((other, node)) = latest.and_then(|other| Some((other, self.nodes.get(other)?))) else {
            return self.link_latest(pid, None, slot);
        };
        let (stale, is_later) = if node.rank() < rank { (other, true) } else { (slot, false) };
        if is_later {
            self.link_latest(pid, Some(other), slot);
        }
        if self.nodes.get(stale).is_some_and(Node::is_running) {
            self.ledger.record_inferred_exit();
            self.end(stale, EndKind::Vanished);
        }
    }

    /// The latest image of the process, running or ended.
    pub(super) fn image_of(&self, subject: Subject) -> Option<Slot> {
        let latest = self.latest_slot_of(subject.key.pid)?;
        self.nodes.get(latest).filter(|node| node.is_same_process(subject)).map(|_| latest)
    }

    /// Makes `parent` the parent of `child`, in place of the one it had.
    ///
    /// Refused when the parent does not precede the child, which only false events can say.
    pub(super) fn relink_parent(&mut self, child: Slot, parent: Slot, provenance: Provenance) {
        if !self.precedes(parent, child) {
            return;
        }
        let old = self.unlink_parent(child);
        self.link_parent(child, parent);
        let parent = self.nodes.get(parent).map(|parent| {
            let is_seen = parent.parent_provenance == Provenance::Observed;
            (if is_seen { parent.depth.saturating_add(1) } else { 0 }, parent.marks)
        });
        if let Some((node, (depth, marks))) = self.nodes.get_mut(child).zip(parent) {
            node.parent_provenance = provenance;
            node.depth = depth;
            node.marks.add(marks);
        }
        if let Some(old) = old {
            self.remove_unkept(old);
        }
    }

    pub(super) fn set_ns_pid(&mut self, slot: Slot, ns_pid: Option<Pid>) {
        if ns_pid == Some(Pid(1))
            && let Some(node) = self.nodes.get_mut(slot)
        {
            node.marks.add(Marks::IN_INIT_TREE);
        }
        if let Some(body) = self.body_mut(slot) {
            body.set_ns_pid(ns_pid);
        }
    }

    fn set_session(&mut self, slot: Slot, leader: Option<Pid>) {
        if let Some(body) = self.body_mut(slot) {
            body.set_session(leader);
        }
    }

    pub(super) fn session_of(&self, slot: Slot) -> Option<Pid> {
        self.body(slot)?.session()
    }

    /// An exec leaves the session as it is.
    fn inherit_session(&mut self, new: Slot, old: Slot) {
        if self.session_of(new).is_none() {
            self.set_session(new, self.session_of(old));
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
        Some(self.shared.image_in(&image, context))
    }
}
