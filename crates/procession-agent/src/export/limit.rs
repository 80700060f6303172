//! How many events a minute leave, and how many did not, of which somebody has to be told.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// How often at most it is told that events were held back.
const NOTICE_INTERVAL: Duration = Duration::from_mins(1);

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A bucket of as many tokens as events may leave in a minute, refilled one by one.
pub(super) struct Limiter<C: Clock> {
    clock: C,
    /// `None`: no limit.
    bucket: Option<Bucket<C>>,
    /// Events that were held back, and of which nobody was told.
    untold: u64,
    /// When the first of those was.
    since: Option<C::Instant>,
}

impl<C: Clock + Clone> Limiter<C> {
    pub(super) fn new(rate: Option<NonZeroU32>, clock: C) -> Self {
        let mut limiter = Self { clock, bucket: None, untold: 0, since: None };
        limiter.set_rate(rate);
        limiter
    }

    /// Begins anew with another rate. What nobody was told of stays to be told.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU32>) {
        let bucket = |rate| RateLimiter::direct_with_clock(Quota::per_minute(rate), self.clock.clone());
        self.bucket = rate.map(bucket);
    }

    /// Whether one more event may leave. If not, it is to be told.
    pub(super) fn admits(&mut self) -> bool {
        let admits = self.bucket.as_ref().is_none_or(|bucket| bucket.check().is_ok());
        if !admits {
            self.untold += 1;
            self.since.get_or_insert_with(|| self.clock.now());
        }
        admits
    }

    /// How many were held back, when it is time to tell.
    pub(super) fn due(&mut self) -> Option<u64> {
        let since = self.since?;
        let waited: Duration = self.clock.now().duration_since(since).into();
        if waited < NOTICE_INTERVAL {
            return None;
        }
        self.rest()
    }

    /// How many were held back since this was last told. `None`: none.
    pub(super) fn rest(&mut self) -> Option<u64> {
        self.since = None;
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn limiter(rate: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limiter::new(NonZeroU32::new(rate), clock.clone()), clock)
    }

    fn admitted(limiter: &mut Limiter<FakeRelativeClock>, events: u32) -> usize {
        (0..events).filter(|_| limiter.admits()).count()
    }

    #[test]
    fn a_burst_of_a_minutes_worth_leaves_and_then_one_at_a_time() {
        let (mut limiter, clock) = limiter(60);
        assert_eq!(admitted(&mut limiter, 100), 60);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(&mut limiter, 100), 1);
        clock.advance(Duration::from_mins(5));
        assert_eq!(admitted(&mut limiter, 100), 60);
    }

    #[test]
    fn without_a_limit_all_leave() {
        let (mut limiter, _) = limiter(0);
        assert_eq!(admitted(&mut limiter, 10_000), 10_000);
        assert_eq!(limiter.rest(), None);
    }

    #[test]
    fn what_was_held_back_is_told_a_minute_after_the_first() {
        let (mut limiter, clock) = limiter(1);
        assert_eq!(admitted(&mut limiter, 5), 1);
        assert_eq!(limiter.due(), None, "too early");
        clock.advance(Duration::from_secs(59));
        assert_eq!(limiter.due(), None, "too early");
        clock.advance(Duration::from_secs(1));
        assert_eq!(limiter.due(), Some(4));
        assert_eq!(limiter.due(), None, "told already");
        clock.advance(Duration::from_mins(10));
        assert_eq!(limiter.due(), None, "nothing new");
    }

    #[test]
    fn another_rate_does_not_forget_what_is_to_be_told() {
        let (mut limiter, _) = limiter(1);
        admitted(&mut limiter, 3);
        limiter.set_rate(NonZeroU32::new(5));
        assert_eq!(admitted(&mut limiter, 6), 5);
        assert_eq!(limiter.rest(), Some(3));
        limiter.set_rate(None);
        assert_eq!(admitted(&mut limiter, 100), 100);
    }

    proptest! {
        #[test]
        fn every_event_leaves_or_is_told(
            rate in 1_u32..50,
            steps in prop::collection::vec((0_u32..40, 0_u64..90), 1..50),
        ) {
            let (mut limiter, clock) = limiter(rate);
            let (mut offered, mut left, mut told, mut seconds, mut notices) = (0, 0, 0, 0, 0);
            for (events, pause) in steps {
                offered += u64::from(events);
                left += admitted(&mut limiter, events) as u64;
                clock.advance(Duration::from_secs(pause));
                seconds += pause;
                if let Some(count) = limiter.due() {
                    told += count;
                    notices += 1;
                }
            }
            told += limiter.rest().unwrap_or(0);
            prop_assert_eq!(offered, left + told);
            prop_assert!(left <= u64::from(rate) + seconds * u64::from(rate) / 60);
            prop_assert!(notices <= seconds / 60);
        }
    }
}
