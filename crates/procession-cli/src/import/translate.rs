//! From the events of an export to those of a journal.
//!
//! An export tells of execs and exits. What is missing is found again, as far as the messages say it:
//!
//! * a process that was there before the first event is one that was found running;
//! * the fork of a process is taken to be as late as it can be, at its first exec; that of one which never ran
//!   anything is at the start that its id has;
//! * an image whose exec is not in the export, though it began after the first event, was missed.
//!
//! What others begin with comes before them in the journal, however late the export speaks of it: it is put
//! aside ([`Early`]), and the events that are told at once are merged with it later.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use procession::{
    BootTime, Event, EventKind, Exec, Exit, ExitStatus, Fork, Gap, Namespaces, Precision, ProcessKey,
    Relative, Running, Signal, Subject, WallClock,
};
use procession_api::proto::tetragon::get_events_response::Event as Told;
use procession_api::proto::tetragon::{GetEventsResponse, Process, ProcessExec, ProcessExit};
use procession_journal::Container;
use prost_types::Timestamp;

use super::described::Described;

/// Ended images that are remembered, for children and events that come later.
const ENDED: usize = 1 << 17;

/// Nodes that are told apart.
const MOST_NODES: usize = 1_000;

/// By how much a wall clock may be set forward without it being taken for another boot.
const STEP: Duration = Duration::from_secs(10);

/// Why an event does not get into the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its process has no `exec_id` that says which one it is")]
    Nameless,
    #[error("it has no time")]
    Timeless,
    #[error("the machine was booted again before it: each boot is a journal of its own")]
    LaterBoot,
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the journal.
    Told,
    /// It is of a kind that does not start or end a process.
    OtherKind,
    /// It is another node's.
    OtherNode,
}

/// What comes before events that speak of it.
#[derive(Debug)]
pub(super) enum Early {
    /// A process, or an image of it, of which no start was told.
    Found(Box<Process>),
    /// A fork of a process that has run nothing of its own when it is first heard of.
    Fork {
        /// The new process.
        child: ProcessKey,
        /// Who forked it.
        parent: ProcessKey,
    },
}

impl Early {
    pub(super) fn start(&self) -> BootTime {
        match self {
            Self::Found(process) => Described::new(process).map_or(BootTime::ZERO, |it| it.key.start),
            Self::Fork { child, .. } => child.start,
        }
    }
}

/// What a node is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    in_ids: String,
    /// As ids have it, where events do not say.
    in_events: String,
}

/// Takes the events of one node, one after the other.
#[derive(Debug, Default)]
pub(super) struct Translator {
    /// The node that was asked for.
    asked: Option<String>,
    /// The node whose events are taken: by its name in the ids of processes, and by that which the events give
    /// to it, which should be the same.
    node: Option<Names>,
    /// How many events there were of each other node.
    others: BTreeMap<String, u64>,
    known: Known,
    early: Vec<Early>,
    containers: BTreeMap<String, Container>,
    host: Namespaces,
    /// Where boot time stood on the wall clock when that was last told.
    clock: Option<WallClock>,
    /// The time of the first and of the last event.
    span: Option<(BootTime, BootTime)>,
}

/// What all events together say.
pub(super) struct Whole {
    pub(super) node: String,
    pub(super) early: Vec<Early>,
    pub(super) containers: Vec<Container>,
    pub(super) host: Option<Namespaces>,
    pub(super) clock: WallClock,
    /// The time of the first event.
    pub(super) first: BootTime,
}

impl Translator {
    pub(super) fn new(asked: Option<String>) -> Self {
        Self { asked, ..Self::default() }
    }

    /// Translates an event; what is known only now, but was so before, is kept for [`finish`](Self::finish).
    pub(super) fn take(
        &mut self,
        event: &GetEventsResponse,
        out: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Taken, Refusal> {
        match &event.event {
            Some(Told::ProcessExec(exec)) => self.exec(event, exec, out),
            Some(Told::ProcessExit(exit)) => self.exit(event, exit, out),
            Some(Told::RateLimitInfo(info)) => self.lost(event, info.number_of_dropped_process_events, out),
            _ => Ok(Taken::OtherKind),
        }
    }

    /// Other nodes whose events were there, and how many.
    pub(super) fn others(&self) -> &BTreeMap<String, u64> {
        &self.others
    }

    /// Where boot time stands on the wall clock, as far as that was told by now.
    pub(super) fn clock(&self) -> Option<WallClock> {
        self.clock
    }

    /// The node whose events they are.
    pub(super) fn node(&self) -> Option<&str> {
        self.asked.as_deref().or(self.node.as_ref().map(|names| names.in_events.as_str()))
    }

    /// What has to stand before all. `None`: there was nothing.
    pub(super) fn finish(mut self) -> Option<Whole> {
        self.early.sort_by_key(Early::start);
        let latest = self.early.last().map(Early::start);
        Some(Whole {
            node: self.asked.or(self.node.map(|names| names.in_events))?,
            containers: self.containers.into_values().collect(),
            host: (self.host != Namespaces::default()).then_some(self.host),
            clock: self.clock?,
            first: self.span.map(|(first, _)| first).or(latest)?,
            early: self.early,
        })
    }

    fn exec(
        &mut self,
        event: &GetEventsResponse,
        exec: &ProcessExec,
        out: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Taken, Refusal> {
        let process = exec.process.as_ref().ok_or(Refusal::Nameless)?;
        let described = Described::new(process).ok_or(Refusal::Nameless)?;
        if !self.is_ours(event, process) {
            return Ok(Taken::OtherNode);
        }
        self.follow_clock(event, process, &described)?;
        self.learn_of(exec.parent.as_ref(), &exec.ancestors);
        if described.was_found() {
            self.mention(process);
            return Ok(Taken::Told);
        }
        self.note_place(&described);
        let time = described.key.start;
        self.note_time(time);
        match described.replaced() {
            Some(replaced) => out(&self.later_exec(&described, replaced)),
            None => self.first_exec(&described, out),
        }
        Ok(Taken::Told)
    }

    /// The process in another image.
    fn later_exec<'d>(&mut self, described: &'d Described<'_>, replaced: ProcessKey) -> Event<'d> {
        let began = self.known.began(replaced).unwrap_or(replaced.start);
        self.known.insert(described.key, began);
        self.known.end(replaced);
        let exec = Exec { replaces: Some(replaced), ..exec_of(described, began) };
        Event { time: described.key.start, kind: EventKind::Exec(exec) }
    }

    /// When it was forked is not told: the latest moment at which it can have been.
    fn first_exec(&mut self, described: &Described<'_>, out: &mut dyn FnMut(&Event<'_>)) {
        let key = described.key;
        let began = BootTime::from_nanos(key.start.as_nanos().saturating_sub(1));
        let forked = ProcessKey::new(key.pid, began);
        self.known.insert(key, began);
        if let Some(parent) = described.forker() {
            let parent = Relative { key: parent, began: self.known.began(parent) };
            let child = Subject::exact(forked, began);
            let fork = Fork { child, parent, parent_tid: parent.key.pid, ..Fork::default() };
            out(&Event { time: began, kind: EventKind::Fork(fork) });
        }
        let exec = Exec { replaces: Some(forked), ..exec_of(described, began) };
        out(&Event { time: key.start, kind: EventKind::Exec(exec) });
    }

    fn exit(
        &mut self,
        event: &GetEventsResponse,
        exit: &ProcessExit,
        out: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Taken, Refusal> {
        let process = exit.process.as_ref().ok_or(Refusal::Nameless)?;
        let described = Described::new(process).ok_or(Refusal::Nameless)?;
        if !self.is_ours(event, process) {
            return Ok(Taken::OtherNode);
        }
        self.follow_clock(event, process, &described)?;
        self.learn_of(exit.parent.as_ref(), &exit.ancestors);
        self.mention(process);
        let date = exit.time.as_ref().or(event.time.as_ref()).ok_or(Refusal::Timeless)?;
        let time = self.boot_time(date).ok_or(Refusal::Timeless)?.max(described.key.start);
        self.note_time(time);
        let began = self.known.began(described.key).unwrap_or(described.key.start);
        let subject = subject(&described, began);
        let status = Some(status_of(exit));
        let kind =
            EventKind::Exit(Exit { process: subject, tid: described.tid(), status, ..Exit::default() });
        out(&Event { time, kind });
        self.known.end(described.key);
        Ok(Taken::Told)
    }

    fn lost(
        &mut self,
        event: &GetEventsResponse,
        count: u64,
        out: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Taken, Refusal> {
        let is_other = |names: &Names| !event.node_name.is_empty() && names.in_events != event.node_name;
        if self.node.as_ref().is_some_and(is_other) {
            return Ok(Taken::OtherNode);
        }
        let time = event.time.as_ref().and_then(|date| self.boot_time(date)).ok_or(Refusal::Timeless)?;
        self.note_time(time);
        out(&Event { time, kind: EventKind::Lost(count) });
        Ok(Taken::Told)
    }

    /// Whether an event is of the node that is asked for. Both its process's id and the event itself name it:
    /// where they differ, who asks has to say which of the names is meant.
    fn is_ours(&mut self, event: &GetEventsResponse, process: &Process) -> bool {
        let in_ids = ProcessKey::parse_exec_id(&process.exec_id).map(|(node, _)| node).unwrap_or_default();
        let in_events = if event.node_name.is_empty() { in_ids.clone() } else { event.node_name.clone() };
        let names = Names { in_ids, in_events };
        let is_meant = |asked: &String| *asked == names.in_ids || *asked == names.in_events;
        if !self.asked.as_ref().is_none_or(is_meant) {
            self.note_other(names.in_events);
            return false;
        }
        let ours = self.node.get_or_insert_with(|| names.clone()).clone();
        if names != ours {
            self.note_other(if names.in_events == ours.in_events { names.in_ids } else { names.in_events });
            return false;
        }
        if names.in_ids != names.in_events && self.asked.is_none() {
            self.note_other(names.in_ids);
        }
        true
    }

    fn note_other(&mut self, node: String) {
        if self.others.len() < MOST_NODES || self.others.contains_key(&node) {
            *self.others.entry(node).or_default() += 1;
        }
    }

    /// Learns how the clocks stand to each other, which a process says whose id has one time and whose start
    /// has the other.
    fn follow_clock(
        &mut self,
        event: &GetEventsResponse,
        process: &Process,
        described: &Described<'_>,
    ) -> Result<(), Refusal> {
        let Some(start) = process.start_time.as_ref().and_then(date) else {
            return if self.clock.is_some() { Ok(()) } else { Err(Refusal::Timeless) };
        };
        let told = WallClock::new(described.key.start, start);
        if let Some((clock, (_, last))) = self.clock.zip(self.span) {
            let boot = [clock, told].map(|clock| clock.at(BootTime::ZERO));
            let ahead = boot[1].duration_since(boot[0]).unwrap_or_default();
            let now = event.time.as_ref().and_then(date).and_then(|date| on(&told, date));
            if ahead > STEP && now.is_some_and(|now| now < last) {
                return Err(Refusal::LaterBoot);
            }
        }
        self.clock = Some(told);
        Ok(())
    }

    fn boot_time(&self, date_of: &Timestamp) -> Option<BootTime> {
        on(self.clock.as_ref()?, date(date_of)?)
    }

    fn note_time(&mut self, time: BootTime) {
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }

    fn note_place(&mut self, described: &Described<'_>) {
        let host = described.host_namespaces();
        let all = [
            (&mut self.host.uts, host.uts),
            (&mut self.host.ipc, host.ipc),
            (&mut self.host.mnt, host.mnt),
            (&mut self.host.pid, host.pid),
            (&mut self.host.pid_for_children, host.pid_for_children),
            (&mut self.host.net, host.net),
            (&mut self.host.time, host.time),
            (&mut self.host.time_for_children, host.time_for_children),
            (&mut self.host.cgroup, host.cgroup),
            (&mut self.host.user, host.user),
        ];
        for (known, told) in all.into_iter().filter(|(_, told)| *told != 0) {
            *known = told;
        }
        if let Some(container) = described.container() {
            self.containers.insert(container.id.clone(), container);
        }
    }

    /// What an event says of those above its process, the highest first.
    fn learn_of(&mut self, parent: Option<&Process>, ancestors: &[Process]) {
        for process in ancestors.iter().rev().chain(parent) {
            self.mention(process);
        }
    }

    /// Puts aside a process of which no event has told yet.
    fn mention(&mut self, process: &Process) {
        let Some(described) = Described::new(process) else { return };
        let key = described.key;
        if self.known.began(key).is_some() || !self.is_of_node(process) {
            return;
        }
        self.note_place(&described);
        let began = described.replaced().and_then(|replaced| self.known.began(replaced));
        self.known.insert(key, began.unwrap_or(key.start));
        let forker = described.forker().filter(|forker| self.known.began(*forker).is_some());
        self.early.push(match forker.filter(|_| described.only_forked()) {
            Some(parent) => Early::Fork { child: key, parent },
            None => Early::Found(Box::new(process.clone())),
        });
    }

    fn is_of_node(&self, process: &Process) -> bool {
        let node = ProcessKey::parse_exec_id(&process.exec_id).map(|(node, _)| node);
        node.is_some() && node.as_ref() == self.node.as_ref().map(|names| &names.in_ids)
    }
}

/// Tells what was put aside. `first` is the time of the first event.
pub(super) fn tell_early(early: &Early, first: BootTime, out: &mut dyn FnMut(&Event<'_>)) {
    match early {
        Early::Fork { child, parent } => {
            let subject = Subject::exact(*child, child.start);
            let parent = Relative { key: *parent, began: None };
            let fork = Fork { child: subject, parent, parent_tid: parent.key.pid, ..Fork::default() };
            out(&Event { time: child.start, kind: EventKind::Fork(fork) });
        }
        Early::Found(process) => {
            let Some(described) = Described::new(process) else { return };
            out(&found(&described, first));
        }
    }
}

fn found<'d>(described: &'d Described<'_>, first: BootTime) -> Event<'d> {
    let start = described.key.start;
    let missed = if described.was_found() { Gap::Absence } else { Gap::Loss };
    let running = Running {
        process: subject(described, start),
        owner: described.forker().map_or(Relative::NONE, Relative::from),
        context: described.context(),
        program: described.program(),
        gap: (start > first).then_some(missed),
    };
    Event { time: start.max(first), kind: EventKind::Running(running) }
}

fn exec_of<'d>(described: &'d Described<'_>, began: BootTime) -> Exec<'d> {
    Exec {
        process: subject(described, began),
        tid: described.tid(),
        owner: described.forker().map_or(Relative::NONE, Relative::from),
        context: described.context(),
        program: described.program(),
        ..Exec::default()
    }
}

fn subject(described: &Described<'_>, began: BootTime) -> Subject {
    let key = described.key;
    // What was read from /proc is known to the tick, and looks like it.
    let is_tick = key.start == BootTime::from_ticks(key.start.as_ticks());
    let precision = if described.was_found() && is_tick { Precision::Ticks } else { Precision::Nanoseconds };
    Subject { key, began, precision }
}

/// An export has no way to say that the status is not known.
fn status_of(exit: &ProcessExit) -> ExitStatus {
    let killed = (1..=127).map(ExitStatus::from_raw);
    let is_it = |status: &ExitStatus| status.signal().and_then(Signal::name) == Some(exit.signal.as_str());
    let mut killed = killed.filter(is_it);
    killed.next().unwrap_or(ExitStatus::from_raw((exit.status & 0xff) << 8))
}

fn date(timestamp: &Timestamp) -> Option<SystemTime> {
    (*timestamp).try_into().ok()
}

/// When that was since boot. `None`: before it.
fn on(clock: &WallClock, date: SystemTime) -> Option<BootTime> {
    let since_boot = date.duration_since(clock.at(BootTime::ZERO)).ok()?;
    Some(BootTime::ZERO.after(since_boot))
}

/// Images that were told of, and when their processes began. Those that ended last are remembered too.
#[derive(Debug, Default)]
struct Known {
    began: HashMap<ProcessKey, BootTime>,
    ended: VecDeque<ProcessKey>,
}

impl Known {
    fn began(&self, key: ProcessKey) -> Option<BootTime> {
        self.began.get(&key).copied()
    }

    fn insert(&mut self, key: ProcessKey, began: BootTime) {
        self.began.insert(key, began);
    }

    fn end(&mut self, key: ProcessKey) {
        self.ended.push_back(key);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.began.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
