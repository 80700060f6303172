//! From events to facts.

use std::time::{Duration, Instant};

use procession::{
    BootTime, Entry, Event, EventKind, Fact, FactKind, Gap, Gone, Image, Ledger, LineageDetail, Namespaces,
    Nature, Origin, Outcome, Pid, ProcessId, Suspects, Table, TableConfig,
};
use procession_filter::Filter;
use procession_journal::Restored;
use procession_sensor::{KernelCounts, Resumed, Source, SourceError};

use crate::clock::boot_time;
use crate::inventory::InventoryCounts;
use crate::journal::{Feed, JournalCounts, OpenJournal, Redactor, Roll, chain};
use crate::repair::{RepairCounts, Schedule, Sightings};
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
    schedule: Schedule,
    repaired: RepairCounts,
}

/// What a pipeline does.
#[derive(Debug)]
pub struct PipelineConfig {
    /// What it hands out.
    pub selection: Selection,
    /// How the table behaves, unless it goes on from `resume`.
    pub table: TableConfig,
    /// Where all events are written to. `None`: nowhere.
    pub journal: Option<OpenJournal>,
    /// From where to go on, in place of what runs already. Its table stays as it is.
    pub resume: Option<Restored>,
}

/// How long a survey may wait for records that are still being written.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What events are folded into.
struct State {
    table: Table,
    selection: Selection,
    counter: Counter,
    /// The process that the scope is about, found when the walk is over.
    root: Option<ProcessId>,
    is_walking: bool,
    journal: Option<Feed>,
    redactor: Redactor,
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
    /// What the journal did. `None`: there is none.
    pub journal: Option<JournalCounts>,
    /// What came of looking for what was missed.
    pub repair: RepairCounts,
}

impl PipelineConfig {
    /// What is selected, a table that is as usual, and no journal.
    pub fn new(selection: Selection) -> Self {
        Self { selection, table: TableConfig::default(), journal: None, resume: None }
    }
}

impl Pipeline {
    /// Takes in what already runs, or what a journal had and what has happened since, and hands out the
    /// facts about it that are selected.
    ///
    /// # Errors
    ///
    /// The source fails, the scope's root does not run, or the system refuses a thread.
    pub fn start(
        mut source: Box<dyn Source>,
        config: PipelineConfig,
        out: &mut dyn FnMut(Fact),
    ) -> Result<Self, SourceError> {
        let PipelineConfig { selection, table, journal, resume } = config;
        let config_of_table = resume.as_ref().map_or(table, |restored| restored.recording.table);
        let (resume, sequence) = resume
            .map_or((None, 0), |Restored { table, bookmark, sequence, .. }| {
                (Some((table, bookmark)), sequence)
            });
        let redactor = journal.as_ref().map(OpenJournal::redactor).unwrap_or_default();
        let journal = begin_journal(journal, &mut *source, config_of_table, sequence)?;
        let (table, bookmark) = match resume {
            Some((table, bookmark)) => (table, Some(bookmark)),
            None => (Table::new(table), None),
        };
        let counter = Counter::default();
        let state = State { table, selection, counter, root: None, is_walking: true, journal, redactor };
        let mut pipeline =
            Self { source, state, schedule: Schedule::default(), repaired: RepairCounts::default() };
        if let Some(journal) = &mut pipeline.state.journal {
            journal.goes_on_from(bookmark.as_deref().unwrap_or_default());
            journal.send_state_if_due(&pipeline.state.table);
        }
        match bookmark {
            Some(bookmark) => pipeline.resume(&bookmark, out)?,
            None => pipeline.walk(out)?,
        }
        pipeline.begin()?;
        Ok(pipeline)
    }

    /// Finds what runs, where nothing was known before.
    fn walk(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        let Self { source, state, schedule, .. } = self;
        source.walk(&mut |event| state.fold(event, out))?;
        // Whoever is only known from others may be on its way out, and its exit told already.
        if state.table.entries().any(|it| it.is_running() && it.origin() == Origin::Inferred) {
            schedule.want(Gap::Loss);
        }
        Ok(())
    }

    /// What runs is known: the scope can be found.
    fn begin(&mut self) -> Result<(), SourceError> {
        let state = &mut self.state;
        state.is_walking = false;
        if let Scope::DescendantsOf { pid, pid_namespace } = state.selection.scope {
            state.root = Some(find_root(&state.table, pid, pid_namespace).ok_or(SourceError::RootNotFound)?);
        }
        if let Some(root) = state.root {
            state.table.follow(root);
        }
        let root = state.root_entry().map(Entry::key);
        let host = self.host_namespaces();
        if let Some(journal) = &mut self.state.journal {
            journal.describe(root, host);
            journal.flush(&*self.source);
        }
        self.attend();
        Ok(())
    }

    /// Goes on where somebody else has ended. What ran then is told of first, and then what has happened
    /// since.
    fn resume(&mut self, bookmark: &[u8], out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        let Self { source, state, .. } = self;
        state.tell_of_all(out);
        // What is new from here on has happened, and is not only found.
        state.is_walking = false;
        // Otherwise nothing is read yet: a source without surveys tells in its walk what it has not told.
        match source.resume(bookmark)? {
            Resumed::Continued => self.drain(out)?,
            // Who had no programs in the kernel has left no bookmark.
            Resumed::Afresh if !bookmark.is_empty() => tracing::warn!(
                "the kernel has not kept all that happened since the agent before this one wrote: what began and \
                 ended meanwhile is not known, and what runs is looked for"
            ),
            Resumed::Afresh => {}
        }
        // What is lost from here on is looked for once more.
        self.schedule.accept(self.losses());
        if !self.survey(Gap::Absence, out)? {
            self.walk_again(out)?;
        }
        Ok(())
    }

    /// Compares the table with a walk, where the source has no survey.
    fn walk_again(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        let Self { source, state, .. } = self;
        let began = boot_time();
        let mut seen = Sightings::of_only_look();
        source.walk(&mut |event| match &event.kind {
            EventKind::Running(running) => seen.saw(event.time, running, &state.table),
            _ => state.fold(event, out),
        })?;
        self.drain(out)?;
        self.repair(seen, began, Gap::Absence, out);
        Ok(())
    }

    /// Waits for events, at most for `timeout`, and hands out the facts that come of them.
    ///
    /// # Errors
    ///
    /// The source fails.
    pub fn poll(&mut self, timeout: Duration, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        self.source.poll(timeout, &mut |event| self.state.fold(event, out))?;
        self.schedule.note(self.losses());
        if let Some(gap) = self.schedule.due(Instant::now()) {
            // What a source lost that cannot stays lost.
            self.survey(gap, out)?;
        }
        self.attend();
        Ok(())
    }

    /// Stops observing, and hands out what was observed until then.
    ///
    /// # Errors
    ///
    /// The source fails.
    pub fn finish(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        self.source.finish(&mut |event| self.state.fold(event, out))
    }

    /// Ends the journal, if there is one: what is left is written.
    pub fn close(&mut self) {
        if let Some(journal) = &mut self.state.journal {
            journal.finish(&mut *self.source, &self.state.table);
        }
    }

    /// Takes note in the journal of whose containers are.
    pub(crate) fn call(&mut self, roll: &mut Roll) {
        if let Some(journal) = &mut self.state.journal {
            roll.write(journal, &self.state.table);
        }
    }

    /// The journal's turn.
    fn attend(&mut self) {
        if let Some(journal) = &mut self.state.journal {
            journal.turn(Instant::now(), &mut *self.source, &self.state.table);
        }
    }

    /// Events that are missing for sure, and how often others may be.
    fn losses(&self) -> u64 {
        let lost = self.table().ledger().lost();
        lost.saturating_add(self.source.malformed()).saturating_add(self.source.doubts())
    }

    /// Takes in what has happened until the end of the last survey. False: some of it is still to come.
    fn catch_up(&mut self, out: &mut dyn FnMut(Fact)) -> Result<bool, SourceError> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let mut is_empty = true;
            self.source.poll(Duration::ZERO, &mut |event| {
                is_empty = false;
                self.state.fold(event, out);
            })?;
            if self.source.has_told_survey() {
                return Ok(true);
            }
            if is_empty {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Takes in what has happened until now. What happens without end meanwhile is for later.
    fn drain(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        // Each takes thousands: it is more than a ring of the usual size holds.
        const MOST: usize = 8;
        for _ in 0..MOST {
            let mut is_empty = true;
            self.source.poll(Duration::ZERO, &mut |event| {
                is_empty = false;
                self.state.fold(event, out);
            })?;
            if is_empty {
                break;
            }
        }
        Ok(())
    }

    /// Looks at what runs, and puts right where the table differs. Whether the source can.
    fn survey(&mut self, gap: Gap, out: &mut dyn FnMut(Fact)) -> Result<bool, SourceError> {
        let start = Instant::now();
        let Self { source, state, .. } = self;
        let mut seen = Sightings::new();
        let began = source.survey(&mut |event| {
            if let EventKind::Running(running) = &event.kind {
                seen.saw(event.time, running, &state.table);
            }
        });
        let took = start.elapsed();
        match began {
            Ok(Some(began)) if self.catch_up(out)? => {
                let start = Instant::now();
                self.repair(seen, began, gap, out);
                let took = took + start.elapsed();
                self.repaired.time += took;
                self.schedule.done(Instant::now(), took);
            }
            Ok(None) => return Ok(false),
            Ok(Some(_)) => self.look_again(gap, took),
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot look at what runs: it is tried again");
                self.look_again(gap, took);
            }
        }
        Ok(true)
    }

    /// A survey that took so long came to nothing.
    fn look_again(&mut self, gap: Gap, took: Duration) {
        self.schedule.done(Instant::now(), took);
        self.schedule.want(gap);
    }

    /// Applies what a survey saw that the table has otherwise, when that was told all that happened until
    /// the survey's end.
    fn repair(&mut self, mut seen: Sightings, began: BootTime, gap: Gap, out: &mut dyn FnMut(Fact)) {
        let Self { source, state, schedule, repaired, .. } = self;
        repaired.surveys += 1;
        let Suspects { gone, mut missing, changed, doubtful, young, .. } = seen.suspects(&state.table, began);
        missing.extend(schedule.confirm(doubtful, gap));
        if young > 0 {
            schedule.want(gap);
        }
        // First those that are gone: their pids may have new owners.
        for process in gone {
            if source.still_runs(process) {
                // It was kept out of the survey, or its exit is about to be told.
                schedule.want(gap);
                continue;
            }
            repaired.gone += 1;
            state.fold(&Event { time: began, kind: EventKind::Gone(Gone { process, gap }) }, out);
        }
        for (processes, count) in [(missing, &mut repaired.missing), (changed, &mut repaired.changed)] {
            for process in processes {
                match seen.found(&process, gap) {
                    Some(event) => {
                        *count += 1;
                        state.fold(&event, out);
                    }
                    // It was as it should be when it was seen: it is looked at again.
                    None => schedule.want(gap),
                }
            }
        }
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
            journal: self.state.journal.as_ref().map(Feed::counts),
            repair: self.repaired,
        }
    }
}

/// What is read from here on is kept for `journal`, if there is one.
fn begin_journal(
    journal: Option<OpenJournal>,
    source: &mut dyn Source,
    table: TableConfig,
    sequence: u64,
) -> Result<Option<Feed>, SourceError> {
    let Some(journal) = journal else { return Ok(None) };
    source.keep();
    let recording = journal.recording(source, table);
    Feed::begin(journal, recording, sequence).map(Some).map_err(SourceError::io("start a thread"))
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
    /// Writes one event down, applies it, and hands out what comes of it; without its secrets, if there is
    /// a journal.
    fn fold(&mut self, event: &Event<'_>, out: &mut dyn FnMut(Fact)) {
        let mut redactor = std::mem::take(&mut self.redactor);
        match redactor.hide(event) {
            Some(event) => self.take(&event, out),
            None => self.take(event, out),
        }
        self.redactor = redactor;
    }

    fn take(&mut self, event: &Event<'_>, out: &mut dyn FnMut(Fact)) {
        if let Some(journal) = &mut self.journal {
            journal.push(event);
        }
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

    /// Hands out all that run as found running.
    fn tell_of_all(&self, out: &mut dyn FnMut(Fact)) {
        let Selection { filter, lineage, .. } = &self.selection;
        if !filter.wants(FactKind::Running) {
            return;
        }
        let mut running: Vec<_> = self.table.entries().filter(|entry| entry.is_running()).collect();
        // Parents before children.
        running.sort_by_key(|entry| (entry.began(), entry.key()));
        for entry in running {
            let process = entry.snapshot();
            if self.is_in_scope(entry.id()) && filter.admits(FactKind::Running, &process) {
                out(entry.fact(process, self.table.now(), FactKind::Running, *lineage));
            }
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
