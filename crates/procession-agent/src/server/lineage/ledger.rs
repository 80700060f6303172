//! The account of every event.

use procession::{Counted, Explanation};
use procession_api::proto::procession::v1;
use procession_api::proto::procession::v1::GetLedgerResponse;

use crate::{Account, JournalCounts, ReaderCounts, ReaderKind, RepairCounts};

pub(super) fn ledger(
    account: &Account,
    explanation: &Explanation,
    readers: Vec<(ReaderKind, ReaderCounts)>,
) -> GetLedgerResponse {
    let ledger = &account.ledger;
    let of_kind = |kind| {
        let counts = ledger.account(kind);
        v1::Account {
            kind: kind.name().to_owned(),
            received: counts.received,
            applied: counts.applied,
            duplicate: counts.duplicate,
            late: counts.late,
            rejected: counts.rejected,
        }
    };
    GetLedgerResponse {
        accounts: Counted::ALL.map(of_kind).into(),
        lost: ledger.lost(),
        malformed: account.malformed,
        inferred_processes: ledger.inferred_processes(),
        inferred_exits: ledger.inferred_exits(),
        dropped_before_readers: account.dropped,
        readers: readers.into_iter().map(reader).collect(),
        memory: Some(memory(explanation)),
        journal: account.journal.as_ref().map(journal),
        repairs: Some(repairs(account.repair)),
    }
}

fn reader((kind, counts): (ReaderKind, ReaderCounts)) -> v1::ReaderAccount {
    let name = match kind {
        ReaderKind::Client => "grpc",
        ReaderKind::Export => "export",
    };
    let ReaderCounts { readers, read, lost, waiting } = counts;
    // What those lost who have gone since is lost all the same.
    let presence = if readers == 0 { " (gone)" } else { "" };
    v1::ReaderAccount { name: format!("{name}{presence}"), read, lost, waiting }
}

fn journal(counts: &JournalCounts) -> v1::JournalAccount {
    v1::JournalAccount {
        events: counts.events,
        lost: counts.lost_events,
        waiting: counts.waiting_events,
        written_bytes: counts.bytes,
        disk_bytes: counts.disk_bytes,
        files: counts.files,
        errors: counts.errors,
        failing: counts.is_failing,
    }
}

fn repairs(counts: RepairCounts) -> v1::RepairAccount {
    let RepairCounts { surveys, missing, gone, changed, .. } = counts;
    v1::RepairAccount { surveys, missing, gone, changed }
}

fn memory(explanation: &Explanation) -> v1::Memory {
    v1::Memory {
        budget: explanation.budget as u64,
        used: explanation.used as u64,
        entry_bytes: explanation.entry_bytes as u64,
        body_bytes: explanation.body_bytes as u64,
        index_bytes: explanation.index_bytes as u64,
        image_bytes: explanation.image_bytes as u64,
        shared_bytes: explanation.shared_bytes as u64,
        running: explanation.running as u64,
        in_grace: explanation.in_grace as u64,
        held: explanation.held as u64,
        ancestors: explanation.ancestors as u64,
        tombstones: explanation.tombstones as u64,
        dropped_early: explanation.dropped_early,
        folded: explanation.folded,
        evicted_live: explanation.evicted_live,
    }
}
