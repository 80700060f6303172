//! What a container does in these tests, and what should be told of it.

use procession_kube::ContainerId;
use serde_json::{Value, json};

use crate::watch::{Watch, process};

/// Its command: a shell that runs two programs and ends in a way of its own.
pub(crate) const COMMAND: [&str; 3] = ["/bin/sh", "-c", "/bin/sleep 0.01; /bin/sleep 0.02; exit 3"];

/// What each process ran, in the order of their beginnings and of their ends.
const EXECS: [&str; 3] = ["/bin/sh", "/bin/sleep", "/bin/sleep"];
const EXITS: [&str; 3] = ["/bin/sleep", "/bin/sleep", "/bin/sh"];

/// What an event that came without its container's name is marked with.
const MARK: &str = "unknownContainer";

/// Watches all programs that run and end, with these options.
pub(crate) fn watch(options: &[&str]) -> Watch {
    Watch::start(&[&["--exec", "--exit"], options].concat())
}

/// The same in the form for programs.
pub(crate) fn watch_json(options: &[&str]) -> Watch {
    watch(&[&["--output", "json"], options].concat())
}

/// Waits for the end of a container that runs [`COMMAND`], checks that all that it did was told and in
/// order, and returns that.
pub(crate) fn events_of(watch: &mut Watch, container: ContainerId) -> Vec<Value> {
    watch.until("the end of a container", |event| is_end(event, container));
    all_in_order(watch.of(container))
}

/// Whether a container that runs [`COMMAND`] is over with that.
pub(crate) fn is_end(event: &Value, container: ContainerId) -> bool {
    process(event)["docker"] == container.wire() && event["process_exit"]["status"] == 3
}

/// Checks that in the events of a container that runs [`COMMAND`] all that it did was told and in order, and returns
/// that.
pub(crate) fn all_in_order(mut events: Vec<Value>) -> Vec<Value> {
    // What makes the container may be in its control group, too, before its first process.
    events.retain(|event| process(event)["arguments"] != "init");
    let binaries = |kind: &str| -> Vec<_> {
        let binary = |event: &Value| event.get(kind).map(|event| event["process"]["binary"].clone());
        events.iter().filter_map(binary).collect()
    };
    assert_eq!(
        (binaries("process_exec"), binaries("process_exit")),
        (EXECS.map(Value::from).to_vec(), EXITS.map(Value::from).to_vec()),
        "{events:#?}"
    );
    events
}

/// Checks that a container that runs [`COMMAND`] is known in all that it did, from its first process on,
/// and returns what was told of it: the `pod`, without the pid, which is each process's own.
pub(crate) fn known_in_all(watch: &mut Watch, container: ContainerId) -> Value {
    let events = events_of(watch, container);
    pod_of_all(&events, &watch.errors())
}

/// The same of these events, which are all that it did. `said` explains why one has no pod.
pub(crate) fn pod_of_all(events: &[Value], said: &str) -> Value {
    let mut pods: Vec<_> = events.iter().map(|event| process(event)["pod"].clone()).collect();
    for (event, pod) in events.iter().zip(&mut pods) {
        let is_first = process(event)["binary"] == "/bin/sh";
        assert_eq!(pod["container"]["pid"].take() == 1, is_first, "{event:#}; {said}");
        assert!(!is_marked(event), "{event:#}; {said}");
    }
    assert!(pods.iter().all(|pod| *pod == pods[0]), "{pods:#?}");
    pods.swap_remove(0)
}

/// Checks that a container that runs [`COMMAND`] is known in nothing that it did, and that this is marked.
pub(crate) fn unknown_in_all(watch: &mut Watch, container: ContainerId) {
    no_pod_in_any(&events_of(watch, container));
}

/// The same of these events.
pub(crate) fn no_pod_in_any(events: &[Value]) {
    for event in events {
        assert!(is_marked(event) && process(event)["pod"].is_null(), "{event:#}");
    }
}

/// The id, name and image of the container in a `pod`.
pub(crate) fn container_in(pod: &Value) -> Value {
    let container = &pod["container"];
    json!([container["id"], container["name"], container["image"]["name"]])
}

pub(crate) fn is_marked(event: &Value) -> bool {
    process(event)["flags"].as_str().is_some_and(|flags| flags.contains(MARK))
}

/// How many events the summary says were told without the name of their container: others may run some too.
pub(crate) fn unnamed(errors: &str) -> u64 {
    let before = errors.split(" without the name of their container").next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|count| count.replace(',', "").parse().ok()).unwrap_or(0)
}
