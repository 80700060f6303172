//! Entries for what was missed: other events speak of it, and nobody saw it.

use std::iter::successors;

use crate::arena::Slot;
use crate::event::{Precision, Relative, Subject};
use crate::ids::{Pid, ProcessKey};
use crate::image::Image;
use crate::process::{EndKind, Origin, Provenance};
use crate::time::BootTime;

use super::Table;
use super::node::{Body, Life, Node};

impl Table {
    /// Makes the process called `owner` the parent of `slot`.
    pub(super) fn adopt(
        &mut self,
        slot: Slot,
        owner: Relative,
        precision: Precision,
        provenance: Provenance,
    ) {
        let is_other = self.nodes.get(slot).is_some_and(|node| node.pid != owner.key.pid);
        if let Some(parent) = is_other.then(|| self.resolve(owner, precision, self.now())).flatten() {
            self.relink_parent(slot, parent, provenance);
        }
    }

    /// Gives the images before `slot` that have no parent the one that it has: a process has one.
    pub(super) fn share_parent(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get(slot) else { return };
        let (Some(parent), provenance, mut earlier) = (node.parent, node.parent_provenance, node.previous)
        else {
            return;
        };
        while let Some((slot, node)) = earlier.and_then(|slot| Some((slot, self.nodes.get(slot)?))) {
            if node.parent.is_some() {
                break;
            }
            earlier = node.previous;
            self.relink_parent(slot, parent, provenance);
        }
    }

    /// The entry of a process that another event, which happened at `at`, names as a parent; inferred
    /// when never heard of.
    ///
    /// `None` where there is no process behind the name: pid 0 is the kernel.
    pub(super) fn resolve(&mut self, named: Relative, precision: Precision, at: BootTime) -> Option<Slot> {
        if named.key.pid == Pid(0) {
            return None;
        }
        if precision == Precision::Ticks {
            return self.resolve_process(named.key);
        }
        let subject = named.began.map(|began| Subject::exact(named.key, began));
        if let Some(later) = subject.and_then(|subject| self.later_image(subject, at)) {
            return Some(later);
        }
        if let Some(exact) = self.slot_of(named.key).or_else(|| self.recall_shared(named.key)) {
            return Some(exact);
        }
        match subject {
            Some(subject) => self.resolve_image(subject),
            None => self.guess(named.key),
        }
    }

    /// The image that the process of `named` ran at `at`, if `named` is the one since its begin and that
    /// was replaced by then: so speaks a source that has lost what it kept of the process.
    pub(super) fn later_image(&self, named: Subject, at: BootTime) -> Option<Slot> {
        if named.key.start != named.began {
            return None;
        }
        let images = successors(self.image_of(named), |slot| self.nodes.get(*slot)?.previous);
        let mut images = images.filter_map(|slot| Some((slot, self.nodes.get(slot)?)));
        let (ran, node) = images.find(|(_, node)| node.start <= at)?;
        let are_exact = node.precision == Precision::Nanoseconds && named.precision == Precision::Nanoseconds;
        // What one process did within a tick is one image, as far as can be told.
        let is_later = if are_exact {
            node.start > named.key.start
        } else {
            node.start.as_ticks() > named.key.start.as_ticks()
        };
        is_later.then_some(ran)
    }

    /// A source that knows times to the tick only names a process by its begin, whatever it runs.
    fn resolve_process(&mut self, key: ProcessKey) -> Option<Slot> {
        let subject = Subject { key, began: key.start, precision: Precision::Ticks };
        let known = self.image_of(subject).or_else(|| self.slot_of(key));
        known.or_else(|| self.infer_process(subject))
    }

    /// An image that was never heard of, of a process that may have been.
    fn resolve_image(&mut self, subject: Subject) -> Option<Slot> {
        let Some(latest) = self.image_of(subject) else { return self.infer_process(subject) };
        if self.began_before(latest, subject) {
            return self.infer_between(Some(latest), subject, Relative::NONE);
        }
        let missed = self.infer(subject, Relative::NONE)?;
        if self.nodes.get(missed).is_some_and(Node::is_running) {
            self.end(missed, EndKind::Replaced);
        }
        // A process has one parent, whichever of its images is named.
        let shared = self.nodes.get(latest).and_then(|it| Some((it.parent?, it.parent_provenance)));
        if let Some((parent, provenance)) = shared {
            self.relink_parent(missed, parent, provenance);
        }
        Some(missed)
    }

    /// The image called `key`, of which nothing else is known, is taken to be one of the process that
    /// has the pid.
    fn guess(&mut self, key: ProcessKey) -> Option<Slot> {
        let live = self.live_slot_of(key.pid);
        let Some((live, node)) = live.and_then(|live| Some((live, self.nodes.get(live)?))) else {
            return self.infer(Subject::exact(key, key.start), Relative::NONE);
        };
        let is_by_begin = node.precision == Precision::Ticks || node.began == key.start;
        if is_by_begin && node.began.as_ticks() == key.start.as_ticks() {
            return Some(live);
        }
        let subject = Subject { key, began: node.began, precision: node.precision };
        let is_newer = key.start > node.start;
        let missed = self.infer(subject, Relative::NONE)?;
        if is_newer {
            self.replace(live, missed);
            self.make_latest(missed);
            if let Some(node) = self.nodes.get_mut(missed) {
                node.parent_provenance = Provenance::Inferred;
            }
        } else {
            self.end(missed, EndKind::Vanished);
        }
        Some(missed)
    }

    /// The entry of the image that a process shared with its parent until its first exec, when that
    /// exec has taken the entry over: all that it said is known from what is there.
    fn recall_shared(&mut self, key: ProcessKey) -> Option<Slot> {
        let latest = self.latest_slot_of(key.pid);
        let mut images = successors(latest, |slot| self.nodes.get(*slot)?.previous);
        let is_first =
            |slot: &Slot| self.nodes.get(*slot).is_some_and(|node| node.origin == Origin::FirstExec);
        let first = images.find(is_first)?;
        let node = self.nodes.get(first)?;
        if node.began != key.start || node.precision == Precision::Ticks || node.previous.is_some() {
            return None;
        }
        let (parent, provenance, ended) = (node.parent?, node.parent_provenance, node.start);
        // What ran is known only if the one who forked is, and if that has not changed since.
        let is_certain = |image: &&Image| provenance == Provenance::Observed && image.past().is_empty();
        let image = self.image(parent).filter(is_certain).cloned();
        let ns_pid = self.body(first).and_then(Body::ns_pid);
        let subject = Subject { key, began: key.start, precision: Precision::Nanoseconds };
        let slot = self.insert(subject, Origin::Fork)?;
        self.set_image(slot, image);
        self.set_ns_pid(slot, ns_pid);
        self.relink_parent(slot, parent, provenance);
        self.link_previous(first, slot);
        self.end_at(slot, EndKind::Replaced, ended);
        Some(slot)
    }

    /// The entry that an exit or a change at `at` speaks of, if its process was ever heard of. An image that
    /// was missed is inferred, after the one that is known.
    pub(super) fn image_named_by(&mut self, subject: Subject, owner: Relative, at: BootTime) -> Option<Slot> {
        if let Some(later) = self.later_image(subject, at) {
            return Some(later);
        }
        if let Some(exact) = self.slot_of(subject.key) {
            self.learn_begin(exact, subject.began);
            return Some(exact);
        }
        let latest = self.image_of(subject)?;
        let node = self.nodes.get(latest)?;
        // Who knows the start of the process only has no name for its image.
        let is_missed = subject.key.start != subject.began && subject.key.start > node.start;
        if is_missed && node.life != Life::Exited {
            return self.infer_between(Some(latest), subject, owner);
        }
        Some(latest)
    }

    /// An image that was missed, after `latest`, which is of the same process.
    pub(super) fn infer_between(
        &mut self,
        latest: Option<Slot>,
        missed: Subject,
        owner: Relative,
    ) -> Option<Slot> {
        // Where starts are known to the tick only, the names of one image need not be equal.
        let coarse = latest
            .and_then(|latest| self.nodes.get(latest))
            .filter(|node| node.precision == Precision::Ticks);
        if coarse.is_some() && missed.key.start == missed.began {
            return latest;
        }
        if let Some(slot) = latest.and_then(|latest| self.take_over(latest, missed.key)) {
            self.ledger.record_inferred_process();
            self.set_image(slot, None);
            if let Some(node) = self.nodes.get_mut(slot) {
                node.origin = Origin::Inferred;
            }
            return Some(slot);
        }
        let slot = self.infer(missed, owner)?;
        if let Some(latest) = latest {
            self.replace(latest, slot);
            self.share_parent(slot);
            self.make_latest(slot);
        }
        Some(slot)
    }

    /// A process that was never heard of. If its pid has a live one, one of the two has vanished.
    pub(super) fn infer_process(&mut self, subject: Subject) -> Option<Slot> {
        let slot = self.infer(subject, Relative::NONE)?;
        self.make_latest(slot);
        Some(slot)
    }

    /// A node for an image that other events speak of. It is alive, unless its pid has a live
    /// image already.
    pub(super) fn infer(&mut self, subject: Subject, owner: Relative) -> Option<Slot> {
        let slot = self.insert(subject, Origin::Inferred)?;
        self.ledger.record_inferred_process();
        if self.live_slot_of(subject.key.pid).is_none() {
            self.make_latest(slot);
        }
        self.adopt(slot, owner, subject.precision, Provenance::Inferred);
        Some(slot)
    }

    /// Whether the image `slot` began before `other` of the same process, as far as can be told.
    pub(super) fn began_before(&self, slot: Slot, other: Subject) -> bool {
        self.nodes.get(slot).is_some_and(|node| {
            let is_coarse = node.precision == Precision::Ticks || other.precision == Precision::Ticks;
            is_coarse || node.start < other.key.start
        })
    }
}
