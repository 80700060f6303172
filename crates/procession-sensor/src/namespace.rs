//! Where this program itself runs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Inode number of the initial pid namespace, a constant of the kernel (`PROC_PID_INIT_INO`).
const HOST: u64 = 0xEFFF_FFFC;

/// Inode number of the pid namespace of this process; `None` when that is the host's.
///
/// Kernel events name processes as the host does. `/proc`, and this process itself, name them as
/// its own namespace does.
pub fn own_pid_namespace() -> Option<u32> {
    let own = fs::metadata("/proc/self/ns/pid").map_or(HOST, |namespace| namespace.ino());
    u32::try_from(own).ok().filter(|_| own != HOST)
}
