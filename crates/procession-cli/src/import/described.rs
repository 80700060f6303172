//! What a message of an export says of a process, in the terms of events.

use procession::{
    Arguments, Capabilities, CapabilitySet, Cgroup, Context, Credentials, FileIdentity, Gid, Namespaces,
    Nature, Pid, PrivilegeChange, ProcessKey, Program, Uid, WorkingDirectory,
};
use procession_api::proto::tetragon::{self, Namespace, Process, ProcessPrivilegesChanged};
use procession_journal::{Container, Pod};

use super::arguments::{block, split};

/// Digits in the id of a container. Exports have the first 31 of them, or all.
const ID_DIGITS: usize = 64;

/// A process, as a message describes it.
pub(super) struct Described<'m> {
    message: &'m Process,
    /// The image.
    pub(super) key: ProcessKey,
    /// The image that the message calls its parent: that of the parent, or the one that it replaced.
    pub(super) parent: Option<ProcessKey>,
    arguments: Vec<u8>,
    environment: Vec<u8>,
    cgroup: Vec<u8>,
}

impl<'m> Described<'m> {
    /// `None`: the message does not say of which image it is.
    pub(super) fn new(message: &'m Process) -> Option<Self> {
        let (_, key) = ProcessKey::parse_exec_id(&message.exec_id).filter(|(_, key)| key.pid != Pid(0))?;
        let parent = ProcessKey::parse_exec_id(&message.parent_exec_id).map(|(_, parent)| parent);
        let environment = message.environment_variables.iter();
        let environment =
            environment.flat_map(|entry| format!("{}={}\0", entry.key, entry.value).into_bytes());
        Some(Self {
            message,
            key,
            parent: parent.filter(|parent| parent.pid != Pid(0) && *parent != key),
            arguments: block(&message.binary, &split(&message.arguments)),
            environment: environment.collect(),
            cgroup: container_id(message).map(|id| format!("/{id}").into_bytes()).unwrap_or_default(),
        })
    }

    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.message.flags.split(' ').any(|it| it == flag)
    }

    /// The image that it replaced, in the same process.
    pub(super) fn replaced(&self) -> Option<ProcessKey> {
        self.parent.filter(|parent| parent.pid == self.key.pid)
    }

    /// The image of the process that forked it, or owned it when it was found.
    pub(super) fn forker(&self) -> Option<ProcessKey> {
        self.parent.filter(|parent| parent.pid != self.key.pid)
    }

    /// Whether it was found running, and not seen starting.
    pub(super) fn was_found(&self) -> bool {
        self.has_flag("procFS")
    }

    /// Whether it has run nothing of its own: an export has no event for its fork.
    pub(super) fn only_forked(&self) -> bool {
        let was_run = self.was_found() || self.has_flag("clone") || self.replaced().is_some();
        self.has_flag("execve") && !was_run
    }

    /// The thread that an event is about.
    pub(super) fn tid(&self) -> Pid {
        self.message.tid.map_or(self.key.pid, Pid)
    }

    pub(super) fn program(&self) -> Program<'_> {
        let message = self.message;
        let is_kernel_thread = message.binary.starts_with('[') && message.binary.ends_with(']');
        // How many bytes are missing is not told.
        let total_len = self.arguments.len() + usize::from(self.has_flag("truncArgs"));
        let arguments = Arguments { bytes: &self.arguments, total_len };
        Program {
            nature: if is_kernel_thread { Nature::KernelThread } else { Nature::User },
            binary: message.binary.as_bytes(),
            arguments: if is_kernel_thread { Arguments::default() } else { arguments },
            cwd: self.cwd(),
            environment: Arguments::complete(&self.environment),
            file: self.file(),
            privileges: self.privileges(),
            ..Program::default()
        }
    }

    fn cwd(&self) -> WorkingDirectory<'_> {
        let path = self.message.cwd.as_bytes();
        if path.is_empty() || self.has_flag("errorCWD") || self.has_flag("nocwd") {
            WorkingDirectory::Unknown
        } else if self.has_flag("errorPathResolutionCwd") {
            WorkingDirectory::Tail(path)
        } else {
            WorkingDirectory::Path(path)
        }
    }

    /// Told only of a file that has no name any more.
    fn file(&self) -> Option<FileIdentity> {
        let inode = self.message.binary_properties.as_ref()?.file.as_ref()?.inode.as_ref()?;
        let links = inode.links.unwrap_or_default();
        Some(FileIdentity { inode: inode.number, links, ..FileIdentity::default() })
    }

    fn privileges(&self) -> PrivilegeChange {
        let Some(properties) = &self.message.binary_properties else { return PrivilegeChange::default() };
        let has = |change: ProcessPrivilegesChanged| properties.privileges_changed.contains(&change.into());
        PrivilegeChange {
            setuid: properties.setuid.is_some(),
            setgid: properties.setgid.is_some(),
            file_capabilities: has(ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap),
            setuid_root: has(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetuid),
            setgid_root: has(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetgid),
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        let container = self.message.pod.as_ref().and_then(|pod| pod.container.as_ref());
        let own_pid = container.and_then(|container| container.pid).filter(|pid| *pid != 0);
        Context {
            ns_pid: own_pid.map(Pid),
            session: None,
            credentials: self.credentials(),
            namespaces: self.message.ns.as_ref().map(|all| namespaces(all, |_| true)),
            // An export does not tell the path, but whether there is a container at all.
            cgroup: Some(Cgroup {
                id: 0,
                path: if self.cgroup.is_empty() { b"/" } else { &self.cgroup[..] },
            }),
        }
    }

    fn credentials(&self) -> Option<Credentials> {
        let user = self.message.uid.filter(|uid| *uid != Uid::INVALID.0)?;
        let unknown = tetragon::ProcessCredentials::default();
        let told = self.message.process_credentials.as_ref().unwrap_or(&unknown);
        let uid = |id: Option<u32>| Uid(id.unwrap_or(user));
        // Nobody's group, rather than root's.
        let gid = |id: Option<u32>| Gid(id.unwrap_or(u32::MAX));
        Some(Credentials {
            uid: uid(told.uid),
            gid: gid(told.gid),
            suid: uid(told.suid),
            sgid: gid(told.sgid),
            euid: uid(told.euid),
            egid: gid(told.egid),
            fsuid: uid(told.fsuid),
            fsgid: gid(told.fsgid),
            securebits: told.securebits.iter().fold(0, |bits, bit| bits | bit.cast_unsigned()),
            login_uid: self.message.auid.filter(|auid| *auid != Uid::INVALID.0).map(Uid),
            audit_session: None,
            capabilities: self.message.cap.as_ref().map(capabilities).unwrap_or_default(),
        })
    }

    /// The host's own namespaces, as far as this process is in them.
    pub(super) fn host_namespaces(&self) -> Namespaces {
        let is_host = |namespace: &Namespace| namespace.is_host;
        self.message.ns.as_ref().map(|all| namespaces(all, is_host)).unwrap_or_default()
    }

    /// Whose the container is in which it runs.
    pub(super) fn container(&self) -> Option<Container> {
        let pod = self.message.pod.as_ref()?;
        let container = pod.container.clone().unwrap_or_default();
        let image = container.image.unwrap_or_default();
        let started = container.start_time.and_then(|time| time.try_into().ok());
        Some(Container {
            id: container_id(self.message)?,
            name: container.name,
            image: image.name,
            image_id: image.id,
            started,
            pod: (!pod.name.is_empty()).then(|| Pod {
                uid: pod.uid.clone(),
                name: pod.name.clone(),
                namespace: pod.namespace.clone(),
                workload: pod.workload.clone(),
                workload_kind: pod.workload_kind.clone(),
                labels: pod.pod_labels.clone(),
                annotations: pod.pod_annotations.clone(),
            }),
        })
    }
}

/// The id of the container of a process, as far as it is told. Where its last digits are not, zeros stand for
/// them: nothing that is shown of an id that was cut is as long.
fn container_id(message: &Process) -> Option<String> {
    let container = message.pod.as_ref().and_then(|pod| pod.container.as_ref());
    let told = container.map(|container| container.id.rsplit("://").next().unwrap_or_default());
    let is_id = |id: &&str| {
        (1..=ID_DIGITS).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = told.into_iter().chain([message.docker.as_str()]).filter(is_id).max_by_key(|id| id.len())?;
    Some(format!("{id:0<ID_DIGITS$}"))
}

fn namespaces(all: &tetragon::Namespaces, admits: impl Fn(&Namespace) -> bool) -> Namespaces {
    let number = |namespace: &Option<Namespace>| {
        namespace.as_ref().filter(|it| admits(it)).map_or(0, |namespace| namespace.inum)
    };
    Namespaces {
        uts: number(&all.uts),
        ipc: number(&all.ipc),
        mnt: number(&all.mnt),
        pid: number(&all.pid),
        pid_for_children: number(&all.pid_for_children),
        net: number(&all.net),
        time: number(&all.time),
        time_for_children: number(&all.time_for_children),
        cgroup: number(&all.cgroup),
        user: number(&all.user),
    }
}

fn capabilities(told: &tetragon::Capabilities) -> Capabilities {
    let set = |numbers: &[i32]| {
        let bits = numbers.iter().filter_map(|number| 1_u64.checked_shl(number.cast_unsigned()));
        CapabilitySet(bits.fold(0, |all, bit| all | bit))
    };
    Capabilities {
        permitted: set(&told.permitted),
        effective: set(&told.effective),
        inheritable: set(&told.inheritable),
        ..Capabilities::default()
    }
}
