//! What is made of the definition of the command line: completions for shells, and manual pages.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::output::write_whole;

const NAME: &str = "procession";

/// Writes the completions of a shell to standard output.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    write_whole(&script(args.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    script
}

/// Writes the manual pages into a directory, or the first of them to standard output.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let pages = pages()?;
    let Some(directory) = &args.directory else {
        return write_whole(pages.first().map_or(&[], |(_, page)| page));
    };
    if let Err(error) = fs::create_dir_all(directory) {
        let place = directory.display();
        return Err(match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                anyhow!("{place} is no directory: name one that is, or that can be made")
            }
            _ => anyhow!("cannot make the directory {place}: {error}"),
        });
    }
    for (name, page) in &pages {
        write_file(&directory.join(name), page)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The pages with their file names: that of the program first, then one for each command.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut commands = vec![program];
    let mut pages = Vec::new();
    while let Some(command) = commands.pop() {
        let below: Vec<_> = command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
        commands.extend(below.into_iter().rev());
        pages.push(page(command)?);
    }
    Ok(pages)
}

fn page(mut command: Command) -> io::Result<(String, Vec<u8>)> {
    let usage = command.render_usage().to_string();
    let more = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let man = Man::new(command.version(env!("CARGO_PKG_VERSION"))).manual("Procession Manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis(&usage).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    sections(&more).to_writer(&mut page)?;
    if !more.contains(STATUS) {
        sections(USUAL_STATUS).to_writer(&mut page)?;
    }
    man.render_version_section(&mut page)?;
    Ok((man.get_filename(), page))
}

const STATUS: &str = "Exit status:\n";

const USUAL_STATUS: &str = "\
Exit status:
  0    done
  1    failed
  2    an option is wrong
  130  ended by Ctrl-C before it was done";

/// The usage alone: the options follow anyway.
fn synopsis(usage: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]).text([bold(usage.trim_start_matches("Usage:").trim())]);
    page
}

/// What stands below the options in the help: each table under its title becomes a section.
fn sections(text: &str) -> Roff {
    let mut page = Roff::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let Some((title, table)) = paragraph.split_once(":\n  ") else {
            page.control("PP", []).text([roman(paragraph)]);
            continue;
        };
        let (title, rest) = title.split_once("; ").unwrap_or((title, ""));
        page.control("SH", [title.to_uppercase().as_str()]);
        if !rest.is_empty() {
            page.text([roman(format!("{rest}:"))]);
        }
        page.control("nf", []).text([roman(format!("  {table}"))]).control("fi", []);
    }
    page
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_completes_the_options_of_the_agent() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            assert!(script.contains("export-filename"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "procession.1");
        for command in Cli::command().get_subcommands() {
            let name = format!("procession-{}.1", command.get_name());
            assert!(names.contains(&name.as_str()), "{name} {names:?}");
        }
        for (name, page) in &pages {
            let page = String::from_utf8_lossy(page);
            for section in ["NAME", "SYNOPSIS", "EXIT STATUS"] {
                let heading = |line: &str| line.replace('"', "") == format!(".SH {section}");
                assert_eq!(
                    page.lines().filter(|line| heading(line)).count(),
                    1,
                    "{section} of {name}: {page}"
                );
            }
        }
        let agent = &pages.iter().find(|(name, _)| name == "procession-agent.1").unwrap().1;
        let agent = String::from_utf8_lossy(agent);
        assert!(
            agent.contains("export\\-filename") && agent.contains("/etc/procession/agent.conf.d"),
            "{agent}"
        );
    }
}
