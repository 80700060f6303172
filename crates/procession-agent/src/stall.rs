//! A disk or a reader that does not answer: the thread that writes hangs in the system, and can say nothing
//! itself.

use std::time::{Duration, Instant};

/// How long nothing may come of what is to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of the thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// Since when it has been seen at work without anything coming of it, and how much it had done by then.
    since: Option<Instant>,
    done: u64,
    is_there: bool,
    /// Attempts had failed before it. Whoever said so says also when all is well again.
    is_within_trouble: bool,
}

/// How the thread that writes stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// How much it has done, attempts that failed included.
    pub(crate) done: u64,
    /// Whether it is to write something at this moment: between two attempts it is not.
    pub(crate) is_at_work: bool,
    /// Whether its last attempt has failed.
    pub(crate) is_failing: bool,
}

/// What a person is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing comes of what is to be written.
    DoesNotAnswer,
    /// It is written again.
    WrittenAgain,
}

impl Stall {
    /// Takes note of how the thread stands. Tells once that nothing comes of its work, and that this is over.
    pub(crate) fn note(&mut self, now: Instant, standing: Standing) -> Option<News> {
        let Standing { done, is_at_work, is_failing } = standing;
        if !is_at_work || done != self.done {
            (self.since, self.done) = (is_at_work.then_some(now), done);
            let is_over = std::mem::take(&mut self.is_there);
            // With an error the disk answers too, but nothing is written.
            return (is_over && !is_failing && !self.is_within_trouble).then_some(News::WrittenAgain);
        }
        let since = *self.since.get_or_insert(now);
        if self.is_there || now.duration_since(since) < PATIENCE {
            return None;
        }
        (self.is_there, self.is_within_trouble) = (true, is_failing);
        Some(News::DoesNotAnswer)
    }

    /// Whether nothing comes of what is to be written.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of a thread, second by second.
    struct Watch {
        stall: Stall,
        start: Instant,
    }

    impl Watch {
        fn new() -> Self {
            Self { stall: Stall::default(), start: Instant::now() }
        }

        fn see(&mut self, seconds: u64, done: u64, is_at_work: bool, is_failing: bool) -> Option<News> {
            let standing = Standing { done, is_at_work, is_failing };
            self.stall.note(self.start + Duration::from_secs(seconds), standing)
        }
    }

    #[test]
    fn it_is_a_stall_only_while_something_waits_and_nothing_is_done() {
        let mut watch = Watch::new();
        let mut is_there = |seconds, done, is_at_work| {
            watch.see(seconds, done, is_at_work, false);
            watch.stall.is_there()
        };
        assert!(!is_there(0, 0, false));
        assert!(!is_there(100, 0, false), "nothing waits");
        assert!(!is_there(101, 0, true));
        assert!(!is_there(109, 0, true), "nine seconds");
        assert!(is_there(111, 0, true));
        assert!(is_there(200, 0, true), "still");
        assert!(!is_there(201, 1, true), "something was done");
        assert!(!is_there(210, 1, true));
        assert!(is_there(212, 1, true), "and again");
        assert!(!is_there(213, 1, false));
    }

    #[test]
    fn a_disk_that_answers_again_is_told_of_once() {
        let mut watch = Watch::new();
        assert_eq!(watch.see(0, 0, true, false), None);
        assert_eq!(watch.see(10, 0, true, false), Some(News::DoesNotAnswer));
        assert_eq!(watch.see(20, 0, true, false), None);
        assert_eq!(watch.see(21, 1, true, false), Some(News::WrittenAgain));
        assert_eq!(watch.see(22, 2, true, false), None);
    }

    #[test]
    fn a_hang_that_ends_in_an_error_is_no_journal_that_is_written_again() {
        let mut watch = Watch::new();
        assert_eq!(watch.see(0, 0, true, false), None);
        assert_eq!(watch.see(10, 0, true, false), Some(News::DoesNotAnswer));
        assert_eq!(watch.see(30, 1, true, true), None);
        assert!(!watch.stall.is_there());
    }

    #[test]
    fn a_hang_among_errors_ends_with_them() {
        let mut watch = Watch::new();
        assert_eq!(watch.see(0, 1, true, true), None);
        assert_eq!(watch.see(10, 1, true, true), Some(News::DoesNotAnswer));
        assert_eq!(watch.see(20, 2, true, false), None, "who told of the errors tells of that");
    }
}
