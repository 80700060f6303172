//! The pipeline, fed by a source that plays a script.

mod support;

use std::time::{Duration, Instant};

use procession::{Arguments, EventKind, ExitStatus, FactKind, Pid, ProcessKey};
use procession_agent::{NodeInventory, Observation, ObservationConfig, Scope};

use support::{Script, event, everything, exec, exit, fork, key, play, running, selection, steps};

#[test]
fn facts_come_in_order_and_the_rest_comes_at_the_end() {
    let script = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1))],
        live: steps![fork(5, 6)].into(),
        rest: steps![event(EventKind::Lost(3)), fork(6, 7), exit(7, 0)].into(),
        ..Script::default()
    };
    let played = play(script, everything(), NodeInventory::new());
    let told = played.found.iter().chain(&played.told);
    let seen: Vec<_> = told.map(|told| (told.fact.process.pid().0, told.fact.kind)).collect();
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
    let account = played.account;
    assert_eq!((account.ledger.received(), account.ledger.lost(), account.live), (5, 3, 3));
}

#[test]
fn a_scope_holds_what_a_process_starts_and_nothing_else() {
    let script = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1)), running(8, key(1))],
        live: steps![fork(5, 10), fork(8, 11), fork(10, 12), exit(10, 3), fork(12, 13), exit(5, 0)].into(),
        ..Script::default()
    };
    let scope = Scope::DescendantsOf { pid: Pid(5), pid_namespace: None };
    let config = ObservationConfig { selection: selection(scope), ..everything() };
    let played = play(script, config, NodeInventory::new());
    let seen: Vec<_> = played.told.iter().map(|told| (told.fact.process.pid().0, told.fact.depth)).collect();
    assert_eq!(seen, [(10, 0), (12, 1), (10, 0), (13, 2)], "pid and depth below the root");
    let tally = played.account.tally;
    assert_eq!((tally.processes, tally.ended, tally.failures), (3, 1, 1));
}

#[test]
fn what_finds_no_room_is_counted() {
    let script = Script::new((2..=101).map(|pid| fork(1, pid).into()));
    let config = ObservationConfig { queue: 10, ..everything() };
    let observation = Observation::start(Box::new(script), config, Box::new(NodeInventory::new())).unwrap();
    observation.stop();
    // Nobody reads until all is over.
    while observation.told().len() < 10 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(200));
    let read = observation.told().iter().count() as u64;
    let account = observation.join().unwrap();
    assert_eq!(account.ledger.received(), 101);
    assert_eq!(read + account.dropped, 100, "what already ran is not in the queue");
    assert!(account.dropped > 0);
}

/// However few facts there are: what they keep in memory has a bound too.
#[test]
fn long_arguments_that_find_no_room_are_counted() {
    static LONG: [u8; 10_000] = [b'a'; 10_000];
    let long = |pid| {
        let mut event = exec(pid, 1);
        if let EventKind::Exec(exec) = &mut event.kind {
            exec.program.arguments = Arguments { bytes: &LONG, total_len: LONG.len() };
        }
        event
    };
    let script = Script::new((2..=41).flat_map(|pid| [fork(1, pid).into(), long(pid).into()]));
    let config = ObservationConfig { queue_bytes: 10 * LONG.len(), ..everything() };
    let observation = Observation::start(Box::new(script), config, Box::new(NodeInventory::new())).unwrap();
    observation.stop();
    // Nobody reads until all is over.
    while !observation.pulse().is_over() {
        std::thread::yield_now();
    }
    let kinds: Vec<_> = observation.told().iter().map(|told| told.fact.kind).collect();
    let account = observation.join().unwrap();
    let execs = kinds.iter().filter(|kind| **kind == FactKind::Exec).count();
    assert!((1..10).contains(&execs), "{kinds:?}");
    assert_eq!(kinds.len() as u64 + account.dropped, 80);
}

/// The images of those who run take several times what the table may.
#[test]
fn what_a_table_without_memory_is_told_is_told_on_or_counted() {
    const PROCESSES: u32 = 3_000;
    let long = |pid: u32| {
        let mut event = exec(pid, 1);
        if let EventKind::Exec(exec) = &mut event.kind {
            let bytes = format!("sh\0{pid:0>1000}\0").leak().as_bytes();
            exec.program.arguments = Arguments { bytes, total_len: bytes.len() };
        }
        event
    };
    let live = (2..2 + PROCESSES).flat_map(|pid| [fork(1, pid).into(), long(pid).into()]);
    let script =
        Script { rest: (2..2 + PROCESSES).map(|pid| exit(pid, 0).into()).collect(), ..Script::new(live) };
    let mut config = ObservationConfig { queue: usize::MAX, queue_bytes: usize::MAX, ..everything() };
    config.table.budget = 0;
    let played = play(script, config, NodeInventory::new());
    let told = (played.found.len() + played.told.len()) as u64;
    let account = played.account;
    assert_eq!(told + account.dropped, account.ledger.received());
}

#[test]
fn an_observation_that_is_dropped_comes_to_its_end() {
    let script = Script::new([]);
    let observation =
        Observation::start(Box::new(script), everything(), Box::new(NodeInventory::new())).unwrap();
    let pulse = observation.pulse().clone();
    drop(observation);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !pulse.is_over() {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
}
