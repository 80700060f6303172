//! Exact lines for facts that a real table made.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Event, EventKind, Exec,
    Exit, ExitStatus, Fact, FactKind, FileIdentity, Fork, LineageDetail, Namespaces, Nature, Pid,
    PrivilegeChange, ProcessKey, Program, Running, Subject, Table, TableConfig, Uid, WallClock,
    WorkingDirectory,
};

use procession_kube::{
    Container, ContainerId, ContainerInfo, ContainerKind, Memory, Pod, PodIndex, Probe, RuntimePod, Told,
    Whose,
};

use super::{AnnotationOptions, JsonEncoder};
use crate::users::Users;

const SECOND: u64 = 1_000_000_000;

/// `exec_id`s on the node `n`: base64 of `n:<start>:<pid>`.
const NO_PARENT: &str = "bjoxOjA=";
const INIT: &str = "bjoyOjE=";
const SHELL: &str = "bjoxMDAwMDAwMDAwOjEwMA==";
const LS: &str = "bjoyMDAwMDAwMDAxOjEwMQ==";

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn subject(pid: u32, began: u64, start: u64) -> Subject {
    let began = BootTime::from_nanos(began);
    Subject { key: key(pid, start), began, precision: procession::Precision::default() }
}

fn user(uid: u32) -> Context<'static> {
    let uid = Uid(uid);
    let credentials = Credentials { uid, euid: uid, login_uid: Some(uid), ..Credentials::default() };
    Context { credentials: Some(credentials), ..Context::default() }
}

/// Init, found running, and a shell in its second image: what the tests' processes descend from.
fn table_with_shell() -> Table {
    let mut table = Table::new(TableConfig::default());
    let init = Running {
        process: subject(1, 2, 2),
        owner: ProcessKey::NONE.into(),
        context: Context { credentials: Some(Credentials::default()), ..Context::default() },
        program: Program {
            binary: b"/sbin/init",
            cwd: WorkingDirectory::Path(b"/"),
            arguments: Arguments::complete(b"init\0splash\0"),
            ..Program::default()
        },
        gap: None,
    };
    fact(&mut table, SECOND / 2, EventKind::Running(init));
    fact(&mut table, SECOND - 1, fork(subject(100, SECOND - 1, SECOND - 1), key(1, 2)));
    let shell = Program {
        binary: b"/bin/sh",
        cwd: WorkingDirectory::Path(b"/root"),
        arguments: Arguments::complete(b"-sh\0"),
        ..Program::default()
    };
    fact(&mut table, SECOND, exec(subject(100, SECOND - 1, SECOND), shell, user(0)));
    fact(&mut table, 2 * SECOND, fork(subject(101, 2 * SECOND, 2 * SECOND), key(100, SECOND)));
    table
}

fn fork(child: Subject, parent: ProcessKey) -> EventKind<'static> {
    let context = Context::default();
    EventKind::Fork(Fork {
        child,
        parent: parent.into(),
        parent_tid: parent.pid,
        owner: parent.into(),
        context,
    })
}

fn exec<'a>(process: Subject, program: Program<'a>, context: Context<'a>) -> EventKind<'a> {
    let tid = process.key.pid;
    EventKind::Exec(Exec { process, replaces: None, tid, owner: ProcessKey::NONE.into(), context, program })
}

fn ls() -> Program<'static> {
    Program {
        binary: b"/bin/ls",
        cwd: WorkingDirectory::Path(b"/tmp"),
        arguments: Arguments::complete(b"ls\0-l\0a b\0\xff\xff\0"),
        ..Program::default()
    }
}

fn exec_of_ls<'a>(program: Program<'a>, context: Context<'a>) -> EventKind<'a> {
    exec(subject(101, 2 * SECOND, 2 * SECOND + 1), program, context)
}

fn exit_of_ls(status: u32) -> EventKind<'static> {
    EventKind::Exit(Exit {
        process: subject(101, 2 * SECOND, 2 * SECOND + 1),
        tid: Pid(103),
        owner: key(100, SECOND).into(),
        status: Some(ExitStatus::from_raw(status)),
        comm: b"ls",
    })
}

#[expect(clippy::large_types_passed_by_value, reason = "reads better, and only tests pay")]
fn fact(table: &mut Table, time: u64, kind: EventKind<'_>) -> Fact {
    let time = BootTime::from_nanos(time);
    let applied = table.apply(&Event { time, kind });
    let id = applied.process.expect("the event is about a process");
    table.fact(id, time, FactKind::of(&kind).unwrap(), LineageDetail::Full).unwrap()
}

fn encode(options: AnnotationOptions, fact: &Fact) -> String {
    encode_told(options, &Told::from(fact.clone()))
}

fn encode_told(options: AnnotationOptions, told: &Told) -> String {
    let encoder = JsonEncoder { node_name: "n".into(), options };
    let clock = WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let mut out = Vec::new();
    let written = encoder.encode(told, &clock, &Users::parse(b"alice:x:1000:1000"), &mut out);
    assert_eq!(written, !out.is_empty());
    String::from_utf8(out).unwrap()
}

/// Compares `fact`, encoded with `options`, with lines that are joined for the reader's sake only.
fn check(options: AnnotationOptions, fact: &Fact, lines: &[&str]) {
    assert_eq!(encode(options, fact), lines.concat() + "\n");
}

fn with_credentials() -> AnnotationOptions {
    AnnotationOptions { credentials: true, ..AnnotationOptions::default() }
}

#[test]
fn an_exec_names_its_process_and_its_parent() {
    let mut table = table_with_shell();
    let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), user(1000)));
    check(
        AnnotationOptions::default(),
        &fact,
        &[
            r#"{"process_exec":{"process":{"exec_id":""#,
            LS,
            r#"","pid":101,"uid":1000,"cwd":"/tmp","binary":"/bin/ls","arguments":"-l \"a b\" "#,
            "\u{fffd}",
            r#"","flags":"execve clone","start_time":"2023-11-14T22:13:22.000000001Z","auid":1000,"#,
            r#""parent_exec_id":""#,
            SHELL,
            r#"","tid":101,"user":{"name":"alice"},"in_init_tree":false},"parent":{"exec_id":""#,
            SHELL,
            r#"","pid":100,"uid":0,"cwd":"/root","binary":"/bin/sh","flags":"execve clone","#,
            r#""start_time":"2023-11-14T22:13:21Z","auid":0,"parent_exec_id":""#,
            INIT,
            r#"","tid":100,"in_init_tree":false}},"node_name":"n","time":"2023-11-14T22:13:22.000000001Z"}"#,
        ],
    );
}

#[test]
fn an_exec_without_a_fork_has_the_replaced_image_as_its_parent() {
    let mut table = table_with_shell();
    fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), user(0)));
    let again = exec(subject(101, 2 * SECOND, 2 * SECOND + 5), ls(), user(0));
    let json = encode(AnnotationOptions::default(), &fact(&mut table, 2 * SECOND + 5, again));
    assert!(json.contains(r#""flags":"execve","#), "{json}");
    assert!(
        json.contains(&format!(
            r#""parent_exec_id":"{LS}","tid":101,"in_init_tree":false}},"parent":{{"exec_id":"{LS}""#
        )),
        "{json}"
    );
}

#[test]
fn a_parent_that_is_only_inferred_is_named_and_not_shown() {
    let mut table = Table::new(TableConfig::default());
    fact(&mut table, 2 * SECOND, fork(subject(101, 2 * SECOND, 2 * SECOND), key(100, SECOND)));
    let json =
        encode(AnnotationOptions::default(), &fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), user(0))));
    assert!(
        json.contains(&format!(
            r#""parent_exec_id":"{SHELL}","tid":101,"in_init_tree":false}}}},"node_name""#
        )),
        "{json}"
    );
}

#[test]
fn ancestors_run_from_the_grandparent_to_init() {
    let mut table = table_with_shell();
    let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), user(0)));
    let json = encode(AnnotationOptions { ancestors: true, ..AnnotationOptions::default() }, &fact);
    let ancestors = [
        r#","ancestors":[{"exec_id":""#,
        INIT,
        r#"","pid":1,"uid":0,"cwd":"/","binary":"/sbin/init","arguments":"splash","#,
        r#""flags":"procFS rootcwd","start_time":"2023-11-14T22:13:20.000000002Z","#,
        r#""auid":4294967295,"parent_exec_id":""#,
        NO_PARENT,
        r#"","tid":1,"in_init_tree":false}]},"node_name""#,
    ];
    assert!(json.contains(&ancestors.concat()), "{json}");
}

#[test]
fn an_exit_has_a_code_or_the_name_of_a_signal() {
    for (status, members) in [
        (0, ""),
        (3 << 8, r#""status":3,"#),
        (9, r#""signal":"SIGKILL","#),
        (0x80 | 6, r#""signal":"SIGABRT","#),
        (40, ""),
    ] {
        let mut table = table_with_shell();
        fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), user(0)));
        let json = encode(AnnotationOptions::default(), &fact(&mut table, 3 * SECOND, exit_of_ls(status)));
        let tail = [
            r#","tid":100,"in_init_tree":false},"#,
            members,
            r#""time":"2023-11-14T22:13:23Z"},"node_name":"n","time":"2023-11-14T22:13:23Z"}"#,
            "\n",
        ];
        assert!(json.starts_with(r#"{"process_exit":{"process":{"exec_id""#), "{json}");
        assert!(
            json.contains(r#""tid":103,"in_init_tree":false},"parent""#),
            "the thread that ended last: {json}"
        );
        assert!(json.ends_with(&tail.concat()), "{json}");
    }
}

#[test]
fn a_forked_process_that_never_ran_exec_shows_the_parents_program() {
    let mut table = table_with_shell();
    let exit = EventKind::Exit(Exit {
        process: subject(101, 2 * SECOND, 2 * SECOND),
        tid: Pid(101),
        owner: key(100, SECOND).into(),
        status: None,
        comm: b"sh",
    });
    let json = encode(AnnotationOptions::default(), &fact(&mut table, 3 * SECOND, exit));
    assert!(json.contains(r#""binary":"/bin/sh","flags":"execve","#), "{json}");
}

#[test]
fn an_exit_of_a_process_never_heard_of_has_its_pid_and_start() {
    let mut table = Table::new(TableConfig::default());
    let fact = fact(&mut table, 3 * SECOND, exit_of_ls(1 << 8));
    check(
        AnnotationOptions::default(),
        &fact,
        &[
            r#"{"process_exit":{"process":{"pid":101,"start_time":"2023-11-14T22:13:22.000000001Z"},"#,
            r#""status":1,"time":"2023-11-14T22:13:23Z"},"node_name":"n","time":"2023-11-14T22:13:23Z"}"#,
        ],
    );
}

#[test]
fn a_kernel_thread_is_found_with_its_name_in_brackets() {
    let mut table = Table::new(TableConfig::default());
    let thread = Running {
        process: subject(2, 10_000_000, 10_000_000),
        owner: ProcessKey::NONE.into(),
        context: Context { credentials: Some(Credentials::default()), ..Context::default() },
        program: Program { nature: Nature::KernelThread, binary: b"[kthreadd]", ..Program::default() },
        gap: None,
    };
    let fact = fact(&mut table, SECOND, EventKind::Running(thread));
    check(
        AnnotationOptions::default(),
        &fact,
        &[
            r#"{"process_exec":{"process":{"exec_id":"bjoxMDAwMDAwMDoy","pid":2,"uid":0,"#,
            r#""binary":"[kthreadd]","flags":"procFS","start_time":"2023-11-14T22:13:20.010Z","#,
            r#""auid":4294967295,"parent_exec_id":""#,
            NO_PARENT,
            r#"","tid":2,"in_init_tree":false}},"node_name":"n","time":"2023-11-14T22:13:20.010Z"}"#,
        ],
    );
}

#[test]
fn credentials_are_written_for_all_and_binary_properties_for_the_process_of_an_exec() {
    let mut table = table_with_shell();
    let effective = CapabilitySet(1 << 21);
    let credentials = Credentials {
        uid: Uid(1000),
        capabilities: Capabilities { permitted: effective, effective, ..Capabilities::default() },
        securebits: 1 << 4,
        ..Credentials::default()
    };
    let program = Program {
        file: Some(FileIdentity { inode: 1 << 40, ..FileIdentity::default() }),
        privileges: PrivilegeChange { setuid: true, setuid_root: true, ..PrivilegeChange::default() },
        ..ls()
    };
    let context = Context { credentials: Some(credentials), ..Context::default() };
    let exec = fact(&mut table, 2 * SECOND + 1, exec_of_ls(program, context));
    let json = encode(with_credentials(), &exec);
    let own = [
        r#","cap":{"permitted":["CAP_SYS_ADMIN"],"effective":["CAP_SYS_ADMIN"]},"tid":101,"#,
        r#""process_credentials":{"uid":1000,"gid":0,"euid":0,"egid":0,"suid":0,"sgid":0,"fsuid":0,"fsgid":0,"#,
        r#""securebits":["SecBitKeepCaps"]},"#,
        r#""binary_properties":{"setuid":0,"#,
        r#""privileges_changed":["PRIVILEGES_RAISED_EXEC_FILE_SETUID"],"#,
        r#""file":{"inode":{"number":"1099511627776","links":0}}},"in_init_tree":false},"parent""#,
    ];
    assert!(json.contains(&own.concat()), "{json}");
    assert!(json.contains(r#""cap":{},"tid":100,"process_credentials":{"uid":0,"#), "{json}");
    assert!(!json.contains("\"ns\""), "{json}");

    let exit = fact(&mut table, 3 * SECOND, exit_of_ls(0));
    assert!(!encode(with_credentials(), &exit).contains("binary_properties"));

    let exec = fact(&mut table_with_shell(), 2 * SECOND + 1, exec_of_ls(ls(), context));
    let json = encode(with_credentials(), &exec);
    assert!(!json.contains("binary_properties"), "nothing is remarkable about it: {json}");
}

#[test]
fn namespaces_are_compared_with_the_hosts() {
    let host = Namespaces { uts: 1, mnt: 2, time: 3, time_for_children: 3, user: 9, ..Namespaces::default() };
    let own = Namespaces { mnt: 4, time: 0, ..host };
    let mut table = table_with_shell();
    let context = Context { namespaces: Some(own), ..user(1000) };
    let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), context));
    let json = encode(AnnotationOptions { namespaces: Some(host), ..AnnotationOptions::default() }, &fact);
    let ns = [
        r#""ns":{"uts":{"inum":1,"is_host":true},"mnt":{"inum":4},"user":{"inum":9,"is_host":true}},"#,
        r#""tid":101,"in_init_tree":false},"parent""#,
    ];
    assert!(json.contains(&ns.concat()), "nor is the user named by the host's file: {json}");
}

#[test]
fn a_container_is_named_by_31_digits_and_has_users_of_its_own() {
    let path = format!("/docker/{}", "0123456789abcdef".repeat(4));
    let mut table = table_with_shell();
    let cgroup = Some(Cgroup { id: 7, path: path.as_bytes() });
    let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(ls(), Context { cgroup, ..user(1000) }));
    let json = encode(AnnotationOptions::default(), &fact);
    assert!(json.contains(r#""docker":"0123456789abcdef0123456789abcde","parent_exec_id""#), "{json}");
    assert!(!json.contains("alice"), "{json}");
}

fn container_id() -> ContainerId {
    ContainerId::parse("0123456789abcdef".repeat(4).as_bytes()).unwrap()
}

/// `ls -l` in the container, whose second process it is.
fn ls_in_container() -> Fact {
    let path = format!("/docker/{}", container_id());
    let cgroup = Some(Cgroup { id: 7, path: path.as_bytes() });
    let context = Context { cgroup, ns_pid: Some(Pid(2)), ..user(0) };
    let program = Program { arguments: Arguments::complete(b"ls\0-l\0"), ..ls() };
    fact(&mut table_with_shell(), 2 * SECOND + 1, exec_of_ls(program, context))
}

/// The same container, as the API tells of its pod.
fn api_pod(container: Container) -> Whose {
    let pairs = |key: &str, value: &str| [(key.into(), value.into())].into_iter().collect();
    let pod = Pod {
        namespace: "shop".into(),
        name: "cart-7".into(),
        uid: "4711".into(),
        labels: pairs("app", "cart"),
        annotations: pairs("note", "x"),
        workload: "cart".into(),
        workload_kind: "Deployment".into(),
        static_uid: None,
        containers: [container].into(),
    };
    let mut index = PodIndex::new(Memory::default());
    index.apply(&Arc::new(pod), BootTime::ZERO);
    Whose::Pod(index.find(&container_id()).unwrap())
}

fn api_container() -> Container {
    Container {
        id: container_id(),
        runtime: "containerd".into(),
        name: "main".into(),
        image: "cart:1".into(),
        image_id: "cart@sha256:1".into(),
        kind: ContainerKind::Regular,
        is_running: true,
        started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        privileged: true,
        probes: [Probe::new(["ls", "-l"])].into(),
    }
}

fn runtime_container(pod: Option<RuntimePod>) -> Whose {
    Whose::Runtime(Arc::new(ContainerInfo {
        name: "web".into(),
        image: "nginx:1".into(),
        image_id: "sha256:1".into(),
        pid: Some(4711),
        pod,
        runtime: "docker".into(),
        ..ContainerInfo::of(container_id())
    }))
}

/// What the line of `ls` in a container that is known says of it.
fn pod_shown(whose: Whose) -> String {
    let told = Told { containers: vec![whose], ..Told::from(ls_in_container()) };
    let json = encode_told(AnnotationOptions::default(), &told);
    let (_, pod) = json.split_once(r#""auid":0,"pod":"#).unwrap_or_else(|| panic!("{json}"));
    pod.split_once(r#","docker":"#).unwrap().0.to_owned()
}

#[test]
fn a_pod_is_told_as_the_api_tells_it() {
    let container = [
        r#""container":{"id":"containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
        r#""name":"main","image":{"id":"cart@sha256:1","name":"cart:1"},"#,
    ]
    .concat();
    let rest = r#""pod_labels":{"app":"cart"},"workload":"cart","workload_kind":"Deployment","pod_annotations":{"note":"x"}}"#;
    let pod = r#"{"namespace":"shop","name":"cart-7","uid":"4711","#;
    let running = r#""start_time":"2023-11-14T22:13:20Z","pid":2,"maybe_exec_probe":true,"security_context":{"privileged":true}},"#;
    assert_eq!(pod_shown(api_pod(api_container())), format!("{pod}{container}{running}{rest}"));
    let ended = Container { is_running: false, privileged: false, probes: Box::default(), ..api_container() };
    assert_eq!(pod_shown(api_pod(ended)), format!(r#"{pod}{container}"pid":2}},{rest}"#));
}

#[test]
fn a_container_that_only_its_runtime_knows_is_told_in_the_place_of_a_pods() {
    let container = [
        r#""container":{"id":"docker://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
        r#""name":"web","image":{"id":"sha256:1","name":"nginx:1"},"pid":2}"#,
    ]
    .concat();
    assert_eq!(pod_shown(runtime_container(None)), format!("{{{container}}}"));
    let pod = RuntimePod {
        namespace: "shop".into(),
        name: "cart-7".into(),
        uid: "4711".into(),
        labels: [("app".to_owned(), "cart".to_owned())].into(),
        ..RuntimePod::default()
    };
    assert_eq!(
        pod_shown(runtime_container(Some(pod))),
        format!(
            r#"{{"namespace":"shop","name":"cart-7","uid":"4711",{container},"pod_labels":{{"app":"cart"}}}}"#
        )
    );
}

#[test]
fn a_parent_in_the_container_has_its_pod_and_one_on_the_host_has_none() {
    let mut fact = ls_in_container();
    let told = |fact: &Fact| {
        let containers = vec![runtime_container(None)];
        encode_told(AnnotationOptions::default(), &Told { containers, ..Told::from(fact.clone()) })
    };
    assert_eq!(told(&fact).matches(r#""pod":"#).count(), 1);
    fact.lineage[0].image.clone_from(&fact.process.image);
    assert_eq!(told(&fact).matches(r#""pod":"#).count(), 2);
}

#[test]
fn a_container_of_which_nobody_said_whose_it_is_shows_in_the_flags() {
    let told = Told { is_complete: false, ..Told::from(ls_in_container()) };
    let json = encode_told(AnnotationOptions::default(), &told);
    assert!(json.contains(r#""flags":"execve clone unknownContainer","#), "{json}");
    assert!(!json.contains(r#""pod""#), "{json}");
}

#[test]
fn what_could_not_be_read_shows_in_the_flags() {
    let cut = Arguments { bytes: b"ls\0-l", total_len: 4096 };
    for (program, flags) in [
        (ls(), "execve clone"),
        (Program { cwd: WorkingDirectory::Path(b"/"), ..ls() }, "execve rootcwd clone"),
        (Program { cwd: WorkingDirectory::Unknown, ..ls() }, "execve errorCWD clone"),
        (Program { cwd: WorkingDirectory::Tail(b"a/b"), ..ls() }, "execve clone errorPathResolutionCwd"),
        (Program { arguments: cut, ..ls() }, "execve truncArgs clone"),
    ] {
        let mut table = table_with_shell();
        let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(program, user(0)));
        let json = encode(AnnotationOptions::default(), &fact);
        assert!(json.contains(&format!(r#""flags":"{flags}","#)), "{flags}: {json}");
    }
}

#[test]
fn control_characters_are_escaped_beyond_what_json_asks_for() {
    let program = Program { binary: "/\u{7f}\u{9b}1m\u{1b}\n".as_bytes(), ..ls() };
    let mut table = table_with_shell();
    let fact = fact(&mut table, 2 * SECOND + 1, exec_of_ls(program, user(0)));
    let json = encode(AnnotationOptions::default(), &fact);
    assert!(json.contains(r#""binary":"/\u007f\u009b1m\u001b\n","#), "{json}");
}

#[test]
fn a_fork_has_no_form() {
    let mut table = table_with_shell();
    let fact = fact(&mut table, 3 * SECOND, fork(subject(200, 3 * SECOND, 3 * SECOND), key(100, SECOND)));
    assert_eq!(encode(AnnotationOptions::default(), &fact), "");
}
