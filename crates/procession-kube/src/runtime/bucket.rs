//! How often a question may be asked.

use std::time::{Duration, Instant};

/// A token bucket: each question takes a token, and tokens come at a fixed rate, up to a limit.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Time for one token.
    interval: Duration,
    /// How far ahead of the rate a burst may be.
    burst: Duration,
    /// When all tokens that were taken have come in again.
    full_at: Instant,
}

impl Bucket {
    /// `rate` tokens a second, of which up to `burst` can be saved. Neither is less than 1.
    pub(super) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { interval, burst: interval * burst.max(1), full_at: now }
    }

    /// Takes a token, and says when it is there.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        self.full_at = self.full_at.max(now) + self.interval;
        self.full_at.checked_sub(self.burst).map_or(now, |ready_at| ready_at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_comes_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        let waits = [0, 0, 0, 100, 200].map(Duration::from_millis);
        assert_eq!(waits.map(|_| bucket.take(start) - start), waits);
        let later = start + Duration::from_mins(1);
        let waits = [0, 0, 0, 100].map(Duration::from_millis);
        assert_eq!(waits.map(|_| bucket.take(later) - later), waits, "no more than the burst is saved");
    }
}
