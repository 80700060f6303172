//! Commands that ask an agent.
//!
//! Each is a question (`connect` knows the way), and a function from the answer to lines, which the tests
//! give answers of their own.

pub(crate) mod args;
mod connect;
mod depth;
mod descendants;
mod dump;
mod events;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod history;
pub(crate) mod input;
mod json;
mod loglevel;
mod processes;
mod recorded;
mod screen;
mod status;
mod tree;
mod why;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use procession_api::proto::procession::v1::{Target, target};
use tonic::{Response, Status};

use args::{
    DescendantsArgs, DumpArgs, EventsArgs, HistoryArgs, JournalArgs, LoglevelArgs, Name, PastArgs,
    ProcessesArgs, ServerArgs, StatusArgs, TreeArgs, WhyArgs,
};
use connect::{Agent, refusal};
use screen::Screen;

use crate::journal;
use crate::signals::{INTERRUPTED, Signals};

/// How soon a signal is noticed.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn events(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    match &args.input {
        Some(path) => input::run(path, args, &signals),
        // A stream has no end but this one.
        None => block_on(&signals, ExitCode::SUCCESS, events::run(args, &mut Screen::new(&signals))),
    }
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    ask(&args.server, async |agent, screen| status::run(&agent, args, screen).await)
}

pub(crate) fn processes(args: &ProcessesArgs) -> anyhow::Result<ExitCode> {
    ask_when(&args.server, &args.past, async |agent, screen| processes::run(&agent, args, screen).await)
}

pub(crate) fn tree(args: &TreeArgs) -> anyhow::Result<ExitCode> {
    ask_when(&args.server, &args.past, async |agent, screen| tree::run(&agent, args, screen).await)
}

pub(crate) fn why(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    ask_when(&args.server, &args.past, async |agent, screen| why::run(&agent, args, screen).await)
}

pub(crate) fn history(args: &HistoryArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    let mut screen = Screen::new(&signals);
    let code = history::run(args, &mut screen);
    screen.write()?;
    code
}

pub(crate) fn descendants(args: &DescendantsArgs) -> anyhow::Result<ExitCode> {
    if !args.ever {
        return ask_when(&args.server, &args.past, async |agent, screen| {
            descendants::now(&agent, args, screen).await
        });
    }
    let signals = Signals::catch()?;
    let mut screen = Screen::new(&signals);
    let code = descendants::ever(args, &mut screen);
    screen.write()?;
    code
}

pub(crate) fn dump(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    ask(&args.server, async |agent, screen| dump::run(&agent, args, screen).await)
}

pub(crate) fn loglevel(args: &LoglevelArgs) -> anyhow::Result<ExitCode> {
    let server = loglevel::server(&args.action);
    ask(server, async |agent, screen| loglevel::run(&agent, &args.action, screen).await)
}

/// Connects, asks, and writes what came.
fn ask(
    server: &ServerArgs,
    question: impl AsyncFnOnce(Agent, &mut Screen<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    block_on(&signals, ExitCode::from(INTERRUPTED), async {
        let mut screen = Screen::new(&signals);
        let code = question(Agent::connect(server).await?, &mut screen).await;
        // Even if the rest did not come.
        screen.write()?;
        code
    })
}

/// The same of the agent as it is, or of what it, or a recording, knew at some time.
fn ask_when(
    server: &ServerArgs,
    past: &PastArgs,
    question: impl AsyncFnOnce(Agent, &mut Screen<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let PastArgs { at, journal: JournalArgs { journal } } = past;
    if at.is_none() && journal.is_none() {
        return ask(server, question);
    }
    let path = journal.clone().unwrap_or_else(journal::default_path);
    // A journal may be long: until it is read, a signal simply ends the program.
    let asked = journal::Asked::of(&path, *at)?;
    asked.tell_doubts();
    let signals = Signals::catch()?;
    block_on(&signals, ExitCode::from(INTERRUPTED), async {
        let mut screen = Screen::new(&signals);
        let code = question(Agent::in_the_past(asked).await?, &mut screen).await;
        screen.write()?;
        code
    })
}

/// Works until that is done, or a signal asks to stop.
fn block_on(
    signals: &Signals,
    when_asked_to_stop: ExitCode,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the system refuses what is needed to wait for answers")?.block_on(async {
        tokio::select! {
            biased;
            done = work => done,
            () = asked_to_stop(signals) => Ok(when_asked_to_stop),
        }
    })
}

async fn asked_to_stop(signals: &Signals) {
    while !signals.is_any() {
        tokio::time::sleep(TICK).await;
    }
}

/// Waits for an answer no longer than `timeout`.
async fn answer<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let answered = tokio::time::timeout(timeout, call).await;
    answered.unwrap_or_else(|_| Err(Status::deadline_exceeded(""))).map(Response::into_inner)
}

/// All that a stream gives, if nothing takes longer than `timeout`.
async fn collect<T>(timeout: Duration, mut stream: tonic::Streaming<T>) -> Result<Vec<T>, Status> {
    let mut all = Vec::new();
    while let Some(item) = next(timeout, &mut stream).await? {
        all.push(item);
    }
    Ok(all)
}

/// What a stream gives next, if that takes no longer than `timeout`.
async fn next<T>(timeout: Duration, stream: &mut tonic::Streaming<T>) -> Result<Option<T>, Status> {
    let next = tokio::time::timeout(timeout, stream.message()).await;
    next.unwrap_or_else(|_| Err(Status::deadline_exceeded("")))
}

/// The process that was named.
fn target(name: &Name) -> Target {
    let name = match name {
        Name::Pid(pid) => target::Name::Pid(*pid),
        Name::ExecId(id) => target::Name::ExecId(id.clone()),
    };
    Target { name: Some(name) }
}

/// What a refusal means that may be about this process.
fn refusal_about(agent: &Agent, name: &Name, status: &Status) -> anyhow::Error {
    if status.code() != tonic::Code::NotFound {
        return refusal(status);
    }
    match (agent.past(), name) {
        (Some((when, journal)), name) => no_such_then(name, &when, journal),
        (None, Name::Pid(pid)) => anyhow::anyhow!(
            "the agent knows no process {pid}: it never ran while the agent did, or it ended long ago"
        ),
        (None, Name::ExecId(_)) => anyhow::anyhow!(
            "the agent knows no program of that exec_id: it is another node's, or it ended long ago"
        ),
    }
}

/// Nothing is recorded of that process.
fn no_such(name: &Name, journal: &Path) -> anyhow::Error {
    anyhow::anyhow!("no {} is recorded in {}", named(name), journal.display())
}

/// Nothing was known of it at one moment. `when`: such as `known at 14:03:07.000`.
fn no_such_then(name: &Name, when: &str, journal: &Path) -> anyhow::Error {
    let (what, journal) = (named(name), journal.display());
    anyhow::anyhow!(
        "no {what} was {when}; `procession history {name} --journal {journal}` looks at all that is recorded"
    )
}

/// What to call it in an error.
fn named(name: &Name) -> String {
    match name {
        Name::Pid(pid) => format!("process {pid}"),
        Name::ExecId(id) => format!("program of the exec_id {id}"),
    }
}

/// Now, and in which zone.
fn now() -> words::Moment {
    moment(jiff::Timestamp::now())
}

fn moment(now: jiff::Timestamp) -> words::Moment {
    words::Moment { now, zone: TimeZone::system() }
}
