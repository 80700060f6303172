//! The wall clock of a replay: as it stood when what is told happened.

use procession::{BootTime, WallClock};

use crate::clock::is_step;

/// Where boot time stood on the wall clock, each from some time on.
#[derive(Debug, Default)]
pub(super) struct Clocks(Vec<(BootTime, WallClock)>);

impl Clocks {
    pub(super) fn note(&mut self, from: BootTime, clock: WallClock) {
        if self.0.last().is_none_or(|(_, last)| is_step(*last, clock)) {
            self.0.push((from, clock));
        }
    }

    pub(super) fn at(&self, time: BootTime) -> Option<WallClock> {
        let after = self.0.partition_point(|(from, _)| *from <= time);
        self.0.get(after.saturating_sub(1)).map(|(_, clock)| *clock)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn clock(boot: u64, wall: u64) -> WallClock {
        WallClock::new(BootTime::from_nanos(boot), SystemTime::UNIX_EPOCH + Duration::from_nanos(wall))
    }

    #[test]
    fn a_time_is_shown_by_the_clock_of_then() {
        const SECOND: u64 = 1_000_000_000;
        let mut clocks = Clocks::default();
        assert_eq!(clocks.at(BootTime::ZERO), None);
        let (first, drifted, set) =
            (clock(0, SECOND), clock(5, SECOND + 5 + 999_999), clock(10, 3_600 * SECOND));
        clocks.note(BootTime::from_nanos(1), first);
        clocks.note(BootTime::from_nanos(5), drifted);
        clocks.note(BootTime::from_nanos(10), set);
        for (time, expected) in [(0, first), (1, first), (9, first), (10, set), (u64::MAX, set)] {
            assert_eq!(clocks.at(BootTime::from_nanos(time)), Some(expected), "{time}");
        }
    }
}
