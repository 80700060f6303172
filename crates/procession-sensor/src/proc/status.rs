//! `/proc/PID/status`: ids, capabilities and the pid inside its namespace.

use procession::{Capabilities, CapabilitySet, Credentials, Gid, Pid, Uid};

use super::number;

/// The lines of `/proc/PID/status` that `stat` has no equivalent for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    users: Option<Ids>,
    groups: Option<Ids>,
    capabilities: Capabilities,
    /// Pid in the innermost pid namespace. `None`: the process is in that of this `/proc`.
    pub(super) ns_pid: Option<Pid>,
}

impl Status {
    /// Reads what it can. Of several lines with one name the last is believed: the first line holds
    /// the command name, which the process chooses, and which may look like a line of its own.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut status = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                status.set(&line[..colon], &line[colon + 1..]);
            }
        }
        status
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        let capabilities = &mut self.capabilities;
        match name {
            b"Uid" => self.users = Ids::parse(value),
            b"Gid" => self.groups = Ids::parse(value),
            b"NStgid" => self.ns_pid = innermost(value),
            b"CapInh" => capabilities.inheritable = capability_set(value),
            b"CapPrm" => capabilities.permitted = capability_set(value),
            b"CapEff" => capabilities.effective = capability_set(value),
            b"CapBnd" => capabilities.bounding = capability_set(value),
            b"CapAmb" => capabilities.ambient = capability_set(value),
            _ => {}
        }
    }

    /// As whom the process runs; login and session are for the caller to add.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        let (users, groups) = (self.users?, self.groups?);
        Some(Credentials {
            uid: Uid(users.real),
            gid: Gid(groups.real),
            suid: Uid(users.saved),
            sgid: Gid(groups.saved),
            euid: Uid(users.effective),
            egid: Gid(groups.effective),
            fsuid: Uid(users.file_access),
            fsgid: Gid(groups.file_access),
            // Nothing in /proc tells.
            securebits: 0,
            login_uid: None,
            audit_session: None,
            capabilities: self.capabilities,
        })
    }
}

/// The `Uid` or the `Gid` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
    file_access: u32,
}

impl Ids {
    fn parse(value: &[u8]) -> Option<Self> {
        let mut ids = words(value).map(number);
        Some(Self {
            real: ids.next()??,
            effective: ids.next()??,
            saved: ids.next()??,
            file_access: ids.next()??,
        })
    }
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The last of the pids, one per namespace from that of `/proc` inwards; `None` for a single one.
fn innermost(value: &[u8]) -> Option<Pid> {
    words(value).skip(1).last().and_then(number).map(Pid)
}

fn capability_set(value: &[u8]) -> CapabilitySet {
    let text = std::str::from_utf8(value.trim_ascii()).ok();
    CapabilitySet(text.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"Name:\tsu\nUid:\t1000\t0\t1\t2\nGid:\t5\t6\t7\t8\nNStgid:\t421\t17\t1\n\
        CapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t000001fffeffffff\n\
        CapBnd:\t0000000000000004\nCapAmb:\t0000000000000008\n";

    #[test]
    fn reads_ids_in_the_kernels_order() {
        let status = Status::parse(TEXT);
        let found = status.credentials().unwrap();
        assert_eq!((found.uid, found.euid, found.suid, found.fsuid), (Uid(1000), Uid(0), Uid(1), Uid(2)));
        assert_eq!((found.gid, found.egid, found.sgid, found.fsgid), (Gid(5), Gid(6), Gid(7), Gid(8)));
        assert_eq!(found.capabilities.effective, CapabilitySet(0x1ff_feff_ffff));
        assert_eq!(found.capabilities.ambient, CapabilitySet(8));
        assert_eq!(status.ns_pid, Some(Pid(1)));
    }

    #[test]
    fn a_single_pid_is_that_of_the_host() {
        assert_eq!(Status::parse(b"NStgid:\t421\n").ns_pid, None);
        assert_eq!(Status::parse(b"NStgid:\t\n").ns_pid, None);
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let forged = [b"Name:\tx\nUid:\t0\t0\t0\t0\n", TEXT].concat();
        assert_eq!(Status::parse(&forged).credentials().unwrap().uid, Uid(1000));
    }

    #[test]
    fn ids_that_are_missing_or_malformed_are_unknown() {
        for text in [&b""[..], b"Uid:\t0\t0\t0\nGid:\t0\t0\t0\t0\n", b"Uid:\t0\t0\t0\t-1\nGid:\t0\t0\t0\t0\n"]
        {
            assert_eq!(Status::parse(text).credentials(), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Status::parse(&bytes).credentials();
        }

        #[test]
        fn any_values_are_survived(value in "[ -~\t]{0,60}") {
            for name in ["Uid", "Gid", "NStgid", "CapEff"] {
                let _ = Status::parse(format!("{name}:{value}\n").as_bytes()).credentials();
            }
        }
    }
}
