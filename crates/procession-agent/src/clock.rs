//! Clocks of this machine.

use std::io;
use std::time::{Duration, SystemTime};

use procession::{BootId, BootTime, WallClock};
use rustix::time::{ClockId, clock_gettime};

/// What turns times since boot into dates, as the clocks stand now.
///
/// To be renewed now and then: wall clocks are stepped.
pub fn wall_clock() -> WallClock {
    // Whoever is stopped between the two readings reads times that do not belong together.
    const CLOSE: Duration = Duration::from_millis(1);
    const ATTEMPTS: usize = 8;
    let read = || {
        let (before, wall) = (boot_time(), SystemTime::now());
        let took = boot_time().as_nanos().saturating_sub(before.as_nanos());
        (WallClock::new(before, wall), Duration::from_nanos(took))
    };
    let mut best = read();
    for _ in 1..ATTEMPTS {
        if best.1 < CLOSE {
            break;
        }
        best = std::cmp::min_by_key(best, read(), |(_, took)| *took);
    }
    best.0
}

/// The same, if the clocks have been stepped apart since `clock` was read. It stays as it is for less.
pub fn renewed(clock: WallClock) -> WallClock {
    let now = wall_clock();
    if is_step(clock, now) { now } else { clock }
}

/// Whether somebody set the wall clock between one reading and another. Less than a millisecond is the drift of
/// clocks: one time has one date.
pub(crate) fn is_step(one: WallClock, other: WallClock) -> bool {
    const STEP: Duration = Duration::from_millis(1);
    apart(one, other) >= STEP
}

/// By how much somebody set the wall clock between one reading and another, forward or back.
pub(crate) fn apart(one: WallClock, other: WallClock) -> Duration {
    let (one, other) = (one.at(BootTime::ZERO), other.at(BootTime::ZERO));
    let apart = one.duration_since(other).or_else(|_| other.duration_since(one));
    apart.unwrap_or(Duration::MAX)
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
