//! What a page of metrics is made of, taken at one moment.

use std::time::SystemTime;

use procession::{Explanation, Ledger};
use procession_sensor::{KernelCounts, SourceKind};

use super::usage::Usage;
use crate::export::ExportCounts;
use crate::inventory::InventoryCounts;
use crate::journal::JournalCounts;
use crate::pipeline::Account;
use crate::repair::RepairCounts;
use crate::server::ServerCounts;
use crate::stream::{EventLog, ReaderCounts, ReaderKind};
use crate::tell::TellCounts;

/// How the agent does at one moment. Counts are since its start.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// What program it is.
    pub build: Build,
    /// When the observation began. `None`: it has not.
    pub started: Option<SystemTime>,
    /// Where events come from. `None`: there is no source.
    pub source: Option<SourceKind>,
    /// Whether the source is attached and read.
    pub is_observing: bool,
    /// When the last event came. `None`: none has.
    pub last_event: Option<SystemTime>,
    /// What became of every event.
    pub ledger: Ledger,
    /// What the kernel counted, where it does.
    pub kernel: Option<KernelCounts>,
    /// Records of the source that could not be read.
    pub malformed: u64,
    /// What the table holds, and what that takes.
    pub table: Explanation,
    /// What came of asking whose the containers are.
    pub told: TellCounts,
    /// How those do who were asked.
    pub inventory: InventoryCounts,
    /// Facts that were ready when the queue to the presenter had no room.
    pub dropped: u64,
    /// What the journal did. `None`: there is none.
    pub journal: Option<JournalCounts>,
    /// What came of looking for what was missed.
    pub repair: RepairCounts,
    /// The events that are kept for readers.
    pub log: LogCounts,
    /// The streams of clients, as readers of those.
    pub clients: ReaderCounts,
    /// The export, as a reader of those.
    pub exporters: ReaderCounts,
    /// What the export wrote.
    pub export: ExportCounts,
    /// The servers of the API.
    pub server: ServerCounts,
    /// Events that a reader was not told of because a filter failed on them.
    pub filter_errors: u64,
    /// The server of this page.
    pub web: WebCounts,
    /// Rights of root that this process holds, by name.
    pub capabilities: Vec<String>,
    /// What this process takes of the machine. `None`: that could not be read.
    pub usage: Option<Usage>,
}

/// What program this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The commit it was built of, or nothing.
    pub commit: String,
    /// When that was, in RFC 3339, or nothing.
    pub time: String,
    /// Whether the sources differed from the commit. `None`: not known.
    pub modified: Option<bool>,
}

/// The events that are kept for readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// How many.
    pub events: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
    /// The most events that are kept.
    pub event_limit: usize,
    /// The most bytes that are kept, about.
    pub byte_limit: usize,
}

/// The server of the page of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebCounts {
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were turned away because there were too many.
    pub refused: u64,
}

impl Measurements {
    /// With what a pipeline did.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        let Account { ledger, kernel, malformed, told, inventory, dropped, journal, repair, .. } = account;
        Self { ledger, kernel, malformed, told, inventory, dropped, journal, repair, ..self }
    }

    /// With what `log` keeps, and how its readers do.
    #[must_use]
    pub fn with_log(self, log: &EventLog) -> Self {
        let ((events, bytes), limits) = (log.kept(), log.config());
        Self {
            log: LogCounts { events, bytes, event_limit: limits.events, byte_limit: limits.bytes },
            clients: log.counts(ReaderKind::Client),
            exporters: log.counts(ReaderKind::Export),
            ..self
        }
    }
}

impl Default for Build {
    /// This version, and nothing known of where it was built.
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: String::new(),
            time: String::new(),
            modified: None,
        }
    }
}
