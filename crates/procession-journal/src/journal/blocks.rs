//! The blocks of a boot, one after the other, from file to file.

use std::fs::File;
use std::sync::atomic::Ordering;

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
        Self { segments, current: None, offset, is_within_checkpoint: false }
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
            self.current = None;
        }
    }

    /// Opens the next file that is still there. Whoever wanted to begin in the middle of one that has gone
    /// gets nothing.
    fn open_next(&mut self) -> Result<bool, JournalError> {
        while let Some((segment, rest)) = self.segments.split_first() {
            self.segments = rest;
            if let Some(mut reader) = open(&segment.path)? {
                reader.seek(std::mem::take(&mut self.offset));
                self.current = Some((segment, reader));
                return Ok(true);
            }
            if self.offset > 0 {
                self.segments = &[];
            }
        }
        Ok(false)
    }

    fn next_in_file(&mut self, wants: &mut dyn FnMut(&Header) -> bool) -> Result<Option<Item>, JournalError> {
        let Some((segment, reader)) = &mut self.current else { return Ok(None) };
        let failed = |source| failed(&segment.path, source);
        // What is damaged in front of the next header is to be told of.
        if !self.is_within_checkpoint
            && let Some(header) = reader.peek().map_err(failed)?
            && !wants(&header)
            && reader.skip(&header)
        {
            return Ok(Some(Item::Passed(header)));
        }
        let block = reader.next().map_err(failed)?;
        let bytes = block.as_ref().map_or(0, |block| block.bytes);
        segment.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.is_within_checkpoint =
            block.as_ref().is_some_and(|block| matches!(block.content, Content::CheckpointPart));
        Ok(block.map(|block| Item::Block(Box::new(block))))
    }
}
