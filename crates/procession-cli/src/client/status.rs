//! `procession status`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use procession_api::proto::procession::v1::{
    Account, GetLedgerRequest, GetLedgerResponse, GetStatusRequest, GetStatusResponse, JournalAccount,
    RepairAccount,
};

use super::args::{ListOutputArg, StatusArgs};
use super::connect::{Agent, refusal};
use super::screen::{self, Screen};
use super::words::{Moment, bytes};
use super::{answer, json, now};
use crate::fold::folded_table;
use crate::render::{Sentence, duration, timestamp};
use crate::summary::{count, thousands};

/// Where it is said, behind the name of what it is about.
pub(super) const COLUMN: usize = 12;

pub(super) async fn run(
    agent: &Agent,
    args: &StatusArgs,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    let timeout = args.server.timeout;
    let status = answer(timeout, agent.lineage().get_status(GetStatusRequest {})).await;
    let status = status.map_err(|status| refusal(&status))?;
    let ledger = answer(timeout, agent.lineage().get_ledger(GetLedgerRequest {})).await;
    let ledger = ledger.map_err(|status| refusal(&status))?;
    match args.output {
        ListOutputArg::Text => {
            let text = told(&status, &ledger, &now());
            let text = match screen::width(false) {
                Some(width) => folded_table(&text, width, COLUMN),
                None => text,
            };
            screen.lines().extend_from_slice(text.as_bytes());
        }
        ListOutputArg::Json => screen.put_line(&format!(
            "{{\"status\":{},\"ledger\":{}}}",
            json::line(&status),
            json::line(&ledger)
        )),
    }
    Ok(if status.is_observing { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What people are told.
pub(super) fn told(status: &GetStatusResponse, ledger: &GetLedgerResponse, moment: &Moment) -> String {
    let mut lines = Lines::default();
    let doing = if status.is_observing { "observing" } else { "NOT observing: it tells nothing new" };
    lines.put("agent", doing);
    lines.put("version", Sentence(&status.version));
    lines.put("node", Sentence(&status.node_name));
    let started = status.started.as_ref().map(timestamp);
    if let Some(uptime) = status.uptime.and_then(|uptime| Duration::try_from(uptime).ok()) {
        let since = started.map(|started| format!(", since {}", moment.at(started))).unwrap_or_default();
        lines.put("up", format_args!("{}{since}", duration(uptime)));
    }
    lines.put("source", Sentence(&status.source));
    for shortcoming in &status.shortcomings {
        lines.put("", format_args!("! {}", Sentence(shortcoming)));
    }
    lines.put("processes", format_args!("{} running", thousands(status.processes)));
    let last = status.last_event.as_ref().map(timestamp);
    lines.put("last event", last.map_or("none yet".to_owned(), |last| moment.at_and_ago(last)));
    lines.put("clients", thousands(status.clients));
    if !status.capabilities.is_empty() {
        lines.put("rights", Sentence(&status.capabilities.join(", ")));
    }
    events(ledger, &mut lines);
    memory(ledger, &mut lines);
    lines.text
}

fn events(ledger: &GetLedgerResponse, lines: &mut Lines) {
    let sum = |of: fn(&Account) -> u64| {
        let all = ledger.accounts.iter().map(of);
        all.fold(0_u64, u64::saturating_add)
    };
    lines.put(
        "events",
        format_args!(
            "{} received = {} applied + {} duplicate + {} late + {} rejected",
            thousands(sum(|account| account.received)),
            thousands(sum(|account| account.applied)),
            thousands(sum(|account| account.duplicate)),
            thousands(sum(|account| account.late)),
            thousands(sum(|account| account.rejected)),
        ),
    );
    if ledger.journal.is_some() {
        // The account is in the journal. All other counts begin with the agent.
        lines.put("", "including any earlier agents of this boot, by the journal");
    }
    let readers_lost = ledger.readers.iter().map(|reader| reader.lost).fold(0_u64, u64::saturating_add);
    let losses = [
        (ledger.lost, "before they were received"),
        (ledger.malformed, "unreadable"),
        (ledger.dropped_before_readers, "between the table and the readers"),
        (readers_lost, "by readers that were too slow"),
    ];
    let losses = losses.iter().filter(|(count, _)| *count > 0);
    let losses: Vec<_> = losses.map(|(count, what)| format!("{} {what}", thousands(*count))).collect();
    lines.put("lost", if losses.is_empty() { "none".to_owned() } else { losses.join(", ") });
    if ledger.inferred_processes > 0 || ledger.inferred_exits > 0 {
        let processes = count(ledger.inferred_processes, "process", "processes");
        let exits = count(ledger.inferred_exits, "exit", "exits");
        let inferred = format_args!("{processes} and {exits}, of which no event came");
        lines.put("inferred", inferred);
    }
    if let Some(RepairAccount { surveys, missing, gone, changed }) =
        ledger.repairs.filter(|it| it.surveys > 0)
    {
        let (missing, surveys) = (count(missing, "process", "processes"), count(surveys, "time", "times"));
        let [gone, changed] = [gone, changed].map(thousands);
        let repaired = format_args!("{missing} found, {gone} gone, {changed} changed");
        lines.put("repaired", format_args!("{repaired}; looked for {surveys}"));
    }
    if let Some(journal) = &ledger.journal {
        put_journal(journal, lines);
    }
    for reader in &ledger.readers {
        let [read, lost, waiting] = [reader.read, reader.lost, reader.waiting].map(thousands);
        let name = Sentence(&reader.name);
        lines.put("reader", format_args!("{name}: {read} read, {lost} lost, {waiting} waiting"));
    }
}

fn put_journal(journal: &JournalAccount, lines: &mut Lines) {
    let [lost, waiting] = [journal.lost, journal.waiting].map(thousands);
    let (events, files) = (count(journal.events, "event", "events"), count(journal.files, "file", "files"));
    let room = bytes(journal.disk_bytes);
    lines.put(
        "journal",
        format_args!("{events} written since the start, {lost} lost, {waiting} waiting; {room} in {files}"),
    );
    if journal.failing {
        let errors = count(journal.errors, "attempt", "attempts");
        lines.put("", format_args!("! it cannot be written: {errors} failed; the agent's log says why"));
    }
}

fn memory(ledger: &GetLedgerResponse, lines: &mut Lines) {
    let Some(memory) = &ledger.memory else { return };
    let [used, budget] = [memory.used, memory.budget].map(bytes);
    lines.put("memory", format_args!("{used} of {budget} for the table"));
    let [running, grace, held, ancestors, tombstones] =
        [memory.running, memory.in_grace, memory.held, memory.ancestors, memory.tombstones].map(thousands);
    lines.put(
        "",
        format_args!(
            "{running} running, {grace} just ended, {held} held by readers, {ancestors} kept for their \
             descendants, {tombstones} tombstones"
        ),
    );
    if [memory.dropped_early, memory.folded, memory.evicted_live].iter().any(|count| *count > 0) {
        let [early, folded, evicted] =
            [memory.dropped_early, memory.folded, memory.evicted_live].map(thousands);
        lines.put(
            "",
            format_args!(
                "! memory was short: {early} ended ones dropped early, {folded} folded into tombstones, \
                 {evicted} running ones given up"
            ),
        );
    }
}

/// A name, and what there is to say.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn put(&mut self, name: &str, what: impl std::fmt::Display) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{name:<COLUMN$}{what}");
    }
}
