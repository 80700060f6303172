//! What every source has in common.

use std::fmt;
use std::time::Duration;

use procession::{BootTime, Event, Subject};

use crate::ebpf::FreshPins;
use crate::error::SourceError;

/// Takes events out of a source, one at a time, in order.
pub type Sink<'s> = &'s mut dyn FnMut(&Event<'_>);

/// Where process events come from.
///
/// A source observes and does nothing else: what the events mean is the table's business. It tells
/// of its losses with [`procession::EventKind::Lost`], in the place in the order where they lie.
pub trait Source: Send {
    /// Which one it is.
    fn kind(&self) -> SourceKind;

    /// Hands over the processes that already run, parents before children.
    ///
    /// To be called once, before the first [`poll`](Self::poll). A process that starts during the
    /// walk is told of once: either here or by its own events.
    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError>;

    /// Waits for events, at most for `timeout`, and hands over all that are there.
    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError>;

    /// Up to where events have been handed over, for [`release`](Self::release), and for
    /// [`resume`](Self::resume) in a later process. Empty: this source keeps nothing for later.
    ///
    /// A bookmark is a few dozen bytes that only the same kind of source on the same boot of the same
    /// machine understands. Any other bytes do no harm.
    fn bookmark(&self) -> Vec<u8> {
        Vec::new()
    }

    /// From now on the source keeps what it hands over until it is [released](Self::release), so that
    /// it is handed over once more to whoever takes over from a process that is killed.
    ///
    /// Without it everything counts as released when it is handed over. What is kept takes up room
    /// that is then missing for new events.
    fn keep(&mut self) {}

    /// What was handed over up to `bookmark` is safe elsewhere, and need not be kept any longer.
    ///
    /// A bookmark of another source, or from before one that was released already, has no effect.
    fn release(&mut self, bookmark: &[u8]) {
        let _ = bookmark;
    }

    /// Goes on where `bookmark` was taken, by a process that is gone. To be called instead of
    /// [`walk`](Self::walk), before the first [`poll`](Self::poll).
    ///
    /// After [`Resumed::Afresh`] the source has told of nothing: what runs is found out by
    /// [`survey`](Self::survey), or by a walk.
    fn resume(&mut self, bookmark: &[u8]) -> Result<Resumed, SourceError> {
        let _ = bookmark;
        Ok(Resumed::Afresh)
    }

    /// Tells of every process that runs ([`procession::EventKind::Running`]), in no order.
    ///
    /// Returns when it began: of what is younger it may know more or less than events have told by its end.
    /// All events up to its end, and perhaps some after, are handed over by the next [`poll`](Self::poll)s
    /// until [`has_told_survey`](Self::has_told_survey). `None`: this source cannot.
    fn survey(&mut self, sink: Sink<'_>) -> Result<Option<BootTime>, SourceError> {
        let _ = sink;
        Ok(None)
    }

    /// Whether all that happened until the end of the last [`survey`](Self::survey) is handed over, or
    /// reported as lost. Asked after a poll; a source whose polls hold nothing back always says so.
    fn has_told_survey(&self) -> bool {
        true
    }

    /// Whether `process` is still there, though a survey did not see it. Whoever is on its way out is.
    ///
    /// The last word before it is called gone.
    fn still_runs(&self, process: Subject) -> bool {
        let _ = process;
        false
    }

    /// Stops observing, and hands over what was observed until then.
    ///
    /// A source whose kernel side outlives it ([`EbpfConfig::pin`](crate::EbpfConfig::pin)) goes on to
    /// record there, for the process that takes over.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.poll(Duration::ZERO, sink)
    }

    /// The pins ([`EbpfConfig::pin`](crate::EbpfConfig::pin)), if all of them are this source's own: nobody was at
    /// work there when it was opened. `None`: there are no pins, or somebody may go on with what they keep.
    fn fresh_pins(&self) -> Option<FreshPins> {
        None
    }

    /// Records so far that were not as they should be. Each of them is an event that is missing. A ring that had to
    /// be given up counts as one; the events that it held are reported as lost.
    fn malformed(&self) -> u64 {
        0
    }

    /// How often so far something may have been missed that is not counted as lost.
    fn doubts(&self) -> u64 {
        0
    }

    /// Which changes between execs are not seen with this source here, and which of its losses are not counted,
    /// each with why: one line.
    fn unseen_changes(&self) -> Option<String> {
        None
    }

    /// What the kernel counted so far. `None`: this source cannot know.
    fn kernel_counts(&self) -> Option<KernelCounts>;
}

/// What became of the events since a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The source goes on from there: what lies before is passed over, and between there and now
    /// nothing is missing but what is reported as lost.
    Continued,
    /// Nobody observed meanwhile, or the bookmark is of another source.
    Afresh,
}

/// The kinds of sources, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// eBPF programs in the kernel: every event, in full.
    Ebpf,
    /// The kernel's proc connector: every event, details read from `/proc` while they last.
    Connector,
    /// `/proc`, read again and again: what lives long enough to be seen.
    Polling,
}

impl SourceKind {
    /// What a person should know about events from this source. Empty for the best one.
    pub const fn shortcomings(self) -> &'static str {
        match self {
            Self::Ebpf => "",
            Self::Connector => {
                "every process is seen, but what it runs is read from /proc a moment later: \
                 a process that is gone by then has no binary, arguments or user"
            }
            Self::Polling => {
                "processes that live for less than the polling interval are not seen, \
                 and exit statuses are unknown"
            }
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ebpf => "eBPF",
            Self::Connector => "proc connector",
            Self::Polling => "/proc polling",
        })
    }
}

/// Records that the kernel side tried to hand over, and of those the ones it could not.
///
/// `attempted = received + lost`, once everything that was handed over has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Forks of processes.
    pub fork: Count,
    /// Execs.
    pub exec: Count,
    /// Exits of processes.
    pub exit: Count,
    /// Changes between execs.
    pub change: Count,
    /// Parts of argument vectors too long for one record.
    pub arguments: Count,
    /// How often the kernel did not run the sensor although something happened. Each time an event
    /// may be missing of which there is no other trace, or it was a thread, which is not told of.
    pub skipped: u64,
    /// How often there was no memory for what the sensor keeps of a task. Each time the start of a process's image
    /// may be told as that of the process, or an exit twice.
    pub storage_failed: u64,
}

/// One line of [`KernelCounts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records that were made.
    pub attempted: u64,
    /// Records for which there was no room.
    pub lost: u64,
}
