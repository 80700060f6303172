//! The layout of the records that the BPF programs write: a mirror of `bpf/record.h`.
//!
//! Both sides assert the same sizes and offsets, so a change on one side alone does not build.
//! That the structs derive [`IntoBytes`] proves that none of them has a hole.
//!
//! Numbers are in native byte order; times are nanoseconds of the boot clock. Ids of processes,
//! users and groups are the host's (initial namespace) unless a field says otherwise. A record may
//! stand at any address, so readers copy it out of the bytes rather than refer to it.

#![expect(dead_code, reason = "a mirror has every field, whether the decoder reads it or not")]

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Raised with every change of what the pinned maps hold (`bpf/maps.h`): the records, the counts, the
/// state of tasks. Programs of another build go on with maps of the same number.
pub(crate) const LAYOUT_VERSION: u32 = 2;

/// Values of [`Header::kind`].
pub(crate) mod kind {
    /// A [`ForkRecord`](super::ForkRecord).
    pub(crate) const FORK: u16 = 1;
    /// An [`ImageRecord`](super::ImageRecord): a process began to run another program.
    pub(crate) const EXEC: u16 = 2;
    /// An [`ExitRecord`](super::ExitRecord).
    pub(crate) const EXIT: u16 = 3;
    /// An [`ArgsRecord`](super::ArgsRecord): part of the arguments of an exec record to come.
    pub(crate) const ARGS: u16 = 4;
    /// An [`ImageRecord`](super::ImageRecord): a process that the task walk found alive.
    pub(crate) const WALK: u16 = 5;
    /// A [`ChangeRecord`](super::ChangeRecord).
    pub(crate) const CHANGE: u16 = 6;
}

/// Values of [`Text::state`]: how a text in the data area relates to the truth.
pub(crate) mod text_state {
    /// There is none, or it could not be read.
    pub(crate) const ABSENT: u32 = 0;
    /// All of it; a path begins at the process's own root directory.
    pub(crate) const COMPLETE: u32 = 1;
    /// A longer or deeper path than the sensor follows: its last components are here.
    /// Or a longer file name: its first bytes.
    pub(crate) const TRUNCATED: u32 = 2;
    /// A file without a directory (memfd, detached mount of one file): its name alone.
    pub(crate) const NAME_ONLY: u32 = 3;
    /// A path that never meets the process's root: it begins at its own mount's root.
    pub(crate) const UNREACHABLE: u32 = 4;
}

/// Bit of [`Text::flags`]: the last component of the path has been unlinked.
pub(crate) const TEXT_DELETED: u32 = 1 << 0;

/// Values of [`Facts::cgroup_hierarchy`].
pub(crate) mod cgroup_hierarchy {
    /// cgroup v2.
    pub(crate) const UNIFIED: u32 = 0;
    /// The process is in the v2 root; the id and path are those of its v1 memory cgroup.
    pub(crate) const V1_MEMORY: u32 = 1;
}

/// Slots of the per-CPU array of counts. Each only grows.
pub(crate) mod stat {
    /// Submissions attempted: the last [`Header::seq`](super::Header::seq) of the CPU.
    pub(crate) const SEQUENCE: usize = 0;
    /// Fork records attempted.
    pub(crate) const FORK: usize = 1;
    /// Exec records attempted.
    pub(crate) const EXEC: usize = 2;
    /// Exit records attempted.
    pub(crate) const EXIT: usize = 3;
    /// Args records attempted.
    pub(crate) const ARGS: usize = 4;
    /// Walk records written, rather than attempted.
    pub(crate) const WALK: usize = 5;
    /// Change records attempted.
    pub(crate) const CHANGE: usize = 6;
    /// Fork records refused by a full ring.
    pub(crate) const FORK_LOST: usize = 7;
    /// Exec records refused by a full ring, or never built for want of a buffer.
    pub(crate) const EXEC_LOST: usize = 8;
    /// Exit records refused by a full ring.
    pub(crate) const EXIT_LOST: usize = 9;
    /// Args records refused by a full ring.
    pub(crate) const ARGS_LOST: usize = 10;
    /// Walk records that had to wait for the next read of the iterator. None of them is lost.
    pub(crate) const WALK_RETRIED: usize = 11;
    /// Change records refused by a full ring.
    pub(crate) const CHANGE_LOST: usize = 12;
    /// Task storage that could not be had: an `image_start` may be wrong, or an exit sent twice.
    pub(crate) const STORAGE_FAILED: usize = 13;
    /// Arguments that could not be read, wholly or from some point on.
    pub(crate) const READ_FAILED: usize = 14;
    /// Number of slots.
    pub(crate) const COUNT: usize = 15;
}

/// Bytes of arguments that an exec record holds itself; the rest travels in args records.
pub(crate) const EXEC_ARGS_INLINE: usize = 16_384;

/// The begin of every record.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    /// What follows: one of [`kind`].
    pub(crate) kind: u16,
    /// None defined yet: zero.
    pub(crate) flags: u16,
    /// Bytes of the whole record, this header included.
    pub(crate) len: u32,
    /// When it happened.
    pub(crate) time: u64,
    /// Number of this submission on its CPU, from 1: a gap is that many lost records.
    /// In a walk: the position of the task in the iteration.
    pub(crate) seq: u64,
    /// Where it was recorded, and so which sequence `seq` belongs to.
    pub(crate) cpu: u32,
    /// Zero.
    pub(crate) pad: u32,
}

/// One image of one process, and the thread of it that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ProcessRef {
    /// Time of the exec if the sensor saw it, else `process_start`; 0 if not known.
    /// Together with `tgid` it is the key of the image.
    pub(crate) image_start: u64,
    /// When the process was forked: the same for all its images.
    pub(crate) process_start: u64,
    /// Process id.
    pub(crate) tgid: u32,
    /// Thread id.
    pub(crate) tid: u32,
}

/// The objective credentials, those that `/proc/PID/status` shows.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Credentials {
    /// Real user.
    pub(crate) uid: u32,
    /// Real group.
    pub(crate) gid: u32,
    /// Saved user.
    pub(crate) suid: u32,
    /// Saved group.
    pub(crate) sgid: u32,
    /// Effective user.
    pub(crate) euid: u32,
    /// Effective group.
    pub(crate) egid: u32,
    /// User for file access.
    pub(crate) fsuid: u32,
    /// Group for file access.
    pub(crate) fsgid: u32,
    /// `SECBIT_*`.
    pub(crate) securebits: u32,
    /// Depth of the user namespace: 0 is the initial one.
    pub(crate) userns_level: u32,
    /// User who owns the user namespace.
    pub(crate) userns_uid: u32,
    /// Group who owns the user namespace.
    pub(crate) userns_gid: u32,
}

/// Capability sets: bit n is capability number n.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Capabilities {
    /// What may be made effective.
    pub(crate) permitted: u64,
    /// What is checked.
    pub(crate) effective: u64,
    /// What an exec may keep.
    pub(crate) inheritable: u64,
    /// What an exec may ever gain.
    pub(crate) bounding: u64,
    /// What an unprivileged exec keeps.
    pub(crate) ambient: u64,
}

/// Inode numbers of namespaces, as in `/proc/PID/ns`. 0 = gone, or unknown to this kernel.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Namespaces {
    /// Host name.
    pub(crate) uts: u32,
    /// System V IPC and POSIX message queues.
    pub(crate) ipc: u32,
    /// Mounts.
    pub(crate) mnt: u32,
    /// Process ids: the one the process lives in.
    pub(crate) pid: u32,
    /// Process ids: the one its children will live in.
    pub(crate) pid_for_children: u32,
    /// Network.
    pub(crate) net: u32,
    /// Clock offsets.
    pub(crate) time: u32,
    /// Clock offsets of its children.
    pub(crate) time_for_children: u32,
    /// Control groups.
    pub(crate) cgroup: u32,
    /// Users.
    pub(crate) user: u32,
}

/// What is worth knowing of any process, and can change while it runs.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Facts {
    /// User and group ids.
    pub(crate) creds: Credentials,
    /// Capability sets.
    pub(crate) caps: Capabilities,
    /// Namespaces.
    pub(crate) ns: Namespaces,
    /// Inode number of the cgroup's directory.
    pub(crate) cgroup_id: u64,
    /// Where the cgroup was looked up: one of [`cgroup_hierarchy`].
    pub(crate) cgroup_hierarchy: u32,
    /// Process id in the innermost pid namespace.
    pub(crate) nspid: u32,
    /// Depth of that namespace: 0 is the initial one, where `nspid` is the host's id.
    pub(crate) pidns_level: u32,
    /// Audit login user. All ones: unset, or no audit in this kernel.
    pub(crate) loginuid: u32,
    /// Audit session. All ones: unset, or no audit in this kernel.
    pub(crate) audit_session: u32,
    /// Session: the pid of its leader, who may be gone.
    pub(crate) sid: u32,
    /// Process group.
    pub(crate) pgid: u32,
    /// `PF_*`; `0x0020_0000` marks a kernel thread.
    pub(crate) task_flags: u32,
    /// 0 or 1.
    pub(crate) no_new_privs: u32,
    /// 0 = off, 1 = strict, 2 = filter.
    pub(crate) seccomp: u32,
    /// Short name of the process; ends at the first NUL.
    pub(crate) comm: [u8; 16],
    /// Name of the controlling terminal; ends at the first NUL, empty if there is none.
    pub(crate) tty: [u8; 16],
}

/// The file that runs. All zero: none (kernel thread) or gone.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct FileFacts {
    /// Inode number.
    pub(crate) inode: u64,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Type of the file system, as `f_type` of statfs(2).
    pub(crate) fs_magic: u64,
    /// Device of the file system: major << 20 | minor.
    pub(crate) device: u32,
    /// Hard links. 0: deleted, or never had a name (memfd).
    pub(crate) links: u32,
    /// Type, setuid, setgid, sticky and permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// `MNT_*`: 1 nosuid, 2 nodev, 4 noexec.
    pub(crate) mount_flags: u32,
}

/// Bytes in the data area, which follows the fixed part of the record.
///
/// A path is its components from the last one up to the root, each ended by NUL: `/usr/bin/ls` is
/// `ls\0bin\0usr\0`, and `/` is empty.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Text {
    /// From the begin of the data area.
    pub(crate) offset: u32,
    /// With the final NUL.
    pub(crate) len: u32,
    /// One of [`text_state`].
    pub(crate) state: u32,
    /// [`TEXT_DELETED`] or zero.
    pub(crate) flags: u32,
}

/// The argument block: strings ended by NUL.
///
/// Inline is `[0, len)`; args records, sent before this one from the same CPU, hold
/// `[len, len + chunked)`. The block is complete if and only if `len + chunked == total`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Args {
    /// Size of the block in the process.
    pub(crate) total: u64,
    /// Bytes submitted in args records.
    pub(crate) chunked: u64,
    /// Begin of the inline part in the data area.
    pub(crate) offset: u32,
    /// Bytes of the inline part.
    pub(crate) len: u32,
}

/// A new process. Threads have no records.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ForkRecord {
    /// Kind [`kind::FORK`].
    pub(crate) header: Header,
    /// The child.
    pub(crate) subject: ProcessRef,
    /// Who called fork; `tid` is the thread that did.
    pub(crate) creator: ProcessRef,
    /// The child's parent: another than the creator after `CLONE_PARENT`.
    pub(crate) owner: ProcessRef,
    /// The child's.
    pub(crate) facts: Facts,
}

/// Between two execs: other ids, capabilities, securebits or user namespace of the group leader,
/// other namespaces of the group leader (setns(2) also tells of those where it was already), or
/// another session.
///
/// The credentials and namespaces of other threads are not those of the process, as in
/// `/proc/PID/status`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ChangeRecord {
    /// Kind [`kind::CHANGE`].
    pub(crate) header: Header,
    /// The process; `tid` is the thread that made the change.
    pub(crate) subject: ProcessRef,
    /// The process, as it is from then on.
    pub(crate) facts: Facts,
}

/// The end of the last thread of a process.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ExitRecord {
    /// Kind [`kind::EXIT`].
    pub(crate) header: Header,
    /// The process; `tid` is the thread that went last.
    pub(crate) subject: ProcessRef,
    /// Whose child it was.
    pub(crate) owner: ProcessRef,
    /// CPU time in user mode of all threads, with the kernel's tick resolution.
    pub(crate) user_time: u64,
    /// CPU time in kernel mode of all threads, with the kernel's tick resolution.
    pub(crate) system_time: u64,
    /// CPU time of all threads, exact up to the last context switch or tick: a process that was
    /// never interrupted shows 0.
    pub(crate) run_time: u64,
    /// As wait(2) returns it.
    pub(crate) status: u32,
    /// Zero.
    pub(crate) pad: u32,
    /// Short name of the group leader; ends at the first NUL.
    pub(crate) comm: [u8; 16],
}

/// Part of the arguments of the exec record that follows from the same CPU. `len` bytes follow.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ArgsRecord {
    /// Kind [`kind::ARGS`].
    pub(crate) header: Header,
    /// The new image: equals that of the exec record to come.
    pub(crate) subject: ProcessRef,
    /// Where the bytes belong in the argument block.
    pub(crate) offset: u64,
    /// Bytes that follow.
    pub(crate) len: u32,
    /// Zero.
    pub(crate) pad: u32,
}

/// An image that was begun (exec) or found (walk). The data area follows.
///
/// Fields marked *exec* are zero in a walk, where nothing is known of the exec.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct ImageRecord {
    /// Kind [`kind::EXEC`] or [`kind::WALK`].
    pub(crate) header: Header,
    /// The image that runs now.
    pub(crate) subject: ProcessRef,
    /// Its parent. In a walk `image_start` is 0, not known.
    pub(crate) owner: ProcessRef,
    /// *exec*: `image_start` of the image before; `tgid` and `process_start` are the same.
    pub(crate) replaced_image_start: u64,
    /// *exec*: the caller's thread id before; not `tgid` when another thread than the leader called.
    pub(crate) old_tid: u32,
    /// *exec*: 1 if privileges were gained (`AT_SECURE`).
    pub(crate) secureexec: u32,
    /// *exec*: `LSM_UNSAFE_*`.
    pub(crate) unsafe_bits: u32,
    /// *exec*: personality bits that were cleared.
    pub(crate) per_clear: u32,
    /// *exec*: number of arguments.
    pub(crate) argc: u32,
    /// *exec*: number of environment variables.
    pub(crate) envc: u32,
    /// The file that runs.
    pub(crate) file: FileFacts,
    /// The process.
    pub(crate) facts: Facts,
    /// *exec*: the file name as passed to execve, ended by NUL.
    pub(crate) filename: Text,
    /// *exec*: the interpreter of a script, ended by NUL; absent if the file runs by itself.
    pub(crate) interp: Text,
    /// Path of the running file.
    pub(crate) exe: Text,
    /// Path of the working directory.
    pub(crate) cwd: Text,
    /// Path in the hierarchy that [`Facts::cgroup_hierarchy`] names.
    pub(crate) cgroup: Text,
    /// The arguments.
    pub(crate) args: Args,
}

// The same numbers stand in `bpf/record.h`.
const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<ProcessRef>() == 24);
    assert!(size_of::<Credentials>() == 48);
    assert!(size_of::<Capabilities>() == 40);
    assert!(size_of::<Namespaces>() == 40);
    assert!(size_of::<Facts>() == 208);
    assert!(size_of::<FileFacts>() == 48);
    assert!(size_of::<Text>() == 16);
    assert!(size_of::<Args>() == 24);
    assert!(size_of::<ForkRecord>() == 312);
    assert!(size_of::<ChangeRecord>() == 264);
    assert!(size_of::<ExitRecord>() == 128);
    assert!(size_of::<ArgsRecord>() == 72);
    assert!(size_of::<ImageRecord>() == 472);

    assert!(offset_of!(Header, seq) == 16);
    assert!(offset_of!(Facts, cgroup_id) == 128);
    assert!(offset_of!(Facts, comm) == 176);
    assert!(offset_of!(ForkRecord, facts) == 104);
    assert!(offset_of!(ChangeRecord, facts) == 56);
    assert!(offset_of!(ExitRecord, status) == 104);
    assert!(offset_of!(ImageRecord, file) == 112);
    assert!(offset_of!(ImageRecord, facts) == 160);
    assert!(offset_of!(ImageRecord, filename) == 368);
    assert!(offset_of!(ImageRecord, args) == 448);
};
