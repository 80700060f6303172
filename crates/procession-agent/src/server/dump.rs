//! The reference system's dump of its process cache.
//!
//! What is counted there is a reference here: by the running of a process, by each entry that another
//! keeps (a child keeps its parent, an image the one before), and by each handle.

use std::collections::{BTreeMap, HashMap};

use procession::{BootTime, ProcessId, Retention};
use procession_api::proto::tetragon::{DumpProcessCacheReqArgs, ProcessInternal};
use prost::Message as _;
use tonic::Status;

use super::bound::Shared;
use super::scan::{Row, first, rows, see};
use super::turns::worked_out;

/// The largest answer. It is one message, and clients take no more.
const LARGEST_DUMP: usize = 64 << 20;

/// What refers to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct References {
    running: u32,
    needed: u32,
    held: u32,
}

impl References {
    fn total(self) -> u32 {
        self.running.saturating_add(self.needed).saturating_add(self.held)
    }

    fn by_reason(self) -> BTreeMap<String, i32> {
        let reasons = [("running", self.running), ("needed", self.needed), ("held", self.held)];
        let reasons = reasons.into_iter().filter(|(_, count)| *count > 0);
        reasons.map(|(reason, count)| (reason.to_owned(), i32::try_from(count).unwrap_or(i32::MAX))).collect()
    }
}

/// Every entry of the table that is not left out, oldest first.
pub(super) async fn dump(
    shared: &Shared,
    args: DumpProcessCacheReqArgs,
) -> Result<Vec<ProcessInternal>, Status> {
    let Shared { node, turns, .. } = shared;
    let place = turns.place().await?;
    let noted = turns.ask(node, place.clone(), |view| (rows(view.table), view.table.now()));
    let (rows, now) = noted.await?;
    let entries = worked_out(move || {
        let mut entries = select(rows, args);
        entries.sort_unstable_by_key(|(row, _)| (row.key.start, row.key.pid));
        entries
    });
    let entries = entries.await?;
    let mut dumped = Vec::new();
    let mut bytes = 0;
    let mut left = &*entries;
    while !left.is_empty() {
        let seen = see(node, first(left), 0).await?;
        let (chunk, rest) = left.split_at(seen.len().min(left.len()));
        left = rest;
        for ((row, references), seen) in chunk.iter().zip(seen) {
            let Some(mut process) = seen.and_then(|seen| seen.process.process) else { continue };
            process.refcnt = references.total();
            let entry = ProcessInternal {
                process: Some(process),
                color: color(row, *references, now).to_owned(),
                refcnt: Some(references.total()),
                refcnt_ops: references.by_reason(),
            };
            bytes += entry.encoded_len();
            dumped.push(entry);
        }
        if bytes > LARGEST_DUMP {
            return Err(Status::resource_exhausted(
                "there is too much for one message; use ListProcesses of procession.v1.LineageService",
            ));
        }
    }
    drop(place);
    Ok(dumped)
}

fn select(rows: Vec<Row>, args: DumpProcessCacheReqArgs) -> Vec<(Row, References)> {
    let mut needed: HashMap<ProcessId, u32> = HashMap::new();
    for kept in rows.iter().flat_map(|row| row.keeps).flatten() {
        *needed.entry(kept).or_default() += 1;
    }
    let counted = rows.into_iter().map(|row| {
        let held = if let Retention::Held { handles } = row.retention { handles } else { 0 };
        let needed = needed.get(&row.id).copied().unwrap_or(0);
        (row, References { running: u32::from(row.is_running()), needed, held })
    });
    // What runs is what the kernel's programs know too.
    let is_left_out = |(row, references): &(Row, References)| {
        (args.skip_zero_refcnt && references.total() == 0)
            || (args.exclude_execve_map_processes && row.is_running())
    };
    counted.filter(|entry| !is_left_out(entry)).collect()
}

/// How far the removal of an entry is, in the reference system's words.
fn color(row: &Row, references: References, now: BootTime) -> &'static str {
    match row.retention {
        _ if references.total() > 0 => "inUse",
        Retention::Grace { until } if until > now => "deletePending",
        _ => "deleteReady",
    }
}
