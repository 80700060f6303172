//! Why a source does not work, in words for the person who wanted it.

use std::io;

use crate::ebpf::EbpfError;
use crate::source::SourceKind;

/// A source could not be started, or stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The kernel lacks something that the source needs.
    #[error("this kernel does not support it: {what}")]
    Unsupported {
        /// What is missing, and what would bring it.
        what: String,
    },
    /// The process lacks a privilege.
    #[error("not permitted: {what}")]
    NotPermitted {
        /// Which privilege is needed.
        what: &'static str,
    },
    /// A system call failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, on what.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
    /// The eBPF programs do not run.
    #[error(transparent)]
    Ebpf(#[from] EbpfError),
    /// The process to follow is not among those that run.
    #[error("cannot find the process itself among those that run, so what it starts cannot be told apart")]
    RootNotFound,
    /// No source works here.
    #[error("no source of process events works here: {}", list(.0))]
    NoneWorks(Vec<Unusable>),
}

/// A source that was passed over, and why.
#[derive(Debug)]
pub struct Unusable {
    /// Which source.
    pub kind: SourceKind,
    /// Why it does not work.
    pub reason: SourceError,
}

impl SourceError {
    /// The error of a system call that did `operation`.
    pub fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}

/// An error and the chain of its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, chain(&self.reason))
    }
}

fn list(unusable: &[Unusable]) -> String {
    unusable.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
