//! How a block lies in a file: a header that can be trusted by itself, and a payload.

mod header;
mod payload;

pub(crate) use header::{Fields, HEADER_BYTES, Parsed, VERSION};
pub use header::{Header, Kind, SYNC};
pub(crate) use payload::{Packed, pack, unpack};
