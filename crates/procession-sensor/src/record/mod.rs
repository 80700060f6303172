//! What the BPF programs write: its layout, and how it becomes events.

#[cfg(test)]
mod build;
#[cfg(test)]
mod capture;
mod decode;
pub(crate) mod layout;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoder, Malformed, RecordId, identify};

/// The records in a file: each as it came out of the ring, after its length as a little-endian `u32`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn recorded(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = file.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        file = rest;
        Some(record)
    })
}
