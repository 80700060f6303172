//! From what is told to the log of events: the thread that makes messages.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_kube::Told;

use crate::node::Node;
use crate::stream::{Event, EventLog, ReaderKind};
use crate::weight;

/// Who is shown every event that is told, before any filter.
pub(crate) type Witness = Box<dyn FnMut(&GetEventsResponse) + Send>;

/// The most events that are appended at once, and bytes of the facts they are made of, unless a single one takes
/// more: what is not appended yet takes room besides that of the log. What facts share counts with each of them,
/// because each event has it anew.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// How long the export may take for what was found at the start, as long as it makes progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes events of what is told.
pub(crate) struct Hub {
    node: Node,
    /// Whether the export is waited for while what was found is told.
    is_patient: bool,
    witness: Witness,
}

impl Hub {
    pub(crate) fn new(node: Node, witness: Witness) -> Self {
        Self { node, is_patient: true, witness }
    }

    /// Appends to the log what was found and then what is told, until nothing is told any more. The log
    /// is closed then.
    pub(crate) fn run(mut self, found: Vec<Told>, told: &Receiver<Told>) {
        // However it ends: nobody waits for what will not come.
        let _end = Closing(self.node.log().clone());
        for chunk in found.chunks(BATCH) {
            self.wait_for_export();
            self.append(chunk.iter());
        }
        drop(found);
        for first in told {
            let batch = batch(first, told);
            self.append(batch.iter());
        }
    }

    fn append<'t>(&mut self, told: impl Iterator<Item = &'t Told>) {
        let Self { node, witness, .. } = self;
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
    /// can be waited for: what is told meanwhile waits too. Once it stands still, or the agent is to end, it
    /// is waited for no more.
    fn wait_for_export(&mut self) {
        let log = self.node.log();
        let (mut before, mut since) = (u64::MAX, Instant::now());
        while self.is_patient {
            let waiting = log.counts(ReaderKind::Export).waiting;
            if waiting <= log.room() / 2 {
                return;
            }
            if waiting < before {
                (before, since) = (waiting, Instant::now());
            }
            self.is_patient = since.elapsed() < PATIENCE && !self.node.pulse().is_over();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is there to be appended at once.
fn batch(first: Told, more: &Receiver<Told>) -> Vec<Told> {
    let mut bytes = weight::of_all(&first.fact);
    let mut batch = vec![first];
    while batch.len() < BATCH
        && bytes < BATCH_BYTES
        && let Ok(told) = more.try_recv()
    {
        bytes += weight::of_all(&told.fact);
        batch.push(told);
    }
    batch
}

/// Closes a log when it is dropped.
struct Closing(EventLog);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
