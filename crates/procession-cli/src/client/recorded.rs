//! Processes of a recording as the messages that an agent would send.

use procession::Process;
use procession_agent::{Inventory as _, RecordedInventory, UNKNOWN_BOOT};
use procession_api::json::write_process;
use procession_api::lineage;
use procession_api::messages::{AnnotationOptions, MessageEncoder};
use procession_api::proto::procession::v1;
use procession_api::users::Users;
use procession_journal::{Names, Recording};
use procession_kube::{ContainerId, Whose};

use crate::display::Accounts;

/// Makes messages of what one boot of a machine had.
pub(super) struct Recorded<'r> {
    recording: &'r Recording,
    encoder: MessageEncoder,
    users: Users,
    inventory: RecordedInventory,
}

impl<'r> Recorded<'r> {
    pub(super) fn new(recording: &'r Recording, names: Names) -> Self {
        let node_name = recording.node_name.clone();
        let options =
            AnnotationOptions { namespaces: recording.host_namespaces, ..AnnotationOptions::default() };
        let users = Accounts::of(&node_name).users().clone();
        let encoder = MessageEncoder { node_name, cluster_name: String::new(), options };
        Self { recording, encoder, users, inventory: RecordedInventory::new(names) }
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    /// What is known of the container in which a process ran.
    pub(super) fn whose(&self, process: &Process) -> Option<Whose> {
        self.inventory.find(&ContainerId::of_process(process)?)
    }

    /// With all that is known of it.
    pub(super) fn process(&self, process: &Process) -> v1::Process {
        let Recording { boot_id, clock, .. } = self.recording;
        let boot = Some(boot_id).filter(|boot| boot.to_string() != UNKNOWN_BOOT);
        lineage::snapshot(&self.encoder, process, self.whose(process).as_ref(), boot, clock, &self.users)
    }

    /// As events have it.
    pub(super) fn json(&self, process: &Process) -> serde_json::Value {
        let whose = self.whose(process);
        let clock = &self.recording.clock;
        let message = self.encoder.process(process, whose.as_ref(), clock, &self.users);
        let mut line = Vec::new();
        write_process(&message, &mut line);
        serde_json::from_slice(&line).unwrap_or_default()
    }
}
