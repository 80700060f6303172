//! Time as data: the library never reads a clock.
//!
//! Kernel events carry the boot clock ([`BootTime`]), which counts through suspend and never steps.
//! Wall-clock time is a presentation of it, made with a [`WallClock`] that somebody else sampled.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Nanoseconds on Linux's `CLOCK_BOOTTIME`: since boot, time in suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(u64);

impl BootTime {
    /// The moment of boot.
    pub const ZERO: Self = Self(0);

    /// Length of one tick of the clock in which `/proc/PID/stat` gives start times.
    ///
    /// The kernel's `USER_HZ` is 100 on every architecture that Procession builds for.
    pub const TICK: Duration = Duration::from_millis(10);

    /// The moment `nanos` nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `ticks` clock ticks after boot, as `/proc/PID/stat` prints it.
    pub const fn from_ticks(ticks: u64) -> Self {
        Self(ticks.saturating_mul(NANOS_PER_TICK))
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole clock ticks since boot: what `/proc/PID/stat` would show for this moment.
    pub const fn as_ticks(self) -> u64 {
        self.0 / NANOS_PER_TICK
    }

    /// Time from `earlier` to `self`, zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` earlier; the moment of boot when that does not fit.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// The moment `span` later; the end of time when that does not fit.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a tick is 10,000,000 ns")]
const NANOS_PER_TICK: u64 = BootTime::TICK.as_nanos() as u64;

impl fmt::Display for BootTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Where boot time stands on the wall clock.
///
/// It is a pair of readings taken together. Whoever presents times takes a new pair now and then,
/// because the wall clock may be stepped; event times and ids are not touched by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    boot: BootTime,
    wall: SystemTime,
}

impl WallClock {
    /// Both clocks, read at the same moment.
    pub const fn new(boot: BootTime, wall: SystemTime) -> Self {
        Self { boot, wall }
    }

    /// The boot clock's reading.
    pub const fn boot(&self) -> BootTime {
        self.boot
    }

    /// The wall clock's reading.
    pub const fn wall(&self) -> SystemTime {
        self.wall
    }

    /// What the wall clock showed, or will show, at `time`.
    ///
    /// Saturates at the Unix epoch for a time that lies before it.
    pub fn at(&self, time: BootTime) -> SystemTime {
        let moved = if time >= self.boot {
            self.wall.checked_add(time.since(self.boot))
        } else {
            self.wall.checked_sub(self.boot.since(time))
        };
        moved.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The boot time at which the wall clock showed, or will show, `wall`: the inverse of
    /// [`at`](Self::at).
    ///
    /// Saturates at boot for what lies before it, and at the end of time.
    pub fn when(&self, wall: SystemTime) -> BootTime {
        match wall.duration_since(self.wall) {
            Ok(later) => self.boot.after(later),
            Err(earlier) => {
                let nanos = u64::try_from(earlier.duration().as_nanos()).unwrap_or(u64::MAX);
                BootTime(self.boot.0.saturating_sub(nanos))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_follows_boot_time_both_ways() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = WallClock::new(BootTime::from_nanos(50), wall);
        assert_eq!(clock.at(BootTime::from_nanos(60)), wall + Duration::from_nanos(10));
        assert_eq!(clock.at(BootTime::from_nanos(40)), wall - Duration::from_nanos(10));
    }

    #[test]
    fn boot_time_follows_wall_time_both_ways() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = WallClock::new(BootTime::from_nanos(50), wall);
        for nanos in [0, 49, 50, 51, u64::MAX] {
            assert_eq!(clock.when(clock.at(BootTime::from_nanos(nanos))), BootTime::from_nanos(nanos));
        }
        assert_eq!(clock.when(wall - Duration::from_nanos(51)), BootTime::ZERO);
        assert_eq!(clock.when(SystemTime::UNIX_EPOCH), BootTime::ZERO);
        assert_eq!((clock.boot(), clock.wall()), (BootTime::from_nanos(50), wall));
    }

    #[test]
    fn ticks_are_floored() {
        assert_eq!(BootTime::from_nanos(19_999_999).as_ticks(), 1);
        assert_eq!(BootTime::from_ticks(1).as_nanos(), 10_000_000);
    }
}
