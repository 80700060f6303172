//! From a journal to a folder of Parquet files.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parquet::errors::ParquetError;
use procession::{BootId, BootTime};
use procession_journal::{Block, Content, Damage, Journal, JournalError, LeftOut, Reader};

use crate::dataset::{Dataset, Written};
use crate::narrator::{Narrator, Span};
use crate::occupied::{Occupied, find_occupied};
use crate::part::Form;

/// What is to be exported, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. Made, for its owner alone, if it is not there.
    pub directory: PathBuf,
    /// Only what happened from this time on.
    pub from: Option<SystemTime>,
    /// Only what happened before this time.
    pub to: Option<SystemTime>,
    /// Whether to write even where there is something that a reader would take for part of the export.
    pub is_forced: bool,
    /// The name and the version of the program, as it will stand in the files.
    pub program: String,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the journal that were read, of those that are to be read.
    pub read: u64,
    /// Bytes of the journal that are to be read.
    pub all: u64,
    /// Rows so far.
    pub rows: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// What was written.
    pub written: Written,
    /// What could not be read, and in which file of the journal.
    pub damage: Vec<(PathBuf, Damage)>,
    /// Events that make no sense, and were passed over.
    pub unreadable: u64,
    /// Containers whose names had no room in memory.
    pub left_out: LeftOut,
}

/// Why a journal was not exported, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file of it cannot be read any more.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something in the folder already.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// Parquet cannot be written.
    #[error("cannot write to {}", directory.display())]
    Write {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// Who is told how far it has come did not want more.
    #[error("stopped before its end")]
    Stopped,
}

/// Why Parquet cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct WriteError(Box<dyn std::error::Error + Send + Sync>);

impl From<ParquetError> for WriteError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => Self(source),
            error => Self(error.into()),
        }
    }
}

/// Writes a row for each fact of `journal`, and tells now and then how far it has come: `progress` says whether to
/// go on.
///
/// Rows wait in memory until there are enough of them: some 100 MB at the most, however long the journal.
///
/// # Errors
///
/// The journal cannot be read, the files cannot be written, or `progress` has stopped it. Files that were completed
/// until then stay, and nothing is left of those that were not.
pub fn export(
    journal: &Journal,
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Exported, ExportError> {
    let span = (options.from, options.to);
    if !options.is_forced {
        find_occupied(&options.directory, is_whole(span))?;
    }
    let failed = |error: ParquetError| options.failed(error);
    let form = Form::new(&options.program).map_err(failed)?;
    let names = journal.names()?;
    let mut run = Run {
        dataset: Dataset::create(&options.directory, form),
        narrator: Narrator::new(&names, span),
        prefix: if is_whole(span) { WHOLE } else { SPAN },
        progress: Progress::default(),
        damage: Vec::new(),
        began: None,
        before: None,
        has_parts: false,
    };
    let files: Vec<_> = journal.files().map(|(path, times)| (path, may_be_within(span, times))).collect();
    let wanted = files.iter().filter_map(|(path, is_wanted)| is_wanted.then(|| path.metadata().ok())?);
    run.progress.all = wanted.map(|metadata| metadata.len()).sum();
    for (path, is_wanted) in files {
        if is_wanted {
            run.export_file(path, options, progress)?;
        } else {
            // What is left out is not missing.
            run.before = None;
        }
    }
    let unreadable = run.narrator.unreadable();
    let written = run.dataset.finish().map_err(failed)?;
    Ok(Exported { written, damage: run.damage, unreadable, left_out: names.left_out() })
}

/// With what the names of parts begin that have all that a file of the journal tells of a day; and of those
/// that have what is within a span of time.
pub(crate) const WHOLE: &str = "part";
pub(crate) const SPAN: &str = "span";

fn is_whole(span: Span) -> bool {
    span == (None, None)
}

/// Whether a file that tells of what happened between two times has something to be told.
fn may_be_within((from, to): Span, (first, last): (SystemTime, SystemTime)) -> bool {
    from.is_none_or(|from| from <= last) && to.is_none_or(|to| first < to)
}

/// The boot of the first block that can be read.
fn begins_in(reader: &mut Reader<File>) -> io::Result<Option<BootId>> {
    while let Some(block) = reader.next()? {
        if let Some(recording) = block.recording {
            return Ok(Some(recording.boot_id));
        }
    }
    Ok(None)
}

struct Run<'n> {
    dataset: Dataset,
    narrator: Narrator<'n>,
    prefix: &'static str,
    progress: Progress,
    damage: Vec<(PathBuf, Damage)>,
    /// When the file was begun that is read, and in which boot. With the events before it, that is a name
    /// which no other has, and which stays when the file grows.
    began: Option<(BootId, BootTime)>,
    /// The boot with which the file before it ended, and the events up to there, as far as they are known.
    before: Option<(BootId, Option<u64>)>,
    /// Whether its parts have their name.
    has_parts: bool,
}

impl Options {
    fn failed(&self, error: ParquetError) -> ExportError {
        ExportError::Write { directory: self.directory.clone(), source: error.into() }
    }
}

impl Run<'_> {
    fn export_file(
        &mut self,
        path: &Path,
        options: &Options,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            // Journals forget what is old.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let mut reader = self.reader(file).map_err(failed)?;
        let read_before = self.progress.read;
        self.narrator.begin_file();
        (self.began, self.has_parts) = (None, false);
        while let Some(block) = reader.next().map_err(failed)? {
            self.progress.read = read_before + block.offset + block.bytes;
            self.take(path, &block).map_err(|error| options.failed(error))?;
            if progress(self.progress).is_break() {
                return Err(ExportError::Stopped);
            }
        }
        if let Some(boot) = self.narrator.boot().filter(|_| self.began.is_some()) {
            self.before = Some((boot, reader.sequence()));
        }
        Ok(())
    }

    /// Of a file which, if it is of the boot with which the one before ended, begins where that one did end.
    fn reader(&self, file: File) -> io::Result<Reader<File>> {
        let mut reader = Reader::new(file)?;
        if let Some((boot, events)) = self.before
            && begins_in(&mut reader)? == Some(boot)
        {
            reader.begin_behind(events);
        } else {
            reader.seek(0);
        }
        Ok(reader)
    }

    /// What a block says of the file, rather than of processes.
    fn note(&mut self, path: &Path, block: &Block) -> Result<(), ParquetError> {
        if let Some(recording) = &block.recording {
            self.began.get_or_insert((recording.boot_id, block.first));
        }
        match (&block.content, self.began) {
            // Somebody is writing it.
            (Content::Damage(damage), _) if damage.is_torn() => {}
            (Content::Damage(damage), _) => self.damage.push((path.to_owned(), damage.clone())),
            (Content::Events(_), Some((boot, began))) if !self.has_parts => {
                self.has_parts = true;
                let (prefix, began) = (self.prefix, began.as_nanos());
                self.dataset.begin(format!("{prefix}-{boot}-{began:020}-{:012}", block.sequence))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, block: &Block) -> Result<(), ParquetError> {
        self.note(path, block)?;
        let Self { dataset, narrator, progress, .. } = self;
        let state = narrator.take(block, &mut |row, time| match dataset.push(row, time) {
            Ok(()) => {
                progress.rows += 1;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        });
        state.break_value().map_or(Ok(()), Err)
    }
}
