//! The journal: process events and checkpoints on disk, and the table as it was at any time.
//!
//! A journal is a sequence of *blocks* in one file, or in the files of one directory. Each block stands
//! by itself: checksummed, compressed, and with all that is needed to understand it. Some hold events,
//! in the order in which they are to be folded; others a checkpoint of the table they were folded into.

#![forbid(unsafe_code)]

mod block;
mod codec;
mod directory;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod journal;
mod names;
mod reader;
mod recording;
#[cfg(test)]
mod tests;
mod writer;

#[allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "made from journal.proto"
)]
#[rustfmt::skip]
#[path = "proto/procession.journal.v1.rs"]
pub(crate) mod proto;

pub use block::{Header, Kind, SYNC};
pub use directory::{Directory, DirectoryConfig, Fsync};
pub use history::{Descendant, Descendants, Happening, Life, Lives, Target, What};
pub use journal::{Fold, Journal, JournalError, Moment, Piece, Restored, Witness};
pub use names::{Container, LeftOut, Names, Pod};
pub use reader::{Block, Content, Damage, Events, Reader};
pub use recording::Recording;
pub use writer::{BlockBuilder, RawBlock, Writer, state_hash};
