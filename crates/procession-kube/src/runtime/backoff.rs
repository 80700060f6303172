//! When a socket that failed is asked again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Whether a socket works, and when it is tried again if not.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    /// Failures since it last worked.
    failures: u32,
    failed_at: Option<Instant>,
    /// Not asked before this. `None`: it works.
    closed_until: Option<Instant>,
}

impl Backoff {
    /// `first` is the pause after one failure, `last` the longest.
    pub(super) fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, failures: 0, failed_at: None, closed_until: None }
    }

    /// Whether to ask now. Once the pause after a failure is over, a single question finds out
    /// whether the socket works again; the others wait for the `trial` time that it may take.
    pub(super) fn admits(&mut self, now: Instant, trial: Duration) -> bool {
        match self.closed_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.closed_until = Some(now + trial);
                true
            }
        }
    }

    /// What was asked at `since` has failed now. Says whether the socket had worked until then.
    ///
    /// The pause doubles with each failure. It is shortened by up to a half, by chance, so that not
    /// all who ask the same runtime come back at once.
    pub(super) fn failed(&mut self, since: Instant, now: Instant) -> bool {
        if self.failed_at.is_some_and(|failed_at| failed_at >= since) {
            // One failure for all questions that were under way.
            return false;
        }
        let pause = self.first.saturating_mul(1 << self.failures.min(16)).min(self.last);
        self.failed_at = Some(now);
        self.closed_until = Some(now + pause / 2 + pause / 2 * chance() / 256);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }

    /// It has answered. Says whether it had failed before.
    pub(super) fn succeeded(&mut self) -> bool {
        self.closed_until = None;
        std::mem::take(&mut self.failures) > 0
    }
}

/// A number below 256 that nobody can foresee.
fn chance() -> u32 {
    u32::from(RandomState::new().hash_one(()).to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LAST: Duration = Duration::from_secs(8);
    const TRIAL: Duration = Duration::from_millis(100);

    #[test]
    fn the_pause_grows_to_its_limit_and_ends() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(FIRST, LAST);
        for pause in [1, 2, 4, 8, 8, 8].map(Duration::from_secs) {
            assert!(backoff.admits(now, TRIAL));
            assert_eq!(backoff.failed(now, now), pause == FIRST, "said once");
            assert!(!backoff.admits(now + pause / 4, TRIAL), "{pause:?}");
            now += pause;
        }
        assert!(backoff.admits(now, TRIAL));
        assert!(backoff.succeeded());
        assert!(!backoff.succeeded());
        assert!(backoff.admits(now, TRIAL));
        assert!(backoff.failed(now, now), "and begins anew");
        assert!(backoff.admits(now + FIRST, TRIAL));
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let start = Instant::now();
        let mut backoff = Backoff::new(FIRST, LAST);
        let failed = start + TRIAL;
        assert!(backoff.failed(start, failed));
        for _ in 0..10 {
            assert!(!backoff.failed(start, failed));
        }
        assert!(backoff.admits(failed + FIRST, TRIAL));
    }

    #[test]
    fn one_question_tries_for_all() {
        let now = Instant::now();
        let mut backoff = Backoff::new(FIRST, LAST);
        backoff.failed(now, now);
        let later = now + FIRST;
        assert!(backoff.admits(later, TRIAL));
        assert!(!backoff.admits(later, TRIAL));
        assert!(backoff.admits(later + TRIAL, TRIAL), "nobody waits for ever for who never said how it went");
    }
}
