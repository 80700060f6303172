//! What an earlier process left in the directory of a journal.

use procession::{Table, TableConfig};
use procession_journal::{Journal, JournalError, Recording, Restored};

use super::{JournalConfig, JournalTarget};

pub(super) fn restore(journal: &JournalConfig, config: TableConfig) -> Option<Restored> {
    let JournalTarget::Directory(directory) = &journal.target else { return None };
    let path = directory.path.display();
    let restored = match Journal::open(&directory.path).and_then(|journal| journal.latest()) {
        Ok(restored) => restored,
        Err(JournalError::Nothing { .. }) => return None,
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(%path, error, "the journal cannot be read: what it has stays, and all begins anew");
            return None;
        }
    };
    if restored.recording.boot_id != journal.boot_id {
        tracing::info!(%path, "the journal is from before the last boot: all begins anew");
        return None;
    }
    for damage in &restored.damage {
        tracing::warn!(%path, "in the journal, {damage}: what is missing is looked for");
    }
    let config = TableConfig { seed: restored.recording.table.seed, ..config };
    let table = Table::restore_with(&restored.table.checkpoint(), config);
    tracing::info!(%path, events = restored.sequence, processes = table.live(), "going on from the journal");
    let recording = Recording { table: config, ..restored.recording };
    Some(Restored { table, recording, ..restored })
}

/// An error and the chain of its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
