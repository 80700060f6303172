//! From what is told to the log of events: the thread that makes messages.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_kube::Told;

use crate::node::Node;
use crate::stream::{Event, ReaderKind};

/// Who is shown every event that is told, before any filter.
pub(crate) type Witness = Box<dyn FnMut(&GetEventsResponse) + Send>;

/// The most events that are appended at once.
const BATCH: usize = 256;

/// How long the export may take for what was found at the start, as long as it makes progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes events of what is told.
pub(crate) struct Hub {
    node: Node,
    /// Events that the export may be behind while what was found is told.
    most_waiting: u64,
    witness: Witness,
}

impl Hub {
    pub(crate) fn new(node: Node, log_events: usize, witness: Witness) -> Self {
        Self { node, most_waiting: log_events as u64 / 2, witness }
    }

    /// Appends to the log what was found and then what is told, until nothing is told any more. The log
    /// is closed then.
    pub(crate) fn run(mut self, found: Vec<Told>, told: &Receiver<Told>) {
        for chunk in found.chunks(BATCH) {
            self.wait_for_export();
            self.append(chunk.iter());
        }
        drop(found);
        for first in told {
            let more: Vec<_> = told.try_iter().take(BATCH - 1).collect();
            self.append(std::iter::once(&first).chain(&more));
        }
        self.node.log().close();
    }

    fn append<'t>(&mut self, told: impl Iterator<Item = &'t Told>) {
        let Self { node, witness, .. } = self;
        node.presenter().refresh();
        let events: Vec<_> = told
            .filter_map(|told| {
                let message = node.presenter().event(told)?;
                witness(&message);
                Some(Event::new(told.fact.sequence, message))
            })
            .collect();
        node.log().append(events);
    }

    /// A machine may run more processes than the log has room for. They are known already, so the export
    /// can be waited for: what is told meanwhile waits too.
    fn wait_for_export(&self) {
        let waiting = || self.node.log().counts(ReaderKind::Export).waiting;
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            let now = waiting();
            if now < before {
                (before, since) = (now, Instant::now());
            }
            if now <= self.most_waiting || since.elapsed() > PATIENCE {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
