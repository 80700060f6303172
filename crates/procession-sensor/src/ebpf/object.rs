//! Opens what is pinned, and nothing else: the loader library also opens the kernel's types that a program was fitted
//! to, which only CAP_SYS_ADMIN may.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What BPF_OBJ_GET reads (`union bpf_attr`, `linux/bpf.h`).
#[repr(C)]
struct ObjectGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Opens what is pinned at `path`.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_int = 7;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    #[expect(unsafe_code, reason = "bpf(2) has no safe interface for this")]
    // SAFETY: the kernel reads `get`, of whose size it is told, and the string that it names, which ends with NUL.
    // Both live until it returns. It writes nothing.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of_val(&get)) };
    let descriptor = i32::try_from(descriptor).ok().filter(|it| *it >= 0);
    let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
    #[expect(unsafe_code, reason = "a descriptor from a system call")]
    // SAFETY: the kernel has opened it for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
