//! From what is told to messages. Everything is borrowed; nothing is formatted yet.

use std::borrow::Cow;

use procession::{
    BootTime, Credentials, ExitStatus, FactKind, FileIdentity, Origin, Pid, ProcessKey, Signal, Uid,
    WallClock,
};
use procession_kube::{ContainerId, Told};

use super::AnnotationOptions;
use super::message::{
    BinaryProperties, Capabilities, FileProperties, GetEventsResponse, InodeProperties, Namespace,
    Namespaces, Process, ProcessCredentials, ProcessExec, ProcessExit, UserRecord,
};
use super::pod;
use super::value::{CapabilityList, Docker, ExecId, SecureBits, Text, Timestamp, Wide};
use crate::flags::Flags;
use crate::users::Users;

/// What a fact does not say itself.
#[derive(Clone, Copy)]
pub(super) struct Converter<'a> {
    pub(super) node: &'a str,
    pub(super) options: &'a AnnotationOptions,
    pub(super) clock: &'a WallClock,
    pub(super) users: &'a Users,
}

impl<'a> Converter<'a> {
    /// The event that the reference has for it; `None` for a fork and a change, for which
    /// it has none.
    pub(super) fn event(self, told: &'a Told) -> Option<GetEventsResponse<'a>> {
        let (process_exec, process_exit) = match told.fact.kind {
            FactKind::Fork | FactKind::Change => return None,
            FactKind::Exec | FactKind::Running => (Some(self.exec(told)), None),
            FactKind::Exit { tid, status } => (None, Some(self.exit(told, tid, status))),
        };
        Some(GetEventsResponse {
            process_exec,
            process_exit,
            node_name: self.node,
            time: self.time(told.fact.time),
        })
    }

    fn exec(self, told: &'a Told) -> ProcessExec<'a> {
        let process = &told.fact.process;
        let credentials = process.credentials().filter(|_| self.options.credentials);
        let binary_properties = credentials.map(|credentials| binary_properties(process, credentials));
        ProcessExec {
            process: Process { binary_properties, ..self.subject(told, process.pid()) },
            parent: self.parent(told),
            ancestors: self.ancestors(told),
        }
    }

    fn exit(self, told: &'a Told, tid: Pid, status: Option<ExitStatus>) -> ProcessExit<'a> {
        let (process, parent, ancestors) = if is_known(&told.fact.process) {
            (self.subject(told, tid), self.parent(told), self.ancestors(told))
        } else {
            (self.unknown_process(&told.fact.process), None, Vec::new())
        };
        ProcessExit {
            process,
            parent,
            signal: status.and_then(ExitStatus::signal).and_then(Signal::name).unwrap_or_default(),
            status: status.map_or(0, |status| status.code().into()),
            time: self.time(told.fact.time),
            ancestors,
        }
    }

    fn parent(self, told: &'a Told) -> Option<Process<'a>> {
        let parent = told.fact.parent().filter(|parent| is_known(parent));
        parent.map(|parent| self.process(told, parent, parent.pid()))
    }

    /// The reference's list starts at the grandparent, and ends with the first process that has
    /// the pid of `init` or of the first kernel thread.
    fn ancestors(self, told: &'a Told) -> Vec<Process<'a>> {
        if !self.options.ancestors || told.fact.parent().is_none_or(is_first) {
            return Vec::new();
        }
        let beyond_parent = told.fact.lineage.get(1..).unwrap_or_default();
        let last = beyond_parent.iter().position(is_first).map_or(beyond_parent.len(), |first| first + 1);
        beyond_parent[..last].iter().map(|ancestor| self.process(told, ancestor, ancestor.pid())).collect()
    }

    /// The process that it happened to.
    fn subject(self, told: &'a Told, tid: Pid) -> Process<'a> {
        let mut process = self.process(told, &told.fact.process, tid);
        if !told.is_complete {
            process.flags = process.flags | Flags::UNKNOWN_CONTAINER;
        }
        process
    }

    fn process(self, told: &'a Told, process: &'a procession::Process, tid: Pid) -> Process<'a> {
        let image = process.image.as_ref();
        let credentials = process.credentials();
        let annotated = credentials.filter(|_| self.options.credentials);
        let container = ContainerId::of_process(process);
        Process {
            exec_id: Some(self.exec_id(process.key)),
            uid: Some(process.user().unwrap_or(Uid::INVALID).0),
            cwd: image.map_or(&b""[..], |image| image.cwd().as_bytes()).into(),
            binary: process.binary().into(),
            arguments: Text(image.map_or_else(Cow::default, |image| image.arguments_text().into())),
            flags: Flags::of(process),
            auid: Some(credentials.and_then(|credentials| credentials.login_uid).unwrap_or(Uid::INVALID).0),
            pod: told.whose(process).map(|whose| pod::of(whose, process)),
            docker: container.map(Docker),
            parent_exec_id: Some(self.exec_id(process.reference_parent().unwrap_or(ProcessKey::NONE))),
            cap: annotated.map(capabilities),
            ns: self.namespaces(process),
            tid: Some(tid.0),
            process_credentials: annotated.map(process_credentials),
            user: self.user(process, container),
            ..self.unknown_process(process)
        }
    }

    /// All that the reference says of a process that it never heard of before its exit.
    fn unknown_process(self, process: &procession::Process) -> Process<'a> {
        Process {
            exec_id: None,
            pid: process.pid().0,
            uid: None,
            cwd: Text::default(),
            binary: Text::default(),
            arguments: Text::default(),
            flags: Flags::default(),
            start_time: self.time(process.key.start),
            auid: None,
            pod: None,
            docker: None,
            parent_exec_id: None,
            cap: None,
            ns: None,
            tid: None,
            process_credentials: None,
            binary_properties: None,
            user: None,
        }
    }

    /// Only for a process that has the host's users: a container brings its own passwd file.
    fn user(self, process: &procession::Process, container: Option<ContainerId>) -> Option<UserRecord<'a>> {
        let own = process.image.as_ref().and_then(|image| image.namespaces());
        let is_elsewhere = own
            .zip(self.options.namespaces.as_ref())
            .is_some_and(|(own, host)| (own.mnt, own.user) != (host.mnt, host.user));
        if container.is_some() || is_elsewhere {
            return None;
        }
        self.users.name(process.user()?).map(|name| UserRecord { name })
    }

    fn namespaces(self, process: &procession::Process) -> Option<Namespaces> {
        let host = self.options.namespaces.as_ref()?;
        let own = process.image.as_ref()?.namespaces()?;
        let compare = |inum: u32, host| (inum != 0).then_some(Namespace { inum, is_host: inum == host });
        let has_time = own.time != 0;
        Some(Namespaces {
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
        })
    }

    fn exec_id(self, key: ProcessKey) -> ExecId<'a> {
        ExecId { node: self.node, key }
    }

    fn time(self, time: BootTime) -> Timestamp {
        Timestamp(self.clock.at(time))
    }
}

/// Whether more is known of the process than that others speak of it.
fn is_known(process: &procession::Process) -> bool {
    process.origin != Origin::Inferred || !process.binary().is_empty()
}

fn is_first(process: &procession::Process) -> bool {
    process.pid() <= Pid(2)
}

fn capabilities(credentials: &Credentials) -> Capabilities {
    let sets = &credentials.capabilities;
    Capabilities {
        permitted: CapabilityList(sets.permitted),
        effective: CapabilityList(sets.effective),
        inheritable: CapabilityList(sets.inheritable),
    }
}

fn process_credentials(credentials: &Credentials) -> ProcessCredentials {
    ProcessCredentials {
        uid: credentials.uid.0,
        gid: credentials.gid.0,
        euid: credentials.euid.0,
        egid: credentials.egid.0,
        suid: credentials.suid.0,
        sgid: credentials.sgid.0,
        fsuid: credentials.fsuid.0,
        fsgid: credentials.fsgid.0,
        securebits: SecureBits(credentials.securebits),
    }
}

fn binary_properties(process: &procession::Process, credentials: &Credentials) -> BinaryProperties {
    let raised = process.image.as_ref().map(procession::Image::privileges).unwrap_or_default();
    let file = process.image.as_ref().and_then(procession::Image::file).filter(FileIdentity::is_unlinked);
    let changes = [
        (raised.file_capabilities, "PRIVILEGES_RAISED_EXEC_FILE_CAP"),
        (raised.setuid_root, "PRIVILEGES_RAISED_EXEC_FILE_SETUID"),
        (raised.setgid_root, "PRIVILEGES_RAISED_EXEC_FILE_SETGID"),
    ];
    BinaryProperties {
        setuid: if raised.setuid { credentials.euid.0 } else { Uid::INVALID.0 },
        setgid: if raised.setgid { credentials.egid.0 } else { Uid::INVALID.0 },
        privileges_changed: changes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, name)| name).collect(),
        file: file.map(|file| FileProperties {
            inode: InodeProperties { number: Wide(file.inode), links: file.links },
        }),
    }
}
