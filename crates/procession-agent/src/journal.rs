//! The journal of a pipeline: every event in order, written by a thread of its own.
//!
//! * `feed` is the pipeline's side: it makes blocks, never waits, and sees when the thread hangs.
//! * `scribe` is the thread: it writes them, and tries again when that fails.
//! * `medium` is where they go: a directory, or one file.
//! * `roll` notes whose the containers are.
//! * `redact` hides secrets before anything is written.
//! * `restore` finds what an earlier process left.

mod feed;
mod medium;
mod redact;
mod restore;
mod roll;
mod scribe;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use procession::{BootId, TableConfig};
use procession_journal::{DirectoryConfig, Recording, Restored};
use procession_sensor::Source;

use crate::clock::{boot_id, wall_clock};
use crate::folders;
use crate::holder::holder_of_lock;
use crate::redaction::SharedRedaction;
use crate::trust;

pub(crate) use feed::Feed;
pub(crate) use redact::Redactor;
pub(crate) use restore::chain;
pub(crate) use roll::Roll;

use medium::Medium;

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
    pub redaction: SharedRedaction,
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
pub struct OpenJournal {
    config: JournalConfig,
    medium: Box<dyn Medium>,
}

/// What a journal did.
///
/// `events + lost_events + waiting_events` are all events that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Blocks of events that were written.
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
        let redaction = SharedRedaction::default();
        Ok(Self { target, node_name: node_name.into(), boot_id: boot_id()?, redaction })
    }

    /// Makes sure that it can be written, and that nobody else does. A directory must be one in which others
    /// can put nothing, also when it is made again because somebody has removed it.
    ///
    /// # Errors
    ///
    /// The place cannot be made or written, is not ours alone, or another holds its lock.
    pub fn open(mut self) -> io::Result<OpenJournal> {
        if let JournalTarget::Directory(config) = &mut self.target {
            config.prepare = prepare;
        }
        match medium::open(&self.target) {
            Ok(medium) => Ok(OpenJournal { config: self, medium }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let holder = holder_of_lock(&self.target.lock());
                Err(io::Error::new(error.kind(), format!("{error}{holder}")))
            }
            Err(error) => Err(error),
        }
    }
}

/// Directories above the journal can be passed, whatever the umask, as those above all else that an agent
/// writes: others may have something of theirs there.
fn prepare(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        folders::make(above).map_err(|error| {
            let text = format!("cannot make the directory {}: {error}", above.display());
            io::Error::new(error.kind(), text)
        })?;
    }
    trust::refuse_shared(directory)
}

impl JournalTarget {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(config) => &config.path,
            Self::File(path) => path,
        }
    }

    /// The file that is locked by who writes.
    fn lock(&self) -> PathBuf {
        match self {
            Self::Directory(config) => config.lock(),
            Self::File(path) => path.clone(),
        }
    }
}

impl OpenJournal {
    /// The table as it was when whoever wrote in this directory last came to its end; with the memory of
    /// `config`. `None`: there is nothing of this boot. What cannot be read is said in the log, and stays as
    /// it is.
    pub fn restore(&self, config: TableConfig) -> Option<Restored> {
        restore::restore(&self.config, config)
    }

    /// Hides something else.
    pub(crate) fn with_redaction(mut self, redaction: SharedRedaction) -> Self {
        self.config.redaction = redaction;
        self
    }

    /// What its blocks say before anything is observed.
    pub(crate) fn recording(&self, source: &dyn Source, table: TableConfig) -> Recording {
        Recording {
            node_name: self.config.node_name.clone(),
            boot_id: self.config.boot_id,
            clock: wall_clock(),
            source: source.kind().to_string(),
            root: None,
            host_namespaces: None,
            table,
        }
    }

    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(self.config.redaction.clone())
    }
}

impl std::fmt::Debug for OpenJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenJournal").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use procession::{BootTime, WallClock};

    use super::*;

    /// Of a machine that nothing is known of.
    pub(crate) fn recording() -> Recording {
        Recording {
            node_name: "node".into(),
            boot_id: "6c2ff6a5-4c9c-4a4b-9d1d-0d1f5ac5a4c8".parse().unwrap(),
            clock: WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH),
            source: "test".into(),
            root: None,
            host_namespaces: None,
            table: TableConfig::default(),
        }
    }

    #[test]
    fn directories_above_can_be_passed_and_the_journal_is_ours_alone() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("srv/node/journal");
        prepare(&journal).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let above = journal.parent().unwrap();
        assert_eq!([mode(above), mode(above.parent().unwrap())], [0o755; 2]);
        fs::create_dir(&journal).unwrap();
        for (mode, is_good) in [(0o700, true), (0o777, false), (0o1777, false), (0o750, true)] {
            fs::set_permissions(&journal, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepare(&journal).is_ok(), is_good, "{mode:o}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for place in ["/proc/none/of/that", "/dev/null/none/x"]
            .map(PathBuf::from)
            .into_iter()
            .chain([file.join("x"), file.join("x/y")])
        {
            let said = prepare(&place).unwrap_err().to_string();
            assert!(said.contains(place.parent().unwrap().to_str().unwrap()), "{said}");
        }
    }
}
