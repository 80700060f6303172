//! The portable name of a process: the same in every tool that follows one written rule.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::ids::Pid;
use crate::time::BootTime;

/// The kernel's name for the time from one boot to the next: `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(Uuid);

impl BootId {
    /// In its place where nobody knows which boot it was, as with events of an export. Processes have no portable
    /// names then.
    pub const UNKNOWN: Self = Self(Uuid::nil());
}

/// A boot id that is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotABootId;

impl fmt::Display for NotABootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boot id is a UUID, as in /proc/sys/kernel/random/boot_id")
    }
}

impl std::error::Error for NotABootId {}

impl FromStr for BootId {
    type Err = NotABootId;

    /// Reads the text of the file; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, NotABootId> {
        Uuid::try_parse(text.trim()).map(Self).map_err(|_| NotABootId)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The portable, 128-bit name of a process.
///
/// Every `ProcessUid` is the UUID of version 5 (RFC 9562) in the namespace of the boot id, of the
/// name `PID:TICKS`: the pid in the host's pid namespace and the start of the process in clock
/// ticks since boot, as `/proc/PID/stat` prints it, both in decimal. So it is the same whether the
/// process was seen by eBPF, found in `/proc` or read from a recording, before and after its execs,
/// and before and after a restart of the observer. `docs/process-uid.md` has the rule and its test
/// vectors.
///
/// ```
/// use procession::{BootId, BootTime, Pid, ProcessUid};
///
/// let boot: BootId = "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse()?;
/// let uid = ProcessUid::new(boot, Pid(1234), BootTime::from_ticks(567_890));
/// assert_eq!(uid.to_string(), "6b9d2876-8430-58a2-af46-731e2d1df665");
/// # Ok::<(), procession::NotABootId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessUid(Uuid);

impl ProcessUid {
    /// The name of the process `pid` that began at `began` ([`Process::began`]).
    ///
    /// [`Process::began`]: crate::Process::began
    pub fn new(boot: BootId, pid: Pid, began: BootTime) -> Self {
        let name = format!("{pid}:{}", began.as_ticks());
        Self(Uuid::new_v5(&boot.0, name.as_bytes()))
    }

    /// Its 16 bytes, in the order in which the text shows them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ProcessUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of `docs/process-uid.md`, which says how they were made without this code.
    #[test]
    fn test_vectors() {
        let rule = include_str!("../../../docs/process-uid.md");
        let rows = rule.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"));
        let mut checked = 0;
        for row in rows {
            let cells: Vec<_> = row.split("` | `").collect();
            let [boot, pid, ticks, uid] = cells[..] else { panic!("{row}") };
            let began = BootTime::from_ticks(ticks.parse().unwrap());
            let computed = ProcessUid::new(boot.parse().unwrap(), Pid(pid.parse().unwrap()), began);
            assert_eq!(computed.to_string(), uid, "{row}");
            checked += 1;
        }
        assert!(checked >= 5);
    }

    #[test]
    fn what_the_kernel_knows_better_than_proc_does_not_matter() {
        let boot: BootId = "6ba7b810-9dad-11d1-80b4-00c04fd430c8\n".parse().unwrap();
        let exact = ProcessUid::new(boot, Pid(7), BootTime::from_nanos(1_239_999_999));
        assert_eq!(exact, ProcessUid::new(boot, Pid(7), BootTime::from_ticks(123)));
        assert_eq!("no boot id".parse::<BootId>(), Err(NotABootId));
    }
}
