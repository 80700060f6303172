//! Which event it is, and of which processes that speaks.

use procession::{ExitStatus, FactKind, Origin, Pid, Process, Signal};
use procession_kube::Told;

use super::Converter;
use super::annotations::binary_properties;
use crate::flags::Flags;
use crate::proto::tetragon::get_events_response::Event;
use crate::proto::tetragon::{self, GetEventsResponse, ProcessExec, ProcessExit};

impl Converter<'_> {
    /// The event that the reference has for it; `None` for a fork and a change, for which
    /// it has none.
    pub(crate) fn event(self, told: &Told) -> Option<GetEventsResponse> {
        let event = match told.fact.kind {
            FactKind::Fork | FactKind::Change => return None,
            FactKind::Exec | FactKind::Running => Event::ProcessExec(self.exec(told)),
            FactKind::Exit { tid, status } => Event::ProcessExit(self.exit(told, tid, status)),
        };
        // The reference dates what it finds running to when that began, not to when it looked.
        let is_found = told.fact.kind == FactKind::Running;
        let time = if is_found { told.fact.process.key.start } else { told.fact.time };
        Some(GetEventsResponse {
            event: Some(event),
            node_name: self.node.to_owned(),
            time: Some(self.date(time)),
            cluster_name: self.cluster.to_owned(),
            ..GetEventsResponse::default()
        })
    }

    fn exec(self, told: &Told) -> ProcessExec {
        let process = &told.fact.process;
        let parent = self.parent(told);
        let mut subject = self.subject(told, process.pid(), parent.as_ref());
        subject.binary_properties = self.options.credentials.then(|| binary_properties(process)).flatten();
        ProcessExec { process: Some(subject), parent, ancestors: self.ancestors(told) }
    }

    fn exit(self, told: &Told, tid: Pid, status: Option<ExitStatus>) -> ProcessExit {
        let signal = status.and_then(ExitStatus::signal).and_then(Signal::name).unwrap_or_default();
        let exit = ProcessExit {
            signal: signal.to_owned(),
            status: status.map_or(0, |status| status.code().into()),
            time: Some(self.date(told.fact.time)),
            ..ProcessExit::default()
        };
        if !is_known(&told.fact.process) {
            return ProcessExit { process: Some(self.unknown_process(&told.fact.process)), ..exit };
        }
        let parent = self.parent(told);
        let process = Some(self.subject(told, tid, parent.as_ref()));
        ProcessExit { process, parent, ancestors: self.ancestors(told), ..exit }
    }

    fn parent(self, told: &Told) -> Option<tetragon::Process> {
        let parent = told.fact.parent().filter(|parent| is_known(parent));
        parent.map(|parent| self.process(parent, &told.containers, parent.pid()))
    }

    /// The reference's list starts at the grandparent, and ends with the first process that has
    /// the pid of `init` or of the first kernel thread.
    fn ancestors(self, told: &Told) -> Vec<tetragon::Process> {
        if !self.options.ancestors || told.fact.parent().is_none_or(is_first) {
            return Vec::new();
        }
        let beyond_parent = told.fact.lineage.get(1..).unwrap_or_default();
        let last = beyond_parent.iter().position(is_first).map_or(beyond_parent.len(), |first| first + 1);
        let message = |ancestor: &Process| self.process(ancestor, &told.containers, ancestor.pid());
        beyond_parent[..last].iter().map(message).collect()
    }

    /// The process that it happened to, whose parent may be shown.
    fn subject(self, told: &Told, tid: Pid, parent: Option<&tetragon::Process>) -> tetragon::Process {
        let process = &told.fact.process;
        let is_parent = told.fact.parent().map(|parent| parent.key) == process.reference_parent();
        // To write an id takes longer than to copy it.
        let shown = parent.filter(|_| is_parent).map(|parent| parent.exec_id.clone());
        let parent_exec_id = shown.unwrap_or_else(|| self.parent_exec_id(process));
        let mut message = self.child(process, &told.containers, tid, parent_exec_id);
        if !told.is_complete {
            message.flags = (Flags::of(process) | Flags::UNKNOWN_CONTAINER).to_text();
        }
        message
    }
}

/// Whether more is known of the process than that others speak of it.
fn is_known(process: &Process) -> bool {
    process.origin != Origin::Inferred || !process.binary().is_empty()
}

fn is_first(process: &Process) -> bool {
    process.pid() <= Pid(2)
}
