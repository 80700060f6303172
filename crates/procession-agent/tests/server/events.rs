//! Streams of events.

use procession_agent::LogConfig;
use procession_agent::server::ServerConfig;
use procession_api::proto::tetragon::{EventType, Filter, GetEventsRequest, GetEventsResponse};
use std::time::Duration;
use tonic::Code;

use crate::lab::{Lab, Plan, brief, drain, exec, within};

fn everything() -> GetEventsRequest {
    GetEventsRequest::default()
}

/// An event that takes much room.
fn large(sequence: u64) -> procession_agent::Event {
    let mut message = exec(sequence, 1).message().clone();
    message.cluster_name = "c".repeat(10_000);
    procession_agent::Event::new(sequence, message)
}

#[tokio::test]
async fn clients_get_what_happens_from_then_on_and_what_they_asked_for() {
    let mut lab = Lab::new().await;
    lab.node.log().append([exec(1, 1)]);
    let all = lab.events(everything()).await;
    let allow_list = vec![Filter { pid: vec![3], ..Filter::default() }];
    let one = lab.events(GetEventsRequest { allow_list, ..everything() }).await;
    lab.node.log().append([exec(2, 2), exec(3, 3)]);
    assert_eq!(lab.counts().streams, 2);
    lab.stop();
    let (all, end) = drain(all).await;
    assert_eq!(all.iter().map(brief).collect::<Vec<_>>(), ["exec 2", "exec 3"]);
    let end = end.unwrap();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "the agent is stopping"));
    let (one, _) = drain(one).await;
    assert_eq!(one.iter().map(brief).collect::<Vec<_>>(), ["exec 3"]);
    lab.until("no streams", |counts| counts.streams == 0).await;
    lab.ended().await;
}

#[tokio::test]
async fn a_filter_that_makes_no_sense_is_refused_at_once() {
    let lab = Lab::new().await;
    let allow_list = vec![Filter { binary_regex: vec!["(".into()], ..Filter::default() }];
    for request in [
        GetEventsRequest { allow_list: allow_list.clone(), ..everything() },
        GetEventsRequest { deny_list: allow_list, ..everything() },
    ] {
        let error = lab.sensors().await.get_events(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("`(`"), "{error}");
    }
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_what_it_lost() {
    let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
    let allow_list = vec![Filter::default(), losses];
    let (got, end) = read_too_slowly(GetEventsRequest { allow_list, ..everything() }).await;
    let (mut read, mut lost) = (0, 0);
    for event in &got {
        match brief(event).strip_prefix("lost ") {
            Some(count) => lost += count.parse::<u64>().unwrap(),
            None => read += 1,
        }
    }
    assert!(lost > 0, "the client's window is smaller than that");
    assert_eq!((read + lost, end), (500, Some(lost)));
}

#[tokio::test]
async fn who_does_not_ask_for_losses_is_told_at_the_end_alone() {
    let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
    let anything = vec![Filter::default()];
    for (allow_list, deny_list) in [
        (vec![], vec![]),
        (anything.clone(), vec![]),
        (vec![anything[0].clone(), losses.clone()], vec![losses]),
    ] {
        let request = GetEventsRequest { allow_list, deny_list, ..everything() };
        let (got, lost) = read_too_slowly(request).await;
        assert!(got.iter().all(|event| brief(event) == "exec 1"));
        assert_eq!(got.len() as u64 + lost.unwrap(), 500);
    }
}

/// What a client gets that does not read while much happens, and how much it is told at the end to have
/// lost.
async fn read_too_slowly(request: GetEventsRequest) -> (Vec<GetEventsResponse>, Option<u64>) {
    let log = LogConfig { events: 10, ..LogConfig::default() };
    let lab = Lab::plan(Plan { log, ..Plan::default() }).await;
    let slow = lab.events(request).await;
    for sequence in 1..=500 {
        lab.node.log().append([large(sequence)]);
        tokio::task::yield_now().await;
    }
    lab.node.log().close();
    let (got, end) = drain(slow).await;
    let end = end.unwrap();
    assert_eq!(end.code(), Code::Unavailable);
    let lost = end.metadata().get("procession-lost-events");
    (got, lost.map(|lost| lost.to_str().unwrap().parse().unwrap()))
}

#[tokio::test]
async fn what_has_happened_is_told_before_the_end() {
    let mut lab = Lab::new().await;
    let stream = lab.events(everything()).await;
    // More than is sent without being read.
    lab.node.log().append((1..=500).map(large));
    lab.stop();
    let (got, end) = drain(stream).await;
    assert_eq!(got.len(), 500);
    assert_eq!(end.unwrap().code(), Code::Unavailable);
    lab.ended().await;
}

#[tokio::test]
async fn an_end_of_the_log_is_the_end_of_the_stream() {
    let lab = Lab::new().await;
    let stream = lab.events(everything()).await;
    lab.node.log().append([exec(1, 1)]);
    lab.node.log().close();
    let (got, end) = drain(stream).await;
    assert_eq!((got.len(), end.unwrap().code()), (1, Code::Unavailable));
}

#[tokio::test]
async fn who_does_not_read_is_not_waited_for() {
    let config = ServerConfig { drain_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let mut lab = Lab::plan(Plan::of(config)).await;
    let stream = lab.events(everything()).await;
    lab.node.log().append((1..=500).map(large));
    lab.stop();
    within(lab.ended()).await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_all_get_the_same() {
    let config = ServerConfig { max_streams: 500, ..ServerConfig::default() };
    let mut lab = Lab::plan(Plan::of(config)).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = lab.sensors().await;
        for _ in 0..25 {
            let stream = client.clone().get_events(everything()).await.unwrap().into_inner();
            clients.push(tokio::spawn(drain(stream)));
        }
    }
    for chunk in 0..20 {
        lab.node.log().append((1..=25).map(|event| exec(chunk * 25 + event, 1)));
        tokio::task::yield_now().await;
    }
    lab.stop();
    for client in clients {
        assert_eq!(client.await.unwrap().0.len(), 500);
    }
    assert_eq!((lab.counts().accepted, lab.counts().streams_begun), (20, 500));
    lab.ended().await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_nothing_behind() {
    let lab = Lab::new().await;
    drop(lab.events(everything()).await);
    lab.until("no streams", |counts| counts.streams == 0 && counts.streams_begun == 1).await;
    assert!(lab.node.log().readers().is_empty());
}
