//! As whom, where and what: what events and checkpoints both tell of.

use procession::{
    BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, FileIdentity, Gid, Namespaces, Pid,
    PrivilegeChange, Uid, WorkingDirectory,
};

use super::wire::Put;
use crate::proto;

pub(crate) fn put_context(put: &mut Put<'_>, context: &Context<'_>) {
    put.some_number(1, context.ns_pid.map(|pid| pid.0));
    put.some_number(2, context.session.map(|pid| pid.0));
    if let Some(credentials) = &context.credentials {
        put.message(3, |put| put_credentials(put, credentials));
    }
    if let Some(namespaces) = &context.namespaces {
        put.message(4, |put| put_namespaces(put, namespaces));
    }
    if let Some(cgroup) = context.cgroup {
        put.message(5, |put| put_cgroup(put, cgroup));
    }
}

pub(crate) fn context(context: Option<&proto::Context>) -> Context<'_> {
    let Some(context) = context else { return Context::default() };
    Context {
        ns_pid: context.ns_pid.map(Pid),
        session: context.session.map(Pid),
        credentials: context.credentials.as_ref().map(credentials),
        namespaces: context.namespaces.as_ref().map(namespaces),
        cgroup: context.cgroup.as_ref().map(cgroup),
    }
}

pub(crate) fn put_credentials(put: &mut Put<'_>, credentials: &Credentials) {
    put.number(1, credentials.uid.0);
    put.number(2, credentials.gid.0);
    put.number(3, credentials.suid.0);
    put.number(4, credentials.sgid.0);
    put.number(5, credentials.euid.0);
    put.number(6, credentials.egid.0);
    put.number(7, credentials.fsuid.0);
    put.number(8, credentials.fsgid.0);
    put.number(9, credentials.securebits);
    put.some_number(10, credentials.login_uid.map(|uid| uid.0));
    put.some_number(11, credentials.audit_session);
    let capabilities = &credentials.capabilities;
    put.fixed(12, capabilities.permitted.0);
    put.fixed(13, capabilities.effective.0);
    put.fixed(14, capabilities.inheritable.0);
    put.fixed(15, capabilities.bounding.0);
    put.fixed(16, capabilities.ambient.0);
}

pub(crate) fn credentials(credentials: &proto::Credentials) -> Credentials {
    Credentials {
        uid: Uid(credentials.uid),
        gid: Gid(credentials.gid),
        suid: Uid(credentials.suid),
        sgid: Gid(credentials.sgid),
        euid: Uid(credentials.euid),
        egid: Gid(credentials.egid),
        fsuid: Uid(credentials.fsuid),
        fsgid: Gid(credentials.fsgid),
        securebits: credentials.securebits,
        login_uid: credentials.login_uid.map(Uid),
        audit_session: credentials.audit_session,
        capabilities: Capabilities {
            permitted: CapabilitySet(credentials.permitted),
            effective: CapabilitySet(credentials.effective),
            inheritable: CapabilitySet(credentials.inheritable),
            bounding: CapabilitySet(credentials.bounding),
            ambient: CapabilitySet(credentials.ambient),
        },
    }
}

pub(crate) fn put_namespaces(put: &mut Put<'_>, namespaces: &Namespaces) {
    put.number(1, namespaces.uts);
    put.number(2, namespaces.ipc);
    put.number(3, namespaces.mnt);
    put.number(4, namespaces.pid);
    put.number(5, namespaces.pid_for_children);
    put.number(6, namespaces.net);
    put.number(7, namespaces.time);
    put.number(8, namespaces.time_for_children);
    put.number(9, namespaces.cgroup);
    put.number(10, namespaces.user);
}

pub(crate) fn namespaces(namespaces: &proto::Namespaces) -> Namespaces {
    Namespaces {
        uts: namespaces.uts,
        ipc: namespaces.ipc,
        mnt: namespaces.mnt,
        pid: namespaces.pid,
        pid_for_children: namespaces.pid_for_children,
        net: namespaces.net,
        time: namespaces.time,
        time_for_children: namespaces.time_for_children,
        cgroup: namespaces.cgroup,
        user: namespaces.user,
    }
}

pub(crate) fn put_cgroup(put: &mut Put<'_>, cgroup: Cgroup<&[u8]>) {
    put.number(1, cgroup.id);
    put.bytes(2, cgroup.path);
}

pub(crate) fn cgroup(cgroup: &proto::Cgroup) -> Cgroup<&[u8]> {
    Cgroup { id: cgroup.id, path: &cgroup.path }
}

pub(crate) fn put_file(put: &mut Put<'_>, file: &FileIdentity) {
    put.number(1, file.inode);
    put.number(2, file.device);
    put.number(3, file.links);
    put.number(4, file.mode);
    put.number(5, file.uid);
    put.number(6, file.gid);
}

pub(crate) fn file(file: proto::File) -> FileIdentity {
    let proto::File { inode, device, links, mode, uid, gid } = file;
    FileIdentity { inode, device, links, mode, uid, gid }
}

/// The path and whether it is but the end of one, into the two fields from `field` on.
pub(crate) fn put_directory(put: &mut Put<'_>, field: u32, cwd: WorkingDirectory<'_>) {
    let (path, is_tail) = match cwd {
        WorkingDirectory::Unknown => (None, false),
        WorkingDirectory::Path(path) => (Some(path), false),
        WorkingDirectory::Tail(path) => (Some(path), true),
    };
    put.some_bytes(field, path);
    put.number(field + 1, is_tail);
}

pub(crate) fn directory(path: Option<&bytes::Bytes>, is_tail: bool) -> WorkingDirectory<'_> {
    match path {
        None => WorkingDirectory::Unknown,
        Some(path) if is_tail => WorkingDirectory::Tail(path),
        Some(path) => WorkingDirectory::Path(path),
    }
}

pub(crate) fn privilege_bits(change: PrivilegeChange) -> u32 {
    let PrivilegeChange { setuid, setgid, file_capabilities, setuid_root, setgid_root } = change;
    let bits = [setuid, setgid, file_capabilities, setuid_root, setgid_root];
    (0..).zip(bits).map(|(bit, is_set)| u32::from(is_set) << bit).sum()
}

pub(crate) fn privileges(bits: u32) -> PrivilegeChange {
    let is_set = |bit: u32| bits >> bit & 1 == 1;
    PrivilegeChange {
        setuid: is_set(0),
        setgid: is_set(1),
        file_capabilities: is_set(2),
        setuid_root: is_set(3),
        setgid_root: is_set(4),
    }
}

pub(crate) fn time(nanos: u64) -> BootTime {
    BootTime::from_nanos(nanos)
}
