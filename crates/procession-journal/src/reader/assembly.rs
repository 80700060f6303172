//! A checkpoint from its parts, which follow one another.

use bytes::Bytes;
use procession::{Checkpoint, CheckpointBuilder};

use super::damage::why;
use crate::block::Header;
use crate::codec::checkpoint::{parts, state};
use crate::proto;
use crate::recording::Recording;

/// The parts so far. `None`: the next must be the first.
#[derive(Debug, Default)]
pub(super) struct Assembly(Option<Begun>);

#[derive(Debug)]
struct Begun {
    builder: CheckpointBuilder,
    bookmark: Bytes,
    /// The number of the next part.
    next: u32,
    /// All parts of a checkpoint say the same of when it was made.
    made: Made,
}

type Made = (Option<u64>, procession::BootTime);

impl Assembly {
    /// Takes a part: the checkpoint, if it was the last one.
    ///
    /// # Errors
    ///
    /// What is wrong. Nothing can be made of the parts so far.
    pub(super) fn add(
        &mut self,
        part: &proto::Checkpoint,
        recording: &Recording,
        header: &Header,
    ) -> Result<Option<(Checkpoint, Bytes)>, &'static str> {
        let made = (header.sequence, header.first);
        let begun = if part.part == 0 { Some(Begun::new(part, recording, made)?) } else { self.0.take() };
        let mut begun =
            begun.filter(|begun| begun.next == part.part && begun.made == made).ok_or(why::NO_PART)?;
        begun.next = begun.next.saturating_add(1);
        for part in parts(part) {
            begun.builder.add(&part.ok_or(why::NO_CHECKPOINT)?).map_err(|_| why::NO_CHECKPOINT)?;
        }
        if !part.is_last {
            self.0 = Some(begun);
            return Ok(None);
        }
        let checkpoint = begun.builder.finish().map_err(|_| why::NO_CHECKPOINT)?;
        Ok(Some((checkpoint, begun.bookmark)))
    }
}

impl Begun {
    fn new(part: &proto::Checkpoint, recording: &Recording, made: Made) -> Result<Self, &'static str> {
        let state = state(part.state.as_ref().ok_or(why::NO_CHECKPOINT)?);
        let builder = CheckpointBuilder::new(recording.table, state);
        Ok(Self { builder, bookmark: part.bookmark.clone(), next: 0, made })
    }
}
