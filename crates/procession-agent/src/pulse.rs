//! Whether an observation goes on, for those who are asked how it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Signs of life of an observation. Cheap to clone and to read.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    began: Instant,
    /// Milliseconds after `began`.
    beat: AtomicU64,
    /// The same, of the last beat that found new events.
    events: AtomicU64,
    received: AtomicU64,
    is_over: AtomicBool,
}

/// How long an observation may be silent. It gives a sign every 20 ms; but an answer to a question about
/// the whole table may take a while.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// How long it may be silent until it is taken to hang. Even answers about the largest table take less.
pub(crate) const HANGING: Duration = Duration::from_mins(1);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Signs {
            began: Instant::now(),
            beat: AtomicU64::new(0),
            events: AtomicU64::new(0),
            received: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }))
    }

    /// The source was read, and has given `received` events so far.
    pub(crate) fn beat(&self, received: u64) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat.store(now, Ordering::Relaxed);
        if self.0.received.swap(received, Ordering::Relaxed) != received {
            self.0.events.store(now, Ordering::Relaxed);
        }
    }

    /// It is over when this is dropped.
    pub(crate) fn ending(&self) -> Ending {
        Ending(self.clone())
    }

    /// Whether the source is attached and read.
    pub fn is_observing(&self) -> bool {
        !self.is_over() && self.silence() < SILENCE
    }

    /// Whether it has given no sign of life for so long that only a new start helps.
    pub fn is_hanging(&self) -> bool {
        self.silence() > HANGING
    }

    /// How long ago the source was last read.
    pub fn silence(&self) -> Duration {
        self.ago(&self.0.beat)
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    /// How many events there were so far.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// When it began.
    pub fn began(&self) -> SystemTime {
        date(self.0.began.elapsed())
    }

    /// When the last event came. `None`: none has since the beginning.
    pub fn last_event(&self) -> Option<SystemTime> {
        (self.0.received.load(Ordering::Relaxed) > 0).then(|| date(self.ago(&self.0.events)))
    }

    /// How long ago that was, which is given in milliseconds after the beginning.
    fn ago(&self, millis: &AtomicU64) -> Duration {
        let since_began = Duration::from_millis(millis.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(since_began)
    }
}

/// Ends a pulse with whoever gives it, even if that panics.
pub(crate) struct Ending(Pulse);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.0.is_over.store(true, Ordering::Release);
    }
}

/// Dates follow the wall clock as it stands now: it may have been stepped since.
fn date(ago: Duration) -> SystemTime {
    SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
}
