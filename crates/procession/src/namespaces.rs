//! Where a process runs: namespaces and cgroup.

/// Inode numbers of a task's namespaces, `namespaces(7)`. Zero: the kernel has none of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespaces {
    /// Host and domain name.
    pub uts: u32,
    /// System V IPC and POSIX queues.
    pub ipc: u32,
    /// Mounts.
    pub mnt: u32,
    /// Process ids.
    pub pid: u32,
    /// The pid namespace that children will be in.
    pub pid_for_children: u32,
    /// Network.
    pub net: u32,
    /// Boot and monotonic clocks.
    pub time: u32,
    /// The time namespace that children will be in.
    pub time_for_children: u32,
    /// Cgroup root.
    pub cgroup: u32,
    /// User and group ids.
    pub user: u32,
}

/// A control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cgroup<B> {
    /// The kernel's id of it; on cgroup v2 the inode number of its directory. Zero: unknown.
    pub id: u64,
    /// Path from the root of its hierarchy, `/` first. Empty: unknown.
    pub path: B,
}
