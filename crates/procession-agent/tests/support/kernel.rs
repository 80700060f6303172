//! A kernel that a test makes processes in, as a source that keeps, loses and is taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use procession::{
    BootTime, Context, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey, Program, Relative,
    Running, Subject,
};
use procession_sensor::{KernelCounts, Resumed, Sink, Source, SourceError, SourceKind};

/// What happens, and who observes it. Clones are the same kernel.
#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What was recorded: the number of events that are missing before, and the event.
    ring: Vec<(u64, Event<'static>)>,
    /// How much of that the source has handed over, and was told to be safe.
    read: usize,
    released: usize,
    keeps: bool,
    /// Events that were lost since the last that was recorded.
    lost: u64,
    /// Events that were lost, and are told of by the next poll whatever is recorded.
    counted: u64,
    is_losing: bool,
    is_attached: bool,
    running: BTreeMap<u32, Process>,
    /// In milliseconds since boot.
    clock: u64,
    surveys: usize,
    /// How much was recorded when the last of them ended.
    surveyed: usize,
    /// A record that another processor is still writing, and for how many polls: those from there on
    /// cannot be read.
    unfinished: Option<(usize, u32)>,
    /// Processes that surveys pass over though they run.
    hidden: BTreeSet<u32>,
}

/// A process that runs.
#[derive(Clone, Copy)]
struct Process {
    subject: Subject,
    owner: u32,
    session: Option<Pid>,
}

impl Kernel {
    /// With process 1.
    pub(crate) fn new() -> Self {
        let kernel = Self::default();
        let init = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
        let init = Process { subject: Subject::exact(init, init.start), owner: 0, session: Some(Pid(1)) };
        let mut state = kernel.state();
        state.running.insert(1, init);
        (state.is_attached, state.clock) = (true, 1_000);
        drop(state);
        kernel
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn fork(&self, parent: u32, child: u32) {
        let mut state = self.state();
        let time = state.tick();
        let Process { subject: parent, session, .. } = state.running[&parent];
        let key = ProcessKey::new(Pid(child), time);
        let owner = Relative { key: parent.key, began: Some(parent.began) };
        let subject = Subject::exact(key, time);
        let fork =
            Fork { child: subject, parent: owner, parent_tid: parent.key.pid, owner, ..Fork::default() };
        state.running.insert(child, Process { subject, owner: parent.key.pid.0, session });
        state.record(Event { time, kind: EventKind::Fork(fork) });
    }

    pub(crate) fn exec(&self, pid: u32) {
        let mut state = self.state();
        let time = state.tick();
        let process = state.running.get_mut(&pid).unwrap();
        let former = process.subject.key;
        process.subject.key = ProcessKey::new(Pid(pid), time);
        let Process { subject, owner, .. } = *process;
        let program = Program { binary: b"/bin/ls", ..Program::default() };
        let (replaces, owner) = (Some(former), state.relative(owner));
        let exec = Exec { process: subject, replaces, tid: Pid(pid), owner, program, ..Exec::default() };
        state.record(Event { time, kind: EventKind::Exec(exec) });
    }

    pub(crate) fn exit(&self, pid: u32) {
        let mut state = self.state();
        let time = state.tick();
        let Process { subject, owner, .. } = state.running.remove(&pid).unwrap();
        let (owner, status) = (state.relative(owner), Some(ExitStatus::from_raw(0)));
        for child in state.running.values_mut().filter(|child| child.owner == pid) {
            child.owner = 1;
        }
        let exit = Exit { process: subject, tid: Pid(pid), owner, status, comm: b"" };
        state.record(Event { time, kind: EventKind::Exit(exit) });
    }

    /// From now on events are lost, or are no longer.
    pub(crate) fn lose(&self, is_losing: bool) {
        self.state().is_losing = is_losing;
    }

    /// What is lost comes to light before anything else is recorded.
    pub(crate) fn count_losses(&self) {
        let mut state = self.state();
        state.counted += std::mem::take(&mut state.lost);
    }

    /// The next record is still being written for so many polls after this.
    pub(crate) fn write_slowly(&self, polls: u32) {
        let mut state = self.state();
        state.unfinished = Some((state.ring.len(), polls));
    }

    /// Surveys pass over the process, or do no longer.
    pub(crate) fn hide(&self, pid: u32, is_hidden: bool) {
        let hidden = &mut self.state().hidden;
        let _ = if is_hidden { hidden.insert(pid) } else { hidden.remove(&pid) };
    }

    /// The process begins a session, of which nothing is told.
    pub(crate) fn set_session(&self, pid: u32) {
        self.state().running.get_mut(&pid).unwrap().session = Some(Pid(pid));
    }

    /// Time passes.
    pub(crate) fn pass(&self, time: Duration) {
        self.state().clock += u64::try_from(time.as_millis()).unwrap();
    }

    /// Nobody records any more, and what was recorded is gone: there are no pins.
    pub(crate) fn detach(&self) {
        let mut state = self.state();
        state.is_attached = false;
        state.ring.clear();
        (state.read, state.released) = (0, 0);
    }

    /// What runs: the images.
    pub(crate) fn running(&self) -> Vec<ProcessKey> {
        self.state().running.values().map(|process| process.subject.key).collect()
    }

    /// How often it was looked at all that runs.
    pub(crate) fn surveys(&self) -> usize {
        self.state().surveys
    }

    /// How many records are not yet known to be safe.
    pub(crate) fn kept(&self) -> usize {
        let state = self.state();
        state.ring.len() - state.released
    }

    /// Somebody who observes it.
    pub(crate) fn observer(&self) -> Box<dyn Source> {
        Box::new(Observer(self.clone()))
    }
}

impl State {
    /// Nothing happens at the same time.
    fn tick(&mut self) -> BootTime {
        self.clock += 1;
        BootTime::from_nanos(self.clock * 1_000_000)
    }

    /// A process that runs, as others name it.
    fn relative(&self, pid: u32) -> Relative {
        let process = self.running.get(&pid).map(|process| process.subject);
        process.map_or(Relative::NONE, |subject| Relative { key: subject.key, began: Some(subject.began) })
    }

    /// Up to where the ring can be read.
    fn readable(&mut self) -> usize {
        let (end, polls) = self.unfinished.unwrap_or((self.ring.len(), 0));
        self.unfinished = polls.checked_sub(1).map(|polls| (end, polls));
        if self.unfinished.is_some() { end.min(self.ring.len()) } else { self.ring.len() }
    }

    #[expect(clippy::large_types_passed_by_value, reason = "it is kept")]
    fn record(&mut self, event: Event<'static>) {
        if !self.is_attached {
            return;
        }
        if self.is_losing {
            self.lost += 1;
            return;
        }
        let lost = std::mem::take(&mut self.lost);
        self.ring.push((lost, event));
    }

    fn found(&self) -> Vec<Event<'static>> {
        let time = BootTime::from_nanos(self.clock * 1_000_000);
        let shown = self.running.iter().filter(|(pid, _)| !self.hidden.contains(pid));
        let found = shown.map(|(_, process)| {
            let program = Program { binary: b"/bin/sh", ..Program::default() };
            let Process { subject, owner, session } = *process;
            let (owner, context) = (self.relative(owner), Context { session, ..Context::default() });
            let running = Running { process: subject, owner, context, program, ..Running::default() };
            Event { time, kind: EventKind::Running(running) }
        });
        found.collect()
    }

    fn lost(&self, count: u64) -> Event<'static> {
        Event { time: BootTime::from_nanos(self.clock * 1_000_000), kind: EventKind::Lost(count) }
    }
}

struct Observer(Kernel);

impl Source for Observer {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let mut state = self.0.state();
        state.is_attached = true;
        state.read = state.ring.len();
        state.found().iter().for_each(sink);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        let (new, lost) = {
            let mut state = self.0.state();
            let end = state.readable();
            let new: Vec<_> = state.ring[state.read.min(end)..end].to_vec();
            state.read = state.read.max(end);
            if !state.keeps {
                state.released = state.read;
            }
            let lost = if state.is_losing { 0 } else { std::mem::take(&mut state.lost) };
            let lost = lost + std::mem::take(&mut state.counted);
            (new, lost)
        };
        let report = |count| self.0.state().lost(count);
        for (lost, event) in &new {
            if *lost > 0 {
                sink(&report(*lost));
            }
            sink(event);
        }
        if lost > 0 {
            sink(&report(lost));
        }
        if new.is_empty() && lost == 0 {
            thread::sleep(timeout.min(Duration::from_millis(1)));
        }
        Ok(())
    }

    fn bookmark(&self) -> Vec<u8> {
        self.0.state().read.to_le_bytes().to_vec()
    }

    fn keep(&mut self) {
        self.0.state().keeps = true;
    }

    fn release(&mut self, bookmark: &[u8]) {
        let Ok(bookmark) = bookmark.try_into() else { return };
        let mut state = self.0.state();
        state.released = state.released.max(usize::from_le_bytes(bookmark)).min(state.read);
    }

    fn resume(&mut self, bookmark: &[u8]) -> Result<Resumed, SourceError> {
        let mut state = self.0.state();
        let Ok(bookmark) = bookmark.try_into() else { return Ok(Resumed::Afresh) };
        if !state.is_attached {
            return Ok(Resumed::Afresh);
        }
        state.read = usize::from_le_bytes(bookmark).max(state.released);
        Ok(Resumed::Continued)
    }

    fn survey(&mut self, sink: Sink<'_>) -> Result<Option<BootTime>, SourceError> {
        let mut state = self.0.state();
        state.surveys += 1;
        state.surveyed = state.ring.len();
        state.found().iter().for_each(sink);
        Ok(Some(state.tick()))
    }

    fn has_told_survey(&self) -> bool {
        let state = self.0.state();
        state.read >= state.surveyed
    }

    fn still_runs(&self, process: Subject) -> bool {
        let state = self.0.state();
        let running = state.running.get(&process.key.pid.0);
        running.is_some_and(|it| it.subject.began == process.began)
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

/// Changes without end: the same for the same seed.
pub(crate) struct Life {
    kernel: Kernel,
    random: u64,
    next: u32,
    alive: Vec<u32>,
}

impl Life {
    pub(crate) fn new(kernel: &Kernel, seed: u64) -> Self {
        Self { kernel: kernel.clone(), random: seed | 1, next: 2, alive: vec![1] }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % end as u64).unwrap()
    }

    /// So many things happen.
    pub(crate) fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            let at = self.below(self.alive.len());
            let pid = self.alive[at];
            match self.below(5) {
                0 | 1 if self.alive.len() < 200 => {
                    self.kernel.fork(pid, self.next);
                    self.alive.push(self.next);
                    self.next += 1;
                }
                2 => self.kernel.exec(pid),
                _ if pid != 1 => {
                    self.kernel.exit(pid);
                    self.alive.swap_remove(at);
                }
                _ => {}
            }
        }
    }
}
