//! How a block lies in a file: a header that can be trusted by itself, and a payload.

mod header;
mod payload;

pub(crate) use header::{Fields, HEADER_BYTES, Parsed, SYNC, VERSION};
pub use header::{Header, Kind};
pub(crate) use payload::{Packed, pack, unpack};
