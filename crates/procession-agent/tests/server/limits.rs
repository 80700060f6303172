//! What clients do wrong stays theirs.

use std::io;
use std::time::Duration;

use procession_agent::server::{ServerAddress, ServerConfig};
use procession_api::proto::procession::v1::FollowRequest;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use procession_api::proto::tetragon::{Filter, GetEventsRequest, GetEventsResponse, GetVersionRequest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tonic::Code;

use crate::lab::{Lab, Plan, connect, drain, exec, within};

trait Raw: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Raw for T {}

/// A connection on which nothing was said yet.
async fn raw(lab: &Lab) -> Box<dyn Raw> {
    match &lab.address {
        ServerAddress::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        ServerAddress::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
    }
}

/// Waits until the other side has closed.
async fn closed(connection: &mut dyn Raw) {
    let mut rest = Vec::new();
    match within(connection.read_to_end(&mut rest)).await {
        Ok(_) => {}
        Err(error) => assert!(
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
            "{error}"
        ),
    }
}

async fn assert_serves(lab: &Lab) {
    let version = lab.sensors().await.get_version(GetVersionRequest {}).await.unwrap().into_inner();
    assert_eq!(version.version, env!("CARGO_PKG_VERSION"));
}

fn hasty() -> ServerConfig {
    ServerConfig { opening_timeout: Duration::from_millis(500), ..ServerConfig::default() }
}

#[tokio::test]
async fn who_does_not_speak_http_2_is_turned_away() {
    for plan in [Plan::of(ServerConfig::default()), Plan::tcp(ServerConfig::default())] {
        let lab = Lab::plan(plan).await;
        for garbage in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0; 1000], &vec![0xff; 100_000]] {
            let mut connection = raw(&lab).await;
            // The server may have closed before all is written.
            let _ = connection.write_all(garbage).await;
            closed(&mut *connection).await;
        }
        lab.until("all gone", |counts| counts.open == 0 && counts.accepted == 3).await;
        assert_serves(&lab).await;
    }
}

#[tokio::test]
async fn who_says_nothing_or_too_little_is_turned_away() {
    for plan in [Plan::of(hasty()), Plan::tcp(hasty())] {
        let lab = Lab::plan(plan).await;
        for beginning in ["", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut connection = raw(&lab).await;
            connection.write_all(beginning.as_bytes()).await.unwrap();
            closed(&mut *connection).await;
        }
        lab.until("all gone", |counts| counts.open == 0 && counts.failed == 3).await;
        assert_serves(&lab).await;
    }
}

#[tokio::test]
async fn a_client_that_is_quiet_after_the_beginning_stays() {
    let lab = Lab::plan(Plan::of(hasty())).await;
    let mut client = lab.sensors().await;
    tokio::time::sleep(4 * hasty().opening_timeout).await;
    client.get_version(GetVersionRequest {}).await.unwrap();
    assert_eq!(lab.counts().accepted, 1, "on the same connection");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let lab = Lab::new().await;
    let mut client = lab.sensors().await;
    let allow_list = vec![Filter { binary_regex: vec!["a".repeat(300 << 10)], ..Filter::default() }];
    let error = client.get_events(GetEventsRequest { allow_list, ..GetEventsRequest::default() }).await;
    assert_eq!(error.unwrap_err().code(), Code::OutOfRange);
    client.get_version(GetVersionRequest {}).await.unwrap();
}

/// Takes two file descriptors for each, and a few seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 20,000 file descriptors"]
async fn thousands_of_clients_are_served() {
    const CLIENTS: usize = 9_000;
    let config = ServerConfig { max_connections: CLIENTS, max_streams: CLIENTS, ..ServerConfig::default() };
    let mut lab = Lab::plan(Plan::of(config)).await;
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(lab.events(GetEventsRequest::default()).await);
    }
    lab.node.log().append((1..=100).map(|sequence| exec(sequence, 1)));
    lab.stop();
    for stream in streams {
        assert_eq!(drain(stream).await.0.len(), 100);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let config = ServerConfig { max_connections: 2, ..ServerConfig::default() };
    let lab = Lab::plan(Plan::of(config)).await;
    let first = lab.sensors().await;
    let mut second = lab.sensors().await;
    closed(&mut *raw(&lab).await).await;
    assert_eq!((lab.counts().open, lab.counts().refused), (2, 1));
    second.get_version(GetVersionRequest {}).await.unwrap();
    drop(first);
    lab.until("room", |counts| counts.open == 1).await;
    assert_serves(&lab).await;
}

#[tokio::test]
async fn one_stream_too_many_is_refused_whoever_asks() {
    let lab = Lab::plan(Plan::of(ServerConfig { max_streams: 2, ..ServerConfig::default() })).await;
    let first = lab.events(GetEventsRequest::default()).await;
    let follow = lab.lineage().await.follow(FollowRequest::default()).await.unwrap();
    let refused = lab.sensors().await.get_events(GetEventsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("2 streams"), "{refused}");
    let refused = lab.lineage().await.follow(FollowRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_serves(&lab).await;
    drop(first);
    lab.until("room", |counts| counts.streams == 1).await;
    lab.events(GetEventsRequest::default()).await;
    drop(follow);
}

#[tokio::test]
async fn a_filter_that_would_take_long_to_compile_is_refused_soon() {
    let lab = Lab::new().await;
    for pattern in [r"\pL{20}", "a"] {
        let allow_list = vec![Filter { binary_regex: vec![pattern.into(); 20_000], ..Filter::default() }];
        let request = GetEventsRequest { allow_list, ..GetEventsRequest::default() };
        let error = lab.sensors().await.get_events(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("too many expressions"), "{error}");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let config = ServerConfig { answer_timeout: Duration::from_secs(1), ..ServerConfig::default() };
    let lab = Lab::plan(Plan::of(config)).await;
    let mut client = tonic::client::Grpc::new(lab.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/tetragon.FineGuidanceSensors/GetEvents");
    let codec = tonic_prost::ProstCodec::<GetEventsRequest, GetEventsResponse>::default();
    let never = tonic::Request::new(tokio_stream::pending::<GetEventsRequest>());
    let answer = within(client.streaming(never, path, codec)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_serves(&lab).await;
}

#[tokio::test]
async fn who_fills_one_address_does_not_keep_others_from_another() {
    let directory = tempfile::tempdir().unwrap();
    let socket = ServerAddress::Unix(directory.path().join("s"));
    let addresses = vec!["127.0.0.1:0".parse().unwrap(), socket.clone()];
    let config = ServerConfig { addresses, max_connections: 1, ..ServerConfig::default() };
    let lab = Lab::plan(Plan::of(config)).await;
    let _first = lab.sensors().await;
    closed(&mut *raw(&lab).await).await;
    let mut client = FineGuidanceSensorsClient::new(connect(&socket).await);
    client.get_version(GetVersionRequest {}).await.unwrap();
}
