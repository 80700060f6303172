//! Looks at the whole table, without keeping its owner from its work for long.
//!
//! One question notes what there is, a few words for each entry. What is to be shown is worked out of
//! that elsewhere, and then made in many small questions, between which the owner goes on.

use procession::{BootTime, Entry, Pid, ProcessId, ProcessKey, Retention, Table};
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{self, GetEventsResponse, ProcessExec};
use tonic::Status;

use super::ended;
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
    /// Only where filters may look at it.
    pub(super) parent: Option<tetragon::Process>,
}

/// Entries that one question makes: about a millisecond.
pub(super) const CHUNK: usize = 256;

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

impl Seen {
    pub(super) fn new(view: &View<'_>, node: &Node, entry: Entry<'_>, with_parent: bool) -> Self {
        let present = |entry| node.presenter().entry(entry, view.inventory);
        let parent = entry.reference_parent().filter(|_| with_parent);
        Self { process: present(entry), parent: parent.and_then(|parent| present(parent).process) }
    }
}

impl Seen {
    /// As if it were run now: what filters look at.
    pub(super) fn as_event(&self, node_name: &str) -> GetEventsResponse {
        let process = self.process.process.clone();
        let time = process.as_ref().and_then(|process| process.start_time);
        let exec = ProcessExec { process, parent: self.parent.clone(), ancestors: Vec::new() };
        let node_name = node_name.to_owned();
        GetEventsResponse {
            node_name,
            time,
            event: Some(Event::ProcessExec(exec)),
            ..GetEventsResponse::default()
        }
    }
}

/// Every entry that there is.
pub(super) fn rows(table: &Table) -> Vec<Row> {
    table.entries().map(Row::new).collect()
}

/// Makes what is known now of a chunk of entries. Those that have gone are missing.
pub(super) async fn see(
    node: &Node,
    rows: Vec<Row>,
    with_parents: bool,
) -> Result<Vec<Option<Seen>>, Status> {
    let asking = node.clone();
    let seen = node.queries().ask(move |view| {
        let see = |row: &Row| Some(Seen::new(view, &asking, row.find(view.table)?, with_parents));
        rows.iter().map(see).collect()
    });
    seen.await.map_err(ended)
}
