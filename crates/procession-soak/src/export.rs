//! The export: every line is one event, and of what was not removed each exec is there once.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::kept::{Kept, Reading};
use crate::plan::Token;

/// What is in its files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) files: u64,
    /// Each line is an event.
    pub(crate) kept: Kept,
}

/// Reads all files of a folder.
pub(crate) fn read(folder: &Path, mut reading: Reading<'_>) -> Result<Exported> {
    let files = oldest_first(folder)?;
    for file in &files {
        for line in BufReader::new(File::open(file)?).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", file.display()))?;
            match serde_json::from_slice::<Value>(&line) {
                Ok(event) => enter(&mut reading, &event),
                Err(error) if reading.kept.faults.len() < 10 => {
                    reading.kept.faults.push(format!("{}: a line is no JSON: {error}", file.display()));
                }
                Err(_) => {}
            }
        }
    }
    Ok(Exported { files: files.len() as u64, kept: reading.settle() })
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

fn enter(reading: &mut Reading<'_>, event: &Value) {
    let time = event["time"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(time) = time.and_then(|time| SystemTime::try_from(time).ok()) else {
        return reading.kept.faults.push(format!("a line has no time: {event}"));
    };
    let lost = &event["rate_limit_info"]["number_of_dropped_process_events"];
    if !lost.is_null() {
        let text = lost.as_str().and_then(|text| text.parse().ok());
        let count = text.or(lost.as_u64()).unwrap_or(0);
        return reading.lose(count, |page| page.is_after_clock(time));
    }
    reading.kept.events += 1;
    if let Some(exec) = event.get("process_exec") {
        let token = token(reading, exec);
        reading.exec(token, |page| page.is_after_clock(time));
    } else if let Some(token) = event.get("process_exit").and_then(|exit| token(reading, exit)) {
        reading.end(token);
    }
}

fn token(reading: &Reading<'_>, event: &Value) -> Option<Token> {
    reading.token(event["process"]["arguments"].as_str()?)
}

#[cfg(test)]
mod tests;
