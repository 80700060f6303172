//! Prometheus, and its tool that checks what is written for it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use procession_agent::metrics::{EventMetrics, Measurements};
use serde_json::Value;

use crate::required::skip;
use crate::sample::{classic, hostile, measurements};
use crate::support::PATIENCE;
use crate::web::{Fake, Server};

/// Whether a program is there. If not, says so, or fails where all tests have to run.
pub(crate) fn has(program: &str) -> bool {
    let has = Command::new(program).arg("--version").output().is_ok();
    if !has {
        skip(program, "it is not there: tests/peers/install installs it");
    }
    has
}

/// Has `promtool` check something, and gives what it complains of.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut tool = Command::new("promtool");
    tool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().unwrap();
    // It may end before it has read everything.
    let _ = tool.stdin.take().unwrap().write_all(input.as_bytes());
    let output = tool.wait_with_output().unwrap();
    let said =
        format!("{} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn promtool_has_nothing_to_say_of_the_page() {
    if !has("promtool") {
        return;
    }
    let pages =
        [classic(measurements(), &hostile()), classic(Measurements::default(), &EventMetrics::default())];
    for page in pages {
        promtool(&["check", "metrics"], &page).unwrap();
    }
    // It would have something to say.
    promtool(&["check", "metrics"], "# TYPE a counter\na 1\n").unwrap_err();
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap()
}

/// A Prometheus that reads one target.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 5s, scrape_timeout: 5s }}\n\
             scrape_configs: [ {{ job_name: procession, static_configs: [ {{ targets: ['{target}'] }} ] }} ]\n"
        );
        fs::write(&config, text).unwrap();
        // Free a moment ago, where nobody else asks for one.
        let address = TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address, _directory: directory }
    }

    /// The answer to a request of its API. `None`: there is none yet.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: a\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The value of an expression that has one.
    fn query(&self, expression: &str) -> Option<String> {
        let encoded: String =
            expression.bytes().flat_map(|byte| ['%', hex(byte >> 4), hex(byte & 15)]).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"))?;
        answer.pointer("/data/result/0/value/1")?.as_str().map(str::to_owned)
    }

    /// Waits until an expression has that value.
    fn wait_for(&self, expression: &str, value: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is = self.query(expression);
            if is.as_deref() == Some(value) {
                return;
            }
            let targets = || self.ask("/api/v1/targets");
            assert!(Instant::now() < end, "{expression} is {is:?}, not {value}: {:?}", targets());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn prometheus_reads_the_server() {
    if !has("prometheus") {
        return;
    }
    let server = Server::start(Fake::default());
    let prometheus = Prometheus::start(server.address);
    prometheus.wait_for("up", "1");
    let expected = [
        ("tetragon_process_cache_size", "54321"),
        (r#"tetragon_bpf_missed_events_total{msg_op="7"}"#, "3"),
        (r#"tetragon_events_total{pod="pod",binary="a\"b"}"#, "1"),
        (r#"tetragon_events_total{pod="pod",binary="line\nfeed"}"#, "1"),
        (r#"tetragon_events_total{pod="pod",binary="\\n"}"#, "1"),
        ("sum(tetragon_events_total)", "17"),
        ("tetragon_events_last_exported_timestamp", "1700000000.5"),
        (r#"procession_ledger_events_total{kind="exec",outcome="applied"}"#, "0"),
        ("tetragon_build_info", "1"),
    ];
    for (expression, value) in expected {
        prometheus.wait_for(expression, value);
    }
}
