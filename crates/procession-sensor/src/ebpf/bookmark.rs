//! Where in which ring a reader is, in bytes that outlive it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian as le};

use crate::record::layout::{LAYOUT_VERSION, stat};

/// What begins every bookmark of this form.
const FORM: [u8; 4] = *b"PRB2";

/// A place in a ring, and what had been told of the ring's losses up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bookmark {
    /// The kernel's number of the ring: no other has it until the next boot.
    pub(crate) ring: u32,
    /// What lies before has been handed over.
    pub(crate) position: u64,
    /// What lies before is not needed any more. Between the two there may be parts of arguments whose
    /// exec is still to come.
    pub(crate) needless: u64,
    /// Of the losses that the kernel counts, those that have been reported.
    pub(crate) reported: u64,
    /// Events that were read from the ring since it was made.
    pub(crate) read: u64,
    /// The kernel's counts when the reader began with the ring, which belong to others.
    pub(crate) base: [u64; stat::COUNT],
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Bytes {
    form: [u8; 4],
    layout: le::U32,
    ring: le::U32,
    pad: le::U32,
    position: le::U64,
    needless: le::U64,
    reported: le::U64,
    read: le::U64,
    base: [le::U64; stat::COUNT],
}

impl Bookmark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let bytes = Bytes {
            form: FORM,
            layout: LAYOUT_VERSION.into(),
            ring: self.ring.into(),
            pad: 0.into(),
            position: self.position.into(),
            needless: self.needless.into(),
            reported: self.reported.into(),
            read: self.read.into(),
            base: self.base.map(Into::into),
        };
        bytes.as_bytes().to_vec()
    }

    /// `None` for anything but a bookmark of this form and this layout of records.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = Bytes::read_from_bytes(bytes).ok()?;
        let is_known = bytes.form == FORM && bytes.layout.get() == LAYOUT_VERSION && bytes.pad == 0;
        (is_known && bytes.needless <= bytes.position).then(|| Self {
            ring: bytes.ring.get(),
            position: bytes.position.get(),
            needless: bytes.needless.get(),
            reported: bytes.reported.get(),
            read: bytes.read.get(),
            base: bytes.base.map(le::U64::get),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bookmark_comes_back_as_it_was(
            ring in any::<u32>(),
            needless in any::<u64>(),
            ahead in any::<u64>(),
            reported in any::<u64>(),
            read in any::<u64>(),
            base in any::<[u64; stat::COUNT]>(),
        ) {
            let position = needless.saturating_add(ahead);
            let bookmark = Bookmark { ring, position, needless, reported, read, base };
            prop_assert_eq!(Bookmark::decode(&bookmark.encode()), Some(bookmark));
        }

        #[test]
        fn other_bytes_are_no_bookmark_or_a_plausible_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            prop_assert_eq!(Bookmark::decode(&bytes), None);
            let start = Bookmark { ring: 7, position: 16, needless: 8, reported: 1, read: 9, base: [3; stat::COUNT] };
            let mut changed = start.encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            if let Some(bookmark) = Bookmark::decode(&changed) {
                prop_assert!(bookmark.needless <= bookmark.position);
                prop_assert_eq!(&bookmark.encode(), &changed);
            }
            prop_assert_eq!(Bookmark::decode(&changed[..at]), None);
        }
    }
}
