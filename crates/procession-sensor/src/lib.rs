//! Where process events come from.
//!
//! | source | needs | gives |
//! |---|---|---|
//! | eBPF | root (CAP_BPF, CAP_PERFMON), BTF | every fork, exec, exit and change with full detail, in kernel order, with exact loss counts |
//! | proc connector | CAP_NET_ADMIN before Linux 6.6, nothing since | notices of forks, execs and exits, and of changes of ids and session; details are read from `/proc` a moment later |
//! | polling | nothing | what lives long enough to be seen in `/proc` |
//!
//! All of them are a [`Source`] of the same [`Event`](procession::Event)s. [`open_best`] takes the
//! best that works here, and tells why not a better one.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use procession_sensor::{EbpfConfig, open_best};
//!
//! let mut chosen = open_best(EbpfConfig::default())?;
//! for unusable in &chosen.passed_over {
//!     eprintln!("cannot use {unusable}");
//! }
//! chosen.source.walk(&mut |event| println!("already there: {event:?}"))?;
//! loop {
//!     chosen.source.poll(Duration::from_millis(20), &mut |event| println!("{event:?}"))?;
//! }
//! # #[expect(unreachable_code)]
//! # Ok::<(), procession_sensor::SourceError>(())
//! ```

#![deny(unsafe_code)]

mod choose;
mod clock;
mod connector;
mod ebpf;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod namespace;
mod poll;
mod proc;
mod record;
mod source;
mod walk;

pub use choose::{Chosen, open, open_best};
pub use connector::ConnectorSource;
pub use ebpf::{EbpfConfig, EbpfError, EbpfSource, FreshPins, detach_all};
pub use error::{SourceError, Unusable};
pub use namespace::own_pid_namespace;
pub use poll::PollSource;
pub use source::{Count, KernelCounts, Resumed, Sink, Source, SourceKind};
