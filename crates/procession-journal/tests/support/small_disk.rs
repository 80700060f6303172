//! A disk that is full soon.

use std::ffi::CString;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

#[path = "../../../procession-sensor/tests/support/required.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod required;

/// A file system of a few bytes, in memory.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, with the reason said: this process may not. Where all tests have to run, that is a failure.
    pub(crate) fn mount(bytes: usize) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let size = CString::new(format!("size={bytes}")).unwrap();
        let mounted = mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str()));
        mounted.map_err(|error| required::skip("what needs to mount a file system", error)).ok()?;
        Some(Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}
