//! A soak: the agent under a storm of processes for as long as wanted, compared with the truth.
//!
//! ```text
//! performers ──▶ processes ──▶ kernel ──▶ agent ──▶ reader, slow reader, asker, export, journal
//!     ▲ numbers of acts                                  │ events
//!     └── storm                                          ▼
//!              plan(seed, act) ───────────────────▶ book: told once, and right, or counted as lost
//! ```

mod agent;
mod args;
mod book;
mod clients;
mod containers;
mod export;
mod identities;
mod journal;
mod kept;
mod live;
mod machine;
mod metrics;
mod pages;
mod place;
// What acts are: the same file as who performs them has.
#[path = "../../procession-cli/examples/actor/soak/plan.rs"]
#[allow(dead_code, reason = "who performs acts needs more of it")]
mod plan;
#[cfg(test)]
mod plan_tests;
mod plot;
mod programs;
mod report;
mod samples;
mod soak;
mod storm;
mod tell;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;

/// The run could not be made.
const NO_RUN: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse().resolved();
    match soak::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell::tell(&format!("procession-soak: {error:#}"));
            ExitCode::from(NO_RUN)
        }
    }
}
