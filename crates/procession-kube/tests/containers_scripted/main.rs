//! The runtime client against scripted servers on real sockets: what no real runtime does on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod cri;
mod http;
mod log;
#[path = "../proto/mod.rs"]
mod proto;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use procession_kube::{
    Answer, Asked, CgroupContainer, ContainerId, ContainerInfo, RuntimeFamily, RuntimeSocket, Runtimes,
    RuntimesConfig,
};

/// Long enough for whatever answers at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of these sockets that is patient on a busy machine, and quick to try again.
fn config(sockets: &[String]) -> RuntimesConfig {
    let sockets = sockets.iter().map(|socket| socket.parse::<RuntimeSocket>().unwrap()).collect();
    RuntimesConfig {
        sockets,
        timeout: Duration::from_secs(10),
        unknown_for: Duration::ZERO,
        first_retry: Duration::from_millis(10),
        last_retry: Duration::from_millis(50),
        ..RuntimesConfig::default()
    }
}

fn start(sockets: &[String]) -> Runtimes {
    Runtimes::start(&config(sockets)).unwrap()
}

fn id(digit: char) -> ContainerId {
    ContainerId::parse(digit.to_string().repeat(64).as_bytes()).unwrap()
}

/// Asks and waits for the reply.
fn ask(runtimes: &Runtimes, container: impl Into<CgroupContainer>) -> Answer {
    let container = container.into();
    assert_eq!(runtimes.ask(container), Asked::Waiting);
    let reply = runtimes.replies().recv_timeout(PATIENCE).unwrap();
    assert_eq!(reply.id, container.id);
    reply.answer
}

/// Asks until the answer is a container.
fn ask_until_known(runtimes: &Runtimes, id: ContainerId) -> Arc<ContainerInfo> {
    for _ in 0..1000 {
        if let Answer::Known(info) = ask(runtimes, id) {
            return info;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the runtime's recovery went unnoticed");
}

fn known(answer: Answer) -> Arc<ContainerInfo> {
    let Answer::Known(info) = answer else { panic!("{answer:?}") };
    info
}

fn socket(protocol: &str, folder: &Path, name: &str) -> String {
    format!("{protocol}:{}", folder.join(name).display())
}

/// A server that takes connections and does not say a word. Returns how many it took.
fn silent(path: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
            open.push(connection);
        }
    });
    taken
}

const PROTOCOLS: [&str; 4] = ["cri", "containerd", "docker", "podman"];

#[test]
fn without_sockets_nothing_can_be_known() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = PROTOCOLS.map(|protocol| socket(protocol, folder.path(), "missing.sock"));
    assert_eq!(ask(&start(&sockets), id('a')), Answer::Unreachable);
    assert_eq!(ask(&start(&[]), id('a')), Answer::Unreachable);
}

#[test]
fn a_socket_that_nobody_listens_on_any_more_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    for protocol in PROTOCOLS {
        let runtimes = start(&[socket(protocol, folder.path(), "dead.sock")]);
        assert_eq!(ask(&runtimes, id('a')), Answer::Unreachable, "{protocol}");
    }
}

#[test]
fn a_hanging_socket_is_left_alone_and_others_answer() {
    let folder = tempfile::tempdir().unwrap();
    let http = http::serve(&folder.path().join("docker.sock"), http::container);
    for protocol in PROTOCOLS {
        let name = format!("{protocol}-hangs.sock");
        let taken = silent(&folder.path().join(&name));
        let sockets =
            [socket(protocol, folder.path(), &name), socket("docker", folder.path(), "docker.sock")];
        let config = RuntimesConfig {
            timeout: Duration::from_secs(5),
            first_retry: Duration::from_hours(1),
            last_retry: Duration::from_hours(1),
            ..config(&sockets)
        };
        let runtimes = Runtimes::start(&config).unwrap();
        for digit in ['a', 'b', 'c', 'd'] {
            assert_eq!(known(ask(&runtimes, id(digit))).id, id(digit), "{protocol}");
        }
        assert_eq!(taken.load(Ordering::Relaxed), 1, "{protocol}: only the first question waited for it");
    }
    drop(http);
}

#[test]
fn garbage_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    for (number, garbage) in
        [&b""[..], b"\0\xff\xfe", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n\r\n{", &[b'A'; 10_000]]
            .into_iter()
            .enumerate()
    {
        let name = format!("garbage-{number}.sock");
        let server = http::serve(&folder.path().join(&name), move |_| garbage.to_vec());
        for protocol in PROTOCOLS {
            let runtimes = start(&[socket(protocol, folder.path(), &name)]);
            assert_eq!(ask(&runtimes, id('a')), Answer::Unreachable, "{protocol}, {number}");
        }
        drop(server);
    }
}

#[test]
fn a_question_is_asked_once_and_its_answer_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = http::serve(&folder.path().join("docker.sock"), http::container);
    let runtimes = start(&[socket("docker", folder.path(), "docker.sock")]);
    assert_eq!(runtimes.get(&id('a')), None);
    let asked = (0..100).map(|_| runtimes.ask(id('a'))).filter(|asked| *asked == Asked::Waiting).count();
    assert!(asked >= 1);
    let answer = runtimes.replies().recv_timeout(PATIENCE).unwrap().answer;
    assert_eq!(runtimes.get(&id('a')), Some(answer.clone()));
    assert_eq!(runtimes.ask(id('a')), Asked::Answered(answer));
    assert_eq!(server.requests(), 1);
    assert!(runtimes.replies().is_empty());
    let counters = runtimes.counters();
    assert_eq!((counters.asked, counters.known, counters.refused), (1, 1, 0));
}

#[test]
fn too_many_questions_are_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    silent(&folder.path().join("docker.sock"));
    let config = RuntimesConfig {
        queue: 2,
        rate: 1,
        burst: 1,
        ..config(&[socket("docker", folder.path(), "docker.sock")])
    };
    let runtimes = Runtimes::start(&config).unwrap();
    let asked: Vec<_> = ('a'..='f').chain('0'..='9').map(|digit| runtimes.ask(id(digit))).collect();
    let refused = asked.iter().filter(|asked| **asked == Asked::Refused).count();
    // Two wait in the queue, two at most are on their way.
    assert!((12..=14).contains(&refused), "{asked:?}");
    let counters = runtimes.counters();
    assert_eq!((counters.refused, counters.asked), (refused as u64, 16 - refused as u64));
    // Which of the others had to wait is up to the worker, which may have begun at any of them.
    assert_eq!(asked[0], Asked::Waiting);
}

#[test]
fn replies_that_nobody_takes_are_dropped_and_kept_for_asking() {
    let folder = tempfile::tempdir().unwrap();
    let server = http::serve(&folder.path().join("docker.sock"), http::container);
    let config = RuntimesConfig { queue: 1, ..config(&[socket("docker", folder.path(), "docker.sock")]) };
    let runtimes = Runtimes::start(&config).unwrap();
    for digit in ['a', 'b', 'c'] {
        assert_eq!(runtimes.ask(id(digit)), Asked::Waiting);
        while runtimes.get(&id(digit)).is_none() {
            thread::yield_now();
        }
    }
    drop(server);
    while runtimes.counters().dropped_replies < 2 {
        thread::yield_now();
    }
    assert_eq!(runtimes.replies().len(), 1);
}

#[test]
fn a_container_that_was_known_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let server = http::serve(&folder.path().join("docker.sock"), http::container);
    let config = RuntimesConfig {
        known_for: Duration::ZERO,
        ..config(&[socket("docker", folder.path(), "docker.sock")])
    };
    let runtimes = Runtimes::start(&config).unwrap();
    let info = known(ask(&runtimes, id('a')));
    drop(server);
    // Old, so it is asked for anew; but there is nobody to ask.
    assert_eq!(runtimes.ask(id('a')), Asked::Answered(Answer::Known(Arc::clone(&info))));
    let again = runtimes.replies().recv_timeout(PATIENCE).unwrap();
    assert_eq!(again.answer, Answer::Known(Arc::clone(&info)));
    assert_eq!(runtimes.get(&id('a')), Some(Answer::Known(info)));
    assert_eq!(runtimes.counters().unreachable, 1);
}

#[test]
fn a_runtime_that_comes_back_is_noticed_and_its_outage_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("comes-back.sock");
    let runtimes = start(&[socket("docker", folder.path(), "comes-back.sock")]);
    let log = log::record();
    assert_eq!(ask(&runtimes, id('a')), Answer::Unreachable);
    let server = http::serve(&path, http::container);
    assert_eq!(ask_until_known(&runtimes, id('a')).id, id('a'));
    drop(server);
    drop(UnixListener::bind(&path));
    for digit in ['b', 'c', 'd'] {
        assert_eq!(ask(&runtimes, id(digit)), Answer::Unreachable);
    }
    std::fs::remove_file(&path).unwrap_or_default();
    let server = http::serve(&path, http::container);
    assert_eq!(ask_until_known(&runtimes, id('b')).id, id('b'));
    drop(server);
    let said = log.about("comes-back.sock");
    let warnings = said.iter().filter(|line| line.starts_with("WARN")).count();
    // That it was missing at first, and that it failed later.
    assert!(warnings <= 2, "{said:#?}");
    assert!(
        said.iter().any(|line| line.starts_with("WARN") && line.contains("no name, image or pod")),
        "{said:#?}"
    );
    assert!(said.iter().any(|line| line.contains("answers again")), "{said:#?}");
}

#[test]
fn the_runtime_that_a_name_points_to_is_asked_first() {
    let folder = tempfile::tempdir().unwrap();
    let docker = http::serve(&folder.path().join("docker.sock"), http::container);
    let podman = http::serve(&folder.path().join("podman.sock"), http::container);
    let sockets = [("docker", "docker.sock"), ("podman", "podman.sock")];
    let runtimes = start(&sockets.map(|(protocol, name)| socket(protocol, folder.path(), name)));
    let container = CgroupContainer { id: id('a'), family: RuntimeFamily::Podman };
    assert_eq!(known(ask(&runtimes, container)).runtime, "podman");
    assert_eq!((docker.requests(), podman.requests()), (0, 1));
    let container = CgroupContainer { id: id('b'), family: RuntimeFamily::Unknown };
    assert_eq!(known(ask(&runtimes, container)).runtime, "docker");
}

#[test]
fn a_runtime_that_does_not_know_its_own_container_yet_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let requests = AtomicUsize::new(0);
    let server = http::serve(&folder.path().join("docker.sock"), move |request| {
        if requests.fetch_add(1, Ordering::Relaxed) < 2 {
            http::no_container()
        } else {
            http::container(request)
        }
    });
    let runtimes = start(&[socket("docker", folder.path(), "docker.sock")]);
    let container = CgroupContainer { id: id('a'), family: RuntimeFamily::Docker };
    assert_eq!(known(ask(&runtimes, container)).id, id('a'));
    assert_eq!(server.requests(), 3);
    drop(server);

    let server = http::serve(&folder.path().join("docker.sock"), |_| http::no_container());
    let container = CgroupContainer { id: id('b'), family: RuntimeFamily::Docker };
    assert_eq!(ask(&runtimes, container), Answer::Unknown, "not for ever");
    let requests = server.requests();
    assert!(requests > 1);
    assert_eq!(ask(&runtimes, id('c')), Answer::Unknown);
    assert_eq!(server.requests(), requests + 1, "nor one that may be anybody's");
}

#[test]
fn dropping_the_client_ends_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    silent(&folder.path().join("docker.sock"));
    let runtimes = start(&[socket("docker", folder.path(), "docker.sock")]);
    assert_eq!(runtimes.ask(id('a')), Asked::Waiting);
    let replies = runtimes.replies().clone();
    drop(runtimes);
    assert_eq!(replies.recv_timeout(PATIENCE), Err(crossbeam_channel::RecvTimeoutError::Disconnected));
}
