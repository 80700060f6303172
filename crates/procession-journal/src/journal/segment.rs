//! One file of a journal: what the headers of its blocks tell.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use procession::{BootTime, WallClock};

use crate::block::{Header, Kind};
use crate::names::Names;
use crate::reader::{Block, Content, Damage, Reader};
use crate::recording::Recording;

use super::JournalError;

/// What is remembered of a file: little, however many blocks it has.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// What the first and the last block say that can be read.
    pub(crate) first: Recording,
    pub(crate) last: Recording,
    /// The earliest and the latest time of its events and checkpoints.
    pub(crate) span: (BootTime, BootTime),
    pub(crate) checkpoints: Vec<Mark>,
    /// Where blocks of names begin.
    names: Vec<u64>,
    pub(crate) is_closed: bool,
    /// How much of it was read since it was opened, headers apart.
    pub(crate) bytes_read: AtomicU64,
}

/// Where a checkpoint begins, and the latest time of what comes before it in the file, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) time: BootTime,
}

/// How many blocks from the end on are tried for what they say of the journal.
const LAST_BLOCKS: usize = 16;

/// What the headers have told so far.
#[derive(Debug, Default)]
struct Sketch {
    checkpoints: Vec<Mark>,
    names: Vec<u64>,
    span: Option<(BootTime, BootTime)>,
    /// The last blocks.
    tail: Vec<Header>,
}

impl Segment {
    /// Looks at the headers of a file. `None`: it has gone, or no block in it can be read.
    pub(crate) fn scan(path: &Path) -> Result<Option<Self>, JournalError> {
        let Some(mut reader) = open(path)? else { return Ok(None) };
        let scanned = Sketch::of(&mut reader).and_then(|sketch| {
            let Some(first) = first_recording(&mut reader)? else { return Ok(None) };
            sketch.into_segment(path, first, &mut reader).map(Some)
        });
        scanned.map_err(|source| failed(path, source))
    }

    /// Where boot time stood on the wall clock when the last block was begun that has something from
    /// `time` or before.
    pub(crate) fn clock_at(&self, time: BootTime) -> Result<WallClock, JournalError> {
        let Some(mut reader) = open(&self.path)? else { return Ok(self.first.clock) };
        let found = last_block_by(&mut reader, time).map_err(|source| failed(&self.path, source))?;
        Ok(found.map_or(self.first.clock, |recording| recording.clock))
    }

    /// Adds what it says of containers.
    pub(crate) fn collect_names(&self, names: &mut Names) -> Result<(), JournalError> {
        let Some(mut reader) = open(&self.path)? else { return Ok(()) };
        for offset in &self.names {
            let block = block_at(&mut reader, *offset).map_err(|source| failed(&self.path, source))?;
            if let Some(Block { content: Content::Names(containers), .. }) = block {
                for container in containers {
                    names.insert(container);
                }
            }
        }
        Ok(())
    }
}

impl Sketch {
    fn of(reader: &mut Reader<File>) -> io::Result<Self> {
        let mut sketch = Self::default();
        while let Some(header) = reader.next_header()? {
            sketch.add(header);
        }
        Ok(sketch)
    }

    fn add(&mut self, header: Header) {
        match header.kind {
            Some(Kind::Checkpoint) => {
                let before = self.span.map_or(BootTime::ZERO, |(_, last)| last);
                let mark = Mark { offset: header.offset, time: header.last.max(before) };
                let goes_on = self.tail.last().is_some_and(|last| {
                    last.kind == header.kind && (last.sequence, last.first) == (header.sequence, header.first)
                });
                if !goes_on {
                    self.checkpoints.push(mark);
                }
                self.extend(&header);
            }
            Some(Kind::Events) if header.events > 0 => self.extend(&header),
            Some(Kind::Names) => self.names.push(header.offset),
            _ => {}
        }
        if self.tail.len() == LAST_BLOCKS {
            self.tail.remove(0);
        }
        self.tail.push(header);
    }

    fn extend(&mut self, header: &Header) {
        // The checkpoint of a table to which nothing happened has no time.
        if header.last == BootTime::ZERO {
            return;
        }
        let (first, last) = self.span.unwrap_or((header.first, header.last));
        self.span = Some((first.min(header.first), last.max(header.last)));
    }

    fn into_segment(self, path: &Path, first: Recording, reader: &mut Reader<File>) -> io::Result<Segment> {
        let (mut last, mut is_closed) = (None, false);
        for header in self.tail.iter().rev() {
            let block = block_at(reader, header.offset)?;
            is_closed |= block.as_ref().is_some_and(|block| matches!(block.content, Content::Close(_)));
            if let Some(recording) = block.and_then(|block| block.recording) {
                last = Some(recording);
                break;
            }
        }
        let made = first.clock.boot();
        Ok(Segment {
            path: path.into(),
            last: last.unwrap_or_else(|| first.clone()),
            first,
            span: self.span.unwrap_or((made, made)),
            checkpoints: self.checkpoints,
            names: self.names,
            is_closed,
            bytes_read: AtomicU64::default(),
        })
    }
}

/// `None`: the file has gone, as old ones do.
pub(crate) fn open(path: &Path) -> Result<Option<Reader<File>>, JournalError> {
    match open_regular(path).and_then(Reader::new) {
        Ok(reader) => Ok(Some(reader)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path, source)),
    }
}

/// To open a pipe would take until somebody writes to it, and a device may never end.
fn open_regular(path: &Path) -> io::Result<File> {
    if path.metadata()?.is_file() {
        return File::open(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

pub(crate) fn failed(path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { path: path.into(), source }
}

/// What is wrong with a file in which no block can be read: at its beginning, and how many events are missing in all.
/// `None`: it has gone, or there is nothing in it.
pub(crate) fn damage_of(path: &Path) -> Option<Damage> {
    let bytes = path.metadata().ok()?.len();
    let mut reader = open(path).ok()??;
    let first = next_damage(&mut reader).ok()??;
    let mut events = missing_in(&first);
    while let Some(damage) = next_damage(&mut reader).ok()? {
        events = events.zip(missing_in(&damage)).map(|(all, more)| all.saturating_add(more));
    }
    Some(Damage { bytes, events, ..first })
}

/// How many events are missing for its sake, where what is torn comes again. `None`: nobody knows.
fn missing_in(damage: &Damage) -> Option<u64> {
    if damage.is_torn() { Some(0) } else { damage.missing() }
}

fn next_damage(reader: &mut Reader<File>) -> io::Result<Option<Damage>> {
    Ok(reader.next()?.and_then(|block| match block.content {
        Content::Damage(damage) => Some(damage),
        _ => None,
    }))
}

fn block_at(reader: &mut Reader<File>, offset: u64) -> io::Result<Option<Block>> {
    reader.seek(offset);
    reader.next()
}

fn first_recording(reader: &mut Reader<File>) -> io::Result<Option<Recording>> {
    reader.seek(0);
    while let Some(block) = reader.next()? {
        if block.recording.is_some() {
            return Ok(block.recording);
        }
    }
    Ok(None)
}

fn last_block_by(reader: &mut Reader<File>, time: BootTime) -> io::Result<Option<Recording>> {
    let mut candidates: Vec<u64> = Vec::new();
    while let Some(header) = reader.next_header()? {
        let has_time = matches!(header.kind, Some(Kind::Events | Kind::Close));
        if has_time && header.first <= time {
            if candidates.len() == LAST_BLOCKS {
                candidates.remove(0);
            }
            candidates.push(header.offset);
        }
    }
    for offset in candidates.into_iter().rev() {
        let block = block_at(reader, offset)?;
        if let Some(recording) = block.and_then(|block| block.recording) {
            return Ok(Some(recording));
        }
    }
    Ok(None)
}
