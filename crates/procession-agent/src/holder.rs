//! Who has what we cannot have, in words for a message.
//!
//! All of it is found in `/proc`, for help only: where that is not to be seen, nobody is named.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

/// Who holds a lock on the file or directory at `path`: ` (it is pid 12, procession)`, or nothing.
pub fn holder_of_lock(path: &Path) -> String {
    told(pid_of_holder(path))
}

/// Whether a program of this process's user holds it. Its real user counts: a program that anybody may start can
/// have root's rights.
pub(crate) fn is_lock_ours(path: &Path) -> bool {
    let user = |pid| uid_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?);
    pid_of_holder(path).and_then(user) == Some(geteuid().as_raw())
}

fn pid_of_holder(path: &Path) -> Option<u32> {
    let inode = path.metadata().ok()?.ino();
    pid_of_lock(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// The real one, which is the first number of the line `Uid:`.
pub(crate) fn uid_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// The same of who listens on a TCP port of this network namespace.
pub(crate) fn holder_of_port(port: u16) -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let socket = tables.iter().find_map(|table| socket_of_port(table, port));
    told(socket.and_then(owner_of_socket))
}

/// The same of a process that is known.
pub(crate) fn told(pid: Option<u32>) -> String {
    let Some(pid) = pid else { return String::new() };
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        // A name is what the process says it is, and may be anything.
        Ok(name) => format!(" (it is pid {pid}, {})", name.trim_end().escape_debug()),
        Err(_) => format!(" (it is pid {pid})"),
    }
}

/// In lines as `1: FLOCK  ADVISORY  WRITE 1234 00:2c:5678 0 EOF`. The device is not compared: some file
/// systems give other numbers of it here than elsewhere.
pub(crate) fn pid_of_lock(locks: &str, inode: u64) -> Option<u32> {
    let holder = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else { return None };
        let is_it = file.rsplit(':').next()?.parse() == Ok(inode);
        // A process of another pid namespace is 0 here, or negative.
        pid.parse().ok().filter(|pid| is_it && *pid > 0)
    };
    locks.lines().find_map(holder)
}

/// The inode of the socket that listens on `port`, in a table as `/proc/net/tcp`.
pub(crate) fn socket_of_port(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (_, own) = words.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(own, 16) == Ok(port) && words.get(3) == Some(&LISTEN);
        words.get(9)?.parse().ok().filter(|_| is_it)
    })
}

/// A process that has the socket open.
fn owner_of_socket(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let has_it = |pid: &u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|it| it.as_os_str() == &*wanted))
    };
    let pids = fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(has_it)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    #[test]
    fn who_holds_a_lock_or_a_port_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holder_of_lock(file.path()), "");
        flock(file.as_file(), FlockOperation::NonBlockingLockExclusive).unwrap();
        let own = format!("(it is pid {}, ", std::process::id());
        assert!(holder_of_lock(file.path()).contains(&own));

        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(holder_of_port(port).contains(&own));
        drop(listener);
        assert_eq!(holder_of_port(port), "");
    }

    #[test]
    fn the_real_user_counts() {
        assert_eq!(uid_of("Name:\tsh\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(1000));
        assert_eq!(uid_of("Name:\tUid\n"), None);
    }

    #[test]
    fn only_the_right_lock_counts() {
        let locks = "1: POSIX  ADVISORY  WRITE 5 00:2c:77 0 EOF\n\
                     2: FLOCK  ADVISORY  READ  6 00:2c:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 7 00:2c:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 00:2c:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 8 00:2c:77 0 EOF\n";
        assert_eq!(pid_of_lock(locks, 77), Some(8));
        assert_eq!(pid_of_lock(locks, 7), None);
    }
}
