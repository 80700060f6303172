//! The file that is exported to: continued, rotated, and opened anew when somebody takes it away.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::backup::{BackupNames, Stamp};
use super::counts::{Counters, count};
use super::keeper::{Keeper, Keeping};
use super::outbox::{Outbox, Tail};
use super::{FileConfig, Rotation};

/// How often it is looked whether the file is still the one of that name.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a rotation that failed the next one is tried.
const ROTATION_PAUSE: Duration = Duration::from_secs(5);
/// The longest piece of a line for whose begin is searched, and a piece of that.
const LONGEST_PIECE: u64 = 4 << 20;
const SEARCHED_AT_ONCE: u64 = 64 << 10;

/// A file that rotates.
#[derive(Debug)]
pub(super) struct ExportFile {
    path: PathBuf,
    mode: u32,
    compress: bool,
    rotation: Rotation,
    names: BackupNames,
    /// `None`: it has to be opened, for the first time or anew.
    open: Option<Open>,
    /// When the next look at its name is due.
    check_at: Instant,
    /// Until when no rotation is tried, because one failed.
    pause: Option<Instant>,
    keeper: Keeper,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Open {
    tail: Tail<File>,
    /// Device and inode.
    identity: (u64, u64),
    since: SystemTime,
    /// Whether it is one that can be rotated and cut: no device.
    is_regular: bool,
}

impl ExportFile {
    /// Opens it, and makes its directory if there is none.
    pub(super) fn open(config: FileConfig, counters: Arc<Counters>) -> io::Result<Self> {
        let FileConfig { path, rotation, compress, mode } = config;
        let names = BackupNames::of(&path)?;
        DirBuilder::new().recursive(true).mode(0o755).create(names.directory())?;
        let mut file = Self {
            mode: permitted(mode),
            compress,
            rotation,
            open: None,
            check_at: Instant::now(),
            pause: None,
            keeper: Keeper::start(names.clone(), Arc::clone(&counters))?,
            counters,
            names,
            path,
        };
        if file.opened()?.is_regular {
            file.tidy();
        }
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it opened anew before anything else is written.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// From now on.
    pub(super) fn set_rotation(&mut self, rotation: Rotation) {
        if self.rotation != rotation {
            self.rotation = rotation;
            self.tidy();
        }
    }

    /// What has to be done whether something is written or not.
    pub(super) fn upkeep(&mut self) -> io::Result<()> {
        if Instant::now() >= self.check_at {
            self.check();
        }
        let interval = self.rotation.interval;
        let open = self.opened()?;
        let age = open.since.elapsed().unwrap_or_default();
        if interval.is_some_and(|interval| age >= interval) && open.tail.length > 0 && self.rotate() {
            self.opened()?;
        }
        Ok(())
    }

    /// Writes all of it, into as many files as it takes. After an error the rest is still there.
    pub(super) fn write(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        while !outbox.is_empty() {
            let is_paused = self.is_paused();
            let limit = match self.rotation.max_size_bytes {
                0 => u64::MAX,
                _ if is_paused => u64::MAX,
                limit => limit,
            };
            let counters = Arc::clone(&self.counters);
            let open = self.opened()?;
            let room = if open.is_regular { limit.saturating_sub(open.tail.length) } else { u64::MAX };
            let bytes = match outbox.fitting(room) {
                // A line that is longer than a file may be has a file for itself; one that was begun
                // ends where it began.
                0 if open.tail.length == 0 || open.tail.is_torn() => outbox.first(),
                0 => {
                    self.rotate();
                    continue;
                }
                bytes => bytes,
            };
            open.tail.append(outbox, bytes, &counters)?;
        }
        Ok(())
    }

    /// Sees to it that what was written survives a power failure, and ends what is done to backups.
    pub(super) fn finish(self, deadline: Instant) -> io::Result<()> {
        let synced = match &self.open {
            Some(open) if open.is_regular => open.tail.medium.sync_all(),
            _ => Ok(()),
        };
        self.keeper.finish(deadline);
        synced
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path, self.mode)?,
        };
        Ok(self.open.insert(open))
    }

    /// Looks whether the file is still there under its name, and how long it is.
    fn check(&mut self) {
        self.check_at = Instant::now() + CHECK_INTERVAL;
        let Some(open) = &mut self.open else { return };
        match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == open.identity => {
                // Somebody may have cut it.
                open.tail.length = metadata.len();
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), %error, "cannot look at the file of the export");
            }
            _ => {
                tracing::info!(path = %self.path.display(), "the file of the export was moved or removed: it is made anew");
                self.open = None;
            }
        }
    }

    /// Makes the file a backup, and says whether it is none any more.
    fn rotate(&mut self) -> bool {
        self.check();
        let Some(open) = &self.open else { return true };
        if !open.is_regular || open.tail.is_torn() || self.is_paused() {
            return false;
        }
        if let Err(error) = self.back_up() {
            count(&self.counters.write_errors);
            if self.pause.is_none() {
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "the file of the export cannot be rotated, and grows: {}",
                    super::trouble::advice(error.kind())
                );
            }
            self.pause = Some(Instant::now() + ROTATION_PAUSE);
            return false;
        }
        self.open = None;
        self.pause = None;
        count(&self.counters.rotations);
        self.tidy();
        true
    }

    fn back_up(&self) -> io::Result<()> {
        let last = self.names.list()?.last_key_value().map(|(stamp, _)| *stamp);
        let mut stamp = Stamp::after(last);
        loop {
            match rename_to_new(&self.path, &self.names.plain(stamp)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => stamp = Stamp::after(Some(stamp)),
                result => return result,
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|pause| Instant::now() < pause)
    }

    fn tidy(&self) {
        let keeping = Keeping { max_backups: self.rotation.max_backups, compress: self.compress };
        self.keeper.tidy(keeping);
    }
}

/// The bits of `mode` that a file with events may have: nobody executes it, not everybody writes it,
/// and its owner reads and writes it.
fn permitted(mode: u32) -> u32 {
    mode & 0o664 | 0o600
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn open(path: &Path, mode: u32) -> io::Result<Open> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        // To open one waits until somebody reads it.
        return Err(io::Error::new(ErrorKind::InvalidInput, "a named pipe cannot be exported to"));
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(mode).open(path)?;
    let mut metadata = file.metadata()?;
    let is_regular = metadata.is_file();
    if is_regular {
        if metadata.mode() & 0o7777 != mode {
            permit(&file, path, mode);
        }
        mend(&file, path, metadata.len())?;
        metadata = file.metadata()?;
    }
    let length = if is_regular { metadata.len() } else { 0 };
    Ok(Open {
        tail: Tail::new(file, length),
        identity: identity(&metadata),
        // An agent that begins again does not put off the next rotation.
        since: metadata.created().unwrap_or_else(|_| SystemTime::now()),
        is_regular,
    })
}

/// The umask does not count, nor what a file of that name had before.
fn permit(file: &File, path: &Path, mode: u32) {
    if let Err(error) = file.set_permissions(Permissions::from_mode(mode)) {
        let mode = format!("{mode:o}");
        tracing::warn!(path = %path.display(), %error, mode, "the file of the export keeps other permissions");
    }
}

/// Sees to it that a file of this length ends with a whole line. One that was cut off when an agent ended
/// goes; what does not look like a line of ours stays, and gets an end.
fn mend(file: &File, path: &Path, length: u64) -> io::Result<()> {
    let Some(begin) = torn_line(file, length)? else { return Ok(()) };
    let mut first = [0];
    file.read_exact_at(&mut first, begin)?;
    let is_ours = first == *b"{" && length - begin < LONGEST_PIECE;
    if is_ours && file.set_len(begin).is_ok() {
        let bytes = length - begin;
        tracing::warn!(path = %path.display(), bytes, "the export ended within a line, which is removed");
        return Ok(());
    }
    (&mut &*file).write_all(b"\n")
}

/// Where the last line begins, if it has no end.
fn torn_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length;
    let mut piece = Vec::new();
    while end > 0 && length - end < LONGEST_PIECE {
        let begin = end.saturating_sub(SEARCHED_AT_ONCE);
        piece.resize(usize::try_from(end - begin).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut piece, begin)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            let after = begin + newline as u64 + 1;
            return Ok((after < length).then_some(after));
        }
        end = begin;
    }
    Ok((length > 0).then_some(end))
}

/// Renames without replacing anything.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can. Nobody else gives such names.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(ErrorKind::AlreadyExists.into()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::export::outbox::Content;

    #[test]
    fn nobody_executes_it_not_everybody_writes_it_and_its_owner_may() {
        assert_eq!(permitted(0o600), 0o600);
        assert_eq!(permitted(0o7777), 0o664);
        assert_eq!(permitted(0), 0o600);
        assert_eq!(permitted(0o044), 0o644);
    }

    /// Opened, written and looked at without a thread.
    struct Bench {
        directory: TempDir,
        file: Option<ExportFile>,
        config: FileConfig,
        outbox: Outbox,
        expected: String,
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Lines of these lengths, at once.
        Write(Vec<usize>),
        Rotate,
        Reopen,
        /// The agent ends and begins again.
        Restart,
        /// An agent ends in the middle of a line, and another begins.
        Tear(String),
        SetMaxSize(u64),
    }

    impl Bench {
        fn new(max_size_bytes: u64, compress: bool) -> Self {
            let directory = TempDir::new().unwrap();
            let rotation = Rotation { max_size_bytes, max_backups: 0, interval: None };
            let path = directory.path().join("events.log");
            let config = FileConfig { path, rotation, compress, mode: 0o600 };
            let file = ExportFile::open(config.clone(), Arc::default()).unwrap();
            let (outbox, expected) = (Outbox::default(), String::new());
            Self { directory, file: Some(file), config, outbox, expected }
        }

        fn file(&mut self) -> &mut ExportFile {
            self.file.as_mut().unwrap()
        }

        fn end(&mut self) {
            let patience = Instant::now() + Duration::from_mins(1);
            self.file.take().unwrap().finish(patience).unwrap();
        }

        fn begin(&mut self) {
            self.file = Some(ExportFile::open(self.config.clone(), Arc::default()).unwrap());
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Write(lengths) => {
                    for length in lengths {
                        let line = format!("{{{}\n", "x".repeat(length));
                        self.outbox.push(line.as_bytes(), Content::Event(None));
                        self.expected += &line;
                    }
                    let mut outbox = std::mem::take(&mut self.outbox);
                    self.file().write(&mut outbox).unwrap();
                }
                Step::Rotate => {
                    self.file().opened().unwrap();
                    assert!(self.file().rotate());
                }
                Step::Reopen => self.file().reopen(),
                Step::Restart => {
                    self.end();
                    self.begin();
                }
                Step::Tear(piece) => {
                    self.end();
                    let mut file =
                        OpenOptions::new().append(true).create(true).open(&self.config.path).unwrap();
                    file.write_all(piece.as_bytes()).unwrap();
                    self.begin();
                }
                Step::SetMaxSize(max_size_bytes) => {
                    self.config.rotation.max_size_bytes = max_size_bytes;
                    let rotation = self.config.rotation;
                    self.file().set_rotation(rotation);
                }
            }
        }

        /// Backups in the order of their names, and the file.
        fn texts(&self) -> Vec<String> {
            let mut paths: Vec<_> =
                fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            // `events-…` is before `events.log`.
            paths.sort();
            let text = |path: &PathBuf| {
                let mut text = String::new();
                let file = File::open(path).unwrap();
                if path.extension().is_some_and(|extension| extension == "gz") {
                    GzDecoder::new(file).read_to_string(&mut text).unwrap();
                } else {
                    (&file).read_to_string(&mut text).unwrap();
                }
                text
            };
            paths.iter().map(text).collect()
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => prop::collection::vec(prop_oneof![9 => 0_usize..60, 1 => 100_usize..3_000], 1..30)
                .prop_map(Step::Write),
            1 => Just(Step::Rotate),
            1 => Just(Step::Reopen),
            1 => Just(Step::Restart),
            1 => "\\{[a-z]{0,40}".prop_map(Step::Tear),
            1 => (0_u64..500).prop_map(Step::SetMaxSize),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn backups_and_the_file_together_are_all_lines_in_order(
            max_size in 1_u64..500,
            compress: bool,
            steps in prop::collection::vec(step(), 1..25),
        ) {
            let mut bench = Bench::new(max_size, compress);
            let mut longest = max_size;
            for step in steps {
                if let Step::SetMaxSize(size) = step {
                    longest = longest.max(if size == 0 { u64::MAX } else { size });
                }
                bench.take(step);
            }
            bench.end();
            let texts = bench.texts();
            prop_assert_eq!(texts.concat(), bench.expected.clone());
            for text in texts {
                let is_one_line = text.lines().count() <= 1;
                prop_assert!(text.len() as u64 <= longest || is_one_line, "{} > {longest}", text.len());
                prop_assert!(text.is_empty() || text.ends_with('\n'));
            }
        }
    }

    #[test]
    fn a_piece_that_is_none_of_ours_stays_and_gets_an_end() {
        let mut bench = Bench::new(0, false);
        bench.end();
        fs::write(&bench.config.path, "kept\nsomething else").unwrap();
        bench.begin();
        bench.take(Step::Write(vec![1]));
        assert_eq!(bench.texts(), ["kept\nsomething else\n{x\n"]);
    }

    #[test]
    fn a_long_piece_of_a_line_is_found_and_removed() {
        let mut bench = Bench::new(0, false);
        bench.take(Step::Write(vec![1]));
        bench.take(Step::Tear(format!("{{{}", "y".repeat(300_000))));
        assert_eq!(bench.texts(), ["{x\n"]);
    }

    #[test]
    fn a_file_that_somebody_cut_is_measured_anew() {
        let mut bench = Bench::new(100, false);
        bench.take(Step::Write(vec![90]));
        OpenOptions::new().write(true).open(&bench.config.path).unwrap().set_len(0).unwrap();
        bench.file().check();
        bench.take(Step::Write(vec![90]));
        assert_eq!(bench.texts(), [format!("{{{}\n", "x".repeat(90))]);
    }

    #[test]
    fn names_differ_in_the_same_millisecond() {
        let mut bench = Bench::new(1, false);
        bench.take(Step::Write(vec![0; 200]));
        assert_eq!(bench.texts().len(), 200);
    }
}
