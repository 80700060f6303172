//! A journal in a directory: a file after the other, the oldest of which go.
//!
//! `0000000042-20261129T195031Z.procession` is the 42nd file, and what is in it began at that time in
//! UTC. The number alone orders the files: it goes up by one with each, whatever the wall clock does,
//! and however often the program or the machine starts anew.
//!
//! * A file is made under a hidden name, and gets its own when its head and its checkpoint are whole.
//!   So each file with such a name can be read by itself, whenever the program or the machine stops.
//! * A program never goes on with a file of an earlier one, whose end may be torn.
//! * The file `lock` is locked by whoever writes. Who reads does not look at it.

mod files;
mod segment;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procession::{Checkpoint, Ledger};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::journal::made;
use crate::recording::Recording;
use crate::writer::RawBlock;

pub(crate) use files::{EXTENSION, number_of};
use files::{Files, sync_directory};
use segment::Segment;

/// How a directory is kept.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Where. Made if it is not there, for its owner alone.
    pub path: PathBuf,
    /// Bytes after which another file is begun; at most a quarter of `max_bytes`.
    pub segment_bytes: u64,
    /// Bytes that all files may take. The oldest goes first; the newest stays.
    ///
    /// They take more where checkpoints are large. A file holds its checkpoint and as much again, up to twice
    /// as much if the next is not begun at once; and when one is begun, the one before stays until the new one
    /// is full. Files that cannot be removed count, but stay.
    pub max_bytes: u64,
    /// How long ago a file may have been written to. `None`: as long as it likes. Another file is begun
    /// when one has been written to for an eighth of it.
    pub max_age: Option<Duration>,
    /// When what was written is to survive a loss of power.
    pub fsync: Fsync,
    /// Makes the place ready: what is missing above `path`, and whether it is one to write in. Called with
    /// `path` before the directory is made and again when it is there, because others may have been faster to
    /// make it; also when somebody has removed it later, and it is made once more.
    ///
    /// By default directories above are made as the umask has it, and every place is as good as another.
    pub prepare: fn(&Path) -> io::Result<()>,
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

impl Fsync {
    fn is_ever(self) -> bool {
        self != Self::Never
    }

    fn is_due(self, since: Instant) -> bool {
        match self {
            Self::Never => false,
            Self::Every(span) => since.elapsed() >= span,
            Self::Always => true,
        }
    }
}

/// Writes a journal into a directory. Nobody else does meanwhile: it holds a lock.
#[derive(Debug)]
pub struct Directory {
    config: DirectoryConfig,
    files: Files,
    /// The file that is written to.
    segment: Option<Segment>,
    /// A loss of power may cost the name of a file.
    has_new_names: bool,
    /// When it was last seen that the file is in its place.
    looked: Instant,
    lock: Lock,
}

/// The lock of a directory. It is given back when this is dropped, even where a program that is just being started
/// has the file too, until its exec.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Within the directory.
const LOCK: &str = "lock";

/// How often it is looked whether the file is still in its place.
const LOOK: Duration = Duration::from_millis(400);

impl DirectoryConfig {
    /// With 8 MiB a file, 1 GiB in all, 7 days, and what was written of the last 5 seconds at stake.
    ///
    /// Each file begins with a checkpoint, and how long it takes to know how things were goes with the events
    /// since the last one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            segment_bytes: 8 << 20,
            max_bytes: 1 << 30,
            max_age: Some(Duration::from_hours(7 * 24)),
            fsync: Fsync::Every(Duration::from_secs(5)),
            prepare: make_above,
        }
    }

    /// The file whose lock is held by who writes.
    pub fn lock(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Makes it, unless it is there already, and locks it.
    fn make(&self) -> io::Result<Lock> {
        let failed = |error| explain(&error, "make the directory", &self.path);
        (self.prepare)(&self.path)?;
        make(&self.path).map_err(failed)?;
        (self.prepare)(&self.path)?;
        lock(&self.path)
    }

    /// One file is not to be all that is remembered.
    fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 4)
    }
}

impl Directory {
    /// Opens it, to write. No file is begun yet.
    ///
    /// # Errors
    ///
    /// It cannot be made or written, is not [one to write in](DirectoryConfig::prepare), or another holds its
    /// lock.
    pub fn open(config: DirectoryConfig) -> io::Result<Self> {
        let lock = config.make()?;
        let files =
            Files::find(&config.path).map_err(|error| explain(&error, "read the directory", &config.path))?;
        let looked = Instant::now();
        Ok(Self { config, files, segment: None, has_new_names: false, looked, lock })
    }

    /// Whether the next block should begin another file: [`begin`](Self::begin).
    pub fn is_full(&self) -> bool {
        let max_age = self.config.max_age.map(|age| age / 8);
        self.segment.as_ref().is_none_or(|segment| segment.is_full(self.config.segment_limit(), max_age))
    }

    /// Begins another file, with a checkpoint after `sequence` events, and removes files that are too many or
    /// too old; those that cannot be removed stay. The result: the bytes that are in it by now.
    ///
    /// With [`Fsync::Never`] nothing of this is forced to the disk. Else the file before it, its own blocks and
    /// its name are. If that fails for the name alone, the file is there and begun, and its name is tried again
    /// with the next [`begin`](Self::begin) or [`sync_if_due`](Self::sync_if_due).
    ///
    /// # Errors
    ///
    /// The disk is full or the like. No file was added. The call may be repeated, and until it succeeds, blocks
    /// are appended to the file that was begun before. What was written to that one is whole, unless it was
    /// the disk that failed to take what the system had of it: then that may be lost.
    pub fn begin(
        &mut self,
        recording: &Recording,
        checkpoint: &Checkpoint,
        sequence: u64,
        bookmark: &[u8],
    ) -> io::Result<u64> {
        self.return_to_its_place()?;
        self.prune(self.segment.as_ref().map_or(0, Segment::preamble));
        let path = self.files.next_path(recording.clock.at(made(checkpoint, recording)));
        let hidden = files::hidden(&path);
        let begun = self.write_first_blocks(&hidden, recording, checkpoint, sequence, bookmark);
        let named = begun.and_then(|mut segment| {
            self.prune(segment.length());
            self.sync_current()?;
            segment.rename(&path)?;
            Ok(segment)
        });
        let segment = named.map_err(|error| {
            // It may not be there; and if it cannot be removed now, the next that opens the directory does.
            let _ = std::fs::remove_file(&hidden);
            explain(&error, "begin the journal file", &path)
        })?;
        let bytes = segment.length();
        self.files.add(path, bytes);
        self.segment = Some(segment);
        self.looked = Instant::now();
        self.has_new_names = self.config.fsync.is_ever();
        self.sync_names();
        Ok(bytes)
    }

    /// Makes the directory and its lock again, if somebody has removed them, or put something else there: that
    /// is as new as what an open finds, and is looked at as closely.
    fn return_to_its_place(&mut self) -> io::Result<()> {
        let path = &self.config.path;
        let is_locked = segment::is_at(&self.lock.0, &self.config.lock());
        if is_locked && self.segment.as_ref().is_none_or(|segment| !segment.is_gone()) {
            return Ok(());
        }
        if !is_locked {
            self.lock = self.config.make()?;
        }
        self.files.find_again().map_err(|error| explain(&error, "read the directory", path))
    }

    /// Looks now and then whether the file is still in its place. To write to one that has no name any more
    /// would go well, and nobody would ever read it.
    fn look(&mut self) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if self.looked.elapsed() >= LOOK {
            segment.look();
            self.looked = Instant::now();
        }
        if segment.is_gone() { Err(segment.gone(self.files.gone_before_newest())) } else { Ok(()) }
    }

    /// The files are there, whatever becomes of this: who tried to make them again would fill the disk.
    fn sync_names(&mut self) {
        if self.has_new_names {
            self.has_new_names = sync_directory(&self.config.path).is_err();
        }
    }

    fn write_first_blocks(
        &self,
        path: &Path,
        recording: &Recording,
        checkpoint: &Checkpoint,
        sequence: u64,
        bookmark: &[u8],
    ) -> io::Result<Segment> {
        let mut segment = Segment::create(path)?;
        segment.append(&RawBlock::head(recording))?;
        for block in RawBlock::checkpoint(recording, checkpoint, sequence, bookmark) {
            segment.append(&block)?;
        }
        if self.config.fsync.is_ever() {
            segment.sync()?;
        }
        segment.end_preamble();
        Ok(segment)
    }

    /// Removes the oldest files until there is room for another that begins with `preamble` bytes, and those
    /// that are too old. Not the newest.
    fn prune(&mut self, preamble: u64) {
        let reserve = self.config.segment_limit().max(preamble.saturating_mul(2));
        self.files.prune(self.config.max_bytes.saturating_sub(reserve), self.config.max_age);
    }

    /// Appends a block to the file that was last begun: its bytes in the file.
    ///
    /// # Errors
    ///
    /// The disk is full or the like, or no file was begun. A block that was written in part is taken back, so
    /// that the call may be repeated. Or another file is to be begun: this one is [full](Self::is_full) and
    /// takes `max_bytes` alone, and three times what its checkpoint does; or somebody has removed it, which is
    /// seen within half a second.
    pub fn append(&mut self, block: &RawBlock) -> io::Result<u64> {
        self.look()?;
        self.make_room()?;
        let fsync = self.config.fsync;
        let Some(segment) = &mut self.segment else { return Err(not_begun()) };
        let before = segment.length();
        let result = segment.append(block).and_then(|bytes| {
            if segment.is_sync_due(fsync)
                && let Err(error) = segment.sync()
            {
                segment.take_back(before);
                return Err(error);
            }
            Ok(bytes)
        });
        let bytes = result.map_err(|error| self.files.explain_newest(&error))?;
        self.files.grow(bytes);
        Ok(bytes)
    }

    /// Whoever cannot begin another file does not fill the disk with the one that there is. Old files go for
    /// it.
    fn make_room(&mut self) -> io::Result<()> {
        let max_bytes = self.config.max_bytes;
        if !self.is_full() || self.segment.is_none() || self.bytes() < max_bytes {
            return Ok(());
        }
        self.files.prune(max_bytes.saturating_sub(1), None);
        // It may be full only now, and who has just learned of that needs a while for the next checkpoint.
        let preamble = self.segment.as_ref().map_or(0, Segment::preamble);
        if self.files.newest_bytes() < max_bytes.max(preamble.saturating_mul(3)) {
            return Ok(());
        }
        let path = self.config.path.display();
        let text =
            format!("the journal in {path} takes all the room that it may, until another file is begun");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, text))
    }

    /// Forces to the disk what is due by now. To be called now and then when nothing is written.
    ///
    /// # Errors
    ///
    /// The disk fails, and what was written of late may be lost; or somebody has removed the file. So it is
    /// [full](Self::is_full).
    pub fn sync_if_due(&mut self) -> io::Result<()> {
        self.look()?;
        self.sync_names();
        match &self.segment {
            Some(segment) if segment.is_sync_due(self.config.fsync) => self.sync_current(),
            _ => Ok(()),
        }
    }

    fn sync_current(&mut self) -> io::Result<()> {
        let Some(segment) = self.segment.as_mut().filter(|_| self.config.fsync.is_ever()) else {
            return Ok(());
        };
        segment.sync().map_err(|error| self.files.explain_newest(&error))
    }

    /// Ends the file in order, after `sequence` events: the bytes that this takes in it. More is written only
    /// after another [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// The disk is full or the like. The file is whole, but does not say that it is closed.
    pub fn close(&mut self, recording: &Recording, ledger: &Ledger, sequence: u64) -> io::Result<u64> {
        let bytes = self.append(&RawBlock::close(recording, ledger, sequence))?;
        self.sync_current()?;
        self.segment = None;
        Ok(bytes)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }
}

fn not_begun() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no journal file was begun")
}

/// What was to be done, and why it cannot be.
fn explain(error: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

/// Makes what is missing above the directory, as the umask has it.
fn make_above(path: &Path) -> io::Result<()> {
    let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(above).map_err(|error| explain(&error, "make the directory", above))
}

/// Makes the directory for its owner alone.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

fn lock(directory: &Path) -> io::Result<Lock> {
    let path = directory.join(LOCK);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|error| explain(&error, "open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            format!(
                "another program writes the journal in {}: stop it, or choose another directory",
                directory.display()
            ),
        )),
        Err(error) => Err(explain(&error.into(), "lock", &path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a program has that is just being started.
    #[test]
    fn a_copy_of_the_lock_keeps_nobody_out() {
        let place = tempfile::tempdir().unwrap();
        let config = DirectoryConfig::new(place.path());
        let directory = Directory::open(config.clone()).unwrap();
        let _copy = directory.lock.0.try_clone().unwrap();
        assert_eq!(Directory::open(config.clone()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(directory);
        Directory::open(config).unwrap();
    }
}
