//! From what the table knows to what leaves: messages, with secrets hidden.
//!
//! Everything that shows a process outside goes through here, so that nothing leaves unredacted.

use procession::{Entry, Process};
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon;
use procession_kube::{Told, Whose};

use crate::inventory::Inventory;

/// Makes messages.
#[derive(Debug, Default)]
pub struct Presenter {
    node_name: String,
}

impl Presenter {
    /// Of the node of this name.
    pub fn named(node_name: &str) -> Self {
        Self { node_name: node_name.to_owned() }
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The event of what is told. `None`: the reference has none for it.
    pub fn event(&self, _told: &Told) -> Option<tetragon::GetEventsResponse> {
        None
    }

    /// A process in the reference's form.
    pub fn process(&self, process: &Process, _whose: Option<&Whose>) -> tetragon::Process {
        tetragon::Process {
            exec_id: process.key.exec_id(&self.node_name),
            pid: Some(process.pid().0),
            binary: String::from_utf8_lossy(process.binary()).into_owned(),
            ..tetragon::Process::default()
        }
    }

    /// A process with all that is known of it.
    pub fn entry(&self, entry: Entry<'_>, _inventory: &dyn Inventory) -> v1::Process {
        let process = entry.snapshot();
        let how = v1::end::How::Vanished(v1::end::Vanished {});
        v1::Process {
            process: Some(self.process(&process, None)),
            end: process.end.map(|_| v1::End { time: None, how: Some(how) }),
            depth: entry.depth().into(),
            ..v1::Process::default()
        }
    }
}
