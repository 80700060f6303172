//! A journal as a source: what was recorded happens once more.

mod clocks;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use procession::{BootId, BootTime, Event, EventKind, WallClock};
use procession_journal::{Block, Content, Damage, Journal, JournalError, Piece};
use procession_sensor::{KernelCounts, Resumed, Sink, Source, SourceError, SourceKind};

use crate::recorded::recorded_kind;

use clocks::Clocks;

/// What is to happen once more, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayConfig {
    /// Blocks that end before are passed over.
    pub from: Option<SystemTime>,
    /// What happened later is left out.
    pub to: Option<SystemTime>,
    /// Up to when a table knows already what happened: it is not told again.
    pub known: Option<BootTime>,
    /// The boot whose events are told: a table is of one. `None`: the first there is.
    pub boot: Option<BootId>,
    /// How many times as fast as it happened. `None`: as fast as it can be read.
    pub speed: Option<f64>,
    /// Nobody waits for what happened before: it is told because later events build on it.
    pub hurry_until: Option<SystemTime>,
}

/// A source that tells what a journal has. It is at its end when [`Replay::ended`] is disconnected.
#[derive(Debug)]
pub struct ReplaySource {
    journal: Arc<Journal>,
    config: ReplayConfig,
    /// Events that the walk has told.
    walked: u64,
    /// It was just begun in the middle, where the table is as it was then.
    is_resumed: bool,
    pace: Option<Pace>,
    /// Events of a kind that this version does not know, among those that were told.
    malformed: u64,
    shared: Arc<Shared>,
    stopped: Receiver<()>,
    /// Dropped with the last event.
    going: Option<Sender<()>>,
}

/// What one sees of a replay while the source belongs to an observation.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    /// Dropped to stop.
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopped: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    clocks: Clocks,
    unread: Vec<Unread>,
    next_boot: Option<(BootId, SystemTime)>,
}

/// A part of a journal that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What cannot be read.
    pub damage: Damage,
    /// When the last event before it happened.
    pub after: Option<SystemTime>,
    /// When the first event after it happened.
    pub before: Option<SystemTime>,
}

impl Unread {
    /// Whether its writer was killed in the middle of it, and another has gone on: what was in it stands in the next
    /// file, or that tells that it is missing.
    pub fn comes_again(&self) -> bool {
        self.damage.is_torn() && self.before.is_some()
    }
}

/// The wall clock of a replay.
#[derive(Clone, Debug)]
pub struct RecordedClock(Arc<Shared>);

impl RecordedClock {
    /// The clock as it stood when something happened. `None`: nothing has happened yet.
    pub fn at(&self, time: BootTime) -> Option<WallClock> {
        self.0.seen().clocks.at(time)
    }
}

impl Replay {
    /// A source of what `journal` has, and what to see it by.
    pub fn new(journal: Arc<Journal>, config: ReplayConfig) -> (ReplaySource, Self) {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = bounded(0);
        let (going, ended) = bounded(0);
        let source = ReplaySource {
            journal,
            config,
            walked: 0,
            is_resumed: false,
            pace: None,
            malformed: 0,
            shared: Arc::clone(&shared),
            stopped,
            going: Some(going),
        };
        (source, Self { shared, stop: Some(stop), ended })
    }

    /// Disconnected when the last event was told.
    pub fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Tells no more, wherever it is.
    pub fn stop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Release);
        self.stop = None;
    }

    /// What turns times into dates, as the clocks stood then.
    pub fn clock(&self) -> RecordedClock {
        RecordedClock(Arc::clone(&self.shared))
    }

    /// What could not be read so far.
    pub fn unread(&self) -> Vec<Unread> {
        self.shared.seen().unread.clone()
    }

    /// The boot whose events come next in the journal, and when they begin.
    pub fn next_boot(&self) -> Option<(BootId, SystemTime)> {
        self.shared.seen().next_boot
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

/// When what is due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    began: Instant,
    first: BootTime,
}

/// Where a reading stands.
#[derive(Default)]
struct Position {
    boot: Option<BootId>,
    clock: Option<WallClock>,
    /// When the first event of the block happened.
    first: Option<BootTime>,
    /// Events of this boot so far that are not known.
    told: u64,
    last: Option<SystemTime>,
    is_skipped: bool,
}

impl ReplaySource {
    /// Hands over the events with which a journal begins that are of processes found running, or else all
    /// that follow those.
    fn read(&mut self, is_walk: bool, sink: Sink<'_>) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.journal);
        let mut position = Position::default();
        // What the walk has read is read again.
        *self.shared.seen() = Seen::default();
        self.malformed = 0;
        journal.read(self.config.from, &mut |piece| {
            let goes_on = match piece {
                Piece::Block(block) => self.block(block, &mut position),
                Piece::Event(_) | Piece::PassedOver(_) if position.is_skipped => true,
                Piece::Event(event) => self.event(event, &mut position, is_walk, sink),
                Piece::PassedOver(events) => self.pass_over(events, &position),
            };
            goes_on && !self.shared.is_stopped()
        })
    }

    fn block(&mut self, block: &Block, position: &mut Position) -> bool {
        if let Content::Damage(damage) = &block.content {
            if position.is_skipped {
                // Who shows the boot that it is of tells of it.
                return true;
            }
            let part = Unread { damage: damage.clone(), after: position.last, before: None };
            self.shared.seen().unread.push(part);
            return true;
        }
        let Some(recording) = &block.recording else { return true };
        let wanted = *self.config.boot.get_or_insert(recording.boot_id);
        position.is_skipped = recording.boot_id != wanted && position.boot.is_none();
        if position.is_skipped {
            return true;
        }
        if recording.boot_id != wanted {
            let began = recording.clock.at(block.first);
            self.shared.seen().next_boot = Some((recording.boot_id, began));
            return false;
        }
        position.boot = Some(wanted);
        (position.clock, position.first) = (Some(recording.clock), Some(block.first));
        self.note(block, recording.clock);
        // A block without events tells when its writer began, and what happened before that may follow.
        let is_placed = matches!(block.content, Content::Events(_));
        !is_placed || self.config.to.is_none_or(|to| recording.clock.at(block.first) <= to)
    }

    fn note(&self, block: &Block, clock: WallClock) {
        let mut seen = self.shared.seen();
        seen.clocks.note(block.first, clock);
        if let Content::Events(_) = &block.content {
            let first = clock.at(block.first);
            seen.unread
                .iter_mut()
                .rev()
                .take_while(|part| part.before.is_none())
                .for_each(|part| part.before = Some(first));
        }
    }

    fn event(&mut self, event: &Event<'_>, position: &mut Position, is_walk: bool, sink: Sink<'_>) -> bool {
        if self.config.known.is_some_and(|known| event.time <= known) {
            return true;
        }
        position.told += 1;
        if is_walk {
            let is_found = matches!(&event.kind, EventKind::Running(running) if running.gap.is_none());
            if !is_found {
                return false;
            }
            self.walked += 1;
            sink(event);
            return true;
        }
        if position.told <= self.walked {
            return true;
        }
        let date = position.clock.map(|clock| clock.at(event.time));
        position.last = date.or(position.last);
        if self.config.to.zip(date).is_some_and(|(to, date)| date > to) {
            return true;
        }
        if self.config.hurry_until.is_none_or(|until| date.is_none_or(|date| date > until)) {
            self.wait_for(event.time);
        }
        if !self.shared.is_stopped() {
            sink(event);
        }
        true
    }

    /// Takes note of events that cannot be read. Of a block that begins with what is known already, whoever
    /// knows it has counted them as lost.
    fn pass_over(&mut self, events: u64, position: &Position) -> bool {
        let is_known = self.config.known.zip(position.first).is_some_and(|(known, first)| first <= known);
        self.malformed += if is_known { 0 } else { events };
        true
    }

    /// Waits until it is time for what happened then.
    fn wait_for(&mut self, time: BootTime) {
        let Some(speed) = self.config.speed else { return };
        let pace = *self.pace.get_or_insert(Pace { began: Instant::now(), first: time });
        let after = time.since(pace.first).as_secs_f64() / speed;
        // Longer than any clock can tell is never.
        let due = Duration::try_from_secs_f64(after).ok().and_then(|after| pace.began.checked_add(after));
        let wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
        if !wait.is_zero() {
            let woken = self.stopped.recv_timeout(wait);
            debug_assert!(matches!(woken, Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)));
        }
    }
}

impl Source for ReplaySource {
    fn kind(&self) -> SourceKind {
        recorded_kind(self.journal.recording())
    }

    /// What was found running when the recording began.
    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.read(true, sink).map_err(unreadable)
    }

    /// All the rest, however long that takes. Who does not wait gets nothing: what comes next in a recording
    /// has not happened yet.
    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        if timeout.is_zero() {
            return Ok(());
        }
        if self.going.is_none() {
            // There is nothing more to wait for.
            let _ = self.stopped.recv_timeout(timeout);
            return Ok(());
        }
        let read = self.read(false, sink).map_err(unreadable);
        self.going = None;
        read
    }

    /// What runs now has nothing to do with what ran then. After a resumption the table is right as it is,
    /// and a survey of a time before all that says so; what a recording misses later stays missing.
    fn survey(&mut self, _sink: Sink<'_>) -> Result<Option<BootTime>, SourceError> {
        Ok(std::mem::take(&mut self.is_resumed).then_some(BootTime::ZERO))
    }

    fn finish(&mut self, _sink: Sink<'_>) -> Result<(), SourceError> {
        Ok(())
    }

    /// The table is as it was then, and what follows is to be told.
    fn resume(&mut self, _bookmark: &[u8]) -> Result<Resumed, SourceError> {
        self.is_resumed = true;
        Ok(Resumed::Continued)
    }

    fn malformed(&self) -> u64 {
        self.malformed
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

fn unreadable(error: JournalError) -> SourceError {
    SourceError::io("read the journal")(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use procession::{Exit, Pid, ProcessKey, Running, Subject};
    use procession_journal::{BlockBuilder, RawBlock, fuzzing};

    use super::*;
    use crate::journal::tests::recording;

    /// An event of kind 200, as it stands in a block.
    const UNKNOWN: &[u8] = b"\x12\x04\xc2\x0c\x01x";

    /// A block of one event and as many `unknown`, after `sequence` others.
    fn block(sequence: u64, event: &Event<'_>, unknown: usize) -> Vec<u8> {
        let mut builder = BlockBuilder::new(sequence);
        builder.push(event);
        let block = builder.take(&recording(), b"").to_bytes().unwrap();
        let (number, _, mut payload) = fuzzing::taken_apart(&block).remove(0);
        payload.extend(UNKNOWN.repeat(unknown));
        fuzzing::seal(number, sequence, &payload)
    }

    /// What a newer version may write: a process that is found running, and its exit.
    fn newer(file: &Path) -> Arc<Journal> {
        let process = Subject::exact(ProcessKey::new(Pid(7), BootTime::ZERO), BootTime::ZERO);
        let running = EventKind::Running(Running { process, ..Running::default() });
        let exit = EventKind::Exit(Exit { process, ..Exit::default() });
        // A block around any payload is of as many microseconds as events came before it.
        let [running, exit] = [(0, running), (2, exit)]
            .map(|(micros, kind)| Event { time: BootTime::from_nanos(1_000 * micros), kind });
        let head = RawBlock::head(&recording()).to_bytes().unwrap();
        std::fs::write(file, [head, block(0, &running, 1), block(2, &exit, 2)].concat()).unwrap();
        Arc::new(Journal::open(file).unwrap())
    }

    #[test]
    fn events_of_kinds_that_are_not_known_are_counted_once() {
        let known =
            |nanos| ReplayConfig { known: Some(BootTime::from_nanos(nanos)), ..ReplayConfig::default() };
        let other = Some("6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap());
        let configs = [
            (ReplayConfig::default(), 2, 3),
            (known(1_000), 1, 2),
            (ReplayConfig { boot: other, ..ReplayConfig::default() }, 0, 0),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        let journal = newer(file.path());
        for (config, events, malformed) in configs {
            let (mut source, _replay) = Replay::new(Arc::clone(&journal), config);
            let mut told = 0;
            source.walk(&mut |_| told += 1).unwrap();
            source.poll(Duration::from_secs(1), &mut |_| told += 1).unwrap();
            assert_eq!((told, source.malformed()), (events, malformed), "{config:?}");
        }
    }
}
