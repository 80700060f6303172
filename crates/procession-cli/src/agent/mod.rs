//! `procession agent`.
//!
//! Options come from many places (`layers`), each of which is checked as if it were typed
//! (`catalogue`), and are told apart by their origins (`settings`). What they come to is an
//! [`AgentConfig`].

mod args;
mod catalogue;
mod config;
mod layers;
mod life;
mod memory;
mod print;
mod reload;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;
mod wiring;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use procession_agent::{Account, Agent};

pub(crate) use args::Typed;
use config::{AgentConfig, Destination};
use layers::Layers;
use life::{Life, Turn};
use reload::Reloader;
use settings::Settings;
pub(crate) use strangers::in_reference;

use crate::log;
use crate::summary;

/// The status when an option is wrong, as for what is typed wrongly.
const WRONG_OPTION: u8 = 2;

/// Runs the agent until it is asked to stop.
pub(crate) fn run(typed: &Typed) -> anyhow::Result<ExitCode> {
    let layers = Layers::new(typed.clone());
    let reading = match layers.read() {
        Ok(reading) => reading,
        Err(problems) => {
            for problem in &problems.0 {
                summary::tell(format_args!("{}", crate::render::Sentence(problem)));
            }
            return Ok(ExitCode::from(WRONG_OPTION));
        }
    };
    let log = log::start(reading.config.log.level, reading.config.log.format)?;
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    if typed.places.print_config {
        return print_config(&print::print(&reading));
    }
    if typed.places.detach_all {
        return detach_all(Path::new(&reading.pin_dir));
    }
    let settings = reading.settings.clone();
    let life = Life::begin(Reloader::new(layers, &reading))?;
    observe(&reading.config, &settings, life, &log)
}

/// Who stops reading has seen enough.
fn print_config(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Removes what an earlier agent left in the kernel. That there is nothing is no failure.
fn detach_all(pin_dir: &Path) -> anyhow::Result<ExitCode> {
    let place = pin_dir.display();
    let was_there = procession_sensor::detach_all(pin_dir)
        .with_context(|| format!("cannot remove what is in {place}"))?;
    if was_there {
        summary::tell(format_args!("the eBPF programs in {place} are detached, and nothing is left of them"));
    } else {
        summary::tell(format_args!("there is nothing to detach in {place}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the agent from its start to its end.
fn observe(
    config: &AgentConfig,
    settings: &Settings,
    mut life: Life,
    log: &log::Control,
) -> anyhow::Result<ExitCode> {
    let agent = wiring::start(config, settings, log)?;
    let mut level = config.log.level;
    tell_where(&agent, config);
    while !agent.has_failed() {
        match life.next()? {
            Turn::Tick => life.is_well(),
            Turn::Reload(config) => reload(&agent, config.as_deref(), log, &mut level),
            Turn::Stop => break,
        }
    }
    let has_failed = agent.has_failed();
    let account = agent.stop().context("the source of events failed")?;
    tracing::info!("{}", summary::account_line(&account));
    tell_what_is_not_written(&account);
    ensure!(!has_failed, "the agent has broken down, and ends");
    Ok(ExitCode::SUCCESS)
}

fn tell_where(agent: &Agent, config: &AgentConfig) {
    for address in agent.addresses() {
        tracing::info!("serving the API at {address}");
    }
    if agent.addresses().is_empty() {
        tracing::info!("serving no API: there is no `server-address`");
    }
    match config.export.as_ref().map(|export| &export.destination) {
        Some(Destination::File(file)) => tracing::info!("exporting events to {}", file.path.display()),
        Some(Destination::Stdout) => tracing::info!("exporting events to standard output"),
        None => {}
    }
    if let Some(journal) = &config.journal {
        tracing::info!("keeping a journal in {}", journal.path.display());
    }
}

/// Those that still wait are not written any more.
fn tell_what_is_not_written(account: &Account) {
    let missing = account.journal.map_or(0, |journal| journal.lost_events + journal.waiting_events);
    if missing > 0 {
        let (events, are) =
            (summary::count(missing, "event", "events"), if missing == 1 { "is" } else { "are" });
        tracing::warn!("{events} {are} missing in the journal, because it could not be written");
    }
}

/// `level` is what was last read: what a client has set since then stays, unless that changes.
fn reload(agent: &Agent, config: Option<&AgentConfig>, log: &log::Control, level: &mut log::Level) {
    if let Some(export) = agent.export() {
        export.reopen();
    }
    let Some(config) = config else { return };
    if std::mem::replace(level, config.log.level) != config.log.level {
        log.configure(config.log.level);
    }
    if let Err(error) = wiring::reconfigure(agent, config) {
        tracing::error!("{error:#}; filters stay as they were");
    }
}
