//! Access to `/proc`: handles, bounded reads, links.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use procession::Pid;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, readlinkat_raw, statat};
use rustix::io::{Errno, read};

use super::number;
use super::stat::Stat;
use crate::error::SourceError;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const LISTING: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// The most that `stat` and similar files hold, several times over.
const SMALL_FILE: usize = 64 * 1024;

/// The longest target of a link that the kernel prints.
const LONGEST_LINK: usize = 4096;

/// A mounted `/proc`, or a tree that looks like one.
#[derive(Debug)]
pub(crate) struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let root = openat(CWD, path, DIRECTORY, Mode::empty()).map_err(io::Error::from);
        Ok(Self { root: root.map_err(SourceError::io(format!("open {}", path.display())))? })
    }

    /// The processes in it, ascending.
    pub(crate) fn pids(&self) -> Result<Vec<Pid>, SourceError> {
        pids_in(&self.root, ".").map_err(|errno| SourceError::io("list the processes in /proc")(errno.into()))
    }

    /// A handle to one process. `None`: there is no such process any more.
    pub(crate) fn process(&self, pid: Pid) -> Option<ProcessDir> {
        let directory = openat(&self.root, pid.to_string(), DIRECTORY, Mode::empty()).ok()?;
        Some(ProcessDir { directory })
    }

    /// `stat` of one process, where nothing else of it is wanted.
    pub(crate) fn stat(&self, pid: Pid, buffer: &mut Vec<u8>) -> Option<Stat> {
        read_file(&self.root, &format!("{pid}/stat"), SMALL_FILE, buffer).ok()?;
        Stat::parse(buffer)
    }
}

/// The directory of one process.
///
/// A handle stays with the process that it was opened for: when the pid is given to another one,
/// reading through the handle fails.
#[derive(Debug)]
pub(crate) struct ProcessDir {
    directory: OwnedFd,
}

impl ProcessDir {
    pub(crate) fn stat(&self, buffer: &mut Vec<u8>) -> Option<Stat> {
        self.read("stat", SMALL_FILE, buffer).ok()?;
        Stat::parse(buffer)
    }

    /// `stat` of one of its threads.
    pub(crate) fn stat_of_thread(&self, thread: Pid, buffer: &mut Vec<u8>) -> Option<Stat> {
        self.read(&format!("task/{thread}/stat"), SMALL_FILE, buffer).ok()?;
        Stat::parse(buffer)
    }

    /// The ids of its threads, the leader's among them.
    pub(crate) fn threads(&self) -> Vec<Pid> {
        pids_in(&self.directory, "task").unwrap_or_default()
    }

    /// Replaces `buffer` by what is in the file, at most `limit` bytes of it.
    pub(super) fn read(&self, name: &str, limit: usize, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        read_file(&self.directory, name, limit, buffer)
    }

    /// [`read`](Self::read) for the many files of a few lines.
    pub(super) fn read_small(&self, name: &str, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        self.read(name, SMALL_FILE, buffer)
    }

    /// Replaces `buffer` by the link's target as the kernel prints it.
    pub(super) fn link(&self, name: &str, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        buffer.clear();
        buffer.reserve(LONGEST_LINK + 1);
        let len = readlinkat_raw(&self.directory, name, spare_capacity(buffer))?;
        if len > LONGEST_LINK { Err(Errno::NAMETOOLONG) } else { Ok(()) }
    }

    /// What the link really leads to, whatever its printed target says.
    pub(super) fn target(&self, name: &str) -> Result<rustix::fs::Stat, Errno> {
        statat(&self.directory, name, AtFlags::empty())
    }
}

/// The entries of a directory that are numbers, ascending.
fn pids_in(parent: &OwnedFd, name: &str) -> Result<Vec<Pid>, Errno> {
    let directory = openat(parent, name, LISTING, Mode::empty())?;
    let mut pids = Vec::new();
    for entry in Dir::new(directory)? {
        pids.extend(number(entry?.file_name().to_bytes()).map(Pid));
    }
    pids.sort_unstable();
    Ok(pids)
}

fn read_file(directory: &OwnedFd, name: &str, limit: usize, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    buffer.clear();
    let file = openat(directory, name, FILE, Mode::empty())?;
    while buffer.len() < limit {
        buffer.reserve(4096);
        if read(&file, spare_capacity(buffer))? == 0 {
            break;
        }
    }
    buffer.truncate(limit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::fake::{FakeProc, FakeStat};

    #[test]
    fn lists_directories_that_are_numbers() {
        let fake = FakeProc::new();
        for pid in [10, 9, 4_194_304] {
            fake.process(pid, &FakeStat::default());
        }
        for name in ["self", "1x", "-1", "99999999999"] {
            fake.directory(name);
        }
        assert_eq!(fake.open().pids().unwrap(), [Pid(9), Pid(10), Pid(4_194_304)]);
    }

    #[test]
    fn reads_are_bounded() {
        let fake = FakeProc::new();
        fake.process(1, &FakeStat::default());
        fake.file(1, "cmdline", &[b'x'; 10_000]);
        let mut buffer = vec![b'y'; 7];
        fake.open().process(Pid(1)).unwrap().read("cmdline", 9_000, &mut buffer).unwrap();
        assert_eq!(buffer, [b'x'; 9_000]);
    }

    #[test]
    fn a_missing_root_is_an_error_that_names_it() {
        let error = Procfs::open(Path::new("/nonexistent/proc")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nonexistent/proc");
    }
}
