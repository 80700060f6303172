//! What was recorded from one boot of a machine to the next.

use std::time::SystemTime;

use procession::{BootTime, Entry, ProcessKey};

use crate::names::Names;
use crate::reader::{Block, Content, Damage};
use crate::recording::Recording;

use super::blocks::{Blocks, Item};
use super::fold::{Fold, Witness, made};
use super::segment::Segment;
use super::{JournalError, Restored};

/// The end of time.
pub(crate) const FOREVER: BootTime = BootTime::from_nanos(u64::MAX);

/// Sources agree on when a process began to less than that, in nanoseconds.
const PRECISION: u64 = 1_000_000_000;

/// The files of one boot, in order.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) segments: Vec<Segment>,
    /// What the last block says.
    pub(crate) recording: Recording,
}

impl Boot {
    pub(crate) fn new(first: Segment) -> Self {
        Self { recording: first.last.clone(), segments: vec![first] }
    }

    pub(crate) fn push(&mut self, segment: Segment) {
        self.recording = segment.last.clone();
        self.segments.push(segment);
    }

    /// When the first and the last event happened, on the wall clock. Whoever reads the clock after the last
    /// event observes still.
    pub(crate) fn span(&self) -> (SystemTime, SystemTime) {
        let first = self.segments.first().map(|segment| segment.first.clock.at(segment.span.0));
        let end = |segment: &Segment| segment.last.clock.at(segment.span.1.max(segment.last.clock.boot()));
        let last = self.segments.iter().map(end).max();
        (first.unwrap_or(SystemTime::UNIX_EPOCH), last.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// The boot time at `time`, by the clock as the nearest block has it.
    pub(crate) fn boot_time(&self, time: SystemTime) -> Result<BootTime, JournalError> {
        let begins_by = |segment: &&Segment| segment.first.clock.at(segment.span.0) <= time;
        let segment = self.segments.iter().rev().find(begins_by).or(self.segments.first());
        let Some(segment) = segment else { return Ok(BootTime::ZERO) };
        let mut clock = segment.first.clock;
        // A clock that was set leads to another block, which may have been begun before that: no more
        // than a few tries.
        for _ in 0..3 {
            let better = segment.clock_at(clock.when(time))?;
            if std::mem::replace(&mut clock, better) == better {
                break;
            }
        }
        Ok(clock.when(time))
    }

    /// A table to go on from, and the blocks that follow: the latest checkpoint that was made by `limit` and
    /// can be read, or an empty table and the first file.
    fn begin(&self, limit: BootTime) -> Result<(Fold, Blocks<'_>), JournalError> {
        for (index, segment) in self.segments.iter().enumerate().rev() {
            let before = self.segments[..index].iter().map(|segment| segment.span.1).max();
            let is_early = |time: BootTime| time.max(before.unwrap_or_default()) <= limit;
            for mark in segment.checkpoints.iter().rev().filter(|mark| is_early(mark.time)) {
                let mut blocks = Blocks::new(&self.segments[index..], mark.offset);
                let block = checkpoint(&mut blocks)?.filter(|block| checkpoint_time(block) <= limit);
                if let Some(block) = block {
                    let mut fold = Fold::default();
                    fold.take(&block, limit, &mut ());
                    return Ok((fold, blocks));
                }
            }
        }
        self.check_beginning(limit)?;
        Ok((Fold::default(), self.blocks()))
    }

    /// What came before the first checkpoint that is left is not known: neither is the table before it.
    fn check_beginning(&self, limit: BootTime) -> Result<(), JournalError> {
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(mark) = segment.checkpoints.first().filter(|_| segment.path.exists()) else { continue };
            let Some(block) = checkpoint(&mut Blocks::new(&self.segments[index..], mark.offset))? else {
                return Ok(());
            };
            let time = checkpoint_time(&block);
            if block.sequence == 0 || time <= limit {
                return Ok(());
            }
            let clock = block.recording.as_ref().map_or(self.recording.clock, |recording| recording.clock);
            let first = clock.at(time);
            return Err(JournalError::OutOfRange { first, last: self.span().1 });
        }
        Ok(())
    }

    /// All blocks.
    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks::new(&self.segments, 0)
    }

    /// Folds all that happened up to `limit`, the nearest checkpoint being the sum of what came before.
    fn fold(&self, limit: BootTime) -> Result<Fold, JournalError> {
        let (mut fold, mut blocks) = self.begin(limit)?;
        go_on(&mut fold, &mut blocks, limit, &mut ())?;
        Ok(fold)
    }

    /// Folds all from the first file on, or from the last checkpoint before `from`. What of that cannot be read.
    pub(crate) fn follow(
        &self,
        from: Option<BootTime>,
        witness: &mut dyn Witness,
    ) -> Result<Vec<Damage>, JournalError> {
        let begun = match from {
            Some(from) => self.begin(from)?,
            None => (Fold::default(), self.blocks()),
        };
        follow_on(begun, witness)
    }

    /// Folds all that may tell of the process that had the image `key`: from the last checkpoint before it was
    /// forked, where that is known, or else from the first file on. What of that cannot be read.
    pub(crate) fn follow_process(
        &self,
        key: ProcessKey,
        witness: &mut dyn Witness,
    ) -> Result<Vec<Damage>, JournalError> {
        match self.unborn(key).and_then(|time| self.begin(time)) {
            Ok(begun) => follow_on(begun, witness),
            // It is older than what is left of the journal.
            Err(JournalError::OutOfRange { .. }) => self.follow(None, witness),
            Err(error) => Err(error),
        }
    }

    /// A time at which the process that had the image `key` was not there yet: 0 if nothing is known of it.
    fn unborn(&self, key: ProcessKey) -> Result<BootTime, JournalError> {
        let began = self.fold(key.start)?.table.get(key).map_or(BootTime::ZERO, Entry::began);
        Ok(BootTime::from_nanos(began.as_nanos().saturating_sub(PRECISION)))
    }

    /// The table at `limit`.
    pub(crate) fn restored(&self, limit: BootTime) -> Result<Restored, JournalError> {
        let fold = self.fold(limit)?;
        Ok(Restored {
            table: fold.table,
            recording: fold.recording.unwrap_or_else(|| self.recording.clone()),
            sequence: fold.sequence,
            bookmark: fold.bookmark,
            names: names_of(std::slice::from_ref(self))?,
            damage: fold.damage,
            is_closed: self.segments.last().is_some_and(|segment| segment.is_closed),
        })
    }
}

/// All containers that these boots name.
pub(crate) fn names_of(boots: &[Boot]) -> Result<Names, JournalError> {
    let mut names = Names::default();
    for segment in boots.iter().flat_map(|boot| &boot.segments) {
        segment.collect_names(&mut names)?;
    }
    Ok(names)
}

/// The checkpoint with which `blocks` begin. `None`: it cannot be read.
fn checkpoint(blocks: &mut Blocks<'_>) -> Result<Option<Box<Block>>, JournalError> {
    while let Some(Item::Block(block)) = blocks.next(&mut |_| true)? {
        match block.content {
            Content::CheckpointPart => {}
            Content::Checkpoint { .. } => return Ok(Some(block)),
            _ => break,
        }
    }
    Ok(None)
}

fn checkpoint_time(block: &Block) -> BootTime {
    match (&block.content, &block.recording) {
        (Content::Checkpoint { checkpoint, .. }, Some(recording)) => made(checkpoint, recording),
        _ => FOREVER,
    }
}

/// Folds all that follows a table to go on from. What of that cannot be read.
fn follow_on(
    (mut fold, mut blocks): (Fold, Blocks<'_>),
    witness: &mut dyn Witness,
) -> Result<Vec<Damage>, JournalError> {
    if let Some(recording) = &fold.recording {
        witness.restored(&fold.table, recording);
    }
    go_on(&mut fold, &mut blocks, FOREVER, witness)?;
    Ok(fold.damage)
}

/// Folds what is left of `blocks`.
fn go_on(
    fold: &mut Fold,
    blocks: &mut Blocks<'_>,
    limit: BootTime,
    witness: &mut dyn Witness,
) -> Result<(), JournalError> {
    while let Some(item) = blocks.next(&mut |header| fold.wants(header, limit))? {
        match item {
            Item::Passed(header) => fold.pass_over(&header),
            Item::Block(block) => fold.take(&block, limit, witness),
        }
    }
    fold.end();
    Ok(())
}
