//! The fold over the blocks of one boot: the table, and what else they tell by a certain time.

use bytes::Bytes;
use procession::{Applied, BootTime, Checkpoint, Event, EventKind, Table};

use crate::block::{Header, Kind};
use crate::reader::{Block, Content, Damage, Events};
use crate::recording::Recording;

use super::boot::FOREVER;

/// An event, and the table into which it is folded.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The table, before or after the event.
    pub table: &'a Table,
    /// What the block says in which the event is.
    pub recording: &'a Recording,
    /// The event.
    pub event: &'a Event<'a>,
    /// Its place in the journal: the events up to it, itself included.
    pub sequence: u64,
}

/// Sees what happens to the table of a [`Fold`].
pub trait Witness {
    /// It is another one: that of a checkpoint.
    fn restored(&mut self, table: &Table, recording: &Recording) {
        let _ = (table, recording);
    }

    /// It is about to fold an event.
    fn applies(&mut self, moment: Moment<'_>) {
        let _ = moment;
    }

    /// It has folded the event.
    fn applied(&mut self, moment: Moment<'_>, applied: Applied) {
        let _ = (moment, applied);
    }

    /// So many events of a block make no sense, and were passed over.
    fn passed_over(&mut self, events: u64) {
        let _ = events;
    }
}

/// Nobody looks.
impl Witness for () {}

/// The table that the blocks of one boot come to, told one after the other.
///
/// What is missing between them is counted as lost in the ledger of the table, and the next checkpoint tells
/// what came of it.
#[derive(Debug, Default)]
pub struct Fold {
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
    /// The latest time of all blocks so far.
    latest: BootTime,
    /// Events in the damage since the last block, as far as is known.
    damaged: u64,
    /// The last events were later than what is asked for. So is what is missing behind them, if no earlier ones follow.
    is_past: bool,
    /// What could not be read behind those.
    later: Vec<Damage>,
    /// Whether the table has been told all that came before.
    is_whole: bool,
}

impl Fold {
    /// Another file begins, which is to be read as if there were no other: from its own checkpoint on, if that
    /// can be read.
    pub fn begin_file(&mut self) {
        self.is_whole = false;
    }

    /// Folds what `block` holds. Whoever reads a file hands over all that a [`Reader`](crate::Reader) gives.
    pub fn push(&mut self, block: &Block, witness: &mut dyn Witness) {
        self.take(block, FOREVER, witness);
    }

    /// Whether there is anything in a block for the table as it is by `limit`.
    ///
    /// A checkpoint is gone on from only where the table lacks some of the events before it: it is their
    /// sum.
    pub(crate) fn wants(&self, header: &Header, limit: BootTime) -> bool {
        match header.kind {
            Some(Kind::Events) => header.first <= limit,
            Some(Kind::Checkpoint) => {
                header.last.max(self.latest) <= limit && !header.sequence.is_some_and(|it| self.knows(it))
            }
            Some(Kind::Head | Kind::Names | Kind::Close) => false,
            None => true,
        }
    }

    /// Whether the table has been told each of the first `sequence` events, and no more.
    fn knows(&self, sequence: u64) -> bool {
        self.is_whole && sequence == self.expected
    }

    /// Folds what a wanted block holds of the time up to `limit`.
    pub(crate) fn take(&mut self, block: &Block, limit: BootTime, witness: &mut dyn Witness) {
        match (&block.content, &block.recording) {
            (Content::Events(events), Some(recording)) => {
                self.begin_block(block.sequence, recording);
                self.take_events(block, events, limit, witness);
            }
            (Content::Checkpoint { checkpoint, bookmark }, Some(recording))
                if made(checkpoint, recording) <= limit && !self.knows(block.sequence) =>
            {
                self.restore(block.sequence, recording, checkpoint, bookmark);
                witness.restored(&self.table, recording);
            }
            (Content::Damage(damage), _) if block.first > limit => self.pass_over_damage(block, damage),
            (Content::Damage(damage), _) if self.is_past => self.later.push(damage.clone()),
            (Content::Damage(damage), _) => self.take_damage(damage),
            _ => {}
        }
    }

    fn restore(&mut self, sequence: u64, recording: &Recording, checkpoint: &Checkpoint, bookmark: &Bytes) {
        if self.is_of_another_boot(recording) {
            self.latest = BootTime::ZERO;
        }
        self.table = Table::restore(checkpoint);
        self.recording = Some(recording.clone());
        self.bookmark.clone_from(bookmark);
        self.sequence = sequence;
        self.expected = sequence;
        self.damaged = 0;
        self.later.clear();
        (self.is_past, self.is_whole) = (false, true);
    }

    fn is_of_another_boot(&self, recording: &Recording) -> bool {
        self.recording.as_ref().is_some_and(|last| last.boot_id != recording.boot_id)
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

    /// A block is later than all that is asked for, and cannot be read either.
    fn pass_over_damage(&mut self, block: &Block, damage: &Damage) {
        if let Some(events @ 1..) = damage.events.filter(|_| !damage.is_torn()) {
            self.expected = self.expected.max(block.sequence.saturating_add(events));
            self.is_past = true;
        }
    }

    /// Tells the table of the events that are missing between the last block and this one. A reader has judged the
    /// order: where fewer came before than there were already, a new count begins.
    fn begin_block(&mut self, sequence: u64, recording: &Recording) {
        let is_of_another_boot = self.is_of_another_boot(recording);
        if self.recording.is_none() || is_of_another_boot {
            self.table = Table::new(recording.table);
            (self.sequence, self.expected, self.latest) = (sequence, sequence, BootTime::ZERO);
            self.bookmark.clear();
            self.is_whole = sequence == 0;
        }
        self.recording = Some(recording.clone());
        for damage in std::mem::take(&mut self.later) {
            self.take_damage(&damage);
        }
        if is_of_another_boot {
            // It is not this one that lacks it.
            self.damaged = 0;
        }
        self.is_whole &= sequence >= self.expected;
        let missing = sequence.saturating_sub(self.expected).max(self.damaged);
        (self.damaged, self.is_past) = (0, false);
        self.lose(missing);
    }

    fn take_events(&mut self, block: &Block, events: &Events, limit: BootTime, witness: &mut dyn Witness) {
        let Some(recording) = &self.recording else { return };
        let unreadable = events.each_in_place(&mut |place, event| {
            if event.time <= limit {
                let sequence = block.sequence.saturating_add(place);
                witness.applies(Moment { table: &self.table, recording, event, sequence });
                let applied = self.table.apply(event);
                self.sequence = sequence;
                witness.applied(Moment { table: &self.table, recording, event, sequence }, applied);
            }
        });
        witness.passed_over(unreadable);
        self.lose(unreadable);
        self.expected = block.sequence.saturating_add(events.len() as u64);
        self.is_past = block.last > limit;
        self.latest = self.latest.max(block.last);
        if block.last <= limit {
            self.sequence = self.expected;
            self.bookmark.clone_from(events.bookmark());
        }
    }

    /// A block is later than all that is asked for, or has nothing for the table.
    pub(crate) fn pass_over(&mut self, header: &Header) {
        if let (Some(Kind::Events), Some(sequence)) = (header.kind, header.sequence) {
            let missing = std::mem::take(&mut self.damaged);
            self.lose(missing);
            self.is_past = true;
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
