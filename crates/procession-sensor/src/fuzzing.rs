//! The parsers of everything that comes from outside, for `fuzz/` and tests. No part of the API.

use crate::ebpf::bookmark::Bookmark;
use crate::ebpf::ring;
use crate::record::{Decoder, recorded};
use crate::source::Sink;
use crate::{connector, proc};

/// Decodes a file of recorded records, in one go, as they come out of the ring.
pub fn records(file: &[u8], sink: Sink<'_>) {
    let mut decoder = Decoder::default();
    for record in recorded(file) {
        if let Ok(Some(event)) = decoder.decode(record) {
            sink(&event);
        }
    }
}

/// Reads a ring with this data from `position` up to `produced`, and decodes each record in it. The result is where
/// reading ends.
///
/// # Panics
///
/// The data is no power of two of bytes.
pub fn ring(data: &[u8], position: usize, produced: usize, sink: Sink<'_>) -> usize {
    assert!(data.len().is_power_of_two(), "a ring has such a size");
    let mut decoder = Decoder::default();
    ring::walk(data, position, produced, &mut |record| {
        if let Ok(Some(event)) = decoder.decode(record) {
            sink(&event);
        }
    })
}

/// Reads a bookmark, and gives the bytes that are written for the same place.
pub fn bookmark(bytes: &[u8]) -> Option<Vec<u8>> {
    Bookmark::decode(bytes).map(|bookmark| bookmark.encode())
}

/// Parses a datagram of the proc connector.
pub fn netlink(datagram: &[u8]) {
    connector::parse(datagram);
}

/// Parses `text` as each of the files of `/proc/PID`.
pub fn proc_files(text: &[u8]) {
    proc::parse(text);
}
