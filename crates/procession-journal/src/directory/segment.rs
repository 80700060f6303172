//! The file that is written to: whole blocks or nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::writer::RawBlock;

use super::Fsync;

#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// Where it is to be found.
    path: PathBuf,
    /// Bytes of the blocks that are whole: nothing counts that is behind them.
    length: u64,
    /// Bytes of what it began with.
    preamble: u64,
    began: Instant,
    synced: Instant,
    /// Whether there is anything to sync.
    is_dirty: bool,
    /// Nobody knows what the disk has of it: more should go elsewhere.
    is_suspect: bool,
    /// It is not in its place any more.
    is_gone: bool,
    /// Events that are in it.
    events: u64,
}

impl Segment {
    /// Makes the file, for its owner alone.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let now = Instant::now();
        Ok(Self {
            file,
            path: path.to_owned(),
            length: 0,
            preamble: 0,
            began: now,
            synced: now,
            is_dirty: false,
            is_suspect: false,
            is_gone: false,
            events: 0,
        })
    }

    /// What it has by now is not counted as the journal's growth.
    pub(super) fn end_preamble(&mut self) {
        self.preamble = self.length;
    }

    pub(super) fn preamble(&self) -> u64 {
        self.preamble
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// However large a checkpoint is, a file holds as much again before the next is due.
    pub(super) fn is_full(&self, limit: u64, max_age: Option<Duration>) -> bool {
        let is_long = self.length >= limit.max(self.preamble.saturating_mul(2));
        self.is_suspect || self.is_gone || is_long || max_age.is_some_and(|age| self.began.elapsed() >= age)
    }

    /// Gives it its name.
    pub(super) fn rename(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Looks whether it is still what its name leads to. Once it is gone it stays gone.
    pub(super) fn look(&mut self) {
        self.is_gone |= !is_at(&self.file, &self.path);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// That it is gone, and what with it: `older` files of so many bytes.
    pub(super) fn gone(&self, (older, bytes): (usize, u64)) -> io::Error {
        let (path, events) = (self.path.display(), self.events);
        let also = match older {
            0 => String::new(),
            1 => format!(", and so is an older file of {bytes} bytes"),
            _ => format!(", and so are {older} older files of {bytes} bytes"),
        };
        let text = format!(
            "somebody has removed or replaced the journal file {path}; the {events} events in it are gone{also}"
        );
        io::Error::new(io::ErrorKind::NotFound, text)
    }

    pub(super) fn is_sync_due(&self, fsync: Fsync) -> bool {
        self.is_dirty && fsync.is_due(self.synced)
    }

    /// Writes the block behind the others: its bytes. After an error nothing of it is left.
    pub(super) fn append(&mut self, block: &RawBlock) -> io::Result<u64> {
        let bytes = block.to_bytes()?;
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            self.take_back(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.is_dirty = true;
        self.events += u64::from(block.events());
        Ok(bytes.len() as u64)
    }

    /// Cuts off what is behind the first `length` bytes.
    pub(super) fn take_back(&mut self, length: u64) {
        self.length = length;
        self.is_suspect |= self.file.set_len(length).is_err();
    }

    /// Forces what is new to the disk. What the system failed to write, it does not write when asked again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(());
        }
        self.synced = Instant::now();
        let result = self.file.sync_data();
        self.is_suspect |= result.is_err();
        result
    }
}

/// Whether `path` leads to this file. If that cannot be said, it does.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(file), Ok(there)) => (file.dev(), file.ino()) == (there.dev(), there.ino()),
        (_, Err(error)) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        (Err(_), _) => true,
    }
}
