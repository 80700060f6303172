//! A source that plays a script, the events it plays, an inventory that says what a test wants it to
//! say, and what is told in short.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(clippy::large_types_passed_by_value, reason = "events are made for one call")]

pub(crate) mod book;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession::{
    BootTime, Cgroup, Change, Context, Event, EventKind, Exec, Exit, ExitStatus, FactKind, Fork,
    LineageDetail, Pid, Precision, ProcessKey, Program, Running, Subject,
};
use procession_agent::{
    Account, HoldConfig, Inventory, Observation, ObservationConfig, Scope, Selection, Told,
};
use procession_filter::{Filter, Kinds};
use procession_kube::ContainerId;
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};

/// Every kind of fact.
pub(crate) const ALL: Kinds = Kinds { running: true, fork: true, exec: true, exit: true, change: true };

/// Longer than anything takes on a busy machine: for what would otherwise be waited for without end.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Something that happens.
pub(crate) enum Step {
    /// In the kernel.
    Event(Box<Event<'static>>),
    /// Elsewhere, before the source goes on.
    Do(Box<dyn FnOnce() + Send>),
    /// Nothing until that is set; questions are answered meanwhile.
    Until(Arc<AtomicBool>),
}

impl Step {
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self::Do(Box::new(work))
    }

    fn play(self, sink: Sink<'_>) {
        match self {
            Self::Event(event) => sink(&event),
            Self::Do(work) => work(),
            Self::Until(_) => {}
        }
    }

    fn has_to_wait(&self) -> bool {
        matches!(self, Self::Until(is_time) if !is_time.load(Ordering::Acquire))
    }
}

impl From<Event<'static>> for Step {
    fn from(event: Event<'static>) -> Self {
        Self::Event(Box::new(event))
    }
}

/// Steps, from events and steps.
#[allow(unused_macros, reason = "as above")]
macro_rules! steps {
    ($($step:expr),* $(,)?) => { [$($crate::support::Step::from($step)),*] };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use steps;

/// Plays `walk` in the walk, one of `live` with each poll, and what is left and `rest` at the end.
///
/// The pipeline looks for answers after each poll, so it is settled what comes before what.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) walk: Vec<Event<'static>>,
    pub(crate) live: VecDeque<Step>,
    pub(crate) rest: Vec<Step>,
    /// Set when all of `live` was played, and answers to it were looked for.
    pub(crate) is_played: Arc<AtomicBool>,
}

impl Script {
    /// With process 1 of the host, which was there before.
    pub(crate) fn new(live: impl IntoIterator<Item = Step>) -> Self {
        let walk = vec![outside(running(1, ProcessKey::NONE))];
        Self { walk, live: live.into_iter().collect(), ..Self::default() }
    }
}

impl Source for Script {
    fn kind(&self) -> SourceKind {
        SourceKind::Polling
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.walk.iter().for_each(sink);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.live.front().is_some_and(Step::has_to_wait) {
            thread::sleep(timeout.min(Duration::from_millis(1)));
        } else if let Some(step) = self.live.pop_front() {
            step.play(sink);
        } else {
            self.is_played.store(true, Ordering::Release);
            thread::sleep(timeout);
        }
        Ok(())
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.live.drain(..).chain(self.rest.drain(..)).for_each(|step| step.play(&mut *sink));
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

/// What came of a script.
pub(crate) struct Played {
    /// What was told of the walk.
    pub(crate) found: Vec<Told>,
    /// What was told after that.
    pub(crate) told: Vec<Told>,
    pub(crate) account: Account,
}

/// Plays a script to its end.
pub(crate) fn play(script: Script, config: ObservationConfig, inventory: impl Inventory + 'static) -> Played {
    let is_played = Arc::clone(&script.is_played);
    let mut observation = Observation::start(Box::new(script), config, Box::new(inventory)).unwrap();
    let found = observation.take_found();
    until("the script is played", || is_played.load(Ordering::Acquire));
    observation.stop();
    let told = observation.told().iter().collect();
    Played { found, told, account: observation.join().unwrap() }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never seen: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Everything, with facts that wait for as long as the test likes.
pub(crate) fn everything() -> ObservationConfig {
    let hold = HoldConfig { wait: Duration::from_hours(1), ..HoldConfig::default() };
    ObservationConfig { hold, queue: 10_000, ..ObservationConfig::new(selection(Scope::Everything)) }
}

/// Everything that happens in a scope.
pub(crate) fn selection(scope: Scope) -> Selection {
    Selection { scope, filter: Filter::new(ALL), lineage: LineageDetail::Parent }
}

/// A process in its first image.
pub(crate) fn key(pid: u32) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(u64::from(pid)))
}

/// A process in the image after so many execs.
pub(crate) fn image(pid: u32, execs: u32) -> ProcessKey {
    ProcessKey::new(Pid(pid), key(pid).start.after(Duration::from_secs(execs.into())))
}

fn subject(pid: u32, execs: u32) -> Subject {
    Subject { key: image(pid, execs), began: key(pid).start, precision: Precision::Nanoseconds }
}

pub(crate) fn event(kind: EventKind<'static>) -> Event<'static> {
    Event { time: BootTime::from_nanos(1_000), kind }
}

pub(crate) fn running(pid: u32, owner: ProcessKey) -> Event<'static> {
    let program = Program { binary: b"/bin/sh", ..Program::default() };
    event(EventKind::Running(Running {
        process: subject(pid, 0),
        owner: owner.into(),
        context: Context::default(),
        program,
        gap: None,
    }))
}

pub(crate) fn fork(parent: u32, child: u32) -> Event<'static> {
    event(EventKind::Fork(Fork {
        child: subject(child, 0),
        parent: key(parent).into(),
        parent_tid: Pid(parent),
        owner: key(parent).into(),
        context: Context::default(),
    }))
}

/// An exec, the process's `nth`, counted from 1.
pub(crate) fn exec(pid: u32, nth: u32) -> Event<'static> {
    event(EventKind::Exec(Exec {
        process: subject(pid, nth),
        replaces: Some(image(pid, nth - 1)),
        tid: Pid(pid),
        owner: key(1).into(),
        context: Context::default(),
        program: Program { binary: b"/bin/ls", ..Program::default() },
    }))
}

pub(crate) fn exit(pid: u32, code: u32) -> Event<'static> {
    let status = Some(ExitStatus::from_raw(code << 8));
    event(EventKind::Exit(Exit {
        process: subject(pid, 0),
        tid: Pid(pid),
        owner: key(1).into(),
        status,
        comm: b"",
    }))
}

/// A process goes elsewhere: see [`within`] and [`outside`].
pub(crate) fn change(pid: u32) -> Event<'static> {
    event(EventKind::Change(Change { process: subject(pid, 0), context: Context::default() }))
}

/// The same in the control group of a container.
pub(crate) fn within(container: u32, event: Event<'static>) -> Event<'static> {
    in_cgroup(cgroup(container), event)
}

/// The same in a control group of the host.
pub(crate) fn outside(event: Event<'static>) -> Event<'static> {
    in_cgroup(b"/init.scope", event)
}

/// The path of a container's control group, for as long as the test runs.
pub(crate) fn cgroup(container: u32) -> &'static [u8] {
    Box::leak(format!("/kubepods.slice/cri-containerd-{}.scope", id(container)).into_boxed_str()).as_bytes()
}

/// The same in the control group of this path.
pub(crate) fn in_cgroup(path: &'static [u8], mut event: Event<'static>) -> Event<'static> {
    let context = match &mut event.kind {
        EventKind::Fork(fork) => &mut fork.context,
        EventKind::Exec(exec) => &mut exec.context,
        EventKind::Running(running) => &mut running.context,
        EventKind::Change(change) => &mut change.context,
        EventKind::Exit(_) | EventKind::Gone(_) | EventKind::Lost(_) => panic!("these do not say where"),
    };
    context.cgroup = Some(Cgroup { id: 0, path });
    event
}

/// The id of a container that is told from others by a number, which its first digits are.
pub(crate) fn id(container: u32) -> ContainerId {
    ContainerId::parse(format!("{container:012x}{:052x}", 0).as_bytes()).unwrap()
}

/// What is told, in short: `10 fork` on the host, `10 fork in pod-7`, and `10 fork in ?` where nobody
/// said in which.
pub(crate) fn lines(told: &[Told]) -> Vec<String> {
    told.iter().map(line).collect()
}

fn line(told: &Told) -> String {
    let process = &told.fact.process;
    let what = match told.fact.kind {
        FactKind::Fork => "fork",
        FactKind::Exec => "exec",
        FactKind::Exit { .. } => "exit",
        FactKind::Running => "running",
        FactKind::Change => "change",
    };
    let place = match (ContainerId::of_process(process), told.whose(process)) {
        (None, whose) => {
            assert!(whose.is_none() && told.is_complete, "the host has no name");
            String::new()
        }
        (Some(_), None) => {
            assert!(!told.is_complete, "a name is missing");
            " in ?".to_owned()
        }
        (Some(id), Some(whose)) => {
            assert!(told.is_complete && *whose.id() == id);
            format!(" in {}", whose.pod().map_or("no pod", |pod| pod.name))
        }
    };
    format!("{} {what}{place}", process.pid())
}
