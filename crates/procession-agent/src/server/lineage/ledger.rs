//! The account of every event.

use procession::{Counted, Explanation};
use procession_api::proto::procession::v1;
use procession_api::proto::procession::v1::GetLedgerResponse;

use crate::{Account, ReaderCounts, ReaderKind};

pub(super) fn ledger(
    account: &Account,
    explanation: &Explanation,
    readers: Vec<(ReaderKind, ReaderCounts)>,
) -> GetLedgerResponse {
    let ledger = &account.ledger;
    let of_kind = |kind| {
        let counts = ledger.account(kind);
        v1::Account {
            kind: name(kind).to_owned(),
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
    }
}

fn name(kind: Counted) -> &'static str {
    match kind {
        Counted::Fork => "fork",
        Counted::Exec => "exec",
        Counted::Exit => "exit",
        Counted::Running => "running",
        Counted::Change => "change",
        Counted::Gone => "gone",
    }
}

fn reader((kind, counts): (ReaderKind, ReaderCounts)) -> v1::ReaderAccount {
    let name = match kind {
        ReaderKind::Client => "grpc",
        ReaderKind::Export => "export",
    };
    let ReaderCounts { read, lost, waiting, .. } = counts;
    v1::ReaderAccount { name: name.to_owned(), read, lost, waiting }
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
