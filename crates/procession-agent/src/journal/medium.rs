//! Where a journal's blocks go.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use procession::{Checkpoint, Ledger};
use procession_journal::{Directory, RawBlock, Recording};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::JournalTarget;

/// The state that the events up to a place in the journal were folded into.
#[derive(Debug)]
pub(super) struct State {
    pub(super) recording: Recording,
    pub(super) checkpoint: Checkpoint,
    /// Events that came before.
    pub(super) sequence: u64,
    pub(super) bookmark: Vec<u8>,
}

/// What is said at the end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) recording: Recording,
    pub(super) ledger: Ledger,
    /// Events that came before.
    pub(super) sequence: u64,
}

/// Where a journal's blocks go. Whatever fails leaves what was written before whole, and may be tried
/// again.
pub(super) trait Medium: Send {
    /// Writes the state: with it begins a part of the journal that can be read by itself. Returns the
    /// bytes it took.
    fn begin(&mut self, state: &State) -> io::Result<u64>;

    /// Writes a block behind the state. Returns the bytes it took.
    fn append(&mut self, block: &RawBlock) -> io::Result<u64>;

    /// Ends the journal in order.
    fn close(&mut self, end: &End) -> io::Result<u64>;

    /// Whether the next state is due.
    fn is_full(&self) -> bool;

    /// Does what is to be done when nothing is written.
    fn rest(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Bytes of all files there are, and how many those are.
    fn size(&self) -> (u64, u64);
}

pub(super) fn open(target: &JournalTarget) -> io::Result<Box<dyn Medium>> {
    Ok(match target {
        JournalTarget::Directory(config) => Box::new(Directory::open(config.clone())?),
        JournalTarget::File(path) => Box::new(OneFile { file: open_alone(path)?, len: 0, len_of_part: 0 }),
    })
}

/// Opens a file that nobody else writes, and empties it.
fn open_alone(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() {
        // Nor is a lock on `/dev/null` anybody's.
        return Ok(file);
    }
    // Not every file system has locks.
    if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        let text = format!("another program writes {}: stop it, or choose another file", path.display());
        return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
    }
    file.set_len(0)?;
    Ok(file)
}

impl Medium for Directory {
    fn begin(&mut self, state: &State) -> io::Result<u64> {
        let State { recording, checkpoint, sequence, bookmark } = state;
        Self::begin(self, recording, checkpoint, *sequence, bookmark)
    }

    fn append(&mut self, block: &RawBlock) -> io::Result<u64> {
        Self::append(self, block)
    }

    fn close(&mut self, end: &End) -> io::Result<u64> {
        Self::close(self, &end.recording, &end.ledger, end.sequence)
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn rest(&mut self) -> io::Result<()> {
        self.sync_if_due()
    }

    fn size(&self) -> (u64, u64) {
        (self.bytes(), self.files() as u64)
    }
}

/// A file that is written from its beginning to its end.
struct OneFile {
    file: File,
    /// Up to where it is written.
    len: u64,
    /// Of that, what came after the last state.
    len_of_part: u64,
}

/// Bytes of blocks after which the state is written again: reading from there on costs little then.
const PART: u64 = 64 << 20;

impl OneFile {
    /// After an error nothing of the block is left.
    fn write(&mut self, block: &RawBlock) -> io::Result<u64> {
        let bytes = block.to_bytes()?;
        if let Err(error) = self.file.write_all_at(&bytes, self.len) {
            self.take_back(self.len);
            return Err(error);
        }
        let written = bytes.len() as u64;
        self.len += written;
        self.len_of_part += written;
        Ok(written)
    }

    /// Cuts off what is behind the first `len` bytes. What cannot be cut is written over by what comes next, unless
    /// that is shorter.
    fn take_back(&mut self, len: u64) {
        self.len = len;
        let _ = self.file.set_len(len);
    }

    fn write_state(&mut self, state: &State) -> io::Result<()> {
        let State { recording, checkpoint, sequence, bookmark } = state;
        if self.len == 0 {
            self.write(&RawBlock::head(recording))?;
        }
        for block in RawBlock::checkpoint(recording, checkpoint, *sequence, bookmark) {
            self.write(&block)?;
        }
        Ok(())
    }
}

impl Medium for OneFile {
    fn begin(&mut self, state: &State) -> io::Result<u64> {
        let before = self.len;
        if let Err(error) = self.write_state(state) {
            // Parts of a checkpoint are of no use, and those of the next attempt follow.
            self.take_back(before);
            return Err(error);
        }
        self.len_of_part = 0;
        Ok(self.len - before)
    }

    fn append(&mut self, block: &RawBlock) -> io::Result<u64> {
        self.write(block)
    }

    fn close(&mut self, end: &End) -> io::Result<u64> {
        let written = self.write(&RawBlock::close(&end.recording, &end.ledger, end.sequence))?;
        self.file.sync_all()?;
        Ok(written)
    }

    fn is_full(&self) -> bool {
        self.len_of_part >= PART
    }

    fn size(&self) -> (u64, u64) {
        (self.len, 1)
    }
}

#[cfg(test)]
mod tests {
    use procession::{Table, TableConfig};
    use procession_journal::{Container, DirectoryConfig, Fsync};

    use super::*;
    use crate::journal::tests::recording;

    /// A directory, small enough to be filled.
    fn small(path: &Path) -> Directory {
        let config = DirectoryConfig {
            segment_bytes: 16 << 10,
            max_bytes: 64 << 10,
            fsync: Fsync::Never,
            ..DirectoryConfig::new(path)
        };
        Directory::open(config).unwrap()
    }

    fn fill(directory: &mut Directory, bytes: u64) {
        let container = Container { id: "c".repeat(64), ..Container::default() };
        let block = RawBlock::names(&recording(), &[container]).remove(0);
        while directory.bytes() < bytes {
            Medium::append(directory, &block).unwrap();
        }
    }

    #[test]
    fn last_words_for_which_an_old_file_goes_count_as_what_they_are() {
        let place = tempfile::tempdir().unwrap();
        let mut directory = small(place.path());
        let table = Table::new(TableConfig::default());
        let state = State {
            recording: recording(),
            checkpoint: table.checkpoint(),
            sequence: 0,
            bookmark: Vec::new(),
        };
        for bytes in [40 << 10, 64 << 10] {
            Medium::begin(&mut directory, &state).unwrap();
            fill(&mut directory, bytes);
        }
        let before = directory.size();
        assert_eq!(before.1, 2);
        let end = End { recording: recording(), ledger: *table.ledger(), sequence: 0 };
        let written = Medium::close(&mut directory, &end).unwrap();
        let block = RawBlock::close(&end.recording, &end.ledger, end.sequence);
        assert_eq!(written, block.to_bytes().unwrap().len() as u64);
        assert!(directory.size() < before, "the first file had to go");
        assert_eq!(directory.files(), 1);
    }

    #[test]
    fn a_file_is_one_writers_and_a_device_is_everybodys() {
        let device = Path::new("/dev/null");
        let both = (open_alone(device).unwrap(), open_alone(device));
        assert!(both.1.is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let _first = open_alone(file.path()).unwrap();
        assert_eq!(open_alone(file.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
