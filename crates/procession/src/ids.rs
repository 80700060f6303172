//! The names of processes: pid, key, and the printable `exec_id`.

use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::time::BootTime;

/// A thread-group id in the host's pid namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one image of one process: who ran, since when.
///
/// `start` is when the image began: the time of the fork for the image that a process shares with
/// its parent, the time of the exec for every later one; of one whose exec nobody saw, and that shows only in
/// what the process runs, when it was found ([`Origin::Found`](crate::Origin::Found)). A pid is reused, a key
/// is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// The process.
    pub pid: Pid,
    /// When this image of it began.
    pub start: BootTime,
}

impl Default for ProcessKey {
    /// [`ProcessKey::NONE`].
    fn default() -> Self {
        Self::NONE
    }
}

impl ProcessKey {
    /// The key of `pid`'s image that began at `start`.
    pub const fn new(pid: Pid, start: BootTime) -> Self {
        Self { pid, start }
    }

    /// What the reference system uses where there is no parent: pid 0, started at 1 ns.
    pub const NONE: Self = Self::new(Pid(0), BootTime::from_nanos(1));

    /// The `exec_id` of this image on the node called `node`: base64 of `node:start:pid`.
    ///
    /// This is the reference system's identifier, byte for byte.
    ///
    /// ```
    /// use procession::{BootTime, Pid, ProcessKey};
    ///
    /// let key = ProcessKey::new(Pid(46_987), BootTime::from_nanos(21_034_975_089_403));
    /// assert_eq!(key.exec_id("node1"), "bm9kZTE6MjEwMzQ5NzUwODk0MDM6NDY5ODc=");
    /// ```
    pub fn exec_id(&self, node: &str) -> String {
        // Every event has a few of these, and names of nodes are short: only the text is on the heap.
        let mut plain = [0; 128];
        let mut rest = &mut plain[..];
        let (start, pid) = (self.start.as_nanos(), self.pid);
        if write!(rest, "{node}:{start}:{pid}").is_err() {
            return BASE64.encode(format!("{node}:{start}:{pid}"));
        }
        let unused = rest.len();
        BASE64.encode(&plain[..plain.len() - unused])
    }

    /// Reads an `exec_id` back into the node's name and the key.
    ///
    /// `None` when the text is not base64 of `node:start:pid`.
    pub fn parse_exec_id(exec_id: &str) -> Option<(String, Self)> {
        let plain = String::from_utf8(BASE64.decode(exec_id).ok()?).ok()?;
        // The node's name may itself hold colons; the two numbers cannot.
        let mut parts = plain.rsplitn(3, ':');
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let node = parts.next()?.to_owned();
        Some((node, Self::new(Pid(pid), BootTime::from_nanos(start))))
    }
}

impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32, start: u64) -> ProcessKey {
        ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
    }

    #[test]
    fn exec_id_test_vectors_of_the_reference() {
        assert_eq!(BASE64.decode(key(1, 2).exec_id("my-node")).unwrap(), b"my-node:2:1");
        assert_eq!(ProcessKey::NONE.exec_id("node1"), "bm9kZTE6MTow");
    }

    #[test]
    fn an_exec_id_of_any_length_is_whole() {
        let key = key(u32::MAX, u64::MAX);
        for length in [0, 80, 94, 95, 96, 97, 98, 128, 253] {
            let node = "n".repeat(length);
            assert_eq!(ProcessKey::parse_exec_id(&key.exec_id(&node)), Some((node, key)), "{length}");
        }
    }

    #[test]
    fn exec_id_reads_back_even_from_a_node_name_with_colons() {
        let exec_id = key(7, 9).exec_id("fe80::1");
        assert_eq!(ProcessKey::parse_exec_id(&exec_id), Some(("fe80::1".into(), key(7, 9))));
        for bad in ["", "%%%", "bm9kZQ==", "OjE6"] {
            assert_eq!(ProcessKey::parse_exec_id(bad), None, "{bad}");
        }
    }
}
