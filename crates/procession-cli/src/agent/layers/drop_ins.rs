//! Directories with a file for each option, named like the option, that holds the value. The form
//! in which packages add settings, and Kubernetes mounts a `ConfigMap`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::Gathered;
use crate::agent::catalogue::Kind;
use crate::agent::settings::{Origin, Setting};

/// Far more than any value needs.
pub(super) const LONGEST: u64 = 4 << 20;

/// Reads the directory at `path`. One that is not there is like an empty one, unless it was named.
pub(super) fn read(path: &Path, is_named: bool, gathered: &mut Gathered<'_>) {
    let names = match names(path) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => return,
        Err(error) => return gathered.problem(path.display(), format_args!("cannot be read: {error}")),
    };
    gathered.read.push(path.to_owned());
    for name in names {
        one(&path.join(&name), &name, gathered);
    }
}

/// In the order of the alphabet. Hidden ones are no options: Kubernetes keeps the files that the
/// others link to in them, and editors their copies.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    Ok(names)
}

fn one(path: &Path, name: &str, gathered: &mut Gathered<'_>) {
    if gathered.catalogue.find(name).is_none() {
        return gathered.stranger(path.display(), name);
    }
    match text(path) {
        Ok(text) => take(path, name, &text, gathered),
        Err(error) => gathered.problem(path.display(), format_args!("cannot be read: {error}")),
    }
}

/// Takes what the file of an option holds.
pub(super) fn take(path: &Path, name: &str, text: &str, gathered: &mut Gathered<'_>) {
    let Some(option) = gathered.catalogue.find(name) else {
        return gathered.stranger(path.display(), name);
    };
    let text = text.trim_end_matches(['\n', '\r']);
    // That the file is there says it.
    let text = if option.kind == Kind::Switch && text.is_empty() { "true" } else { text };
    let values = option.split(text);
    gathered.set(Setting { name: name.to_owned(), values, origin: Origin::DropIn(path.to_owned()) });
}

/// What a regular file holds, or /dev/null, when that is text of a size that makes sense.
pub(super) fn text(path: &Path) -> io::Result<String> {
    // Before it is opened: a pipe would wait for somebody to write.
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| {
        if error.kind() == ErrorKind::InvalidData { io::Error::other("it is not UTF-8 text") } else { error }
    })?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}
