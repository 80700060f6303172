//! `procession record`.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, never, select};
use procession_agent::{
    HoldConfig, JournalConfig, JournalTarget, Observation, ObservationConfig, Scope, Selection,
    holder_of_lock,
};
use procession_filter::{Filter, Kinds};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::args::RecordArgs;
use crate::child::{self, Watched};
use crate::log::Trouble;
use crate::signals::Signals;
use crate::watch::{NEVER_RUN, TICK, TIME_IS_UP, is_past, this_process};
use crate::{containers, display, source, summary};

/// How often it is told how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &RecordArgs, trouble: &Trouble) -> anyhow::Result<ExitCode> {
    refuse_what_is_there(&args.file, args.force)?;
    let signals = Signals::catch()?;
    let inventory = containers::inventory(&args.containers)?;
    let source = source::open_told(args.observe.source, args.observe.ring_size)?;
    if let Some(unseen) = source.unseen_changes() {
        summary::tell(format_args!("{unseen}"));
    }
    let cannot = || format!("cannot write {}", args.file.display());
    let mut place = Place::beside(&args.file).map_err(|error| without_path(&error)).with_context(cannot)?;
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
        return Ok(ExitCode::from(NEVER_RUN));
    }
    let started = Instant::now();
    let watched = match Watched::start(&args.command) {
        Ok(watched) => watched,
        Err(error) => return Ok(error.tell()),
    };
    // From here on it is a recording, however it ends.
    place.settle(args.force).with_context(cannot)?;
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

/// The error alone: it names a file that nobody has asked for.
fn without_path(error: &io::Error) -> io::Error {
    error.kind().into()
}

/// What was recorded before is not to be recorded again, and only a file can be replaced.
pub(crate) fn refuse_what_is_there(path: &Path, is_forced: bool) -> anyhow::Result<()> {
    match fs::metadata(path) {
        // Also a link to nothing: it would be replaced.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            Ok(())
        }
        Ok(file) if file.is_dir() => bail!("{} is a directory: name a file in it", path.display()),
        Ok(file) if !file.is_file() => {
            bail!("{} is no regular file: a recording cannot be written there", path.display())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ if is_forced => refuse_what_is_written(path),
        _ => bail!("{} is there already: `--force` replaces it", path.display()),
    }
}

/// Refuses to replace what is being recorded: whoever does that would go on, and nobody could read it.
fn refuse_what_is_written(path: &Path) -> anyhow::Result<()> {
    let Ok(file) = fs::File::open(path) else { return Ok(()) };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => {
            let holder = holder_of_lock(path);
            bail!("another program writes {}{holder}: stop it, or name another file", path.display())
        }
        _ => Ok(()),
    }
}

/// Refuses to replace what is to be read.
pub(crate) fn refuse_same_file(input: &Path, target: &Path) -> anyhow::Result<()> {
    if let (Ok(input), Ok(target_file)) = (fs::metadata(input), fs::metadata(target))
        && (input.dev(), input.ino()) == (target_file.dev(), target_file.ino())
    {
        bail!("{} is the file that is to be read: name another one to be made", target.display());
    }
    Ok(())
}

/// A file that has a name of its own until it is a recording. Before that nothing is replaced, and nothing is
/// left behind.
struct Place {
    path: PathBuf,
    /// `None`: it has its name.
    temporary: Option<TempPath>,
}

impl Place {
    fn beside(path: &Path) -> io::Result<Self> {
        // What a link leads to is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = format!(".{}.", path.file_name().unwrap_or_default().display());
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix(&name).tempfile_in(directory.unwrap_or(Path::new(".")))?;
        Ok(Self { temporary: Some(file.into_temp_path()), path })
    }

    /// Where it is now.
    fn current(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.path)
    }

    /// Gives it its name, which somebody else may have taken meanwhile.
    fn settle(&mut self, is_forced: bool) -> io::Result<()> {
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let named =
            if is_forced { temporary.persist(&self.path) } else { temporary.persist_noclobber(&self.path) };
        Ok(named?)
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
