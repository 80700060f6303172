//! Between the messages of `journal.proto` and the library's types.
//!
//! What is written goes straight into the growing block, borrowed as it is. What is read goes by the
//! messages that are made from `journal.proto`.

pub(crate) mod checkpoint;
pub(crate) mod context;
pub(crate) mod event;
pub(crate) mod names;
pub(crate) mod recording;
pub(crate) mod wire;
