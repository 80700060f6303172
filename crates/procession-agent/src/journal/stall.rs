//! A disk that does not answer: the thread that writes hangs in the system, and can say nothing itself.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long nothing may come of what is to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of the thread that writes.
#[derive(Debug)]
pub(super) struct Stall {
    place: PathBuf,
    /// When it was last seen to do something, and how much it had done by then.
    since: Option<Instant>,
    done: u64,
    is_there: bool,
}

impl Stall {
    pub(super) fn new(place: PathBuf) -> Self {
        Self { place, since: None, done: 0, is_there: false }
    }

    /// Takes note of how much was `done`, attempts that failed included, and of whether anything waits. Says once
    /// that nothing comes of it, and that this is over.
    pub(super) fn note(&mut self, now: Instant, done: u64, waits: bool) {
        if !waits || done != self.done {
            (self.since, self.done) = (Some(now), done);
            if std::mem::take(&mut self.is_there) {
                tracing::info!(path = %self.place.display(), "the journal is written again");
            }
            return;
        }
        let since = *self.since.get_or_insert(now);
        if !self.is_there && now.duration_since(since) >= PATIENCE {
            self.is_there = true;
            tracing::warn!(
                path = %self.place.display(),
                "the journal's disk does not answer: see what is wrong with it. Events wait for a while, and are \
                 missing in the journal then"
            );
        }
    }

    /// Whether nothing comes of what is to be written.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_stall_only_while_something_waits_and_nothing_is_done() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stall = Stall::new("journal".into());
        let mut is_there = |seconds, done, waits| {
            stall.note(at(seconds), done, waits);
            stall.is_there()
        };
        assert!(!is_there(0, 0, false));
        assert!(!is_there(100, 0, false), "nothing waits");
        assert!(!is_there(101, 0, true));
        assert!(!is_there(109, 0, true), "nine seconds");
        assert!(is_there(111, 0, true));
        assert!(is_there(200, 0, true), "still");
        assert!(!is_there(201, 1, true), "something was done");
        assert!(!is_there(210, 1, true));
        assert!(is_there(212, 1, true), "and again");
        assert!(!is_there(213, 1, false));
    }
}
