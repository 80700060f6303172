//! The files of a directory: their names, how much they take, and which go.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::explain;

/// How names of journals end.
pub(crate) const EXTENSION: &str = "procession";

/// Digits of the number in a name.
const DIGITS: usize = 10;

/// The number in a name that [`Files`] gave.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (number, time) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    let has_form = number.len() >= DIGITS && number.bytes().all(|digit| digit.is_ascii_digit());
    let is_time = time.ends_with('Z') && time.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (has_form && is_time).then(|| number.parse().ok())?
}

/// What a file is called until it is whole.
pub(super) fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let own = name.and_then(|name| name.strip_prefix('.')?.strip_suffix(".new"));
    own.is_some_and(|own| number_of(Path::new(own)).is_some())
}

/// The files of a directory that have our names, by their numbers.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    known: VecDeque<Known>,
    next: u64,
}

#[derive(Debug)]
struct Known {
    number: u64,
    path: PathBuf,
    bytes: u64,
    /// When it was last written to.
    written: Moment,
}

/// A time on a clock that nobody steps. The wall clock is asked once, for files that were there before: whoever
/// sets it, however far, makes no file old.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// How long before `boot`.
    ago: Duration,
    /// Since boot, sleep included.
    boot: Duration,
}

impl Moment {
    fn now() -> Self {
        let boot = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
        Self { ago: Duration::ZERO, boot }
    }

    /// One that lies ahead is called now.
    fn at(time: SystemTime) -> Self {
        Self { ago: time.elapsed().unwrap_or_default(), ..Self::now() }
    }

    fn elapsed(self) -> Duration {
        Self::now().boot.saturating_sub(self.boot).saturating_add(self.ago)
    }
}

impl Files {
    /// Looks for them, and removes those that were never whole. To be called by who holds the lock.
    pub(super) fn find(directory: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if is_hidden(&path) {
                std::fs::remove_file(&path)?;
            } else if let Some(number) = number_of(&path) {
                let metadata = path.symlink_metadata()?;
                // A file that cannot be looked at is not called old.
                let written = metadata.modified().map_or_else(|_| Moment::now(), Moment::at);
                files.push(Known { number, path, bytes: metadata.len(), written });
            }
        }
        files.sort_by_key(|file| file.number);
        let next = files.last().map_or(1, |last| last.number.saturating_add(1));
        Ok(Self { directory: directory.into(), known: files.into(), next })
    }

    /// Looks again, where others may have been at work. No number is given twice.
    pub(super) fn find_again(&mut self) -> io::Result<()> {
        let next = self.next;
        *self = Self::find(&self.directory)?;
        self.next = self.next.max(next);
        Ok(())
    }

    /// Where the next file will be, when what is in it begins at `began`.
    pub(super) fn next_path(&self, began: SystemTime) -> PathBuf {
        let time = Timestamp::try_from(began).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = time.strftime("%Y%m%dT%H%M%SZ");
        self.directory.join(format!("{:0DIGITS$}-{time}.{EXTENSION}", self.next))
    }

    /// Counts the file at [`next_path`](Self::next_path).
    pub(super) fn add(&mut self, path: PathBuf, bytes: u64) {
        self.known.push_back(Known { number: self.next, path, bytes, written: Moment::now() });
        self.next = self.next.saturating_add(1);
    }

    /// The newest has so many bytes more.
    pub(super) fn grow(&mut self, bytes: u64) {
        if let Some(newest) = self.known.back_mut() {
            newest.bytes += bytes;
            newest.written = Moment::now();
        }
    }

    /// Removes the oldest until all take `max_bytes` at the most, and those that nobody has written to for
    /// `max_age`. The newest stays, and so does what cannot be removed.
    pub(super) fn prune(&mut self, max_bytes: u64, max_age: Option<Duration>) {
        let mut oldest = 0;
        while oldest + 1 < self.known.len()
            && let Some(file) = self.known.get(oldest)
            && (self.bytes() > max_bytes || max_age.is_some_and(|age| file.written.elapsed() > age))
        {
            match std::fs::remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => oldest += 1,
                _ => drop(self.known.remove(oldest)),
            }
        }
    }

    /// Bytes of the newest.
    pub(super) fn newest_bytes(&self) -> u64 {
        self.known.back().map_or(0, |newest| newest.bytes)
    }

    /// How many of those before the newest somebody else has removed, and their bytes.
    pub(super) fn gone_before_newest(&self) -> (usize, u64) {
        let older = self.known.iter().rev().skip(1);
        let gone = older.filter(|file| matches!(file.path.try_exists(), Ok(false)));
        gone.fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.bytes))
    }

    /// Names the newest in an error.
    pub(super) fn explain_newest(&self, error: &io::Error) -> io::Error {
        let path = self.known.back().map_or(&self.directory, |newest| &newest.path);
        explain(error, "write the journal file", path)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.known.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// So that a new name survives a loss of power. Some file systems see to that by themselves, and cannot be
/// asked.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_numbers_and_are_told_from_others() {
        let mut files = Files { directory: "/j".into(), known: VecDeque::new(), next: 9 };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_445_831);
        let [first, earlier] = [time, time - Duration::from_hours(2)].map(|began| {
            let path = files.next_path(began);
            files.add(path.clone(), 0);
            path
        });
        assert_eq!(first, Path::new("/j/0000000009-20251129T195031Z.procession"));
        assert_eq!(earlier, Path::new("/j/0000000010-20251129T175031Z.procession"));
        assert!(first < earlier, "the number comes first");
        assert_eq!([&first, &earlier].map(|path| number_of(path)), [Some(9), Some(10)]);
        for other in ["lock", "build.procession", "9-20251129T195031Z.procession", "0000000009-.procession"] {
            assert_eq!(number_of(Path::new(other)), None, "{other}");
        }
        let hidden = hidden(&first);
        assert_eq!((is_hidden(&hidden), is_hidden(&first), number_of(&hidden)), (true, false, None));
    }
}
