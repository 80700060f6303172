//! A whole import of lines in memory, for `fuzz/`.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use super::compose::fill;
use super::draft::Draft;
use super::translate;
use super::translate::Translator;

/// A journal that was made of lines.
#[derive(Debug)]
pub struct Imported {
    /// The file.
    pub journal: Vec<u8>,
    /// The events in it, as it was told.
    pub events: u64,
    /// The processes that run at its end, as it was told.
    pub live: usize,
}

/// Imports lines as the command does. `None`: none of them tells of a process.
///
/// # Errors
///
/// There is no room for files.
pub fn import(lines: &[u8]) -> anyhow::Result<Option<Imported>> {
    let mut translator = Translator::new(None);
    let mut draft = Draft::within(tempfile::tempfile()?);
    for line in lines.split(|byte| *byte == b'\n') {
        // A line that cannot be taken is told of, and left out.
        let _ = translate(line, &mut translator, &mut draft);
        if let Some(clock) = translator.clock() {
            draft.write_if_full(clock)?;
        }
    }
    let Some(whole) = translator.finish() else { return Ok(None) };
    let file: File = tempfile::tempfile()?;
    let (events, live) = fill(&file, draft.finish(whole.clock)?, &whole)?;
    let mut journal = Vec::new();
    (&file).rewind()?;
    (&file).read_to_end(&mut journal)?;
    Ok(Some(Imported { journal, events, live }))
}
