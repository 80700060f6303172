//! Where process events come from.
//!
//! | source | needs | gives |
//! |---|---|---|
//! | eBPF | root (CAP_BPF, CAP_PERFMON), BTF | every fork, exec and exit with full detail, in kernel order, with exact loss counts |
//! | proc connector | CAP_NET_ADMIN before Linux 6.6, nothing since | notices of all of them; details are read from `/proc` a moment later |
//! | polling | nothing | what lives long enough to be seen in `/proc` |

mod choose;
mod clock;
mod connector;
mod ebpf;
mod error;
mod poll;
mod proc;
mod record;
mod source;
mod walk;

pub use choose::{Chosen, open, open_best};
pub use connector::ConnectorSource;
pub use ebpf::{EbpfConfig, EbpfError, EbpfSource};
pub use error::{SourceError, Unusable};
pub use poll::PollSource;
pub use source::{Count, KernelCounts, Sink, Source, SourceKind};
