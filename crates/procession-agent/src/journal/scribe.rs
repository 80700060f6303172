//! The thread that writes the journal.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use procession_journal::RawBlock;

use super::JournalCounts;
use super::medium::{End, Medium, State};

/// Something to write.
pub(super) enum Job {
    /// Events.
    Events(Events),
    /// Anything else that stands between them.
    Other(RawBlock),
    /// The state, with which another file begins.
    State(Box<State>),
    /// The last words.
    Close(Box<End>),
}

/// A block of events.
pub(super) struct Events {
    pub(super) block: RawBlock,
    /// Up to where the source was read for it.
    pub(super) bookmark: Vec<u8>,
    /// What it takes in memory.
    pub(super) bytes: usize,
}

/// What scribe and feed tell each other besides jobs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// All but what only the feed knows.
    pub(super) counts: JournalCounts,
    /// Bytes, as in [`Events::bytes`], of the events that were dealt with.
    pub(super) handled_bytes: usize,
    /// Events that were dealt with.
    pub(super) handled_events: u64,
    /// States that were dealt with.
    pub(super) handled_states: u64,
    /// Up to where the source was read for what was last written, until somebody takes note of it.
    pub(super) bookmark: Option<Vec<u8>>,
    /// Whether the next state is due.
    pub(super) is_full: bool,
    /// Whether the next attempt to write is still to come, after one that failed.
    pub(super) is_pausing: bool,
    /// When attempts to write come to an end. `None`: they do not.
    pub(super) end: Option<Instant>,
}

/// Progress that both sides hold.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Scribe {
    pub(super) medium: Box<dyn Medium>,
    pub(super) jobs: Receiver<Job>,
    pub(super) progress: SharedProgress,
    pub(super) trouble: Trouble,
    /// Dropped at the end, which is how the feed learns of it.
    pub(super) is_there: Sender<Infallible>,
}

/// How often it is looked whether something is due while nothing is to be written.
const REST: Duration = Duration::from_millis(500);

impl Scribe {
    /// Writes until nobody has anything to write any more.
    pub(super) fn run(mut self) {
        loop {
            match self.jobs.recv_timeout(REST) {
                Ok(job) => self.write(job),
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.rest();
        let Self { medium, is_there, .. } = self;
        // Who is told that it has ended may open the directory again.
        drop(medium);
        drop(is_there);
    }

    fn rest(&mut self) {
        if let Err(error) = self.medium.rest() {
            // What was written is there all the same; it may not survive a loss of power.
            let _ = self.trouble.failed(&error, &self.progress);
            self.note_size();
        }
    }

    /// Writes a job, however often it takes, until the end.
    fn write(&mut self, job: Job) {
        let written = loop {
            if self.trouble.is_there() && self.is_over() {
                break None;
            }
            match self.attempt(&job) {
                Ok(written) => break Some(written),
                Err(error) => {
                    let pause = self.trouble.failed(&error, &self.progress);
                    self.note_size();
                    if self.is_hopeless(&job, &error) || !self.pause(pause) {
                        break None;
                    }
                }
            }
        };
        self.note(job, written);
        self.note_size();
    }

    fn note_size(&self) {
        let mut progress = self.progress.lock();
        (progress.counts.disk_bytes, progress.counts.files) = self.medium.size();
        progress.is_full = self.medium.is_full();
    }

    /// Whether another attempt would fail too: what is in the way is the block itself, which is too long, or a
    /// file that only a state ends, which waits behind it. Whatever else is wrong, such as a directory that is
    /// not one to write in, somebody may put right.
    fn is_hopeless(&self, job: &Job, error: &io::Error) -> bool {
        let needs_room = matches!(job, Job::Events(_) | Job::Other(_));
        error.kind() == ErrorKind::FileTooLarge
            || (needs_room && self.medium.is_full() && !self.jobs.is_empty())
    }

    fn attempt(&mut self, job: &Job) -> io::Result<u64> {
        match job {
            Job::Events(Events { block, .. }) | Job::Other(block) => self.medium.append(block),
            Job::State(state) => self.medium.begin(state),
            Job::Close(end) => self.medium.close(end),
        }
    }

    /// Takes note of a job that took so many bytes. `None`: it was given up.
    fn note(&mut self, job: Job, written: Option<u64>) {
        if written.is_some() {
            self.trouble.ended(&self.progress);
        }
        let mut progress = self.progress.lock();
        progress.counts.bytes += written.unwrap_or_default();
        match job {
            Job::Events(Events { block, bookmark, bytes }) => {
                let events = u64::from(block.events());
                progress.handled_bytes += bytes;
                progress.handled_events += events;
                if written.is_some() {
                    progress.counts.blocks += 1;
                    progress.counts.events += events;
                    progress.bookmark = Some(bookmark);
                } else {
                    progress.counts.lost_events += events;
                }
            }
            Job::State(state) => {
                progress.handled_states += 1;
                if written.is_some() {
                    progress.bookmark = Some(state.bookmark);
                }
            }
            Job::Other(_) | Job::Close(_) => {}
        }
    }

    fn is_over(&self) -> bool {
        self.progress.lock().end.is_some_and(|end| Instant::now() >= end)
    }

    /// Waits before the next attempt. Whether there is one.
    fn pause(&self, pause: Duration) -> bool {
        self.progress.lock().is_pausing = true;
        let goes_on = self.wait(pause);
        self.progress.lock().is_pausing = false;
        goes_on
    }

    /// Waits so long, or until the end. Whether that has not come.
    fn wait(&self, pause: Duration) -> bool {
        let next = Instant::now() + pause;
        loop {
            let now = Instant::now();
            let end = self.progress.lock().end;
            if end.is_some_and(|end| now >= end) {
                return false;
            }
            let until = end.map_or(next, |end| end.min(next));
            if now >= next {
                return true;
            }
            // The feed wakes it when the end has come into sight.
            thread::park_timeout(until - now);
        }
    }
}

/// What is said when the journal cannot be written, and how long to wait before the next attempt.
#[derive(Debug)]
pub(super) struct Trouble {
    place: PathBuf,
    /// `None`: all is well.
    pauses: Option<ExponentialBackoff>,
    /// Events that were lost before.
    lost_before: u64,
    said: Option<ErrorKind>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Trouble {
    pub(super) fn new(place: PathBuf) -> Self {
        Self { place, pauses: None, lost_before: 0, said: None }
    }

    /// Takes note of an attempt that failed: how long to wait before the next. What is wrong is said once,
    /// and again when it becomes something else.
    fn failed(&mut self, error: &io::Error, progress: &SharedProgress) -> Duration {
        let lost = {
            let mut progress = progress.lock();
            progress.counts.errors += 1;
            progress.counts.is_failing = true;
            progress.counts.lost_events
        };
        if self.pauses.is_none() {
            self.lost_before = lost;
        }
        if self.said.replace(error.kind()) != Some(error.kind()) {
            let path = self.place.display();
            tracing::warn!(
                %path,
                %error,
                "the journal cannot be written: {}. Events wait for a while, and are missing in it then",
                advice(error.kind())
            );
        }
        let pauses = self.pauses.get_or_insert_with(|| {
            let builder = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
            builder.without_max_times().build()
        });
        pauses.next().unwrap_or(LONGEST_PAUSE)
    }

    /// Whether the last attempt failed.
    fn is_there(&self) -> bool {
        self.pauses.is_some()
    }

    /// Takes note of an attempt that went well.
    fn ended(&mut self, progress: &SharedProgress) {
        if self.pauses.take().is_none() {
            return;
        }
        self.said = None;
        let lost = {
            let mut progress = progress.lock();
            progress.counts.is_failing = false;
            progress.counts.lost_events - self.lost_before
        };
        tracing::info!(path = %self.place.display(), lost, "the journal is written again");
    }
}

/// What to do about it.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or keep less with journal-max-size-mb"
        }
        ErrorKind::PermissionDenied => "let the agent write there, or set journal-dir to another directory",
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "nobody but the agent may remove its files and directory"
        }
        ErrorKind::InvalidInput => "somebody has to put right what this says",
        ErrorKind::ReadOnlyFilesystem => "make the file system writable, or set journal-dir to another one",
        _ => "see what is wrong with the file or its device",
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::journal::tests::recording;

    /// A disk that is full. An attempt lasts until it may fail.
    struct Full {
        began: Sender<()>,
        may_fail: Receiver<()>,
    }

    impl Medium for Full {
        fn begin(&mut self, _: &State) -> io::Result<u64> {
            self.fail()
        }

        fn append(&mut self, _: &RawBlock) -> io::Result<u64> {
            self.fail()
        }

        fn close(&mut self, _: &End) -> io::Result<u64> {
            self.fail()
        }

        fn is_full(&self) -> bool {
            false
        }

        fn size(&self) -> (u64, u64) {
            (0, 0)
        }
    }

    impl Full {
        fn fail(&self) -> io::Result<u64> {
            self.began.send(()).unwrap();
            self.may_fail.recv().unwrap();
            Err(ErrorKind::StorageFull.into())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn between_two_attempts_it_is_no_scribe_that_hangs() {
        let (began, attempts) = bounded(1);
        let (fail, may_fail) = bounded(1);
        let (jobs, to_write) = bounded(1);
        let (is_there, _ended) = bounded(0);
        let progress = SharedProgress::default();
        let scribe = Scribe {
            medium: Box::new(Full { began, may_fail }),
            jobs: to_write,
            progress: progress.clone(),
            trouble: Trouble::new("journal".into()),
            is_there,
        };
        let thread = thread::spawn(move || scribe.run());
        jobs.send(Job::Other(RawBlock::head(&recording()))).unwrap();
        // Pauses grow: whoever is too slow for the first sees a later one.
        let mut was_seen = false;
        while !was_seen {
            attempts.recv_timeout(LONG).unwrap();
            assert!(!progress.lock().is_pausing, "it is at work");
            fail.send(()).unwrap();
            while !was_seen && attempts.is_empty() {
                was_seen = progress.lock().is_pausing;
                thread::yield_now();
            }
        }
        progress.lock().end = Some(Instant::now());
        thread.thread().unpark();
        // The next attempt may have begun already.
        let _ = fail.try_send(());
        drop(jobs);
        thread.join().unwrap();
        assert!(!progress.lock().is_pausing);
    }
}
