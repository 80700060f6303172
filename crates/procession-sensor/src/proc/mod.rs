//! One process as `/proc` shows it.
//!
//! What `/proc` says is what holds now. It is read file by file, so that a process may exec or end
//! between two of them; what can be excluded is that the files speak of two processes, because all
//! are opened relative to one handle of the process's directory, which dies with the process.
//!
//! Everything but `stat` may be missing. The files of other users' processes refuse to be read
//! (`exe`, `cwd`, `ns`), kernel threads have no command line, and a process may vanish at any time.
//! Such a fact is `None` or empty. File contents are bytes that the observed process may have
//! chosen: nothing in them is taken for UTF-8, and none of them makes a parser fail badly.

mod cgroup;
mod details;
mod directory;
#[cfg(test)]
pub(crate) mod fake;
mod stat;
mod status;

use std::str::FromStr;

pub(crate) use details::Details;
pub(crate) use directory::Procfs;
pub(crate) use stat::{Comm, Stat};

/// Hands `text` to every parser of this module.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse(text: &[u8]) {
    let _ = Stat::parse(text);
    let _ = status::Status::parse(text).credentials();
    if let Some(path) = cgroup::path(text) {
        assert!(path.starts_with(b"/"));
    }
    let _ = details::namespace_inode(text);
}

/// A number as the kernel prints it.
fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
