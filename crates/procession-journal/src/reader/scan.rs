//! Reads a file at any place, and finds headers in it.

use std::io::{self, Read as _, SeekFrom};

use memchr::memmem;

use crate::block::{HEADER_BYTES, Header, Parsed, SYNC};

/// Bytes that are searched at a time.
const STEP: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Scan<R> {
    inner: R,
}

impl<R: io::Read + io::Seek> Scan<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner }
    }

    pub(super) fn length(&mut self) -> io::Result<u64> {
        self.inner.seek(SeekFrom::End(0))
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
        loop {
            let bytes = self.read_at(offset, STEP)?;
            let found = memmem::find_iter(&bytes, &SYNC).find_map(|at| {
                let parsed = Parsed::of(bytes.get(at..)?.first_chunk()?)?;
                Some(parsed.at(offset + at as u64))
            });
            if let Some(header) = found {
                return Ok(Ok(header));
            }
            if bytes.len() < STEP {
                return Ok(Err(offset + bytes.len() as u64));
            }
            offset += (STEP - HEADER_BYTES + 1) as u64;
        }
    }
}
