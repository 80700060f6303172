//! A whole journal, in one file or in a directory, and the table as it was at any time in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use procession::{Event, Table};

use crate::names::Names;
use crate::reader::{Block, Damage};
use crate::recording::Recording;

/// A journal, to be read.
#[derive(Debug)]
pub struct Journal {
    files: Vec<PathBuf>,
}

/// Why a journal cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} is no journal: there is no readable block in it", path.display())]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// Nothing was recorded as early, or as late, as was asked for.
    #[error("nothing was recorded at that time")]
    OutOfRange {
        /// The time of the first event.
        first: SystemTime,
        /// The time of the last event.
        last: SystemTime,
    },
}

/// The table as it was at one moment.
#[derive(Debug)]
pub struct Restored {
    /// The table.
    pub table: Table,
    /// What the last block said.
    pub recording: Recording,
    /// Events that were folded since the journal began.
    pub sequence: u64,
    /// Up to where the source was read.
    pub bookmark: Bytes,
    /// Whose containers are, as far as was known by then, or soon after.
    pub names: Names,
    /// What could not be read between the checkpoint and that moment: the table may lack what was in it.
    pub damage: Vec<Damage>,
    /// Whether the last file was closed in order.
    pub is_closed: bool,
}

/// What [`Journal::read`] hands over.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A block begins, which holds events, names or damage.
    Block(&'a Block),
    /// An event of it.
    Event(&'a Event<'a>),
}

impl Journal {
    /// Of a file, or of all files in a directory. Another program may be writing it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or there is nothing in it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let _ = path;
        unimplemented!()
    }

    /// What its last readable block says.
    pub fn recording(&self) -> &Recording {
        let _ = &self.files;
        unimplemented!()
    }

    /// When the first and the last event happened, on the wall clock.
    pub fn span(&self) -> (SystemTime, SystemTime) {
        unimplemented!()
    }

    /// All containers it names.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn names(&self) -> Result<Names, JournalError> {
        unimplemented!()
    }

    /// The table at the end: that of the last boot, with all events folded.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn latest(&self) -> Result<Restored, JournalError> {
        unimplemented!()
    }

    /// The table at a time on the wall clock: what happened up to then is in it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or nothing was recorded then.
    pub fn at(&self, time: SystemTime) -> Result<Restored, JournalError> {
        let _ = time;
        unimplemented!()
    }

    /// Hands over all that was recorded from `from` on until `visit` says that it is enough, by returning
    /// `false`. Blocks that end before `from` are passed over; checkpoints are, always.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(
        &self,
        from: Option<SystemTime>,
        visit: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<(), JournalError> {
        let _ = (from, visit);
        unimplemented!()
    }
}
