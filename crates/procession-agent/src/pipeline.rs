//! From events to facts.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use procession::{
    Entry, Event, Fact, FactKind, Image, Ledger, LineageDetail, Namespaces, Nature, Outcome, Pid, ProcessId,
    Table, TableConfig,
};
use procession_filter::Filter;
use procession_sensor::{KernelCounts, Source, SourceError};

use crate::inventory::InventoryCounts;
use crate::tally::{Counter, Tally};
use crate::tell::TellCounts;

/// Which facts leave the pipeline, and with how much lineage.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Whose.
    pub scope: Scope,
    /// Which of theirs.
    pub filter: Filter,
    /// How much of the lineage goes with them.
    pub lineage: LineageDetail,
}

/// A set of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everything,
    /// What the process with this pid starts from now on, and what that starts, and so on; not the
    /// process itself.
    DescendantsOf {
        /// The pid that the process has in its own pid namespace.
        pid: Pid,
        /// Inode number of that namespace. `None`: the host's.
        pid_namespace: Option<u32>,
    },
}

/// A source and the table it feeds.
pub struct Pipeline {
    source: Box<dyn Source>,
    state: State,
}

/// What events are folded into.
struct State {
    table: Table,
    selection: Selection,
    counter: Counter,
    /// The process that the scope is about, found when the walk is over.
    root: Option<ProcessId>,
    is_walking: bool,
}

/// What a pipeline did.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// What became of every event.
    pub ledger: Ledger,
    /// What the kernel counted, where it does.
    pub kernel: Option<KernelCounts>,
    /// Processes alive, as far as is known.
    pub live: usize,
    /// Records of the source that could not be read.
    pub malformed: u64,
    /// What came of asking whose the containers are.
    pub told: TellCounts,
    /// How those do who were asked.
    pub inventory: InventoryCounts,
    /// Facts that were ready when the queue had no room.
    pub dropped: u64,
    /// Totals over the scope, where it is not everything.
    pub tally: Tally,
}

impl Pipeline {
    /// Takes in what already runs, and hands out the facts about it that `selection` admits. The table
    /// uses `budget` bytes at most.
    pub fn start(
        mut source: Box<dyn Source>,
        budget: usize,
        selection: Selection,
        out: &mut dyn FnMut(Fact),
    ) -> Result<Self, SourceError> {
        // Names and paths are other people's input.
        let seed = RandomState::new().hash_one(0);
        let table = Table::new(TableConfig { budget, seed, ..TableConfig::default() });
        let mut state = State { table, selection, counter: Counter::default(), root: None, is_walking: true };
        source.walk(&mut |event| state.fold(event, out))?;
        state.is_walking = false;
        if let Scope::DescendantsOf { pid, pid_namespace } = state.selection.scope {
            state.root = Some(find_root(&state.table, pid, pid_namespace).ok_or(SourceError::RootNotFound)?);
        }
        if let Some(root) = state.root {
            state.table.follow(root);
        }
        Ok(Self { source, state })
    }

    /// Waits for events, at most for `timeout`, and hands out the facts that come of them.
    pub fn poll(&mut self, timeout: Duration, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        self.source.poll(timeout, &mut |event| self.state.fold(event, out))
    }

    /// Stops observing, and hands out what was observed until then.
    pub fn finish(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        self.source.finish(&mut |event| self.state.fold(event, out))
    }

    /// The namespaces of the host: those of any thread of the kernel, or else of pid 1.
    ///
    /// `None` where neither is to be seen, as in a container.
    pub fn host_namespaces(&self) -> Option<Namespaces> {
        let table = self.table();
        let threads = table.entries().filter_map(Entry::image);
        let mut threads = threads.filter(|image| image.nature() == Nature::KernelThread);
        let init = || table.get_live(Pid(1))?.image();
        threads.next().or_else(init)?.namespaces().copied()
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.state.table
    }

    /// What was done so far.
    pub fn account(&self) -> Account {
        Account {
            ledger: *self.table().ledger(),
            kernel: self.source.kernel_counts(),
            live: self.table().live(),
            malformed: self.source.malformed(),
            told: TellCounts::default(),
            inventory: InventoryCounts::default(),
            dropped: 0,
            tally: self.state.counter.tally(self.table()),
        }
    }
}

/// The process that calls itself `pid` in its namespace.
fn find_root(table: &Table, pid: Pid, pid_namespace: Option<u32>) -> Option<ProcessId> {
    let live = || table.get_live(pid).map(Entry::id);
    let Some(namespace) = pid_namespace else { return live() };
    let is_it = |entry: &Entry<'_>| {
        let namespaces = entry.image().and_then(Image::namespaces);
        entry.is_running()
            && entry.ns_pid().unwrap_or(entry.key().pid) == pid
            && namespaces.is_some_and(|namespaces| namespaces.pid == namespace)
    };
    let found = table.entries().find(is_it).map(Entry::id);
    // A source that reads /proc names processes as that namespace does.
    found.or_else(live)
}

impl State {
    /// Applies one event, and hands out what comes of it.
    fn fold(&mut self, event: &Event<'_>, out: &mut dyn FnMut(Fact)) {
        let applied = self.table.apply(event);
        let (Some(id), Some(kind)) = (applied.process, applied.kind) else { return };
        if applied.outcome == Outcome::Duplicate || !self.is_in_scope(id) {
            return;
        }
        if self.root.is_some() {
            self.counter.note(&mut self.table, id, kind);
        }
        // A process that is found running after the walk has started since: its own events were
        // missed, or the source has none.
        let has_started = kind == FactKind::Running && !self.is_walking;
        let kind = if has_started { FactKind::Exec } else { kind };
        let Selection { filter, lineage, .. } = &self.selection;
        let Some(entry) = self.table.entry(id).filter(|_| filter.wants(kind)) else { return };
        let process = entry.snapshot();
        if filter.admits(kind, &process) {
            out(entry.fact(process, event.time, kind, *lineage));
        }
    }

    fn root_entry(&self) -> Option<Entry<'_>> {
        self.table.entry(self.root?)
    }

    fn is_in_scope(&self, id: ProcessId) -> bool {
        match self.selection.scope {
            Scope::Everything => true,
            Scope::DescendantsOf { .. } => self.table.entry(id).is_some_and(|entry| {
                entry.is_followed() && self.root_entry().is_none_or(|root| !entry.is_same_process(root))
            }),
        }
    }
}
