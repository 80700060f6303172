//! A directory tree that looks like `/proc`, for tests.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Procfs;

/// Processes that are files in a temporary directory.
pub(crate) struct FakeProc {
    root: TempDir,
}

/// The fields of `stat` that matter.
pub(crate) struct FakeStat<'a> {
    pub(crate) comm: &'a [u8],
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) flags: u32,
    pub(crate) threads: u32,
    pub(crate) start: u64,
    pub(crate) stack: u64,
}

impl Default for FakeStat<'_> {
    fn default() -> Self {
        Self {
            comm: b"sh",
            state: 'S',
            parent: 1,
            session: 1,
            flags: 0,
            threads: 1,
            start: 100,
            stack: 0x7ff0,
        }
    }
}

impl FakeStat<'_> {
    pub(crate) fn line(&self, pid: u32) -> Vec<u8> {
        let Self { comm, state, parent, session, flags, threads, start, stack } = self;
        let before = format!("{pid} (");
        let after = format!(
            ") {state} {parent} 1 {session} 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 {start} 1 1 9 4096 8192 {stack} 0\n"
        );
        [before.as_bytes(), comm, after.as_bytes()].concat()
    }
}

impl FakeProc {
    pub(crate) fn new() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    pub(crate) fn open(&self) -> Procfs {
        Procfs::open(self.path()).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// A process with `stat` and nothing else.
    pub(crate) fn process(&self, pid: u32, stat: &FakeStat<'_>) {
        self.directory(&pid.to_string());
        self.file(pid, "stat", &stat.line(pid));
    }

    pub(crate) fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.of(pid)).unwrap();
    }

    pub(crate) fn directory(&self, name: &str) {
        fs::create_dir_all(self.path().join(name)).unwrap();
    }

    pub(crate) fn file(&self, pid: u32, name: &str, content: &[u8]) {
        fs::write(self.of(pid).join(name), content).unwrap();
    }

    pub(crate) fn link(&self, pid: u32, name: &str, target: &[u8]) {
        let link = self.of(pid).join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(OsStr::from_bytes(target), link).unwrap();
    }

    fn of(&self, pid: u32) -> PathBuf {
        self.path().join(pid.to_string())
    }
}
