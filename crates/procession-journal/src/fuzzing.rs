//! Blocks around any payload, for `fuzz/` and tests. No part of the API.

use std::path::Path;

use crate::block::{Kind, Packed, Parsed, unpack};
use crate::writer::RawBlock;

/// A block as it stands in a file, with this payload and a header that fits it, after `sequence` events. `kind` is
/// as in the header; any other number stands for one of the kinds too.
pub fn seal(kind: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let kinds = [Kind::Head, Kind::Events, Kind::Checkpoint, Kind::Names, Kind::Close];
    let block = RawBlock::around(kinds[usize::from(kind.wrapping_sub(1)) % kinds.len()], sequence, payload);
    block.to_bytes().unwrap_or_default()
}

/// The blocks of a file that can be read: the number of their kind, the events before them, their payload.
pub fn taken_apart(file: &[u8]) -> Vec<(u8, u64, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut rest = file;
    while let Some((parsed, after)) =
        rest.split_first_chunk().and_then(|(header, rest)| Some((Parsed::of(header)?, rest)))
        && let Some((stored, after)) = after.split_at_checked(parsed.stored())
    {
        let Parsed(fields) = parsed;
        let packed = Packed { codec: fields.codec, sum: fields.payload_sum, stored: stored.to_vec() };
        blocks.extend(unpack(packed, parsed.raw()).map(|payload| (fields.kind, fields.sequence, payload)));
        rest = after;
    }
    blocks
}

/// The number in the name of a file that is taken for one of a journal's. `None`: it is another's.
pub fn number_in(name: &Path) -> Option<u64> {
    crate::directory::number_of(name)
}
