//! From the blocks of a journal's file to rows.

use std::ops::ControlFlow;
use std::time::SystemTime;

use procession::{Applied, BootId, BootTime, Entry, FactKind, LineageDetail, Outcome, Process};
use procession_journal::{Block, Content, Fold, Moment, Names, Recording, Witness};
use procession_kube::ContainerId;

use crate::row::Row;

/// Takes a row and its time; breaks off when it cannot be written.
pub(crate) type Visit<'a, E> = &'a mut dyn FnMut(&Row<'_>, SystemTime) -> ControlFlow<E>;

/// A span of time: when it begins, and when it is over.
pub(crate) type Span = (Option<SystemTime>, Option<SystemTime>);

/// Tells, in rows, what happens to the table.
#[derive(Debug)]
pub(crate) struct Narrator<'n> {
    fold: Fold,
    /// What the last block said. Nothing of one boot is known in another.
    recording: Option<Recording>,
    telling: Telling<'n>,
}

/// What is to be told, and was.
#[derive(Debug)]
struct Telling<'n> {
    names: &'n Names,
    /// Which times are told of: from the first on, until the second.
    span: Span,
    /// Whether it was told, in this file, what was known before.
    has_told_known: bool,
    /// Events that make no sense.
    unreadable: u64,
}

/// Tells what happens in one block.
struct Teller<'a, 'n, E> {
    telling: &'a mut Telling<'n>,
    visit: Visit<'a, E>,
    state: ControlFlow<E>,
}

impl<'n> Narrator<'n> {
    pub(crate) fn new(names: &'n Names, span: Span) -> Self {
        let telling = Telling { names, span, has_told_known: false, unreadable: 0 };
        Self { fold: Fold::default(), recording: None, telling }
    }

    /// Events that were passed over because they make no sense.
    pub(crate) fn unreadable(&self) -> u64 {
        self.telling.unreadable
    }

    /// The boot of the last block that can be read.
    pub(crate) fn boot(&self) -> Option<BootId> {
        self.recording.as_ref().map(|recording| recording.boot_id)
    }

    /// Another file follows, which has a checkpoint of its own.
    pub(crate) fn begin_file(&mut self) {
        self.fold.begin_file();
        self.telling.has_told_known = false;
    }

    /// Takes in a block, and tells of what is in it.
    pub(crate) fn take<E>(&mut self, block: &Block, visit: Visit<'_, E>) -> ControlFlow<E> {
        if let Some(recording) = &block.recording {
            self.go_on_in(recording);
        }
        // Files may be joined: the next begins with a checkpoint of its own.
        if matches!(block.content, Content::Head { .. }) {
            self.fold.begin_file();
        }
        let state = ControlFlow::Continue(());
        let mut teller = Teller { telling: &mut self.telling, visit, state };
        self.fold.push(block, &mut teller);
        teller.state
    }

    fn go_on_in(&mut self, recording: &Recording) {
        let is_other =
            |last: &Recording| (last.boot_id, &last.node_name) != (recording.boot_id, &recording.node_name);
        if self.recording.as_ref().is_some_and(is_other) {
            self.fold = Fold::default();
        }
        self.recording = Some(recording.clone());
    }
}

impl<E> Teller<'_, '_, E> {
    fn is_wanted(&self, moment: Moment<'_>) -> bool {
        let time = moment.recording.clock.at(moment.event.time);
        let (from, to) = self.telling.span;
        self.state.is_continue() && from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to)
    }

    /// Tells of what was known before the first event, so that chains of parents have no holes.
    fn tell_known(&mut self, moment: Moment<'_>) -> ControlFlow<E> {
        let Moment { table, sequence, .. } = moment;
        let mut entries: Vec<_> = table.entries().collect();
        entries.sort_unstable_by_key(|entry| (entry.key().start, entry.key().pid));
        let before = Moment { sequence: sequence - 1, ..moment };
        for entry in entries {
            let (process, parent) = (entry.snapshot(), entry.reference_parent().map(Entry::snapshot));
            self.row(before, table.now(), None, (&process, parent.as_ref()), entry.depth())?;
        }
        ControlFlow::Continue(())
    }

    fn row(
        &mut self,
        moment: Moment<'_>,
        time: BootTime,
        kind: Option<FactKind>,
        (process, parent): (&Process, Option<&Process>),
        depth: u16,
    ) -> ControlFlow<E> {
        let Moment { recording, sequence, .. } = moment;
        let id = ContainerId::of_process(process);
        let container_id = id.as_ref().map(ContainerId::as_str);
        let container = container_id.and_then(|id| self.telling.names.find(id));
        let row = Row { sequence, time, kind, process, parent, depth, recording, container_id, container };
        (self.visit)(&row, recording.clock.at(time))
    }
}

impl<E> Witness for Teller<'_, '_, E> {
    fn applies(&mut self, moment: Moment<'_>) {
        if self.is_wanted(moment) && !std::mem::replace(&mut self.telling.has_told_known, true) {
            self.state = self.tell_known(moment);
        }
    }

    fn applied(&mut self, moment: Moment<'_>, applied: Applied) {
        let (Some(id), Some(kind)) = (applied.process, applied.kind) else { return };
        if !self.is_wanted(moment) || applied.outcome == Outcome::Duplicate {
            return;
        }
        let fact = moment.table.fact(id, moment.event.time, kind, LineageDetail::Parent);
        if let Some(fact) = fact {
            let whom = (&fact.process, fact.parent());
            self.state = self.row(moment, fact.time, Some(fact.kind), whom, fact.depth);
        }
    }

    fn passed_over(&mut self, events: u64) {
        self.telling.unreadable += events;
    }
}
