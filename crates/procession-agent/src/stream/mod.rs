//! What is told, on its way to those who read it: clients, the export.
//!
//! * `event` is one event, in each form at most once.
//! * `log` keeps the latest of them, for readers who each go at their own pace.

mod event;
mod log;

pub use event::{Event, Form};
pub use log::{Batch, EventLog, LogConfig, Reader, ReaderCounts, ReaderKind};

#[cfg(test)]
mod tests;
