//! `procession record`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, never, select};
use procession_agent::{
    HoldConfig, JournalConfig, JournalTarget, Observation, ObservationConfig, Scope, Selection,
};
use procession_filter::{Filter, Kinds};

use crate::args::RecordArgs;
use crate::child::{self, Watched};
use crate::signals::Signals;
use crate::watch::{NEVER_RUN, TICK, TIME_IS_UP, is_past, this_process};
use crate::{containers, display, source, summary};

/// How often it is told how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    refuse_what_is_there(&args.file, args.force)?;
    let signals = Signals::catch()?;
    let inventory = containers::inventory(&args.containers)?;
    let source = source::open_told(args.observe.source, args.observe.ring_size)?;
    let target = JournalTarget::File(args.file.clone());
    let journal = JournalConfig::new(target, display::node_name(&args.containers));
    let journal = journal.and_then(JournalConfig::open);
    let journal = journal.with_context(|| format!("cannot write {}", args.file.display()))?;
    let scope = if args.command.is_empty() { Scope::Everything } else { this_process() };
    let config = ObservationConfig {
        hold: HoldConfig { wait: args.containers.pod_wait, ..HoldConfig::default() },
        journal: Some(journal),
        ..ObservationConfig::new(selection(scope))
    };
    let observation = Observation::start(source, config, Box::new(inventory))?;
    if signals.is_any() {
        observation.stop();
        let _ = observation.join();
        return Ok(if args.command.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NEVER_RUN) });
    }
    let started = Instant::now();
    let watched = match Watched::start(&args.command) {
        Ok(watched) => watched,
        Err(error) => return Ok(error.tell()),
    };
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
    summary::recorded(&account, &args.file, bytes);
    Ok(match status {
        None => ExitCode::SUCCESS,
        Some(_) if is_time_up => ExitCode::from(TIME_IS_UP),
        Some(status) => child::exit_code(status),
    })
}

/// What was recorded before is not to be recorded again.
pub(crate) fn refuse_what_is_there(path: &Path, is_forced: bool) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        Ok(file) if file.is_dir() => bail!("{} is a directory: name a file in it", path.display()),
        // Permissions of a file that is there would stay.
        Ok(file) if is_forced && file.is_file() => {
            fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))
        }
        Ok(_) if is_forced => Ok(()),
        Ok(_) => bail!("{} is there already: `--force` replaces it", path.display()),
    }
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
