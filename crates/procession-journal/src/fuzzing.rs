//! Blocks around any payload, for `fuzz/` and tests. No part of the API.

use crate::block::Kind;
use crate::writer::RawBlock;

/// A block as it stands in a file, with this payload and a header that fits it. `kind` is as in the header; any
/// other number stands for one of the kinds too.
pub fn seal(kind: u8, payload: &[u8]) -> Vec<u8> {
    let kinds = [Kind::Head, Kind::Events, Kind::Checkpoint, Kind::Names, Kind::Close];
    let block = RawBlock::around(kinds[usize::from(kind.wrapping_sub(1)) % kinds.len()], payload);
    block.to_bytes().unwrap_or_default()
}
