//! How the watch goes, and what of it is worth telling. Pure: time is given.

use std::time::{Duration, Instant};

use super::failure::{Failure, Reason};

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What state it is in.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// When a pod was last told of: listed, added, changed or removed.
    pub last_event: Option<Instant>,
    /// When the API server last sent anything, bookmarks included.
    pub last_heard: Option<Instant>,
}

/// A state of the watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first list is not complete. Some pods may be known.
    Connecting,
    /// All pods of the node are known.
    Synced,
    /// Something is wrong. It is tried again, and pods that are known stay.
    Degraded {
        /// What is wrong.
        reason: Reason,
        /// What was said of it. Other people's text: escape it before a terminal sees it.
        detail: String,
    },
    /// It was stopped.
    Stopped,
}

/// What should be told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Announcement {
    /// Something is wrong. `had_pods`: that of before stays known.
    Lost { reason: Reason, detail: String, had_pods: bool },
    /// What was wrong is over.
    Recovered { after: Duration },
}

/// The state, and what was told of it.
#[derive(Debug)]
pub(super) struct Health {
    status: Status,
    /// Whether there was a complete list, ever.
    was_synced: bool,
    /// What was told since all was well.
    told: Vec<Reason>,
    degraded_since: Option<Instant>,
    silences: u32,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        let status = Status { phase: Phase::Connecting, since: now, last_event: None, last_heard: None };
        Self { status, was_synced: false, told: Vec::new(), degraded_since: None, silences: 0 }
    }

    pub(super) fn status(&self) -> Status {
        self.status.clone()
    }

    /// The server answers.
    pub(super) fn answered(&mut self, now: Instant) {
        self.status.last_heard = Some(now);
    }

    /// A watch brings something, and no error.
    pub(super) fn heard(&mut self, now: Instant) -> Option<Announcement> {
        self.answered(now);
        self.silences = 0;
        if self.reason().is_some() { self.well(now) } else { None }
    }

    /// A pod was told of.
    pub(super) fn changed(&mut self, now: Instant) {
        self.status.last_event = Some(now);
    }

    /// Something is wrong.
    pub(super) fn failed(&mut self, failure: Failure, now: Instant) -> Option<Announcement> {
        let Failure { reason, detail } = failure;
        self.degraded_since.get_or_insert(now);
        self.silences += u32::from(reason == Reason::Silent);
        let since = if self.reason() == Some(reason) { self.status.since } else { now };
        let phase = Phase::Degraded { reason, detail: detail.clone() };
        self.status = Status { phase, since, ..self.status };
        if self.told.contains(&reason) {
            return None;
        }
        self.told.push(reason);
        Some(Announcement::Lost { reason, detail, had_pods: self.was_synced })
    }

    /// A list is complete. It says nothing of a watch that brings nothing.
    pub(super) fn synced(&mut self, now: Instant) -> Option<Announcement> {
        self.was_synced = true;
        if self.reason() == Some(Reason::Silent) { None } else { self.well(now) }
    }

    /// A watch is granted, to go on where the last one ended. Some that are granted bring nothing
    /// but an error, or nothing at all: those have to bring something first.
    pub(super) fn resumed(&mut self, now: Instant) -> Option<Announcement> {
        match self.reason()? {
            Reason::Silent | Reason::Refused | Reason::Unreadable => None,
            Reason::NotConfigured | Reason::Unreachable | Reason::Unauthorized | Reason::Forbidden => {
                self.well(now)
            }
        }
    }

    /// How many watches in a row brought nothing.
    pub(super) fn silences(&self) -> u32 {
        self.silences
    }

    pub(super) fn stopped(&mut self, now: Instant) {
        self.status = Status { phase: Phase::Stopped, since: now, ..self.status };
    }

    fn reason(&self) -> Option<Reason> {
        match self.status.phase {
            Phase::Degraded { reason, .. } => Some(reason),
            _ => None,
        }
    }

    fn well(&mut self, now: Instant) -> Option<Announcement> {
        if self.status.phase != Phase::Synced {
            self.status = Status { phase: Phase::Synced, since: now, ..self.status };
        }
        self.told.clear();
        let since = self.degraded_since.take()?;
        Some(Announcement::Recovered { after: now.saturating_duration_since(since) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Announcement, Failure, Health, Phase, Reason};

    fn failure(reason: Reason) -> Failure {
        Failure { reason, detail: "why".to_owned() }
    }

    #[test]
    fn what_is_wrong_is_told_once_and_its_end_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::new(start);
        let lost = |reason, had_pods| Some(Announcement::Lost { reason, detail: "why".to_owned(), had_pods });

        let told = health.failed(failure(Reason::Unreachable), at(1));
        assert_eq!(told, lost(Reason::Unreachable, false));
        assert_eq!(health.failed(failure(Reason::Unreachable), at(2)), None);
        assert_eq!(health.status().since, at(1));
        let told = health.failed(failure(Reason::Unauthorized), at(3));
        assert_eq!(told, lost(Reason::Unauthorized, false));
        assert_eq!(health.failed(failure(Reason::Unreachable), at(4)), None, "told already");
        let told = health.synced(at(11));
        assert_eq!(told, Some(Announcement::Recovered { after: Duration::from_secs(10) }));
        assert_eq!(health.synced(at(12)), None);
        assert_eq!(health.status().since, at(11));
        let told = health.failed(failure(Reason::Unreachable), at(13));
        assert_eq!(told, lost(Reason::Unreachable, true), "another time, another word");
        assert!(health.resumed(at(14)).is_some());
        assert_eq!(health.resumed(at(15)), None);
    }

    #[test]
    fn silence_ends_with_what_a_watch_brings_and_not_with_its_begin() {
        let mut health = Health::new(Instant::now());
        health.synced(Instant::now());
        assert!(health.failed(failure(Reason::Silent), Instant::now()).is_some());
        assert_eq!(health.resumed(Instant::now()), None);
        assert_eq!(health.failed(failure(Reason::Silent), Instant::now()), None);
        assert_eq!(health.synced(Instant::now()), None);
        assert_eq!(health.silences(), 2);
        assert!(health.heard(Instant::now()).is_some());
        assert_eq!((health.status().phase, health.silences()), (Phase::Synced, 0));
    }

    #[test]
    fn a_watch_does_not_stand_for_the_first_list() {
        let mut health = Health::new(Instant::now());
        assert_eq!(health.resumed(Instant::now()), None);
        assert_eq!(health.status().phase, Phase::Connecting);
        assert_eq!(health.synced(Instant::now()), None, "nothing was wrong");
        assert_eq!(health.status().phase, Phase::Synced);
    }
}
