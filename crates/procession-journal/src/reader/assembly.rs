//! A checkpoint from its parts, which follow one another.
//!
//! A block says much in few bytes once it is decoded, and more if somebody wants it to. So its parts are decoded
//! one by one, and what they weigh is charged against what a checkpoint of such a table can be.

use bytes::Bytes;
use procession::{Checkpoint, CheckpointBuilder, TableConfig};

use super::damage::why;
use crate::block::Header;
use crate::codec::checkpoint::{is_part, state, weight, with_part};
use crate::codec::wire::{Fields, Value};
use crate::proto;
use crate::recording::Recording;

/// A checkpoint may weigh as much whatever is said of its table, and however short it is in the file.
const FREE: usize = 64 << 20;
/// The most weight for each byte of the table's budget: a part is charged more than it takes there.
const PER_BUDGET: usize = 16;
/// The most weight for each byte in the file. Those of a table with nothing but equal processes have a tenth of it.
const PER_STORED: usize = 256;

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
    table: TableConfig,
    /// Bytes in the file, and what they weigh.
    stored: usize,
    weight: usize,
}

type Made = (Option<u64>, procession::BootTime);

impl Assembly {
    /// Takes a block: `part` is what it says beside the repeated fields in `payload`. Gives the checkpoint, if
    /// it was the last one.
    ///
    /// # Errors
    ///
    /// What is wrong. Nothing can be made of the blocks so far.
    pub(super) fn add(
        &mut self,
        part: &proto::Checkpoint,
        payload: &Bytes,
        recording: &Recording,
        header: &Header,
    ) -> Result<Option<(Checkpoint, Bytes)>, &'static str> {
        let made = (header.sequence, header.first);
        let begun = if part.part == 0 { Some(Begun::new(part, recording, made)?) } else { self.0.take() };
        let mut begun =
            begun.filter(|begun| begun.next == part.part && begun.made == made).ok_or(why::NO_PART)?;
        begun.next = begun.next.saturating_add(1);
        begun.stored = begun.stored.saturating_add(usize::try_from(header.bytes).unwrap_or(usize::MAX));
        begun.add_parts(payload)?;
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
        let table = recording.table;
        let builder = CheckpointBuilder::new(table, state);
        let bookmark = part.bookmark.clone();
        Ok(Self { builder, bookmark, next: 0, made, table, stored: 0, weight: 0 })
    }

    fn add_parts(&mut self, payload: &Bytes) -> Result<(), &'static str> {
        for field in Fields::of(payload) {
            let (number, value) = field.map_err(|_| why::MALFORMED)?;
            let Value::Delimited(bytes) = value else { continue };
            if !is_part(number) {
                continue;
            }
            self.weight = self.weight.saturating_add(weight(number, bytes));
            if self.weight > self.heaviest() {
                return Err(why::TOO_MUCH);
            }
            let added = with_part(number, payload.slice_ref(bytes), |part| self.builder.add(part));
            added.ok_or(why::NO_CHECKPOINT)?.map_err(|_| why::NO_CHECKPOINT)?;
        }
        Ok(())
    }

    fn heaviest(&self) -> usize {
        let of_budget = self.table.budget.saturating_mul(PER_BUDGET);
        of_budget.min(self.stored.saturating_mul(PER_STORED)).max(FREE)
    }
}
