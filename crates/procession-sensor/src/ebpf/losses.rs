//! Which records are missing.

use std::collections::HashMap;

use crate::record::RecordId;
use crate::record::layout::stat;
use crate::source::{Count, KernelCounts};

/// Finds out where in the order records are missing, and how many.
///
/// Each CPU numbers what it tries to submit, so a gap in its numbers shows that something was lost
/// there. How many events that were, the kernel's own counts tell: not every record is an event.
#[derive(Debug, Default)]
pub(super) struct Losses {
    last_seq: HashMap<u32, u64>,
    /// What the kernel counted when the reader began with the ring: it belongs to others.
    base: [u64; stat::COUNT],
    reported: u64,
    /// Events that others have read and nobody kept: to be reported with the next losses.
    unkept: u64,
}

impl Losses {
    /// Of a ring that others have read before: what they have counted, and of the losses in all what
    /// they have reported.
    pub(super) fn from(base: [u64; stat::COUNT], reported: u64) -> Self {
        Self { last_seq: HashMap::new(), base, reported, unkept: 0 }
    }

    /// With so many events that others have read and nobody kept.
    pub(super) fn and_unkept(self, unkept: u64) -> Self {
        Self { unkept, ..self }
    }

    /// Of a ring that others have read before, none of whose losses are to be reported.
    pub(super) fn after(base: [u64; stat::COUNT]) -> Self {
        Self::from(base, lost(&base))
    }

    /// Whether records are missing before `id`, which is remembered.
    ///
    /// The first record of a CPU in a ring that others have read before looks as if; the counts then
    /// tell that nothing is.
    pub(super) fn has_gap_before(&mut self, id: RecordId) -> bool {
        let last = self.last_seq.insert(id.cpu, id.seq).unwrap_or_default();
        id.seq > last.saturating_add(1)
    }

    /// How many events were lost that were not reported, by the counts `stats`. They are now.
    pub(super) fn since_last_report(&mut self, stats: &[u64; stat::COUNT]) -> u64 {
        let lost = lost(stats);
        let new = lost.saturating_sub(std::mem::replace(&mut self.reported, lost));
        new.saturating_add(std::mem::take(&mut self.unkept))
    }

    /// Whether by the counts `stats` there is anything to report.
    pub(super) fn has_news(&self, stats: &[u64; stat::COUNT]) -> bool {
        self.unkept > 0 || lost(stats) > self.reported
    }

    pub(super) fn reported(&self) -> u64 {
        self.reported
    }

    pub(super) fn base(&self) -> [u64; stat::COUNT] {
        self.base
    }

    /// What the kernel counted since the reader began with the ring.
    pub(super) fn counts(&self, stats: &[u64; stat::COUNT], skipped: u64) -> KernelCounts {
        let since = |slot: usize| stats[slot].saturating_sub(self.base[slot]);
        let count = |attempted, lost| Count { attempted: since(attempted), lost: since(lost) };
        KernelCounts {
            fork: count(stat::FORK, stat::FORK_LOST),
            exec: count(stat::EXEC, stat::EXEC_LOST),
            exit: count(stat::EXIT, stat::EXIT_LOST),
            change: count(stat::CHANGE, stat::CHANGE_LOST),
            arguments: count(stat::ARGS, stat::ARGS_LOST),
            skipped,
            storage_failed: since(stat::STORAGE_FAILED),
        }
    }
}

fn lost(stats: &[u64; stat::COUNT]) -> u64 {
    sum(stats, [stat::FORK_LOST, stat::EXEC_LOST, stat::EXIT_LOST, stat::CHANGE_LOST])
}

/// Events that found room in the ring.
pub(super) fn recorded(stats: &[u64; stat::COUNT]) -> u64 {
    sum(stats, [stat::FORK, stat::EXEC, stat::EXIT, stat::CHANGE]).saturating_sub(lost(stats))
}

fn sum(stats: &[u64; stat::COUNT], slots: [usize; 4]) -> u64 {
    slots.into_iter().map(|slot| stats[slot]).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::layout::kind;
    use procession::{BootTime, Pid, ProcessKey};

    fn record(cpu: u32, seq: u64) -> RecordId {
        let subject = ProcessKey::new(Pid(7), BootTime::ZERO);
        let time = BootTime::ZERO;
        RecordId { kind: kind::FORK, len: 0, time, cpu, seq, subject, began: time }
    }

    #[test]
    fn what_was_counted_before_belongs_to_others() {
        let (mut base, mut stats) = ([0; stat::COUNT], [0; stat::COUNT]);
        (base[stat::STORAGE_FAILED], base[stat::FORK]) = (2, 10);
        (stats[stat::STORAGE_FAILED], stats[stat::FORK]) = (5, 14);
        let counts = Losses::after(base).counts(&stats, 7);
        assert_eq!((counts.storage_failed, counts.fork.attempted, counts.skipped), (3, 4, 7));
    }

    #[test]
    fn a_loss_that_no_record_comes_after_is_news_once() {
        let mut losses = Losses::default();
        let mut stats = [0; stat::COUNT];
        assert!(!losses.has_gap_before(record(0, 1)) && !losses.has_news(&stats));
        // Three records of the first CPU find no room, and then it is silent.
        stats[stat::EXIT_LOST] = 3;
        assert!(!losses.has_gap_before(record(1, 1)), "the other one misses nothing");
        assert!(losses.has_news(&stats));
        assert_eq!(losses.since_last_report(&stats), 3);
        assert!(!losses.has_news(&stats));
        assert!(losses.has_gap_before(record(0, 5)), "it comes to light again");
        assert_eq!(losses.since_last_report(&stats), 0, "and is not told again");
        stats[stat::FORK_LOST] = 1;
        assert!(losses.has_news(&stats));
        assert_eq!(losses.since_last_report(&stats), 1);
    }
}
