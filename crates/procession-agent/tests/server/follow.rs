//! What runs, then what happens: without a gap, and nothing twice.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use procession::{FactKind, ProcessKey};
use procession_agent::server::ServerConfig;
use procession_agent::{Event, EventLog, LogConfig, Observation};
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::{FollowRequest, FollowResponse};
use procession_api::proto::tetragon::get_events_response::Event as Kind;
use procession_api::proto::tetragon::{Filter, Process, ProcessExec, ProcessExit};
use tonic::Code;

use crate::lab::{Lab, NODE, Plan, drain, exec as exec_event, response, until, within};
use crate::support::{Script, Step, exec, exit, fork, key, running};

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
    let steps = (10..=LAST).flat_map(|pid| {
        let ended = pid.checked_sub(LIVES).filter(|pid| *pid >= 10).map(|pid| Step::from(exit(pid, 0)));
        let pause = Step::new(|| thread::sleep(Duration::from_micros(100)));
        [Step::from(fork(1, pid)), exec(pid, 1).into(), pause].into_iter().chain(ended)
    });
    let lab = Lab::plan(Plan { script: Script::new(steps), ..Plan::default() }).await;
    let mut lab = lab;
    tell(lab.observation.as_ref().unwrap(), lab.node.log().clone());
    let mut clients = Vec::new();
    while clients.len() < 20 {
        let mut client = lab.lineage().await;
        let Ok(stream) = client.follow(FollowRequest::default()).await else { break };
        clients.push(tokio::spawn(drain(stream.into_inner())));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let live = || async { lab.node.queries().ask(|view| view.table.ledger().received()).await.unwrap() };
    while within(live()).await < 1 + u64::from(LAST - 9) * 2 + u64::from(LAST - 9 - LIVES) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lab.observation.take().unwrap().stop();
    let expected: BTreeSet<_> = std::iter::once(1).chain(LAST - LIVES + 1..=LAST).collect();
    let mut snapshots = BTreeSet::new();
    for client in clients {
        let (items, end) = client.await.unwrap();
        assert_eq!(end.unwrap().code(), Code::Unavailable);
        let (snapshot, running) = replay(&items);
        assert_eq!(running, expected);
        snapshots.insert(snapshot);
    }
    assert!(snapshots.len() > 1, "they came at different times: {snapshots:?}");
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
    let told: Vec<_> = items
        .into_iter()
        .map(|item| match item.item.unwrap() {
            Item::Running(process) => format!("running {}", process.process.unwrap().pid.unwrap()),
            Item::SnapshotEnd(end) => format!("end of {}", end.processes),
            Item::Event(event) => crate::lab::brief(&event),
            Item::Lost(lost) => format!("lost {}", lost.events),
        })
        .collect();
    // The second event of the table is part of what runs.
    let mut told = told;
    told[..2].sort();
    assert_eq!(told, ["running 5", "running 6", "end of 2", "exec 8"]);
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
