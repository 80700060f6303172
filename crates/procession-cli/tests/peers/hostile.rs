//! Who does not keep to the rules gets an error; nobody else notices.

use std::io::{self, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::procession::v1::{FollowRequest, ListProcessesRequest};
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use procession_api::proto::tetragon::{
    CapFilter, CapFilterSet, FieldFilter, Filter, GetEventsRequest, GetVersionRequest,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tonic::{Code, Status};

use crate::Test;
use crate::agent::{Agent, PATIENCE, Setup, markers, run_marked, wait_until};
use crate::follower::{Follower, Frozen, Way, block_on, readers};
use crate::tls::Certificates;

pub(crate) const TESTS: [Test; 5] = [
    ("hostile::ten_thousand_connections", ten_thousand_connections),
    ("hostile::garbage", garbage),
    ("hostile::a_client_that_never_reads", a_client_that_never_reads),
    ("hostile::requests_that_make_no_sense", requests_that_make_no_sense),
    ("hostile::no_certificate_no_answer", no_certificate_no_answer),
];

const CONNECTIONS: usize = 10_000;
/// Fewer than that, and more than clients here.
const ADMITTED: usize = 4_000;
const MOST_GROWTH: u64 = 256 << 20;

fn ten_thousand_connections() {
    let connections = CONNECTIONS.min(files().saturating_sub(500));
    assert!(connections > ADMITTED + 100, "the limit of open files is too low for this: {connections}");
    let agent = Agent::start(&[&format!("--server-max-connections={ADMITTED}")]);
    let ways = [Way::unix(&agent), Way::tcp(&agent)];
    let followers = ways.each_ref().map(|way| Follower::start(way, "crowd"));
    let before = agent.memory();
    run_marked("crowd", 100);

    let mut crowd = Vec::new();
    for number in 0..connections {
        if number % 500 == 0 {
            // So that the kernel's queue does not overflow.
            thread::sleep(Duration::from_millis(100));
        }
        let stream = TcpStream::connect(("127.0.0.1", agent.port())).unwrap();
        stream.set_nonblocking(true).unwrap();
        crowd.push(stream);
    }
    // Less than come too many: on a slow machine the first ones lose their places before the last ones come.
    agent.wait_for_metric("procession_server_refused_connections_total", 1_000);
    // Turned away means closed.
    let begin = Instant::now();
    while crowd.len() > ADMITTED {
        crowd.retain_mut(is_open);
        assert!(begin.elapsed() < PATIENCE, "{} are open", crowd.len());
    }
    run_marked("crowd", 100);
    let growth = agent.memory().saturating_sub(before);
    assert!(growth < MOST_GROWTH, "it took {growth} bytes more");
    for follower in &followers {
        wait_until(|| follower.seen().execs.len() >= 200, || format!("{:?}", follower.seen().execs.len()));
    }

    // Who says nothing loses its place in the end, and then there is room again.
    for way in &ways {
        wait_until(|| block_on(way.version()).is_ok(), || "no room for a new client".to_owned());
    }
    drop(crowd);
    run_marked("after", 1);
    agent.wait_for_export("after-0");
    for follower in followers {
        assert!(follower.seen().execs.iter().eq(ordered("crowd", 100).iter().chain(&ordered("crowd", 100))));
    }
    assert_eq!(readers(&agent).iter().map(|reader| reader.lost).sum::<u64>(), 0);
}

fn ordered(marker: &str, times: usize) -> Vec<String> {
    (0..times).map(|number| format!("{marker}-{number}")).collect()
}

/// Lets this process have as many files as it may; so many they are.
fn files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(usize::MAX, |files| files.try_into().unwrap())
}

fn is_open(stream: &mut TcpStream) -> bool {
    // A server that speaks HTTP/2 may greet first.
    loop {
        match stream.read(&mut [0; 256]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// What is sent, by a name.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frame = |length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let [_, length @ ..] = length.to_be_bytes();
        [PREFACE, SETTINGS, &length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let header = b"\x00\x01x\x7f\x81\xff\x07";
    // Headers without an end, in one piece after the other.
    let pieces: Vec<u8> = iter::once(1_u8)
        .chain(iter::repeat_n(9, 200))
        .flat_map(|kind| {
            let head: &[u8] = if kind == 1 { header } else { b"" };
            let head = [head, &*vec![b'a'; 16_000]].concat();
            let [_, length @ ..] = u32::try_from(head.len()).unwrap().to_be_bytes();
            [&length[..], &[kind, 0, 0, 0, 0, 1], &head].concat()
        })
        .collect();
    vec![
        ("noise", noise(64 << 10)),
        ("zeros", vec![0; 64 << 10]),
        ("a piece of the preface", PREFACE[..10].to_vec()),
        ("the preface alone", PREFACE.to_vec()),
        ("the preface and noise", [PREFACE, &noise(4 << 10)].concat()),
        ("settings and noise", [PREFACE, SETTINGS, &noise(4 << 10)].concat()),
        ("a frame that is too long", frame(0x00ff_ffff, 0, 0, 1, &vec![0; 32 << 10])),
        ("data of no stream", frame(4, 0, 0, 7, b"data")),
        ("headers that are none", frame(8, 1, 4, 1, &[0xff; 8])),
        ("headers for stream 0", frame(1, 1, 4, 0, &[0x82])),
        ("settings of an odd length", frame(5, 4, 0, 0, &[0; 5])),
        ("a window that overflows", frame(4, 8, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("endless headers", [PREFACE, SETTINGS, &pieces].concat()),
        ("an endless line", vec![b'A'; 1 << 20]),
        (
            "HTTP/1.1 for gRPC",
            b"POST /tetragon.FineGuidanceSensors/GetVersion HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (
            "an endless HTTP header",
            [b"GET /metrics HTTP/1.1\r\nX: ", &*vec![b'a'; 1 << 20], b"\r\n\r\n"].concat(),
        ),
        ("many HTTP headers", [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(50_000)].concat()),
        ("a hello of TLS", hello()),
        ("half a hello of TLS", hello()[..20].to_vec()),
        ("a record of TLS with noise", [&[22, 3, 1, 0x40, 0][..], &noise(0x4000)].concat()),
    ]
}

/// The first message of TLS 1.2, with one suite that nobody has.
fn hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0xff, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// The same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

fn garbage() {
    let certificates = Certificates::make();
    let clear = Agent::start(&[]);
    let secure = certificates.options().into_iter().fold(Setup::new(), Setup::option).start();
    let tls = Way::tls(&secure, &certificates.authority(), Some(certificates.client()));
    let ways = [Way::unix(&clear), Way::tcp(&clear), Way::unix(&secure), tls];
    let followers = ways.each_ref().map(|way| Follower::start(way, "garbage"));
    // All at the same time: who leaves its greeting unfinished is borne for a while.
    let mut thrown = throw(|| UnixStream::connect(clear.socket()).unwrap());
    for port in [clear.port(), clear.web(), secure.port()] {
        thrown.extend(throw(|| TcpStream::connect(("127.0.0.1", port)).unwrap()));
    }
    run_marked("garbage", 100);
    wait_for_the_end(thrown);
    for way in &ways {
        block_on(way.version()).unwrap();
    }
    assert!(clear.get("/healthz").is_some());
    for agent in [clear, secure] {
        end_unharmed(agent);
    }
    for follower in followers {
        follower.end().check("garbage", 100);
    }
}

fn end_unharmed(agent: Agent) {
    let errors_file = agent.errors_file();
    let folder = agent.folder();
    let (status, ..) = agent.end();
    let errors = std::fs::read_to_string(errors_file).unwrap();
    drop(folder);
    assert!(status.success(), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// A connection on which nonsense was sent.
type Thrown = (&'static str, Box<dyn Read>);

fn throw<S: Connection>(connect: impl Fn() -> S) -> Vec<Thrown> {
    let throw = |(name, bytes): (&'static str, Vec<u8>)| -> Thrown {
        let mut stream = connect();
        stream.wait_at_most(PATIENCE);
        // It may be closed before all of it is sent.
        let _ = stream.write_all(&bytes);
        (name, Box::new(stream))
    };
    nonsense().into_iter().map(throw).collect()
}

/// Each is closed, whatever is answered before.
fn wait_for_the_end(thrown: Vec<Thrown>) {
    for (name, mut stream) in thrown {
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            let is_over = !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            assert!(is_over, "after {name} the connection stays open");
        }
    }
}

trait Connection: Read + Write + 'static {
    fn wait_at_most(&self, time: Duration);
}

impl Connection for TcpStream {
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

impl Connection for UnixStream {
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

/// More than what is kept for a reader and what connections hold: each is two events.
const STORM: usize = 10_000;

fn a_client_that_never_reads() {
    let agent = Agent::start(&["--event-queue-size=5000"]);
    let follower = Follower::start(&Way::unix(&agent), "storm");
    let stuck = Frozen::start(&agent);
    run_marked("storm", STORM);
    follower.wait_for(&format!("storm-{}", STORM - 1));
    follower.seen().check("storm", STORM);
    agent.wait_for_export(&format!("storm-{}\"", STORM - 1));
    let lost: Vec<_> = readers(&agent).into_iter().filter(|reader| reader.lost > 0).collect();
    assert!(matches!(&*lost, [reader] if reader.name == "grpc"), "{lost:?}");
    assert!(agent.metric("tetragon_notify_overflowed_events_total").is_some_and(|count| count > 0));
    drop(stuck);
    let (_, _, lines) = agent.end();
    let missing: Vec<_> = {
        let seen: std::collections::BTreeSet<_> = lines
            .lines()
            .filter(|line| line.starts_with(r#"{"process_exec""#))
            .filter_map(|line| line.split_once(r#""arguments":""#)?.1.split('"').next())
            .collect();
        markers("storm", STORM).into_iter().filter(|marker| !seen.contains(&**marker)).collect()
    };
    assert!(missing.is_empty(), "the export lacks {} of them: {:?}", missing.len(), missing.first());
}

fn requests_that_make_no_sense() {
    let agent = Agent::start(&[]);
    let follower = Follower::start(&Way::unix(&agent), "sense");
    let channel = block_on(Way::unix(&agent).connect()).unwrap();
    let mut sensors = FineGuidanceSensorsClient::new(channel.clone());
    let mut lineage = LineageServiceClient::new(channel);
    for (name, filter) in bad_filters() {
        let request = |allow: &[Filter], deny: &[Filter]| GetEventsRequest {
            allow_list: allow.to_vec(),
            deny_list: deny.to_vec(),
            ..GetEventsRequest::default()
        };
        let filter = [filter];
        for (list, request) in
            [("allow_list[0]", request(&filter, &[])), ("deny_list[0]", request(&[], &filter))]
        {
            let status = block_on(sensors.get_events(request)).unwrap_err();
            check_refusal(&status, &[list, name]);
        }
        let follow = FollowRequest { allow_list: filter.to_vec(), ..FollowRequest::default() };
        check_refusal(&block_on(lineage.follow(follow)).unwrap_err(), &[name]);
        let list = ListProcessesRequest { deny_list: filter.to_vec(), ..ListProcessesRequest::default() };
        check_refusal(&block_on(lineage.list_processes(list)).unwrap_err(), &[name]);
    }
    for (names, filter) in bad_field_filters() {
        let request = GetEventsRequest { field_filters: vec![filter], ..GetEventsRequest::default() };
        check_refusal(&block_on(sensors.get_events(request)).unwrap_err(), names);
    }

    let large = Filter { arguments_regex: vec!["a".repeat(5 << 20)], ..Filter::default() };
    let request = GetEventsRequest { allow_list: vec![large], ..GetEventsRequest::default() };
    let status = block_on(sensors.get_events(request)).unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    // The connection itself did nothing wrong.
    block_on(sensors.get_version(GetVersionRequest {})).unwrap();
    run_marked("sense", 20);
    follower.wait_for("sense-19");
    follower.seen().check("sense", 20);
}

fn check_refusal(status: &Status, names: &[&str]) {
    assert_eq!(status.code(), Code::InvalidArgument, "{names:?}: {status:?}");
    for name in names {
        assert!(status.message().contains(name), "{name} is not named: {}", status.message());
    }
}

fn bad_filters() -> Vec<(&'static str, Filter)> {
    let text = |text: &str| vec![text.to_owned()];
    let set = |set: CapFilterSet| CapFilter { effective: Some(set), ..CapFilter::default() };
    vec![
        ("binary_regex", Filter { binary_regex: text("("), ..Filter::default() }),
        ("arguments_regex", Filter { arguments_regex: text("[z-a]"), ..Filter::default() }),
        ("pod_regex", Filter { pod_regex: text("*"), ..Filter::default() }),
        ("namespace_regex", Filter { namespace_regex: text("a{2,1}"), ..Filter::default() }),
        ("container_name_regex", Filter { container_name_regex: text("\\"), ..Filter::default() }),
        ("container_id", Filter { container_id: text("(?P<x"), ..Filter::default() }),
        ("parent_binary_regex", Filter { parent_binary_regex: text(")"), ..Filter::default() }),
        ("parent_arguments_regex", Filter { parent_arguments_regex: text("(?<=a)b"), ..Filter::default() }),
        // This agent tells no ancestors and no capabilities.
        ("ancestor_binary_regex", Filter { ancestor_binary_regex: text("sh"), ..Filter::default() }),
        ("capabilities", Filter { capabilities: Some(set(CapFilterSet::default())), ..Filter::default() }),
        ("labels", Filter { labels: text("a in (b"), ..Filter::default() }),
        (
            "cel_expression",
            Filter { cel_expression: text("process_exec.process.binary =="), ..Filter::default() },
        ),
        ("cel_expression", Filter { cel_expression: text("no_such_event.x == 1"), ..Filter::default() }),
        // More than compiling may take.
        ("arguments_regex", Filter { arguments_regex: text("((a{1000}){1000}){1000}"), ..Filter::default() }),
    ]
}

fn bad_field_filters() -> Vec<(&'static [&'static str], FieldFilter)> {
    let fields = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    vec![
        (
            &["field_filters[0]", "no_such"],
            FieldFilter { fields: fields("process.no_such"), ..FieldFilter::default() },
        ),
        (
            &["field_filters[0]", "binary"],
            FieldFilter { fields: fields("process.binary.deeper"), ..FieldFilter::default() },
        ),
        (
            &["field_filters[0]", "action"],
            FieldFilter { fields: fields("process.pid"), action: 7, ..FieldFilter::default() },
        ),
    ]
}

fn no_certificate_no_answer() {
    let (certificates, others) = (Certificates::make(), Certificates::make());
    let agent = certificates.options().into_iter().fold(Setup::new(), Setup::option).start();
    let tls = |files| Way::tls(&agent, &certificates.authority(), files);
    for (name, way) in [
        ("no certificate", tls(None)),
        ("a certificate that vouches for itself", tls(Some(certificates.self_signed()))),
        ("a certificate of another authority", tls(Some(others.client()))),
        ("the clear", Way::tcp(&agent)),
    ] {
        let answer = block_on(way.version());
        assert!(answer.is_err(), "{name} gets {answer:?}");
        let stream = block_on(async {
            let channel = way.connect().await.map_err(|error| error.to_string())?;
            let mut sensors = FineGuidanceSensorsClient::new(channel);
            let stream = sensors.get_events(GetEventsRequest::default()).await;
            stream.map(|_| ()).map_err(|status| status.to_string())
        });
        assert!(stream.is_err(), "{name} gets a stream");
    }
    block_on(tls(Some(certificates.client())).version()).unwrap();
    // Over the socket, its permissions say who may.
    block_on(Way::unix(&agent).version()).unwrap();
}
