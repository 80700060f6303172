//! Processes of a recording as the messages that an agent would send.

use procession::Process;
use procession_agent::{Inventory as _, RecordedInventory, recorded_encoder};
use procession_api::json::write_process;
use procession_api::lineage;
use procession_api::messages::MessageEncoder;
use procession_api::proto::procession::v1;
use procession_api::users::Users;
use procession_journal::Recording;
use procession_kube::{ContainerId, Whose};

use crate::display::Accounts;

/// Makes messages of what one boot of a machine had.
pub(super) struct Recorded<'r> {
    recording: &'r Recording,
    encoder: MessageEncoder,
    users: Users,
    /// The journal's, of which there is one: it may be large.
    inventory: &'r RecordedInventory,
}

impl<'r> Recorded<'r> {
    pub(super) fn new(recording: &'r Recording, inventory: &'r RecordedInventory) -> Self {
        let users = Accounts::of(&recording.node_name).users().clone();
        Self { recording, encoder: recorded_encoder(recording), users, inventory }
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
        let (boot, clock) = (self.recording.known_boot(), &self.recording.clock);
        let whose = self.whose(process);
        lineage::snapshot(&self.encoder, process, whose.as_ref(), boot.as_ref(), clock, &self.users)
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
