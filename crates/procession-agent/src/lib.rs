//! The pipeline that joins a source, the table, a filter and a sink.
//!
//! ```text
//! source ──events──▶ table ──facts──▶ scope, filter ──▶ queue ──▶ whoever presents them
//! ```
//!
//! One thread owns the source and the table. Facts leave it through a bounded queue: whoever
//! reads that too slowly loses facts, which is counted, and holds up nobody.

#![forbid(unsafe_code)]

mod pipeline;
mod tally;

pub use pipeline::{Account, Observation, Pipeline, Scope, Selection};
pub use tally::Tally;
