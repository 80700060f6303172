//! The pipeline, fed by a source that plays a script.

#![expect(clippy::large_types_passed_by_value, reason = "events are made for one call")]

use std::collections::VecDeque;
use std::time::Duration;

use procession::{
    BootTime, Context, Event, EventKind, Exit, ExitStatus, FactKind, Fork, LineageDetail, Pid, Precision,
    ProcessKey, Program, Running, Subject,
};
use procession_agent::{Observation, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};

/// Plays `walk` in the walk, one of `live` with each poll, and what is left and `rest` at the end.
struct Script {
    walk: Vec<Event<'static>>,
    live: VecDeque<Event<'static>>,
    rest: Vec<Event<'static>>,
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
        match self.live.pop_front() {
            Some(event) => sink(&event),
            None => std::thread::sleep(timeout),
        }
        Ok(())
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.live.iter().chain(&self.rest).for_each(sink);
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(u64::from(pid)))
}

fn subject(pid: u32) -> Subject {
    Subject { key: key(pid), began: key(pid).start, precision: Precision::Nanoseconds }
}

fn event(kind: EventKind<'static>) -> Event<'static> {
    Event { time: BootTime::from_nanos(1_000), kind }
}

fn running(pid: u32, owner: ProcessKey) -> Event<'static> {
    let program = Program { binary: b"/bin/sh", ..Program::default() };
    event(EventKind::Running(Running {
        process: subject(pid),
        owner: owner.into(),
        context: Context::default(),
        program,
    }))
}

fn fork(parent: u32, child: u32) -> Event<'static> {
    event(EventKind::Fork(Fork {
        child: subject(child),
        parent: key(parent).into(),
        parent_tid: Pid(parent),
        owner: key(parent).into(),
        context: Context::default(),
    }))
}

fn exit(pid: u32, code: u32) -> Event<'static> {
    let status = Some(ExitStatus::from_raw(code << 8));
    event(EventKind::Exit(Exit {
        process: subject(pid),
        tid: Pid(pid),
        owner: key(1).into(),
        status,
        comm: b"",
    }))
}

fn selection(scope: Scope) -> Selection {
    let filter = Filter::new(Kinds { running: true, fork: true, exec: true, exit: true, change: false });
    Selection { scope, filter, lineage: LineageDetail::Parent }
}

#[test]
fn facts_come_in_order_and_the_rest_comes_at_the_end() {
    let source = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1))],
        live: [fork(5, 6)].into(),
        rest: vec![event(EventKind::Lost(3)), fork(6, 7), exit(7, 0)],
    };
    let mut observation = Observation::start(Box::new(source), selection(Scope::Everything), 100).unwrap();
    observation.stop();
    let facts = observation.take_found().into_iter().chain(observation.facts().iter());
    let seen: Vec<_> = facts.map(|fact| (fact.process.pid().0, fact.kind)).collect();
    let ended = FactKind::Exit { tid: Pid(7), status: Some(ExitStatus::from_raw(0)) };
    assert_eq!(
        seen,
        [
            (1, FactKind::Running),
            (5, FactKind::Running),
            (6, FactKind::Fork),
            (7, FactKind::Fork),
            (7, ended)
        ]
    );
    let account = observation.join().unwrap();
    assert_eq!((account.ledger.received(), account.ledger.lost(), account.live), (5, 3, 3));
}

#[test]
fn a_scope_holds_what_a_process_starts_and_nothing_else() {
    let source = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1)), running(8, key(1))],
        live: [fork(5, 10), fork(8, 11), fork(10, 12), exit(10, 3), fork(12, 13), exit(5, 0)].into(),
        rest: Vec::new(),
    };
    let observation = Observation::start(
        Box::new(source),
        selection(Scope::DescendantsOf { pid: Pid(5), pid_namespace: None }),
        100,
    )
    .unwrap();
    observation.stop();
    let seen: Vec<_> = observation.facts().iter().map(|fact| (fact.process.pid().0, fact.depth)).collect();
    assert_eq!(seen, [(10, 0), (12, 1), (10, 0), (13, 2)], "pid and depth below the root");
    let tally = observation.join().unwrap().tally;
    assert_eq!((tally.processes, tally.ended, tally.failures), (3, 1, 1));
}

#[test]
fn what_finds_no_room_is_counted() {
    let source = Script {
        walk: vec![running(1, ProcessKey::NONE)],
        live: (2..=101).map(|pid| fork(1, pid)).collect(),
        rest: Vec::new(),
    };
    let observation = Observation::start(Box::new(source), selection(Scope::Everything), 10).unwrap();
    observation.stop();
    // Nobody reads until all is over.
    while !observation.facts().is_full() {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(200));
    let read = observation.facts().iter().count() as u64;
    let account = observation.join().unwrap();
    assert_eq!(account.ledger.received(), 101);
    assert_eq!(read + account.dropped, 100, "what already ran is not in the queue");
    assert!(account.dropped > 0);
}
