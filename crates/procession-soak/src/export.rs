//! The export: every line is one event, and no line is missing of what was not removed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What is in its files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) files: u64,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// Events that were told as lost in it.
    pub(crate) lost: u64,
    pub(crate) faults: Vec<String>,
}

/// Reads all files of a folder.
pub(crate) fn read(folder: &Path) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        exported.files += 1;
        for line in BufReader::new(File::open(&file)?).split(b'\n') {
            let line = line.with_context(|| format!("cannot read {}", file.display()))?;
            exported.bytes += line.len() as u64 + 1;
            match serde_json::from_slice::<Value>(&line) {
                Ok(event) => match event["rate_limit_info"]["number_of_dropped_process_events"].as_str() {
                    Some(lost) => exported.lost += lost.parse::<u64>().unwrap_or(0),
                    None => exported.lines += 1,
                },
                Err(error) if exported.faults.len() < 10 => {
                    exported.faults.push(format!("{}: a line is no JSON: {error}", file.display()));
                }
                Err(_) => {}
            }
        }
    }
    Ok(exported)
}
