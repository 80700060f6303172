//! From events to blocks, and from blocks to a file.

use std::io;

use procession::{BootTime, Checkpoint, Event, Ledger, Table};

use crate::names::Container;
use crate::recording::Recording;

/// Makes a block of events, one after the other. Encodes; does no I/O and no compression.
#[derive(Debug)]
pub struct BlockBuilder {
    _private: (),
}

/// A block before it is compressed. Cheap to send to another thread.
#[derive(Debug)]
pub struct RawBlock {
    _private: (),
}

impl BlockBuilder {
    /// Of a journal in which `sequence` events came before.
    pub fn new(recording: &Recording, sequence: u64) -> Self {
        let _ = (recording, sequence);
        unimplemented!()
    }

    /// Adds an event: allocates only when the block grows.
    pub fn push(&mut self, event: &Event<'_>) {
        let _ = event;
        unimplemented!()
    }

    /// Events in the block so far.
    pub fn events(&self) -> u32 {
        unimplemented!()
    }

    /// Bytes of the block so far.
    pub fn bytes(&self) -> usize {
        unimplemented!()
    }

    /// The sequence number that the next event will have: the events before it in the journal.
    pub fn sequence(&self) -> u64 {
        unimplemented!()
    }

    /// When the first event of the block happened.
    pub fn began(&self) -> Option<BootTime> {
        unimplemented!()
    }

    /// Takes the block, and begins the next. `recording` has the clock as it stands now; `bookmark` says
    /// up to where the source was read.
    pub fn take(&mut self, recording: &Recording, bookmark: &[u8]) -> RawBlock {
        let _ = (recording, bookmark);
        unimplemented!()
    }
}

impl RawBlock {
    /// The first block of a file.
    pub fn head(recording: &Recording) -> Self {
        let _ = recording;
        unimplemented!()
    }

    /// A checkpoint after `sequence` events, in as many blocks as it takes.
    pub fn checkpoint(
        recording: &Recording,
        checkpoint: &Checkpoint,
        sequence: u64,
        bookmark: &[u8],
    ) -> Vec<Self> {
        let _ = (recording, checkpoint, sequence, bookmark);
        unimplemented!()
    }

    /// What was said of containers.
    pub fn names(recording: &Recording, containers: &[Container]) -> Self {
        let _ = (recording, containers);
        unimplemented!()
    }

    /// The last block of a file that is closed in order.
    pub fn close(recording: &Recording, ledger: &Ledger, sequence: u64) -> Self {
        let _ = (recording, ledger, sequence);
        unimplemented!()
    }

    /// Events in it.
    pub fn events(&self) -> u32 {
        unimplemented!()
    }

    /// The block as it stands in a file: header and compressed payload.
    ///
    /// # Errors
    ///
    /// The compressor has no memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        unimplemented!()
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
    let _ = table;
    unimplemented!()
}
