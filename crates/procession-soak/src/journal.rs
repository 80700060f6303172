//! The journal against the truth: each exec of each act that it remembers is in it once.

use std::path::Path;

use anyhow::{Context as _, Result};
use procession::EventKind;
use procession_journal::{Journal, Piece};

use crate::kept::{Kept, Reading};

/// Reads all of it.
pub(crate) fn read(directory: &Path, mut reading: Reading<'_>) -> Result<Kept> {
    let journal = Journal::open(directory).context("cannot open the journal")?;
    let visit = &mut |piece: Piece<'_>| {
        let Piece::Event(event) = piece else { return true };
        reading.kept.events += 1;
        match &event.kind {
            EventKind::Exec(exec) => {
                let words = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1);
                let token = words.and_then(|word| reading.token(str::from_utf8(word).ok()?));
                reading.exec(token, |page| page.is_after(event.time));
            }
            EventKind::Lost(count) => reading.lose(*count, |page| page.is_after(event.time)),
            _ => {}
        }
        true
    };
    journal.read(None, visit).context("cannot read the journal")?;
    Ok(reading.settle())
}
