//! Sums that have to come out, whatever happened: nothing is lost without being counted.

use std::collections::BTreeMap;
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

/// What was compared.
#[derive(Debug)]
pub(crate) struct Sums {
    /// How many different ones.
    pub(crate) count: usize,
    /// The names of those that do not come out, and what they are instead.
    pub(crate) broken: Vec<String>,
}

/// Outcomes at all sums until each has come out once.
pub(crate) fn check(runtime: &Handle, metrics: &str, socket: &Path) -> Result<Sums> {
    let mut waiting: Option<Outcomes> = None;
    let mut count = 0;
    for _ in 0..LOOKS {
        let mut now = of_metrics(&Metrics::of(metrics)?);
        now.0.extend(runtime.block_on(of_account(socket))?.0);
        count = now.0.len();
        let mut broken = now.broken();
        if let Some(before) = &waiting {
            broken.0.retain(|name, _| before.0.contains_key(name));
        }
        let is_done = broken.0.is_empty();
        waiting = Some(broken);
        if is_done {
            break;
        }
        thread::sleep(PAUSE);
    }
    let broken = waiting.into_iter().flat_map(|it| it.0);
    let broken = broken.map(|(name, how)| format!("{name}: {}", how.unwrap_or_default())).collect();
    Ok(Sums { count, broken })
}

/// Sums by their names, and what each is instead of what it should be, if so.
#[derive(Debug, Default)]
struct Outcomes(BTreeMap<&'static str, Option<String>>);

impl Outcomes {
    fn equal(&mut self, name: &'static str, left: u64, right: u64) {
        self.note(name, left == right, || format!("{left} and {right}"));
    }

    /// What has a name several times comes out if it does each time.
    fn note(&mut self, name: &'static str, holds: bool, how: impl FnOnce() -> String) {
        let known = self.0.entry(name).or_default();
        if !holds {
            *known = Some(how());
        }
    }

    fn broken(self) -> Self {
        Self(self.0.into_iter().filter(|(_, how)| how.is_some()).collect())
    }
}

fn of_metrics(page: &Metrics) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (kind, name) in [
        ("fork", "forks: records = applied + duplicate + late + rejected + lost"),
        ("exec", "execs: records = applied + duplicate + late + rejected + lost"),
        ("exit", "exits: records = applied + duplicate + late + rejected + lost"),
        ("change", "changes: records <= applied + duplicate + late + rejected + lost"),
    ] {
        let label = format!("{{kind=\"{kind}\"}}");
        let records = page.count(&format!("procession_kernel_records_total{label}"));
        let lost = page.count(&format!("procession_kernel_lost_records_total{label}"));
        let outcome = |outcome: &str| {
            page.count(&format!("procession_ledger_events_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}"))
        };
        let received = outcome("applied") + outcome("duplicate") + outcome("late") + outcome("rejected");
        // Changes that were found out count as received, too, also those of an agent before this one.
        let holds = if kind == "change" { records <= received + lost } else { records == received + lost };
        outcomes.note(name, holds, || format!("{records} and {}", received + lost));
    }
    let lost = page.count("procession_kernel_lost_records_total");
    let of_arguments = page.count("procession_kernel_lost_records_total{kind=\"arguments\"}");
    outcomes.equal(
        "kernel lost = ledger lost",
        lost - of_arguments,
        page.count("procession_ledger_lost_events_total"),
    );
    let released = page.count("procession_released_facts_total") + page.count("procession_waiting_facts");
    outcomes.equal("held = released + waiting", page.count("procession_held_facts_total"), released);
    outcomes.equal("no record is unreadable", page.count("procession_decode_errors_total"), 0);
    let read = page.count("procession_reader_events_total{kind=\"export\"}");
    let exported =
        page.count("tetragon_events_exported_total") + page.count("procession_export_filtered_events_total");
    outcomes.equal("export: read = exported + filtered", read, exported);
    outcomes
}

async fn of_account(socket: &Path) -> Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    let ledger = lineage(socket).await?.get_ledger(GetLedgerRequest {}).await?.into_inner();
    for account in &ledger.accounts {
        let sum = account.applied + account.duplicate + account.late + account.rejected;
        outcomes.equal("received = applied + duplicate + late + rejected", account.received, sum);
    }
    let memory = ledger.memory.unwrap_or_default();
    let parts = memory.entry_bytes
        + memory.body_bytes
        + memory.index_bytes
        + memory.image_bytes
        + memory.shared_bytes;
    outcomes.equal("memory used = its parts", memory.used, parts);
    outcomes.note("memory used <= budget", memory.used <= memory.budget, || {
        format!("{} and {}", memory.used, memory.budget)
    });
    outcomes.note("there are readers", !ledger.readers.is_empty(), || "none".to_owned());
    Ok(outcomes)
}
