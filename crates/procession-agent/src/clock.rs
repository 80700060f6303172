//! Clocks of this machine.

use std::io;
use std::time::{Duration, SystemTime};

use procession::{BootId, BootTime, WallClock};
use rustix::time::{ClockId, clock_gettime};

/// What turns times since boot into dates, as the clocks stand now.
///
/// To be renewed now and then: wall clocks are stepped.
pub fn wall_clock() -> WallClock {
    WallClock::new(boot_time(), SystemTime::now())
}

/// The same, if the clocks have been stepped apart since `clock` was read: it stays as it is for less, so
/// that one time has one date.
pub fn renewed(clock: WallClock) -> WallClock {
    const STEP: Duration = Duration::from_millis(1);
    let now = wall_clock();
    let (one, other) = (clock.at(BootTime::ZERO), now.at(BootTime::ZERO));
    let apart = one.duration_since(other).or_else(|_| other.duration_since(one)).unwrap_or(Duration::MAX);
    if apart < STEP { clock } else { now }
}

/// The time since boot, sleep included.
pub(crate) fn boot_time() -> BootTime {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or_default();
    BootTime::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The boot of this machine.
///
/// # Errors
///
/// `/proc` is not there, or hidden.
pub(crate) fn boot_id() -> io::Result<BootId> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {PATH}: {error}; is all of /proc mounted?"))
    })?;
    text.parse().map_err(io::Error::other)
}
