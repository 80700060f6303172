//! The pipeline that joins a source, the table, a filter, the names of containers and a sink.
//!
//! ```text
//! source ──events──▶ table ──facts──▶ scope, filter ──▶ hold ──▶ queue ──▶ whoever presents them
//!                                                        ▲
//!                        pods, container runtimes ──whose┘
//! ```
//!
//! One thread owns the source and the table. What it tells leaves it through a bounded queue: whoever
//! reads that too slowly loses some, which is counted, and holds up nobody. Facts about a container
//! of which nobody has heard yet wait for an answer, for a limited time and in limited memory; those of
//! other processes pass by.
//!
//! ```no_run
//! use procession::LineageDetail;
//! use procession_agent::{NodeInventory, Observation, ObservationConfig, Scope, Selection};
//! use procession_filter::{Filter, Kinds};
//! use procession_kube::RuntimesConfig;
//! use procession_sensor::{EbpfConfig, open_best};
//!
//! let source = open_best(EbpfConfig::default())?.source;
//! let selection = Selection {
//!     scope: Scope::Everything,
//!     filter: Filter::new(Kinds::default()),
//!     lineage: LineageDetail::Parent,
//! };
//! let config = ObservationConfig::new(selection);
//! let inventory = NodeInventory::new().runtimes(&RuntimesConfig::default())?;
//! let observation = Observation::start(source, config, Box::new(inventory))?;
//! for told in observation.told().iter().take(10) {
//!     let process = &told.fact.process;
//!     let container = told.whose(process).map(|whose| whose.container_name());
//!     println!("{} {:?} {container:?}", process.pid(), told.fact.kind);
//! }
//! observation.stop();
//! let account = observation.join()?;
//! println!("{} events", account.ledger.received());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod agent;
mod clock;
mod control;
mod detail;
mod export;
mod folders;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod holder;
mod hub;
mod inventory;
mod journal;
pub mod metrics;
mod node;
mod observation;
mod observed;
mod past;
mod pipeline;
mod presenter;
pub mod privileges;
mod pulse;
mod query;
mod queue;
mod recorded;
mod redaction;
mod repair;
mod replay;
pub mod server;
mod stall;
mod stream;
mod tally;
mod tcp;
mod tell;
mod trust;
pub mod web;
mod weight;

pub use agent::{Agent, AgentConfig, AgentError, envelope};
pub use clock::{renewed, wall_clock};
pub use control::LogLevel;
pub use detail::Detail;
pub use export::{
    Envelope, ExportConfig, ExportCounts, ExportFilter, ExportHandle, ExportSink, Exporter, FileConfig,
    Rotation,
};
pub use hold::{HoldConfig, HoldCounts};
pub use holder::holder_of_lock;
pub use inventory::{Inventory, InventoryCounts, News, NodeInventory};
pub use journal::{JournalConfig, JournalCounts, JournalTarget, OpenJournal};
pub use node::{Node, NodeParts, NodeStatus};
pub use observation::{Observation, ObservationConfig, WhenFull};
pub use past::Past;
pub use pipeline::{Account, Pipeline, PipelineConfig, Scope, Selection};
pub use presenter::Presenter;
pub use procession_kube::Told;
pub use pulse::Pulse;
pub use query::{Ended, Queries, View};
pub use recorded::{RecordedInventory, recorded_encoder};
pub use redaction::SharedRedaction;
pub use repair::RepairCounts;
pub use replay::{RecordedClock, Replay, ReplayConfig, ReplaySource, Unread};
pub use stream::{Batch, Event, EventLog, Form, LogConfig, Reader, ReaderCounts, ReaderKind};
pub use tally::Tally;
pub use tell::TellCounts;
