//! From events to facts, in one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use procession::{
    Event, Fact, FactKind, Ledger, LineageDetail, Namespaces, Nature, Outcome, Pid, Process, ProcessId,
    Table, TableConfig,
};
use procession_filter::Filter;
use procession_sensor::{KernelCounts, Source, SourceError};

use crate::tally::Tally;

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
    /// What this process starts, and what that starts, and so on; not the process itself.
    DescendantsOf(Pid),
}

/// A source and the table it feeds.
pub struct Pipeline {
    source: Box<dyn Source>,
    table: Table,
    selection: Selection,
    tally: Tally,
    /// The process that the scope is about, found when the walk is over.
    root: Option<ProcessId>,
}

/// What a pipeline did.
#[derive(Clone, Debug)]
pub struct Account {
    /// What became of every event.
    pub ledger: Ledger,
    /// What the kernel counted, where it does.
    pub kernel: Option<KernelCounts>,
    /// Processes alive, as far as is known.
    pub live: usize,
    /// Records of the source that could not be read.
    pub malformed: u64,
    /// Facts that were ready when the queue had no room.
    pub dropped: u64,
    /// Totals over the scope, where it is not everything.
    pub tally: Tally,
}

/// How long to wait for events before looking whether to stop.
///
/// The source is not woken for each event, so this is also the longest that an event waits in the
/// kernel on a quiet machine.
const POLL: Duration = Duration::from_millis(20);

/// How long a stopped pipeline goes on when events keep coming.
const DRAIN: Duration = Duration::from_secs(2);

impl Pipeline {
    /// Takes in what already runs, and hands out the facts about it that `selection` admits.
    pub fn start(
        mut source: Box<dyn Source>,
        selection: Selection,
        out: &mut dyn FnMut(Fact),
    ) -> Result<Self, SourceError> {
        let mut table = Table::new(TableConfig::default());
        let mut tally = Tally::default();
        source.walk(&mut |event| fold(&mut table, &selection, &mut tally, None, event, out))?;
        let root = match selection.scope {
            Scope::Everything => None,
            Scope::DescendantsOf(pid) => table.find_live(pid),
        };
        Ok(Self { source, table, selection, tally, root })
    }

    /// Waits for events, at most for `timeout`, and hands out the facts that come of them.
    ///
    /// Returns how many events there were, reports of losses included.
    pub fn poll(&mut self, timeout: Duration, out: &mut dyn FnMut(Fact)) -> Result<u64, SourceError> {
        let Self { source, table, selection, tally, root } = self;
        let mut events = 0;
        source.poll(timeout, &mut |event| {
            events += 1;
            fold(table, selection, tally, *root, event, out);
        })?;
        Ok(events)
    }

    /// Stops observing, and hands out what was observed until then.
    pub fn finish(&mut self, out: &mut dyn FnMut(Fact)) -> Result<(), SourceError> {
        let Self { source, table, selection, tally, root } = self;
        source.finish(&mut |event| fold(table, selection, tally, *root, event, out))
    }

    /// The namespaces of the host: those of any thread of the kernel, or else of pid 1.
    ///
    /// `None` where neither is to be seen, as in a container.
    pub fn host_namespaces(&self) -> Option<Namespaces> {
        let image = |process: Process| process.image;
        let threads = self.table.iter().filter_map(|(_, process)| image(process));
        let mut threads = threads.filter(|image| image.nature() == Nature::KernelThread);
        let init = || self.table.process(self.table.find_live(Pid(1))?).and_then(image);
        threads.next().or_else(init)?.namespaces().copied()
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What was done so far.
    pub fn account(&self) -> Account {
        Account {
            ledger: *self.table.ledger(),
            kernel: self.source.kernel_counts(),
            live: self.table.live(),
            malformed: self.source.malformed(),
            dropped: 0,
            tally: self.tally.clone(),
        }
    }
}

/// Applies one event, and hands out what comes of it.
fn fold(
    table: &mut Table,
    selection: &Selection,
    tally: &mut Tally,
    root: Option<ProcessId>,
    event: &Event<'_>,
    out: &mut dyn FnMut(Fact),
) {
    let applied = table.apply(event);
    let (Some(id), Some(kind)) = (applied.process, FactKind::of(&event.kind)) else { return };
    if applied.outcome == Outcome::Duplicate {
        return;
    }
    if let Scope::DescendantsOf(_) = selection.scope {
        let Some(root) = root.filter(|root| table.descends_from(id, *root)) else { return };
        tally.note(table, root, id, kind);
    }
    if let Some(fact) = table.fact(id, event.time, kind, selection.lineage)
        && selection.filter.admits(&fact)
    {
        out(fact);
    }
}

/// A pipeline at work in a thread of its own.
#[derive(Debug)]
pub struct Observation {
    facts: Receiver<Fact>,
    host_namespaces: Option<Namespaces>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Account, SourceError>>,
}

impl Observation {
    /// Starts to observe. When this returns, every event from now on will be seen.
    ///
    /// At most `capacity` facts wait for whoever presents them; those that find no room are
    /// dropped and counted.
    pub fn start(
        source: Box<dyn Source>,
        selection: Selection,
        capacity: usize,
    ) -> Result<Self, SourceError> {
        let (sender, facts) = bounded(capacity);
        let mut queue = Queue { facts: sender, dropped: 0 };
        let pipeline = Pipeline::start(source, selection, &mut |fact| queue.offer(fact))?;
        let host_namespaces = pipeline.host_namespaces();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name("pipeline".into()).spawn(move || run(pipeline, queue, &stop))
        };
        Ok(Self { facts, host_namespaces, stop, thread: thread.map_err(SourceError::io("start a thread"))? })
    }

    /// The facts, in order. Disconnects when the observation has stopped.
    pub fn facts(&self) -> &Receiver<Fact> {
        &self.facts
    }

    /// The namespaces of the host, as far as they are to be seen.
    pub fn host_namespaces(&self) -> Option<Namespaces> {
        self.host_namespaces
    }

    /// Asks to stop, when what has happened until now is handed out.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits for the end, and gives the account.
    pub fn join(self) -> Result<Account, SourceError> {
        // Whoever waits for the end reads no more facts.
        drop(self.facts);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn run(mut pipeline: Pipeline, mut queue: Queue, stop: &AtomicBool) -> Result<Account, SourceError> {
    while !stop.load(Ordering::Acquire) {
        pipeline.poll(POLL, &mut |fact| queue.offer(fact))?;
    }
    let deadline = Instant::now() + DRAIN;
    while pipeline.poll(POLL, &mut |fact| queue.offer(fact))? > 0 && Instant::now() < deadline {}
    pipeline.finish(&mut |fact| queue.offer(fact))?;
    Ok(Account { dropped: queue.dropped, ..pipeline.account() })
}

/// The bounded queue between a pipeline and whoever presents its facts.
struct Queue {
    facts: Sender<Fact>,
    dropped: u64,
}

impl Queue {
    fn offer(&mut self, fact: Fact) {
        if let Err(TrySendError::Full(_)) = self.facts.try_send(fact) {
            self.dropped += 1;
        }
    }
}
