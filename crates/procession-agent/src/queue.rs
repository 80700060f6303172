//! The bounded queue between a pipeline and whoever presents what it tells.
//!
//! Its room is counted on the side of the pipeline alone, who is the only one to put anything in: what is missing
//! of that by now has been read. So readers get facts as they are, and a queue that is empty takes no memory.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use procession_kube::Told;

use crate::journal::Roll;
use crate::observation::WhenFull;
use crate::weight;

/// The end of the pipeline.
pub(crate) struct Queue {
    told: Sender<Told>,
    /// `None`: the pipeline waits when there is no room.
    backlog: Option<Backlog>,
    pub(crate) dropped: u64,
    /// The containers of which it tells.
    pub(crate) roll: Roll,
}

impl Queue {
    /// A queue for so many facts and, unless the pipeline waits for room, so many bytes of them; and the end of
    /// who reads.
    pub(crate) fn new(facts: usize, bytes: usize, when_full: WhenFull, roll: Roll) -> (Self, Receiver<Told>) {
        let ((told, read), backlog) = match when_full {
            WhenFull::Drop => (unbounded(), Some(Backlog::new(facts, bytes))),
            WhenFull::Wait => (bounded(facts), None),
        };
        (Self { told, backlog, dropped: 0, roll }, read)
    }

    pub(crate) fn offer(&mut self, told: Told) {
        self.roll.note(&told.containers);
        let waiting = self.told.len();
        let has_room = self.backlog.as_mut().is_none_or(|backlog| {
            backlog.read_up_to(waiting);
            backlog.takes(weight::of_one(&told))
        });
        // Nobody may be there to take it any more: that is a loss too.
        self.dropped += u64::from(!has_room || self.told.send(told).is_err());
    }
}

/// What is in the queue.
#[derive(Debug)]
struct Backlog {
    facts: usize,
    bytes: usize,
    /// Bytes of each, in order.
    waiting: VecDeque<usize>,
    waiting_bytes: usize,
}

impl Backlog {
    fn new(facts: usize, bytes: usize) -> Self {
        Self { facts, bytes, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Only the last so many are still there.
    fn read_up_to(&mut self, left: usize) {
        while self.waiting.len() > left {
            self.waiting_bytes -= self.waiting.pop_front().unwrap_or_default();
        }
    }

    /// Whether one of so many bytes has room, which it takes then. The first always has: however large it is,
    /// somebody is to be told of it.
    fn takes(&mut self, bytes: usize) -> bool {
        let is_over = self.waiting_bytes.saturating_add(bytes) > self.bytes;
        if self.waiting.len() >= self.facts || (is_over && !self.waiting.is_empty()) {
            return false;
        }
        self.waiting.push_back(bytes);
        self.waiting_bytes += bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_facts_nor_bytes_are_more_than_there_is_room_for() {
        let mut backlog = Backlog::new(3, 100);
        assert!(backlog.takes(60) && backlog.takes(40));
        assert!(!backlog.takes(1), "there is no room in bytes");
        backlog.read_up_to(1);
        assert!(backlog.takes(1) && backlog.takes(1));
        assert!(!backlog.takes(1), "there is no room for another");
        backlog.read_up_to(0);
        assert!(backlog.takes(1_000), "alone it has room, whatever it takes");
        assert!(!backlog.takes(1));
        backlog.read_up_to(0);
        assert_eq!((backlog.waiting_bytes, backlog.waiting.len()), (0, 0));
    }
}
