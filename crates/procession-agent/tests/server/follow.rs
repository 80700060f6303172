//! What runs, then what happens: without a gap, and nothing twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession::{FactKind, ProcessKey};
use procession_agent::server::ServerConfig;
use procession_agent::{Event, EventLog, LogConfig, Observation};
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::{FollowRequest, FollowResponse};
use procession_api::proto::tetragon::get_events_response::Event as Kind;
use procession_api::proto::tetragon::{Filter, Process, ProcessExec, ProcessExit};
use tonic::{Code, Status, Streaming};

use crate::lab::{Lab, NODE, Plan, brief, drain, exec as exec_event, response, until, within};
use crate::support::{Script, Step, exec, exit, fork, key, running, steps};

/// Makes events of what is told, late.
fn tell(observation: &Observation, log: EventLog) {
    let told = observation.told().clone();
    thread::spawn(move || {
        for told in told {
            let fact = &told.fact;
            let process = Process {
                exec_id: fact.process.key.exec_id(NODE),
                pid: Some(fact.process.pid().0),
                ..Process::default()
            };
            let process = Some(process);
            let kind = match fact.kind {
                FactKind::Exec => Kind::ProcessExec(ProcessExec { process, ..ProcessExec::default() }),
                FactKind::Exit { .. } => Kind::ProcessExit(ProcessExit { process, ..ProcessExit::default() }),
                _ => continue,
            };
            if fact.sequence % 7 == 0 {
                thread::sleep(Duration::from_micros(300));
            }
            log.append([Event::new(fact.sequence, response(kind))]);
        }
        log.close();
    });
}

/// The pids that run in the end, after a look at each step.
fn replay(items: &[FollowResponse]) -> (usize, BTreeSet<u32>) {
    let (mut running, mut images) = (BTreeSet::new(), BTreeSet::new());
    let mut snapshot = None;
    for item in items {
        match item.item.as_ref().unwrap() {
            Item::Running(process) => {
                assert!(snapshot.is_none(), "what runs comes first");
                let process = process.process.as_ref().unwrap();
                assert!(images.insert(process.exec_id.clone()), "{process:?} is told of twice");
                assert!(running.insert(process.pid.unwrap()));
            }
            Item::SnapshotEnd(end) => {
                assert_eq!(end.processes, running.len() as u64);
                snapshot = Some(running.len());
            }
            Item::Event(event) => match event.event.as_ref().unwrap() {
                Kind::ProcessExec(ProcessExec { process: Some(process), .. }) => {
                    assert!(images.insert(process.exec_id.clone()), "{process:?} is told of twice");
                    running.insert(process.pid.unwrap());
                }
                Kind::ProcessExit(ProcessExit { process: Some(process), .. }) => {
                    assert!(running.remove(&process.pid.unwrap()), "{process:?} was not told of");
                }
                other => panic!("{other:?}"),
            },
            Item::Lost(lost) => panic!("{lost:?}"),
        }
    }
    (snapshot.expect("the snapshot has an end"), running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_client_comes_it_knows_what_runs() {
    const LIVES: u32 = 40;
    const LAST: u32 = 1_200;
    let is_known = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&is_known);
    let steps = (10..=LAST).flat_map(move |pid| {
        let ended = pid.checked_sub(LIVES).filter(|pid| *pid >= 10).map(|pid| Step::from(exit(pid, 0)));
        let pause = Step::new(|| thread::sleep(Duration::from_micros(100)));
        let first = (pid == 10 + LIVES / 2).then(|| Step::Until(Arc::clone(&wait)));
        first.into_iter().chain([Step::from(fork(1, pid)), exec(pid, 1).into(), pause]).chain(ended)
    });
    let mut lab = Lab::plan(Plan { script: Script::new(steps), ..Plan::default() }).await;
    tell(lab.observation.as_ref().unwrap(), lab.node.log().clone());
    let mut first = follow(&lab).await;
    let before = snapshot(&mut first).await;
    is_known.store(true, Ordering::Release);
    let mut clients = Vec::new();
    while clients.len() < 20 {
        clients.push(tokio::spawn(drain(follow(&lab).await)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let live = || async { lab.node.queries().ask(|view| view.table.ledger().received()).await.unwrap() };
    while within(live()).await < 1 + u64::from(LAST - 9) * 2 + u64::from(LAST - 9 - LIVES) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let last = follow(&lab).await;
    lab.observation.take().unwrap().stop();
    let expected: BTreeSet<_> = std::iter::once(1).chain(LAST - LIVES + 1..=LAST).collect();
    let check = |(items, end): (Vec<FollowResponse>, Option<Status>)| {
        assert_eq!(end.unwrap().code(), Code::Unavailable);
        let (snapshot, running) = replay(&items);
        assert_eq!(running, expected);
        snapshot
    };
    let (after, end) = drain(first).await;
    let first = check(([before, after].concat(), end));
    assert!(first < expected.len(), "it came before all had happened: {first}");
    for client in clients {
        check(client.await.unwrap());
    }
    assert_eq!(check(drain(last).await), expected.len(), "it came when all had happened");
}

async fn follow(lab: &Lab) -> Streaming<FollowResponse> {
    lab.lineage().await.follow(FollowRequest::default()).await.unwrap().into_inner()
}

/// What runs, with the word that this is all.
async fn snapshot(stream: &mut Streaming<FollowResponse>) -> Vec<FollowResponse> {
    let mut items = Vec::new();
    while !matches!(items.last(), Some(FollowResponse { item: Some(Item::SnapshotEnd(_)) })) {
        items.push(within(stream.message()).await.unwrap().unwrap());
    }
    items
}

#[tokio::test]
async fn filters_hold_for_what_runs_and_for_what_happens() {
    let script = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1)), running(6, key(1))],
        ..Script::new([])
    };
    let lab = Lab::plan(Plan { script, ..Plan::default() }).await;
    let deny_list = vec![Filter { pid: vec![1, 7], ..Filter::default() }];
    let request = FollowRequest { deny_list, ..FollowRequest::default() };
    let stream = lab.lineage().await.follow(request).await.unwrap().into_inner();
    lab.node.log().append([exec_event(2, 5), exec_event(100, 7), exec_event(101, 8)]);
    lab.node.log().close();
    let (items, _) = drain(stream).await;
    // The second event of the table is part of what runs.
    assert_eq!(lines(items), ["running 5", "running 6", "end of 2", "exec 8"]);
}

#[tokio::test]
async fn descendants_are_followed_from_the_beginning() {
    let script = Script::new(steps![fork(1, 5), fork(5, 6), fork(6, 7), exit(6, 0), fork(1, 8)]);
    let is_played = script.is_played.clone();
    let lab = Lab::plan(Plan { script, ..Plan::default() }).await;
    until("the script is played", || is_played.load(Ordering::Acquire)).await;
    let allow_list = vec![Filter { pid_set: vec![5], ..Filter::default() }];
    let request = FollowRequest { allow_list, ..FollowRequest::default() };
    let stream = lab.lineage().await.follow(request).await.unwrap().into_inner();
    let by = |pid, parent| {
        let exec_id = |pid| key(pid).exec_id(NODE);
        let process = |pid| Some(Process { pid: Some(pid), exec_id: exec_id(pid), ..Process::default() });
        let exec = ProcessExec { process: process(pid), parent: process(parent), ..ProcessExec::default() };
        Event::new(100, response(Kind::ProcessExec(exec)))
    };
    lab.node.log().append([by(9, 7), by(10, 8)]);
    lab.node.log().close();
    let (items, _) = drain(stream).await;
    assert_eq!(lines(items), ["running 5", "running 7", "end of 2", "exec 9"]);
}

/// What is told, in short.
fn lines(items: Vec<FollowResponse>) -> Vec<String> {
    let line = |item: FollowResponse| match item.item.unwrap() {
        Item::Running(process) => format!("running {}", process.process.unwrap().pid.unwrap()),
        Item::SnapshotEnd(end) => format!("end of {}", end.processes),
        Item::Event(event) => brief(&event),
        Item::Lost(lost) => format!("lost {}", lost.events),
    };
    items.into_iter().map(line).collect()
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_told_what_it_lost() {
    let log = LogConfig { events: 10, ..LogConfig::default() };
    let lab = Lab::plan(Plan { log, ..Plan::of(ServerConfig::default()) }).await;
    let stream = lab.lineage().await.follow(FollowRequest::default()).await.unwrap().into_inner();
    for sequence in 100..600 {
        let mut message = exec_event(sequence, 1).message().clone();
        message.cluster_name = "c".repeat(10_000);
        lab.node.log().append([Event::new(sequence, message)]);
        tokio::task::yield_now().await;
    }
    lab.node.log().close();
    let (items, _) = drain(stream).await;
    let (mut read, mut lost) = (0, 0);
    for item in items {
        match item.item.unwrap() {
            Item::Event(_) => read += 1,
            Item::Lost(events) => lost += events.events,
            _ => {}
        }
    }
    assert!(lost > 0);
    assert_eq!(read + lost, 500);
}

#[tokio::test]
async fn nobody_follows_what_has_ended() {
    let mut lab = Lab::new().await;
    let observation = lab.observation.take().unwrap();
    observation.stop();
    tokio::task::spawn_blocking(|| observation.join().unwrap()).await.unwrap();
    let error = lab.lineage().await.follow(FollowRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    until("no stream", || lab.counts().streams == 0).await;
}
