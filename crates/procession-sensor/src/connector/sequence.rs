//! How many messages were lost.
//!
//! The kernel numbers the messages of each CPU, so a gap says exactly how many are missing. It shows
//! only with the next message of that CPU, though, while an overrun of the socket is reported at
//! once, without a number. So an overrun counts as one lost message right away, in its place
//! in the order, and the gap, when it shows, as the rest.
//!
//! All messages are numbered, those about threads and new names too: the count is an upper bound
//! for the processes' forks, execs and exits. Two losses stay below the truth: those on a CPU of which
//! nothing was received before, and those on one that never sends again.

use std::collections::HashMap;

/// Watches the numbers.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// By CPU, the number that is due.
    due: HashMap<u32, u32>,
    /// Lost messages that were reported before the gap that they are part of was seen.
    reported_ahead: u64,
}

/// What messages carry that no CPU sent, before Linux 4.8: they have no place in any sequence.
const NO_CPU: u32 = u32::MAX;

impl Sequences {
    /// Takes the number of a message and returns how many losses are to be reported before it.
    pub(super) fn received(&mut self, cpu: u32, sequence: u32) -> u64 {
        if cpu == NO_CPU {
            return 0;
        }
        let due = self.due.insert(cpu, sequence.wrapping_add(1));
        let missing = due.map_or(0, |due| u64::from(sequence.wrapping_sub(due)));
        let known = missing.min(self.reported_ahead);
        self.reported_ahead -= known;
        missing - known
    }

    /// Takes the socket's report that it overran and returns how many losses are to be reported.
    pub(super) fn overrun(&mut self) -> u64 {
        self.reported_ahead += 1;
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_per_cpu() {
        let mut sequences = Sequences::default();
        let lost: Vec<u64> = [(0, 7), (1, 90), (0, 8), (0, 12), (1, 91), (1, 93)]
            .map(|(cpu, sequence)| sequences.received(cpu, sequence))
            .to_vec();
        assert_eq!(lost, [0, 0, 0, 3, 0, 1]);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut sequences = Sequences::default();
        sequences.received(0, u32::MAX);
        assert_eq!(sequences.received(0, 0), 0);
        assert_eq!(sequences.received(0, 2), 1);
    }

    #[test]
    fn an_overrun_and_its_gap_are_counted_once() {
        let mut sequences = Sequences::default();
        sequences.received(0, 1);
        sequences.received(1, 1);
        assert_eq!(sequences.overrun(), 1);
        assert_eq!(sequences.received(0, 5), 2, "three are missing, one was reported");
        assert_eq!(sequences.received(1, 4), 2);
    }

    #[test]
    fn messages_of_no_cpu_have_no_place() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.received(NO_CPU, 0), 0);
        assert_eq!(sequences.received(NO_CPU, 1_000), 0);
    }
}
