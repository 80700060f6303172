//! From what is told to the log of events: the thread that makes messages.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_kube::Told;

use crate::node::Node;
use crate::stream::{Event, EventLog, LogConfig, ReaderKind};
use crate::weight;

/// Who is shown every event that is told, before any filter.
pub(crate) type Witness = Box<dyn FnMut(&GetEventsResponse) + Send>;

/// The most events that are appended at once, and bytes that they or the facts they are made of take, unless a
/// single one takes more: what is not appended yet takes room besides that of the log. What facts share counts with
/// each of them, because each event has it anew.
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
        self.tell_found(&found);
        drop(found);
        for first in told {
            let events: Vec<_> = batch(first, told).iter().filter_map(|told| self.event(told)).collect();
            self.node.log().append(events);
        }
    }

    /// The event of what is told, if there is one.
    fn event(&mut self, told: &Told) -> Option<Event> {
        let message = self.node.presenter().event(told)?;
        (self.witness)(&message);
        Some(Event::new(told.fact.sequence, message))
    }

    /// A few at a time, so that none of them makes another fall out of the log.
    fn tell_found(&mut self, found: &[Told]) {
        let LogConfig { events: room, bytes: room_bytes } = self.node.log().config();
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        for told in found {
            let Some(event) = self.event(told) else { continue };
            let is_over = bytes.saturating_add(event.bytes()) > BATCH_BYTES.min(room_bytes / 2);
            if events.len() >= BATCH.min(room.div_ceil(2)) || (is_over && !events.is_empty()) {
                self.append_in_time(std::mem::take(&mut events), std::mem::take(&mut bytes));
            }
            bytes += event.bytes();
            events.push(event);
        }
        self.append_in_time(events, bytes);
    }

    /// A machine may run more processes than the log has room for. They are known already, so the export
    /// can be waited for: what is told meanwhile waits too. Once it stands still, or the agent is to end, it
    /// is waited for no more.
    fn append_in_time(&mut self, events: Vec<Event>, bytes: usize) {
        let log = self.node.log();
        let (mut before, mut since) = (u64::MAX, Instant::now());
        while self.is_patient && !log.has_room(ReaderKind::Export, events.len(), bytes) {
            let waiting = log.counts(ReaderKind::Export).waiting;
            if waiting < before {
                (before, since) = (waiting, Instant::now());
            }
            self.is_patient = since.elapsed() < PATIENCE && !self.node.pulse().is_over();
            std::thread::sleep(Duration::from_millis(1));
        }
        log.append(events);
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
