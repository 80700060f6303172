//! The export: events as lines of JSON, in a file that rotates or on standard output.
//!
//! One thread reads the [`EventLog`] as any other reader does. When it cannot write, events wait there;
//! what falls out of it is counted and told in a line of its own, and the agent goes on. A line is in
//! one file, once and whole, or it is not counted as exported.
//!
//! * `worker` is the thread: filters, the rate limit, lines, what to do when a write fails.
//! * `outbox` holds lines on their way and knows which of them are written.
//! * `file` rotates, after `open` found the end of its last line; `backup` names backups, and `keeper` removes and compresses them in the background.
//! * `watch` sees when the thread hangs or has broken down.
//! * `limit`, `trouble`, `counts`: how many events may leave, what is said of failures, the account.

mod backup;
mod counts;
mod file;
mod keeper;
mod limit;
mod open;
mod outbox;
mod sink;
mod trouble;
mod watch;
mod worker;

use std::convert::Infallible;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use governor::clock::MonotonicClock;
use procession_api::proto::tetragon::GetEventsResponse;
use tracing::dispatcher;

#[cfg(feature = "fuzzing")]
pub(crate) use backup::renamed;
pub use counts::ExportCounts;

use crate::stream::{EventLog, Form, ReaderKind};
use limit::Limiter;
use outbox::Outbox;
use sink::Sink;
use trouble::Trouble;
use watch::Watch;
use worker::{RateLimit, Shared, Worker};

/// Says of an event whether it is exported.
pub type ExportFilter = Box<dyn FnMut(&GetEventsResponse) -> bool + Send>;

/// Makes a message with all but an event.
pub type Envelope = Box<dyn Fn() -> GetEventsResponse + Send>;

/// What is exported, and where to.
pub struct ExportConfig {
    /// Where to.
    pub sink: ExportSink,
    /// The most events per minute, and at once. `None`: any number.
    pub rate_limit: Option<NonZeroU32>,
    /// Which events.
    pub filter: ExportFilter,
    /// Which fields of them.
    pub form: Form,
    /// What lines have that tell how many events are missing: the names of node and cluster. Without a
    /// time they get the present one.
    pub envelope: Envelope,
}

/// Where lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportSink {
    /// Into a file.
    File(FileConfig),
    /// To standard output.
    Stdout,
}

/// A file that events are exported to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Its path. What is there is continued; if it is a device, it is written to and never rotated.
    pub path: PathBuf,
    /// When it becomes a backup.
    pub rotation: Rotation,
    /// Whether backups are compressed.
    pub compress: bool,
    /// Its permissions. Nobody may execute it, not everybody may write it, and its owner may read and
    /// write it, whatever is said here.
    pub mode: u32,
}

impl FileConfig {
    /// A file with what the reference has by default: for its owner alone, backups as they are.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), rotation: Rotation::default(), compress: false, mode: 0o600 }
    }
}

/// When a file becomes a backup, and how many of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// When it would be longer than this. Zero: it may have any length. A longer line has a file for
    /// itself.
    pub max_size_bytes: u64,
    /// When it is this old and not empty.
    pub interval: Option<Duration>,
    /// The most backups: the oldest are removed. Zero: all are kept.
    pub max_backups: usize,
}

impl Default for Rotation {
    /// 10 MB, at any age, five backups.
    fn default() -> Self {
        Self { max_size_bytes: 10 << 20, interval: None, max_backups: 5 }
    }
}

/// How long an export that gave up at its deadline may take to say so.
const GRACE: Duration = Duration::from_millis(200);

/// The export, running.
pub struct Exporter {
    handle: ExportHandle,
    /// How it ended.
    ended: Receiver<io::Result<()>>,
    thread: JoinHandle<()>,
}

/// Looks at the export, and changes it while it runs. Cheap to clone.
#[derive(Clone)]
pub struct ExportHandle {
    log: EventLog,
    shared: Arc<Shared>,
    /// `None`: nothing rotates.
    rotation: Option<Arc<Mutex<Rotation>>>,
}

impl Exporter {
    /// Exports what is appended to the log from now on. Fails if the file cannot be opened.
    pub fn start(log: &EventLog, config: ExportConfig) -> io::Result<Self> {
        let rotation = match &config.sink {
            ExportSink::File(file) => Some(Arc::new(Mutex::new(file.rotation))),
            ExportSink::Stdout => None,
        };
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            sink: Sink::open(config.sink, Arc::clone(&shared.counters))?,
            reader: log.reader(ReaderKind::Export),
            limiter: Limiter::new(config.rate_limit, MonotonicClock),
            filter: config.filter,
            form: config.form,
            envelope: config.envelope,
            shared: Arc::clone(&shared),
            outbox: Outbox::default(),
            trouble: Trouble::default(),
            end: None,
        };
        let handle = ExportHandle { log: log.clone(), shared, rotation };
        let (is_there, has_gone) = bounded(0);
        Watch { name: worker.sink.name(), handle: handle.clone(), ended: has_gone }.start()?;
        let (end, ended) = bounded(1);
        let dispatch = dispatcher::get_default(Clone::clone);
        let run = move || {
            let _is_there: Sender<Infallible> = is_there;
            let result = dispatcher::with_default(&dispatch, || worker.run());
            // Nobody may wait for it any more.
            let _ = end.send(result);
        };
        let thread = thread::Builder::new().name("export".to_owned()).spawn(run)?;
        Ok(Self { handle, ended, thread })
    }

    /// Whether it exports nothing any more: the log has ended, or it has broken down.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// To look at it and to change it.
    pub fn handle(&self) -> ExportHandle {
        self.handle.clone()
    }

    /// Writes what is left in the log, which should be closed, and ends, within about `patience`. Fails
    /// if not all of it could be written: [`ExportCounts::lost`] says how much.
    pub fn finish(self, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        self.handle.shared.want(|wanted| wanted.end = Some(end));
        match self.ended.recv_deadline(end + GRACE) {
            Ok(result) => result,
            // A file system or a pipe does not answer.
            Err(RecvTimeoutError::Timeout) => Err(io::Error::new(io::ErrorKind::TimedOut, "a write hangs")),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the export broke down")),
        }
    }
}

impl Drop for Exporter {
    /// Ends it soon. Nobody waits.
    fn drop(&mut self) {
        self.handle.shared.want(|wanted| {
            wanted.end.get_or_insert_with(Instant::now);
        });
    }
}

impl ExportHandle {
    /// What became of the events so far.
    pub fn counts(&self) -> ExportCounts {
        let mut counts = self.shared.counters.counts();
        counts.lost += self.log.counts(ReaderKind::Export).lost;
        counts
    }

    /// When the file becomes a backup. `None`: there is no file.
    pub fn rotation(&self) -> Option<Rotation> {
        let rotation = self.rotation.as_ref()?;
        Some(*rotation.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rotates otherwise from now on: within a second, and before the next event.
    pub fn set_rotation(&self, rotation: Rotation) {
        let Some(known) = &self.rotation else { return };
        *known.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
        self.shared.want(|wanted| wanted.rotation = Some(rotation));
    }

    /// Exports other events from now on.
    pub fn set_filter(&self, filter: ExportFilter) {
        self.shared.want(|wanted| wanted.filter = Some(filter));
    }

    /// Exports other fields of them from now on.
    pub fn set_form(&self, form: Form) {
        self.shared.want(|wanted| wanted.form = Some(form));
    }

    /// Exports at most so many events per minute from now on. `None`: any number.
    pub fn set_rate_limit(&self, rate_limit: Option<NonZeroU32>) {
        self.shared.want(|wanted| wanted.rate_limit = Some(RateLimit(rate_limit)));
    }

    /// Opens the file anew, before the next event: somebody may have moved it. If it could not be written,
    /// this is tried again at once.
    pub fn reopen(&self) {
        self.shared.want(|wanted| wanted.reopen = true);
    }
}
