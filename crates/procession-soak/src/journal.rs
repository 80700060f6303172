//! The journal against the truth: each exec of each act that it remembers is in it once.

use std::path::Path;

use anyhow::{Context as _, Result};
use procession::{BootTime, EventKind};
use procession_journal::{Journal, Piece};

use crate::book::Book;
use crate::kept::Kept;
use crate::plan::Token;

/// Reads all of it. `pages` says which act was the next to be played at which time since boot.
pub(crate) fn read(
    directory: &Path,
    mut book: Book,
    pages: &[(BootTime, u64)],
    end: u64,
    held: &[u64],
) -> Result<Kept> {
    let journal = Journal::open(directory).context("cannot open the journal")?;
    let (mut recorded, mut from) = (Kept::default(), None);
    let visit = &mut |piece: Piece<'_>| {
        let Piece::Event(event) = piece else { return true };
        recorded.events += 1;
        match &event.kind {
            EventKind::Exec(exec) => {
                // What happened since the first that is told is all there.
                let page = || pages.iter().find(|(time, _)| *time > event.time).map_or(end, |(_, act)| *act);
                let from = *from.get_or_insert_with(page);
                let words = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1);
                let token = words.and_then(|word| str::from_utf8(word).ok()?.parse::<Token>().ok());
                if let Some(token) = token.filter(|token| token.act >= from) {
                    recorded.exec(&mut book, token);
                }
            }
            EventKind::Lost(count) => recorded.lost += count,
            _ => {}
        }
        true
    };
    journal.read(None, visit).context("cannot read the journal")?;
    recorded.settle(book, from, end, held);
    Ok(recorded)
}
