//! What the BPF programs write: its layout, and how it becomes events.

mod decode;
pub(crate) mod layout;

pub(crate) use decode::{Decoder, Malformed, RecordId, identify};
