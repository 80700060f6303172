//! What real kernels recorded, through the whole pipeline to lines of JSON: each is, member by member,
//! what the reference would write.
//!
//! What that is says `oracle`, which reads the same records with code of its own. The lines that it
//! arrived at are kept in `tests/data/recorded`, to be read by people:
//! `PROCESSION_UPDATE_EXPECTED=1` writes them, and never what the program says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod oracle;
mod record;
#[path = "../../../procession-api/tests/support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs};

use procession::{BootTime, EventKind, LineageDetail, WallClock};
use procession_agent::{
    Agent, AgentConfig, NodeInventory, Observation, ObservationConfig, Scope, Selection, Told,
};
use procession_api::dynamic::{EVENT, Unknown, parse_json};
use procession_api::json;
use procession_api::messages::{AnnotationOptions, MessageEncoder};
use procession_api::proto::tetragon::GetEventsResponse;
use procession_api::users::Users;
use procession_filter::{Filter, Kinds};
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind, fuzzing};
use serde_json::Value;

use oracle::{Detail, Oracle};
use record::Records;
use schema::schema_errors;

/// When the machine of the captures booted, in seconds of the Unix epoch.
const BOOT: u64 = 1_700_000_000;
const NODE: &str = "node-1";
const CLUSTER: &str = "east";

/// Everything that the reference can be asked for.
const FULL: Detail = Detail { credentials: true, namespaces: true };
const PLAIN: Detail = Detail { credentials: false, namespaces: false };

/// Plays records: those of the walk as the walk, all others at the end.
struct Recording(Vec<u8>);

impl Recording {
    fn play(&self, is_walk: bool, sink: Sink<'_>) {
        fuzzing::records(&self.0, &mut |event| {
            if matches!(event.kind, EventKind::Running(_)) == is_walk {
                sink(event);
            }
        });
    }
}

impl Source for Recording {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.play(true, sink);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, _sink: Sink<'_>) -> Result<(), SourceError> {
        std::thread::sleep(timeout);
        Ok(())
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.play(false, sink);
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

fn recording(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../procession-sensor/tests/data");
    fs::read(directory.join(name).with_extension("records")).unwrap()
}

fn expected_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded").join(name).with_extension("jsonl")
}

/// What the pipeline tells of a recording.
fn told(file: Vec<u8>) -> Vec<Told> {
    let selection = Selection {
        scope: Scope::Everything,
        filter: Filter::new(Kinds { running: true, ..Kinds::default() }),
        lineage: LineageDetail::Parent,
    };
    let (source, inventory) = (Box::new(Recording(file)), Box::new(NodeInventory::new()));
    let mut observation = Observation::start(source, ObservationConfig::new(selection), inventory).unwrap();
    let found = observation.take_found();
    observation.stop();
    let told = found.into_iter().chain(observation.told().iter()).collect();
    let account = observation.join().unwrap();
    assert_eq!((account.dropped, account.malformed), (0, 0));
    told
}

/// The lines of a recording, with the events of which they were made.
fn lines(file: Vec<u8>, detail: Detail) -> Vec<(GetEventsResponse, String)> {
    let host = Records::new(&file).host_namespaces();
    let options = AnnotationOptions {
        credentials: detail.credentials,
        namespaces: detail.namespaces.then_some(host),
        ..AnnotationOptions::default()
    };
    let encoder = MessageEncoder { node_name: NODE.into(), cluster_name: CLUSTER.into(), options };
    let clock = WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_secs(BOOT));
    let line = |told: &Told| {
        let event = encoder.event(told, &clock, &Users::default()).unwrap();
        let line = line_of(&event);
        (event, line)
    };
    told(file).iter().map(line).collect()
}

fn line_of(event: &GetEventsResponse) -> String {
    let mut line = Vec::new();
    json::write(event, &mut line);
    let line = String::from_utf8(line).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

/// Compares the lines of a recording with those of the reference, and these with what is kept.
#[track_caller]
fn check(name: &str, file: Vec<u8>, detail: Detail) {
    let expected = Oracle::new(detail, &file).lines();
    keep(name, &expected);
    let lines = lines(file, detail);
    for ((event, line), expected) in lines.iter().zip(&expected) {
        assert_same(&serde_json::from_str(line).unwrap(), expected, name);
        assert_eq!(schema_errors(line), "", "{line}");
        let parsed: GetEventsResponse = parse_json(EVENT, line, Unknown::Deny).unwrap();
        assert_eq!(parsed, *event);
        assert_eq!(line_of(&parsed), *line);
    }
    assert_eq!(lines.len(), expected.len(), "{name}");
}

/// What is kept is what the oracle says.
#[track_caller]
fn keep(name: &str, expected: &[Value]) {
    let path = expected_file(name);
    if env::var_os("PROCESSION_UPDATE_EXPECTED").is_some() {
        let lines: Vec<_> = expected.iter().map(Value::to_string).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), expected.len(), "{name}");
    for (kept, expected) in kept.iter().zip(expected) {
        assert_same(kept, expected, name);
    }
}

/// Names the member that differs.
#[track_caller]
fn assert_same(ours: &Value, expected: &Value, path: &str) {
    match (ours, expected) {
        (Value::Object(ours), Value::Object(expected)) => {
            for name in ours.keys().chain(expected.keys()) {
                let of =
                    |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                assert_same(&of(ours), &of(expected), &format!("{path}.{name}"));
            }
        }
        _ if ours == expected => {}
        _ => panic!("{path}: {:.200} is not {:.200}", ours.to_string(), expected.to_string()),
    }
}

#[test]
fn forks_execs_and_exits_of_a_pipeline() {
    check("pipeline", recording("pipeline"), PLAIN);
}

#[test]
fn scripts_named_by_relative_paths() {
    check("script", recording("script"), PLAIN);
}

#[test]
fn arguments_of_every_kind_in_the_root_directory() {
    check("arguments", recording("arguments"), PLAIN);
}

#[test]
fn ends_by_signals() {
    check("signals", recording("signals"), PLAIN);
}

#[test]
fn an_exec_of_another_thread_than_the_leader() {
    check("thread_exec", recording("thread_exec"), PLAIN);
}

#[test]
fn a_second_exec_that_gives_rights() {
    check("privileges", recording("privileges"), FULL);
}

#[test]
fn a_container_with_a_process_namespace_of_its_own() {
    check("container", recording("container"), FULL);
}

#[test]
fn a_file_without_a_name() {
    check("nameless", recording("nameless"), FULL);
}

#[test]
fn arguments_of_which_the_rest_was_lost() {
    let whole = recording("long_arguments");
    let cut = Records::new(&whole).without_argument_parts();
    assert!(cut.len() < whole.len());
    check("cut_arguments", cut, PLAIN);
}

/// Without lines to keep: they are long.
#[test]
fn arguments_of_a_hundred_kilobytes() {
    let file = recording("long_arguments");
    let expected = Oracle::new(PLAIN, &file).lines();
    let lines = lines(file, PLAIN);
    assert_eq!(lines.len(), expected.len());
    for ((_, line), expected) in lines.iter().zip(&expected) {
        assert_same(&serde_json::from_str(line).unwrap(), expected, "long_arguments");
    }
}

/// The agent itself, to the file that it exports to. Only the times are those of this machine.
#[test]
fn an_agent_exports_the_same_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let file = recording("privileges");
    let detail = procession_agent::Detail { credentials: true, ..procession_agent::Detail::default() };
    let config = AgentConfig { cluster_name: CLUSTER.into(), detail, ..AgentConfig::new(NODE) };
    let source = Box::new(Recording(file.clone()));
    let agent = Agent::start(source, Box::new(NodeInventory::new()), config.export_to(&path)).unwrap();
    agent.stop().unwrap();

    let exported = fs::read_to_string(path).unwrap();
    let exported: Vec<_> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = Oracle::new(Detail { namespaces: false, ..FULL }, &file).lines();
    assert_eq!(exported.len(), expected.len());
    for (mut exported, mut expected) in exported.into_iter().zip(expected) {
        forget_machine(&mut exported);
        forget_machine(&mut expected);
        assert_same(&exported, &expected, "exported");
    }
}

/// Without times, and without users, who have other names on other machines.
fn forget_machine(value: &mut Value) {
    let Some(members) = value.as_object_mut() else { return };
    for name in ["time", "start_time", "user"] {
        members.remove(name);
    }
    members.values_mut().for_each(forget_machine);
}
