//! The gRPC server of a node.
//!
//! ```text
//! addresses ─▶ listeners ─▶ admission, TLS ─▶ connections ─▶ tonic ─▶ tetragon.FineGuidanceSensors
//!                                                                     tetragon.EventLogService
//!                                                                     procession.v1.LineageService
//!                                                                     grpc.health, grpc.reflection
//! ```
//!
//! * `address`, `config`, `control`: what the server is given.
//! * `unix`, `tls`, `listen`, `connection`: from an address to a connection that may speak.
//! * `subscription`, `feed`, `pace`: from the log of events to the stream of one client.
//! * `scan`: looks at the whole table; `turns`: whose turn it is to have one.
//! * `local`: one client in this process.
//! * `sensors`, `dump`, `event_log`, `lineage`, `health`: the services.
//!
//! Nothing that a client does or fails to do holds up the node or another client: connections, messages
//! and streams have limits, and who does not read loses events and is told.

mod address;
mod bound;
mod config;
mod connection;
mod control;
mod counters;
mod dump;
mod event_log;
mod feed;
mod health;
mod lineage;
mod listen;
mod local;
mod pace;
mod scan;
mod sensors;
mod stopping;
mod subscription;
mod tls;
mod turns;
mod unix;

pub use address::{BadAddress, ServerAddress};
pub use bound::{Bound, Server};
pub use config::{ServerConfig, TlsConfig};
pub use control::{Control, ControlError, EventLogChanges, EventLogParams};
pub use counters::{ServerCounters, ServerCounts};
pub(crate) use local::serve_one;
pub use procession_filter::FilterOptions;

/// What is told to clients when the agent ends, or the observation does.
fn stopping_status() -> tonic::Status {
    tonic::Status::unavailable("the agent is stopping")
}

/// What came of a question that nobody answers any more.
fn ended(_: crate::Ended) -> tonic::Status {
    stopping_status()
}
