//! What every block says of its journal.

use procession::{BootId, Namespaces, ProcessKey, TableConfig, WallClock};

/// Where the events of a journal come from, and how they are to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The machine.
    pub node_name: String,
    /// From one boot to the next. Times and pids of one boot mean nothing in another.
    pub boot_id: BootId,
    /// Where boot time stands on the wall clock, when the block was begun.
    pub clock: WallClock,
    /// Where the events came from, for a person: `eBPF`, `proc connector`, an import.
    pub source: String,
    /// If the descendants of one process were to be watched: that process.
    pub root: Option<ProcessKey>,
    /// The host's own namespaces, as far as they could be seen.
    pub host_namespaces: Option<Namespaces>,
    /// How the table behaves that the events are to be folded into.
    pub table: TableConfig,
}

impl Recording {
    /// The boot, if it is known which one it was.
    pub fn known_boot(&self) -> Option<BootId> {
        Some(self.boot_id).filter(|boot| *boot != BootId::UNKNOWN)
    }
}
