//! `procession watch`.

use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{never, select};
use procession::Pid;
use procession_agent::{HoldConfig, Observation, ObservationConfig, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_sensor::own_pid_namespace;

use crate::args::{SelectArgs, WatchArgs, WrongOption};
use crate::child::{self, Watched};
use crate::containers;
use crate::display::{self, Accounts, Display, Looks};
use crate::output::Output;
use crate::signals::{INTERRUPTED, Signals};
use crate::source;
use crate::summary;

/// How soon a signal or the end of `--duration` is noticed.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// What `timeout(1)` exits with when the time is up.
pub(crate) const TIME_IS_UP: u8 = 124;

pub(crate) fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let users = display::users();
    let filter = filter(&args.select, &Accounts::here(users.users().clone())).map_err(WrongOption)?;
    let signals = Signals::catch()?;
    // Before the source: pods are listed meanwhile.
    let inventory = containers::inventory(&args.containers)?;
    let source = source::open_told(args.observe.source, args.observe.ring_size)?;
    if let Some(unseen) = source.unseen_changes().filter(|_| args.select.change) {
        summary::tell(format_args!("{unseen}"));
    }

    let scope = if args.command.is_empty() { Scope::Everything } else { this_process() };
    let lineage = args.show.detail().lineage();
    let config = ObservationConfig {
        hold: HoldConfig { wait: args.containers.pod_wait, ..HoldConfig::default() },
        ..ObservationConfig::new(Selection { scope, filter, lineage })
    };
    let mut observation = Observation::start(source, config, Box::new(inventory))?;
    if args.command.is_empty() {
        summary::begun("watching", args.select.is_selective());
    }
    let looks =
        Looks { select: &args.select, show: &args.show, node_name: display::node_name(&args.containers) };
    let display = Display::live(looks, users, observation.host_namespaces());
    let mut output = Output::new(display);
    // Later than any clock can tell is never.
    let limit_from = |start: Instant| args.observe.duration.and_then(|duration| start.checked_add(duration));
    // A command's time begins with the command; any other watch's with the first line it shows.
    let limit = if args.command.is_empty() { limit_from(Instant::now()) } else { None };
    let is_wanted = |_| !signals.is_any() && !is_past(limit);
    let mut found = observation.take_found().into_iter();
    while let Some(first) = found.next()
        && !output.is_unread()
    {
        output.write(&first, found.by_ref(), &is_wanted)?;
    }
    if signals.is_any() {
        // A command that was never run has not succeeded.
        return Ok(if args.command.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) });
    }

    let started = Instant::now();
    let watched = match Watched::start(&args.command) {
        Ok(watched) => watched,
        Err(error) => return Ok(error.tell()),
    };
    let mut session = Session {
        observation: &observation,
        watched: watched.as_ref(),
        limit: limit.or_else(|| limit_from(started)),
        signals: &signals,
        is_terminated: false,
        is_time_up: false,
    };
    let status = session.present(&mut output)?;
    let is_time_up = session.is_time_up;
    let elapsed = started.elapsed();
    observation.stop();
    output.write_rest(observation.told(), &|| !signals.is_any())?;
    let account = observation.join().context("the source of events failed")?;

    let Some(status) = status else {
        summary::account(&account);
        return Ok(ExitCode::SUCCESS);
    };
    summary::command(&account.tally, elapsed);
    if summary::is_incomplete(&account) {
        summary::account(&account);
    }
    Ok(if is_time_up { ExitCode::from(TIME_IS_UP) } else { child::exit_code(status) })
}

/// The time in which facts are shown.
struct Session<'s> {
    observation: &'s Observation,
    watched: Option<&'s Watched>,
    limit: Option<Instant>,
    signals: &'s Signals,
    /// The command was asked to end.
    is_terminated: bool,
    is_time_up: bool,
}

impl Session<'_> {
    /// Shows facts until it is time to stop. A command has the last word: whatever happens, its end
    /// is waited for, and its status returned.
    fn present(&mut self, output: &mut Output) -> anyhow::Result<Option<ExitStatus>> {
        let nothing = never();
        let ended = self.watched.map_or(&nothing, Watched::ended);
        let told = self.observation.told();
        let mut failed = Ok(());
        loop {
            select! {
                recv(told) -> first => match first {
                    Ok(first) if failed.is_ok() && !output.is_unread() => {
                        failed = output.write(&first, told.try_iter(), &|_| self.goes_on());
                    }
                    Ok(_) => {}
                    // The pipeline stopped by itself; joining it tells why.
                    Err(_) => return Ok(None),
                },
                recv(ended) -> status => return failed.map(|()| status.ok()),
                default(TICK) => {}
            }
            let Some(watched) = self.watched else {
                if self.is_over() || output.is_unread() || failed.is_err() {
                    return failed.map(|()| None);
                }
                continue;
            };
            self.is_time_up |= self.is_past_limit();
            if !self.is_terminated && (self.is_time_up || self.signals.is_terminated()) {
                self.is_terminated = true;
                watched.terminate();
            }
        }
    }

    /// Whether it is worth waiting for a slow reader of the output.
    fn goes_on(&self) -> bool {
        if self.watched.is_some() { !self.signals.is_any() } else { !self.is_over() }
    }

    fn is_over(&self) -> bool {
        self.signals.is_any() || self.is_past_limit()
    }

    fn is_past_limit(&self) -> bool {
        is_past(self.limit)
    }
}

pub(crate) fn is_past(limit: Option<Instant>) -> bool {
    limit.is_some_and(|limit| Instant::now() >= limit)
}

/// What this process starts. In a pid namespace the kernel knows it by another number.
pub(crate) fn this_process() -> Scope {
    Scope::DescendantsOf { pid: Pid(std::process::id()), pid_namespace: own_pid_namespace() }
}

pub(crate) fn filter(select: &SelectArgs, accounts: &Accounts) -> anyhow::Result<Filter> {
    let neither = !select.exec && !select.exit;
    let kinds = Kinds {
        running: select.running,
        fork: select.fork,
        exec: select.exec || neither,
        exit: select.exit || neither,
        change: select.change,
    };
    let mut filter = select.which.pid.iter().fold(Filter::new(kinds), |filter, pid| filter.pid(Pid(*pid)));
    for user in &select.which.user {
        filter = filter.user(accounts.uid(user)?);
    }
    for pattern in &select.which.binary {
        filter = filter.binary(pattern)?;
    }
    for pattern in &select.which.pod {
        filter = filter.pod(pattern)?;
    }
    for pattern in &select.which.container {
        filter = filter.container(pattern)?;
    }
    for namespace in &select.which.namespace {
        filter = filter.namespace(namespace);
    }
    Ok(if select.which.host { filter.host_only() } else { filter })
}
