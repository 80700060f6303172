//! The `procession` program.

#![forbid(unsafe_code)]

mod args;
mod child;
mod display;
mod render;
mod summary;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Watch(args) => watch::run(&args),
    };
    result.unwrap_or_else(|error| {
        summary::tell(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}
