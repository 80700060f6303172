//! The `procession` program.

#![forbid(unsafe_code)]

mod args;
mod child;
mod client;
mod containers;
mod display;
mod log;
mod output;
mod render;
mod signals;
mod summary;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    if std::env::args_os().next_back().is_some_and(|last| last == "--") {
        // An empty variable in `watch -- $COMMAND` must not watch everything instead.
        summary::tell(format_args!("there is no command after `--`"));
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    let result = log::start().and_then(|()| match cli.command {
        Command::Watch(args) => watch::run(&args),
        Command::Events(args) => client::events(&args),
        Command::Status(args) => client::status(&args),
        Command::Processes(args) => client::processes(&args),
        Command::Tree(args) => client::tree(&args),
        Command::Why(args) => client::why(&args),
        Command::Dump(args) => client::dump(&args),
        Command::Loglevel(args) => client::loglevel(&args),
    });
    result.unwrap_or_else(|error| {
        summary::tell(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}
