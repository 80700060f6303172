//! Sums that have to come out, whatever happened: nothing is lost without being counted.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use procession_api::proto::procession::v1::GetLedgerRequest;
use tokio::runtime::Handle;

use crate::clients::lineage;
use crate::metrics::Metrics;

/// How often they are looked at before a difference counts: others do things on the machine meanwhile, and
/// one thread is a little behind another.
const LOOKS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(550);

/// The names of the identities, and in what each does not come out. Empty: all do.
pub(crate) fn check(runtime: &Handle, metrics: &str, socket: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for look in 0..LOOKS {
        let mut now = of_metrics(&Metrics::of(metrics)?);
        now.extend(runtime.block_on(of_account(socket))?);
        // Each has to come out once.
        if look == 0 {
            broken = now;
        } else {
            broken.retain(|(name, _)| now.iter().any(|(other, _)| other == name));
            for (name, text) in &mut broken {
                if let Some((_, now)) = now.iter().find(|(other, _)| other == name) {
                    text.clone_from(now);
                }
            }
        }
        if broken.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(broken.into_iter().map(|(name, text)| format!("{name}: {text}")).collect())
}

/// How many there are.
pub(crate) const COUNT: usize = 10;

type Broken = Vec<(&'static str, String)>;

fn unless(broken: &mut Broken, name: &'static str, left: u64, right: u64) {
    if left != right {
        broken.push((name, format!("{left} and {right}")));
    }
}

fn of_metrics(page: &Metrics) -> Broken {
    let mut broken = Vec::new();
    for (kind, name) in [
        ("fork", "forks: records = applied + duplicate + late + rejected + lost"),
        ("exec", "execs: records = applied + duplicate + late + rejected + lost"),
        ("exit", "exits: records = applied + duplicate + late + rejected + lost"),
        ("change", "changes: records = applied + duplicate + late + rejected + lost"),
    ] {
        let label = format!("{{kind=\"{kind}\"}}");
        let records = page.count(&format!("procession_kernel_records_total{label}"));
        let lost = page.count(&format!("procession_kernel_lost_records_total{label}"));
        let outcome = |outcome: &str| {
            page.count(&format!("procession_ledger_events_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}"))
        };
        let received = outcome("applied") + outcome("duplicate") + outcome("late") + outcome("rejected");
        unless(&mut broken, name, records, received + lost);
    }
    let lost = page.count("procession_kernel_lost_records_total");
    let of_arguments = page.count("procession_kernel_lost_records_total{kind=\"arguments\"}");
    unless(
        &mut broken,
        "kernel lost = ledger lost",
        lost - of_arguments,
        page.count("procession_ledger_lost_events_total"),
    );
    let released = page.count("procession_released_facts_total") + page.count("procession_waiting_facts");
    unless(&mut broken, "held = released + waiting", page.count("procession_held_facts_total"), released);
    unless(&mut broken, "no record is unreadable", page.count("procession_decode_errors_total"), 0);
    let read = page.count("procession_reader_events_total{kind=\"export\"}");
    let exported =
        page.count("tetragon_events_exported_total") + page.count("procession_export_filtered_events_total");
    unless(&mut broken, "export: read = exported + filtered", read, exported);
    broken
}

async fn of_account(socket: &Path) -> Result<Broken> {
    let mut broken = Vec::new();
    let ledger = lineage(socket).await?.get_ledger(GetLedgerRequest {}).await?.into_inner();
    for account in &ledger.accounts {
        let sum = account.applied + account.duplicate + account.late + account.rejected;
        unless(&mut broken, "received = applied + duplicate + late + rejected", account.received, sum);
    }
    // All readers that were there from the beginning were given the same.
    let given: Vec<u64> =
        ledger.readers.iter().map(|reader| reader.read + reader.lost + reader.waiting).collect();
    let memory = ledger.memory.unwrap_or_default();
    let parts = memory.entry_bytes
        + memory.body_bytes
        + memory.index_bytes
        + memory.image_bytes
        + memory.shared_bytes;
    unless(&mut broken, "memory used = its parts", memory.used, parts);
    if memory.used > memory.budget {
        broken.push(("memory used <= budget", format!("{} and {}", memory.used, memory.budget)));
    }
    if given.is_empty() {
        broken.push(("there are readers", String::new()));
    }
    Ok(broken)
}
