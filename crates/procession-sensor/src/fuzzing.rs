//! The parsers of everything that comes from outside, for `fuzz/` and tests. No part of the API.

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

/// Parses a datagram of the proc connector.
pub fn netlink(datagram: &[u8]) {
    connector::parse(datagram);
}

/// Parses `text` as each of the files of `/proc/PID`.
pub fn proc_files(text: &[u8]) {
    proc::parse(text);
}
