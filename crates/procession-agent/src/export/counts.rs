//! What became of the events that the export read.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use super::outbox::Content;
use crate::stall::Standing;

/// The account of the export. Of events that were read, each is in one of `exported`, `rate_limited`,
/// `filtered_out`, `failed_fields` and `lost`, or waits to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Events that were written, whole.
    pub exported: u64,
    /// Bytes of lines that were written whole, those included that tell of missing events.
    pub bytes: u64,
    /// When the event that was written last happened. `None`: none was.
    pub last_exported: Option<SystemTime>,
    /// Events that were held back by the rate limit.
    pub rate_limited: u64,
    /// Events that the filters did not admit.
    pub filtered_out: u64,
    /// Events on which a field filter failed, so that nothing of them may be told.
    pub failed_fields: u64,
    /// Attempts to write or to rotate that failed.
    pub write_errors: u64,
    /// Events that fell out of the log before they could be written, or that could not be written
    /// before the end.
    pub lost: u64,
    /// Files that became backups.
    pub rotations: u64,
    /// Backups that could not be compressed or removed.
    pub backup_errors: u64,
    /// Whether events cannot be written at the moment: the last attempt has failed, nothing has come of one for
    /// ten seconds, or the export has broken down.
    pub is_failing: bool,
}

/// The same in the making; but for what is lost in the log, which that knows.
#[derive(Debug)]
pub(super) struct Counters {
    exported: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds since 1970.
    last_exported: AtomicI64,
    pub(super) rate_limited: AtomicU64,
    pub(super) filtered_out: AtomicU64,
    pub(super) failed_fields: AtomicU64,
    pub(super) write_errors: AtomicU64,
    /// Events that were there and were not written before the end.
    pub(super) unwritten: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) backup_errors: AtomicU64,
    /// The last attempt to write has failed.
    pub(super) is_failing: AtomicBool,
    /// Nothing comes of what is being written.
    pub(super) is_stalled: AtomicBool,
    /// It has come to its end: a thread that has gone without that has broken down.
    pub(super) is_over: AtomicBool,
    /// Whether there is something to do, and how much was done so far.
    is_at_work: AtomicBool,
    steps: AtomicU64,
}

const NEVER: i64 = i64::MIN;

impl Default for Counters {
    fn default() -> Self {
        Self {
            exported: AtomicU64::default(),
            bytes: AtomicU64::default(),
            last_exported: AtomicI64::new(NEVER),
            rate_limited: AtomicU64::default(),
            filtered_out: AtomicU64::default(),
            failed_fields: AtomicU64::default(),
            write_errors: AtomicU64::default(),
            unwritten: AtomicU64::default(),
            rotations: AtomicU64::default(),
            backup_errors: AtomicU64::default(),
            is_failing: AtomicBool::default(),
            is_stalled: AtomicBool::default(),
            is_over: AtomicBool::default(),
            is_at_work: AtomicBool::default(),
            steps: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// Takes note of a line that was written whole.
    pub(super) fn wrote(&self, length: usize, content: Content) {
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let Content::Event(time) = content else { return };
        count(&self.exported);
        if let Some(time) = time {
            self.last_exported.store(nanoseconds(time), Ordering::Relaxed);
        }
    }

    /// Takes note of whether there is something to do from now on.
    pub(super) fn works(&self, is_at_work: bool) {
        self.moved();
        self.is_at_work.store(is_at_work, Ordering::Relaxed);
    }

    /// Takes note that something came of what is done.
    pub(super) fn moved(&self) {
        count(&self.steps);
    }

    /// How the thread that writes stands.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            done: get(&self.steps),
            is_at_work: self.is_at_work.load(Ordering::Relaxed),
            is_failing: self.is_failing.load(Ordering::Relaxed),
        }
    }

    /// Events that were dealt with, one way or the other.
    pub(super) fn settled(&self) -> u64 {
        [&self.exported, &self.rate_limited, &self.filtered_out, &self.failed_fields].map(get).iter().sum()
    }

    /// The account, but for what the log lost.
    pub(super) fn counts(&self) -> ExportCounts {
        ExportCounts {
            exported: get(&self.exported),
            bytes: get(&self.bytes),
            last_exported: system_time(self.last_exported.load(Ordering::Relaxed)),
            rate_limited: get(&self.rate_limited),
            filtered_out: get(&self.filtered_out),
            failed_fields: get(&self.failed_fields),
            write_errors: get(&self.write_errors),
            lost: get(&self.unwritten),
            rotations: get(&self.rotations),
            backup_errors: get(&self.backup_errors),
            is_failing: [&self.is_failing, &self.is_stalled].iter().any(|it| it.load(Ordering::Relaxed)),
        }
    }
}

/// Counts one more, and returns how many there were before.
pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn nanoseconds(time: Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos))
}

fn system_time(nanoseconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    match nanoseconds {
        NEVER => None,
        0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
        _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}
