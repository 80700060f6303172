//! Events to filter.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    Capabilities, Container, EnvVar, Filter, GetEventsResponse, Image, Pod, Process, ProcessExec,
    ProcessExit, ProcessThrottle,
};
use procession_filter::{EventFilter, FilterOptions, parse_filters};

pub const ALL: FilterOptions = FilterOptions { credentials: true, ancestors: true };

pub fn pod() -> Pod {
    Pod {
        namespace: "shop".to_owned(),
        name: "cart-0".to_owned(),
        container: Some(Container {
            id: "containerd://0123".to_owned(),
            name: "app".to_owned(),
            image: Some(Image { id: "sha256:1".to_owned(), name: "shop/cart:1".to_owned() }),
            pid: Some(1),
            ..Container::default()
        }),
        pod_labels: [("app".to_owned(), "cart".to_owned()), ("tier".to_owned(), "2".to_owned())].into(),
        ..Pod::default()
    }
}

pub fn process() -> Process {
    Process {
        exec_id: "bm9kZTo1Ojc=".to_owned(),
        parent_exec_id: "bm9kZTo0OjY=".to_owned(),
        pid: Some(7),
        uid: Some(0),
        cwd: "/".to_owned(),
        binary: "/usr/bin/curl".to_owned(),
        arguments: "-s --token=abc http://x".to_owned(),
        docker: "0123456789abcdef".to_owned(),
        pod: Some(pod()),
        cap: Some(Capabilities { permitted: vec![12, 21], effective: vec![21], inheritable: vec![] }),
        in_init_tree: Some(true),
        environment_variables: vec![EnvVar { key: "TOKEN".to_owned(), value: "abc".to_owned() }],
        ..Process::default()
    }
}

pub fn parent() -> Process {
    Process {
        exec_id: "bm9kZTo0OjY=".to_owned(),
        pid: Some(6),
        binary: "/bin/bash".to_owned(),
        arguments: "-c deploy".to_owned(),
        ..Process::default()
    }
}

pub fn ancestor() -> Process {
    Process { pid: Some(1), binary: "/sbin/init".to_owned(), ..Process::default() }
}

pub fn event(event: Event) -> GetEventsResponse {
    GetEventsResponse { node_name: "node".to_owned(), event: Some(event), ..GetEventsResponse::default() }
}

pub fn exec_of(process: Process) -> GetEventsResponse {
    let (process, parent) = (Some(process), Some(parent()));
    event(Event::ProcessExec(ProcessExec { process, parent, ancestors: vec![ancestor()] }))
}

pub fn exec() -> GetEventsResponse {
    exec_of(process())
}

pub fn exit() -> GetEventsResponse {
    let (process, parent) = (Some(process()), Some(parent()));
    event(Event::ProcessExit(ProcessExit { process, parent, status: 3, ..ProcessExit::default() }))
}

pub fn throttle() -> GetEventsResponse {
    event(Event::ProcessThrottle(ProcessThrottle { cgroup: "/x".to_owned(), ..ProcessThrottle::default() }))
}

pub fn filters(text: &str) -> Vec<Filter> {
    parse_filters(text).unwrap()
}

pub fn allows(text: &str, event: &GetEventsResponse) -> bool {
    EventFilter::new(&filters(text), &[], ALL).unwrap().admits(event)
}

pub fn denies(text: &str, event: &GetEventsResponse) -> bool {
    !EventFilter::new(&[], &filters(text), ALL).unwrap().admits(event)
}

pub fn refusal(text: &str, options: FilterOptions) -> String {
    EventFilter::new(&filters(text), &[], options).unwrap_err().to_string()
}
