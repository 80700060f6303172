//! A docker engine that answers what it is told to, and the tests of what it may answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use procession_kube::Answer;

use super::{ask, id, known, socket, start};

/// A running server, which ends and takes its socket away when it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    requests: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&self.path));
        self.thread.take().unwrap().join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
    }
}

/// Answers each connection's request with the bytes that `answer` makes of it.
pub(crate) fn serve(path: &Path, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
    let listener = UnixListener::bind(path).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let ends = Arc::new(AtomicBool::new(false));
    let (count, has_ended) = (Arc::clone(&requests), Arc::clone(&ends));
    let thread = thread::spawn(move || {
        for stream in listener.incoming() {
            if has_ended.load(Ordering::Relaxed) {
                break;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            // Whoever has heard enough may hang up.
            drop(stream.write_all(&answer(&request)));
        }
    });
    Server { path: path.to_owned(), requests, ends, thread: Some(thread) }
}

fn read_request(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = Vec::new();
    let mut part = [0; 4096];
    // The preface of HTTP/2 ends in the same way.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// An answer of HTTP.
fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Knows no container.
pub(crate) fn no_container() -> Vec<u8> {
    response("404 Not Found", r#"{"message":"No such container"}"#)
}

/// The id that a request asks for.
fn asked(request: &str) -> &str {
    let path = request.split(' ').nth(1).unwrap();
    path.strip_prefix("/containers/")
        .and_then(|path| path.strip_suffix("/json"))
        .expect("the path of a container")
}

/// Describes whatever container is asked for.
pub(crate) fn container(request: &str) -> Vec<u8> {
    let id = asked(request);
    response(
        "200 OK",
        &format!(
            r#"{{"Id":"{id}","Name":"/web","Image":"sha256:1","Created":"2026-01-02T03:04:05Z",
                "State":{{"Pid":42,"StartedAt":"2026-01-02T03:04:06.5Z","Running":true}},
                "Config":{{"Image":"web:1","Labels":{{"tier":"front"}}}},"More":[1,null,{{}}]}}"#
        ),
    )
}

/// Asks a server with this answer.
fn answer_to(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&folder.path().join("docker.sock"), answer);
    let answer = ask(&start(&[socket("docker", folder.path(), "docker.sock")]), id('a'));
    drop(server);
    answer
}

#[test]
fn a_container_is_described() {
    let info = known(answer_to(container));
    assert_eq!((info.id, info.name.as_str(), info.image.as_str()), (id('a'), "web", "web:1"));
    assert_eq!((info.image_id.as_str(), info.runtime.as_str()), ("sha256:1", "docker"));
    assert_eq!((info.pid, info.pod.as_ref(), info.is_sandbox), (Some(42), None, false));
    assert_eq!(info.labels.iter().next().unwrap(), (&"tier".to_owned(), &"front".to_owned()));
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_046_500);
    assert_eq!(info.started_at, Some(started_at));
}

#[test]
fn what_is_missing_is_none() {
    let info = known(answer_to(|request| response("200 OK", &format!(r#"{{"Id":"{}"}}"#, asked(request)))));
    assert_eq!((info.name.as_str(), info.pid, info.started_at), (id('a').as_str(), None, None));
    let never = r#""State":{"Pid":0,"StartedAt":"0001-01-01T00:00:00Z"},"Config":{"Labels":null}"#;
    let info = known(answer_to(move |request| {
        response("200 OK", &format!(r#"{{"Id":"{}",{never}}}"#, asked(request)))
    }));
    assert_eq!((info.pid, info.started_at), (None, None));
}

#[test]
fn a_container_of_kubernetes_has_a_pod() {
    let labels = r#"{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-0",
        "io.kubernetes.pod.uid":"6d3f","io.kubernetes.container.name":"nginx",
        "io.kubernetes.docker.type":"container"}"#;
    let info = known(answer_to(move |request| {
        let id = asked(request);
        response("200 OK", &format!(r#"{{"Id":"{id}","Name":"/k8s_1","Config":{{"Labels":{labels}}}}}"#))
    }));
    assert_eq!((info.name.as_str(), info.is_sandbox), ("nginx", false));
    let pod = info.pod.as_ref().unwrap();
    assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()), ("shop", "web-0", "6d3f"));
}

#[test]
fn no_such_container_is_unknown() {
    let no = |_: &str| response("404 Not Found", r#"{"message":"No such container: a"}"#);
    assert_eq!(answer_to(no), Answer::Unknown);
}

#[test]
fn other_answers_tell_nothing() {
    let id_of_another = format!(r#"{{"Id":"{}"}}"#, id('b'));
    let endless = format!(r#"{{"Id":"{}","Name":"{}"}}"#, id('a'), "x".repeat(5 << 20));
    for (status, body) in [
        ("500 Internal Server Error", r#"{"message":"layer not found"}"#),
        ("403 Forbidden", r#"{"message":"denied"}"#),
        ("404 Not Found", "<html>no page here</html>"),
        ("301 Moved Permanently", ""),
        ("204 No Content", ""),
        ("200 OK", ""),
        ("200 OK", "null"),
        ("200 OK", "{\"Id\":"),
        ("200 OK", r#"{"Id":17}"#),
        ("200 OK", r#"{"Name":"/web"}"#),
        ("200 OK", &id_of_another),
        ("200 OK", &endless),
    ] {
        let answer = response(status, body);
        assert_eq!(answer_to(move |_| answer.clone()), Answer::Unreachable, "{status} {body:.40}");
    }
}

#[test]
fn an_answer_that_breaks_off_tells_nothing() {
    assert_eq!(answer_to(|request| container(request)[..200].to_vec()), Answer::Unreachable);
}
