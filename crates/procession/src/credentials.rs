//! As whom a process runs: ids, capabilities, and what an exec changed about them.

use std::fmt;

/// A user id as the initial user namespace sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u32);

impl Uid {
    /// The superuser.
    pub const ROOT: Self = Self(0);
    /// What the kernel and the wire format use for "no such id".
    pub const INVALID: Self = Self(u32::MAX);
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A group id as the initial user namespace sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid(pub u32);

/// The ids and flags of a task's credentials (`struct cred`, `credentials(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Real user.
    pub uid: Uid,
    /// Real group.
    pub gid: Gid,
    /// Saved set-user-id.
    pub suid: Uid,
    /// Saved set-group-id.
    pub sgid: Gid,
    /// Effective user: the one permissions are checked against.
    pub euid: Uid,
    /// Effective group.
    pub egid: Gid,
    /// User for file access.
    pub fsuid: Uid,
    /// Group for file access.
    pub fsgid: Gid,
    /// `SECBIT_*` flags, `capabilities(7)`.
    pub securebits: u32,
    /// The user who logged in, kept through `su` and `sudo`. `None`: never set.
    pub login_uid: Option<Uid>,
    /// Audit session of that login. `None`: never set.
    pub audit_session: Option<u32>,
    /// What the process may do beyond its ids.
    pub capabilities: Capabilities,
}

/// Capability sets, `capabilities(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The most that `effective` may hold.
    pub permitted: CapabilitySet,
    /// What the kernel checks.
    pub effective: CapabilitySet,
    /// Kept across the exec of a file that allows it.
    pub inheritable: CapabilitySet,
    /// The most that any exec may give.
    pub bounding: CapabilitySet,
    /// Kept across the exec of an ordinary file.
    pub ambient: CapabilitySet,
}

/// A set of capabilities: bit *n* is the kernel's capability number *n*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// Nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |bit| self.0 >> bit & 1 == 1)
    }
}

/// How an exec raised the rights of the process, from the file it ran.
///
/// Same meaning as the reference system's `secureexec` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts about one exec")]
pub struct PrivilegeChange {
    /// The file's set-user-id bit made the effective user differ from the real one.
    pub setuid: bool,
    /// The file's set-group-id bit made the effective group differ from the real one.
    pub setgid: bool,
    /// Capabilities came with the file.
    pub file_capabilities: bool,
    /// `setuid`, and the new effective user is root while the real one is not.
    pub setuid_root: bool,
    /// `setgid`, and the new effective group is root's while the real one is not.
    pub setgid_root: bool,
}

impl PrivilegeChange {
    /// No rights were raised.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
