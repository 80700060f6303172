//! `procession watch`.

use std::io::{self, ErrorKind, Write as _};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, never, select};
use procession::{Fact, LineageDetail, Pid, Uid};
use procession_agent::{Observation, Scope, Selection};
use procession_api::users::Users;
use procession_filter::{Filter, Kinds};
use procession_sensor::{Chosen, EbpfConfig, Source, open, open_best};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{SelectArgs, WatchArgs};
use crate::child::{self, Watched};
use crate::display::{self, Display};
use crate::summary;

/// Facts that may wait for a slow terminal or pipe.
const QUEUE: usize = 1 << 16;

/// Facts that are written at once at the most.
const BATCH: usize = 1_024;

/// How soon a signal or the end of `--duration` is noticed.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let users = display::users();
    let filter = filter(&args.select, users.users())?;
    let signals = Signals::catch()?;
    let source = choose(args)?;

    let scope = if args.command.is_empty() {
        Scope::Everything
    } else {
        Scope::DescendantsOf(Pid(std::process::id()))
    };
    let lineage = if args.show.ancestors { LineageDetail::Full } else { LineageDetail::Parent };
    let observation = Observation::start(source, Selection { scope, filter, lineage }, QUEUE)?;
    let mut output =
        Output::new(Display::new(&args.show, args.select.fork, users, observation.host_namespaces()));

    let started = Instant::now();
    let watched = Watched::start(&args.command)?;
    let limit = args.duration.map(|duration| started + duration);
    let status = present(&observation, watched.as_ref(), limit, &signals, &mut output)?;
    let elapsed = started.elapsed();
    observation.stop();
    output.write_rest(observation.facts())?;
    let account = observation.join().context("the source of events failed")?;

    let Some(status) = status else {
        summary::account(&account);
        return Ok(ExitCode::SUCCESS);
    };
    summary::command(&account.tally, elapsed);
    if summary::is_incomplete(&account) {
        summary::account(&account);
    }
    Ok(child::exit_code(status))
}

/// Shows facts until it is time to stop: the command has ended, the time is up, a signal came, or
/// nobody reads the output any more. Returns the status of the command, if it has ended.
fn present(
    observation: &Observation,
    watched: Option<&Watched>,
    limit: Option<Instant>,
    signals: &Signals,
    output: &mut Output,
) -> anyhow::Result<Option<ExitStatus>> {
    let nothing = never();
    let ended = watched.map_or(&nothing, Watched::ended);
    let mut is_terminated = false;
    loop {
        select! {
            recv(observation.facts()) -> fact => match fact {
                Ok(fact) => output.write_batch(&fact, observation.facts())?,
                // The pipeline stopped by itself; joining it tells why.
                Err(_) => return Ok(None),
            },
            recv(ended) -> status => return Ok(status.ok()),
            default(TICK) => {}
        }
        if limit.is_some_and(|limit| Instant::now() >= limit) || output.is_unread {
            return Ok(None);
        }
        match (signals.asked(), watched) {
            (Some(_), None) => return Ok(None),
            (Some(Asked::Terminate), Some(watched)) if !is_terminated => {
                is_terminated = true;
                watched.terminate();
            }
            // The terminal sends Ctrl-C to the command as well, and the command has the last word.
            _ => {}
        }
    }
}

fn choose(args: &WatchArgs) -> anyhow::Result<Box<dyn Source>> {
    let config = EbpfConfig { ring_bytes: args.ring_size };
    if let Some(kind) = args.source.only() {
        let source = open(kind, config).with_context(|| format!("cannot watch with {kind}"))?;
        summary::source(kind, &[]);
        return Ok(source);
    }
    let Chosen { source, passed_over } = open_best(config)?;
    summary::source(source.kind(), &passed_over);
    Ok(source)
}

fn filter(select: &SelectArgs, users: &Users) -> anyhow::Result<Filter> {
    let neither = !select.exec && !select.exit;
    let kinds = Kinds {
        running: select.running,
        fork: select.fork,
        exec: select.exec || neither,
        exit: select.exit || neither,
    };
    let mut filter = select.pid.iter().fold(Filter::new(kinds), |filter, pid| filter.pid(Pid(*pid)));
    for user in &select.user {
        filter = filter.user(uid(user, users)?);
    }
    for pattern in &select.binary {
        filter = filter.binary(pattern)?;
    }
    Ok(filter)
}

fn uid(user: &str, users: &Users) -> anyhow::Result<Uid> {
    if let Ok(number) = user.parse() {
        return Ok(Uid(number));
    }
    users.uid(user).with_context(|| format!("there is no user `{user}` in /etc/passwd; a number works too"))
}

/// The signals that ask to stop.
struct Signals {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

enum Asked {
    Interrupt,
    Terminate,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        let signals = Self { interrupt: Arc::default(), terminate: Arc::default() };
        flag::register(SIGINT, Arc::clone(&signals.interrupt)).context("cannot catch SIGINT")?;
        flag::register(SIGTERM, Arc::clone(&signals.terminate)).context("cannot catch SIGTERM")?;
        Ok(signals)
    }

    fn asked(&self) -> Option<Asked> {
        if self.terminate.load(Ordering::Relaxed) {
            Some(Asked::Terminate)
        } else {
            self.interrupt.load(Ordering::Relaxed).then_some(Asked::Interrupt)
        }
    }
}

/// Standard output: written in batches, and no longer when nobody reads it.
struct Output {
    display: Display,
    lines: Vec<u8>,
    is_unread: bool,
}

impl Output {
    fn new(display: Display) -> Self {
        Self { display, lines: Vec::new(), is_unread: false }
    }

    /// Writes `first`, and with it what else is ready by now.
    fn write_batch(&mut self, first: &Fact, more: &Receiver<Fact>) -> anyhow::Result<()> {
        self.display.refresh();
        self.display.render(first, &mut self.lines);
        for fact in more.try_iter().take(BATCH) {
            self.display.render(&fact, &mut self.lines);
        }
        self.flush()
    }

    fn write_rest(&mut self, facts: &Receiver<Fact>) -> anyhow::Result<()> {
        while let Ok(fact) = facts.recv() {
            self.write_batch(&fact, facts)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&self.lines).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            // `procession watch | head` is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_unread = true,
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
        self.lines.clear();
        Ok(())
    }
}
