//! What the connector source remembers of a process while it lives.

use std::collections::HashSet;

use procession::{BootTime, Pid, Precision, ProcessKey, Subject};

use crate::proc::Comm;

/// A living process.
#[derive(Debug)]
pub(super) struct Process {
    /// When it began: by `/proc`, or when it had no time to be looked at, by its fork.
    pub(super) began: BootTime,
    /// When its image began.
    pub(super) image: BootTime,
    /// Its parent, as far as last heard of.
    pub(super) owner: ProcessKey,
    pub(super) comm: Comm,
    /// What was told of it contains everything up to here: older notices are no news.
    pub(super) told: BootTime,
    /// The threads of it that live.
    ///
    /// Names rather than a number, because a thread that is created during the walk is both in the
    /// walk's list and in a notice, and must not count twice.
    threads: HashSet<Pid>,
}

impl Process {
    /// A process that consists of its leader.
    pub(super) fn new(pid: Pid, began: BootTime, owner: ProcessKey, comm: Comm, told: BootTime) -> Self {
        Self { began, image: began, owner, comm, told, threads: HashSet::from([pid]) }
    }

    /// The same process in an image that began at `image`.
    #[must_use]
    pub(super) fn with_image(self, image: BootTime) -> Self {
        Self { image, ..self }
    }

    pub(super) const fn subject(&self, pid: Pid) -> Subject {
        let key = ProcessKey::new(pid, self.image);
        Subject { key, began: self.began, precision: Precision::Ticks }
    }

    /// The name by which others call it: its start holds for all of its images.
    pub(super) const fn name(&self, pid: Pid) -> ProcessKey {
        ProcessKey::new(pid, self.began)
    }

    pub(super) fn set_threads(&mut self, threads: impl IntoIterator<Item = Pid>) {
        self.threads = threads.into_iter().collect();
    }

    pub(super) const fn threads(&self) -> &HashSet<Pid> {
        &self.threads
    }

    pub(super) fn thread_began(&mut self, tid: Pid) {
        self.threads.insert(tid);
    }

    /// Returns whether it was the last one.
    pub(super) fn thread_ended(&mut self, tid: Pid) -> bool {
        self.threads.remove(&tid);
        self.threads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_outlives_its_leader() {
        let mut process =
            Process::new(Pid(5), BootTime::ZERO, ProcessKey::NONE, Comm::default(), BootTime::ZERO);
        process.thread_began(Pid(6));
        process.thread_began(Pid(6));
        assert!(!process.thread_ended(Pid(5)));
        assert!(!process.thread_ended(Pid(5)));
        assert!(process.thread_ended(Pid(6)));
    }
}
