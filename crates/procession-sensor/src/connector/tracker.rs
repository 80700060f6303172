//! From notices to events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use procession::{
    BootTime, Change, Context, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey,
};

use super::message::{Notice, Task};
use super::process::Process;
use crate::error::SourceError;
use crate::proc::{Comm, Details, Procfs};
use crate::source::Sink;
use crate::walk::{self, Sighting};

/// How long after a notice of a change it is clear that it was not part of an exec, whose own notice
/// comes a moment later.
const SETTLED: Duration = Duration::from_millis(10);

/// Follows the notices and knows the processes that live at the present place in the queue.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) procfs: Procfs,
    processes: HashMap<Pid, Process>,
    /// Changes that are not told yet, oldest first, each process once.
    changes: Vec<(Pid, BootTime)>,
    details: Details,
    buffer: Vec<u8>,
}

/// What of the threads of a process is not as `/proc` has it.
#[derive(Debug)]
pub(super) struct ThreadsAmiss {
    process: Pid,
    began: BootTime,
    /// Those that are thought to live, and do not.
    ended: HashSet<Pid>,
    /// Those that nobody knows.
    begun: HashSet<Pid>,
}

impl Tracker {
    pub(super) fn new(procfs: Procfs) -> Self {
        let (processes, changes) = (HashMap::new(), Vec::new());
        Self { procfs, processes, changes, details: Details::default(), buffer: Vec::new() }
    }

    pub(super) fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        for sighting in walk::walk(&self.procfs, sink)? {
            self.remember(&sighting);
        }
        Ok(())
    }

    /// Tells of what a notice means. `time` is when it happened.
    pub(super) fn follow(&mut self, notice: Notice, time: BootTime, sink: Sink<'_>) {
        match notice {
            Notice::Fork { parent, child } if child.is_leader() => self.fork(parent, child, time, sink),
            Notice::Fork { child, .. } => {
                if let Some(process) = self.process_at(child.process, time) {
                    process.thread_began(child.tid);
                }
            }
            Notice::Exec { process } => self.exec(process, time, sink),
            Notice::Changed { task } => {
                let is_known = self.changes.iter().any(|(pid, _)| *pid == task.process);
                if task.is_leader() && !is_known {
                    self.changes.push((task.process, time));
                }
            }
            Notice::Renamed { task, comm } => {
                if let Some(process) = self.process_at(task.process, time).filter(|_| task.is_leader()) {
                    process.comm = comm;
                }
            }
            Notice::Exit { task, status, parent } => {
                if self.process_at(task.process, time).is_some_and(|process| process.thread_ended(task.tid)) {
                    let status = ExitStatus::from_raw(status);
                    self.exit(task, parent, Some(status), time, sink);
                }
            }
            Notice::Answer { .. } | Notice::Other => {}
        }
    }

    /// Whether there are changes to be told.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Tells of the changes that were no part of an exec, as far as that is clear at `now`.
    pub(super) fn tell_changes(&mut self, now: BootTime, sink: Sink<'_>) {
        let is_settled = |time: BootTime| now >= time.after(SETTLED);
        let settled = self.changes.iter().take_while(|(_, time)| is_settled(*time)).count();
        for (pid, time) in self.changes.drain(..settled).collect::<Vec<_>>() {
            self.change(pid, time, sink);
        }
    }

    /// The processes that are thought to live, and when each began.
    pub(super) fn living(&self) -> impl Iterator<Item = (Pid, BootTime)> {
        self.processes.iter().map(|(pid, process)| (*pid, process.began))
    }

    /// When the process that is thought to have `pid` began.
    pub(super) fn began(&self, pid: Pid) -> Option<BootTime> {
        Some(self.processes.get(&pid)?.began)
    }

    /// When the process that really has `pid` now began. `None`: there is none, or it has ended.
    pub(super) fn really_began(&mut self, pid: Pid) -> Option<BootTime> {
        let stat = self.procfs.stat(pid, &mut self.buffer)?;
        (!stat.has_ended()).then_some(stat.began)
    }

    /// Tells of a process whose fork was lost.
    pub(super) fn tell_missed(&mut self, pid: Pid, time: BootTime, sink: Sink<'_>) {
        let Some(stat) = self.procfs.stat(pid, &mut self.buffer) else { return };
        let mut sighting = Sighting { pid, stat, seen: time };
        let owner = self.name_of(stat.parent);
        sighting.tell(&self.procfs, owner, &mut self.details, sink);
        self.remember(&sighting);
    }

    /// Tells of the end of a process whose exit was lost.
    pub(super) fn tell_gone(&mut self, pid: Pid, time: BootTime, sink: Sink<'_>) {
        self.exit(Task { tid: pid, process: pid }, Pid(0), None, time, sink);
    }

    /// What of the threads of `pid` is not as thought. `None`: nothing, or it cannot be known.
    ///
    /// Also what a notice tells that is still to come is amiss.
    pub(super) fn threads_amiss(&mut self, pid: Pid) -> Option<ThreadsAmiss> {
        let process = self.processes.get(&pid)?;
        let stat = self.procfs.stat(pid, &mut self.buffer)?;
        if stat.has_ended() || stat.began.as_ticks() != process.began.as_ticks() {
            return None;
        }
        let real = if stat.threads > 1 {
            let directory = self.procfs.process(pid)?;
            let listed = Some(directory.threads()).filter(|threads| !threads.is_empty())?;
            let buffer = &mut self.buffer;
            // A tracer may keep one that has ended. Of one that is gone meanwhile the notice comes.
            let mut runs = |tid: &Pid| {
                directory.stat_of_thread(*tid, buffer).is_none_or(|stat| !stat.leader_has_exited())
            };
            listed.into_iter().filter(|tid| runs(tid)).collect()
        } else {
            HashSet::from([pid])
        };
        let (ended, begun) = (process.threads() - &real, &real - process.threads());
        let is_amiss = !ended.is_empty() || !begun.is_empty();
        is_amiss.then_some(ThreadsAmiss { process: pid, began: process.began, ended, begun })
    }

    /// Puts right what was amiss `before` and still is, though the queue has been emptied in between: a notice of
    /// it would have come.
    pub(super) fn mend_threads(&mut self, before: &ThreadsAmiss, time: BootTime, sink: Sink<'_>) {
        let Some(now) = self.threads_amiss(before.process).filter(|now| now.began == before.began) else {
            return;
        };
        let Some(process) = self.processes.get_mut(&now.process) else { return };
        for tid in &before.begun & &now.begun {
            process.thread_began(tid);
        }
        for tid in &before.ended & &now.ended {
            process.thread_ended(tid);
        }
        if process.threads().is_empty() {
            self.tell_gone(now.process, time, sink);
        }
    }

    fn remember(&mut self, sighting: &Sighting) {
        let Sighting { pid, stat, seen } = *sighting;
        let owner = self.name_of(stat.parent);
        let mut process = Process::new(pid, stat.began, owner, stat.comm, seen);
        if stat.threads > 1 {
            let threads = self.procfs.process(pid).map(|directory| directory.threads());
            let lives = |tid: &Pid| *tid != pid || !stat.leader_has_exited();
            process.set_threads(threads.unwrap_or_else(|| vec![pid]).into_iter().filter(lives));
        }
        self.processes.insert(pid, process);
    }

    fn fork(&mut self, parent: Task, child: Task, time: BootTime, sink: Sink<'_>) {
        let pid = child.process;
        // The child is as its parent has become.
        if let Some(change) = self.take_change(parent.process) {
            self.change(parent.process, change, sink);
        }
        let (process, context) = self.look_at_child(pid, parent.process, time);
        let is_told = |known: &Process| time <= known.told || known.began == process.began;
        if self.processes.get(&pid).is_some_and(is_told) {
            return;
        }
        let fork = Fork {
            child: process.subject(pid),
            parent: process.owner.into(),
            parent_tid: parent.tid,
            owner: process.owner.into(),
            context,
        };
        self.processes.insert(pid, process);
        sink(&Event { time, kind: EventKind::Fork(fork) });
    }

    /// What a fork itself does not tell. A child that is gone already began at its fork.
    ///
    /// Of the context only the pid inside is taken: the rest may have changed since the fork, and
    /// at the fork it was as in the parent.
    fn look_at_child(&mut self, pid: Pid, parent: Pid, time: BootTime) -> (Process, Context<'static>) {
        let owner = self.name_of(parent);
        let directory = self.procfs.process(pid);
        let stat = directory.as_ref().and_then(|directory| directory.stat(&mut self.buffer));
        // One that began after the fork is a later owner of the pid.
        let Some((directory, stat)) = directory.zip(stat.filter(|stat| stat.began <= time)) else {
            let comm = self.processes.get(&parent).map_or(Comm::default(), |parent| parent.comm);
            return (Process::new(pid, time, owner, comm, time), Context::default());
        };
        let ns_pid = directory.ns_pid(&mut self.buffer);
        (Process::new(pid, stat.began, owner, stat.comm, time), Context { ns_pid, ..Context::default() })
    }

    fn take_change(&mut self, pid: Pid) -> Option<BootTime> {
        let at = self.changes.iter().position(|(changed, _)| *changed == pid)?;
        Some(self.changes.remove(at).1)
    }

    /// What changed is not in the notice: it is told as it is now.
    fn change(&mut self, pid: Pid, time: BootTime, sink: Sink<'_>) {
        let Some(process) = self.process_at(pid, time).filter(|process| time > process.told) else { return };
        let (subject, began) = (process.subject(pid), process.began);
        let is_meant = |real: BootTime| real.as_ticks() == began.as_ticks();
        if self.details.read(&self.procfs, pid, is_meant).is_some() {
            let change = Change { process: subject, context: self.details.context() };
            sink(&Event { time, kind: EventKind::Change(change) });
        }
    }

    fn exec(&mut self, pid: Pid, time: BootTime, sink: Sink<'_>) {
        self.take_change(pid);
        let known = self.processes.get(&pid);
        if known.is_some_and(|known| time <= known.told) {
            return;
        }
        let known = known.map(|known| (known.began, known.owner));
        let stat = self.details.read(&self.procfs, pid, |began| match known {
            Some((known, _)) => began.as_ticks() == known.as_ticks(),
            None => began <= time,
        });
        let owner = match (stat, known) {
            (Some(stat), _) => self.name_of(stat.parent),
            (None, Some((_, owner))) => owner,
            (None, None) => ProcessKey::NONE,
        };
        let began = known.map(|(began, _)| began).or(stat.map(|stat| stat.began)).unwrap_or(time);
        let program = self.details.program();
        // An exec ends all threads but one, and that one takes the leader's name.
        let process = Process::new(pid, began, owner, Comm::new(program.comm), time).with_image(time);
        let exec = Exec {
            process: process.subject(pid),
            replaces: None,
            tid: pid,
            owner: owner.into(),
            context: self.details.context(),
            program,
        };
        self.processes.insert(pid, process);
        sink(&Event { time, kind: EventKind::Exec(exec) });
    }

    /// The end of a process, which is that of its last thread.
    ///
    /// The status is that of the last thread. `wait(2)` reports the same when a call of exit or a
    /// signal ended all threads. When they ended one by one, newer kernels (6.18 was tried) report
    /// that of the last thread, too, older ones that of the leader.
    fn exit(&mut self, task: Task, parent: Pid, status: Option<ExitStatus>, time: BootTime, sink: Sink<'_>) {
        self.take_change(task.process);
        let Some(process) = self.processes.remove(&task.process) else { return };
        let owner = Some(self.name_of(parent)).filter(|owner| *owner != ProcessKey::NONE);
        let exit = Exit {
            process: process.subject(task.process),
            tid: task.tid,
            owner: owner.unwrap_or(process.owner).into(),
            status,
            comm: process.comm.as_bytes(),
        };
        sink(&Event { time, kind: EventKind::Exit(exit) });
    }

    /// The process that had `pid` at `time`. `None`: it is not known, or it came later.
    ///
    /// A process whose fork was lost is not known until an exec or a repair. Its exit before that is
    /// not told: when it began is unknown, and the loss has been counted.
    fn process_at(&mut self, pid: Pid, time: BootTime) -> Option<&mut Process> {
        self.processes.get_mut(&pid).filter(|process| process.began <= time)
    }

    /// The name of a process that is a parent. [`ProcessKey::NONE`] also for one that ended before
    /// the walk came to it, or whose fork was lost: without its start it has no name.
    fn name_of(&mut self, pid: Pid) -> ProcessKey {
        if pid == Pid(0) {
            return ProcessKey::NONE;
        }
        if let Some(known) = self.processes.get(&pid) {
            return known.name(pid);
        }
        self.really_began(pid).map_or(ProcessKey::NONE, |began| ProcessKey::new(pid, began))
    }
}
