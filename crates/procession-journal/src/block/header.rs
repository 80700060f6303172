//! The 64 bytes before each payload.

use procession::BootTime;
use xxhash_rust::xxh3::xxh3_64;

/// What each block begins with, and nothing else in a journal has. As in PNG, the first byte is no
/// text, and what follows tells of a transfer that took the file for text.
pub const SYNC: [u8; 8] = *b"\x9bPRJ\r\n\x1a\n";

/// The version of blocks that is written, and the highest that is read.
pub(crate) const VERSION: u16 = 1;

/// Length of the header.
pub(crate) const HEADER_BYTES: usize = 64;

/// Where the checksum of the header stands: after all that it covers.
const SUM_AT: usize = HEADER_BYTES - size_of::<u64>();

/// What a block is about, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the block begins in the file.
    pub offset: u64,
    /// Its length there.
    pub bytes: u64,
    /// What it holds. `None`: something that this version does not know.
    pub kind: Option<Kind>,
    /// Events in it.
    pub events: u32,
    /// Events that came before it in the journal. `None`: blocks of its kind do not say.
    pub sequence: Option<u64>,
    /// The earliest and the latest time of its events. Of blocks without events: twice when it was made.
    pub first: BootTime,
    /// See `first`.
    pub last: BootTime,
}

/// What a block can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first block of a file.
    Head = 1,
    /// Events.
    Events = 2,
    /// A part of a checkpoint.
    Checkpoint = 3,
    /// Whose containers are.
    Names = 4,
    /// The last block of a file that was closed in order.
    Close = 5,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        [Self::Head, Self::Events, Self::Checkpoint, Self::Names, Self::Close]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Whether blocks of this kind say how many events came before them.
    pub(crate) fn has_sequence(self) -> bool {
        matches!(self, Self::Events | Self::Checkpoint | Self::Close)
    }

    /// The most bytes that a payload may have before it is compressed. A checkpoint comes in parts;
    /// events are read one by one, so that many of them need no more memory than they have here.
    pub(crate) fn max_raw(self) -> usize {
        if self == Self::Events { 64 << 20 } else { 16 << 20 }
    }
}

/// The fields of a header as they stand in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) kind: u8,
    pub(crate) codec: u8,
    pub(crate) version: u16,
    /// Length of the payload in the file.
    pub(crate) stored: u32,
    /// Its length before it was compressed.
    pub(crate) raw: u32,
    pub(crate) events: u32,
    pub(crate) sequence: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Checksum of the payload as it stands in the file.
    pub(crate) payload_sum: u64,
}

/// Fields that passed their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed(pub(crate) Fields);

impl Fields {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&SYNC);
        put(&[self.kind, self.codec]);
        put(&self.version.to_le_bytes());
        for length in [self.stored, self.raw, self.events] {
            put(&length.to_le_bytes());
        }
        for number in [self.sequence, self.first, self.last, self.payload_sum] {
            put(&number.to_le_bytes());
        }
        let sum = xxh3_64(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

impl Parsed {
    /// `None`: it is no header, or a damaged one.
    pub(crate) fn of(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        if !bytes.starts_with(&SYNC) || xxh3_64(&bytes[..SUM_AT]) != long(bytes, SUM_AT) {
            return None;
        }
        Some(Self(Fields {
            kind: bytes[8],
            codec: bytes[9],
            version: u16::from_le_bytes([bytes[10], bytes[11]]),
            stored: int(bytes, 12),
            raw: int(bytes, 16),
            events: int(bytes, 20),
            sequence: long(bytes, 24),
            first: long(bytes, 32),
            last: long(bytes, 40),
            payload_sum: long(bytes, 48),
        }))
    }

    /// Length of the payload before it was compressed.
    pub(crate) fn raw(self) -> usize {
        usize::try_from(self.0.raw).unwrap_or(usize::MAX)
    }

    /// Length of the payload in the file.
    pub(crate) fn stored(self) -> usize {
        usize::try_from(self.0.stored).unwrap_or(usize::MAX)
    }

    /// What it says of the block at `offset`.
    pub(crate) fn at(self, offset: u64) -> Header {
        let Self(fields) = self;
        let kind = Kind::of(fields.kind);
        Header {
            offset,
            bytes: HEADER_BYTES as u64 + u64::from(fields.stored),
            kind,
            events: fields.events,
            sequence: kind.filter(|kind| kind.has_sequence()).map(|_| fields.sequence),
            first: BootTime::from_nanos(fields.first),
            last: BootTime::from_nanos(fields.last),
        }
    }
}

fn int(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn long(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            kind: 2,
            codec: 1,
            version: 0x0304,
            stored: 0x0506_0708,
            raw: 9,
            events: 10,
            sequence: 11,
            first: 12,
            last: 13,
            payload_sum: 14,
        }
    }

    #[test]
    fn a_header_reads_back_and_lies_where_the_format_says() {
        let bytes = fields().to_bytes();
        assert_eq!(Parsed::of(&bytes), Some(Parsed(fields())));
        assert_eq!(bytes[..16], *b"\x9bPRJ\r\n\x1a\n\x02\x01\x04\x03\x08\x07\x06\x05");
        assert_eq!([bytes[24], bytes[32], bytes[40], bytes[48]], [11, 12, 13, 14]);
    }

    #[test]
    fn any_change_is_noticed() {
        for at in 0..HEADER_BYTES {
            for change in 1..=u8::MAX {
                let mut bytes = fields().to_bytes();
                bytes[at] ^= change;
                assert_eq!(Parsed::of(&bytes), None, "byte {at} changed by {change}");
            }
        }
    }
}
