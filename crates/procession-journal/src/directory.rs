//! A journal in a directory: a file after the other, the oldest of which go.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use procession::Checkpoint;

use crate::recording::Recording;
use crate::writer::RawBlock;

/// How a directory is kept.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Where. Made if it is not there, for its owner alone.
    pub path: PathBuf,
    /// Bytes after which another file is begun.
    pub segment_bytes: u64,
    /// Bytes that all files may take. The oldest goes first; the newest stays.
    pub max_bytes: u64,
    /// How old a file may get. `None`: as old as it likes.
    pub max_age: Option<Duration>,
    /// When what was written is to survive a loss of power.
    pub fsync: Fsync,
}

/// When data is forced to the disk. What was written survives the end of the program in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the system sees fit.
    Never,
    /// At most so often.
    Every(Duration),
    /// With each block.
    Always,
}

/// Writes a journal into a directory. Nobody else does meanwhile: it holds a lock.
#[derive(Debug)]
pub struct Directory {
    _private: (),
}

impl DirectoryConfig {
    /// With 64 MiB a file, 1 GiB in all, 7 days, and what was written of the last 5 seconds at stake.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            segment_bytes: 64 << 20,
            max_bytes: 1 << 30,
            max_age: Some(Duration::from_hours(7 * 24)),
            fsync: Fsync::Every(Duration::from_secs(5)),
        }
    }
}

impl Directory {
    /// Opens it, to write. No file is begun yet.
    ///
    /// # Errors
    ///
    /// It cannot be made or written, or another holds its lock.
    pub fn open(config: DirectoryConfig) -> io::Result<Self> {
        let _ = config;
        unimplemented!()
    }

    /// Whether the next block should begin another file: [`begin`](Self::begin).
    pub fn is_full(&self) -> bool {
        unimplemented!()
    }

    /// Begins another file, with a checkpoint after `sequence` events, and removes files that are too many or
    /// too old.
    ///
    /// # Errors
    ///
    /// The disk is full or the like. What was written so far is whole; the call may be repeated.
    pub fn begin(
        &mut self,
        recording: &Recording,
        checkpoint: &Checkpoint,
        sequence: u64,
        bookmark: &[u8],
    ) -> io::Result<()> {
        let _ = (recording, checkpoint, sequence, bookmark);
        unimplemented!()
    }

    /// Appends a block to the file that was last begun.
    ///
    /// # Errors
    ///
    /// The disk is full or the like. A block that was written in part is taken back, so that the call may be
    /// repeated.
    pub fn append(&mut self, block: &RawBlock) -> io::Result<u64> {
        let _ = block;
        unimplemented!()
    }

    /// Forces to the disk what is due by now. To be called now and then when nothing is written.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn sync_if_due(&mut self) -> io::Result<()> {
        unimplemented!()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        unimplemented!()
    }
}
