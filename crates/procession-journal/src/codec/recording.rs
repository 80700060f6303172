//! What every block says of its journal, and the ledger with which the last one closes it.

use std::time::{Duration, SystemTime};

use procession::{Account, Counted, Ledger, TableConfig, WallClock};

use super::context::{namespaces, put_namespaces, time};
use super::event::{key, put_key};
use super::wire::Put;
use crate::proto;
use crate::recording::Recording;

pub(crate) fn put_recording(put: &mut Put<'_>, recording: &Recording) {
    put.bytes(1, recording.node_name.as_bytes());
    put.bytes(2, recording.boot_id.to_string().as_bytes());
    put.fixed(3, recording.clock.boot().as_nanos());
    put.fixed(4, nanos_of(recording.clock.wall()).cast_unsigned());
    put.bytes(5, recording.source.as_bytes());
    if let Some(root) = recording.root {
        put.message(6, |put| put_key(put, root));
    }
    if let Some(namespaces) = &recording.host_namespaces {
        put.message(7, |put| put_namespaces(put, namespaces));
    }
    put.message(8, |put| put_table_config(put, recording.table));
}

/// `None`: it does not name the boot, without which its times mean nothing.
pub(crate) fn recording(recording: &proto::Recording) -> Option<Recording> {
    Some(Recording {
        node_name: recording.node_name.clone(),
        boot_id: recording.boot_id.parse().ok()?,
        clock: WallClock::new(time(recording.boot_time), time_of(recording.wall_time)),
        source: recording.source.clone(),
        root: recording.root.map(key),
        host_namespaces: recording.host_namespaces.as_ref().map(namespaces),
        table: recording.table.map(table_config).unwrap_or_default(),
    })
}

fn put_table_config(put: &mut Put<'_>, config: TableConfig) {
    put.number(1, u64::try_from(config.grace.as_nanos()).unwrap_or(u64::MAX));
    put.number(2, config.budget as u64);
    put.fixed(3, config.seed);
}

fn table_config(config: proto::TableConfig) -> TableConfig {
    TableConfig {
        grace: Duration::from_nanos(config.grace),
        budget: usize::try_from(config.budget).unwrap_or(usize::MAX),
        seed: config.seed,
    }
}

/// Nanoseconds since the Unix epoch, in the years from 1677 to 2262.
pub(crate) fn nanos_of(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg),
    }
}

pub(crate) fn time_of(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if nanos < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    time.unwrap_or(epoch)
}

pub(crate) fn put_ledger(put: &mut Put<'_>, ledger: &Ledger) {
    for kind in Counted::ALL {
        let account = ledger.account(kind);
        put.message(1, |put| {
            put.number(1, account.applied);
            put.number(2, account.duplicate);
            put.number(3, account.late);
            put.number(4, account.rejected);
        });
    }
    put.number(2, ledger.lost());
    put.number(3, ledger.inferred_processes());
    put.number(4, ledger.inferred_exits());
}

/// Kinds of events that an older version did not count are counted as none.
pub(crate) fn ledger(ledger: &proto::Ledger) -> Ledger {
    let mut accounts = ledger.accounts.iter().copied();
    let accounts = Counted::ALL.map(|_| {
        let proto::Account { applied, duplicate, late, rejected } = accounts.next().unwrap_or_default();
        Account::new(applied, duplicate, late, rejected)
    });
    Ledger::new(accounts, ledger.lost, ledger.inferred_processes, ledger.inferred_exits)
}
