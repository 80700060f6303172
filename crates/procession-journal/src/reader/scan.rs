//! Reads a file at any place, and finds headers in it.

use std::io::{self, Read as _, SeekFrom};

use memchr::memmem;

use crate::block::{HEADER_BYTES, Header, Parsed, SYNC};

/// Bytes that are searched at first, and the most at a time. It grows in between, so that a search costs as much
/// as it is far to what it finds: a file may be made of nothing but beginnings of blocks.
const STEPS: [usize; 2] = [512, 64 << 10];

/// What stands behind a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// As many bytes as the header says.
    Whole(Vec<u8>),
    /// The file ends before.
    Torn,
    /// Among them is what each block begins with, and no payload has in it.
    Interrupted,
}

#[derive(Debug)]
pub(super) struct Scan<R> {
    inner: R,
}

impl<R: io::Read + io::Seek> Scan<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner }
    }

    #[cfg(test)]
    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    pub(super) fn length(&mut self) -> io::Result<u64> {
        self.inner.seek(SeekFrom::End(0))
    }

    /// What stands at `offset`, which is to be `length` bytes. No more is read than up to where it is clear that it
    /// is not.
    pub(super) fn payload_at(&mut self, offset: u64, length: usize) -> io::Result<Payload> {
        let mut payload = Vec::new();
        let mut step = STEPS[0];
        while payload.len() < length {
            let searched = payload.len().saturating_sub(SYNC.len() - 1);
            let wanted = step.min(length - payload.len());
            let piece = self.read_at(offset.saturating_add(payload.len() as u64), wanted)?;
            payload.extend_from_slice(&piece);
            if memmem::find(&payload[searched..], &SYNC).is_some() {
                return Ok(Payload::Interrupted);
            }
            if piece.len() < wanted {
                return Ok(Payload::Torn);
            }
            step = (step * 2).min(STEPS[1]);
        }
        Ok(Payload::Whole(payload))
    }

    /// Fewer than `length` bytes where the file ends before.
    pub(super) fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if offset <= i64::MAX.cast_unsigned() {
            self.inner.seek(SeekFrom::Start(offset))?;
            self.inner.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    pub(super) fn header_at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let bytes = self.read_at(offset, HEADER_BYTES)?;
        Ok(bytes.as_array().and_then(Parsed::of).map(|parsed| parsed.at(offset)))
    }

    /// The next header that begins at `offset` or behind it; or where the file ends.
    pub(super) fn find_header(&mut self, mut offset: u64) -> io::Result<Result<Header, u64>> {
        let mut step = STEPS[0];
        loop {
            let bytes = self.read_at(offset, step)?;
            let found = memmem::find_iter(&bytes, &SYNC).find_map(|at| {
                let parsed = Parsed::of(bytes.get(at..)?.first_chunk()?)?;
                Some(parsed.at(offset + at as u64))
            });
            if let Some(header) = found {
                return Ok(Ok(header));
            }
            if bytes.len() < step {
                return Ok(Err(offset + bytes.len() as u64));
            }
            offset += (step - HEADER_BYTES + 1) as u64;
            step = (step * 2).min(STEPS[1]);
        }
    }
}
