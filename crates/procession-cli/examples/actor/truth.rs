//! The truth format: what a scenario did, one JSON object a line.
//!
//! It depends on serde alone, so that a test can include this file by its path. Events of one
//! process stand in the order in which they happened; events of different processes stand in an
//! order in which they can have happened (a fork before everything else of the child).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// One event that an observer must have seen, exactly once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    Fork(Fork),
    Exec(Exec),
    Exit(Exit),
    Change(Change),
    Count(Count),
}

/// A new process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fork {
    pub(crate) pid: u32,
    /// Who called fork.
    pub(crate) parent: u32,
    /// Who is the kernel's parent (`getppid`), when that is not `parent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<u32>,
    /// Pid in the innermost pid namespace, when that is not `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ns_pid: Option<u32>,
}

/// A new image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Exec {
    pub(crate) pid: u32,
    /// The thread that called exec, when that was not the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tid: Option<u32>,
    /// Who is the kernel's parent, when that is not who forked the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<u32>,
    /// Pid in the innermost pid namespace, when that is not `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ns_pid: Option<u32>,
    /// The file as exec was given it (the kernel's `bprm->filename`): maybe relative, and
    /// `/dev/fd/N` for a file that was given as a descriptor.
    pub(crate) named: String,
    /// The same as an absolute path without `.` components.
    pub(crate) binary: String,
    /// The file that was loaded, as `/proc/PID/exe` has it but without ` (deleted)`: a script's
    /// interpreter, a memory file's `/memfd:NAME`.
    pub(crate) executable: String,
    /// What the program received, `argv[0]` first: after the kernel put a script's interpreter
    /// and its argument in front.
    #[serde(rename = "arguments_hex")]
    pub(crate) arguments: Vec<Hex>,
    /// The working directory. `null`: its path is longer than `PATH_MAX`.
    pub(crate) cwd: Option<String>,
    /// The last component of a working directory whose path is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cwd_end: Option<String>,
    #[serde(flatten)]
    pub(crate) ids: Ids,
    /// The loaded file had no name any more.
    pub(crate) unlinked: bool,
    /// A set-user-id bit changed the effective user.
    pub(crate) setuid: bool,
    /// A set-group-id bit changed the effective group.
    pub(crate) setgid: bool,
}

/// As whom a process runs, after the exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) euid: u32,
    pub(crate) gid: u32,
    pub(crate) egid: u32,
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Exit {
    pub(crate) pid: u32,
    /// Who is the kernel's parent, when that is not who forked the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<u32>,
    /// As whom it ran in the end, where that is not evident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<Ids>,
    #[serde(flatten)]
    pub(crate) status: Status,
}

/// Other ids, capabilities, namespaces or session than before, without an exec. This is as it is then.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Change {
    pub(crate) pid: u32,
    #[serde(flatten)]
    pub(crate) ids: Ids,
    /// Effective capabilities, bit n for number n.
    pub(crate) capabilities: u64,
    pub(crate) session: u32,
    /// Inode numbers of namespaces.
    pub(crate) mnt: u32,
    pub(crate) uts: u32,
    pub(crate) pid_for_children: u32,
}

/// What wait(2) reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum Status {
    Exited { code: i32 },
    Signaled { signal: i32, core: bool },
}

/// How many events there were, where there are too many to tell each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Count {
    pub(crate) forks: u64,
    pub(crate) execs: u64,
    pub(crate) exits: u64,
}

/// Bytes that need not be text; in JSON a string of hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// As escaped text, so that a failed assertion can be read.
impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        digits
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                &[high, low] => Some(nibble(high)? << 4 | nibble(low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("not hexadecimal: {digits:?}")))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
