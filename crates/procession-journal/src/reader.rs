//! From a file to blocks. What is damaged is told of, and passed over.

use std::io;

use bytes::Bytes;
use procession::{BootTime, Checkpoint, Event, Ledger};

use crate::names::Container;
use crate::recording::Recording;

/// Reads the blocks of one file.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
}

/// A block, or what is in the place of one.
#[derive(Debug)]
pub struct Block {
    /// Where it begins in the file, and how many bytes it takes there.
    pub offset: u64,
    /// Its length there.
    pub bytes: u64,
    /// Events that came before it in the journal.
    pub sequence: u64,
    /// The times of its first and its last event, of a checkpoint twice its own.
    pub first: BootTime,
    /// See `first`.
    pub last: BootTime,
    /// What every block says. `None`: it cannot be read.
    pub recording: Option<Recording>,
    /// What is in it.
    pub content: Content,
}

/// What a block holds.
#[derive(Debug)]
pub enum Content {
    /// The first block of a file, and which version wrote it.
    Head {
        /// The version.
        written_by: String,
    },
    /// A whole checkpoint: its last part.
    Checkpoint {
        /// The state.
        checkpoint: Box<Checkpoint>,
        /// Up to where the source was read.
        bookmark: Bytes,
    },
    /// A part of a checkpoint that is not the last.
    CheckpointPart,
    /// Events.
    Events(Events),
    /// Whose containers are.
    Names(Vec<Container>),
    /// The file was closed in order.
    Close(Box<Ledger>),
    /// It cannot be read.
    Damage(Damage),
}

/// The events of a block.
#[derive(Debug)]
pub struct Events {
    _private: (),
}

impl Events {
    /// How many there are.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands over each, in order. Those that make no sense are counted: the result.
    pub fn each(&self, visit: &mut dyn FnMut(&Event<'_>)) -> u64 {
        let _ = visit;
        unimplemented!()
    }

    /// Up to where the source was read.
    pub fn bookmark(&self) -> &Bytes {
        unimplemented!()
    }
}

/// Bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {offset} cannot be read: {why}")]
pub struct Damage {
    /// Where they begin in the file.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: &'static str,
    /// How many events were in them, where that is known.
    pub events: Option<u64>,
}

impl<R: io::Read + io::Seek> Reader<R> {
    /// From the beginning of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no journal.
    pub fn new(inner: R) -> io::Result<Self> {
        Ok(Self { inner })
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> io::Result<Option<Block>> {
        let _ = &self.inner;
        unimplemented!()
    }
}
