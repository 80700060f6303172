//! `procession agent`.
//!
//! Options come from many places (`layers`), each of which is checked as if it were typed
//! (`catalogue`), and are told apart by their origins (`settings`). What they come to is an
//! [`AgentConfig`].

mod args;
mod catalogue;
mod config;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod layers;
mod life;
mod memory;
mod pins;
mod print;
mod privileges;
mod reload;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;
mod wiring;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use procession_agent::{Account, Agent, holder_of_lock};
use procession_sensor::{EbpfError, SourceError};

pub(crate) use args::Typed;
use config::{AgentConfig, Destination, JournalConfig};
use layers::Layers;
use life::{Life, Turn};
use privileges::Privileges;
use reload::Reloader;
use settings::{Setting, Settings};
pub(crate) use strangers::in_reference;

use crate::WRONG_OPTION;
use crate::credentials::hidden;
use crate::log;
use crate::output::write_whole;
use crate::render::duration;
use crate::summary;

/// Runs the agent until it is asked to stop.
pub(crate) fn run(typed: &Typed) -> anyhow::Result<ExitCode> {
    let layers = Layers::new(typed.clone());
    let reading = match layers.read() {
        Ok(reading) => reading,
        Err(problems) => {
            for problem in &problems.0 {
                summary::tell(format_args!("error: {}", crate::render::Sentence(problem)));
            }
            return Ok(ExitCode::from(WRONG_OPTION));
        }
    };
    let log = log::start(reading.config.log.level, reading.config.log.format)?;
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    if typed.places.print_config {
        return write_whole(print::print(&reading).as_bytes());
    }
    if typed.places.detach_all {
        return detach_all(Path::new(&reading.pin_dir));
    }
    let settings = reading.settings.clone();
    let life = Life::begin(Reloader::new(layers, &reading));
    let ended = life.and_then(|life| observe(&reading.config, &settings, life, &log));
    Ok(ended.unwrap_or_else(|error| failed(&error)))
}

/// Says why the agent ends in the log, in its form: that is where somebody looks, or a collector.
fn failed(error: &anyhow::Error) -> ExitCode {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error:#}");
    } else {
        // Whoever wants no log wants to know that there is no agent.
        summary::tell(format_args!("error: {}", hidden(&format!("{error:#}"))));
    }
    ExitCode::FAILURE
}

/// Removes what an earlier agent left in the kernel. That there is nothing is no failure.
fn detach_all(pin_dir: &Path) -> anyhow::Result<ExitCode> {
    let place = pin_dir.display();
    let pins = names_in(pin_dir);
    let was_there = procession_sensor::detach_all(pin_dir).map_err(|error| not_detached(error, pin_dir))?;
    if was_there {
        summary::tell(format_args!("removed from {place}: {}", pins.join(", ")));
        summary::tell(format_args!(
            "the eBPF programs in {place} are detached, and nothing is left of them; what happened since their \
             agent stopped is not known to the next one"
        ));
    } else {
        summary::tell(format_args!("there is nothing to detach in {place}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn not_detached(error: SourceError, pin_dir: &Path) -> anyhow::Error {
    let place = pin_dir.display();
    if matches!(error, SourceError::Ebpf(EbpfError::InUse { .. })) {
        let holder = holder_of_lock(pin_dir);
        return anyhow!("{place} is in use{holder}: stop that agent first; nothing was removed");
    }
    anyhow::Error::from(error).context(format!("cannot remove what is in {place}"))
}

/// What is in a directory; nothing if it cannot be read.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().display().to_string()).collect();
    names.sort_unstable();
    names
}

/// Runs the agent from its start to its end.
fn observe(
    config: &AgentConfig,
    settings: &Settings,
    mut life: Life,
    log: &log::Control,
) -> anyhow::Result<ExitCode> {
    let privileges = Privileges::begin(config)?;
    let started = wiring::start(config, settings, log, privileges);
    let (agent, mut pins) = started.map_err(|error| privileges.explain(error))?;
    let mut level = config.log.level;
    tell_where(&agent, config);
    while !agent.has_failed() {
        match life.next()? {
            Turn::Tick => {
                // Whoever hangs is not well: then the service manager starts another.
                if !agent.node().pulse().is_hanging() {
                    life.is_well();
                }
                pins.look();
            }
            Turn::Reload(config) => reload(&agent, config.as_deref(), log, &mut level),
            Turn::Stop => break,
        }
    }
    let has_failed = agent.has_failed();
    let account = agent.stop().context("the source of events failed")?;
    tracing::info!("{}", summary::account_line(&account));
    tell_what_is_not_written(&account);
    pins.tell_what_stays(settings.get("pin-dir").is_some_and(Setting::is_given));
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
        tracing::info!("{}", kept(journal));
    }
}

/// Where the journal is and how much of it stays: who meant days and has seconds sees it here.
fn kept(journal: &JournalConfig) -> String {
    let path = std::path::absolute(&journal.path).unwrap_or_else(|_| journal.path.clone());
    let age = journal.max_age.map_or(String::new(), |age| format!(" and {}", span(age)));
    format!("keeping a journal in {}: at most {}{age}", path.display(), size(journal.max_bytes))
}

fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes.is_multiple_of(GIB) { format!("{} GiB", bytes / GIB) } else { format!("{} MiB", bytes >> 20) }
}

fn span(age: Duration) -> String {
    const DAY: u64 = 86_400;
    match age.as_secs() {
        seconds if seconds >= DAY && seconds.is_multiple_of(DAY) => {
            summary::count(seconds / DAY, "day", "days")
        }
        _ => duration(age).to_string(),
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
