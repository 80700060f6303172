//! From what is told to the log of events: the thread that makes messages.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
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

/// How long it may take until a hub that is late has counted what is left.
const GRACE: Duration = Duration::from_millis(500);

/// Makes events of what is told.
struct Hub {
    node: Node,
    /// What is not told yet is told to nobody.
    is_late: Arc<AtomicBool>,
    /// Whether the export is waited for while what was found is told.
    is_patient: bool,
    witness: Witness,
}

/// Who makes events, at work in a thread.
pub(crate) struct Telling {
    thread: JoinHandle<u64>,
    is_late: Arc<AtomicBool>,
}

impl Telling {
    /// Appends to the log of `node` what was found and then what is told, until nothing is told any more. The
    /// log is closed then.
    pub(crate) fn start(
        node: Node,
        witness: Witness,
        found: Vec<Told>,
        told: Receiver<Told>,
    ) -> io::Result<Self> {
        let is_late = Arc::new(AtomicBool::new(false));
        let hub = Hub { node, is_late: Arc::clone(&is_late), is_patient: true, witness };
        let thread =
            thread::Builder::new().name("messages".to_owned()).spawn(move || hub.run(found, &told))?;
        Ok(Self { thread, is_late })
    }

    /// Whether nothing is told any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until all is told that was observed, at most until `end`, and returns how many facts were not by
    /// then. `None`: the thread hangs, or has broken down.
    pub(crate) fn finish(self, end: Instant) -> Option<u64> {
        self.wait(end);
        self.is_late.store(true, Ordering::Relaxed);
        self.wait(end + GRACE);
        self.has_ended().then(|| self.thread.join().ok())?
    }

    fn wait(&self, end: Instant) {
        while !self.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Hub {
    /// Returns how many facts were told to nobody.
    fn run(mut self, found: Vec<Told>, told: &Receiver<Told>) -> u64 {
        // However it ends: nobody waits for what will not come.
        let _end = Closing(self.node.log().clone());
        let mut untold = self.tell_found(&found);
        drop(found);
        for first in told {
            if self.is_late() {
                untold += 1;
                continue;
            }
            let events: Vec<_> = batch(first, told).iter().filter_map(|told| self.event(told)).collect();
            self.node.log().append(events);
        }
        untold
    }

    fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// The event of what is told, if there is one.
    fn event(&mut self, told: &Told) -> Option<Event> {
        let message = self.node.presenter().event(told)?;
        (self.witness)(&message);
        Some(Event::new(told.fact.sequence, message))
    }

    /// A few at a time, so that none of them makes another fall out of the log. Returns how many it was too
    /// late for.
    fn tell_found(&mut self, found: &[Told]) -> u64 {
        let LogConfig { events: room, bytes: room_bytes } = self.node.log().config();
        let (mut events, mut bytes, mut untold) = (Vec::new(), 0_usize, 0);
        for told in found {
            if self.is_late() {
                untold += 1;
                continue;
            }
            let Some(event) = self.event(told) else { continue };
            let is_over = bytes.saturating_add(event.bytes()) > BATCH_BYTES.min(room_bytes / 2);
            if events.len() >= BATCH.min(room.div_ceil(2)) || (is_over && !events.is_empty()) {
                self.append_in_time(std::mem::take(&mut events), std::mem::take(&mut bytes));
            }
            bytes += event.bytes();
            events.push(event);
        }
        self.append_in_time(events, bytes);
        untold
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
            thread::sleep(Duration::from_millis(1));
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

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use procession::{
        BootTime, Context, Event as Change, EventKind, LineageDetail, Pid, ProcessKey, Program, Running,
        Subject, Table, TableConfig,
    };
    use procession_api::messages::MessageEncoder;
    use procession_filter::Redaction;
    use procession_sensor::SourceKind;

    use super::*;
    use crate::node::NodeParts;
    use crate::presenter::Presenter;
    use crate::pulse::Pulse;
    use crate::query::Queries;

    /// Where nothing is observed.
    fn node() -> Node {
        Node::new(NodeParts {
            log: EventLog::new(LogConfig::default()),
            queries: Queries::new().0,
            presenter: Presenter::new(MessageEncoder::default(), None, Redaction::default()),
            pulse: Pulse::new(),
            source: SourceKind::Polling,
            shortcomings: Vec::new(),
        })
    }

    fn told() -> Told {
        let time = BootTime::from_nanos(1_000);
        let key = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
        let running = Running {
            process: Subject::exact(key, key.start),
            owner: ProcessKey::NONE.into(),
            context: Context::default(),
            program: Program { binary: b"/bin/sh", ..Program::default() },
            gap: None,
        };
        let mut table = Table::new(TableConfig::default());
        let applied = table.apply(&Change { time, kind: EventKind::Running(running) });
        let (process, kind) = (applied.process.unwrap(), applied.kind.unwrap());
        table.fact(process, time, kind, LineageDetail::Parent).unwrap().into()
    }

    /// Tells what was found and what happens, of which only so many come in time; returns how many were
    /// appended, and how many were not told.
    fn tell(found: usize, happens: usize, in_time: usize) -> (u64, u64) {
        let node = node();
        let reader = node.log().reader(ReaderKind::Client);
        let is_late = Arc::new(AtomicBool::new(in_time == 0));
        let (late, mut seen) = (Arc::clone(&is_late), 0);
        let witness: Witness = Box::new(move |_| {
            seen += 1;
            late.store(seen >= in_time, Ordering::Relaxed);
        });
        let hub = Hub { node, is_late, is_patient: true, witness };
        let (sender, receiver) = unbounded();
        (0..happens).for_each(|_| sender.send(told()).unwrap());
        drop(sender);
        let untold = hub.run(vec![told(); found], &receiver);
        (reader.counts().waiting, untold)
    }

    #[test]
    fn what_comes_too_late_to_be_told_is_counted() {
        assert_eq!(tell(30, 300, 1_000), (330, 0));
        assert_eq!(tell(30, 300, 0), (0, 330));
        assert_eq!(tell(30, 300, 5), (5, 325), "among those that were found");
        let batch = BATCH as u64;
        assert_eq!(tell(30, 300, 40), (30 + batch, 300 - batch), "what was begun is told");
    }
}
