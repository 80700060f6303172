//! What may be in the folder of an export before anything is written.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::export::{SPAN, WHOLE};
use crate::part::SUFFIX;

/// There is something in the folder that would be taken for part of the export, or be there twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Occupied {
    /// It is a file.
    #[error("{} is no directory", path.display())]
    NoDirectory {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot list {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something that no export wrote.
    #[error("there is something else than an export in {}: {}", directory.display(), found.display())]
    Foreign {
        /// Where.
        directory: PathBuf,
        /// What, for example.
        found: PathBuf,
    },
    /// An export of a span of time is not to be mixed with others: what both tell would be there twice.
    #[error("what a span of time tells must not be mixed with another export: there is one in {}", directory.display())]
    Mixed {
        /// Where.
        directory: PathBuf,
    },
}

/// Looks for what is in the way of an export: of all that a journal tells, or of a span of time.
pub(crate) fn find_occupied(directory: &Path, is_whole: bool) -> Result<(), Occupied> {
    match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Occupied::NoDirectory { path: directory.to_owned() });
        }
        _ => {}
    }
    let mut parts = Vec::new();
    for node in entries(directory, directory, is_folder("node="))? {
        for day in entries(directory, &node, is_folder("day="))? {
            parts.extend(entries(directory, &day, is_part)?);
        }
    }
    if parts.iter().any(|part| name(part).starts_with(SPAN)) || (!is_whole && !parts.is_empty()) {
        return Err(Occupied::Mixed { directory: directory.to_owned() });
    }
    Ok(())
}

/// What is in a folder of `directory`, all of which an export could have written.
fn entries(
    directory: &Path,
    folder: &Path,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, Occupied> {
    let failed = |source| Occupied::Unreadable { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if name(&path).ends_with(SUFFIX) {
            // An export was cut off.
            continue;
        }
        if !is_ours(&name(&path)) {
            return Err(Occupied::Foreign { directory: directory.to_owned(), found: path });
        }
        paths.push(path);
    }
    Ok(paths)
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn is_folder(prefix: &str) -> impl Fn(&str) -> bool {
    move |name| name.starts_with(prefix)
}

fn is_part(name: &str) -> bool {
    let is_named = [WHOLE, SPAN].iter().any(|prefix| name.starts_with(prefix));
    is_named && name.ends_with(".parquet")
}
