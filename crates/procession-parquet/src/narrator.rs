//! From the blocks of a journal's file to rows.

use std::ops::ControlFlow;
use std::time::SystemTime;

use procession::{
    BootTime, Entry, Event, Fact, FactKind, LineageDetail, Outcome, Process, Table, TableConfig,
};
use procession_journal::{Block, Content, Events, Names, Recording};
use procession_kube::ContainerId;

use crate::row::Row;

/// Takes a row and its time; breaks off when it cannot be written.
pub(crate) type Visit<'a, E> = &'a mut dyn FnMut(&Row<'_>, SystemTime) -> ControlFlow<E>;

/// The table as it is at a place in the journal.
#[derive(Debug)]
pub(crate) struct Fold<'n> {
    table: Table,
    recording: Option<Recording>,
    names: &'n Names,
    /// Which times are told of: from the first on, until the second.
    span: Span,
    /// Whether the next checkpoint knows better than the table.
    is_stale: bool,
    /// Whether it was told, in this file, what was known before.
    has_told_known: bool,
    /// Events that make no sense.
    unreadable: u64,
}

/// A span of time: when it begins, and when it is over.
pub(crate) type Span = (Option<SystemTime>, Option<SystemTime>);

impl<'n> Fold<'n> {
    pub(crate) fn new(names: &'n Names, span: Span) -> Self {
        let table = Table::new(TableConfig::default());
        Self { table, recording: None, names, span, is_stale: true, has_told_known: false, unreadable: 0 }
    }

    /// Events that were passed over because they make no sense.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Another file follows, which has a checkpoint of its own.
    pub(crate) fn begin_file(&mut self) {
        (self.is_stale, self.has_told_known) = (true, false);
    }

    /// Takes in a block, and tells of what is in it.
    pub(crate) fn take<E>(&mut self, block: Block, visit: Visit<'_, E>) -> ControlFlow<E> {
        if let Some(recording) = block.recording {
            self.go_on_in(recording);
        }
        match block.content {
            Content::Checkpoint { checkpoint, .. } if self.is_stale => {
                self.table = Table::restore(&checkpoint);
                self.is_stale = false;
            }
            Content::Events(events) => return self.fold(block.sequence, &events, visit),
            // Also where blocks are missing, though nothing is damaged; nothing is where one stands twice.
            Content::Damage(damage) => self.is_stale |= !damage.is_repeated(),
            // Files may be joined: the next begins with a checkpoint of its own.
            Content::Head { .. } => self.is_stale = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Nothing of one boot is known in another.
    fn go_on_in(&mut self, recording: Recording) {
        let is_other =
            |last: &Recording| (last.boot_id, &last.node_name) != (recording.boot_id, &recording.node_name);
        if self.recording.as_ref().is_none_or(is_other) {
            self.table = Table::new(recording.table);
        }
        self.recording = Some(recording);
    }

    fn fold<E>(&mut self, before: u64, events: &Events, visit: Visit<'_, E>) -> ControlFlow<E> {
        let mut sequence = before;
        let mut state = ControlFlow::Continue(());
        let unreadable = events.each(&mut |event| {
            sequence += 1;
            if state.is_continue() {
                state = self.apply(sequence, event, visit);
            }
        });
        self.unreadable += unreadable;
        self.is_stale |= unreadable > 0;
        state
    }

    fn apply<E>(&mut self, sequence: u64, event: &Event<'_>, visit: Visit<'_, E>) -> ControlFlow<E> {
        let Some(recording) = &self.recording else { return ControlFlow::Continue(()) };
        let time = recording.clock.at(event.time);
        let (from, to) = self.span;
        let is_wanted = from.is_none_or(|from| time >= from) && to.is_none_or(|to| time < to);
        if is_wanted && !self.has_told_known {
            self.has_told_known = true;
            self.tell_known(sequence - 1, visit)?;
        }
        let applied = self.table.apply(event);
        let (Some(id), Some(kind)) = (applied.process, applied.kind) else {
            return ControlFlow::Continue(());
        };
        if !is_wanted || applied.outcome == Outcome::Duplicate {
            return ControlFlow::Continue(());
        }
        match self.table.fact(id, event.time, kind, LineageDetail::Parent) {
            Some(fact) => self.tell(sequence, &fact, visit),
            None => ControlFlow::Continue(()),
        }
    }

    fn tell<E>(&self, sequence: u64, fact: &Fact, visit: Visit<'_, E>) -> ControlFlow<E> {
        self.row(sequence, fact.time, Some(fact.kind), (&fact.process, fact.parent()), fact.depth, visit)
    }

    /// Tells of what was known before the first event, so that chains of parents have no holes.
    fn tell_known<E>(&self, sequence: u64, visit: Visit<'_, E>) -> ControlFlow<E> {
        let mut entries: Vec<_> = self.table.entries().collect();
        entries.sort_unstable_by_key(|entry| (entry.key().start, entry.key().pid));
        for entry in entries {
            let (process, parent) = (entry.snapshot(), entry.reference_parent().map(Entry::snapshot));
            let whom = (&process, parent.as_ref());
            self.row(sequence, self.table.now(), None, whom, entry.depth(), visit)?;
        }
        ControlFlow::Continue(())
    }

    fn row<E>(
        &self,
        sequence: u64,
        time: BootTime,
        kind: Option<FactKind>,
        (process, parent): (&Process, Option<&Process>),
        depth: u16,
        visit: Visit<'_, E>,
    ) -> ControlFlow<E> {
        let Some(recording) = &self.recording else { return ControlFlow::Continue(()) };
        let id = ContainerId::of_process(process);
        let container_id = id.as_ref().map(ContainerId::as_str);
        let container = container_id.and_then(|id| self.names.find(id));
        let row = Row { sequence, time, kind, process, parent, depth, recording, container_id, container };
        visit(&row, recording.clock.at(time))
    }
}
