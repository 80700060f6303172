//! A pipeline at work in a thread of its own, and what it tells.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use procession::{Namespaces, TableConfig};
use procession_journal::Restored;
use procession_kube::Told;
use procession_sensor::{Source, SourceError};

use crate::hold::HoldConfig;
use crate::inventory::Inventory;
use crate::journal::{OpenJournal, Roll};
use crate::pipeline::{Account, Pipeline, PipelineConfig, Selection};
use crate::pulse::Pulse;
use crate::query::{Queries, Query, View};
use crate::queue::Queue;
use crate::tell::Teller;

/// What to observe, and how long it may wait where.
#[derive(Debug)]
pub struct ObservationConfig {
    /// What is told.
    pub selection: Selection,
    /// How long it may wait until it is known whose container it happened in.
    pub hold: HoldConfig,
    /// How many facts may wait for whoever presents them.
    pub queue: usize,
    /// The most bytes that those take, about, besides images that the table had at the same time. Of no meaning
    /// for a source that waits.
    pub queue_bytes: usize,
    /// What becomes of those for which there is no room.
    pub when_full: WhenFull,
    /// How the table behaves. It is another's that goes on from `resume`, but within this budget.
    pub table: TableConfig,
    /// Where all events are written to. `None`: nowhere.
    pub journal: Option<OpenJournal>,
    /// From where to go on, in place of what runs already: what a journal had.
    pub resume: Option<Restored>,
}

/// What becomes of a fact for which the queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped, and counted: nobody holds up the source.
    #[default]
    Drop,
    /// The source has to wait, as one can that reads what was recorded.
    Wait,
}

impl ObservationConfig {
    /// What is selected, with what suits most: see the defaults of [`HoldConfig`] and
    /// [`TableConfig`], and room for 65,536 facts or 32 MiB of them: some 50,000 of programs with short
    /// arguments, told with their parents, and fewer with more ancestors. The seed of the table is
    /// random, because names and paths are other people's input.
    pub fn new(selection: Selection) -> Self {
        let seed = RandomState::new().hash_one(0);
        Self {
            selection,
            hold: HoldConfig::default(),
            queue: 1 << 16,
            queue_bytes: 32 << 20,
            when_full: WhenFull::Drop,
            table: TableConfig { seed, ..TableConfig::default() },
            journal: None,
            resume: None,
        }
    }
}

/// A pipeline at work in a thread of its own. Whoever drops it asks it to stop, and waits for nothing.
#[derive(Debug)]
pub struct Observation {
    found: Vec<Told>,
    told: Receiver<Told>,
    host_namespaces: Option<Namespaces>,
    queries: Queries,
    pulse: Pulse,
    stop: Stop,
    thread: JoinHandle<Result<Account, SourceError>>,
}

/// Asks the thread to stop, when it is dropped at the latest.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.ask();
    }
}

/// How long to wait for events before looking whether to stop.
///
/// The source is not woken for each event, so this is also the longest that an event waits in the
/// kernel on a quiet machine.
const POLL: Duration = Duration::from_millis(20);

/// The same while facts wait for an answer.
const EAGER_POLL: Duration = Duration::from_millis(2);

/// How long the last answers are waited for when all else is over.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// How long questions are answered before the source is looked at again: who asks without end must not
/// keep events waiting.
const ANSWERING: Duration = Duration::from_millis(5);

impl Observation {
    /// Starts to observe. When this returns, every event from now on will be seen.
    ///
    /// `inventory` is asked whose the containers are.
    ///
    /// # Errors
    ///
    /// The source fails, the scope's root does not run, or the system refuses a thread.
    pub fn start(
        source: Box<dyn Source>,
        config: ObservationConfig,
        inventory: Box<dyn Inventory>,
    ) -> Result<Self, SourceError> {
        let ObservationConfig { selection, hold, queue, queue_bytes, when_full, table, journal, resume } =
            config;
        let mut teller = Teller::new(selection.filter.clone(), inventory, hold);
        let mut found = Vec::new();
        let mut roll = Roll::new(journal.is_some());
        let mut tell = |told: Told| {
            roll.note(&told.containers);
            found.push(told);
        };
        let config = PipelineConfig { selection, table, journal, resume };
        let pipeline = Pipeline::start(source, config, &mut |fact| teller.take(fact, &mut tell))?;
        let host_namespaces = pipeline.host_namespaces();
        let (queue, told) = Queue::new(queue, queue_bytes, when_full, roll);
        let (queries, asked) = Queries::new();
        let pulse = Pulse::new();
        let work = Work { pipeline, queue, asked, pulse: pulse.clone(), teller };
        let stop = Stop::default();
        let thread = {
            let stop = Arc::clone(&stop.0);
            std::thread::Builder::new().name("pipeline".into()).spawn(move || work.run(&stop))
        };
        let thread = thread.map_err(SourceError::io("start a thread"))?;
        Ok(Self { found, told, host_namespaces, queries, pulse, stop, thread })
    }

    /// Takes what is told of processes that already ran at the start, as far as they are selected.
    /// What has to wait is told later, with the rest.
    pub fn take_found(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.found)
    }

    /// What is told from then on: of one process in the order in which it happened. Disconnects when
    /// the observation has stopped.
    pub fn told(&self) -> &Receiver<Told> {
        &self.told
    }

    /// The namespaces of the host, as far as they are to be seen.
    pub fn host_namespaces(&self) -> Option<Namespaces> {
        self.host_namespaces
    }

    /// Where to ask what the table knows.
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Whether it goes on.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Asks to stop, when what has happened until now is told.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits for the end, and gives the account.
    ///
    /// # Errors
    ///
    /// The source has failed, and the observation ended with it.
    pub fn join(self) -> Result<Account, SourceError> {
        // Whoever waits for the end reads no more.
        drop(self.told);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What the thread works on.
struct Work {
    pipeline: Pipeline,
    /// Dropped before those who are asked, whose end may take a while.
    queue: Queue,
    asked: Receiver<Query>,
    pulse: Pulse,
    teller: Teller,
}

impl Work {
    fn run(mut self, stop: &AtomicBool) -> Result<Account, SourceError> {
        // However it ends.
        let _end = self.pulse.ending();
        let observed = self.observe(stop);
        let Self { queue, teller, .. } = &mut self;
        let end = Instant::now() + LAST_ANSWERS;
        while teller.is_waiting() && Instant::now() < end {
            std::thread::sleep(EAGER_POLL);
            teller.attend(&mut |told| queue.offer(told));
        }
        // Even when the source has failed, what it told of before is not lost.
        teller.finish(&mut |told| queue.offer(told));
        self.pipeline.call(&mut self.queue.roll);
        self.pipeline.close();
        observed.map(|()| self.account())
    }

    fn account(&self) -> Account {
        let account = self.pipeline.account();
        Account {
            told: self.teller.counts(),
            inventory: self.teller.inventory().counts(),
            dropped: account.dropped + self.queue.dropped,
            ..account
        }
    }

    fn observe(&mut self, stop: &AtomicBool) -> Result<(), SourceError> {
        while !stop.load(Ordering::Acquire) {
            self.poll()?;
        }
        // Sources other than eBPF may be told of an exit a moment after whoever waited for it.
        self.poll()?;
        let Self { pipeline, queue, teller, .. } = self;
        pipeline.finish(&mut |fact| teller.take(fact, &mut |told| queue.offer(told)))
    }

    fn poll(&mut self) -> Result<(), SourceError> {
        let Self { pipeline, queue, teller, .. } = self;
        let patience = if teller.is_waiting() { EAGER_POLL } else { POLL };
        pipeline.poll(patience, &mut |fact| teller.take(fact, &mut |told| queue.offer(told)))?;
        teller.attend(&mut |told| queue.offer(told));
        pipeline.call(&mut queue.roll);
        self.pulse.beat(self.pipeline.table().ledger().received());
        self.answer();
        Ok(())
    }

    /// Answers what was asked meanwhile.
    fn answer(&self) {
        let account = || self.account();
        let view =
            View { table: self.pipeline.table(), inventory: self.teller.inventory(), account: &account };
        let end = Instant::now() + ANSWERING;
        for query in self.asked.try_iter() {
            query(&view);
            if Instant::now() >= end {
                break;
            }
        }
    }
}
