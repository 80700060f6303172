//! From events to blocks, and from blocks to a file.

use std::io;
use std::iter;

use procession::{BootTime, Checkpoint, Event, EventKind, Ledger, Table};
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3;

use crate::block::{Fields, Kind, VERSION, pack};
use crate::codec::checkpoint::{put_part, put_state};
use crate::codec::event::put_event;
use crate::codec::recording::{put_ledger, put_recording};
use crate::codec::wire::Put;
use crate::names::Container;
use crate::proto;
use crate::recording::Recording;

/// The messages of all blocks, as a `google.protobuf.FileDescriptorSet`.
const SCHEMA: &[u8] = include_bytes!("proto/descriptors.binpb");

/// Room for what is in a block of events besides these.
const RESERVE: usize = 1 << 20;

/// Bytes of a part of a checkpoint, or of a block of names, after which the next is begun.
const PART: usize = 1 << 20;

/// The most bytes that are told of one container.
const LONGEST_CONTAINER: usize = 8 << 20;

/// Makes a block of events, one after the other. Encodes; does no I/O and no compression.
#[derive(Debug)]
pub struct BlockBuilder {
    raw: Vec<u8>,
    /// Events before the block, and in it.
    before: u64,
    events: u32,
    /// The earliest and the latest time of its events.
    span: Option<(BootTime, BootTime)>,
}

/// A block before it is compressed. Cheap to send to another thread.
#[derive(Clone, Debug)]
pub struct RawBlock {
    kind: Kind,
    events: u32,
    sequence: u64,
    first: BootTime,
    last: BootTime,
    raw: Vec<u8>,
}

impl BlockBuilder {
    /// Bytes with which a block is long enough: longer ones compress little better, and cost more when
    /// they are lost.
    pub const FULL: usize = 256 << 10;

    /// Of a journal in which `sequence` events came before.
    pub fn new(sequence: u64) -> Self {
        Self { raw: Vec::new(), before: sequence, events: 0, span: None }
    }

    /// Adds an event: allocates only when the block grows.
    ///
    /// An event that has no room in a block any more, which holds up to 63 MiB, is added as one that was
    /// lost. No source tells of any that long; blocks are to be taken long before.
    pub fn push(&mut self, event: &Event<'_>) {
        let start = self.raw.len();
        put_one(&mut self.raw, event);
        if self.raw.len() > Kind::Events.max_raw() - RESERVE {
            self.raw.truncate(start);
            put_one(&mut self.raw, &Event { time: event.time, kind: EventKind::Lost(1) });
        }
        self.note_time(event.time);
        self.events += 1;
    }

    /// Adds what may be no event.
    #[cfg(test)]
    pub(crate) fn push_encoded(&mut self, event: &[u8]) {
        Put::new(&mut self.raw).some_bytes(2, Some(event));
        self.events += 1;
    }

    fn note_time(&mut self, time: BootTime) {
        let (earliest, latest) = self.span.unwrap_or((time, time));
        self.span = Some((earliest.min(time), latest.max(time)));
    }

    /// Events in the block so far.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes of the block so far.
    pub fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// The sequence number that the next event will have: the events before it in the journal.
    pub fn sequence(&self) -> u64 {
        self.before.saturating_add(u64::from(self.events))
    }

    /// Takes the block, and begins the next. `recording` has the clock as it stands now; `bookmark` says
    /// up to where the source was read.
    pub fn take(&mut self, recording: &Recording, bookmark: &[u8]) -> RawBlock {
        let mut put = Put::new(&mut self.raw);
        put.message(1, |put| put_recording(put, recording));
        put.bytes(3, bookmark);
        // One that was longer than most says nothing of the next.
        let room = self.raw.len().min(2 * Self::FULL);
        let next = Self { raw: Vec::with_capacity(room), ..Self::new(self.sequence()) };
        let Self { raw, before, events, span } = std::mem::replace(self, next);
        let (first, last) = span.unwrap_or_default();
        RawBlock { kind: Kind::Events, events, sequence: before, first, last, raw }
    }
}

fn put_one(raw: &mut Vec<u8>, event: &Event<'_>) {
    Put::new(raw).message(2, |put| put_event(put, event));
}

/// A container with as much of its pod as fits. `None`: it is too long without.
fn encode_container(container: &Container) -> Option<Vec<u8>> {
    let mut message = proto::Container::from(container);
    let shorten: [fn(&mut proto::Pod); 2] = [|pod| pod.annotations.clear(), |pod| pod.labels.clear()];
    for shorten in shorten {
        if message.encoded_len() > LONGEST_CONTAINER {
            message.pod.iter_mut().for_each(shorten);
        }
    }
    (message.encoded_len() <= LONGEST_CONTAINER).then(|| message.encode_to_vec())
}

impl RawBlock {
    /// The first block of a file.
    pub fn head(recording: &Recording) -> Self {
        Self::made_now(Kind::Head, recording, 0, |put| {
            put.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            put.bytes(3, SCHEMA);
        })
    }

    /// A checkpoint after `sequence` events, in as many blocks as it takes: at least one. Each is made when it is
    /// asked for, because all of them may take as much memory as the table.
    pub fn checkpoint<'c>(
        recording: &'c Recording,
        checkpoint: &'c Checkpoint,
        sequence: u64,
        bookmark: &'c [u8],
    ) -> impl Iterator<Item = Self> + 'c {
        let mut parts = checkpoint.parts().peekable();
        let mut numbers = 0..u32::MAX;
        let mut is_whole = false;
        iter::from_fn(move || {
            let number = numbers.next().filter(|_| !is_whole)?;
            let mut body = Vec::new();
            let mut put = Put::new(&mut body);
            if number == 0 {
                put.message(4, |put| put_state(put, &checkpoint.state()));
                put.bytes(11, bookmark);
            }
            while put.len() < PART
                && let Some(part) = parts.next()
            {
                put_part(&mut put, &part);
            }
            is_whole = parts.peek().is_none();
            Some(Self::made_now(Kind::Checkpoint, recording, sequence, |put| {
                put.number(2, number);
                put.number(3, is_whole);
                put.fields(&body);
            }))
        })
    }

    /// What was said of containers, in as many blocks as it takes.
    ///
    /// Of one that takes more than 8 MiB, the annotations are left out, and then the labels; one that takes
    /// more even so is not named.
    pub fn names(recording: &Recording, containers: &[Container]) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut encoded = containers.iter().filter_map(encode_container).peekable();
        while encoded.peek().is_some() {
            blocks.push(Self::made_now(Kind::Names, recording, 0, |put| {
                while put.len() < PART
                    && let Some(container) = encoded.next()
                {
                    put.some_bytes(2, Some(&container));
                }
            }));
        }
        blocks
    }

    /// The last block of a file that is closed in order.
    pub fn close(recording: &Recording, ledger: &Ledger, sequence: u64) -> Self {
        Self::made_now(Kind::Close, recording, sequence, |put| {
            put.message(2, |put| put_ledger(put, ledger));
        })
    }

    /// Without events, made when the clock of `recording` was read.
    fn made_now(kind: Kind, recording: &Recording, sequence: u64, fill: impl FnOnce(&mut Put<'_>)) -> Self {
        let mut raw = Vec::new();
        let mut put = Put::new(&mut raw);
        put.message(1, |put| put_recording(put, recording));
        fill(&mut put);
        let now = recording.clock.boot();
        Self { kind, events: 0, sequence, first: now, last: now, raw }
    }

    /// With any payload. Its times are the time of its sequence number, in microseconds.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn around(kind: Kind, sequence: u64, payload: &[u8]) -> Self {
        let raw = payload.to_vec();
        let events = if kind == Kind::Events { crate::reader::events_in(&raw) } else { 0 };
        let time = BootTime::from_nanos(sequence.saturating_mul(1_000));
        Self { kind, events, sequence, first: time, last: time, raw }
    }

    /// What the block holds, encoded.
    #[cfg(test)]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.raw
    }

    /// Events in it.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// The block as it stands in a file: header and compressed payload.
    ///
    /// # Errors
    ///
    /// The compressor has no memory, or the block is too long to be read again.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        if self.raw.len() > self.kind.max_raw() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a block of the journal is too long"));
        }
        let packed = pack(&self.raw)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let header = Fields {
            kind: self.kind as u8,
            codec: packed.codec,
            version: VERSION,
            stored: length(&packed.stored)?,
            raw: length(&self.raw)?,
            events: self.events,
            sequence: self.sequence,
            first: self.first.as_nanos(),
            last: self.last.as_nanos(),
            payload_sum: packed.sum,
        };
        Ok([&header.to_bytes()[..], &packed.stored].concat())
    }
}

/// Writes blocks to one file.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
}

impl<W: io::Write> Writer<W> {
    /// Of a file that is empty.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Writes a block: its bytes in the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&mut self, block: &RawBlock) -> io::Result<u64> {
        let bytes = block.to_bytes()?;
        self.inner.write_all(&bytes)?;
        Ok(bytes.len() as u64)
    }

    /// What it writes to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }
}

/// A number for the whole state of a table: equal states have equal ones, in every process and on every
/// machine.
pub fn state_hash(table: &Table) -> u64 {
    let checkpoint = table.checkpoint();
    let mut hasher = Xxh3::new();
    let mut bytes = Vec::new();
    put_state(&mut Put::new(&mut bytes), &checkpoint.state());
    hasher.update(&bytes);
    for part in checkpoint.parts() {
        bytes.clear();
        put_part(&mut Put::new(&mut bytes), &part);
        hasher.update(&bytes);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use procession::Exec;

    use super::*;
    use crate::tests::recording;

    #[test]
    fn a_long_event_leaves_little_behind() {
        let bytes = vec![b'a'; 8 * BlockBuilder::FULL];
        let mut exec = Exec::default();
        exec.program.arguments.bytes = &bytes;
        let mut builder = BlockBuilder::new(0);
        builder.push(&Event { time: BootTime::default(), kind: EventKind::Exec(exec) });
        let block = builder.take(&recording(), b"mark");
        assert!(block.raw.len() > bytes.len());
        assert!(builder.raw.capacity() <= 2 * BlockBuilder::FULL);
    }
}
