//! Looking for what was missed: only when something was, and never for long.
//!
//! After a loss the source is asked what runs (a *survey*), the table is told all that happened meanwhile,
//! and then only those in which the two differ are put right.

mod sighting;

use std::time::{Duration, Instant};

use procession::BootTime;

pub(crate) use sighting::Sightings;

/// What came of looking for what was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairCounts {
    /// How often it was looked.
    pub surveys: u64,
    /// How long that took in all.
    pub time: Duration,
    /// Processes, or images of known ones, that ran and were not known.
    pub missing: u64,
    /// Processes that were thought to run and did not.
    pub gone: u64,
    /// Processes that ran as somebody else, or elsewhere, than was known.
    pub changed: u64,
}

/// When to look, and for what.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Images that began later than this may be missing. `None`: nothing is.
    since: Option<BootTime>,
    /// Not before.
    earliest: Option<Instant>,
    /// Losses that are known, and the time of the last event before.
    losses: u64,
    calm: BootTime,
}

/// The least time from the end of a survey to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// In terms of how long a survey took: so they take no more than 2 % of the time.
const PAUSES_PER_SURVEY: u32 = 50;

/// How much earlier than the last event before a loss an image may have begun that is missing: events of
/// several processors come in the order in which they were recorded, about.
const MARGIN: Duration = Duration::from_secs(1);

impl Schedule {
    /// Takes note of how many losses are known by now, when the table has been told all up to `now`.
    pub(crate) fn note(&mut self, losses: u64, now: BootTime) {
        if std::mem::replace(&mut self.losses, losses) == losses {
            self.calm = now;
        } else {
            self.want(before(self.calm));
        }
    }

    /// Something may be missing that began at `since` or later.
    pub(crate) fn want(&mut self, since: BootTime) {
        self.since = Some(self.since.map_or(since, |other| other.min(since)));
    }

    /// From when on to look, if it is time to. It is not asked for again.
    pub(crate) fn due(&mut self, now: Instant) -> Option<BootTime> {
        if self.earliest.is_some_and(|earliest| now < earliest) {
            return None;
        }
        self.since.take()
    }

    /// Takes note of a survey that ended at `now` and took so long.
    pub(crate) fn done(&mut self, now: Instant, took: Duration) {
        self.earliest = now.checked_add(PAUSE.max(took.saturating_mul(PAUSES_PER_SURVEY)));
    }
}

/// A moment earlier, to be on the safe side.
pub(crate) fn before(time: BootTime) -> BootTime {
    let margin = u64::try_from(MARGIN.as_nanos()).unwrap_or(u64::MAX);
    BootTime::from_nanos(time.as_nanos().saturating_sub(margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> BootTime {
        BootTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_looked_only_after_losses_and_from_before_them_on() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.note(0, seconds(10));
        assert_eq!(schedule.due(now), None);
        schedule.note(3, seconds(20));
        schedule.note(5, seconds(30));
        assert_eq!(schedule.due(now), Some(seconds(9)), "a second before the last time of calm");
        assert_eq!(schedule.due(now), None, "once");
    }

    #[test]
    fn surveys_take_no_more_than_a_fiftieth_of_the_time() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let mut clock = start;
        let (mut spent, mut surveys) = (Duration::ZERO, 0);
        let cost = Duration::from_millis(300);
        // Losses without end, looked at every 20 ms for ten minutes.
        for turn in 0..30_000_u64 {
            clock += Duration::from_millis(20);
            schedule.note(turn, seconds(turn));
            if schedule.due(clock).is_some() {
                clock += cost;
                (spent, surveys) = (spent + cost, surveys + 1);
                schedule.done(clock, cost);
            }
        }
        assert!(surveys > 30 && spent * 50 <= clock - start + cost * 50, "{surveys} took {spent:?}");

        let (mut schedule, mut last) = (Schedule::default(), None::<Instant>);
        for turn in 0..1_000_u64 {
            clock += Duration::from_millis(20);
            schedule.note(turn + 1, seconds(turn));
            if schedule.due(clock).is_some() {
                assert!(
                    last.is_none_or(|last| clock - last >= PAUSE),
                    "a cheap one not more often than each second"
                );
                last = Some(clock);
                schedule.done(clock, Duration::from_micros(1));
            }
        }
    }
}
