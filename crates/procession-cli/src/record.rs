//! `procession record`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, never, select};
use procession_agent::{
    HoldConfig, JournalConfig, JournalTarget, Observation, ObservationConfig, Scope, Selection,
};
use procession_filter::{Filter, Kinds};

use crate::args::RecordArgs;
use crate::child::{self, Watched};
use crate::log::Trouble;
use crate::signals::{INTERRUPTED, Signals};
use crate::target::{Place, refuse_what_is_there};
use crate::watch::{TICK, TIME_IS_UP, is_past, this_process};
use crate::{containers, display, source, summary};

/// How often it is told how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

/// How long a command may take to end that nobody can record.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &RecordArgs, trouble: &Trouble) -> anyhow::Result<ExitCode> {
    refuse_what_is_there(&args.file, args.force)?;
    let signals = Signals::catch()?;
    // Before the source: who mistyped a path need not wait for the kernel.
    let cannot = || format!("cannot write {}", args.file.display());
    let mut place = Place::beside(&args.file)?;
    let inventory = containers::inventory(&args.containers)?;
    let source = source::open_told(args.observe.source, args.observe.ring_size)?;
    if let Some(unseen) = source.unseen_changes() {
        summary::tell(format_args!("{unseen}"));
    }
    let target = JournalTarget::File(place.current().to_owned());
    let journal = JournalConfig::new(target, display::node_name(&args.containers));
    let journal = journal.and_then(JournalConfig::open).with_context(cannot)?;
    let scope = if args.command.is_empty() { Scope::Everything } else { this_process() };
    let config = ObservationConfig {
        hold: HoldConfig { wait: args.containers.pod_wait, ..HoldConfig::default() },
        journal: Some(journal),
        ..ObservationConfig::new(selection(scope))
    };
    let observation = Observation::start(source, config, Box::new(inventory))?;
    let is_early = signals.is_any();
    if is_early && !args.command.is_empty() {
        observation.stop();
        let _ = observation.join();
        summary::tell(format_args!("the command was not run, and nothing is recorded"));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    // It took a while to get here: what can be seen to be in the way keeps the command from being run.
    refuse_what_is_there(&args.file, args.force)?;
    let started = Instant::now();
    let watched = match Watched::start(&args.command) {
        Ok(watched) => watched,
        Err(error) => return Ok(error.tell()),
    };
    // From here on it is a recording, however it ends. Not before: a command that cannot be run replaces nothing.
    settle(&mut place, args, watched.as_ref())?;
    if args.command.is_empty() {
        // Who forgot the file has named the command for it.
        summary::tell(format_args!("recording everything into {}; Ctrl-C ends it", args.file.display()));
    }
    let limit = args.observe.duration.and_then(|duration| started.checked_add(duration));
    let mut session =
        Session { observation: &observation, watched: watched.as_ref(), limit, signals: &signals };
    let Ended { status, is_time_up } = session.wait(&mut Progress::new(&args.file, started));
    let elapsed = started.elapsed();
    observation.stop();
    let account = observation.join().context("the source of events failed")?;
    if status.is_some() {
        summary::command(&account.tally, elapsed);
    }
    if summary::is_incomplete(&account) {
        summary::account(&account);
    }
    let bytes = fs::metadata(&args.file).map_or(0, |file| file.len());
    let is_whole = summary::recorded(&account, &args.file, bytes, trouble.why().as_deref());
    Ok(match status {
        _ if !is_whole => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
        Some(_) if is_time_up => ExitCode::from(TIME_IS_UP),
        Some(status) => child::exit_code(status),
    })
}

/// Gives the recording its name, or ends the command: nothing would be left of what it does.
fn settle(place: &mut Place, args: &RecordArgs, watched: Option<&Watched>) -> anyhow::Result<()> {
    let Err(error) = place.settle(args.force) else { return Ok(()) };
    let became = watched.map_or("", |watched| {
        watched.terminate();
        let ended = watched.ended().recv_timeout(LAST_MOMENTS);
        if ended.is_ok() { ", so the command was ended" } else { ", and the command does not end" }
    });
    Err(error).with_context(|| format!("cannot write {}{became}", args.file.display()))
}

/// All is written, and nothing told.
fn selection(scope: Scope) -> Selection {
    let kinds = Kinds { running: false, fork: false, exec: false, exit: false, change: false };
    Selection { scope, filter: Filter::new(kinds), lineage: procession::LineageDetail::Parent }
}

/// The time in which something is recorded.
struct Session<'s> {
    observation: &'s Observation,
    watched: Option<&'s Watched>,
    limit: Option<Instant>,
    signals: &'s Signals,
}

/// How it came to its end.
struct Ended {
    /// That of the command, if there was one.
    status: Option<ExitStatus>,
    is_time_up: bool,
}

impl Session<'_> {
    /// Waits until it is time to stop: a command has the last word.
    fn wait(&mut self, progress: &mut Progress<'_>) -> Ended {
        let nothing: Receiver<ExitStatus> = never();
        let ended = self.watched.map_or(&nothing, Watched::ended);
        let (mut is_time_up, mut is_terminated) = (false, false);
        let status = loop {
            select! {
                recv(ended) -> status => break status.ok(),
                default(TICK) => {}
            }
            progress.tell(self.observation);
            if self.observation.pulse().is_over() {
                // Joining it tells why.
                break None;
            }
            is_time_up |= is_past(self.limit);
            match self.watched {
                None if self.signals.is_any() || is_time_up => break None,
                Some(watched) if !is_terminated && (is_time_up || self.signals.is_terminated()) => {
                    is_terminated = true;
                    watched.terminate();
                }
                _ => {}
            }
        };
        progress.end();
        Ended { status, is_time_up }
    }
}

/// A line on a terminal that says how far it is.
struct Progress<'p> {
    path: &'p Path,
    started: Instant,
    told: Instant,
    is_wanted: bool,
}

impl<'p> Progress<'p> {
    fn new(path: &'p Path, started: Instant) -> Self {
        Self { path, started, told: started, is_wanted: io::stderr().is_terminal() }
    }

    fn tell(&mut self, observation: &Observation) {
        if !self.is_wanted || self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let bytes = fs::metadata(self.path).map_or(0, |file| file.len());
        let events = observation.pulse().received();
        let seconds = self.started.elapsed().as_secs();
        let line = format!(
            "{} events, {} bytes, {seconds} s",
            summary::thousands(events),
            summary::thousands(bytes)
        );
        // Who cannot read it misses nothing.
        let _ = write!(io::stderr(), "\r\x1b[Krecording: {line}");
    }

    fn end(&self) {
        if self.is_wanted {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: RecordArgs,
    }

    #[test]
    fn a_command_that_nobody_can_record_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.journal");
        let mut place = Place::beside(&file).unwrap();
        // Somebody else takes the name meanwhile.
        fs::write(&file, "another's").unwrap();
        let words = ["record".as_ref(), file.as_os_str(), "--".as_ref(), "sleep".as_ref(), "1000".as_ref()];
        let args = Cli::parse_from(words).args;
        let watched = Watched::start(&args.command).ok().flatten();
        let error = settle(&mut place, &args, watched.as_ref()).unwrap_err();
        let expected = format!("cannot write {}, so the command was ended", file.display());
        assert_eq!(error.to_string(), expected);
        drop(place);
        assert_eq!(fs::read(&file).unwrap(), b"another's");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
    }
}
