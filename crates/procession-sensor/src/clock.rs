//! The kernel's clocks, as sources need them.

use procession::BootTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The present moment.
pub(crate) fn now() -> BootTime {
    BootTime::from_nanos(nanos(clock_gettime(ClockId::Boottime)))
}

/// What turns `CLOCK_MONOTONIC` into [`BootTime`].
///
/// The two differ by the time spent in suspend, so the difference holds until the next suspend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonotonicClock {
    suspended: u64,
}

impl MonotonicClock {
    /// The difference as it is now.
    pub(crate) fn sample() -> Self {
        // What passes between the two readings adds to the difference, so the least of a few is
        // nearest. Without any suspend, all that is measured is the reading itself.
        let differences = std::iter::repeat_with(difference).take(3);
        let suspended = differences.min().filter(|difference| *difference >= SHORTEST_SUSPEND);
        Self { suspended: suspended.unwrap_or(0) }
    }

    /// The same moment on the boot clock.
    pub(crate) const fn boot_time(self, monotonic_nanos: u64) -> BootTime {
        BootTime::from_nanos(monotonic_nanos.saturating_add(self.suspended))
    }
}

/// No machine suspends and resumes in less: a smaller difference is none.
const SHORTEST_SUSPEND: u64 = 1_000_000;

fn difference() -> u64 {
    let monotonic = nanos(clock_gettime(ClockId::Monotonic));
    now().as_nanos().saturating_sub(monotonic)
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_monotonic_reading_becomes_the_boot_time_of_that_moment() {
        let before = now();
        let monotonic = nanos(clock_gettime(ClockId::Monotonic));
        let converted = MonotonicClock::sample().boot_time(monotonic);
        let error = converted.since(before).max(before.since(converted));
        assert!(error < Duration::from_secs(1), "{error:?}");
    }
}
