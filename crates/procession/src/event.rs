//! What sources report: the input of the table.
//!
//! Every source (eBPF, task walk, proc connector, polling, a recording) produces [`Event`]s, and
//! the table is a fold over them. Events borrow their text from the source's buffers. A fact that
//! a source cannot know is `None` or empty, never a guess.

use crate::arguments::Arguments;
use crate::credentials::{Credentials, PrivilegeChange};
use crate::ids::{Pid, ProcessKey};
use crate::namespaces::{Cgroup, Namespaces};
use crate::status::ExitStatus;
use crate::time::BootTime;

/// One thing that happened, or was found, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened; for [`EventKind::Running`], when it was looked at.
    pub time: BootTime,
    /// What happened.
    pub kind: EventKind<'a>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// A process forked another.
    Fork(Fork<'a>),
    /// A process replaced its image.
    Exec(Exec<'a>),
    /// The last thread of a process ended.
    Exit(Exit<'a>),
    /// A process was found already running.
    Running(Running<'a>),
    /// A process changed as whom or where it runs, without an exec.
    Change(Change<'a>),
    /// A process that was thought to run was looked for, and is not there.
    Gone(Gone),
    /// The source knows that it lost this many events since the one before.
    Lost(u64),
}

/// A process and its image as an event names them.
///
/// `began` is when the process was forked and never changes; `key.start` moves with each exec.
/// Together they let the table recognise a process of which it missed an exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The image.
    pub key: ProcessKey,
    /// When the process began.
    pub began: BootTime,
    /// How exact the two times are.
    pub precision: Precision,
}

impl Subject {
    /// An image called `key` of the process that began at `began`, both to the nanosecond.
    pub const fn exact(key: ProcessKey, began: BootTime) -> Self {
        Self { key, began, precision: Precision::Nanoseconds }
    }
}

/// Another process that an event names: a parent or an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relative {
    /// Its image. A source that knows times to the tick only means the process, whatever it runs.
    pub key: ProcessKey,
    /// When the process began. `None`: the source does not say; then an image that was never heard
    /// of is taken to be one of the process that has the pid.
    pub began: Option<BootTime>,
}

impl Relative {
    /// Nobody.
    pub const NONE: Self = Self { key: ProcessKey::NONE, began: None };
}

impl From<ProcessKey> for Relative {
    fn from(key: ProcessKey) -> Self {
        Self { key, began: None }
    }
}

/// How exactly a source knows when a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The kernel's own nanoseconds.
    #[default]
    Nanoseconds,
    /// `/proc/PID/stat`: whole clock ticks.
    Ticks,
}

/// A new process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fork<'a> {
    /// The new process, in the image it shares with its parent.
    pub child: Subject,
    /// The image that forked it.
    pub parent: Relative,
    /// The thread that called fork.
    pub parent_tid: Pid,
    /// Who the kernel says owns the child: another than `parent` after `clone(CLONE_PARENT)`.
    pub owner: Relative,
    /// As whom and where the child runs; what is `None` is as in the parent.
    pub context: Context<'a>,
}

/// A new image in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exec<'a> {
    /// The process in its new image.
    pub process: Subject,
    /// The image that is replaced. `None`: whichever the process had.
    pub replaces: Option<ProcessKey>,
    /// The thread that called exec. It takes the process's pid as its own.
    pub tid: Pid,
    /// The parent, as the kernel has it at this moment.
    pub owner: Relative,
    /// As whom and where the new image runs.
    pub context: Context<'a>,
    /// What it runs.
    pub program: Program<'a>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit<'a> {
    /// The process, in its last image.
    pub process: Subject,
    /// The thread that ended last.
    pub tid: Pid,
    /// The parent, as the kernel has it at this moment.
    pub owner: Relative,
    /// What `wait(2)` will report. `None`: the source only saw that it was gone.
    pub status: Option<ExitStatus>,
    /// The command name (`comm`), at most 15 bytes.
    pub comm: &'a [u8],
}

/// A process that was found running: before anybody looked, or because events about it are missing.
///
/// With a `gap`, of a process that is known: what changed is taken in, and so is an image whose exec was
/// missed. Where the process is named by its begin, or to the tick, such an image shows in the program
/// ([`Table::runs_other_program`](crate::Table::runs_other_program)), and its key is of the event's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running<'a> {
    /// The process in its current image.
    pub process: Subject,
    /// The parent, as the kernel has it now: not always the one that forked it.
    pub owner: Relative,
    /// As whom and where it runs.
    pub context: Context<'a>,
    /// What it runs.
    pub program: Program<'a>,
    /// Why events did not tell of it. `None`: it ran before anybody looked.
    pub gap: Option<Gap>,
}

/// Why a fact had to be found out that events should have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gap {
    /// Events were lost.
    Loss,
    /// Nobody observed for a while.
    Absence,
}

/// A process that was thought to run was looked for, and is not there: it ended, and nobody told.
///
/// It is about the process, whichever image of it is named. When that has ended already, this says
/// nothing new ([`Outcome::Duplicate`](crate::Outcome::Duplicate)). When the table never heard of
/// it, or knows a later image of it than the one that is named, then whoever looked had it wrong, and
/// nothing is changed ([`Outcome::Rejected`](crate::Outcome::Rejected)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The process, in the last image that was known of it.
    pub process: Subject,
    /// Why its exit was not seen.
    pub gap: Gap,
}

/// New credentials, namespaces, session or control group of a process that goes on running its
/// image: `setuid(2)`, `capset(2)`, `setns(2)`, `unshare(2)`, `setsid(2)`, a write to
/// `cgroup.procs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// The process in its current image.
    pub process: Subject,
    /// As whom and where it runs from now on; what is `None` stays as it was.
    pub context: Context<'a>,
}

/// As whom and where a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// Pid in the innermost pid namespace. `None`: that is the host's, or it is unknown.
    pub ns_pid: Option<Pid>,
    /// Pid of the process that leads the session, `setsid(2)`, as the host numbers it; that process
    /// may have exited. `None`: unknown.
    pub session: Option<Pid>,
    /// Ids and capabilities.
    pub credentials: Option<Credentials>,
    /// Namespaces.
    pub namespaces: Option<Namespaces>,
    /// Control group.
    pub cgroup: Option<Cgroup<&'a [u8]>>,
}

/// What an exec loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program<'a> {
    /// How the process came to run it.
    pub nature: Nature,
    /// The file that was named in the exec, as an absolute path seen from the process's root.
    /// For a kernel thread its name in brackets. Empty: unknown.
    pub binary: &'a [u8],
    /// The path of the file that the kernel really loaded, symbolic links resolved: the
    /// interpreter, when `binary` is a script. Empty: unknown.
    pub executable: &'a [u8],
    /// The command name (`comm`), at most 15 bytes.
    pub comm: &'a [u8],
    /// Working directory.
    pub cwd: WorkingDirectory<'a>,
    /// Argument vector, `argv[0]` first.
    pub arguments: Arguments<'a>,
    /// Environment, an entry each, most of them `NAME=VALUE`. Empty where the source does not collect it.
    pub environment: Arguments<'a>,
    /// The file that was loaded.
    pub file: Option<FileIdentity>,
    /// What the exec changed about the process's rights.
    pub privileges: PrivilegeChange,
}

/// What runs in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nature {
    /// A program from a file.
    #[default]
    User,
    /// A thread of the kernel (`PF_KTHREAD`).
    KernelThread,
}

/// A working directory, or why there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkingDirectory<'a> {
    /// The source could not tell.
    #[default]
    Unknown,
    /// An absolute path, seen from the process's root.
    Path(&'a [u8]),
    /// The path is too long or too deep: these are its last components.
    Tail(&'a [u8]),
}

impl<'a> WorkingDirectory<'a> {
    /// The path, as far as it is known.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Unknown => b"",
            Self::Path(path) | Self::Tail(path) => path,
        }
    }
}

/// The file behind an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Inode number.
    pub inode: u64,
    /// Device, as the kernel encodes it.
    pub device: u32,
    /// Hard links to the inode: zero means that the file was deleted, or never had a name.
    pub links: u32,
    /// Type and permission bits, `inode(7)`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl FileIdentity {
    /// The file has no name in any directory: it was deleted, or lives in memory only (`memfd`).
    pub const fn is_unlinked(&self) -> bool {
        self.inode != 0 && self.links == 0
    }
}
