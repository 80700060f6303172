//! The pipeline that joins a source, the table, a filter and a sink.
//!
//! ```text
//! source ──events──▶ table ──facts──▶ scope, filter ──▶ queue ──▶ whoever presents them
//! ```
//!
//! One thread owns the source and the table. Facts leave it through a bounded queue: whoever
//! reads that too slowly loses facts, which is counted, and holds up nobody.
//!
//! ```no_run
//! use procession::LineageDetail;
//! use procession_agent::{Observation, Scope, Selection};
//! use procession_filter::{Filter, Kinds};
//! use procession_sensor::{EbpfConfig, open_best};
//!
//! let source = open_best(EbpfConfig::default())?.source;
//! let selection = Selection {
//!     scope: Scope::Everything,
//!     filter: Filter::new(Kinds::default()),
//!     lineage: LineageDetail::Parent,
//! };
//! let observation = Observation::start(source, selection, 1024)?;
//! for fact in observation.facts().iter().take(10) {
//!     println!("{} {:?}", fact.process.pid(), fact.kind);
//! }
//! observation.stop();
//! let account = observation.join()?;
//! println!("{} events", account.ledger.received());
//! # Ok::<(), procession_sensor::SourceError>(())
//! ```

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "nothing asks for the names of containers yet")]
mod hold;
mod pipeline;
mod tally;

pub use hold::{HoldConfig, HoldCounts};
pub use pipeline::{Account, Observation, Pipeline, Scope, Selection};
pub use tally::Tally;
