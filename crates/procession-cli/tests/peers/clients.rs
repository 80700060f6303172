//! Every method, called by every client over every transport.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::agent::{Agent, Echo};
use crate::tls::Certificates;
use crate::{Test, folder, peers, protos};

pub(crate) const TESTS: [Test; 10] = [
    ("python::unix", || python(&Transport::Unix)),
    ("python::tcp", || python(&Transport::Tcp)),
    ("python::tls", || python(&Transport::tls())),
    ("node::unix", || node(&Transport::Unix)),
    ("node::tcp", || node(&Transport::Tcp)),
    ("node::tls", || node(&Transport::tls())),
    ("buf::unix", || buf(&Transport::Unix)),
    ("buf::tcp", || buf(&Transport::Tcp)),
    ("buf::tls", || buf(&Transport::tls())),
    ("buf::tls_without_certificate", tls_without_certificate),
];

enum Transport {
    Unix,
    Tcp,
    Tls(Certificates),
}

impl Transport {
    fn tls() -> Self {
        Self::Tls(Certificates::make())
    }

    fn agent(&self) -> Agent {
        let options = match self {
            Self::Unix | Self::Tcp => Vec::new(),
            Self::Tls(certificates) => certificates.options(),
        };
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        Agent::start(&options)
    }

    /// What a gRPC client is told: the address, and then the authority, the certificate and the key.
    fn arguments(&self, agent: &Agent) -> Vec<String> {
        let tcp = format!("localhost:{}", agent.port());
        match self {
            Self::Unix => vec![format!("unix:{}", agent.socket().display())],
            Self::Tcp => vec![tcp],
            Self::Tls(certificates) => {
                let [certificate, key] = certificates.client();
                let files = [certificates.authority(), certificate, key];
                std::iter::once(tcp).chain(files.map(|file| file.display().to_string())).collect()
            }
        }
    }
}

fn python(transport: &Transport) {
    let agent = transport.agent();
    let marker = "peer-python";
    let echo = Echo::start(marker);
    agent.wait_for_export(marker);
    let mut client = Command::new(peers().join("python/bin/python"));
    client.arg(folder().join("client.py")).arg(protos());
    let mut arguments = transport.arguments(&agent);
    arguments.insert(1, marker.to_owned());
    client.args(arguments).stdin(known_lines(&agent));
    let seen = answer(client, &agent);
    drop(echo);

    let (exec, exit) = (&seen["exec"]["process_exec"]["process"], &seen["exit"]["process_exit"]);
    assert_eq!(exec["binary"], "/bin/echo");
    assert_eq!(exec["arguments"], marker);
    assert_eq!(seen["exec"]["node_name"], "peer");
    assert_eq!(exit["process"]["exec_id"], exec["exec_id"]);
    assert_eq!(exit.get("signal").or(exit.get("status")), None, "echo succeeds");
    let filtered = &seen["filtered"]["process_exec"];
    assert_eq!(*filtered, json!({ "process": { "binary": "/bin/echo", "arguments": marker } }));
    assert_eq!(seen["health"], json!(["HEALTH_STATUS_RUNNING"]));
    assert_eq!(seen["level"], "LOG_LEVEL_INFO");
    assert_eq!(seen["new_level"], "LOG_LEVEL_DEBUG");
    assert_eq!(seen["dump_without_argument"][0], "INVALID_ARGUMENT");
    assert_eq!(seen["bad_filter"][0], "INVALID_ARGUMENT");
    assert!(seen["bad_filter"][1].as_str().unwrap().contains("binary_regex"), "{seen}");
    let services = seen["services"].as_array().unwrap();
    for service in [
        "grpc.health.v1.Health",
        "procession.v1.LineageService",
        "tetragon.EventLogService",
        "tetragon.FineGuidanceSensors",
    ] {
        assert!(services.contains(&service.into()), "{services:?}");
    }
    assert!(seen["lines"].as_u64().unwrap() > 10, "{seen}");
    check_common(&seen, 7);
}

fn node(transport: &Transport) {
    let agent = transport.agent();
    let marker = "peer-node";
    let _echo = Echo::start(marker);
    let mut client = Command::new("node");
    client.env("NODE_PATH", peers().join("node_modules")).stdin(Stdio::null());
    client.arg(folder().join("client.js")).arg(protos());
    let mut arguments = transport.arguments(&agent);
    arguments.insert(1, marker.to_owned());
    let seen = answer(client.args(arguments), &agent);
    assert_eq!(seen["exec"]["binary"], "/bin/echo");
    assert_eq!(seen["exec"]["arguments"], marker);
    assert_eq!(seen["health"], json!(["HEALTH_STATUS_RUNNING"]));
    assert_eq!(seen["level"], "LOG_LEVEL_INFO");
    check_common(&seen, 6);
}

/// What the clients in Python and for Node both saw.
fn check_common(seen: &Value, backups: u64) {
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["info"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["backups"], backups);
    assert_eq!(seen["observing"], true);
    let refused = seen["refused"].as_object().unwrap();
    assert_eq!(refused.len(), 11, "{refused:?}");
    for (method, error) in refused {
        assert_eq!(error[0], "UNIMPLEMENTED", "{method}");
        assert!(error[1].as_str().unwrap().contains(' '), "a sentence for {method}: {error}");
    }
    // As a number, or as the text that JavaScript gets for 64 bits.
    let count = |member: &str| match &seen[member] {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_u64().unwrap(),
    };
    for member in ["running", "listed", "tree", "received", "dumped"] {
        assert!(count(member) > 0, "{member} in {seen}");
    }
    let chain = seen["chain"].as_array().unwrap();
    assert_eq!(chain[0], "/bin/echo", "{chain:?}");
    assert!(chain.len() > 2, "{chain:?}");
}

/// Every method by name, as reflection tells them.
fn buf(transport: &Transport) {
    let agent = transport.agent();
    let _echo = Echo::start("peer-buf");
    let listed = buf_curl(transport, &agent, "", &["--list-methods"]).unwrap();
    let methods: BTreeSet<_> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    let mut answered = 0;
    for method in &methods {
        if method.starts_with("grpc.reflection") {
            continue;
        }
        let request = match *method {
            "tetragon.FineGuidanceSensors/GetEvents" => {
                r#"{"allow_list":[{"arguments_regex":["peer-buf"]}]}"#
            }
            "tetragon.FineGuidanceSensors/RuntimeHook" => {
                r#"{"createContainer":{"cgroupsPath":"/a","rootDir":"/"}}"#
            }
            "tetragon.FineGuidanceSensors/SetDebug" => r#"{"level":"LOG_LEVEL_INFO"}"#,
            "procession.v1.LineageService/GetTree" | "procession.v1.LineageService/GetLineage" => {
                if method.ends_with("Tree") { r#"{"root":{"pid":1}}"# } else { r#"{"target":{"pid":1}}"# }
            }
            _ => "{}",
        };
        let is_endless = ["GetEvents", "Follow", "Watch"].iter().any(|name| method.ends_with(name));
        let result = if is_endless {
            buf_first(transport, &agent, method, request)
        } else {
            buf_curl(transport, &agent, method, &["-d", request])
        };
        let is_refused = ["Polic", "Sensor", "Domains"]
            .iter()
            .any(|name| method.rsplit('/').next().unwrap().contains(name));
        match result {
            Ok(_) if !is_refused => answered += 1,
            Err(error) if is_refused => assert!(error.contains("unimplemented"), "{method}: {error}"),
            other => panic!("{method}: {other:?}"),
        }
    }
    assert!(answered >= 16, "{answered} of {methods:?}");
}

/// Who shows no certificate gets nothing, not even a greeting.
fn tls_without_certificate() {
    let transport = Transport::tls();
    let agent = transport.agent();
    let Transport::Tls(certificates) = &transport else { unreachable!() };
    let mut curl = Command::new(peers().join("node_modules/.bin/buf"));
    curl.args(["curl", "--protocol", "grpc", "--cacert"]).arg(certificates.authority());
    curl.arg("--schema").arg(protos()).args(["-d", "{}"]);
    curl.arg(format!("https://localhost:{}/tetragon.FineGuidanceSensors/GetVersion", agent.port()));
    let output = curl.output().unwrap();
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("version"));
    // And the next who shows one gets an answer.
    let version = buf_curl(&transport, &agent, "tetragon.FineGuidanceSensors/GetVersion", &["-d", "{}"]);
    assert!(version.unwrap().contains(env!("CARGO_PKG_VERSION")));
}

/// The answer, or what is said instead.
fn buf_curl(transport: &Transport, agent: &Agent, method: &str, more: &[&str]) -> Result<String, String> {
    let output = buf_command(transport, agent, method).args(more).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The first message of a stream that does not end by itself.
fn buf_first(transport: &Transport, agent: &Agent, method: &str, request: &str) -> Result<String, String> {
    use std::io::{BufRead as _, BufReader};

    let mut curl = buf_command(transport, agent, method);
    let mut child = curl.args(["-d", request]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    let _ = child.kill();
    let _ = child.wait();
    if read.is_ok_and(|bytes| bytes > 0) { Ok(line) } else { Err("the stream ended".to_owned()) }
}

fn buf_command(transport: &Transport, agent: &Agent, method: &str) -> Command {
    let mut curl = Command::new(peers().join("node_modules/.bin/buf"));
    curl.args(["curl", "--protocol", "grpc"]);
    let mut scheme = "http";
    match transport {
        Transport::Unix => {
            curl.arg("--http2-prior-knowledge").arg("--unix-socket").arg(agent.socket());
        }
        Transport::Tcp => {
            curl.arg("--http2-prior-knowledge");
        }
        Transport::Tls(certificates) => {
            let [certificate, key] = certificates.client();
            curl.arg("--cacert").arg(certificates.authority());
            curl.arg("--cert").arg(certificate).arg("--key").arg(key);
            scheme = "https";
        }
    }
    curl.arg(format!("{scheme}://localhost:{}/{method}", agent.port()));
    curl
}

/// Lines of the reference's form, and then lines of our export.
fn known_lines(agent: &Agent) -> File {
    let mut lines = fs::read_to_string(folder().join("reference.jsonl")).unwrap();
    let export = fs::read_to_string(agent.export()).unwrap();
    // The last line may be in the making.
    lines.push_str(&export[..=export.rfind('\n').unwrap()]);
    let path: PathBuf = agent.export().with_file_name("known.jsonl");
    fs::write(&path, lines).unwrap();
    File::open(path).unwrap()
}

/// What a client printed, which is one JSON object.
fn answer(mut client: impl std::borrow::BorrowMut<Command>, agent: &Agent) -> Value {
    let output = client.borrow_mut().output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\nthe agent: {}", agent.errors());
    serde_json::from_slice(&output.stdout).unwrap()
}
