//! The kernel's proc connector: notices of all forks, execs and exits, and of changes of ids and
//! sessions, over netlink.
//!
//! A notice holds little more than pids and a time. What a process runs is read from `/proc` when
//! the notice is read, which is a moment later:
//!
//! * A process that is gone by then has no program, arguments or credentials.
//! * Of two execs in quick succession, both are told with the program of the second.
//! * Of several changes of ids in quick succession, one is told. Changes of capabilities or namespaces
//!   alone have no notice.
//! * A fork names the parent that the kernel gave the child. Who called `clone(CLONE_PARENT)` is
//!   not in the notice.
//!
//! Times are the kernel's own nanoseconds for execs and exits. A process's beginning is that of
//! `/proc/PID/stat`, in ticks, so that it is the same for processes that were there before.
//!
//! The notices of a process are in order, and its fork comes before its child's first notice. So
//! the state kept here follows the queue, not the clock: one entry per living process, made by the
//! walk or the fork and removed by the exit. Notices that queued up during the walk are compared
//! with what the walk told, and skipped when they are no news.
//!
//! Losses are counted as [`sequence`] says, and repaired as [`repair`] says.

mod message;
mod process;
mod repair;
mod sequence;
mod socket;
mod tracker;

use std::path::Path;
use std::time::Duration;

use procession::{BootTime, Event, EventKind};

use self::repair::Repair;
use self::sequence::Sequences;
use self::socket::{Received, Socket};
use self::tracker::Tracker;
use crate::clock::{self, MonotonicClock};
use crate::error::SourceError;
use crate::proc::Procfs;
use crate::source::{KernelCounts, Sink, Source, SourceKind};

/// The most notices that one poll handles, so that a storm does not keep it from returning.
const NOTICES_PER_POLL: usize = 16_384;

/// Hands `datagram` to the parser of messages.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse(datagram: &[u8]) {
    let _ = message::Message::parse(datagram);
}

/// How long a poll waits at most while a repair is under way, or a change is to be told.
const REPAIR_PAUSE: Duration = Duration::from_millis(20);

/// Events from the proc connector, with details from `/proc`.
#[derive(Debug)]
pub struct ConnectorSource {
    socket: Socket,
    sequences: Sequences,
    tracker: Tracker,
    repair: Repair,
    /// The time of the last notice.
    last: BootTime,
}

impl ConnectorSource {
    /// Subscribes to the events of all processes. They queue up from here on.
    pub fn open() -> Result<Self, SourceError> {
        let procfs = Procfs::open(Path::new("/proc"))?;
        Ok(Self {
            socket: Socket::subscribe()?,
            sequences: Sequences::default(),
            tracker: Tracker::new(procfs),
            repair: Repair::default(),
            last: clock::now(),
        })
    }

    fn report_lost(&mut self, count: u64, sink: Sink<'_>) {
        if count > 0 {
            self.repair.request();
            sink(&Event { time: self.last, kind: EventKind::Lost(count) });
        }
    }
}

impl Source for ConnectorSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Connector
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.tracker.walk(sink)
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        let is_idle = self.repair.is_idle() && !self.tracker.has_changes();
        self.socket.wait(if is_idle { timeout } else { timeout.min(REPAIR_PAUSE) })?;
        let clock = MonotonicClock::sample();
        for _ in 0..NOTICES_PER_POLL {
            match self.socket.receive()? {
                Received::Message(message) => {
                    let lost = self.sequences.received(message.cpu, message.sequence);
                    self.report_lost(lost, sink);
                    self.last = clock.boot_time(message.monotonic_nanos);
                    self.tracker.follow(message.notice, self.last, sink);
                }
                Received::Overrun => {
                    let lost = self.sequences.overrun();
                    self.report_lost(lost, sink);
                }
                Received::Nothing => {
                    self.tracker.tell_changes(clock::now(), sink);
                    return self.repair.step(&mut self.tracker, sink);
                }
            }
        }
        Ok(())
    }

    fn unseen_changes(&self) -> Option<String> {
        Some(
            "changes of capabilities or namespaces alone are not seen: the kernel sends no notice of them"
                .into(),
        )
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.poll(Duration::ZERO, sink)?;
        self.tracker.tell_changes(BootTime::from_nanos(u64::MAX), sink);
        Ok(())
    }

    /// The numbers of lost notices do not tell which kind they were of.
    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

#[cfg(test)]
mod tests;
