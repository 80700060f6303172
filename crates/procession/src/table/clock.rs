//! How far time has come, by what events say of it.
//!
//! Any one of them may be wrong: a clock in trouble, damage, a file that somebody made. If the table believed
//! each, one event from the far future would end the grace time of everything, and all that happens after it
//! would seem to happen then. So a time that lies far ahead lasts only until the next event: if that agrees,
//! it is believed, else it is dropped.

use std::time::Duration;

use crate::time::BootTime;

/// How far one event alone moves time, and how close two must be to agree. A quiet machine says nothing for
/// longer than that: then what is due goes with the second event after that, rather than with the first.
const LEAP: Duration = Duration::from_mins(1);

/// The time of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// What is believed: never goes back.
    settled: BootTime,
    /// What the latest event says, if that is far ahead; else the same.
    latest: BootTime,
}

impl Clock {
    /// A clock that was read before.
    pub(super) fn at(settled: BootTime, latest: BootTime) -> Self {
        Self { settled, latest: latest.max(settled) }
    }

    /// Takes in the time of an event.
    pub(super) fn hear(&mut self, time: BootTime) {
        let is_near = time <= self.settled.after(LEAP);
        let is_claimed = self.latest > self.settled;
        let agrees = is_claimed && time.since(self.latest).max(self.latest.since(time)) <= LEAP;
        if !is_near && !agrees {
            self.latest = time;
            return;
        }
        let claim = if agrees { self.latest } else { BootTime::ZERO };
        self.settled = self.settled.max(time).max(claim);
        self.latest = self.settled;
    }

    /// Takes in a time that somebody vouches for.
    pub(super) fn set(&mut self, time: BootTime) {
        self.settled = self.settled.max(time);
        self.latest = self.latest.max(self.settled);
    }

    /// The time that is believed: what is due by then may go.
    pub(super) fn settled(self) -> BootTime {
        self.settled
    }

    /// The time at which the latest event happened, or the latest before that.
    pub(super) fn latest(self) -> BootTime {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minutes(minutes: u64) -> BootTime {
        BootTime::from_nanos(minutes * 60_000_000_000)
    }

    #[test]
    fn one_event_from_the_far_future_is_dropped_by_the_next() {
        let mut clock = Clock::at(minutes(5), minutes(5));
        clock.hear(minutes(1_000));
        assert_eq!((clock.settled(), clock.latest()), (minutes(5), minutes(1_000)));
        clock.hear(minutes(6));
        assert_eq!((clock.settled(), clock.latest()), (minutes(6), minutes(6)));
        // Two of them do not agree either, when they are far from each other.
        clock.hear(minutes(2_000));
        clock.hear(minutes(1_000));
        assert_eq!((clock.settled(), clock.latest()), (minutes(6), minutes(1_000)));
    }

    #[test]
    fn after_a_long_silence_the_second_event_is_believed() {
        let mut clock = Clock::default();
        clock.hear(minutes(1_000));
        assert_eq!((clock.settled(), clock.latest()), (BootTime::ZERO, minutes(1_000)));
        clock.hear(minutes(1_000));
        assert_eq!((clock.settled(), clock.latest()), (minutes(1_000), minutes(1_000)));
        clock.set(minutes(3_000));
        assert_eq!((clock.settled(), clock.latest()), (minutes(3_000), minutes(3_000)));
    }

    /// A time within three minutes of the honest one, where it may be believed, or any.
    fn false_time() -> impl Strategy<Value = Result<i64, u64>> {
        prop_oneof![
            3 => (-180_000_000_000..=180_000_000_000_i64).prop_map(Ok),
            1 => any::<u64>().prop_map(Err),
        ]
    }

    proptest! {
        #[test]
        fn no_single_event_moves_what_is_believed_by_more_than_a_leap(
            // One step at a time: then all of them are believed.
            steps in prop::collection::vec(0..=60_000_000_000_u64, 1..50),
            false_at in any::<prop::sample::Index>(),
            false_time in false_time(),
        ) {
            let mut clock = Clock::default();
            let mut honest = 0_u64;
            let place = false_at.index(steps.len());
            for (number, step) in steps.iter().enumerate() {
                if number == place {
                    let time = false_time.map_or_else(|any| any, |by| honest.saturating_add_signed(by));
                    clock.hear(BootTime::from_nanos(time));
                    prop_assert!(clock.settled() <= BootTime::from_nanos(honest).after(LEAP));
                }
                honest += step;
                let now = BootTime::from_nanos(honest);
                clock.hear(now);
                prop_assert!(now <= clock.settled() && clock.settled() <= now.after(LEAP));
                prop_assert!(clock.latest() >= clock.settled());
            }
        }
    }
}
