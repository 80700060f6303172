//! `procession.v1.LineageService`, but for what follows.

use std::time::Duration;

use procession::ProcessKey;
use procession_agent::server::ServerConfig;
use procession_agent::{LogConfig, ReaderKind};
use procession_api::proto::procession::v1::target::Name;
use procession_api::proto::procession::v1::{
    GetLedgerRequest, GetLineageRequest, GetStatusRequest, GetTreeRequest, GetTreeResponse,
    ListProcessesRequest, Relation, Target,
};
use procession_api::proto::tetragon::{Filter, GetEventsRequest};
use tonic::{Code, Streaming};

use crate::lab::{Lab, NODE, Plan, drain, fork_by, until, within};
use crate::support::{Script, exec, exit, fork, image, key, running, steps};

/// Init; a shell that runs `ls`, which has a child that has ended with a child of its own.
async fn lab() -> Lab {
    let script = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1))],
        live: steps![
            fork(5, 10),
            exec(10, 1),
            exec(10, 2),
            fork_by(image(10, 2), 11),
            fork(11, 12),
            exit(11, 0)
        ]
        .into(),
        ..Script::default()
    };
    let is_played = script.is_played.clone();
    let lab = Lab::plan(Plan { script, ..Plan::default() }).await;
    until("the script is played", || is_played.load(std::sync::atomic::Ordering::Acquire)).await;
    lab
}

#[expect(clippy::unnecessary_wraps, reason = "as requests want it")]
fn pid(pid: u32) -> Option<Target> {
    Some(Target { name: Some(Name::Pid(pid)) })
}

#[expect(clippy::unnecessary_wraps, reason = "as requests want it")]
fn image_of(exec_id: impl Into<String>) -> Option<Target> {
    Some(Target { name: Some(Name::ExecId(exec_id.into())) })
}

#[tokio::test]
async fn processes_are_listed() {
    let lab = lab().await;
    let list = async |request: ListProcessesRequest| {
        let stream = lab.lineage().await.list_processes(request).await.unwrap().into_inner();
        let (listed, end) = drain(stream).await;
        assert!(end.is_none());
        let process = |item: &procession_api::proto::procession::v1::ListProcessesResponse| {
            item.process.clone().unwrap().process.unwrap().pid.unwrap()
        };
        let mut pids: Vec<_> = listed.iter().map(process).collect();
        pids.sort_unstable();
        pids
    };
    assert_eq!(list(ListProcessesRequest::default()).await, [1, 5, 10, 12]);
    let with_ended = ListProcessesRequest { with_ended: true, ..Default::default() };
    assert_eq!(list(with_ended.clone()).await, [1, 5, 10, 11, 12]);
    let allow_list = vec![Filter { pid: vec![11, 12], ..Filter::default() }];
    assert_eq!(list(ListProcessesRequest { allow_list, ..with_ended.clone() }).await, [11, 12]);
    let allow_list = vec![Filter { parent_binary_regex: vec!["^/bin/sh$".into()], ..Filter::default() }];
    assert_eq!(list(ListProcessesRequest { allow_list, ..with_ended.clone() }).await, [5]);
    let allow_list = vec![Filter { pid_set: vec![10], ..Filter::default() }];
    let descendants = ListProcessesRequest { allow_list, ..ListProcessesRequest::default() };
    assert_eq!(list(descendants).await, [10, 12], "though what came between has ended");
}

#[tokio::test]
async fn many_processes_are_listed() {
    let walk =
        std::iter::once(running(1, ProcessKey::NONE)).chain((2..=2_000).map(|pid| running(pid, key(1))));
    let script = Script { walk: walk.collect(), ..Script::default() };
    let lab = Lab::plan(Plan { script, ..Plan::default() }).await;
    let request = ListProcessesRequest::default();
    let stream = lab.lineage().await.list_processes(request).await.unwrap().into_inner();
    let (listed, end) = drain(stream).await;
    assert_eq!((listed.len(), end.is_none()), (2_000, true));
    let stream = lab.lineage().await.get_tree(GetTreeRequest::default()).await.unwrap().into_inner();
    assert_eq!(drain(stream).await.0.len(), 2_000);
}

#[tokio::test]
async fn a_tree_has_levels() {
    let lab = lab().await;
    let tree = async |request: GetTreeRequest| {
        let stream = lab.lineage().await.get_tree(request).await.unwrap().into_inner();
        let (items, end) = drain(stream).await;
        assert!(end.is_none());
        let each = items.into_iter();
        each.map(|item| (item.process.unwrap().process.unwrap().pid.unwrap(), item.level)).collect::<Vec<_>>()
    };
    let all = GetTreeRequest::default();
    assert_eq!(tree(all.clone()).await, [(1, 0), (5, 1), (10, 2), (12, 3)]);
    let from_ls = GetTreeRequest { root: pid(10), with_ended: true };
    assert_eq!(tree(from_ls).await, [(10, 0), (11, 1), (12, 2)]);
    let first_image = GetTreeRequest { root: image_of(image(10, 1).exec_id(NODE)), ..all };
    assert_eq!(tree(first_image).await, [(10, 0), (12, 1)]);
}

#[tokio::test]
async fn a_lineage_leads_to_init() {
    let lab = lab().await;
    let lineage = async |target| {
        let answer =
            lab.lineage().await.get_lineage(GetLineageRequest { target }).await.unwrap().into_inner();
        let link = |link: &procession_api::proto::procession::v1::Link| {
            let process = link.process.clone().unwrap().process.unwrap();
            (process.pid.unwrap(), link.relation())
        };
        (answer.chain.iter().map(link).collect::<Vec<_>>(), answer.is_cut)
    };
    let chain = vec![
        (12, Relation::Self_),
        (11, Relation::Parent),
        (10, Relation::Parent),
        (10, Relation::Previous),
        (5, Relation::Parent),
        (1, Relation::Parent),
    ];
    assert_eq!(lineage(pid(12)).await, (chain.clone(), false));
    assert_eq!(lineage(pid(11)).await.0[1..], chain[2..], "who had the pid last");
    assert_eq!(lineage(image_of(image(10, 1).exec_id(NODE))).await.0[1..], chain[4..]);
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let lab = lab().await;
    for (target, code, text) in [
        (None, Code::InvalidArgument, "set `pid` or `exec_id`"),
        (image_of("%"), Code::InvalidArgument, "base64 of `node:start:pid`"),
        (pid(99), Code::NotFound, "pid 99"),
        (image_of(image(10, 7).exec_id(NODE)), Code::NotFound, "pid 10"),
        (image_of(key(5).exec_id("elsewhere")), Code::Ok, ""),
        (image_of(image(9, 7).exec_id("elsewhere")), Code::NotFound, "`elsewhere`, and this is `node-1`"),
    ] {
        let answer = lab.lineage().await.get_lineage(GetLineageRequest { target: target.clone() }).await;
        let status = answer.err().unwrap_or_else(|| tonic::Status::ok(""));
        assert!(status.code() == code && status.message().contains(text), "{target:?}: {status:?}");
        if target.is_some() && code != Code::Ok {
            let request = GetTreeRequest { root: target, with_ended: false };
            assert_eq!(lab.lineage().await.get_tree(request).await.unwrap_err().code(), code);
        }
    }
}

#[tokio::test]
async fn the_account_and_the_status_are_told() {
    let lab = lab().await;
    let stream = lab.events(GetEventsRequest::default()).await;
    let ledger = lab.lineage().await.get_ledger(GetLedgerRequest {}).await.unwrap().into_inner();
    let received: Vec<_> =
        ledger.accounts.iter().map(|account| (account.kind.as_str(), account.received)).collect();
    let all = [("fork", 3), ("exec", 2), ("exit", 1), ("running", 2), ("change", 0), ("gone", 0)];
    assert_eq!(received, all);
    assert_eq!(ledger.memory.unwrap().running, 4);
    assert_eq!(ledger.readers.iter().map(|reader| reader.name.as_str()).collect::<Vec<_>>(), ["grpc"]);
    let status = lab.lineage().await.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.node_name.as_str(), status.processes, status.clients), (NODE, 4, 1));
    assert!(status.is_observing && status.last_event.is_some() && status.started.is_some());
    assert_eq!(status.shortcomings.len(), 1);
    drop(stream);
}

#[tokio::test]
async fn what_clients_lost_who_have_gone_is_told() {
    let log = LogConfig { events: 10, ..LogConfig::default() };
    let lab = Lab::plan(Plan { log, ..Plan::default() }).await;
    let log = lab.node.log();
    let [slow, fast] = [(); 2].map(|()| log.reader(ReaderKind::Client));
    let append = |events: std::ops::Range<u64>| log.append(events.map(|event| crate::lab::exec(event, 1)));
    append(0..25);
    drop(slow);
    append(25..30);
    let ledger = lab.lineage().await.get_ledger(GetLedgerRequest {}).await.unwrap().into_inner();
    let readers: Vec<_> =
        ledger.readers.iter().map(|it| (it.name.as_str(), it.read, it.lost, it.waiting)).collect();
    assert_eq!(readers, [("grpc", 0, 20, 10), ("grpc (gone)", 0, 15, 0)]);
    drop(fast);
    let ledger = lab.lineage().await.get_ledger(GetLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!(
        ledger.readers.iter().map(|it| (it.name.as_str(), it.lost)).collect::<Vec<_>>(),
        [("grpc (gone)", 35)]
    );
}

/// A node with so many processes that nobody is sent all of them without reading.
async fn crowd(config: ServerConfig) -> Lab {
    let walk =
        std::iter::once(running(1, ProcessKey::NONE)).chain((2..=20_000).map(|pid| running(pid, key(1))));
    let script = Script { walk: walk.collect(), ..Script::default() };
    Lab::plan(Plan { script, ..Plan::of(config) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_keep_nobody_from_the_processes_for_long() {
    let read_timeout = Duration::from_secs(1);
    let lab = crowd(ServerConfig { read_timeout, ..ServerConfig::default() }).await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(lab.lineage().await.get_tree(GetTreeRequest::default()).await.unwrap().into_inner());
    }
    assert_eq!(drain(tree_in_the_end(&lab).await).await.0.len(), 20_000);
    // The last of them may have been given up by now, or not yet.
    tokio::time::sleep(2 * read_timeout).await;
    for stream in stalled {
        let (got, end) = drain(stream).await;
        assert!(got.len() < 20_000);
        assert_eq!(end.unwrap().code(), Code::Aborted);
    }
}

/// Asks again where it is told to come later, as it may be on a busy machine.
async fn tree_in_the_end(lab: &Lab) -> Streaming<GetTreeResponse> {
    let mut client = lab.lineage().await;
    let tree = async {
        loop {
            match client.get_tree(GetTreeRequest::default()).await {
                Ok(answer) => return answer.into_inner(),
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
        }
    };
    within(tree).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_is_not_read_keeps_nobody_from_another() {
    let lab = crowd(ServerConfig::default()).await;
    let stalled = lab.lineage().await.get_tree(GetTreeRequest::default()).await.unwrap().into_inner();
    let stream = lab.lineage().await.list_processes(ListProcessesRequest::default()).await.unwrap();
    assert_eq!(drain(stream.into_inner()).await.0.len(), 20_000);
    let (got, end) = drain(stalled).await;
    assert_eq!((got.len(), end.is_none()), (20_000, true));
}
