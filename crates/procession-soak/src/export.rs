//! The export: every line is one event, and of what was not removed each exec is there once.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use procession::BootTime;
use serde_json::Value;

use crate::book::Book;
use crate::kept::Kept;
use crate::plan::FIRST_HELD;

/// What is in its files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) files: u64,
    /// Each line is an event.
    pub(crate) kept: Kept,
}

/// Reads all files of a folder. `pages` says which act was the next to be played, again and again: all
/// before it were over then.
pub(crate) fn read(
    folder: &Path,
    mut book: Book,
    pages: &[(BootTime, u64)],
    end: u64,
    held: &[u64],
) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut from = None;
    for file in oldest_first(folder)? {
        exported.files += 1;
        for line in BufReader::new(File::open(&file)?).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", file.display()))?;
            match serde_json::from_slice::<Value>(&line) {
                Ok(event) => enter(&mut exported.kept, &event, &mut book, pages, &mut from),
                Err(error) if exported.kept.faults.len() < 10 => {
                    exported.kept.faults.push(format!("{}: a line is no JSON: {error}", file.display()));
                }
                Err(_) => {}
            }
        }
    }
    exported.kept.settle(book, from, end, held);
    Ok(exported)
}

fn oldest_first(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files.push((path.metadata()?.modified()?, path));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn enter(kept: &mut Kept, event: &Value, book: &mut Book, pages: &[(BootTime, u64)], from: &mut Option<u64>) {
    let lost = &event["rate_limit_info"]["number_of_dropped_process_events"];
    if !lost.is_null() {
        let text = lost.as_str().and_then(|text| text.parse().ok());
        kept.lost += text.or(lost.as_u64()).unwrap_or(0);
        return;
    }
    kept.events += 1;
    let arguments = event["process_exec"]["process"]["arguments"].as_str();
    let Some(token) = arguments.and_then(|arguments| book.token(arguments)) else { return };
    // The first act that is told began before the files that are left.
    if from.is_none() && token.act < FIRST_HELD {
        let is_first_file = kept.events < 1_000 && token.act < 16;
        let page = pages.iter().map(|(_, act)| *act).find(|act| *act > token.act);
        *from = if is_first_file { Some(0) } else { page };
    }
    if from.is_some_and(|from| (from..FIRST_HELD).contains(&token.act)) {
        kept.exec(book, token);
    }
}
