//! The journal against the truth: each exec of each act that it remembers is in it once.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use procession::EventKind;
use procession_journal::{Journal, Piece};

use crate::book::{Book, Missing};
use crate::plan::Token;

/// What was found in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) events: u64,
    pub(crate) execs: u64,
    /// Events that it says are missing.
    pub(crate) lost: u64,
    /// The first act of which all was still there.
    pub(crate) from: u64,
    pub(crate) missing: Missing,
    pub(crate) faults: Vec<String>,
}

/// Reads all of it. `pages` says which act was the next to be played at which time.
pub(crate) fn read(
    directory: &Path,
    mut book: Book,
    pages: &[(SystemTime, u64)],
    end: u64,
    held: &[u64],
) -> Result<Recorded> {
    let journal = Journal::open(directory).context("cannot open the journal")?;
    let (first, _) = journal.span();
    let from = pages.iter().find(|(time, _)| *time > first).map_or(end, |(_, act)| *act);
    let mut recorded = Recorded { from, ..Recorded::default() };
    let visit = &mut |piece: Piece<'_>| {
        let Piece::Event(event) = piece else { return true };
        recorded.events += 1;
        match &event.kind {
            EventKind::Exec(exec) => {
                let words = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1);
                let token = words.and_then(|word| str::from_utf8(word).ok()?.parse::<Token>().ok());
                if let Some(token) = token.filter(|token| token.act >= from) {
                    recorded.execs += 1;
                    book.image(token);
                }
            }
            EventKind::Lost(count) => recorded.lost += count,
            _ => {}
        }
        true
    };
    journal.read(None, visit).context("cannot read the journal")?;
    recorded.faults = book.faults.take().examples;
    recorded.missing = book.settle_images(from, end, held);
    Ok(recorded)
}
