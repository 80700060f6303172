//! From the records of a ring to events.

use std::collections::{HashMap, HashSet};

use procession::{BootTime, Event, EventKind};

use super::losses::{Losses, recorded};
use super::raw::RawSensor;
use crate::clock;
use crate::error::SourceError;
use crate::record::layout::{kind, stat};
use crate::record::{Decoder, Malformed, RecordId, identify};
use crate::source::Sink;

/// What has to be known from one record to the next.
#[derive(Default)]
pub(super) struct Reader {
    decoder: Decoder,
    pub(super) losses: Losses,
    /// Losses are to be reported before anything else is handed over.
    is_report_overdue: bool,
    /// Records that are no news.
    pub(super) forgotten: HashSet<u64>,
    /// The first part of arguments whose exec is still to come, by CPU.
    parts: HashMap<u32, u64>,
    /// Events that were read from the ring since it was made, by this reader and by others.
    pub(super) read: u64,
    pub(super) malformed: u64,
}

impl Reader {
    /// Hands over the record at `position`, and before it a report of what was lost since the one before.
    pub(super) fn hand_over(
        &mut self,
        position: u64,
        record: &[u8],
        raw: &RawSensor,
        sink: Sink<'_>,
    ) -> Result<(), SourceError> {
        if let Ok(id) = identify(record) {
            let has_gap = self.losses.has_gap_before(id);
            if has_gap || self.is_report_overdue {
                self.report_losses(raw, id.time, sink)?;
            }
            self.follow_parts(position, id, has_gap);
        }
        if self.forgotten.is_empty() || !self.forgotten.remove(&position) {
            self.decode(record, sink);
        }
        Ok(())
    }

    /// Hands over a record that is not in the ring.
    pub(super) fn decode(&mut self, record: &[u8], sink: Sink<'_>) {
        match self.decoder.decode(record) {
            Ok(Some(event)) => sink(&event),
            Ok(None) => {}
            Err(Malformed) => self.malformed += 1,
        }
    }

    /// Takes from a record that was handed over before what later ones need.
    pub(super) fn pass_over(&mut self, position: u64, record: &[u8]) {
        if let Ok(id) = identify(record) {
            self.follow_parts(position, id, false);
        }
        let _ = self.decoder.decode(record);
    }

    /// Takes what was read so far for the business of others.
    pub(super) fn begin_after(&mut self, behind: [u64; stat::COUNT]) {
        self.losses = Losses::after(behind);
        self.read = recorded(&behind);
    }

    /// Goes on with `losses`, of which those that are new are told first.
    pub(super) fn continue_from(&mut self, losses: Losses) {
        self.losses = losses;
        self.is_report_overdue = true;
    }

    /// What a bookmark keeps from being released: parts of arguments whose exec is still to come.
    pub(super) fn first_needed(&self) -> Option<u64> {
        self.parts.values().min().copied()
    }

    /// A CPU writes the parts and the exec in one go. If anything is missing from it, so may the exec be.
    /// What is read is counted too.
    fn follow_parts(&mut self, position: u64, id: RecordId, has_gap: bool) {
        self.read += u64::from(is_event(id.kind));
        if has_gap || id.kind == kind::EXEC {
            self.parts.remove(&id.cpu);
        }
        if id.kind == kind::ARGS {
            self.parts.entry(id.cpu).or_insert(position);
        }
    }

    /// Reports as lost what was recorded by the counts `behind` and never read.
    pub(super) fn tell_unread(&mut self, behind: &[u64; stat::COUNT], sink: Sink<'_>) {
        let recorded = recorded(behind);
        let unread = recorded.saturating_sub(std::mem::replace(&mut self.read, recorded));
        if unread > 0 {
            sink(&Event { time: clock::now(), kind: EventKind::Lost(unread) });
        }
    }

    pub(super) fn report_losses(
        &mut self,
        raw: &RawSensor,
        time: BootTime,
        sink: Sink<'_>,
    ) -> Result<(), SourceError> {
        let lost = self.losses.since_last_report(&raw.stats()?);
        self.is_report_overdue = false;
        if lost > 0 {
            sink(&Event { time, kind: EventKind::Lost(lost) });
        }
        Ok(())
    }

    /// Reports losses that no record comes after.
    pub(super) fn report_overdue(&mut self, raw: &RawSensor, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.is_report_overdue { self.report_losses(raw, clock::now(), sink) } else { Ok(()) }
    }
}

/// Whether a record of that kind is an event by itself.
fn is_event(kind: u16) -> bool {
    matches!(kind, kind::FORK | kind::EXEC | kind::EXIT | kind::CHANGE)
}
