//! The fold over the blocks of one boot: the table, and what else they tell by a certain time.

use bytes::Bytes;
use procession::{Applied, BootTime, Checkpoint, Event, EventKind, Table};

use crate::block::{Header, Kind};
use crate::reader::{Block, Content, Damage, Events};
use crate::recording::Recording;

/// Sees what happens to the table.
pub(crate) trait Witness {
    /// It is another one: that of a checkpoint.
    fn restored(&mut self, table: &Table, recording: &Recording) {
        let _ = (table, recording);
    }

    /// It has folded an event.
    fn applied(&mut self, table: &Table, recording: &Recording, event: &Event<'_>, applied: Applied) {
        let _ = (table, recording, event, applied);
    }
}

/// Nobody looks.
impl Witness for () {}

/// A table, and how far it has come in the journal.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) table: Table,
    /// What the last block said that was folded. `None`: none was.
    pub(crate) recording: Option<Recording>,
    /// Events of the journal up to the last that was folded.
    pub(crate) sequence: u64,
    /// Up to where the source had been read.
    pub(crate) bookmark: Bytes,
    /// All that could not be read.
    pub(crate) damage: Vec<Damage>,
    /// Events of the journal up to the next block.
    expected: u64,
    /// A file begins: the next block may say that fewer came before it.
    is_anew: bool,
    /// The latest time of all blocks so far.
    latest: BootTime,
    /// Events in the damage since the last block, as far as is known.
    damaged: u64,
    /// Whether the table has been told all that came before.
    is_whole: bool,
}

impl Fold {
    /// Whether there is anything in a block for the table as it is by `limit`.
    ///
    /// A checkpoint is gone on from only where the table lacks some of the events before it: it is their
    /// sum.
    pub(crate) fn wants(&self, header: &Header, limit: BootTime) -> bool {
        match header.kind {
            Some(Kind::Events) => header.first <= limit,
            Some(Kind::Checkpoint) => {
                header.last.max(self.latest) <= limit
                    && !(self.is_whole && header.sequence == Some(self.expected))
            }
            Some(Kind::Head | Kind::Names | Kind::Close) => false,
            None => true,
        }
    }

    /// Folds what a wanted block holds of the time up to `limit`.
    pub(crate) fn take(&mut self, block: &Block, limit: BootTime, witness: &mut dyn Witness) {
        match (&block.content, &block.recording) {
            (Content::Events(events), Some(recording)) => {
                let is_in_place = self.begin_block(block.sequence, recording);
                if is_in_place {
                    self.take_events(block, events, limit, witness);
                }
            }
            (Content::Checkpoint { checkpoint, bookmark }, Some(recording))
                if made(checkpoint, recording) <= limit =>
            {
                self.restore(block.sequence, recording, checkpoint, bookmark);
                witness.restored(&self.table, recording);
            }
            (Content::Damage(damage), _) => self.take_damage(damage),
            _ => {}
        }
    }

    fn restore(&mut self, sequence: u64, recording: &Recording, checkpoint: &Checkpoint, bookmark: &Bytes) {
        self.table = Table::restore(checkpoint);
        self.recording = Some(recording.clone());
        self.bookmark.clone_from(bookmark);
        self.sequence = sequence;
        self.expected = sequence;
        self.is_anew = false;
        self.damaged = 0;
        self.is_whole = true;
    }

    fn take_damage(&mut self, damage: &Damage) {
        if damage.is_repeated() {
            self.damage.push(damage.clone());
            return;
        }
        // Nobody was told that a block is safe which was not written to its end: what was in it comes again.
        let lost = damage.events.filter(|_| !damage.is_torn());
        self.damaged = self.damaged.saturating_add(lost.unwrap_or(0));
        self.is_whole = false;
        self.damage.push(damage.clone());
    }

    /// Tells the table of the events that are missing between the last block and this one. Whether it is to
    /// be folded: not if it stands in the wrong place.
    fn begin_block(&mut self, sequence: u64, recording: &Recording) -> bool {
        if self.recording.is_none() {
            self.table = Table::new(recording.table);
            self.expected = sequence;
            self.is_whole = sequence == 0;
        }
        if std::mem::take(&mut self.is_anew) {
            self.expected = self.expected.min(sequence);
        }
        if sequence < self.expected {
            return false;
        }
        self.recording = Some(recording.clone());
        let missing = sequence.saturating_sub(self.expected).max(self.damaged);
        self.damaged = 0;
        self.lose(missing);
        true
    }

    fn take_events(&mut self, block: &Block, events: &Events, limit: BootTime, witness: &mut dyn Witness) {
        let Some(recording) = &self.recording else { return };
        let mut index = 0;
        let unreadable = events.each(&mut |event| {
            index += 1;
            if event.time <= limit {
                let applied = self.table.apply(event);
                self.sequence = block.sequence.saturating_add(index);
                witness.applied(&self.table, recording, event, applied);
            }
        });
        self.lose(unreadable);
        self.expected = block.sequence.saturating_add(events.len() as u64);
        self.latest = self.latest.max(block.last);
        if block.last <= limit {
            self.sequence = self.expected;
            self.bookmark.clone_from(events.bookmark());
        }
    }

    /// A block is later than all that is asked for, or has nothing for the table.
    pub(crate) fn pass_over(&mut self, header: &Header) {
        self.is_anew |= header.kind == Some(Kind::Head);
        if let (Some(Kind::Events), Some(sequence)) = (header.kind, header.sequence) {
            let missing = std::mem::take(&mut self.damaged);
            self.lose(missing);
            self.is_anew = false;
            self.expected = sequence.saturating_add(header.events.into());
            self.latest = self.latest.max(header.last);
        }
    }

    /// Nothing follows: what was damaged at the end is missing.
    pub(crate) fn end(&mut self) {
        let missing = std::mem::take(&mut self.damaged);
        self.lose(missing);
    }

    fn lose(&mut self, count: u64) {
        if count > 0 {
            self.is_whole = false;
            let time = self.table.now();
            let _ = self.table.apply(&Event { time, kind: EventKind::Lost(count) });
        }
    }
}

/// When a checkpoint was made. That of a table which begins anew has no time of its own.
pub(crate) fn made(checkpoint: &Checkpoint, recording: &Recording) -> BootTime {
    if checkpoint.time() == BootTime::ZERO { recording.clock.boot() } else { checkpoint.time() }
}
