//! What is known of a process.

use procession::reference::environment_variable;
use procession::{Image, Pid, Process, ProcessKey, Uid};
use procession_kube::{ContainerId, Whose};

use super::annotations::{capabilities, process_credentials};
use super::{Converter, owned_text, pod, text};
use crate::flags::Flags;
use crate::proto::tetragon::{self, EnvVar, UserRecord};

impl Converter<'_> {
    pub(super) fn process(self, process: &Process, whose: Option<&Whose>, tid: Pid) -> tetragon::Process {
        let image = process.image.as_ref();
        let credentials = process.credentials();
        let annotated = credentials.filter(|_| self.options.credentials);
        let container = ContainerId::of_process(process);
        tetragon::Process {
            exec_id: self.exec_id(process.key),
            uid: Some(process.user().unwrap_or(Uid::INVALID).0),
            cwd: image.map(|image| text(image.cwd().as_bytes())).unwrap_or_default(),
            binary: text(process.binary()),
            arguments: image.map(|image| owned_text(image.arguments_text())).unwrap_or_default(),
            flags: Flags::of(process).to_text(),
            auid: Some(credentials.and_then(|credentials| credentials.login_uid).unwrap_or(Uid::INVALID).0),
            pod: whose.map(|whose| pod::of(whose, process)),
            docker: container.map(|id| id.wire().to_owned()).unwrap_or_default(),
            parent_exec_id: self.exec_id(process.reference_parent().unwrap_or(ProcessKey::NONE)),
            cap: annotated.map(|credentials| capabilities(&credentials.capabilities)),
            ns: self.namespaces(process),
            tid: Some(tid.0),
            process_credentials: annotated.map(process_credentials),
            user: self.user(process, container),
            in_init_tree: Some(process.in_init_tree),
            environment_variables: self.environment(process),
            ..self.unknown_process(process)
        }
    }

    /// All that the reference says of a process that it never heard of before its exit.
    pub(super) fn unknown_process(self, process: &Process) -> tetragon::Process {
        tetragon::Process {
            pid: Some(process.pid().0),
            start_time: Some(self.date(process.key.start)),
            ..tetragon::Process::default()
        }
    }

    /// Only for a process that has the host's users: a container brings its own passwd file.
    fn user(self, process: &Process, container: Option<ContainerId>) -> Option<UserRecord> {
        let own = process.image.as_ref().and_then(Image::namespaces);
        let is_elsewhere = own
            .zip(self.options.namespaces.as_ref())
            .is_some_and(|(own, host)| (own.mnt, own.user) != (host.mnt, host.user));
        if container.is_some() || is_elsewhere {
            return None;
        }
        self.users.name(process.user()?).map(|name| UserRecord { name: name.to_owned() })
    }

    fn environment(self, process: &Process) -> Vec<EnvVar> {
        let image = process.image.as_ref().filter(|_| self.options.environment);
        let entries = image.into_iter().flat_map(|image| image.environment().iter());
        let variables = entries.map(|entry| {
            let (key, value) = environment_variable(entry);
            EnvVar { key: text(key), value: text(value) }
        });
        variables.collect()
    }
}
