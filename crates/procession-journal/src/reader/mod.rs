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
    /// Events up to the end of the file before this one, until a block of this one says how many came before it.
    before: Option<u64>,
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
    /// The earliest and the latest time of its events. Of blocks without events: twice when it was made. Of damage that
    /// no header tells of: 0.
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
            before: None,
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
        (self.offset, self.expected, self.before, self.is_over) = (offset, None, None, false);
        self.checkpoint = Assembly::default();
    }

    /// Goes to the beginning of a file that follows another of the same boot, at whose end [`sequence`] was `before`:
    /// if its first block says that more events came before it, those in between are missing. If it says that it
    /// were fewer, a new count begins.
    ///
    /// [`sequence`]: Self::sequence
    pub fn begin_behind(&mut self, before: Option<u64>) {
        self.seek(0);
        self.before = before;
    }

    /// Events of the journal up to where reading goes on, as far as that is known. Those of a block that its writer
    /// has not finished are not among them: they come again.
    pub fn sequence(&self) -> Option<u64> {
        self.expected.or(self.before)
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
        loop {
            let bytes = self.scan.read_at(self.offset, HEADER_BYTES)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(parsed) = bytes.as_array().and_then(Parsed::of) {
                return self.next_behind(parsed).map(Some);
            }
            let found = self.header_from(self.offset)?;
            if found.is_ok_and(|header| header.offset == self.offset) {
                // Its writer has finished it meanwhile.
                continue;
            }
            let is_torn = bytes.len() < HEADER_BYTES && found.is_err();
            let why = if is_torn { why::TORN } else { why::NO_BLOCK };
            return Ok(Some(self.pass_over_unknown(found, why)));
        }
    }

    /// What there is to tell where a header stands: what is missing in front of it, or else its block.
    fn next_behind(&mut self, parsed: Parsed) -> io::Result<Block> {
        let header = parsed.at(self.offset);
        match self.disorder(&header)? {
            Some(damage) => Ok(damage),
            None => self.read(parsed, &header),
        }
    }

    /// The next block, without what is in it: nothing but its header is read, and what is in front of it
    /// that is damaged is passed over. `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn next_header(&mut self) -> io::Result<Option<Header>> {
        let Ok(header) = self.header_from(self.offset)? else { return Ok(None) };
        let (behind, _) = self.behind(&header)?;
        self.seek(behind);
        Ok(Some(header))
    }

    /// The header of the block that stands right where reading goes on. Nothing is read on.
    pub(crate) fn peek(&mut self) -> io::Result<Option<Header>> {
        if self.is_over { Ok(None) } else { self.scan.header_at(self.offset) }
    }

    /// Passes over the block that was [peeked](Self::peek) at, if it stands in its place and is whole. If not, it is
    /// for [`next`](Self::next) to judge.
    pub(crate) fn skip(&mut self, header: &Header) -> io::Result<bool> {
        let expected = self.expected_at(header);
        let is_in_order =
            header.sequence.zip(expected).is_none_or(|(sequence, expected)| sequence == expected);
        if !is_in_order || !self.behind(header)?.1 {
            return Ok(false);
        }
        self.pass(header, expected);
        self.offset = header.offset.saturating_add(header.bytes);
        self.checkpoint = Assembly::default();
        Ok(true)
    }

    /// Events that are to have come before a block. `None`: it may say whatever it does.
    fn expected_at(&self, header: &Header) -> Option<u64> {
        // Files may be joined, and each begins with a head.
        let within = self.expected.filter(|_| header.kind != Some(Kind::Head));
        let behind = self.before.filter(|before| header.sequence.is_some_and(|sequence| *before < sequence));
        within.or(behind)
    }

    /// Counts the events of a block which so many came before, unless it says itself.
    fn pass(&mut self, header: &Header, expected: Option<u64>) {
        let before = header.sequence.or(expected);
        self.expected = before.map(|before| before.saturating_add(header.events.into()));
        if header.sequence.is_some() {
            self.before = None;
        }
    }

    /// Tells of what is missing before a block, or that it should have stood before others.
    fn disorder(&mut self, header: &Header) -> io::Result<Option<Block>> {
        self.expected = self.expected_at(header);
        let Some((sequence, expected)) = header.sequence.zip(self.expected) else { return Ok(None) };
        if sequence < expected {
            return self.pass_over(header, why::REPEATED).map(Some);
        }
        (self.expected, self.before) = (Some(sequence), None);
        let missing = sequence - expected;
        Ok((missing > 0).then(|| self.damage(header.offset, why::MISSING, Some(missing))))
    }

    /// The block behind a header that can be trusted.
    fn read(&mut self, parsed: Parsed, header: &Header) -> io::Result<Block> {
        if let Some(short) = self.cut_short(header)? {
            return Ok(short);
        }
        let sequence = header.sequence.or(self.expected).unwrap_or_default();
        let content = match self.payload(parsed, header)? {
            Ok((kind, raw)) => content::decode(kind, header, raw.into(), &mut self.checkpoint),
            Err(why) => return self.pass_over(header, why),
        };
        self.pass(header, self.expected);
        self.offset = self.offset.saturating_add(header.bytes);
        let Header { offset, bytes, first, last, .. } = *header;
        Ok(match content {
            Ok((recording, content)) => {
                Block { offset, bytes, sequence, first, last, recording: Some(recording), content }
            }
            Err(why) => self.damage_behind(header, why),
        })
    }

    /// What there is to tell of a block within which the file ends. `None`: it does not. Its writer may be at work: so
    /// it counts how long the file is when the rest of it has been searched.
    fn cut_short(&mut self, header: &Header) -> io::Result<Option<Block>> {
        let end = header.offset.saturating_add(header.bytes);
        if self.scan.length()? >= end {
            return Ok(None);
        }
        let found = self.find_behind(header)?;
        if self.scan.length()? >= end {
            return Ok(None);
        }
        Ok(Some(self.go_on_at(found, header, why::TORN)))
    }

    /// What is in a block, or why that cannot be told.
    fn payload(
        &mut self,
        parsed: Parsed,
        header: &Header,
    ) -> io::Result<Result<(Kind, Vec<u8>), &'static str>> {
        let kind = match understood(parsed, header) {
            Ok(kind) => kind,
            Err(why) => return Ok(Err(why)),
        };
        let packed = self.packed(parsed, header)?;
        Ok(packed.and_then(|packed| unpack(packed, parsed.raw())).map(|raw| (kind, raw)))
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

    /// Passes over a block that cannot be read. If another begins in it, a header that was forged is not to hide
    /// those that follow.
    fn pass_over(&mut self, header: &Header, why: &'static str) -> io::Result<Block> {
        let (behind, is_whole) = self.behind(header)?;
        let found = if is_whole && why != why::INTERRUPTED { Ok(behind) } else { self.find_behind(header)? };
        Ok(self.go_on_at(found, header, why))
    }

    /// Goes on behind a block that cannot be read: where another was `found`, or else where the file ends.
    fn go_on_at(&mut self, found: Result<u64, u64>, header: &Header, why: &'static str) -> Block {
        self.is_over = found.is_err();
        self.offset = found.unwrap_or_else(|end| end);
        // Its writer is done with what another block follows, however short the file is.
        let why = if why == why::TORN && found.is_ok() { why::INTERRUPTED } else { why };
        let expected = self.expected;
        if why != why::REPEATED {
            self.pass(header, expected);
        }
        let damage = self.damage_behind(header, why);
        if why == why::TORN {
            // What is in it comes again, in the next file.
            self.expected = header.sequence.or(expected);
        }
        damage
    }

    /// Where to look for what follows a block, and whether it is whole. Where it ends there is another block, or the
    /// file ends too; or else it is not as long any more as its header says.
    fn behind(&mut self, header: &Header) -> io::Result<(u64, bool)> {
        let end = header.offset.saturating_add(header.bytes);
        let is_whole = self.scan.header_at(end)?.is_some() || self.scan.length()? == end;
        Ok((if is_whole { end } else { payload_of(header) }, is_whole))
    }

    /// Where the next header stands behind that of a block, or the end of the file.
    fn find_behind(&mut self, header: &Header) -> io::Result<Result<u64, u64>> {
        Ok(self.scan.find_header(payload_of(header))?.map(|header| header.offset))
    }

    /// The header at `offset`, or the next behind it; or where the file ends. Its writer may finish the one at `offset`
    /// while the others are looked for.
    fn header_from(&mut self, offset: u64) -> io::Result<Result<Header, u64>> {
        if let Some(header) = self.scan.header_at(offset)? {
            return Ok(Ok(header));
        }
        let found = self.scan.find_header(offset.saturating_add(1))?;
        Ok(self.scan.header_at(offset)?.map_or(found, Ok))
    }

    /// Passes over what does not begin like a block, up to the header that was `found` or the end of the file.
    fn pass_over_unknown(&mut self, found: Result<Header, u64>, why: &'static str) -> Block {
        let start = self.offset;
        self.is_over = found.is_err();
        self.offset = found.map_or_else(|end| end, |header| header.offset);
        let sequence = found.ok().and_then(|header| header.sequence);
        let missing = sequence.zip(self.sequence()).and_then(|(found, known)| found.checked_sub(known));
        self.expected = missing.and(sequence).or(self.expected);
        self.damage(start, why, missing)
    }

    /// The block up to whose end reading has gone on is damaged.
    fn damage_behind(&self, header: &Header, why: &'static str) -> Block {
        let damage = self.damage(header.offset, why, Some(header.events.into()));
        Block { first: header.first, last: header.last, ..damage }
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

/// Where the payload of a block begins.
fn payload_of(header: &Header) -> u64 {
    header.offset.saturating_add(HEADER_BYTES as u64)
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
