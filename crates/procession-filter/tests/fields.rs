//! Which fields stay.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{GetEventsResponse, Process};
use procession_filter::{FieldFilters, parse_field_filters};
use proptest::prelude::*;
use support::*;

fn compiled(text: &str) -> FieldFilters {
    FieldFilters::new(&parse_field_filters(text).unwrap()).unwrap()
}

fn left(text: &str, event: &GetEventsResponse) -> GetEventsResponse {
    compiled(text).apply(event).unwrap()
}

fn exec_parts(event: &GetEventsResponse) -> (Option<&Process>, Option<&Process>, &[Process]) {
    let Some(Event::ProcessExec(exec)) = &event.event else { unreachable!() };
    (exec.process.as_ref(), exec.parent.as_ref(), &exec.ancestors)
}

#[test]
fn included_paths_stay_and_excluded_ones_go() {
    let event = left(r#"{"fields":"process.binary,process.pod.namespace,ancestors.pid"}"#, &exec());
    assert_eq!(event.node_name, "node");
    let (process, parent, ancestors) = exec_parts(&event);
    let pod = support::pod();
    let expected = Process {
        binary: "/usr/bin/curl".to_owned(),
        pod: Some(procession_api::proto::tetragon::Pod {
            namespace: pod.namespace.clone(),
            ..Default::default()
        }),
        ..Process::default()
    };
    assert_eq!(process, Some(&expected));
    assert_eq!(parent, None);
    assert_eq!(ancestors, [Process { pid: Some(1), ..Process::default() }]);

    let text =
        r#"{"fields":"process.pod.pod_labels,parent,process.pid,ancestors.binary","action":"EXCLUDE"}"#;
    let event = left(text, &exec());
    let (process, parent, ancestors) = exec_parts(&event);
    let pod = Some(procession_api::proto::tetragon::Pod { pod_labels: [].into(), ..pod });
    assert_eq!(process, Some(&Process { pid: None, pod, ..support::process() }));
    assert_eq!(parent, None);
    assert_eq!(ancestors, [Process { pid: Some(1), ..Process::default() }]);
}

#[test]
fn a_field_filter_is_for_its_events() {
    let text = r#"{"event_set":["PROCESS_EXIT"],"fields":"process","action":"EXCLUDE"}"#;
    assert_eq!(left(text, &exec()), exec());
    assert_ne!(left(text, &exit()), exit());
    let text =
        r#"{"event_set":["PROCESS_EXIT"],"invert_event_set":true,"fields":"process","action":"EXCLUDE"}"#;
    assert_ne!(left(text, &exec()), exec());
    assert_eq!(left(text, &exit()), exit());
    let text = r#"{"invert_event_set":true,"fields":"process","action":"EXCLUDE"}"#;
    assert_ne!(left(text, &exec()), exec(), "there is nothing to invert");
}

#[test]
fn filters_apply_one_after_the_other() {
    let text = r#"{"fields":"process"} {"fields":"process.pod","action":"EXCLUDE"}"#;
    let event = left(text, &exec());
    let (process, parent, _) = exec_parts(&event);
    assert_eq!(process, Some(&Process { pod: None, ..support::process() }));
    assert_eq!(parent, None);
}

#[test]
fn what_an_event_has_not_is_not_told_of_it() {
    // Only throttling has a control group: everything of an exec goes.
    let event = left(r#"{"fields":"cgroup"}"#, &exec());
    assert_eq!(exec_parts(&event), (None, None, &[][..]));
    assert_eq!(left(r#"{"fields":"cgroup"}"#, &throttle()), throttle());
    assert_eq!(left(r#"{"fields":"cgroup","action":"EXCLUDE"}"#, &exec()), exec());
}

#[test]
fn nothing_to_do_is_nothing_done() {
    for text in ["", r#"{"action":"INCLUDE"}"#, r#"{"fields":"","action":"EXCLUDE"}"#, "{}"] {
        assert!(compiled(text).is_empty(), "{text}");
        assert_eq!(left(text, &exec()), exec());
    }
    let empty = GetEventsResponse::default();
    assert_eq!(left(r#"{"fields":"process"}"#, &empty), empty);
    assert_eq!(compiled(r#"{"fields":"process"}"#), compiled(r#"{"fields":["process"]}"#));
}

#[test]
fn unknown_paths_are_refused() {
    for (text, expected) in [
        (
            r#"{"fields":"process.binray"}"#,
            "field_filters[0].fields: `process.binray`: `Process` has no field `binray`; did you mean `binary`?",
        ),
        (
            r#"{} {"fields":"proces"}"#,
            "field_filters[1].fields: `proces`: `ProcessExec` has no field `proces`; did you mean `process`?",
        ),
        (r#"{"fields":"process.pid.value"}"#, "nothing inside of it is called `value`"),
        (r#"{"fields":"process.pod.pod_labels.app"}"#, "nothing inside of it is called `app`"),
        (r#"{"fields":"process..pid"}"#, "has no field ``"),
        (r#"{"event_set":["PROCESS_EXEC"],"fields":"cgroup"}"#, "has no field `cgroup`"),
        (r#"{"fields":"process","action":7}"#, "field_filters[0].action"),
    ] {
        let error = FieldFilters::new(&parse_field_filters(text).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

const PATHS: [&str; 9] = [
    "process",
    "process.pid",
    "process.pod",
    "process.pod.container.image.name",
    "process.pod.pod_labels",
    "process.cap.effective",
    "parent.arguments",
    "ancestors",
    "process.environment_variables.Key",
];

proptest! {
    /// What one keeps the other drops; both together are all, and doing it again changes nothing.
    #[test]
    fn include_and_exclude_are_opposites(chosen in proptest::sample::subsequence(&PATHS[..], 1..4)) {
        let fields = chosen.join(",");
        let include = format!(r#"{{"fields":"{fields}"}}"#);
        let exclude = format!(r#"{{"fields":"{fields}","action":"EXCLUDE"}}"#);
        let (kept, rest) = (left(&include, &exec()), left(&exclude, &exec()));
        prop_assert_eq!(&left(&include, &kept), &kept);
        prop_assert_eq!(&left(&exclude, &rest), &rest);
        let mut parts = prost::Message::encode_to_vec(&kept);
        parts.extend(prost::Message::encode_to_vec(&rest));
        let both: GetEventsResponse = prost::Message::decode(&*parts).unwrap();
        // Messages in lists that are cut in two are two, and only those.
        if !fields.contains("environment_variables") {
            prop_assert_eq!(both, exec());
        }
    }
}
