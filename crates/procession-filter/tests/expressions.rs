//! Expressions over events.

#![cfg(feature = "cel")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    EnvVar, Filter, GetEventsResponse, Process, ProcessCredentials, ProcessExec, Test, UserNamespace,
};
use procession_filter::{EventFilter, FilterOptions};
use support::*;

fn filter(expressions: &[&str]) -> Filter {
    let cel_expression = expressions.iter().map(|&text| text.to_owned()).collect();
    Filter { cel_expression, ..Filter::default() }
}

fn is_true(expression: &str, event: &GetEventsResponse) -> bool {
    EventFilter::new(&[filter(&[expression])], &[], FilterOptions::default()).unwrap().admits(event)
}

fn error(expression: &str) -> String {
    let filters = [filter(&["process_exec.process.pid == 1", expression])];
    EventFilter::new(&filters, &[], FilterOptions::default()).unwrap_err().to_string()
}

#[test]
fn fields_are_values() {
    for (expression, expected) in [
        ("process_exec.process.binary == '/usr/bin/curl'", true),
        ("process_exec.process.binary.endsWith('curl') && process_exec.process.uid == 0", true),
        ("process_exec.process.pid == 7u && process_exec.process.pid > 6", true),
        ("process_exec.process.pid in [1, 7]", true),
        ("process_exec.process.auid == null", true),
        ("process_exec.process.pid == null", false),
        ("process_exec.process.pod.namespace == 'shop'", true),
        ("process_exec.parent.pod.namespace == ''", true),
        ("process_exec.parent.pod.container.image.name == ''", true),
        ("has(process_exec.parent.pod)", false),
        ("has(process_exec.process.pod) && !has(process_exec.process.auid)", true),
        ("has(process_exec.process.pod.pod_labels)", true),
        ("has(process_exec.process.pod.pod_labels.app)", true),
        ("has(process_exec.process.pod.pod_labels.other)", false),
        ("process_exec.process.pod.pod_labels['app'] == 'cart'", true),
        ("'tier' in process_exec.process.pod.pod_labels", true),
        ("process_exec.process.pod.pod_labels.exists(k, k == 'app')", true),
        ("21 in process_exec.process.cap.effective", true),
        ("CapabilitiesType.CAP_SYS_ADMIN in process_exec.process.cap.effective", true),
        ("tetragon.CapabilitiesType.CAP_CHOWN in process_exec.process.cap.effective", false),
        ("process_exec.process.cap.permitted.all(c, c > 10)", true),
        ("process_exec.ancestors.exists(a, a.binary == '/sbin/init')", true),
        ("process_exec.ancestors.filter(a, a.pid == 1)[0].binary.startsWith('/sbin')", true),
        ("process_exec.ancestors.exists_one(a, a.pid == 1)", true),
        ("process_exec.process.binary + process_exec.process.cwd == '/usr/bin/curl/'", true),
        ("process_exec.ancestors.map(a, a.binary) == ['/sbin/init']", true),
        ("has(process_exec.ancestors[0].pod)", false),
        ("size(process_exec.ancestors) == 1 && process_exec.ancestors.size() == 1", true),
        ("process_exec.process.environment_variables.exists(e, e.Key == 'TOKEN' && e.Value == 'abc')", true),
        (r"process_exec.process.arguments.matches('--token=\\w+')", true),
        (r"matches(process_exec.process.arguments, r'^\d')", false),
        ("process_exec.process.in_init_tree", true),
        ("process_exec.process.refcnt == 0u", true),
        ("process_exec.process.start_time.seconds == 0", true),
        ("process_exec.process.pid > 5 ? true : false", true),
        ("process_exit.status == 3u", false),
        ("process_exit.status == 0u || process_exec.process.pid == 7", true),
        ("type(process_exec.process.binary) == string", true),
    ] {
        assert_eq!(is_true(expression, &exec()), expected, "{expression}");
    }
    assert!(is_true("process_exit.status == 3u", &exit()));
    assert!(is_true("process_throttle.cgroup == '/x'", &throttle()));
    assert!(!is_true("process_exec.process.pid == 7", &GetEventsResponse::default()));
}

#[test]
fn numbers_keep_their_sign_and_size() {
    let event = event(Event::Test(Test { arg0: 1, arg3: u64::MAX, ..Test::default() }));
    assert!(is_true("test.arg0 == 1 && test.arg3 == 18446744073709551615u && test.arg1 == 0u", &event));
    let user_ns = Some(UserNamespace { level: Some(-1), ..UserNamespace::default() });
    let process_credentials = Some(ProcessCredentials { user_ns, ..ProcessCredentials::default() });
    let event = exec_of(Process { process_credentials, ..process() });
    assert!(is_true("process_exec.process.process_credentials.user_ns.level == -1", &event));
}

#[test]
fn a_loop_over_a_large_event_ends() {
    let variables = (0..5_000).map(|it| EnvVar { key: format!("K{it}"), value: "v".repeat(64) });
    let large = exec_of(Process { environment_variables: variables.collect(), ..process() });
    let variables = "process_exec.process.environment_variables";
    let once = format!("{variables}.exists(e, e.Key == 'K4999')");
    assert!(is_true(&once, &large));
    let squared =
        format!("{variables}.exists(e, size({variables}) == 0 || process_exec.process.cwd == e.Key)");
    let mut filter = EventFilter::new(&[filter(&[&squared])], &[], ALL).unwrap();
    assert!(!filter.admits(&large));
    assert_eq!(filter.errors(), 1);
}

#[test]
fn filters_may_go_to_other_threads() {
    fn check<T: Send + Sync>() {}
    check::<EventFilter>();
}

#[test]
fn each_expression_has_its_own_patterns() {
    let both = ["process_exec.process.binary.matches('^x')", "process_exec.process.binary.matches('curl$')"];
    assert!(EventFilter::new(&[filter(&both)], &[], ALL).unwrap().admits(&exec()));
}

#[test]
fn what_is_wrong_is_said_before_there_is_an_event() {
    for (expression, expected) in [
        ("proces_exec.process.pid == 1", "`proces_exec` is not known; did you mean `process_exec`?"),
        ("node_name == 'x'", "process_exec, process_exit"),
        ("process_exec.proces.pid == 1", "`ProcessExec` has no field `proces`; did you mean `process`?"),
        ("process_exec.process.pid.value == 1", "has no `value`"),
        ("process_exec.process.binary", "must be true or false"),
        ("process_exec.process.binary.size()", "must be true or false"),
        ("process_exec.process.pid", "must be true or false"),
        ("true", "about no event"),
        ("process_exec.process.binary && true", "must be true or false"),
        ("process_exec.process == process_exec.parent", "cannot be compared"),
        ("process_exec.process.binary.matches(process_exec.process.cwd)", "must be written out"),
        ("process_exec.process.binary.matches('(')", "`(` is not a regular expression"),
        ("process_exec.process.binary.startWith('x')", "did you mean `startsWith`?"),
        (
            "process_exec.ancestors.exists(a, process_exec.ancestors.exists(b, b.pid == a.pid))",
            "takes too long",
        ),
        ("process_exec.ancestors.map(a, a.cwd + a.cwd) == []", "too much memory"),
        ("has(dyn(process_exec.process).x)", "nothing is known"),
        (
            "CapabilitiesType.CAP_SYS_ADMINN == 1 && process_exec.process.pid == 1",
            "did you mean `CAP_SYS_ADMIN`?",
        ),
        ("process_exec.process.pid ==", "`process_exec.process.pid ==`: "),
        ("", "``: "),
    ] {
        let error = error(expression);
        assert!(error.starts_with("allow_list[0].cel_expression[1]: "), "{error}");
        assert!(error.contains(expected), "{expression}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn an_expression_that_fails_is_counted_and_keeps_the_event_back() {
    let fails = filter(&["process_exec.ancestors[9].pid == 1"]);
    let mut allow = EventFilter::new(std::slice::from_ref(&fails), &[], ALL).unwrap();
    assert!(!allow.admits(&exec()));
    assert!(!allow.admits(&exec()));
    assert!(!allow.admits(&exit()));
    assert_eq!(allow.errors(), 2);
    let mut deny = EventFilter::new(&[], &[fails], ALL).unwrap();
    assert!(!deny.admits(&exec()));
    assert!(deny.admits(&exit()), "it is not about exits");
    assert_eq!(deny.errors(), 1);
}

#[test]
fn all_expressions_together_are_bounded_on_an_event() {
    let ancestors = vec![Process { binary: "/bin/sh".into(), ..Process::default() }; 2_000];
    let event =
        Event::ProcessExec(ProcessExec { ancestors, process: Some(process()), ..ProcessExec::default() });
    let event = GetEventsResponse { event: Some(event), ..GetEventsResponse::default() };
    let long = "process_exec.ancestors.exists(a, a.binary == 'x')";
    let decides_after = |times| {
        let filters: Vec<_> = std::iter::repeat_n(long, times)
            .chain(["process_exec.process.pid == 7"])
            .map(|it| filter(&[it]))
            .collect();
        let mut filters = EventFilter::new(&filters, &[], ALL).unwrap();
        (filters.admits(&event), filters.errors() > 0)
    };
    assert_eq!(decides_after(1), (true, false));
    assert_eq!(decides_after(200), (false, true), "and it is counted");
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let two = filter(&["process_exec.ancestors[9].pid == 1", "process_exec.process.pid == 7"]);
    assert!(EventFilter::new(&[two], &[], ALL).unwrap().admits(&exec()));
    // A comparison with what is not there fails.
    let unset = exec_of(Process { pid: None, ..process() });
    assert!(!is_true("process_exec.process.pid > 5", &unset));
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = |open: &str, close: &str, levels| {
        format!("process_exec.process.pid == 7 && {}true{}", open.repeat(levels), close.repeat(levels))
    };
    let chain = |link: &str, times| format!("process_exec.process.pid == 1{}", link.repeat(times));
    for hostile in [
        deep("(", ")", 1_000),
        deep("[", "]", 500),
        deep("true?true:", "", 300),
        deep("size(", ")", 500),
        chain(" + 1", 900),
        chain(".x", 1_500),
        chain("[0]", 1_000),
        chain(" ? 1 : 1", 300),
        chain("{", 2_000),
        chain("", 0) + &" ".repeat(5_000),
    ] {
        error(&hostile);
    }
    // These are short when they are read.
    assert!(is_true(&deep("!", "", 1_000), &exec()));
    assert!(is_true(&vec!["process_exec.process.pid == 7"; 64].join(" || "), &exec()));
    let many = vec!["process_exec.process.pid == 7"; 257];
    assert!(EventFilter::new(&[filter(&many)], &[], ALL).is_err());
}
