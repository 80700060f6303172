//! The pipeline's side of the journal: it makes blocks of events, and never waits.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use procession::{Event, Namespaces, ProcessKey, Table};
use procession_journal::{BlockBuilder, Container, RawBlock, Recording};
use procession_sensor::Source;

use super::medium::{End, State};
use super::scribe::{Events, Job, Scribe, SharedProgress, Trouble};
use super::{JournalCounts, OpenJournal};
use crate::clock::{apart, renewed};
use crate::stall::{News, Stall, Standing};

/// How long an event waits until its block is sent.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Bytes at which a block is sent although the source is in the middle of handing over. Its bookmark is
/// then from before: what follows may be handed over twice to whoever goes on from there, and the table
/// knows it already.
const LONGEST_BLOCK: usize = 4 << 20;

/// Jobs that may wait to be written, and bytes of them. What finds no room is missing in the journal.
const JOBS: usize = 128;
const WAITING: usize = 16 << 20;

/// A step of the wall clock with which another file begins.
const STEP: Duration = Duration::from_secs(1);

/// How long the end waits for what is left to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Makes the blocks of a journal, and sends them to the thread that writes.
pub(crate) struct Feed {
    recording: Recording,
    builder: BlockBuilder,
    /// When the first event of the block was seen to wait.
    waits_since: Option<Instant>,
    jobs: Sender<Job>,
    progress: SharedProgress,
    scribe: Thread,
    /// Disconnected when the scribe has ended.
    ended: Receiver<Infallible>,
    /// Up to where the source was read at the end of its last turn.
    bookmark: Vec<u8>,
    sent: Sent,
    /// Whether the state is to be written next.
    owes_state: bool,
    /// How often the state was sent: each time another file begins.
    parts: u64,
    /// Where it is written.
    place: PathBuf,
    stall: Stall,
}

/// What was sent so far.
#[derive(Debug, Default)]
struct Sent {
    events: u64,
    bytes: usize,
}

impl Feed {
    /// Begins to write, after `sequence` events that came before in the same journal. `recording` is made
    /// of what is known by now.
    pub(crate) fn begin(journal: OpenJournal, recording: Recording, sequence: u64) -> io::Result<Self> {
        let place = journal.config.target.path().to_owned();
        let (jobs, to_write) = bounded(JOBS);
        let (is_there, ended) = bounded(0);
        let progress = SharedProgress::default();
        let scribe = Scribe {
            medium: journal.medium,
            jobs: to_write,
            progress: progress.clone(),
            trouble: Trouble::new(place.clone()),
            is_there,
        };
        let thread = thread::Builder::new().name("journal".into()).spawn(move || scribe.run())?;
        Ok(Self {
            builder: BlockBuilder::new(sequence),
            recording,
            waits_since: None,
            jobs,
            progress,
            scribe: thread.thread().clone(),
            ended,
            bookmark: Vec::new(),
            sent: Sent::default(),
            owes_state: true,
            parts: 0,
            place,
            stall: Stall::default(),
        })
    }

    /// What is told so far reaches up to `bookmark`: whoever is killed before the first event goes on from
    /// there again.
    pub(crate) fn goes_on_from(&mut self, bookmark: &[u8]) {
        self.bookmark = bookmark.to_vec();
    }

    /// Takes an event, which is then to be folded.
    pub(crate) fn push(&mut self, event: &Event<'_>) {
        self.builder.push(event);
        if self.builder.bytes() >= LONGEST_BLOCK {
            self.send_events();
        }
    }

    /// What the walk has brought to light.
    pub(crate) fn describe(&mut self, root: Option<ProcessKey>, host_namespaces: Option<Namespaces>) {
        (self.recording.root, self.recording.host_namespaces) = (root, host_namespaces);
    }

    /// Sends what there is: it would take long to find it out again.
    pub(crate) fn flush(&mut self, source: &dyn Source) {
        self.bookmark = source.bookmark();
        self.send_events();
    }

    /// Sends what is due, and releases what is safe. To be called when the source has handed over what
    /// there was, and `table` was told all of it.
    pub(crate) fn turn(&mut self, now: Instant, source: &mut dyn Source, table: &Table) {
        self.bookmark = source.bookmark();
        if self.builder.events() > 0 {
            let since = *self.waits_since.get_or_insert(now);
            if self.builder.bytes() >= BlockBuilder::FULL || now.duration_since(since) >= LONGEST_WAIT {
                self.send_events();
            }
        }
        self.owes_state |= self.is_full();
        self.send_state_if_due(table);
        self.release(source);
        self.watch(now);
    }

    /// Looks whether anything comes of what was sent.
    fn watch(&mut self, now: Instant) {
        let progress = self.progress.lock();
        let waits = self.sent.events != progress.handled_events || self.parts != progress.handled_states;
        let standing = Standing {
            done: progress.counts.errors + progress.handled_events + progress.handled_states,
            is_at_work: waits && !progress.is_pausing,
            is_failing: progress.counts.is_failing,
        };
        drop(progress);
        let path = self.place.display();
        match self.stall.note(now, standing) {
            Some(News::DoesNotAnswer) => tracing::warn!(
                %path,
                "the journal's disk does not answer: see what is wrong with it. Events wait for a while, and are \
                 missing in the journal then"
            ),
            Some(News::WrittenAgain) => tracing::info!(%path, "the journal is written again"),
            None => {}
        }
    }

    /// Whether the file is full. One that a state under way is to end is not full anew.
    fn is_full(&self) -> bool {
        let mut progress = self.progress.lock();
        std::mem::take(&mut progress.is_full) && self.parts == progress.handled_states
    }

    /// Sends the state, if it is due and finds room. The sequence has no gap behind it.
    pub(crate) fn send_state_if_due(&mut self, table: &Table) {
        if !self.owes_state || !self.has_room_for_state() {
            return;
        }
        self.send_events();
        self.renew_clock();
        let state = State {
            recording: self.recording.clone(),
            checkpoint: table.checkpoint(),
            sequence: self.builder.sequence(),
            bookmark: self.bookmark.clone(),
        };
        if self.jobs.try_send(Job::State(Box::new(state))).is_ok() {
            // Unless the events before found no room: then this state is what makes good for it.
            self.owes_state = false;
            self.parts += 1;
        }
    }

    /// A state is large, and the one before must be of use to somebody first.
    fn has_room_for_state(&self) -> bool {
        let progress = self.progress.lock();
        let waiting = self.sent.bytes - progress.handled_bytes;
        self.parts == progress.handled_states && waiting <= WAITING / 2 && self.jobs.len() <= JOBS / 2
    }

    /// How many parts were begun: what a reader needs besides events is to be in each.
    pub(crate) fn parts(&self) -> u64 {
        self.parts
    }

    /// Whether something more can be sent, however small.
    pub(crate) fn has_room(&self) -> bool {
        !self.jobs.is_full()
    }

    /// Sends what is known of containers. Whether it found room.
    pub(crate) fn send_names(&mut self, containers: &[Container]) -> bool {
        self.renew_clock();
        let blocks = RawBlock::names(&self.recording, containers);
        blocks.into_iter().all(|block| self.jobs.try_send(Job::Other(block)).is_ok())
    }

    /// Sends what is left, and waits until it is written; not for long.
    pub(crate) fn finish(&mut self, source: &mut dyn Source, table: &Table) {
        self.bookmark = source.bookmark();
        self.send_events();
        self.renew_clock();
        let recording = self.recording.clone();
        let last = End { recording, ledger: *table.ledger(), sequence: self.builder.sequence() };
        // Without it the journal reads as one that was not closed: so it is then.
        let _ = self.jobs.try_send(Job::Close(Box::new(last)));
        let end = Instant::now() + LAST_WORDS;
        self.progress.lock().end = Some(end);
        self.scribe.unpark();
        self.jobs = bounded(0).0;
        if self.ended.recv_deadline(end + LAST_WORDS) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the journal takes too long: its last events are not written");
        }
        self.release(source);
    }

    /// What it did.
    pub(crate) fn counts(&self) -> JournalCounts {
        let progress = self.progress.lock();
        let waiting = self.sent.events - progress.handled_events + u64::from(self.builder.events());
        let is_failing = progress.counts.is_failing || self.stall.is_there();
        JournalCounts { waiting_events: waiting, is_failing, ..progress.counts }
    }

    fn send_events(&mut self) {
        self.waits_since = None;
        let (bytes, events) = (self.builder.bytes(), self.builder.events());
        if events == 0 {
            return;
        }
        self.renew_clock();
        let block = self.builder.take(&self.recording, &self.bookmark);
        let waiting = self.sent.bytes - self.progress.lock().handled_bytes;
        let job = Job::Events(Events { block, bookmark: self.bookmark.clone(), bytes });
        let sent =
            if waiting + bytes > WAITING { Err(TrySendError::Full(job)) } else { self.jobs.try_send(job) };
        if sent.is_ok() {
            self.sent.events += u64::from(events);
            self.sent.bytes += bytes;
        } else {
            self.progress.lock().counts.lost_events += u64::from(events);
            // What follows is folded from the state as it is then.
            self.owes_state = true;
        }
    }

    /// What takes too long to be written the source gives up by itself, before it runs out of room.
    fn release(&self, source: &mut dyn Source) {
        let written = self.progress.lock().bookmark.take();
        if let Some(bookmark) = written {
            source.release(&bookmark);
        }
    }

    /// A file is found by the date at its begin, so one does not go on through a step that anybody would notice.
    fn renew_clock(&mut self) {
        let now = renewed(self.recording.clock);
        self.owes_state |= apart(self.recording.clock, now) >= STEP;
        self.recording.clock = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::recording;

    /// A feed whose thread is the test's own.
    fn feed() -> (Feed, Receiver<Job>) {
        let (jobs, to_write) = bounded(JOBS);
        let feed = Feed {
            builder: BlockBuilder::new(0),
            recording: recording(),
            waits_since: None,
            jobs,
            progress: SharedProgress::default(),
            scribe: thread::current(),
            ended: bounded(0).1,
            bookmark: Vec::new(),
            sent: Sent::default(),
            owes_state: true,
            parts: 0,
            place: "journal".into(),
            stall: Stall::default(),
        };
        (feed, to_write)
    }

    #[test]
    fn a_full_disk_is_no_disk_that_does_not_answer() {
        let (mut feed, _to_write) = feed();
        feed.send_state_if_due(&Table::default());
        let start = Instant::now();
        let mut at = |seconds, errors, is_pausing| {
            let mut progress = feed.progress.lock();
            (progress.counts.errors, progress.counts.is_failing) = (errors, true);
            progress.is_pausing = is_pausing;
            drop(progress);
            feed.watch(start + Duration::from_secs(seconds));
            feed.stall.is_there()
        };
        assert!(!at(0, 8, true));
        assert!(!at(10, 8, true), "a pause of ten seconds");
        assert!(!at(11, 8, false), "an attempt begins");
        assert!(!at(12, 9, true), "and fails");
        assert!(!at(22, 9, false), "the next attempt");
        assert!(!at(31, 9, false));
        assert!(at(32, 9, false), "an attempt that lasts");
        assert!(!at(33, 10, true));
    }
}
