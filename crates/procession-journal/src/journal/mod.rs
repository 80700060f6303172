//! A whole journal, in one file or in a directory, and the table as it was at any time in it.
//!
//! * `segment` is what the headers of one file tell.
//! * `boot` is the files of one boot: which moment of it a time on the wall clock is, and the table then.
//! * `blocks` reads on from file to file.
//! * `fold` makes a table of blocks, some of which may be missing.

mod blocks;
mod boot;
mod error;
mod fold;
mod segment;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use procession::{BootTime, Event, Table};

use crate::block::{Header, Kind};
use crate::directory::{EXTENSION, number_of};
use crate::names::Names;
use crate::reader::{Block, Content, Damage};
use crate::recording::Recording;

use blocks::Item;
pub(crate) use boot::Boot;
use boot::FOREVER;
pub use error::JournalError;
pub(crate) use fold::made;
pub use fold::{Fold, Moment, Witness};
use segment::{Segment, failed};

/// A journal, to be read.
///
/// It knows the files that were there when it was opened. Those that have gone since are passed over;
/// what was written to the last one since is read.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// At least one.
    boots: Vec<Boot>,
    recording: Recording,
    /// Files that could not be opened or read.
    unread: Vec<Damage>,
}

/// The table as it was at one moment.
#[derive(Debug)]
pub struct Restored {
    /// The table.
    pub table: Table,
    /// What the last block said.
    pub recording: Recording,
    /// Events of the journal up to that moment.
    pub sequence: u64,
    /// Up to where the source was read.
    pub bookmark: Bytes,
    /// Whose containers are, as far as all files of that boot say.
    pub names: Names,
    /// What could not be read between the checkpoint and that moment: the table may lack what was in it.
    /// How many events that were is in its ledger, among those lost, as far as it is known. At the end, files
    /// that could not be read at all, of whichever time.
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
    /// Behind the events of a block: so many others in it make no sense, or are of a kind that a newer version
    /// writes. Never zero.
    PassedOver(u64),
}

impl Journal {
    /// Of a file, or of all files in a directory whose names end in `.procession`. Another program may be
    /// writing it.
    ///
    /// Only the headers of blocks are read, and little of them is kept. A file of a directory that cannot be
    /// opened or read is passed over, where others can; [`Restored::damage`] tells of it.
    ///
    /// # Errors
    ///
    /// None of its files can be read, or there is nothing in them.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (mut segments, mut unread, mut error) = (Vec::new(), Vec::new(), None);
        for file in files(path)? {
            match Segment::scan(&file) {
                Ok(Some(segment)) => segments.push(segment),
                Ok(None) => unread.extend(segment::damage_of(&file)),
                Err(why) => {
                    unread.push(Damage::of_file(file.metadata().map_or(0, |metadata| metadata.len())));
                    error.get_or_insert(why);
                }
            }
        }
        let boots = boots(segments);
        let Some(recording) = boots.last().map(|boot| boot.recording.clone()) else {
            // What is no journal at all is none.
            let damage = unread.into_iter().find(Damage::is_newer);
            let unreadable = damage.map(|damage| io::Error::new(io::ErrorKind::InvalidData, damage));
            let unreadable = unreadable.map(|source| failed(path, source));
            return Err(error.or(unreadable).unwrap_or_else(|| JournalError::Nothing { path: path.into() }));
        };
        Ok(Self { path: path.into(), boots, recording, unread })
    }

    /// What its last readable block says.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// When the first and the last event happened, on the wall clock.
    pub fn span(&self) -> (SystemTime, SystemTime) {
        let spans = self.boots.iter().map(Boot::span);
        let whole = spans.reduce(|whole, span| (whole.0.min(span.0), whole.1.max(span.1)));
        whole.unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH))
    }

    /// Its files, in the order in which they are to be read, each with the times on the wall clock of the
    /// first and the last that it tells.
    pub fn files(&self) -> impl Iterator<Item = (&Path, (SystemTime, SystemTime))> {
        self.boots.iter().flat_map(|boot| &boot.segments).map(|segment| {
            let (first, last) = segment.span;
            (segment.path.as_path(), (segment.first.clock.at(first), segment.last.clock.at(last)))
        })
    }

    /// Files that cannot be opened or read: whatever is told lacks what is in them.
    pub fn unread(&self) -> &[Damage] {
        &self.unread
    }

    /// How large its files are.
    pub fn bytes(&self) -> u64 {
        let files = self.files().filter_map(|(path, _)| path.metadata().ok());
        files.map(|metadata| metadata.len()).sum()
    }

    /// How much of that was read by now, by whichever method: for another thread, to tell a person how far one
    /// is. What is read twice counts twice.
    pub fn bytes_read(&self) -> u64 {
        let segments = self.boots.iter().flat_map(|boot| &boot.segments);
        segments.map(|segment| segment.bytes_read.load(Ordering::Relaxed)).sum()
    }

    /// All containers it names.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn names(&self) -> Result<Names, JournalError> {
        boot::names_of(&self.boots)
    }

    /// The table at the end: that of the last boot, with all events folded.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn latest(&self) -> Result<Restored, JournalError> {
        let Some(boot) = self.boots.last() else {
            return Err(JournalError::Nothing { path: self.path.clone() });
        };
        self.restored(boot, FOREVER)
    }

    /// The table at a time on the wall clock: what happened up to then is in it, and nothing else, in
    /// whichever order it was told.
    ///
    /// Where the wall clock stood is told by the block that holds what happened then. The table has the
    /// configuration that was recorded, so it is the one that there was.
    ///
    /// # Errors
    ///
    /// It cannot be read, or nothing was recorded then. Where the program that records was stopped for a
    /// while, and the machine was not, the answer is what was known before.
    pub fn at(&self, time: SystemTime) -> Result<Restored, JournalError> {
        let (boot, limit) = self.moment(time)?;
        self.restored(boot, limit)
    }

    fn restored(&self, boot: &Boot, limit: BootTime) -> Result<Restored, JournalError> {
        let mut restored = boot.restored(limit)?;
        restored.damage.extend_from_slice(self.unread());
        Ok(restored)
    }

    /// Hands over all that was recorded from `from` on until `visit` says that it is enough, by returning
    /// `false`. Blocks that end before `from` are passed over, and what is damaged in front of them;
    /// checkpoints are, always.
    ///
    /// Each block says of which boot it is: a table is to be told the events of one boot only.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(
        &self,
        from: Option<SystemTime>,
        visit: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> Result<(), JournalError> {
        for boot in self.boots.iter().filter(|boot| from.is_none_or(|from| from <= boot.span().1)) {
            let from = from.map_or(Ok(BootTime::ZERO), |from| boot.boot_time(from))?;
            if !read(boot, from, visit)? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn boots(&self) -> &[Boot] {
        &self.boots
    }

    /// The boot in which something was recorded at `time`, and when in it that was.
    fn moment(&self, time: SystemTime) -> Result<(&Boot, BootTime), JournalError> {
        let holds = |boot: &&Boot| boot.span().0 <= time && time <= boot.span().1;
        let Some(boot) = self.boots.iter().rev().find(holds) else { return Err(self.nothing_at(time)) };
        Ok((boot, boot.boot_time(time)?))
    }

    fn nothing_at(&self, time: SystemTime) -> JournalError {
        let before = self.boots.iter().map(|boot| boot.span().1).filter(|end| *end < time).max();
        let after = self.boots.iter().map(|boot| boot.span().0).filter(|start| *start > time).min();
        if let (Some(before), Some(after)) = (before, after) {
            return JournalError::NotRecorded { before, after };
        }
        let (first, last) = self.span();
        JournalError::OutOfRange { first, last }
    }
}

/// Hands over the blocks of a boot that end at `from` or later. The result: whether there may be more.
fn read(boot: &Boot, from: BootTime, visit: &mut dyn FnMut(Piece<'_>) -> bool) -> Result<bool, JournalError> {
    let wants = |header: &Header| match header.kind {
        Some(Kind::Checkpoint) => false,
        Some(Kind::Events) => header.last >= from,
        _ => true,
    };
    let mut blocks = boot.blocks();
    // When something was damaged is told by the events behind it.
    let mut damaged = Vec::new();
    while let Some(item) = blocks.next(&mut { wants })? {
        match item {
            Item::Passed(header) if header.kind == Some(Kind::Events) => damaged.clear(),
            Item::Passed(_) => {}
            Item::Block(block) if matches!(block.content, Content::Damage(_)) => {
                let is_earlier = block.last != BootTime::ZERO && block.last < from;
                damaged.extend((!is_earlier).then_some(block));
            }
            Item::Block(block) => {
                let is_placed = matches!(block.content, Content::Events(_));
                let before = if is_placed { std::mem::take(&mut damaged) } else { Vec::new() };
                if !before.iter().chain([&block]).all(|block| visit_block(block, visit)) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(damaged.iter().all(|block| visit_block(block, visit)))
}

/// Hands over a block, and the events in it. The result: whether there may be more.
fn visit_block(block: &Block, visit: &mut dyn FnMut(Piece<'_>) -> bool) -> bool {
    let mut goes_on = visit(Piece::Block(block));
    if let Content::Events(events) = &block.content {
        let unreadable = events.each(&mut |event| goes_on = goes_on && visit(Piece::Event(event)));
        goes_on = goes_on && (unreadable == 0 || visit(Piece::PassedOver(unreadable)));
    }
    goes_on
}

/// The file, or the files of the directory.
fn files(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let failed = |source| failed(path, source);
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_file() {
        return Ok(vec![path.into()]);
    }
    if !metadata.is_dir() {
        let why = "it is neither a file nor a directory, and a journal is read back and forth";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if file.extension() == Some(OsStr::new(EXTENSION)) && !is_hidden {
            files.push(file);
        }
    }
    Ok(files)
}

/// Puts the files of each boot together and in order.
///
/// Within a boot, boot time is the order: it goes only forward. From boot to boot it is the numbers that a
/// directory gave the files. Those that come from elsewhere have none: they are before the others, and for
/// their order nothing is left but the wall clock.
fn boots(mut segments: Vec<Segment>) -> Vec<Boot> {
    let number = |segment: &Segment| number_of(&segment.path);
    segments.sort_by_key(|segment| (number(segment), segment.first.clock.boot(), segment.span.0));
    let mut boots: Vec<Boot> = Vec::new();
    for segment in segments {
        match boots.iter_mut().find(|boot| boot.recording.boot_id == segment.last.boot_id) {
            Some(boot) => boot.push(segment),
            None => boots.push(Boot::new(segment)),
        }
    }
    boots.sort_by_key(|boot| (boot.segments.last().and_then(number), boot.span().1));
    boots
}
