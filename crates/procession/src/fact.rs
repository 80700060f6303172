//! What leaves the table: an event with everything known about its process at that moment.

use crate::event::EventKind;
use crate::ids::Pid;
use crate::process::Process;
use crate::status::ExitStatus;
use crate::table::{Entry, ProcessId, Table};
use crate::time::BootTime;

/// An event, joined with what the table knew when it was applied. Immutable, and free of the
/// table: it may be sent anywhere and kept as long as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// How many events the table had received by then, this one included: its place in the log. Facts
    /// of later events have larger ones, wherever and however late they arrive.
    pub sequence: u64,
    /// When it happened.
    pub time: BootTime,
    /// What happened.
    pub kind: FactKind,
    /// The process it happened to.
    pub process: Process,
    /// Its parent by the reference system's rule ([`Process::reference_parent`]), the parent of
    /// that one, and so on, as far as was asked for.
    pub lineage: Vec<Process>,
    /// How many processes that were themselves seen starting lie between this one and the first
    /// that was not: how deep to draw it in a tree.
    pub depth: u16,
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactKind {
    /// It was forked.
    Fork,
    /// It ran a new image.
    Exec,
    /// It ended, or was looked for and not there ([`EndKind::Gone`](crate::EndKind::Gone)).
    Exit {
        /// The thread that ended last.
        tid: Pid,
        /// How; `None`: not known.
        status: Option<ExitStatus>,
    },
    /// It was found running.
    Running,
    /// It changed as whom or where it runs, without an exec.
    Change,
}

impl FactKind {
    /// What `event` is about; `None` when it is not about a process.
    pub fn of(event: &EventKind<'_>) -> Option<Self> {
        match event {
            EventKind::Fork(_) => Some(Self::Fork),
            EventKind::Exec(_) => Some(Self::Exec),
            EventKind::Exit(exit) => Some(Self::Exit { tid: exit.tid, status: exit.status }),
            EventKind::Running(_) => Some(Self::Running),
            EventKind::Change(_) => Some(Self::Change),
            EventKind::Gone(gone) => Some(Self::Exit { tid: gone.process.key.pid, status: None }),
            EventKind::Lost(_) => None,
        }
    }
}

impl Fact {
    /// The parent by the reference system's rule, when at least that was asked for.
    pub fn parent(&self) -> Option<&Process> {
        self.lineage.first()
    }
}

/// The longest lineage that a fact carries: a chain of forks or execs may be as long as it likes, and
/// each fact would be longer than the one before.
pub const LONGEST_LINEAGE: usize = 256;

/// How much of a process's lineage a [`Fact`] carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineageDetail {
    /// The parent.
    #[default]
    Parent,
    /// Everything to the first known process, [`LONGEST_LINEAGE`] at the most.
    Full,
}

impl LineageDetail {
    fn length(self) -> usize {
        match self {
            Self::Parent => 1,
            Self::Full => LONGEST_LINEAGE,
        }
    }
}

impl Entry<'_> {
    /// Joins what happened to the process with what the table knows now. `process` is the entry's
    /// snapshot: who filters facts has looked at it already.
    pub fn fact(self, process: Process, time: BootTime, kind: FactKind, detail: LineageDetail) -> Fact {
        let lineage = self.reference_lineage().take(detail.length()).map(Entry::snapshot).collect();
        Fact { sequence: self.sequence(), time, kind, process, lineage, depth: self.depth() }
    }
}

impl Table {
    /// Joins what happened to `id` with what the table knows now.
    ///
    /// `None`: the entry has gone.
    pub fn fact(&self, id: ProcessId, time: BootTime, kind: FactKind, detail: LineageDetail) -> Option<Fact> {
        let entry = self.entry(id)?;
        Some(entry.fact(entry.snapshot(), time, kind, detail))
    }
}
