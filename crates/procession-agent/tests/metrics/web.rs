//! The server, as callers of every kind find it.

use std::future::pending;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use procession_agent::metrics::{EventMetrics, Measurements};
use procession_agent::web::{Health, Observed, Web, WebConfig};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sample::{hostile, measurements, value};
use crate::support::{PATIENCE, until};

/// What a test wants to be observed.
pub(crate) struct Fake {
    events: EventMetrics,
    pub(crate) health: Mutex<Health>,
    /// Whether the thread that observes never answers.
    is_stuck: bool,
    measured: AtomicU64,
}

impl Default for Fake {
    /// An agent that does well.
    fn default() -> Self {
        let health = Health { is_running: true, silence: Duration::ZERO, obstacles: Vec::new() };
        Self { events: hostile(), health: Mutex::new(health), is_stuck: false, measured: AtomicU64::new(0) }
    }
}

impl Observed for Fake {
    async fn measure(&self) -> Measurements {
        self.measured.fetch_add(1, Ordering::Relaxed);
        if self.is_stuck {
            pending::<()>().await;
        }
        measurements()
    }

    fn events(&self) -> &EventMetrics {
        &self.events
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    observed: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Server {
    pub(crate) fn start(observed: Fake) -> Self {
        let runtime = Runtime::new().unwrap();
        let config = WebConfig { address: "127.0.0.1:0".into() };
        let web = runtime.block_on(Web::bind(&config)).unwrap();
        let (address, observed) = (web.address().unwrap(), Arc::new(observed));
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(web.serve(Arc::clone(&observed), async {
            let _ = stopped.await;
        }));
        Self { address, observed, stop: Some(stop), served: Some(served), runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request as it is, and gives all that comes back until the server closes.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_to_end(&mut stream)
    }

    /// The head and the body of the answer.
    fn request(&self, method: &str, path: &str, headers: &str) -> (String, String) {
        let answer = self.raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.request("GET", path, "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let served = self.served.take().unwrap();
        self.runtime.block_on(served).unwrap();
        // A program that is just being started has the listener too, until its exec.
        until("nobody takes connections any more", || TcpStream::connect(self.address).is_err());
    }
}

/// All that comes until the other side closes, in whatever way.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "never closed");
    }
    String::from_utf8(bytes).unwrap()
}

fn has_status(head: &str, status: u16) -> bool {
    head.starts_with(&format!("HTTP/1.1 {status} "))
}

#[test]
fn metrics_come_in_the_form_that_was_asked_for() {
    let server = Server::start(Fake::default());
    let (head, body) = server.get("/metrics?a=b");
    assert!(has_status(&head, 200), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(value(&body, "procession_web_accepted_connections_total") > 0.5);
    let (head, body) = server.request("GET", "/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"));
}

#[test]
fn health_says_what_fails() {
    let server = Server::start(Fake::default());
    let set = |health| *server.observed.health.lock().unwrap() = health;
    let well = server.observed.health();
    for path in ["/healthz", "/readyz"] {
        let (head, body) = server.get(path);
        assert!(has_status(&head, 200) && body == "ok\n", "{head} {body}");
    }
    // Not of use yet, but nothing that a new start would mend.
    let obstacles = vec!["the pods are not known".to_owned()];
    set(Health { obstacles, ..well.clone() });
    assert!(has_status(&server.get("/healthz").0, 200));
    let (head, body) = server.get("/readyz");
    assert!(has_status(&head, 503), "{head}");
    assert_eq!(body, "the pods are not known\n");
    set(Health { silence: Duration::from_secs(20), ..well.clone() });
    assert_eq!(server.get("/readyz").1, "the source was last read 20 s ago\n");
    assert!(has_status(&server.get("/healthz").0, 200), "it may have much to do");
    set(Health { silence: Duration::from_mins(2), ..well.clone() });
    for path in ["/healthz", "/readyz"] {
        let (head, body) = server.get(path);
        let hangs = "the thread that observes has given no sign of life for 120 s\n";
        assert!(has_status(&head, 503) && body == hangs, "{head} {body}");
    }
    set(Health { is_running: false, ..well });
    for path in ["/healthz", "/readyz"] {
        let (head, body) = server.get(path);
        assert!(has_status(&head, 503) && body == "the thread that observes has ended\n", "{head} {body}");
    }
}

#[test]
fn other_requests_are_told_what_there_is() {
    let server = Server::start(Fake::default());
    let (head, body) = server.get("/");
    assert!(has_status(&head, 404) && body == "/metrics\n/healthz\n/readyz\n", "{head} {body}");
    let (head, _) = server.request("POST", "/metrics", "content-length: 0\r\n");
    assert!(has_status(&head, 405) && head.contains("allow: GET, HEAD"), "{head}");
    assert!(has_status(&server.request("DELETE", "/", "").0, 404));
    let (head, body) = server.request("HEAD", "/readyz", "");
    assert!(has_status(&head, 200) && head.contains("content-length: 3") && body.is_empty(), "{head} {body}");
}

#[test]
fn a_connection_serves_one_request() {
    let server = Server::start(Fake::default());
    let answers = server.raw("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10).as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

#[test]
fn garbage_is_closed() {
    let server = Server::start(Fake::default());
    let long = [b"GET /metrics HTTP/1.1\r\na: ".as_slice(), &vec![b'a'; 1 << 20]].concat();
    let garbage: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        &[0; 100],
        b"\r\n\r\n\r\nGET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &long,
    ];
    for bytes in garbage {
        let mut stream = server.connect();
        // The server may close before all is sent.
        let _ = stream.write_all(bytes);
        let answer = read_to_end(&mut stream);
        assert!(
            answer.is_empty()
                || has_status(&answer, 400)
                || has_status(&answer, 431)
                || has_status(&answer, 404),
            "{answer}"
        );
    }
    assert!(has_status(&server.get("/metrics").0, 200));
}

#[test]
fn who_says_nothing_or_too_little_is_closed() {
    let server = Server::start(Fake::default());
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost:").unwrap();
    assert_eq!(read_to_end(&mut silent), "");
    let answer = read_to_end(&mut slow);
    assert!(answer.is_empty() || has_status(&answer, 408), "{answer}");
}

#[test]
fn who_comes_when_all_places_are_taken_is_turned_away() {
    let server = Server::start(Fake::default());
    let taken: Vec<_> = (0..64).map(|_| server.connect()).collect();
    assert_eq!(read_to_end(&mut server.connect()), "");
    drop(taken);
    until("there is room again", || {
        let mut stream = server.connect();
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = read_to_end(&mut stream);
        answer
            .split_once("\r\n\r\n")
            .is_some_and(|(_, body)| value(body, "procession_web_refused_connections_total") > 0.5)
    });
}

#[test]
fn an_observer_that_is_stuck_holds_up_nobody() {
    let server = Server::start(Fake { is_stuck: true, ..Fake::default() });
    let (head, body) = server.get("/metrics");
    assert!(has_status(&head, 503) && body.contains("does not answer"), "{head} {body}");
    assert!(has_status(&server.get("/healthz").0, 200));
}

#[test]
fn many_who_ask_at_once_share_a_measurement() {
    let server = Server::start(Fake::default());
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert!(has_status(&server.get("/metrics").0, 200)));
        }
    });
    assert!(server.observed.measured.load(Ordering::Relaxed) < 32);
}

#[test]
fn an_address_without_a_host_is_every_address() {
    let runtime = Runtime::new().unwrap();
    let bind = |address: &str| runtime.block_on(Web::bind(&WebConfig { address: address.into() }));
    let web = bind(":0").unwrap();
    let address = web.address().unwrap();
    assert!(address.ip().is_unspecified());
    TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    bind(&format!(":{}", address.port())).unwrap_err();
    for address in ["", ":", "nonsense", ":65536", "127.0.0.1"] {
        bind(address).unwrap_err();
    }
}
