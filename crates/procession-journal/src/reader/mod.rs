//! From a file to blocks. What is damaged is told of, and passed over.

mod assembly;
mod content;
mod damage;
mod scan;

use std::io;

use procession::BootTime;

use crate::block::{HEADER_BYTES, Header, Kind, Packed, Parsed, VERSION, unpack};
use crate::recording::Recording;

use assembly::Assembly;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use content::events_in;
pub use content::{Content, Events};
pub use damage::Damage;
use damage::why;
use scan::{Payload, Scan};

/// Reads the blocks of one file.
///
/// Another program may be writing the file meanwhile: what is not all there yet is damage for which
/// [`Damage::is_torn`], and the end.
#[derive(Debug)]
pub struct Reader<R> {
    scan: Scan<R>,
    /// Where the next block is to begin.
    offset: u64,
    /// Events before that, as far as that is known.
    expected: Option<u64>,
    /// The file ended within a block: should it grow, the next bytes are not the beginning of one.
    is_over: bool,
    checkpoint: Assembly,
}

/// A block, or what is in the place of one.
#[derive(Debug)]
pub struct Block {
    /// Where it begins in the file, and how many bytes it takes there.
    pub offset: u64,
    /// Its length there.
    pub bytes: u64,
    /// Events that came before it in the journal, as far as that can be known.
    pub sequence: u64,
    /// The earliest and the latest time of its events. Of blocks without events: twice when it was made.
    pub first: BootTime,
    /// See `first`.
    pub last: BootTime,
    /// What every block says. `None`: it cannot be read.
    pub recording: Option<Recording>,
    /// What is in it.
    pub content: Content,
}

impl<R: io::Read + io::Seek> Reader<R> {
    /// From the beginning of the file.
    ///
    /// # Errors
    ///
    /// None today: a file that is no journal is nothing but damage.
    pub fn new(inner: R) -> io::Result<Self> {
        Ok(Self {
            scan: Scan::new(inner),
            offset: 0,
            expected: None,
            is_over: false,
            checkpoint: Assembly::default(),
        })
    }

    /// What it reads from.
    #[cfg(test)]
    pub(crate) fn into_inner(self) -> R {
        self.scan.into_inner()
    }

    /// Goes to the block that begins at `offset`, as a [`Header`] or a [`Block`] had it.
    pub fn seek(&mut self, offset: u64) {
        (self.offset, self.expected, self.is_over) = (offset, None, false);
        self.checkpoint = Assembly::default();
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> io::Result<Option<Block>> {
        if self.is_over {
            return Ok(None);
        }
        let bytes = self.scan.read_at(self.offset, HEADER_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(parsed) = bytes.as_array().and_then(Parsed::of) else {
            let why = if bytes.len() < HEADER_BYTES { why::TORN } else { why::NO_BLOCK };
            return self.pass_over_unknown(why).map(Some);
        };
        let header = parsed.at(self.offset);
        if let Some(damage) = self.disorder(&header)? {
            return Ok(Some(damage));
        }
        self.read(parsed, &header).map(Some)
    }

    /// The next block, without what is in it: nothing but its header is read, and what is in front of it
    /// that is damaged is passed over. `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn next_header(&mut self) -> io::Result<Option<Header>> {
        let header = match self.scan.header_at(self.offset)? {
            Some(header) => Some(header),
            None => self.scan.find_header(self.offset.saturating_add(1))?.ok(),
        };
        let Some(header) = header else { return Ok(None) };
        self.seek(header.offset.saturating_add(header.bytes));
        Ok(Some(header))
    }

    /// The header of the block that stands right where reading goes on. Nothing is read on.
    pub(crate) fn peek(&mut self) -> io::Result<Option<Header>> {
        if self.is_over { Ok(None) } else { self.scan.header_at(self.offset) }
    }

    /// Passes over the block that was [peeked](Self::peek) at, if it stands in its place. If not, there is
    /// damage to be told of by [`next`](Self::next).
    pub(crate) fn skip(&mut self, header: &Header) -> bool {
        let expected = self.expected.filter(|_| header.kind != Some(Kind::Head));
        let is_in_order =
            header.sequence.zip(expected).is_none_or(|(sequence, expected)| sequence == expected);
        if is_in_order {
            self.expected =
                header.sequence.or(expected).map(|before| before.saturating_add(header.events.into()));
            self.offset = header.offset.saturating_add(header.bytes);
            self.checkpoint = Assembly::default();
        }
        is_in_order
    }

    /// Tells of what is missing before a block, or that it should have stood before others.
    fn disorder(&mut self, header: &Header) -> io::Result<Option<Block>> {
        if header.kind == Some(Kind::Head) {
            self.expected = None;
        }
        let Some((sequence, expected)) = header.sequence.zip(self.expected) else { return Ok(None) };
        if sequence < expected {
            return self.pass_over(header, why::REPEATED).map(Some);
        }
        self.expected = Some(sequence);
        let missing = sequence - expected;
        Ok((missing > 0).then(|| self.damage(header.offset, why::MISSING, Some(missing))))
    }

    /// The block behind a header that can be trusted.
    fn read(&mut self, parsed: Parsed, header: &Header) -> io::Result<Block> {
        self.expected = header.sequence.or(self.expected);
        let sequence = self.expected.unwrap_or_default();
        self.expected = self.expected.map(|before| before.saturating_add(header.events.into()));
        if self.scan.length()? < header.offset.saturating_add(header.bytes) {
            return self.pass_over(header, why::TORN);
        }
        let content = match understood(parsed, header) {
            Err(why) => Err(why),
            Ok(kind) => {
                let packed = match self.packed(parsed, header)? {
                    Ok(packed) => packed,
                    Err(why) => return self.pass_over(header, why),
                };
                match unpack(packed, parsed.raw()) {
                    Ok(raw) => content::decode(kind, header, raw.into(), &mut self.checkpoint),
                    Err(why) => return self.pass_over(header, why),
                }
            }
        };
        self.offset = self.offset.saturating_add(header.bytes);
        let Header { offset, bytes, first, last, .. } = *header;
        Ok(match content {
            Ok((recording, content)) => {
                Block { offset, bytes, sequence, first, last, recording: Some(recording), content }
            }
            Err(why) => self.damage(offset, why, Some(header.events.into())),
        })
    }

    /// The payload, or why there is none: another block begins in it; or the file ends before it does, though it did
    /// not a moment ago.
    fn packed(&mut self, parsed: Parsed, header: &Header) -> io::Result<Result<Packed, &'static str>> {
        let Parsed(fields) = parsed;
        let (Ok(length), Some(at)) =
            (usize::try_from(fields.stored), header.offset.checked_add(HEADER_BYTES as u64))
        else {
            return Ok(Err(why::TORN));
        };
        Ok(match self.scan.payload_at(at, length)? {
            Payload::Whole(stored) => Ok(Packed { codec: fields.codec, sum: fields.payload_sum, stored }),
            Payload::Torn => Err(why::TORN),
            Payload::Interrupted => Err(why::INTERRUPTED),
        })
    }

    /// Passes over a block whose payload is damaged. Where it ends there is another block, or the file
    /// ends too; or else it is not as long any more as its header says. Nor is it if another begins in it: a
    /// header that was forged is not to hide those that follow.
    fn pass_over(&mut self, header: &Header, why: &'static str) -> io::Result<Block> {
        let end = header.offset.saturating_add(header.bytes);
        let is_whole =
            why != why::INTERRUPTED && (self.scan.header_at(end)?.is_some() || self.scan.length()? == end);
        let found = if is_whole { Ok(end) } else { self.find(header.offset + HEADER_BYTES as u64)? };
        self.is_over = found.is_err();
        self.offset = found.unwrap_or_else(|end| end);
        // Its writer is done with what another block follows, however short the file is.
        let why = if why == why::TORN && found.is_ok() { why::INTERRUPTED } else { why };
        Ok(self.damage(header.offset, why, Some(header.events.into())))
    }

    /// Passes over what does not begin like a block.
    fn pass_over_unknown(&mut self, why: &'static str) -> io::Result<Block> {
        let start = self.offset;
        let found = self.scan.find_header(start + 1)?;
        self.is_over = found.is_err();
        self.offset = found.map_or_else(|end| end, |header| header.offset);
        let sequence = found.ok().and_then(|header| header.sequence);
        let missing = sequence.zip(self.expected).and_then(|(found, known)| found.checked_sub(known));
        self.expected = missing.and(sequence).or(self.expected);
        Ok(self.damage(start, why, missing))
    }

    /// Where the next header stands from `offset` on, or the end of the file.
    fn find(&mut self, offset: u64) -> io::Result<Result<u64, u64>> {
        Ok(self.scan.find_header(offset)?.map(|header| header.offset))
    }

    /// What stands from `start` up to where reading goes on.
    fn damage(&self, start: u64, why: &'static str, events: Option<u64>) -> Block {
        let bytes = self.offset - start;
        Block {
            offset: start,
            bytes,
            sequence: self.expected.unwrap_or_default().saturating_sub(events.unwrap_or_default()),
            first: BootTime::ZERO,
            last: BootTime::ZERO,
            recording: None,
            content: Content::Damage(Damage { offset: start, bytes, why, events }),
        }
    }
}

/// The kind of a block, if it is one that can be read here. Nothing compressed is longer than it was before.
fn understood(parsed: Parsed, header: &Header) -> Result<Kind, &'static str> {
    if parsed.0.version > VERSION {
        return Err(why::NEWER);
    }
    let kind = header.kind.ok_or(why::UNKNOWN_KIND)?;
    let longest = parsed.raw().max(parsed.stored());
    if longest > kind.max_raw() { Err(why::TOO_LONG) } else { Ok(kind) }
}
