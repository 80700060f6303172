//! Telling those who wait for a container that it can be found.

use std::mem;

use crossbeam_channel::{Sender, TrySendError};

use crate::ContainerId;

/// What became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This container can be found now.
    Appeared(ContainerId),
    /// More appeared than the reader had room for: look again for all that is waited for.
    Missed,
}

/// The sending end: never waits.
#[derive(Debug)]
pub(super) struct Notices {
    sender: Sender<Notice>,
    owes: bool,
}

impl Notices {
    pub(super) fn new(sender: Sender<Notice>) -> Self {
        Self { sender, owes: false }
    }

    pub(super) fn appeared(&mut self, ids: impl IntoIterator<Item = ContainerId>) {
        self.settle();
        for id in ids {
            // After a gap, single notices would say nothing that `Missed` does not.
            self.owes = self.owes || !self.send(Notice::Appeared(id));
        }
        self.settle();
    }

    /// Says that notices were missed, once there is room. Whether that is still to be said.
    pub(super) fn settle(&mut self) -> bool {
        if mem::take(&mut self.owes) {
            self.owes = !self.send(Notice::Missed);
        }
        self.owes
    }

    /// Whether there was room. A reader who is gone misses nothing.
    fn send(&self, notice: Notice) -> bool {
        !matches!(self.sender.try_send(notice), Err(TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Notice, Notices};
    use crate::ContainerId;

    #[test]
    fn a_reader_who_is_late_is_told_that_something_was_missed() {
        let id = ContainerId::parse(&[b'a'; 64]).unwrap();
        let (sender, receiver) = crossbeam_channel::bounded(2);
        let mut notices = Notices::new(sender);
        notices.appeared([id; 5]);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [Notice::Appeared(id); 2]);
        assert!(!notices.settle());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [Notice::Missed]);
        notices.appeared([id]);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [Notice::Appeared(id)]);
    }

    #[test]
    fn nobody_needs_to_read() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        drop(receiver);
        let mut notices = Notices::new(sender);
        notices.appeared([ContainerId::parse(&[b'a'; 64]).unwrap(); 3]);
        assert!(!notices.settle());
    }
}
