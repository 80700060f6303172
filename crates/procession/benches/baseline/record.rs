//! The messages that the reference keeps of a process, and how it makes them from an event.

use std::sync::Arc;

use procession::ProcessKey;

/// The message `Process`. The last five fields are filled only on request.
#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
#[expect(clippy::struct_field_names, reason = "the reference's names")]
pub(crate) struct Process {
    pub(crate) exec_id: String,
    pub(crate) parent_exec_id: String,
    pub(crate) pid: Option<u32>,
    pub(crate) tid: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) auid: Option<u32>,
    pub(crate) cwd: String,
    pub(crate) binary: String,
    pub(crate) arguments: String,
    pub(crate) flags: String,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) docker: String,
    pub(crate) refcnt: u32,
    pub(crate) cap: Option<Arc<Capabilities>>,
    pub(crate) ns: Option<Arc<Namespaces>>,
    pub(crate) process_credentials: Option<Arc<ProcessCredentials>>,
    pub(crate) binary_properties: Option<Arc<BinaryProperties>>,
    pub(crate) user: Option<String>,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct Timestamp {
    seconds: u64,
    nanos: u64,
}

impl Timestamp {
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self { seconds: nanos / 1_000_000_000, nanos: nanos % 1_000_000_000 }
    }
}

/// Each set as the list of its numbers.
#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct Capabilities {
    permitted: Vec<u32>,
    effective: Vec<u32>,
    inheritable: Vec<u32>,
}

impl Capabilities {
    /// From the sets permitted, effective and inheritable.
    pub(crate) fn from_sets(sets: [u64; 3]) -> Self {
        let [permitted, effective, inheritable] = sets.map(|set| {
            let mut numbers = Vec::new();
            for number in 0..u64::BITS {
                if set >> number & 1 == 1 {
                    numbers.push(number);
                }
            }
            numbers
        });
        Self { permitted, effective, inheritable }
    }
}

#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct ProcessCredentials {
    /// uid, gid, euid, egid, suid, sgid, fsuid, fsgid.
    ids: [Option<u32>; 8],
    securebits: Vec<u32>,
}

impl ProcessCredentials {
    pub(crate) fn all(id: u32) -> Self {
        Self { ids: [Some(id); 8], securebits: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct Namespace {
    inode: u32,
    is_host: bool,
}

#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct Namespaces([Option<Namespace>; 10]);

impl Namespaces {
    pub(crate) fn from_inodes(inodes: [u32; 10], host: [u32; 10]) -> Self {
        let mut namespaces = [None; 10];
        for ((namespace, inode), host) in namespaces.iter_mut().zip(inodes).zip(host) {
            *namespace = Some(Namespace { inode, is_host: inode == host });
        }
        Self(namespaces)
    }
}

#[derive(Clone, Debug, Default)]
#[expect(dead_code, reason = "the fields are there to be built and copied")]
pub(crate) struct BinaryProperties {
    setuid: Option<u32>,
    setgid: Option<u32>,
    privileges_changed: Vec<u32>,
}

/// An exec as the reference's kernel side reports it.
pub(crate) struct ExecEvent<'a> {
    pub(crate) key: ProcessKey,
    pub(crate) parent: ProcessKey,
    /// The image that was replaced.
    pub(crate) replaced: Option<ProcessKey>,
    pub(crate) flags: u32,
    pub(crate) uid: u32,
    pub(crate) auid: u32,
    pub(crate) binary: &'a str,
    pub(crate) arguments: &'a str,
    pub(crate) docker: &'a str,
    pub(crate) capabilities: [u64; 3],
    pub(crate) namespaces: [u32; 10],
    pub(crate) host_namespaces: [u32; 10],
}

pub(crate) const EXECVE: u32 = 0x1;
pub(crate) const CLONE: u32 = 0x4000;
const PROC_FS: u32 = 0x4;
const NO_CWD: u32 = 0x800;
const ROOT_CWD: u32 = 0x1000;
const ERROR_CWD: u32 = 0x2000;

impl ExecEvent<'_> {
    /// A fork came before the exec.
    pub(crate) fn is_clone(&self) -> bool {
        self.flags & CLONE != 0
    }
}

/// The names of the flags that are set.
pub(crate) fn decode_flags(flags: u32) -> Vec<&'static str> {
    const NAMES: [(u32, &str); 13] = [
        (EXECVE, "execve"),
        (0x2, "execveat"),
        (PROC_FS, "procFS"),
        (0x8, "truncFilename"),
        (0x10, "truncArgs"),
        (0x20, "taskWalk"),
        (0x40, "miss"),
        (0x80, "needsAUID"),
        (0x100, "errorFilename"),
        (0x200, "errorArgs"),
        (NO_CWD, "nocwd"),
        (ROOT_CWD, "rootcwd"),
        (CLONE, "clone"),
    ];
    let mut names = Vec::new();
    for (flag, name) in NAMES {
        if flags & flag != 0 {
            names.push(name);
        }
    }
    names
}

/// The reference's `ArgsDecoder`: the arguments as one text, and the working directory.
///
/// It makes the text anew for each argument, so its time grows with their number squared.
pub(crate) fn decode_arguments(block: &str, flags: u32) -> (String, String) {
    let mut tokens: Vec<&str> = block.trim_end_matches('\0').split('\0').collect();
    let last = tokens.last().copied().unwrap_or("");
    let cwd = match flags {
        _ if flags & (NO_CWD | ERROR_CWD) != 0 => "",
        _ if flags & ROOT_CWD != 0 => "/",
        _ if flags & PROC_FS != 0 => last.trim(),
        _ => last,
    };
    if flags & (NO_CWD | ROOT_CWD | ERROR_CWD) == 0 {
        tokens.pop();
    }
    let mut text = String::new();
    for token in tokens {
        text = match token {
            _ if token.contains(' ') => format!("{text} \"{token}\""),
            _ if text.is_empty() => token.to_owned(),
            _ => format!("{text} {token}"),
        };
    }
    (text, cwd.to_owned())
}
