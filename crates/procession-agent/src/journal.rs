//! The journal of a pipeline: every event in order, written by a thread of its own.

use std::io;
use std::path::PathBuf;

use procession::BootId;
use procession_filter::Redaction;
use procession_journal::{Directory, DirectoryConfig};

/// Where the events of a pipeline are written to.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Where.
    pub target: JournalTarget,
    /// The name of the machine.
    pub node_name: String,
    /// The boot that the times of the events belong to.
    pub boot_id: BootId,
    /// What is hidden before anything is written, or known: the table that the events are folded into has
    /// the arguments and environments as the journal has them.
    pub redaction: Redaction,
}

/// A kind of journal.
#[derive(Clone, Debug)]
pub enum JournalTarget {
    /// Files in a directory, the oldest of which go.
    Directory(DirectoryConfig),
    /// One file, from the beginning to the end. It replaces one that is there.
    File(PathBuf),
}

/// A journal that can be written.
#[derive(Debug)]
pub struct OpenJournal {
    config: JournalConfig,
    target: OpenTarget,
}

#[derive(Debug)]
enum OpenTarget {
    Directory(Directory),
    File(std::fs::File),
}

/// What a journal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Blocks that were written.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of all that was written.
    pub bytes: u64,
    /// Events that are missing in it, because the writer was too slow or failed.
    pub lost_events: u64,
    /// Attempts to write that failed. Each is repeated.
    pub errors: u64,
    /// Whether the last attempt has failed.
    pub is_failing: bool,
    /// Events that wait to be written.
    pub waiting_events: u64,
    /// Bytes of all files there are.
    pub disk_bytes: u64,
    /// Files there are.
    pub files: u64,
}

impl JournalConfig {
    /// Of this machine's events since it was booted, with nothing hidden.
    ///
    /// # Errors
    ///
    /// `/proc` does not tell which boot it is.
    pub fn new(target: JournalTarget, node_name: impl Into<String>) -> io::Result<Self> {
        let boot_id = crate::clock::boot_id()?;
        Ok(Self { target, node_name: node_name.into(), boot_id, redaction: Redaction::default() })
    }

    /// Makes sure that it can be written, and that nobody else does.
    ///
    /// # Errors
    ///
    /// The place cannot be made or written, or another holds its lock.
    pub fn open(self) -> io::Result<OpenJournal> {
        let target = match &self.target {
            JournalTarget::Directory(config) => OpenTarget::Directory(Directory::open(config.clone())?),
            JournalTarget::File(path) => OpenTarget::File(create(path)?),
        };
        Ok(OpenJournal { config: self, target })
    }
}

fn create(path: &std::path::Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
