//! Which events pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{Container, Filter, GetEventsResponse, Pod, Process};
use procession_filter::{EventFilter, FilterOptions};
use proptest::prelude::*;
use support::*;

fn hosted() -> GetEventsResponse {
    exec_of(Process { pod: None, docker: String::new(), ..process() })
}

#[test]
fn each_field_looks_at_its_own() {
    for (matching, other) in [
        (r#"{"binary_regex":["^curl","curl$"]}"#, r#"{"binary_regex":["^curl"]}"#),
        (r#"{"namespace":["shop"]}"#, r#"{"namespace":["sho",""]}"#),
        (r#"{"health_check":false}"#, r#"{"health_check":true}"#),
        (r#"{"pid":[1,7]}"#, r#"{"pid":[6]}"#),
        (r#"{"pid_set":[6]}"#, r#"{"pid_set":[8]}"#),
        (r#"{"event_set":["PROCESS_EXIT","PROCESS_EXEC"]}"#, r#"{"event_set":["PROCESS_EXIT"]}"#),
        (r#"{"pod_regex":["^cart-"]}"#, r#"{"pod_regex":["^art"]}"#),
        (r#"{"arguments_regex":["--token=\\w+"]}"#, r#"{"arguments_regex":["deploy"]}"#),
        (r#"{"labels":["app=cart","x"]}"#, r#"{"labels":["app!=cart"]}"#),
        (
            r#"{"capabilities":{"effective":{"any":["CAP_SYS_ADMIN"]}}}"#,
            r#"{"capabilities":{"effective":{"any":[12]}}}"#,
        ),
        (r#"{"parent_binary_regex":["bash"]}"#, r#"{"parent_binary_regex":["curl"]}"#),
        (r#"{"parent_arguments_regex":["deploy"]}"#, r#"{"parent_arguments_regex":["token"]}"#),
        (r#"{"container_id":["^0123"]}"#, r#"{"container_id":["^123"]}"#),
        (r#"{"in_init_tree":true}"#, r#"{"in_init_tree":false}"#),
        (r#"{"ancestor_binary_regex":["init$"]}"#, r#"{"ancestor_binary_regex":["bash"]}"#),
        (r#"{"container_name_regex":["app"]}"#, r#"{"container_name_regex":["cart"]}"#),
        (r#"{"namespace_regex":["^sh"]}"#, r#"{"namespace_regex":["^h"]}"#),
        ("{}", r#"{"policy_names":["p"]}"#),
        (r#"{"binaryRegex":["curl"]}"#, r#"{"event_set":[12345]}"#),
    ] {
        assert!(allows(matching, &exec()), "{matching}");
        assert!(denies(matching, &exec()), "{matching}");
        assert!(!allows(other, &exec()), "{other}");
        assert!(!denies(other, &exec()), "{other}");
    }
}

#[test]
fn an_event_without_process_matches_no_field_about_one() {
    for about in [
        r#"{"binary_regex":[""]}"#,
        r#"{"namespace":[""]}"#,
        r#"{"health_check":false}"#,
        r#"{"pid":[0]}"#,
        r#"{"pid_set":[0]}"#,
        r#"{"pod_regex":[""]}"#,
        r#"{"labels":[""]}"#,
        r#"{"capabilities":{"effective":{"none":[1]}}}"#,
        r#"{"in_init_tree":false}"#,
        r#"{"ancestor_binary_regex":[""]}"#,
    ] {
        assert!(!allows(about, &throttle()), "{about}");
        assert!(!denies(about, &throttle()), "{about}");
    }
    assert!(allows(r#"{"event_set":["PROCESS_THROTTLE"]}"#, &throttle()));
    assert!(allows("{}", &GetEventsResponse::default()));
    assert!(!allows(r#"{"event_set":["UNDEF"]}"#, &GetEventsResponse::default()));
}

#[test]
fn without_a_pod_only_the_empty_namespace_matches() {
    assert!(allows(r#"{"namespace":[""]}"#, &hosted()));
    for about in [
        r#"{"pod_regex":[""]}"#,
        r#"{"labels":[""]}"#,
        r#"{"labels":["!app"]}"#,
        r#"{"namespace_regex":[""]}"#,
        r#"{"container_name_regex":[""]}"#,
    ] {
        assert!(!allows(about, &hosted()), "{about}");
    }
}

/// The message of a container in no pod has a `pod`, of which nothing but the container is there.
#[test]
fn a_container_in_no_pod_is_in_no_pod() {
    let mut event = hosted();
    let Some(Event::ProcessExec(exec)) = &mut event.event else { panic!("it is an exec") };
    let container = Container { name: "web".into(), ..Container::default() };
    exec.process.as_mut().unwrap().pod = Some(Pod { container: Some(container), ..Pod::default() });
    for about in [r#"{"namespace":[""]}"#, r#"{"container_name_regex":["^web$"]}"#] {
        assert!(allows(about, &event), "{about}");
    }
    for about in [r#"{"pod_regex":["^$"]}"#, r#"{"labels":["!app"]}"#, r#"{"namespace_regex":[""]}"#] {
        assert!(!allows(about, &event), "{about}");
    }
}

#[test]
fn the_probe_may_be_the_parent() {
    let mut event = exec();
    let Some(Event::ProcessExec(exec)) = &mut event.event else { unreachable!() };
    let mut pod = pod();
    pod.container.as_mut().unwrap().maybe_exec_probe = true;
    exec.parent.as_mut().unwrap().pod = Some(pod);
    assert!(allows(r#"{"health_check":true}"#, &event));
    assert!(!allows(r#"{"health_check":false}"#, &event));
}

#[test]
fn capabilities_are_compared_set_by_set() {
    for (filter, matches) in [
        (r#"{"permitted":{"all":[12,21]}}"#, true),
        (r#"{"permitted":{"all":[12,21,0]}}"#, false),
        (r#"{"permitted":{"exactly":["CAP_NET_ADMIN","CAP_SYS_ADMIN"]}}"#, true),
        (r#"{"permitted":{"exactly":[12]}}"#, false),
        (r#"{"permitted":{"any":[0,12]},"effective":{"none":[12]}}"#, true),
        (r#"{"permitted":{"any":[0,12]},"effective":{"none":[21]}}"#, false),
        (r#"{"inheritable":{"none":["DAC_OVERRIDE"]}}"#, true),
        (r#"{"inheritable":{"any":[0]}}"#, false),
    ] {
        assert_eq!(allows(&format!(r#"{{"capabilities":{filter}}}"#), &exec()), matches, "{filter}");
    }
}

#[test]
fn where_nobody_can_tell_the_event_is_kept_back() {
    let unseen = exec_of(Process { cap: None, ..process() });
    let filter = r#"{"capabilities":{"effective":{"any":[21]}}}"#;
    assert!(!allows(filter, &unseen));
    assert!(denies(filter, &unseen));
    // Another field can.
    assert!(!denies(r#"{"capabilities":{"effective":{"any":[21]}},"pid":[1]}"#, &unseen));
}

#[test]
fn lists_are_ored_and_deny_wins() {
    let check = |allow, deny, expected| {
        let mut filter = EventFilter::new(&filters(allow), &filters(deny), ALL).unwrap();
        assert_eq!(filter.admits(&exec()), expected, "{allow} {deny}");
    };
    check("", "", true);
    check(r#"{"pid":[1]} {"pid":[7]}"#, "", true);
    check(r#"{"pid":[1]} {"pid":[2]}"#, "", false);
    check(r#"{"pid":[7]}"#, r#"{"pid":[1]}{"binary_regex":["curl"]}"#, false);
    check(r#"{"pid":[7],"binary_regex":["bash"]}"#, "", false);
    check("", "{}", false);
}

#[test]
fn what_cannot_be_used_is_said_and_where() {
    let none = FilterOptions::default();
    for (text, options, expected) in [
        (
            r#"{"capabilities":{}}"#,
            none,
            "allow_list[0].capabilities: the agent tells no capabilities: start it with `--enable-process-cred`",
        ),
        (
            r#"{} {"ancestor_binary_regex":["x"]}"#,
            none,
            "allow_list[1].ancestor_binary_regex: the agent tells no ancestors: start it with `--enable-ancestors`",
        ),
        (
            r#"{"pod_regex":["a","("]}"#,
            ALL,
            "allow_list[0].pod_regex[1]: `(` is not a regular expression that can be used: unclosed group",
        ),
        (r#"{"binary_regex":["\\C"]}"#, ALL, "`\\C` is not supported"),
        (r#"{"labels":["a b"]}"#, ALL, "allow_list[0].labels[0]: `a b` is no label selector"),
        (r#"{"capabilities":{"effective":{}}}"#, ALL, "allow_list[0].capabilities.effective: one of"),
        (r#"{"capabilities":{"effective":{"any":[1],"all":[1]}}}"#, ALL, "only one"),
        (r#"{"capabilities":{"effective":{"any":[64]}}}"#, ALL, "there is no capability 64"),
    ] {
        let error = refusal(text, options);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let many = vec![Filter { binary_regex: vec!["x".to_owned(); 8], ..Filter::default() }; 300];
    let error = EventFilter::new(&many, &[], ALL).unwrap_err().to_string();
    assert!(error.contains("too many expressions"), "{error}");
}

#[test]
fn families_are_followed_by_denied_and_by_unwanted_events_too() {
    let child = |pid, exec_id: &str, parent_exec_id: &str, binary: &str| {
        let process = Process {
            pid: Some(pid),
            exec_id: exec_id.to_owned(),
            parent_exec_id: parent_exec_id.to_owned(),
            binary: binary.to_owned(),
            ..Process::default()
        };
        let (process, parent) = (Some(process), None);
        event(Event::ProcessExec(procession_api::proto::tetragon::ProcessExec {
            process,
            parent,
            ancestors: vec![],
        }))
    };
    let allow = filters(r#"{"pid_set":[10],"binary_regex":["wanted"]}"#);
    let mut filter = EventFilter::new(&allow, &filters(r#"{"pid":[10]}"#), ALL).unwrap();
    assert!(!filter.admits(&child(10, "a", "init", "wanted")));
    assert!(!filter.admits(&child(11, "b", "a", "shell")));
    assert!(filter.admits(&child(12, "c", "b", "wanted")));
    assert!(!filter.admits(&child(13, "d", "init", "wanted")));
}

/// A filter over a few values, and what it means, written down in another way.
#[derive(Clone, Debug)]
struct Simple {
    pids: Vec<u32>,
    namespaces: Vec<String>,
    binaries: Vec<String>,
    in_init_tree: Option<bool>,
}

impl Simple {
    fn message(&self) -> Filter {
        Filter {
            pid: self.pids.clone(),
            namespace: self.namespaces.clone(),
            binary_regex: self.binaries.iter().map(|name| format!("^{name}$")).collect(),
            in_init_tree: self.in_init_tree,
            ..Filter::default()
        }
    }

    fn matches(&self, process: &Process) -> bool {
        let namespace = process.pod.as_ref().map(|pod| pod.namespace.clone()).unwrap_or_default();
        let wrong = [
            !self.pids.is_empty() && !self.pids.contains(&process.pid.unwrap()),
            !self.namespaces.is_empty() && !self.namespaces.contains(&namespace),
            !self.binaries.is_empty() && !self.binaries.contains(&process.binary),
            self.in_init_tree.is_some_and(|expected| expected != process.in_init_tree.unwrap()),
        ];
        !wrong.contains(&true)
    }
}

fn simple() -> impl Strategy<Value = Simple> {
    let pids = proptest::collection::vec(1..4_u32, 0..3);
    let namespaces = proptest::collection::vec("|a|b", 0..3);
    let binaries = proptest::collection::vec("x|y", 0..2);
    (pids, namespaces, binaries, proptest::option::of(any::<bool>())).prop_map(
        |(pids, namespaces, binaries, in_init_tree)| Simple { pids, namespaces, binaries, in_init_tree },
    )
}

fn some_process() -> impl Strategy<Value = Process> {
    (1..4_u32, proptest::option::of("a|b"), "x|y", any::<bool>()).prop_map(
        |(pid, namespace, binary, tree)| {
            let pod = namespace
                .map(|namespace| procession_api::proto::tetragon::Pod { namespace, ..Default::default() });
            Process { pid: Some(pid), pod, binary, in_init_tree: Some(tree), ..Process::default() }
        },
    )
}

proptest! {
    #[test]
    fn filters_mean_what_they_say(
        allow in proptest::collection::vec(simple(), 0..3),
        deny in proptest::collection::vec(simple(), 0..3),
        process in some_process(),
    ) {
        let messages = |list: &[Simple]| list.iter().map(Simple::message).collect::<Vec<_>>();
        let mut filter = EventFilter::new(&messages(&allow), &messages(&deny), FilterOptions::default()).unwrap();
        let any = |list: &[Simple]| list.iter().any(|filter| filter.matches(&process));
        let expected = (allow.is_empty() || any(&allow)) && !any(&deny);
        prop_assert_eq!(filter.admits(&exec_of(process.clone())), expected);
    }
}
