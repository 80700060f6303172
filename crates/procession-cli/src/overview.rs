//! The help of the program itself: its commands, by what they are good for.

use clap::{Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Cli;

/// The commands, in groups for people.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Look at this machine", &["watch", "record"]),
    ("Look at a recording, or make one of other data", &["replay", "import"]),
    ("Observe all the time, and serve what happens to others", &["agent"]),
    (
        "Ask an agent, or its journal or a recording about the past",
        &["events", "status", "processes", "tree", "why", "history", "descendants", "export"],
    ),
    ("For administrators", &["dump", "loglevel", "completions", "man", "help"]),
];

const FIRST_STEPS: &str = "\
First steps:
  procession watch --tree -- make   what a command really runs
  procession watch                  everything, until Ctrl-C
  procession watch --help           the rest of it, with examples

Exit status:
  0    done              2    an option is wrong
  1    failed            130  ended by Ctrl-C before it was done
  `watch` and `record` end with the status of the command that they run";

/// What was typed.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches()?)
}

/// The command line, with its commands in groups.
fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    let list = list(&command);
    Cli::command()
        .help_template(format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}\nOptions:\n{{options}}{{after-help}}\n"))
        .after_help(FIRST_STEPS)
}

fn list(command: &Command) -> String {
    let line = |name: &&str| {
        let about = command.find_subcommand(name)?.get_about().map(ToString::to_string);
        Some(format!("  {name:<12} {}\n", about.unwrap_or_default()))
    };
    let group = |(heading, names): &(&str, &[&str])| {
        format!("{heading}:\n{}\n", names.iter().filter_map(line).collect::<String>())
    };
    let list: String = GROUPS.iter().map(group).collect();
    list.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_one_group() {
        let mut command = Cli::command();
        command.build();
        let mut there: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let is_built = |name: &&str| cfg!(feature = "parquet") || *name != "export";
        let mut listed: Vec<_> =
            GROUPS.iter().flat_map(|(_, names)| *names).copied().filter(is_built).collect();
        there.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, there);
    }

    #[test]
    fn each_command_has_a_line_of_its_own() {
        let help = command().render_help().to_string();
        for name in ["watch", "record", "why", "history", "help"] {
            let line = help.lines().find(|line| line.starts_with(&format!("  {name} "))).unwrap();
            assert!((name.len() + 20..=80).contains(&line.len()), "{line}");
        }
        assert!(help.contains("Usage: ") && help.contains("--version") && help.contains("First steps:"));
    }
}
