//! Looking for what was missed: only when something was, and never for long.
//!
//! After a loss the source is asked what runs (a *survey*), the table is told all that happened meanwhile,
//! and then only those in which the two differ are put right.

mod sighting;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use procession::{Gap, ProcessKey, Subject};

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

/// When to look.
///
/// What is lost may have been a change of rights, of a process however old: so it is looked at all.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Why it is to be looked.
    wanted: Option<Gap>,
    /// Not before.
    earliest: Option<Instant>,
    /// Losses that are known.
    losses: u64,
    /// Who ran another program than was known when it was last looked.
    doubted: HashSet<ProcessKey>,
}

/// The least time from the end of a survey to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// In terms of how long a survey took: so they take no more than 2 % of the time.
const PAUSES_PER_SURVEY: u32 = 50;

impl Schedule {
    /// Takes note of losses that need no look.
    pub(crate) fn accept(&mut self, losses: u64) {
        self.losses = losses;
    }

    /// Takes note of how many losses are known by now.
    pub(crate) fn note(&mut self, losses: u64) {
        if std::mem::replace(&mut self.losses, losses) != losses {
            self.want(Gap::Loss);
        }
    }

    /// Something may be missing. If nobody observed, that is the reason whatever was lost besides.
    pub(crate) fn want(&mut self, gap: Gap) {
        if self.wanted != Some(Gap::Absence) {
            self.wanted = Some(gap);
        }
    }

    /// Those of `doubtful`, who run another program than is known, that did so when it was last looked: their
    /// execs were missed. The others may be doing one just now, of which nobody is told before it is
    /// complete: it is looked again.
    pub(crate) fn confirm(&mut self, doubtful: Vec<Subject>, gap: Gap) -> Vec<Subject> {
        let doubted = std::mem::take(&mut self.doubted);
        let (certain, new): (Vec<_>, Vec<_>) =
            doubtful.into_iter().partition(|process| doubted.contains(&process.key));
        if !new.is_empty() {
            self.want(gap);
        }
        self.doubted.extend(new.into_iter().map(|process| process.key));
        certain
    }

    /// Why it is to be looked now, if so. It is not asked for again.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Gap> {
        let is_early = self.earliest.is_some_and(|earliest| now < earliest);
        if is_early { None } else { self.wanted.take() }
    }

    /// Takes note of a survey that ended at `now` and took so long.
    pub(crate) fn done(&mut self, now: Instant, took: Duration) {
        self.earliest = now.checked_add(PAUSE.max(took.saturating_mul(PAUSES_PER_SURVEY)));
    }
}

#[cfg(test)]
mod tests {
    use procession::{BootTime, Pid};

    use super::*;

    #[test]
    fn it_is_looked_only_after_new_losses() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.accept(2);
        schedule.note(2);
        assert_eq!(schedule.due(now), None);
        schedule.note(3);
        schedule.note(5);
        assert_eq!(schedule.due(now), Some(Gap::Loss));
        assert_eq!(schedule.due(now), None, "once");
    }

    #[test]
    fn it_is_looked_again_for_the_same_reason() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.want(Gap::Absence);
        schedule.note(1);
        assert_eq!(schedule.due(now), Some(Gap::Absence), "losses do not make up for an absence");
    }

    #[test]
    fn who_runs_another_program_does_so_when_it_is_looked_twice_in_a_row() {
        let process = |pid| {
            let start = BootTime::from_nanos(5);
            Subject::exact(ProcessKey::new(Pid(pid), start), start)
        };
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        assert_eq!(schedule.confirm(vec![process(1), process(2)], Gap::Absence), []);
        assert_eq!(schedule.due(now), Some(Gap::Absence));
        assert_eq!(schedule.confirm(vec![process(2), process(3)], Gap::Loss), [process(2)]);
        assert_eq!(schedule.due(now), Some(Gap::Loss), "for the one that is new");
        assert_eq!(schedule.confirm(vec![], Gap::Loss), []);
        assert_eq!(schedule.due(now), None);
        assert_eq!(schedule.confirm(vec![process(3)], Gap::Loss), [], "not in a row");
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
            schedule.note(turn);
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
            schedule.note(turn + 1);
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
