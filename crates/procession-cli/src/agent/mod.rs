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
mod print;
mod reload;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::process::ExitCode;

pub(crate) use args::Typed;
use config::AgentConfig;
use layers::Layers;
use life::{Life, Turn};
use reload::Reloader;
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
    let life = Life::begin(Reloader::new(layers, &reading))?;
    start(reading.config, life, &log)
}

/// Who stops reading has seen enough.
fn print_config(text: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The one place where the configuration becomes a running agent.
fn start(config: AgentConfig, mut life: Life, log: &log::Control) -> anyhow::Result<ExitCode> {
    // WIRING: open the source, start the observation, the servers and the export from `config` here.
    drop(config);
    loop {
        match life.next()? {
            // WIRING: only while every part is well; leave the loop when one has failed.
            Turn::Tick => life.is_well(),
            Turn::Reload(config) => {
                log.configure(config.log.level);
                // WIRING: filters, rate limit and labels from `config`.
            }
            Turn::Stop => break,
        }
    }
    // WIRING: stop in the order of the flow, so that what is under way arrives.
    Ok(ExitCode::SUCCESS)
}
