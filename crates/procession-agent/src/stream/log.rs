//! The latest events, and readers who each go at their own pace.
//!
//! One log serves all readers: however many there are, an event is kept once, and the memory has one
//! bound. A reader that falls behind what is kept loses events, is told how many, and holds up nobody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Event;

/// How much a log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The most events that may wait for the slowest reader.
    pub events: usize,
    /// The most bytes that they may take, about.
    pub bytes: usize,
}

impl Default for LogConfig {
    /// What the reference keeps for each client, for all of them; and 64 MiB.
    fn default() -> Self {
        Self { events: 10_000, bytes: 64 << 20 }
    }
}

/// The latest events.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReaderKind {
    /// A stream of a client.
    Client,
    /// The export.
    Export,
}

/// How a reader does, or those of one kind together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Readers that there are.
    pub readers: u64,
    /// Events that were read.
    pub read: u64,
    /// Events that were dropped before they were read.
    pub lost: u64,
    /// Events that wait to be read: of several readers, those of the slowest.
    pub waiting: u64,
}

/// Reads all events from the moment it was made.
#[derive(Debug)]
pub struct Reader {
    log: EventLog,
    account: Arc<ReaderAccount>,
}

/// What a reader gets at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Events that were dropped before `events`, because the reader was too slow.
    pub lost: u64,
    /// What comes next.
    pub events: Vec<Arc<Event>>,
}

#[derive(Debug)]
struct Shared {
    config: LogConfig,
    state: Mutex<State>,
    /// For readers in threads of their own.
    appended: Condvar,
    /// For readers in tasks.
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// Events that were dropped from the front: the position of the first that is kept.
    start: u64,
    is_closed: bool,
    readers: Vec<Weak<ReaderAccount>>,
    /// Of readers that are gone.
    past: [ReaderCounts; 2],
}

#[derive(Debug)]
struct ReaderAccount {
    kind: ReaderKind,
    /// The position of the next event to read.
    position: AtomicU64,
    read: AtomicU64,
    lost: AtomicU64,
}

/// The most events that are handed out at once.
const BATCH: usize = 256;

/// The most bytes that they take, about, unless a single one takes more: a reader that stands still keeps
/// them.
const BATCH_BYTES: usize = 128 << 10;

impl EventLog {
    /// An empty log.
    pub fn new(config: LogConfig) -> Self {
        let shared =
            Shared { config, state: Mutex::default(), appended: Condvar::new(), notify: Notify::new() };
        Self(Arc::new(shared))
    }

    /// A reader of what is appended from now on.
    pub fn reader(&self, kind: ReaderKind) -> Reader {
        let mut state = self.state();
        let account = Arc::new(ReaderAccount {
            kind,
            position: AtomicU64::new(state.end()),
            read: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        state.readers.push(Arc::downgrade(&account));
        Reader { log: self.clone(), account }
    }

    /// Appends events, and lets go of the oldest as far as there is no room.
    pub fn append(&self, events: impl IntoIterator<Item = Event>) {
        let events = events.into_iter().map(|event| {
            let bytes = event.bytes();
            (Arc::new(event), bytes)
        });
        // Before the lock: measuring an event takes longer than to append it.
        let events: Vec<_> = events.collect();
        let mut dropped = Vec::new();
        let mut state = self.state();
        for (event, bytes) in events {
            state.bytes += bytes;
            state.events.push_back((event, bytes));
            while state.events.len() > self.0.config.events || state.bytes > self.0.config.bytes {
                let Some((event, bytes)) = state.events.pop_front() else { break };
                state.bytes -= bytes;
                state.start += 1;
                dropped.push(event);
            }
        }
        drop(state);
        self.wake();
        // `dropped` frees what nobody reads any more, after the lock.
    }

    /// Says that no event will follow. Readers read to the end.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.wake();
    }

    /// How the readers of a kind do, those that are gone included.
    pub fn counts(&self, kind: ReaderKind) -> ReaderCounts {
        let state = self.state();
        let mut counts = state.past[kind as usize];
        for reader in state.readers.iter().filter_map(Weak::upgrade).filter(|reader| reader.kind == kind) {
            let one = reader.counts(&state);
            counts.readers += 1;
            counts.read += one.read;
            counts.lost += one.lost;
            counts.waiting = counts.waiting.max(one.waiting);
        }
        counts
    }

    /// How each reader does.
    pub fn readers(&self) -> Vec<(ReaderKind, ReaderCounts)> {
        let state = self.state();
        let readers = state.readers.iter().filter_map(Weak::upgrade);
        readers.map(|reader| (reader.kind, reader.counts(&state))).collect()
    }

    /// How much it keeps at most.
    pub fn config(&self) -> LogConfig {
        self.0.config
    }

    /// How many events it keeps, about: fewer than it may if they are large.
    pub(crate) fn room(&self) -> u64 {
        let (state, config) = (self.state(), self.0.config);
        let is_short = state.bytes >= config.bytes / 2;
        if is_short { state.events.len() as u64 } else { config.events as u64 }
    }

    /// Events and bytes that are kept.
    pub fn kept(&self) -> (usize, usize) {
        let state = self.state();
        (state.events.len(), state.bytes)
    }

    fn wake(&self) {
        self.0.appended.notify_all();
        self.0.notify.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can fail half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The position of the event that is appended next.
    fn end(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    /// What the reader has not read yet. `None`: nothing.
    fn take(&self, reader: &ReaderAccount) -> Option<Batch> {
        let position = reader.position.load(Ordering::Relaxed);
        let lost = self.start.saturating_sub(position);
        let first = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let mut room = BATCH_BYTES;
        let fits = |(_, bytes): &&(Arc<Event>, usize)| {
            // The first always does.
            let fits = room > 0;
            room = room.saturating_sub(*bytes);
            fits
        };
        let next = self.events.range(first.min(self.events.len())..).take(BATCH);
        let events: Vec<_> = next.take_while(fits).map(|(event, _)| Arc::clone(event)).collect();
        if lost == 0 && events.is_empty() {
            return None;
        }
        let count = events.len() as u64;
        reader.position.store(position + lost + count, Ordering::Relaxed);
        reader.read.fetch_add(count, Ordering::Relaxed);
        reader.lost.fetch_add(lost, Ordering::Relaxed);
        Some(Batch { lost, events })
    }
}

impl ReaderAccount {
    fn counts(&self, state: &State) -> ReaderCounts {
        let position = self.position.load(Ordering::Relaxed);
        // What is lost already, but not yet noticed by the reader, is lost.
        let unnoticed = state.start.saturating_sub(position);
        ReaderCounts {
            readers: 1,
            read: self.read.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed) + unnoticed,
            waiting: state.end() - position.max(state.start),
        }
    }
}

impl Reader {
    /// Waits for what comes next. `None`: nothing will.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            let notified = self.log.0.notify.notified();
            tokio::pin!(notified);
            // From here on no append is missed.
            notified.as_mut().enable();
            {
                let state = self.log.state();
                if let Some(batch) = state.take(&self.account) {
                    return Some(batch);
                }
                if state.is_closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// Waits in a thread of its own, at most for `timeout`: then the batch is empty. `None`: nothing
    /// will come.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Batch> {
        let end = Instant::now() + timeout;
        let mut state = self.log.state();
        loop {
            if let Some(batch) = state.take(&self.account) {
                return Some(batch);
            }
            if state.is_closed {
                return None;
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Some(Batch::default());
            };
            let waited = self.log.0.appended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How it does.
    pub fn counts(&self) -> ReaderCounts {
        self.account.counts(&self.log.state())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.state();
        let counts = self.account.counts(&state);
        let past = &mut state.past[self.account.kind as usize];
        past.read += counts.read;
        past.lost += counts.lost;
        let own = Arc::as_ptr(&self.account);
        state.readers.retain(|reader| reader.as_ptr() != own);
    }
}
