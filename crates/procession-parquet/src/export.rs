//! From a journal to a folder of Parquet files.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parquet::errors::ParquetError;
use procession_journal::{Block, Content, Damage, Journal, JournalError, Names, Reader, Recording};

use crate::dataset::{Dataset, Written};
use crate::fold::{Fold, Span};
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

/// Writes a row for each fact of `journal`, and tells now and then how far it has come.
///
/// Rows wait in memory until there are enough of them: some 100 MB at the most, however long the journal.
///
/// # Errors
///
/// The journal cannot be read, or the files cannot be written. Files that were completed until then stay.
pub fn export(
    journal: &Journal,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
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
        fold: Fold::new(&names, span),
        prefix: if is_whole(span) { WHOLE } else { SPAN },
        progress: Progress::default(),
        damage: Vec::new(),
    };
    let files = files_within(journal.files(), span)?;
    run.progress.all = files.iter().map(|file| length(file)).sum();
    for file in &files {
        run.export_file(file, options, progress)?;
    }
    let unreadable = run.fold.unreadable();
    Ok(Exported { written: run.dataset.finish().map_err(failed)?, damage: run.damage, unreadable })
}

/// With what the names of parts begin that have all that a file of the journal tells of a day; and of those
/// that have what is within a span of time.
pub(crate) const WHOLE: &str = "part";
pub(crate) const SPAN: &str = "span";

fn is_whole(span: Span) -> bool {
    span == (None, None)
}

struct Run<'n> {
    dataset: Dataset,
    fold: Fold<'n>,
    prefix: &'static str,
    progress: Progress,
    damage: Vec<(PathBuf, Damage)>,
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
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ExportError> {
        let unreadable = |source| ExportError::Read { path: path.to_owned(), source };
        let mut reader = File::open(path).and_then(Reader::new).map_err(unreadable)?;
        let read_before = self.progress.read;
        let mut name = None;
        self.fold.begin_file();
        while let Some(block) = reader.next().map_err(unreadable)? {
            self.progress.read = read_before + block.offset + block.bytes;
            if let Content::Damage(damage) = &block.content {
                self.damage.push((path.to_owned(), damage.clone()));
            }
            name.get_or_insert_with(|| ());
            self.take(block).map_err(|error| options.failed(error))?;
            progress(self.progress);
        }
        Ok(())
    }

    fn take(&mut self, block: Block) -> Result<(), ParquetError> {
        let Self { dataset, fold, progress, .. } = self;
        let state = fold.take(block, &mut |row, time| match dataset.push(row, time) {
            Ok(()) => {
                progress.rows += 1;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        });
        state.break_value().map_or(Ok(()), Err)
    }
}
