//! The system calls of the scenarios, each behind a safe function.
//!
//! The raw calls rather than `std::process`: which of fork, vfork, clone and exec is called, and by
//! which thread, is what the scenarios are about.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32};
use std::thread;
use std::time::Duration;
use std::{io, mem, ptr};

use crate::truth::{Ids, Status};

/// With this code a child says that it could not do its part: the truth would be wrong.
pub(crate) const FAILED: i32 = 125;

/// Forks. The child runs `child` and exits with the code that it returns.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> io::Result<u32> {
    // SAFETY: no process of this program has a second thread when it forks, so the child may do
    // whatever its parent may. It never returns from here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => finish(child),
        pid => Ok(pid.cast_unsigned()),
    }
}

/// Forks a child of the caller's parent: `clone(CLONE_PARENT)`.
pub(crate) fn fork_sibling(child: impl FnOnce() -> i32) -> io::Result<u32> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given this is fork, and the same holds.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => finish(child),
        pid => u32::try_from(pid).map_err(io::Error::other),
    }
}

/// A child's life. A panic must not unwind into the code that the child shares with its parent.
fn finish(child: impl FnOnce() -> i32) -> ! {
    exit_process(catch_unwind(AssertUnwindSafe(child)).unwrap_or(FAILED))
}

/// Forks as vfork does, the parent stopped until the child has exec'd `path`.
pub(crate) fn vfork_exec(path: &CStr, arguments: &Vector<'_>) -> io::Result<u32> {
    vfork_exec_after(path, arguments, &|| {})
}

/// The same, but the child does something before it execs.
///
/// The child has a stack of its own, which vfork(2) does not give it; to the kernel, and to its
/// observers, the two are one call with the same flags.
pub(crate) fn vfork_exec_after(path: &CStr, arguments: &Vector<'_>, before: &dyn Fn()) -> io::Result<u32> {
    type Call<'a> = (&'a CStr, &'a Vector<'a>, &'a dyn Fn());
    extern "C" fn child(call: *mut c_void) -> c_int {
        // SAFETY: the parent passes a `Call`, and does not run while the child can use it.
        let (path, arguments, before) = unsafe { *call.cast::<Call<'_>>() };
        before();
        exec(path, arguments);
        FAILED
    }
    const STACK: usize = 64 * 1024;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut call: Call<'_> = (path, arguments, before);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: stack and call outlive the child's use of this memory, which ends before clone
    // returns here; the stack grows down from its end, aligned to 16 bytes; the child only does what
    // `before` does, and execs.
    let pid =
        unsafe { libc::clone(child, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut call).cast()) };
    if pid == -1 { Err(io::Error::last_os_error()) } else { Ok(pid.cast_unsigned()) }
}

/// Starts `path` with posix_spawn(3).
pub(crate) fn spawn(path: &CStr, arguments: &Vector<'_>) -> io::Result<u32> {
    let mut pid = 0;
    let environment = [ptr::null_mut()];
    // SAFETY: path and vectors are terminated and live; posix_spawn does not write to the strings.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.pointers.as_ptr().cast(),
            environment.as_ptr(),
        )
    };
    if error == 0 { Ok(pid.cast_unsigned()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// An argument vector in the kernel's form.
pub(crate) struct Vector<'a> {
    pointers: Vec<*const c_char>,
    strings: PhantomData<&'a [CString]>,
}

impl<'a> Vector<'a> {
    pub(crate) fn new(strings: &'a [CString]) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, strings: PhantomData }
    }
}

impl Vector<'_> {
    /// The same, with `memory` as the string at `index`: others may write to it all the while.
    pub(crate) fn with<'m>(mut self, index: usize, memory: &'m [AtomicU8]) -> Self
    where
        Self: 'm,
    {
        assert!(memory.last().is_some_and(|last| last.load(SeqCst) == 0), "a string ends with a zero");
        self.pointers[index] = memory.as_ptr().cast();
        self
    }
}

/// execve(2) with an empty environment. It returns only when it failed.
pub(crate) fn exec(path: &CStr, arguments: &Vector<'_>) -> io::Error {
    let environment = [ptr::null()];
    // SAFETY: path and vectors are terminated and live.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Execs an open file, as fexecve(3) does. It returns only when it failed.
pub(crate) fn exec_open(file: BorrowedFd<'_>, arguments: &Vector<'_>) -> io::Error {
    let environment = [ptr::null::<c_char>()];
    // SAFETY: path and vectors are terminated and live.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends all threads: `exit_group(2)`.
pub(crate) fn exit_process(code: i32) -> ! {
    // SAFETY: it does not return, and runs no code of this process.
    unsafe { libc::_exit(code) }
}

/// Ends the calling thread alone: `exit(2)`. The C library is not told, nothing is cleaned up.
pub(crate) fn exit_thread(code: i32) -> ! {
    // SAFETY: the thread ends at once; its stack stays mapped, so that what others borrow from it
    // stays valid.
    unsafe { libc::syscall(libc::SYS_exit, code) };
    unreachable!("exit(2) does not return")
}

/// Ends the process by a signal, whatever handler or mask it was started with.
pub(crate) fn die_by(signal: i32) -> i32 {
    // SAFETY: the set is initialised by sigemptyset; the default action needs no handler.
    unsafe {
        let mut none = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::signal(signal, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
    FAILED
}

/// Sends a signal to another process.
pub(crate) fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: it takes numbers.
    check(unsafe { libc::kill(pid.cast_signed(), signal) })
}

/// Stops the process, until somebody lets it go on.
pub(crate) fn stop() -> io::Result<()> {
    // SAFETY: it takes a number.
    check(unsafe { libc::raise(libc::SIGSTOP) })
}

/// Waits until a child is stopped.
pub(crate) fn wait_for_stop(pid: u32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the status is writable.
    let stopped = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, libc::WUNTRACED) };
    if stopped != -1 && libc::WIFSTOPPED(status) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process by abort(3), with the default action.
pub(crate) fn abort() -> i32 {
    // SAFETY: the default action needs no handler; abort does not return.
    unsafe {
        libc::signal(libc::SIGABRT, libc::SIG_DFL);
        libc::abort()
    }
}

/// Undoes what this program's parent may have set: children that nobody can wait for.
pub(crate) fn keep_children_waitable() {
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Waits for the child with this pid to end; the raw status.
pub(crate) fn wait(pid: u32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status is writable.
        if unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) } != -1 {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Waits for any one child to end; false when there is none.
pub(crate) fn wait_any() -> bool {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(-1, ptr::null_mut(), 0) > 0 }
}

/// Waits for any one child to end: its pid and raw status.
pub(crate) fn wait_any_status() -> io::Result<(u32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is writable.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            -1 => {}
            pid => return Ok((pid.cast_unsigned(), status)),
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What a raw status of wait(2) says.
pub(crate) fn status(raw: i32) -> Status {
    if libc::WIFSIGNALED(raw) {
        Status::Signaled { signal: libc::WTERMSIG(raw), core: libc::WCOREDUMP(raw) }
    } else {
        Status::Exited { code: libc::WEXITSTATUS(raw) }
    }
}

/// As whom this process runs.
pub(crate) fn ids() -> Ids {
    // SAFETY: these calls only return a number.
    unsafe { Ids { uid: libc::getuid(), euid: libc::geteuid(), gid: libc::getgid(), egid: libc::getegid() } }
}

/// A system call that takes numbers alone, as the kernel has it: for the calling thread, where the C
/// library's function of that name would make all threads follow.
fn call<const N: usize>(number: libc::c_long, arguments: [u32; N]) -> io::Result<()> {
    let argument = |at: usize| libc::c_long::from(arguments.get(at).copied().unwrap_or(0));
    // SAFETY: the callers pass calls without pointers, or with a null pointer for an empty list.
    match unsafe { libc::syscall(number, argument(0), argument(1), argument(2)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Gives up the supplementary groups.
pub(crate) fn drop_groups() -> io::Result<()> {
    call(libc::SYS_setgroups, [0, 0])
}

/// Real, effective and saved group become `id`.
pub(crate) fn set_groups_of_process(id: u32) -> io::Result<()> {
    call(libc::SYS_setresgid, [id; 3])
}

/// Real, effective and saved user become `id`.
pub(crate) fn set_users(id: u32) -> io::Result<()> {
    call(libc::SYS_setresuid, [id; 3])
}

/// The effective user becomes `id`.
pub(crate) fn set_effective_user(id: u32) -> io::Result<()> {
    const SAME: u32 = u32::MAX;
    call(libc::SYS_setresuid, [SAME, id, SAME])
}

/// Permitted capabilities outlive the loss of user 0.
pub(crate) fn keep_capabilities() -> io::Result<()> {
    call(libc::SYS_prctl, [libc::PR_SET_KEEPCAPS.cast_unsigned(), 1])
}

/// How the capabilities of user 0 are treated: `SECBIT_…` of `linux/securebits.h`.
pub(crate) fn secure_bits(bits: u32) -> io::Result<()> {
    call(libc::SYS_prctl, [libc::PR_SET_SECUREBITS.cast_unsigned(), bits])
}

/// Begins a session, which the calling process leads.
pub(crate) fn begin_session() -> io::Result<()> {
    call(libc::SYS_setsid, [])
}

/// The leader of the calling process's session.
pub(crate) fn session() -> u32 {
    // SAFETY: it only returns a number.
    unsafe { libc::getsid(0) }.cast_unsigned()
}

/// `struct __user_cap_header_struct` of `linux/capability.h`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// For the calling thread, in the form that has 64 of them.
const CAPABILITY_HEADER: CapabilityHeader = CapabilityHeader { version: 0x2008_0522, pid: 0 };

/// Two of `struct __user_cap_data_struct`: the low half of each set, then the high one.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Capabilities([CapabilityHalves; 2]);

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CapabilityHalves {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Capabilities {
    pub(crate) fn effective(&self) -> u64 {
        u64::from(self.0[1].effective) << 32 | u64::from(self.0[0].effective)
    }

    /// The same, but effective are these alone, of numbers below 32.
    pub(crate) fn only<const N: usize>(mut self, numbers: [u32; N]) -> Self {
        self.0[0].effective = numbers.iter().fold(0, |set, number| set | 1 << number);
        self.0[1].effective = 0;
        self
    }

    /// Makes them those of the calling thread.
    pub(crate) fn set(&self) -> io::Result<()> {
        let header = CAPABILITY_HEADER;
        // SAFETY: both structures are as the kernel wants them for this version.
        match unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const self.0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// Those of the calling thread.
pub(crate) fn capabilities() -> io::Result<Capabilities> {
    let mut sets = Capabilities::default();
    let mut header = CAPABILITY_HEADER;
    // SAFETY: the sets are writable, and two of them is what this version has.
    match unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets.0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(sets),
    }
}

/// A kind of namespace.
#[derive(Clone, Copy)]
pub(crate) enum Namespace {
    Mounts,
    HostName,
    Network,
    Users,
}

impl Namespace {
    fn flag(self) -> c_int {
        match self {
            Self::Mounts => libc::CLONE_NEWNS,
            Self::HostName => libc::CLONE_NEWUTS,
            Self::Network => libc::CLONE_NEWNET,
            Self::Users => libc::CLONE_NEWUSER,
        }
    }

    /// That of the calling process.
    pub(crate) fn open(self) -> io::Result<File> {
        File::open(match self {
            Self::Mounts => "/proc/self/ns/mnt",
            Self::HostName => "/proc/self/ns/uts",
            Self::Network => "/proc/self/ns/net",
            Self::Users => "/proc/self/ns/user",
        })
    }

    /// A new one for the calling thread.
    pub(crate) fn leave(self) -> io::Result<()> {
        // SAFETY: it takes flags alone.
        check(unsafe { libc::unshare(self.flag()) })
    }

    /// That of `file` for the calling thread.
    pub(crate) fn enter(self, file: &File) -> io::Result<()> {
        // SAFETY: it takes a descriptor and flags.
        check(unsafe { libc::setns(file.as_raw_fd(), self.flag()) })
    }
}

/// The next child is pid 1 of a new pid namespace.
pub(crate) fn unshare_pid_namespace() -> io::Result<()> {
    // SAFETY: it takes flags alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID) })
}

/// Orphans below this process become its children.
pub(crate) fn become_subreaper() -> io::Result<()> {
    let on: libc::c_ulong = 1;
    // SAFETY: this option takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on) })
}

pub(crate) fn parent() -> u32 {
    // SAFETY: it only returns a number.
    unsafe { libc::getppid() }.cast_unsigned()
}

pub(crate) fn thread() -> u32 {
    // SAFETY: it only returns a number.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// Sets a soft limit to `wanted`, or to the hard limit where that is lower.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable, then readable.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_cur = wanted.min(limit.rlim_max);
        check(libc::setrlimit(resource, &raw const limit))
    }
}

/// A file that lives in memory only.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is terminated.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    check(fd.min(0))?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the calling process and its children read from standard input is from this file.
pub(crate) fn become_standard_input(file: &File) -> io::Result<()> {
    // SAFETY: both are descriptors; nobody of this program keeps the old one.
    check(unsafe { libc::dup2(file.as_raw_fd(), 0) }.min(0))
}

/// Makes a pinned BPF map one that nobody can write by system calls any more, whoever they are: `bpf(2)`.
pub(crate) fn freeze_map(pin: &CStr) -> io::Result<()> {
    const GET: c_int = 7;
    const FREEZE: c_int = 22;
    /// What `union bpf_attr` has for a path, and for a descriptor alone.
    #[repr(C)]
    struct Pinned {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    let path = Pinned { path: pin.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the path is terminated and live, and the structure is as long as it is said to be.
    let map = unsafe { libc::syscall(libc::SYS_bpf, GET, &raw const path, size_of::<Pinned>()) };
    let map = c_int::try_from(map).map_err(io::Error::other)?;
    check(map.min(0))?;
    // SAFETY: the descriptor is new and nobody else's.
    let map = unsafe { File::from_raw_fd(map) };
    let descriptor = map.as_raw_fd();
    // SAFETY: as above.
    let frozen = unsafe { libc::syscall(libc::SYS_bpf, FREEZE, &raw const descriptor, size_of::<c_int>()) };
    if frozen == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Watches another process as a debugger does, without stopping it: `PTRACE_SEIZE` (root, if it is no child).
pub(crate) fn trace(pid: u32) -> io::Result<()> {
    let none = ptr::null_mut::<c_void>();
    // SAFETY: this request takes no pointers but null ones.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.cast_signed(), none, none) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A line of the [`board`].
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) id: AtomicU32,
    pub(crate) status: AtomicI32,
}

/// Puts the begin of a file over memory of this process that nobody of it uses any more.
pub(crate) fn map_over(file: &File, begin: usize, length: usize) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let there = ptr::without_provenance_mut(begin);
    // SAFETY: what was there are arguments, of which the standard library has taken copies.
    let memory = unsafe { libc::mmap(there, length, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Memory that the actor shares with all that it forks, where they tell it what it cannot see.
pub(crate) fn board() -> io::Result<&'static [Slot; 64]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping touches no other memory.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<[Slot; 64]>(), protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is large enough, aligned to a page, never unmapped, all zeroes, which is
    // a valid `Slot`, and changed through atomics alone.
    Ok(unsafe { &*memory.cast() })
}
