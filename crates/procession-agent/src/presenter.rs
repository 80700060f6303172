//! From what the table knows to what leaves: messages, with secrets hidden.
//!
//! Everything that shows a process outside goes through here, so that nothing leaves unredacted.

use std::sync::RwLock;

use procession::{Entry, Process};
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon;
use procession_kube::{Told, Whose};

use crate::inventory::Inventory;

/// Makes messages.
#[derive(Debug, Default)]
pub struct Presenter {
    node_name: RwLock<String>,
}

impl Presenter {
    /// The event of what is told. `None`: the reference has none for it.
    pub fn event(&self, _told: &Told) -> Option<tetragon::GetEventsResponse> {
        None
    }

    /// A process in the reference's form.
    pub fn process(&self, _process: &Process, _whose: Option<&Whose>) -> tetragon::Process {
        tetragon::Process::default()
    }

    /// A process with all that is known of it.
    pub fn entry(&self, _entry: Entry<'_>, _inventory: &dyn Inventory) -> v1::Process {
        v1::Process::default()
    }
}
