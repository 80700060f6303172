//! The lines beside what descriptors say that they have to be.

#[path = "../../tests/support/schema.rs"]
mod schema;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use schema::schema_errors;

use super::{printable, write, write_process};
use crate::dynamic::{EVENT, Unknown, parse_json, pool, write_json};
use crate::proto::tetragon::get_events_response::Event;
use crate::proto::tetragon::{GetEventsResponse, Process};

/// A message, with anything in it that its descriptor allows.
fn message(descriptor: MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    let is_time = descriptor.full_name() == "google.protobuf.Timestamp";
    let alone = descriptor.fields().filter(|field| field.containing_oneof().is_none());
    let alone = alone.map(|field| option::of(member(field, is_time)).boxed());
    let choices = descriptor.oneofs().map(|choice| {
        let members = choice.fields().map(|field| member(field, is_time));
        option::weighted(0.9, Union::new(members)).boxed()
    });
    let members: Vec<_> = alone.chain(choices).collect();
    let build = move |members: Vec<Option<(FieldDescriptor, Value)>>| {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (field, value) in members.into_iter().flatten() {
            message.set_field(&field, value);
        }
        message
    };
    members.prop_map(build).boxed()
}

fn member(field: FieldDescriptor, is_time: bool) -> BoxedStrategy<(FieldDescriptor, Value)> {
    let values = if field.is_map() {
        // Of several entries the oracle has no order.
        let entries = btree_map(".{0,4}", ".{0,4}", 0..2);
        let map = |entries: std::collections::BTreeMap<String, String>| {
            let entry = |(key, value)| (MapKey::String(key), Value::String(value));
            Value::Map(entries.into_iter().map(entry).collect())
        };
        entries.prop_map(map).boxed()
    } else if field.is_list() {
        vec(value(&field), 0..3).prop_map(Value::List).boxed()
    } else if is_time {
        time(field.name())
    } else {
        value(&field)
    };
    values.prop_map(move |value| (field.clone(), value)).boxed()
}

fn value(field: &FieldDescriptor) -> BoxedStrategy<Value> {
    match field.kind() {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Uint32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::String => "(.|[\\x00-\\x1f\\x7f-\\xa0\"\\\\]){0,6}".prop_map(Value::String).boxed(),
        Kind::Bytes => vec(any::<u8>(), 0..6).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Kind::Enum(_) => prop_oneof![0..50_i32, any::<i32>()].prop_map(Value::EnumNumber).boxed(),
        Kind::Message(descriptor) => message(descriptor).prop_map(Value::Message).boxed(),
        kind => unreachable!("no event has a {kind:?}"),
    }
}

fn time(part: &str) -> BoxedStrategy<Value> {
    if part == "seconds" {
        return (-62_135_596_800..=253_402_300_799_i64).prop_map(Value::I64).boxed();
    }
    let nanos = (0..1_000_i32, prop_oneof![Just(1_000_000_i32), Just(1_000), Just(1)]);
    nanos.prop_map(|(count, unit)| Value::I32(count * unit)).boxed()
}

fn events() -> BoxedStrategy<DynamicMessage> {
    message(pool().get_message_by_name(EVENT).unwrap())
}

fn line_of(event: &GetEventsResponse) -> String {
    let mut line = Vec::new();
    write(event, &mut line);
    String::from_utf8(line).unwrap()
}

/// What the descriptors make of it.
fn expected_line(event: &GetEventsResponse) -> String {
    write_json(event, EVENT) + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_line_is_what_the_descriptors_make_of_the_message(dynamic in events()) {
        let event: GetEventsResponse = dynamic.transcode_to().unwrap();
        let line = line_of(&event);
        let expected = expected_line(&event);
        if matches!(event.event, Some(Event::Test(_) | Event::RateLimitInfo(_))) {
            // Their numbers are the highest, but they come first all the same.
            let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
            prop_assert_eq!(value(&line), value(&expected));
        } else {
            prop_assert_eq!(&line, &expected);
        }
        prop_assert_eq!(line.chars().filter(|character| character.is_control()).collect::<String>(), "\n");
        let parsed: GetEventsResponse = parse_json(EVENT, &line, Unknown::Deny).unwrap();
        prop_assert_eq!(parsed, event);
    }

    #[test]
    fn a_line_of_a_process_is_too(dynamic in message(pool().get_message_by_name("tetragon.Process").unwrap())) {
        let process: Process = dynamic.transcode_to().unwrap();
        let mut line = b"before\n".to_vec();
        write_process(&process, &mut line);
        let expected = write_json(&process, "tetragon.Process");
        prop_assert_eq!(String::from_utf8(line).unwrap(), format!("before\n{expected}\n"));
    }

    #[test]
    fn the_schema_allows_every_line(dynamic in events().prop_filter("no event", has_event)) {
        let line = line_of(&dynamic.transcode_to().unwrap());
        prop_assert_eq!(schema_errors(&line), "");
    }
}

fn has_event(message: &DynamicMessage) -> bool {
    message.transcode_to::<GetEventsResponse>().unwrap().event.is_some()
}

/// Lines as the reference writes them, with the members in its order.
const LINES: [&str; 6] = [
    concat!(
        r#"{"process_exec":{"process":{"exec_id":"bm9kZTE6MjEwMzQ5NzUwODk0MDM6NDY5ODc=","pid":46987,"uid":0,"#,
        r#""cwd":"/","binary":"/usr/bin/curl","arguments":"-s \"a b\"","flags":"execve rootcwd clone","#,
        r#""start_time":"2023-11-14T22:13:20.000000001Z","auid":4294967295,"pod":{"namespace":"shop","#,
        r#""name":"cart-7","uid":"4711","container":{"id":"containerd://0123","name":"main","#,
        r#""image":{"id":"cart@sha256:1","name":"cart:1"},"start_time":"2023-11-14T22:13:20Z","pid":2,"#,
        r#""maybe_exec_probe":true,"security_context":{"privileged":true}},"#,
        r#""pod_labels":{"app":"cart","tier":"web"},"workload":"cart","workload_kind":"Deployment","#,
        r#""pod_annotations":{"note":"x"}},"docker":"0123456789abcdef0123456789abcde","#,
        r#""parent_exec_id":"bm9kZTE6MTow","refcnt":1,"cap":{"permitted":["CAP_CHOWN","DAC_OVERRIDE"],"#,
        r#""effective":["CAP_SYS_ADMIN",41]},"ns":{"uts":{"inum":4026531838,"is_host":true},"#,
        r#""ipc":{"inum":1},"mnt":{"inum":2},"pid":{"inum":3},"pid_for_children":{"inum":3},"net":{"inum":4},"#,
        r#""time":{"inum":5},"time_for_children":{"inum":5},"cgroup":{"inum":6},"user":{"inum":7}},"tid":46987,"#,
        r#""process_credentials":{"uid":0,"gid":0,"euid":0,"egid":0,"suid":0,"sgid":0,"fsuid":0,"fsgid":0,"#,
        r#""securebits":["SecBitKeepCaps"],"caps":{},"user_ns":{"level":0,"uid":0,"gid":0,"ns":{"inum":7}}},"#,
        r#""binary_properties":{"setuid":0,"setgid":4294967295,"#,
        r#""privileges_changed":["PRIVILEGES_RAISED_EXEC_FILE_SETUID"],"#,
        r#""file":{"inode":{"number":"18446744073709551615","links":0},"path":"/x"}},"user":{"name":"root"},"#,
        r#""in_init_tree":false,"environment_variables":[{"Key":"HOME","Value":"/root"},{"Key":"EMPTY"}]},"#,
        r#""parent":{"pid":1},"ancestors":[{"pid":0}]},"node_name":"node1","time":"2023-11-14T22:13:20.123Z","#,
        r#""aggregation_info":{"count":"7"},"cluster_name":"east","node_labels":{"a":"1","b":"2"}}"#,
    ),
    concat!(
        r#"{"process_exit":{"process":{"exec_id":"bm9kZTE6MTow","pid":5,"tid":6},"parent":{"pid":1},"#,
        r#""signal":"SIGKILL","status":137,"time":"2023-11-14T22:13:20.000001Z"},"node_name":"node1","#,
        r#""time":"2023-11-14T22:13:20.000001Z"}"#,
    ),
    r#"{"process_loader":{"process":{"pid":5},"path":"/lib/a.so","buildid":"3q2+7w=="},"node_name":"node1"}"#,
    r#"{"process_throttle":{"type":"THROTTLE_START","cgroup":"/kubepods"},"node_name":"node1"}"#,
    r#"{"test":{"arg0":"1","arg3":"4"},"time":"1970-01-01T00:00:00Z"}"#,
    concat!(
        r#"{"rate_limit_info":{"number_of_dropped_process_events":"42"},"node_name":"node1","#,
        r#""time":"2023-11-14T22:13:20Z"}"#,
    ),
];

#[test]
fn lines_of_the_reference_are_read_and_written_again_as_they_were() {
    for line in LINES {
        let event: GetEventsResponse = parse_json(EVENT, line, Unknown::Deny).unwrap();
        assert_eq!(line_of(&event), format!("{line}\n"));
        assert_eq!(schema_errors(line), "");
    }
}

#[test]
fn of_an_event_that_a_policy_made_the_processes_are_read() {
    let line = concat!(
        r#"{"process_kprobe":{"process":{"pid":5,"color":"red"},"parent":{"pid":1},"function_name":"fd_install","#,
        r#""args":[{"int_arg":3}],"action":"KPROBE_ACTION_POST"},"node_name":"node1"}"#,
    );
    let event: GetEventsResponse = parse_json(EVENT, line, Unknown::Ignore).unwrap();
    let read = r#"{"process_kprobe":{"process":{"pid":5},"parent":{"pid":1}},"node_name":"node1"}"#;
    assert_eq!(line_of(&event), format!("{read}\n"));
    assert_eq!(schema_errors(read), "");
    assert!(parse_json::<GetEventsResponse>(EVENT, line, Unknown::Deny).is_err());
}

#[test]
fn the_schema_refuses_what_is_no_line() {
    for line in [
        "{}",
        r#"{"node_name":"node1"}"#,
        r#"{"process_exec":{},"process_exit":{}}"#,
        r#"{"process_exec":{"extra":1}}"#,
        r#"{"process_exec":{"process":{"pid":-1}}}"#,
        r#"{"process_exec":{"process":{"start_time":"yesterday"}}}"#,
        r#"{"process_exec":{"process":{"cap":{"permitted":["CAP_FLY"]}}}}"#,
        r#"{"rate_limit_info":{"number_of_dropped_process_events":42}}"#,
    ] {
        assert_ne!(schema_errors(line), "", "{line}");
    }
}

#[test]
fn what_is_escaped_for_the_terminal_reads_the_same() {
    let mut json = "\"\u{7f}\u{85}\u{a0}\"".as_bytes().to_vec();
    printable::escape(&mut json, 0);
    assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), "\u{7f}\u{85}\u{a0}");
}
