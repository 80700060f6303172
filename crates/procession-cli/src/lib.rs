//! All of the `procession` program but its first line, so that `fuzz/` can reach its parsers. No API for
//! others.

#![forbid(unsafe_code)]

mod agent;
mod args;
mod child;
mod client;
mod containers;
mod credentials;
mod display;
#[cfg(feature = "parquet")]
mod export;
mod fold;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod generate;
mod import;
mod journal;
mod log;
mod notice;
mod output;
mod overview;
mod progress;
mod record;
mod render;
mod replay;
mod signals;
mod source;
mod summary;
mod target;
mod watch;
mod when;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use args::{Command, WrongOption};
use output::cannot_write;

/// Does what the command line says. The result is the program's exit status.
pub fn main() -> ExitCode {
    if std::env::args_os().next_back().is_some_and(|last| last == "--") {
        // An empty variable in `watch -- $COMMAND` must not watch everything instead.
        summary::tell(format_args!("there is no command after `--`"));
        return ExitCode::from(WRONG_OPTION);
    }
    let result = match overview::parse() {
        Ok(cli) => run(&cli.command),
        Err(error) => print(&advise(error)),
    };
    result.unwrap_or_else(|error| {
        summary::tell(format_args!("{}", credentials::hidden(&format!("{error:#}"))));
        if error.is::<WrongOption>() { ExitCode::from(WRONG_OPTION) } else { ExitCode::FAILURE }
    })
}

/// The status when an option is wrong.
const WRONG_OPTION: u8 = 2;

/// Shows the help that was asked for, or what is wrong with what was typed.
fn print(error: &clap::Error) -> anyhow::Result<ExitCode> {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_OPTION));
    if error.use_stderr() {
        // Who cannot read it there has the status.
        let _ = io::stderr().write_all(notice::of_typed(error).as_bytes());
        return Ok(code);
    }
    match error.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(error)),
        _ => Ok(code),
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    // The agent has options for its log.
    let trouble = match command {
        Command::Agent(_) => log::Trouble::default(),
        _ => log::start_with_recording()?,
    };
    match command {
        Command::Watch(args) => watch::run(args),
        Command::Record(args) => record::run(args, &trouble),
        Command::Replay(args) => replay::run(args),
        Command::Import(args) => import::run(args),
        Command::Agent(typed) => agent::run(typed),
        Command::Events(args) => client::events(args),
        Command::Status(args) => client::status(args),
        Command::Processes(args) => client::processes(args),
        Command::Tree(args) => client::tree(args),
        Command::Why(args) => client::why(args),
        Command::History(args) => client::history(args),
        Command::Descendants(args) => client::descendants(args),
        #[cfg(feature = "parquet")]
        Command::Export(args) => export::run(args),
        Command::Dump(args) => client::dump(args),
        Command::Loglevel(args) => client::loglevel(args),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
    }
}

/// From which variable an option, such as `--ring-size <SIZE>`, has a value that was not typed.
fn variable_of(option: &str, value: &str) -> Option<String> {
    let name = option.split_whitespace().next()?;
    let variable = format!("PROCESSION_{}", name.strip_prefix("--")?.to_uppercase().replace('-', "_"));
    let with_value = format!("{name}=");
    // What follows `--` belongs to another program, and may be of any bytes.
    let is_typed = std::env::args_os()
        .take_while(|typed| typed != "--")
        .any(|typed| typed == name || typed.as_encoded_bytes().starts_with(with_value.as_bytes()));
    (!is_typed && std::env::var(&variable).is_ok_and(|set| set == value)).then_some(variable)
}

/// From which likeness on (Jaro-Winkler) a name is what somebody may have meant.
const LIKE: f64 = 0.85;

/// Takes out the tips of clap that lead astray: an option as a value, and names that are like nothing typed.
fn without_misleading_tips(error: &mut clap::Error) {
    if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
        let tips: Vec<_> =
            tips.into_iter().filter(|tip| !tip.to_string().contains("as a value, use")).collect();
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    for (typed, suggested) in [
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
    ] {
        let Some(ContextValue::String(typed)) = error.get(typed).cloned() else { continue };
        let typed = typed.trim_start_matches('-');
        let is_like = |name: &str| strsim::jaro_winkler(typed, name.trim_start_matches('-')) >= LIKE;
        match error.remove(suggested) {
            Some(ContextValue::String(name)) if is_like(&name) => {
                error.insert(suggested, ContextValue::String(name));
            }
            // clap shows how to use what it suggests.
            Some(ContextValue::String(_)) => {
                error.remove(ContextKind::Usage);
            }
            Some(ContextValue::Strings(names)) => {
                let names: Vec<_> = names.into_iter().filter(|name| is_like(name)).collect();
                if !names.is_empty() {
                    error.insert(suggested, ContextValue::Strings(names));
                }
            }
            _ => {}
        }
    }
}

/// Says what there is in place of an option of the reference system's agent, and where a command goes.
fn advise(mut error: clap::Error) -> clap::Error {
    without_misleading_tips(&mut error);
    if std::env::args_os().nth(1).is_some_and(|command| command == "agent")
        && let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(advice) = agent::in_reference(typed.trim_start_matches('-'))
    {
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.to_owned().into()]));
    }
    if let (Some(ContextValue::String(option)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
        && let Some(variable) = variable_of(option, value)
    {
        let advice = format!("nobody has typed that: it is the value of ${variable}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    let takes_command = |command| command == "record" || command == "watch";
    if std::env::args_os().nth(1).is_some_and(takes_command)
        && let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && !typed.starts_with('-')
    {
        let advice = "put the command after `--`".to_owned();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tips_that_lead_astray_are_left_out_and_others_stay() {
        for (typed, tip) in [
            (&["history", "7", "--at", "-5m"][..], None),
            (&["tree", "7", "--ever"], None),
            (&["watch", "-v"], None),
            (&["tree", "--pid", "1"], None),
            (&["stop"], None),
            (&["histroy"], Some("'history'")),
            (&["watch", "--tre"], Some("'--tree'")),
        ] {
            let line = std::iter::once(&"procession").chain(typed);
            let mut error = <args::Cli as clap::Parser>::try_parse_from(line).unwrap_err();
            without_misleading_tips(&mut error);
            let said = error.to_string();
            match tip {
                Some(tip) => assert!(said.contains("tip:") && said.contains(tip), "{said}"),
                None => assert!(!said.contains("tip:") && !said.contains("--wide"), "{said}"),
            }
        }
    }
}
