//! What to do about lost notices.
//!
//! A lost exit leaves a process that lives for ever, a lost fork one that nobody knows. Both show
//! when what is thought to live is compared with `/proc`, one process after the other: a few per
//! poll, and only when the queue is empty, because losses mean that the machine is busy.
//!
//! An empty queue matters for truth, too: a process that is gone although the queue holds no exit of it
//! may have exited just now. So it counts as gone only when the queue has been emptied again. So it is with the
//! threads of a process: what a notice tells that is on its way need not be repaired, and must not be.

use procession::{BootTime, Pid};

use super::tracker::{ThreadsAmiss, Tracker};
use crate::clock;
use crate::error::SourceError;
use crate::source::Sink;

/// The most processes that one poll compares.
const SUSPECTS_PER_STEP: usize = 256;

/// A comparison of what is thought to live with what does.
#[derive(Debug, Default)]
pub(super) struct Repair {
    is_requested: bool,
    suspects: Vec<Pid>,
    /// Processes that were not there in the last step.
    missing: Vec<(Pid, BootTime)>,
    /// Threads that were not as they were thought to be in the last step.
    amiss: Vec<ThreadsAmiss>,
}

impl Repair {
    /// Asks for all processes to be compared, as soon as there is time.
    pub(super) fn request(&mut self) {
        self.is_requested = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.is_requested && self.suspects.is_empty() && self.missing.is_empty() && self.amiss.is_empty()
    }

    /// Goes on with the comparison. To be called when the queue has been emptied.
    pub(super) fn step(&mut self, tracker: &mut Tracker, sink: Sink<'_>) -> Result<(), SourceError> {
        for (pid, began) in self.missing.drain(..) {
            if tracker.began(pid) == Some(began) {
                tracker.tell_gone(pid, clock::now(), sink);
            }
        }
        for threads in self.amiss.drain(..) {
            tracker.mend_threads(&threads, clock::now(), sink);
        }
        if std::mem::take(&mut self.is_requested) {
            self.suspects = suspects(tracker)?;
        }
        let rest = self.suspects.len().saturating_sub(SUSPECTS_PER_STEP);
        for pid in self.suspects.split_off(rest) {
            self.compare(pid, tracker, sink);
        }
        Ok(())
    }

    fn compare(&mut self, pid: Pid, tracker: &mut Tracker, sink: Sink<'_>) {
        match (tracker.began(pid), tracker.really_began(pid)) {
            (Some(thought), Some(real)) if thought.as_ticks() == real.as_ticks() => {
                self.amiss.extend(tracker.threads_amiss(pid));
            }
            (Some(thought), _) => self.missing.push((pid, thought)),
            (None, Some(_)) => tracker.tell_missed(pid, clock::now(), sink),
            (None, None) => {}
        }
    }
}

/// Whatever lives by either account. Descending, since they are taken from the end: parents mostly
/// have smaller pids than their children.
fn suspects(tracker: &Tracker) -> Result<Vec<Pid>, SourceError> {
    let mut suspects = tracker.procfs.pids()?;
    suspects.extend(tracker.living().map(|(pid, _)| pid));
    suspects.sort_unstable_by(|a, b| b.cmp(a));
    suspects.dedup();
    Ok(suspects)
}
