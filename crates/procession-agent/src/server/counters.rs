//! How a server does: for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a server. Cheap to clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub struct ServerCounters(Arc<Cells>);

/// How a server does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Connections that there are.
    pub open: u64,
    /// Connections that were let in so far.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub refused: u64,
    /// Connections that were closed because TLS or HTTP/2 did not come about.
    pub failed: u64,
    /// Times that a connection could not be taken, most likely for want of file descriptors.
    pub accept_errors: u64,
    /// Streams of events that there are.
    pub streams: u64,
    /// Streams of events that were begun so far.
    pub streams_begun: u64,
    /// Events, and processes that run, that were not told because a field filter failed on them.
    pub unfiltered: u64,
}

#[derive(Debug, Default)]
struct Cells {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    accept_errors: AtomicU64,
    streams: AtomicU64,
    streams_begun: AtomicU64,
    unfiltered: AtomicU64,
}

/// One connection, for as long as it is there.
#[derive(Debug)]
pub(super) struct OpenConnection(ServerCounters);

/// One stream, for as long as it is there.
#[derive(Debug)]
pub(super) struct OpenStream(ServerCounters);

impl ServerCounters {
    /// The counts now.
    pub fn read(&self) -> ServerCounts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        ServerCounts {
            open: read(&self.0.open),
            accepted: read(&self.0.accepted),
            refused: read(&self.0.refused),
            failed: read(&self.0.failed),
            accept_errors: read(&self.0.accept_errors),
            streams: read(&self.0.streams),
            streams_begun: read(&self.0.streams_begun),
            unfiltered: read(&self.0.unfiltered),
        }
    }

    pub(super) fn connection(&self) -> OpenConnection {
        add(&self.0.open);
        add(&self.0.accepted);
        OpenConnection(self.clone())
    }

    pub(super) fn stream(&self) -> OpenStream {
        add(&self.0.streams);
        add(&self.0.streams_begun);
        OpenStream(self.clone())
    }

    pub(super) fn refused(&self) {
        add(&self.0.refused);
    }

    pub(super) fn failed(&self) {
        add(&self.0.failed);
    }

    pub(super) fn accept_error(&self) {
        add(&self.0.accept_errors);
    }

    pub(super) fn unfiltered(&self) {
        add(&self.0.unfiltered);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenConnection {
    pub(super) fn failed(&self) {
        self.0.failed();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}
