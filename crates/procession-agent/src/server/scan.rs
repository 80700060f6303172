//! Looks at the whole table, without keeping its owner from its work for long.
//!
//! One question notes what there is, a few words for each entry. What is to be shown is worked out of
//! that elsewhere, and then made in many small questions, between which the owner goes on.

use std::collections::HashMap;
use std::sync::Arc;

use procession::{BootTime, Entry, LONGEST_LINEAGE, Pid, ProcessId, ProcessKey, Retention, Table};
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{self, Filter, GetEventsResponse, ProcessExec};
use prost::Message as _;
use tonic::Status;

use super::{FilterOptions, ended};
use crate::{Node, View};

/// An entry, in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: ProcessId,
    pub(super) key: ProcessKey,
    pub(super) began: BootTime,
    /// The process that forked it.
    pub(super) parent: Option<Identity>,
    /// The entries that it keeps: of who forked it, and of what it ran before.
    pub(super) keeps: [Option<ProcessId>; 2],
    pub(super) retention: Retention,
    pub(super) has_exited: bool,
}

/// What the images of one process have in common. A pid cannot come round within a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pid: Pid,
    began: u64,
}

/// A process that is told of, with what filters look at.
pub(super) struct Seen {
    pub(super) process: v1::Process,
    /// Its parent and ancestors by the reference system's rule, as far as filters look at them.
    lineage: Vec<Arc<tetragon::Process>>,
}

/// Makes processes of one view.
pub(super) struct Eye<'v> {
    view: &'v View<'v>,
    node: &'v Node,
    /// How much of the lineage filters look at.
    depth: usize,
    /// Those that others come from: many have the same.
    known: HashMap<ProcessId, Arc<tetragon::Process>>,
}

/// Entries that one question makes at most: about a millisecond.
const CHUNK: usize = 256;

/// The bytes, encoded, after which a question makes no more.
const CHUNK_BYTES: usize = 256 << 10;

impl Row {
    fn new(entry: Entry<'_>) -> Self {
        Self {
            id: entry.id(),
            key: entry.key(),
            began: entry.began(),
            parent: entry.parent().map(Identity::of),
            keeps: [entry.parent().map(Entry::id), entry.previous().map(Entry::id)],
            retention: entry.retention(),
            has_exited: entry.has_exited(),
        }
    }

    /// By this the entries of parents come before those of their children.
    pub(super) fn rank(&self) -> (BootTime, Pid, BootTime) {
        (self.began, self.key.pid, self.key.start)
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { pid: self.key.pid, began: self.began.as_ticks() }
    }

    pub(super) fn is_running(&self) -> bool {
        self.retention == Retention::Running
    }

    /// Whether it is the last image of its process.
    pub(super) fn is_last(&self) -> bool {
        self.is_running() || self.has_exited
    }

    /// The entry. A process that has run something for the first time since then has it under another
    /// key.
    pub(super) fn find<'t>(&self, table: &'t Table) -> Option<Entry<'t>> {
        let renamed = || {
            let live = table.get_live(self.key.pid)?;
            (Identity::of(live) == self.identity()).then_some(live)
        };
        table.entry(self.id).or_else(renamed)
    }
}

impl Identity {
    pub(super) fn of(entry: Entry<'_>) -> Self {
        Self { pid: entry.key().pid, began: entry.began().as_ticks() }
    }
}

impl<'v> Eye<'v> {
    pub(super) fn new(view: &'v View<'v>, node: &'v Node, depth: usize) -> Self {
        Self { view, node, depth, known: HashMap::new() }
    }

    pub(super) fn see(&mut self, entry: Entry<'_>) -> Seen {
        let Self { view, node, depth, known } = self;
        let present = |entry: Entry<'_>| node.presenter().entry(entry, view.inventory);
        let mut ancestor = |entry: Entry<'_>| {
            let known = known.entry(entry.id());
            Arc::clone(known.or_insert_with(|| Arc::new(present(entry).process.unwrap_or_default())))
        };
        let lineage = entry.reference_lineage().take(*depth).map(&mut ancestor).collect();
        Seen { process: present(entry), lineage }
    }
}

impl Seen {
    /// As if it were run now: what filters look at.
    pub(super) fn as_event(&self, node_name: &str) -> GetEventsResponse {
        let process = self.process.process.clone();
        let time = process.as_ref().and_then(|process| process.start_time);
        let mut lineage = self.lineage.iter().map(|process| tetragon::Process::clone(process));
        let exec = ProcessExec { process, parent: lineage.next(), ancestors: lineage.collect() };
        let node_name = node_name.to_owned();
        GetEventsResponse {
            node_name,
            time,
            event: Some(Event::ProcessExec(exec)),
            ..GetEventsResponse::default()
        }
    }
}

/// What filters look at beyond the processes that are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing.
    Plain,
    /// Those that led to them.
    Lineage,
    /// All others too: who follows descendants must have seen what came between.
    Everything,
}

impl Scope {
    pub(super) fn of(allow: &[Filter], deny: &[Filter]) -> Self {
        let mut filters = allow.iter().chain(deny);
        match (filters.clone().next(), filters.any(|filter| !filter.pid_set.is_empty())) {
            (None, _) => Self::Plain,
            (Some(_), false) => Self::Lineage,
            (Some(_), true) => Self::Everything,
        }
    }

    /// How much of a lineage is looked at.
    pub(super) fn depth(self, options: FilterOptions) -> usize {
        match (self, options.ancestors) {
            (Self::Plain, _) => 0,
            (_, false) => 1,
            (_, true) => LONGEST_LINEAGE,
        }
    }
}

/// Every entry that there is.
pub(super) fn rows(table: &Table) -> Vec<Row> {
    // In one piece: of a large table, room that grew by doubling would be many MiB that nobody needs.
    let mut rows = Vec::with_capacity(table.len());
    rows.extend(table.entries().map(Row::new));
    rows
}

/// Makes what is known now of the first of some entries: of at least one, and of no more than one question
/// should. Those that have gone are missing.
pub(super) async fn see(node: &Node, rows: Vec<Row>, depth: usize) -> Result<Vec<Option<Seen>>, Status> {
    let asking = node.clone();
    let seen = node.queries().ask(move |view| {
        let mut eye = Eye::new(view, &asking, depth);
        let mut bytes = 0;
        let seen = rows.iter().map_while(|row| {
            let has_room = bytes < CHUNK_BYTES;
            has_room.then(|| {
                let seen = row.find(view.table).map(|entry| eye.see(entry));
                bytes += seen.as_ref().map_or(0, |seen| seen.process.encoded_len());
                seen
            })
        });
        seen.collect()
    });
    seen.await.map_err(ended)
}

/// As many of the first as [`see`] takes at most.
pub(super) fn first<N>(rows: &[(Row, N)]) -> Vec<Row> {
    rows.iter().take(CHUNK).map(|(row, _)| *row).collect()
}

#[cfg(test)]
mod tests {
    use procession::{Event, EventKind, Exec, Fork, Subject};

    use super::*;

    #[test]
    fn a_row_finds_its_process_whatever_that_runs_by_then() {
        let began = BootTime::from_nanos(7);
        let apply = |table: &mut Table, kind| table.apply(&Event { time: began, kind }).process.unwrap();
        let fork = |pid| {
            let key = ProcessKey::new(Pid(pid), began);
            EventKind::Fork(Fork { child: Subject::exact(key, began), ..Fork::default() })
        };
        let mut table = Table::default();
        apply(&mut table, fork(5));
        let row = rows(&table)[0];
        let image = ProcessKey::new(Pid(5), BootTime::from_nanos(9));
        let exec = Exec { process: Subject::exact(image, began), ..Exec::default() };
        apply(&mut table, EventKind::Exec(exec));
        assert_eq!(row.find(&table).map(Entry::key), Some(image));

        let mut other = Table::default();
        let key = ProcessKey::new(Pid(5), BootTime::from_ticks(3));
        let later = Fork { child: Subject::exact(key, key.start), ..Fork::default() };
        apply(&mut other, EventKind::Fork(later));
        assert!(row.find(&other).is_none(), "another process has the pid");
    }
}
