//! A whole agent on a scripted kernel: what it says of events that it cannot keep, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use procession::{Arguments, EventKind, ProcessKey};
use procession_agent::{Agent, AgentConfig, LogConfig, NodeInventory};
use tempfile::TempDir;

use support::{Script, Step, exec, exit, fork, outside, running, steps, until};

/// An agent that exports all it sees of a script.
struct Lab {
    directory: TempDir,
    agent: Agent,
}

impl Lab {
    fn new(script: Script, log: LogConfig) -> Self {
        Self::with(script, |config| config.log = log)
    }

    fn with(script: Script, change: impl FnOnce(&mut AgentConfig)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config = AgentConfig::new("node").export_to(directory.path().join("events.log"));
        change(&mut config);
        let agent = Agent::start(Box::new(script), Box::new(NodeInventory::new()), config).unwrap();
        Self { directory, agent }
    }

    fn lines(&self) -> usize {
        let text = fs::read_to_string(self.directory.path().join("events.log")).unwrap();
        text.lines().count()
    }
}

/// The same process with an argument so long.
fn with_arguments(length: usize, mut event: procession::Event<'static>) -> procession::Event<'static> {
    let bytes = format!("sh\0{}\0", "x".repeat(length)).leak().as_bytes();
    let arguments = Arguments { bytes, ..Arguments::default() };
    match &mut event.kind {
        EventKind::Exec(exec) => exec.program.arguments = arguments,
        EventKind::Running(running) => running.program.arguments = arguments,
        kind => panic!("{kind:?} has no arguments"),
    }
    event
}

/// However large they are, and however small the queue.
#[test]
fn what_is_found_is_exported_though_the_queue_has_room_for_little() {
    const FOUND: u32 = 300;
    for log in [
        LogConfig { events: 3, ..LogConfig::default() },
        LogConfig { bytes: 100_000, ..LogConfig::default() },
    ] {
        let mut script = Script::new([]);
        script.walk.extend((0..FOUND).map(|number| {
            let length = if number % 50 == 7 { 50_000 } else { 100 };
            outside(with_arguments(length, running(100 + number, ProcessKey::NONE)))
        }));
        let lab = Lab::new(script, log);
        let export = lab.agent.export().unwrap();
        let all = u64::from(FOUND + 1);
        until("all is exported", || export.counts().exported + export.counts().lost >= all);
        assert_eq!((export.counts().exported, export.counts().lost), (all, 0), "{log:?}");
        assert_eq!(lab.lines() as u64, all);
        lab.agent.stop().unwrap();
    }
}

/// With all that goes with it: its exit tells the arguments too.
#[test]
fn an_event_larger_than_the_queue_is_exported() {
    let [may_begin, may_end] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let script = Script::new(steps![
        Step::Until(Arc::clone(&may_begin)),
        outside(fork(1, 10)),
        outside(with_arguments(200_000, exec(10, 1))),
        Step::Until(Arc::clone(&may_end)),
        exit(10, 0),
    ]);
    let lab = Lab::new(script, LogConfig { bytes: 100_000, ..LogConfig::default() });
    let export = lab.agent.export().unwrap();
    let settled = || export.counts().exported + export.counts().lost;
    until("who was there is exported", || settled() == 1);
    may_begin.store(true, Ordering::Release);
    until("the exec is exported", || settled() == 2);
    may_end.store(true, Ordering::Release);
    until("the exit is exported", || settled() == 3);
    assert_eq!((export.counts().exported, export.counts().lost), (3, 0));
    lab.agent.stop().unwrap();
}

#[test]
fn an_agent_whose_export_has_broken_down_has_failed() {
    let lab = Lab::with(Script::new([]), |config| {
        config.export.as_mut().unwrap().filter = Box::new(|_| panic!("a filter that breaks down"));
    });
    until("it has failed", || lab.agent.has_failed());
    assert!(lab.agent.export().unwrap().counts().exported == 0);
    lab.agent.stop().unwrap();
}
