//! The blocks of a boot, one after the other, from file to file.

use std::fs::File;
use std::sync::atomic::Ordering;

use procession::BootId;

use crate::block::Header;
use crate::reader::{Block, Content, Reader};

use super::JournalError;
use super::segment::{Segment, failed, open};

/// Reads one block at a time.
#[derive(Debug)]
pub(crate) struct Blocks<'j> {
    /// Those that come after the one that is read.
    segments: &'j [Segment],
    /// It knows how many events came before, and tells of blocks that are missing or come too late.
    current: Option<(&'j Segment, Reader<File>)>,
    /// Where the first block begins in the next file.
    offset: u64,
    /// The boot with which the file before ended, and the events up to there, as far as they are known. `None`: none was
    /// read yet, and nothing is missing in front of the next.
    before: Option<(BootId, Option<u64>)>,
    /// The reader has a part of a checkpoint, and waits for the others.
    is_within_checkpoint: bool,
}

#[derive(Debug)]
pub(crate) enum Item {
    Block(Box<Block>),
    /// A block that was not wanted, and was not read.
    Passed(Header),
}

impl<'j> Blocks<'j> {
    /// From `offset` in the first segment on.
    pub(crate) fn new(segments: &'j [Segment], offset: u64) -> Self {
        Self { segments, current: None, offset, before: None, is_within_checkpoint: false }
    }

    /// The next block, or the header of one for which `wants` says no.
    pub(crate) fn next(
        &mut self,
        wants: &mut dyn FnMut(&Header) -> bool,
    ) -> Result<Option<Item>, JournalError> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            if let Some(item) = self.next_in_file(wants)? {
                return Ok(Some(item));
            }
            if let Some((segment, reader)) = self.current.take() {
                self.before = Some((segment.last.boot_id, reader.sequence()));
            }
        }
    }

    /// Opens the next file that is still there. Whoever wanted to begin in the middle of one that has gone
    /// gets nothing.
    fn open_next(&mut self) -> Result<bool, JournalError> {
        while let Some((segment, rest)) = self.segments.split_first() {
            self.segments = rest;
            if let Some(mut reader) = open(&segment.path)? {
                match std::mem::take(&mut self.offset) {
                    0 => reader.begin_behind(self.end_of(segment.first.boot_id)),
                    offset => reader.seek(offset),
                }
                self.current = Some((segment, reader));
                return Ok(true);
            }
            if self.offset > 0 {
                self.segments = &[];
            }
        }
        Ok(false)
    }

    /// The events up to the end of the file before, if it is of the same boot: each boot has a count of its own.
    fn end_of(&self, boot: BootId) -> Option<u64> {
        let (_, events) = self.before.filter(|(before, _)| *before == boot)?;
        events
    }

    fn next_in_file(&mut self, wants: &mut dyn FnMut(&Header) -> bool) -> Result<Option<Item>, JournalError> {
        let Some((segment, reader)) = &mut self.current else { return Ok(None) };
        let failed = |source| failed(&segment.path, source);
        let header = if self.is_within_checkpoint { None } else { reader.peek().map_err(failed)? };
        let unwanted = header.filter(|header| !wants(header));
        if let Some(header) = unwanted
            && reader.skip(&header).map_err(failed)?
        {
            return Ok(Some(Item::Passed(header)));
        }
        // What is damaged is to be told of.
        let block = reader.next().map_err(failed)?;
        let bytes = block.as_ref().map_or(0, |block| block.bytes);
        segment.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.is_within_checkpoint = unwanted.is_none()
            && block.as_ref().is_some_and(|block| matches!(block.content, Content::CheckpointPart));
        Ok(block.map(|block| match unwanted {
            // The parts before this one of an unwanted checkpoint were passed over.
            Some(header) if !matches!(&block.content, Content::Damage(it) if !it.lacks_parts()) => {
                Item::Passed(header)
            }
            _ => Item::Block(Box::new(block)),
        }))
    }
}
