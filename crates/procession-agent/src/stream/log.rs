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
    /// The most bytes that they may take, about. The newest is kept however large it is: it may take more
    /// alone.
    pub bytes: usize,
}

impl Default for LogConfig {
    /// What the reference keeps for each client, for all of them; and 64 MiB.
    fn default() -> Self {
        Self { events: 10_000, bytes: 64 << 20 }
    }
}

impl LogConfig {
    fn has_room_for(self, events: usize, bytes: usize) -> bool {
        events <= self.events && bytes <= self.bytes
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

    /// Appends events, and lets go of the oldest as far as there is no room. The newest stays, however large
    /// it is: whoever keeps up is told of it.
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
            while state.events.len() > 1 && !self.0.config.has_room_for(state.events.len(), state.bytes) {
                dropped.extend(state.drop_oldest());
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

    /// How each reader does; then, of each kind of which some are gone that have lost events, those together,
    /// of whom there are no `readers`.
    pub fn readers(&self) -> Vec<(ReaderKind, ReaderCounts)> {
        let state = self.state();
        let readers = state.readers.iter().filter_map(Weak::upgrade);
        let present = readers.map(|reader| (reader.kind, reader.counts(&state)));
        let gone = [ReaderKind::Client, ReaderKind::Export].map(|kind| (kind, state.past[kind as usize]));
        present.chain(gone.into_iter().filter(|(_, counts)| counts.lost > 0)).collect()
    }

    /// How much it keeps at most.
    pub fn config(&self) -> LogConfig {
        self.0.config
    }

    /// Whether events that take so many bytes can be appended, and nothing is let go of that a reader of this
    /// kind has yet to read. Once all is read there is room for any.
    pub(crate) fn has_room(&self, kind: ReaderKind, events: usize, bytes: usize) -> bool {
        let state = self.state();
        let unread = state.unread(kind);
        let unread_bytes: usize =
            state.events.range(state.events.len() - unread..).map(|(_, bytes)| bytes).sum();
        unread == 0 || self.0.config.has_room_for(unread + events, unread_bytes + bytes)
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

    fn drop_oldest(&mut self) -> Option<Arc<Event>> {
        let (event, bytes) = self.events.pop_front()?;
        self.bytes -= bytes;
        self.start += 1;
        Some(event)
    }

    /// How many events the slowest reader of a kind has yet to read.
    fn unread(&self, kind: ReaderKind) -> usize {
        let readers = self.readers.iter().filter_map(Weak::upgrade).filter(|reader| reader.kind == kind);
        let waiting = readers.map(|reader| reader.counts(self).waiting).max().unwrap_or_default();
        usize::try_from(waiting).unwrap_or(usize::MAX).min(self.events.len())
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
