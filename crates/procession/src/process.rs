//! Immutable snapshots of processes: what leaves the table.

use std::sync::Arc;

use crate::credentials::{Credentials, Uid};
use crate::event::Gap;
use crate::ids::{Pid, ProcessKey};
use crate::image::{Image, ProgramFile};
use crate::status::ExitStatus;
use crate::time::BootTime;

/// A process in one of its images, as it was when the snapshot was taken.
///
/// A snapshot is a few words and a shared image: cheap to take, to clone and to send to another
/// thread, and never changed by what the table learns later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The image's key.
    pub key: ProcessKey,
    /// When the process began: its fork, whatever it ran since.
    pub began: BootTime,
    /// How this image came to be known.
    pub origin: Origin,
    /// The image that forked the process. `None`: the first process, or unknown.
    pub parent: Option<ParentLink>,
    /// Who owned the process when it was last heard of, when that is not its parent: `init` or a
    /// subreaper, after the parent exited.
    pub owner: Option<ProcessKey>,
    /// The image that this one replaced by an exec with no fork in between.
    pub previous: Option<ProcessKey>,
    /// Pid in the innermost pid namespace. `None`: that is the host's, or it is unknown.
    pub ns_pid: Option<Pid>,
    /// Pid of the process that leads the session, as the host numbers it. `None`: unknown.
    pub session: Option<Pid>,
    /// Whether it, or a process that led to it, is the first in a pid namespace other than the host's:
    /// what a container runs by itself, unlike what was put into it from outside (`nsenter`, `exec`).
    pub in_init_tree: bool,
    /// What it runs. `None`: never learnt.
    pub image: Option<Image>,
    /// What is left of it, when memory was short.
    pub tombstone: Option<Tombstone>,
    /// How this image ended. `None`: it runs.
    pub end: Option<End>,
}

impl Process {
    /// The process id.
    pub fn pid(&self) -> Pid {
        self.key.pid
    }

    /// The parent by the reference system's rule: the image that was replaced when there was no
    /// fork in between, else the image that forked the process.
    pub fn reference_parent(&self) -> Option<ProcessKey> {
        self.previous.or_else(|| self.parent.map(|link| link.key))
    }

    /// The file named in the exec. Empty: unknown. A tombstone still knows it.
    pub fn binary(&self) -> &[u8] {
        match (&self.image, &self.tombstone) {
            (Some(image), _) => image.binary(),
            (None, Some(tombstone)) => &tombstone.program.binary,
            (None, None) => b"",
        }
    }

    /// Ids and capabilities.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.image.as_ref()?.credentials()
    }

    /// Effective user.
    pub fn user(&self) -> Option<Uid> {
        Some(self.credentials()?.euid)
    }
}

/// What is left of an image when memory was short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub(crate) program: Arc<ProgramFile>,
    pub(crate) stands_for: u32,
}

impl Tombstone {
    /// How many older images in the same chain it stands for, besides its own.
    pub fn stands_for(&self) -> u32 {
        self.stands_for
    }
}

/// A link to a parent, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParentLink {
    /// The parent's image at the time of the fork.
    pub key: ProcessKey,
    /// How that is known.
    pub provenance: Provenance,
}

/// Where a fact came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// A kernel event said so.
    Observed,
    /// It was read from a process that already ran; the true parent may have exited before.
    Found,
    /// It was concluded because an event is missing.
    Inferred,
}

/// How an image came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its fork was seen; it shares its parent's program.
    Fork,
    /// Its exec was seen, the first since the fork.
    FirstExec,
    /// Its exec was seen, after an earlier one in the same process.
    Exec,
    /// It was found running when somebody first looked.
    Running,
    /// It was found running because events about it are missing.
    Found(Gap),
    /// Other events speak of it; its own were missed.
    Inferred,
}

/// The end of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// When.
    pub time: BootTime,
    /// How.
    pub how: EndKind,
}

/// How an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// The process exited. `None`: how is not known.
    Exited(Option<ExitStatus>),
    /// The process ran another image.
    Replaced,
    /// The pid was seen in another process, so this one must have exited: its exit was missed.
    Vanished,
    /// The process was looked for and was not there: it exited by then, and how is not known.
    Gone(Gap),
}
