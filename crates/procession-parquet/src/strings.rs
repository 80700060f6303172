//! Many texts, of which most are there more than once.

use std::fmt;
use std::hash::BuildHasher as _;
use std::ops::{AddAssign, Range};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parquet::data_type::ByteArray;

/// Texts in their order; equal ones share their bytes.
#[derive(Default)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    /// Each text once.
    known: HashTable<Range<usize>>,
    hasher: RandomState,
}

/// By about how many bytes something grew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Growth {
    /// In memory.
    pub(crate) memory: usize,
    /// As each reader will have it.
    pub(crate) length: usize,
}

impl AddAssign for Growth {
    fn add_assign(&mut self, other: Self) {
        self.memory += other.memory;
        self.length += other.length;
    }
}

impl Strings {
    /// Adds a text, and says by how much it grew.
    pub(crate) fn push(&mut self, text: &str) -> Growth {
        let Self { bytes, ranges, known, hasher } = self;
        let hash = hasher.hash_one(text.as_bytes());
        if let Some(range) = known.find(hash, |range| bytes[range.clone()] == *text.as_bytes()) {
            ranges.push(range.clone());
            return Growth { memory: size_of::<ByteArray>(), length: text.len() };
        }
        let range = bytes.len()..bytes.len() + text.len();
        bytes.extend_from_slice(text.as_bytes());
        known.insert_unique(hash, range.clone(), |range| hasher.hash_one(&bytes[range.clone()]));
        ranges.push(range);
        let memory = size_of::<ByteArray>() + 2 * size_of::<Range<usize>>() + text.len();
        Growth { memory, length: text.len() }
    }

    /// All of them, in their order; it is empty then.
    pub(crate) fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.known.clear();
        self.ranges.drain(..).map(|range| bytes.slice(range).into()).collect()
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strings").field("texts", &self.ranges.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_in_their_order_and_equal_ones_take_no_room() {
        let mut strings = Strings::default();
        let texts = ["a", "", "bc", "a", "", "\u{fffd}", "bc"];
        let grown: Vec<_> = texts.iter().map(|text| strings.push(text).memory).collect();
        assert!(grown[3] < grown[0] && grown[6] < grown[2]);
        assert_eq!(strings.bytes.len(), 6);
        let taken: Vec<_> = strings.take().iter().map(|text| text.as_utf8().unwrap().to_owned()).collect();
        assert_eq!(taken, texts);
        assert!(strings.take().is_empty());
        strings.push("bc");
        assert_eq!(strings.take()[0].data(), b"bc", "what was known before it was taken is not");
    }
}
