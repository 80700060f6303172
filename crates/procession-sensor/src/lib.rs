//! Where process events come from.
//!
//! | source | needs | gives |
//! |---|---|---|
//! | eBPF | root (CAP_BPF, CAP_PERFMON), BTF | every fork, exec and exit with full detail, in kernel order, with exact loss counts |
//! | proc connector | CAP_NET_ADMIN | notices of all of them; details are read from `/proc` a moment later |
//! | polling | nothing | what lives long enough to be seen in `/proc` |

mod error;
mod source;

pub use error::{SourceError, Unusable};
pub use source::{Count, KernelCounts, Sink, Source, SourceKind};
