//! The parsers of what the system says of other processes, and of the names of files, for `fuzz/`. No part of the API.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::{export, holder};

/// Which process locks the file with this number, in the text of `/proc/locks`.
pub fn pid_of_lock(locks: &str, inode: u64) -> Option<u32> {
    holder::pid_of_lock(locks, inode)
}

/// Which socket listens on a port, in the text of `/proc/net/tcp` or `tcp6`.
pub fn socket_of_port(table: &str, port: u16) -> Option<u64> {
    holder::socket_of_port(table, port)
}

/// The real user, in the text of `/proc/PID/status`.
pub fn uid_of(status: &str) -> Option<u32> {
    holder::uid_of(status)
}

/// Where the backup of the exported `file` is that another file in its folder is taken for. `None`: it is taken for
/// none.
pub fn backup(file: &Path, name: &OsStr) -> Option<PathBuf> {
    export::renamed(file, name)
}
