//! As whom and where a process runs.

use procession::{Capabilities, CapabilitySet, Credentials, FileIdentity, Namespaces, Process};

use super::Converter;
use crate::proto::tetragon::{
    self, BinaryProperties, FileProperties, InodeProperties, Namespace, ProcessCredentials,
    ProcessPrivilegesChanged, SecureBitsType,
};

impl Converter<'_> {
    pub(super) fn namespaces(self, process: &Process) -> Option<tetragon::Namespaces> {
        let host = self.options.namespaces.as_ref()?;
        Some(all_namespaces(process.image.as_ref()?.namespaces()?, host))
    }
}

/// Namespaces, beside those of the host. What the kernel has no namespace of is unset.
pub(crate) fn all_namespaces(own: &Namespaces, host: &Namespaces) -> tetragon::Namespaces {
    let compare = |inum: u32, host| (inum != 0).then_some(Namespace { inum, is_host: inum == host });
    let has_time = own.time != 0;
    tetragon::Namespaces {
        uts: compare(own.uts, host.uts),
        ipc: compare(own.ipc, host.ipc),
        mnt: compare(own.mnt, host.mnt),
        pid: compare(own.pid, host.pid),
        pid_for_children: compare(own.pid_for_children, host.pid_for_children),
        net: compare(own.net, host.net),
        time: compare(own.time, host.time),
        time_for_children: compare(own.time_for_children, host.time_for_children).filter(|_| has_time),
        cgroup: compare(own.cgroup, host.cgroup),
        user: compare(own.user, host.user),
    }
}

/// A capability that the schema does not know is told by its number.
pub(crate) fn capabilities(sets: &Capabilities) -> tetragon::Capabilities {
    tetragon::Capabilities {
        permitted: numbers(sets.permitted),
        effective: numbers(sets.effective),
        inheritable: numbers(sets.inheritable),
    }
}

fn numbers(CapabilitySet(mut bits): CapabilitySet) -> Vec<i32> {
    let mut numbers = Vec::with_capacity(bits.count_ones() as usize);
    while bits != 0 {
        numbers.push(bits.trailing_zeros().cast_signed());
        bits &= bits - 1;
    }
    numbers
}

/// Ids and flags. The capabilities stand elsewhere in a process.
pub(crate) fn process_credentials(credentials: &Credentials) -> ProcessCredentials {
    ProcessCredentials {
        uid: Some(credentials.uid.0),
        gid: Some(credentials.gid.0),
        euid: Some(credentials.euid.0),
        egid: Some(credentials.egid.0),
        suid: Some(credentials.suid.0),
        sgid: Some(credentials.sgid.0),
        fsuid: Some(credentials.fsuid.0),
        fsgid: Some(credentials.fsgid.0),
        securebits: secure_bits(credentials.securebits),
        ..ProcessCredentials::default()
    }
}

/// Bits that the schema does not know are left out.
fn secure_bits(bits: u32) -> Vec<i32> {
    let each = (0..u32::BITS).map(|bit| (bits & 1 << bit).cast_signed());
    each.filter(|bit| *bit != 0 && SecureBitsType::try_from(*bit).is_ok()).collect()
}

/// How the exec raised its rights, and what is remarkable about its file. `None`: nothing is.
pub(crate) fn binary_properties(process: &Process) -> Option<BinaryProperties> {
    let image = process.image.as_ref()?;
    let (raised, credentials) = (image.privileges(), process.credentials());
    let file = image.file().filter(FileIdentity::is_unlinked);
    let changes = [
        (raised.file_capabilities, ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap),
        (raised.setuid_root, ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetuid),
        (raised.setgid_root, ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetgid),
    ];
    let changes = changes.into_iter().filter(|(is_so, _)| *is_so);
    let properties = BinaryProperties {
        setuid: credentials.filter(|_| raised.setuid).map(|credentials| credentials.euid.0),
        setgid: credentials.filter(|_| raised.setgid).map(|credentials| credentials.egid.0),
        privileges_changed: changes.map(|(_, change)| change.into()).collect(),
        file: file.map(|file| FileProperties {
            inode: Some(InodeProperties { number: file.inode, links: Some(file.links) }),
            ..FileProperties::default()
        }),
    };
    (properties != BinaryProperties::default()).then_some(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told_by_number_and_secure_bits_by_value() {
        assert_eq!(numbers(CapabilitySet(1 << 1 | 1 << 41 | 1 << 63)), [1, 41, 63]);
        assert!(numbers(CapabilitySet(0)).is_empty());
        assert_eq!(secure_bits(1 << 7 | 1 << 0 | 1 << 30 | 1 << 31), [1, 128]);
    }
}
