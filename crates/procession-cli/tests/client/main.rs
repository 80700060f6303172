//! The commands that ask an agent, over its socket: what they ask, show, say, and exit with.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod agent;
#[path = "../support/run.rs"]
mod run;

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use procession_api::proto::procession::v1::{self, follow_response::Item};
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    self, EventType, FieldFilterAction, Filter, GetEventsResponse, ProcessExec, ProcessExit, RateLimitInfo,
    UserRecord,
};

use agent::{Agent, Script, serve};
use run::{Said, procession};

/// 12:00:00 of a day that is over.
const NOON: i64 = 1_700_049_600;

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOON + seconds, nanos: 0 })
}

fn process(pid: u32, binary: &str, arguments: &str) -> tetragon::Process {
    tetragon::Process {
        exec_id: format!("id-{pid}"),
        pid: Some(pid),
        uid: Some(0),
        binary: binary.to_owned(),
        arguments: arguments.to_owned(),
        flags: "execve clone".to_owned(),
        start_time: at(0),
        user: Some(UserRecord { name: "root".to_owned() }),
        ..tetragon::Process::default()
    }
}

fn entry(process: tetragon::Process) -> v1::Process {
    v1::Process {
        began: process.start_time,
        process: Some(process),
        origin: v1::Origin::Exec.into(),
        parent_provenance: v1::Provenance::Observed.into(),
        ..v1::Process::default()
    }
}

fn event(event: Event, seconds: i64) -> GetEventsResponse {
    GetEventsResponse {
        event: Some(event),
        time: at(seconds),
        node_name: "node1".to_owned(),
        ..GetEventsResponse::default()
    }
}

fn exec(process: tetragon::Process) -> GetEventsResponse {
    event(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() }), 0)
}

fn exit(process: tetragon::Process, status: u32) -> GetEventsResponse {
    let exit = ProcessExit { process: Some(process), status, time: at(2), ..ProcessExit::default() };
    event(Event::ProcessExit(exit), 2)
}

fn losses(count: u64) -> GetEventsResponse {
    event(Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: count }), 1)
}

fn script() -> Script {
    Script {
        events: vec![exec(process(7, "/bin/ls", "-l")), losses(5), exit(process(7, "/bin/ls", "-l"), 1)],
        ..Script::default()
    }
}

#[test]
fn events_are_shown_until_the_agent_ends_them() {
    let agent = Agent::start(script());
    let said = agent.run(&["events"]);
    assert_eq!(
        said.out,
        "12:00:00.000       7 root     exec /bin/ls -l\n\
         12:00:02.000       7 root     end  /bin/ls -l  exit 1  2.0s\n"
    );
    assert_eq!(
        said.err,
        "procession: 5 events were left out by the agent: there were too many\n\
         procession: the agent has ended the stream\n"
    );
    assert_eq!(said.code, Some(1));
    let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
    let allow_list = vec![Filter::default(), losses];
    assert_eq!(
        agent.asked().events,
        [tetragon::GetEventsRequest { allow_list, ..tetragon::GetEventsRequest::default() }]
    );
}

#[test]
fn events_as_json_are_one_object_a_line() {
    let agent = Agent::start(script());
    let said = agent.run(&["events", "-o", "json", "-f", "process.pid,process.binary", "-F", "parent"]);
    let lines: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert_eq!(lines[0]["process_exec"]["process"]["binary"], "/bin/ls");
    assert_eq!(lines[0]["time"], "2023-11-15T12:00:00Z");
    assert_eq!(lines[1]["rate_limit_info"]["number_of_dropped_process_events"], "5");
    let fields = &agent.asked().events[0].field_filters;
    assert_eq!(fields[0].fields.as_ref().unwrap().paths, ["process.pid", "process.binary"]);
    let actions = fields.iter().map(tetragon::FieldFilter::action).collect::<Vec<_>>();
    assert_eq!(actions, [FieldFilterAction::Include, FieldFilterAction::Exclude]);

    let said = agent.run(&["events", "-f", "process.pid"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(said.err.contains("-o json"), "{}", said.err);
}

#[test]
fn conditions_are_the_agent_s_to_check() {
    let agent = Agent::start(script());
    agent.run(&["events", "--pid", "7", "--exec", "--pod", "^cart", "-n", "shop", "--user", "0"]);
    let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
    let all = Filter {
        pid: vec![7],
        event_set: vec![EventType::ProcessExec.into()],
        pod_regex: vec!["^cart".to_owned()],
        namespace: vec!["shop".to_owned()],
        cel_expression: vec![
            "process_exec.process.uid == 0u".to_owned(),
            "process_exit.process.uid == 0u".to_owned(),
        ],
        ..Filter::default()
    };
    assert_eq!(agent.asked().events[0].allow_list, [all, losses]);

    let said = agent.run(&["events", "--binary", "refused", "--reconnect"]);
    assert_eq!(said.code, Some(1), "it will not be better later");
    assert_eq!(said.err, "procession: the agent refuses: allow_list[0].binary_regex: no\\x1b[31m\n");
}

#[test]
fn a_snapshot_comes_first_and_ctrl_c_is_the_end() {
    let agent = Agent::start(Script {
        follow: vec![
            Item::Running(entry(process(1, "/sbin/init", ""))),
            Item::SnapshotEnd(v1::SnapshotEnd { processes: 1 }),
            Item::Event(exec(process(7, "/bin/ls", "-l"))),
        ],
        ..Script::default()
    });
    let mut command = agent.command(&["events", "--snapshot", "--no-snapshot", "--snapshot"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let shown = [(); 2].map(|()| lines.next().unwrap().unwrap());
    assert_eq!(
        shown,
        ["12:00:00.000       1 root     live /sbin/init", "12:00:00.000       7 root     exec /bin/ls -l"]
    );
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(agent.asked().follow, [v1::FollowRequest::default()]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let events = (0..50_000).map(|pid| exec(process(pid, "/bin/ls", "-l"))).collect();
    let agent = Agent::start(Script { events, ..Script::default() });
    let mut child = agent.command(&["events"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn an_agent_that_comes_back_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let address = format!("unix://{}", socket.display());
    let mut command = procession(["events", "--reconnect", "--server-address", &address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let note = notes.next().unwrap().unwrap();
    assert!(
        note.contains("there is no agent at unix://") && note.ends_with("trying again every 2s"),
        "{note}"
    );
    let (ends, thread) = serve(&socket, script());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "12:00:00.000       7 root     exec /bin/ls -l\n");
    let note = notes.next().unwrap().unwrap();
    assert_eq!(note, "procession: the agent is back; what happened meanwhile is not shown");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    drop(ends);
    thread.join().unwrap();
}

#[test]
fn events_are_read_from_a_file_and_what_is_none_is_counted() {
    let agent = Agent::start(script());
    let json = agent.run(&["events", "-o", "json"]).out;
    let input = format!("{json}\nno event\n{{\"later\":1}}\n");
    let mut child = procession(["events", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.out, agent.run(&["events"]).out);
    assert!(said.err.contains("5 events were left out"), "{}", said.err);
    assert!(said.err.ends_with("standard input that are no events, and were skipped: 1\n"), "{}", said.err);
    assert_eq!(said.code, Some(0));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &json).unwrap();
    let path = file.path().to_str().unwrap();
    for (conditions, shown) in [
        (&["--exit"][..], 1),
        (&["--user", "0", "--exec"], 1),
        (&["--user", "0"], 2),
        (&["--user", "1"], 0),
        (&["--user", "0", "--cel-expression", "process_exit.status == 1u"], 1),
        (&["--user", "0", "--cel-expression", "process_exit.status == 2u"], 0),
        (&["--host"], 2),
        (&["--container", "0123456789ab"], 0),
        (&["--binary", "^/bin/l", "--pid", "7"], 2),
    ] {
        let said = Said::by(procession(["events", "--input", path]).args(conditions));
        assert_eq!((said.code, said.out.lines().count()), (Some(0), shown), "{conditions:?}: {said:?}");
    }

    let mut command = procession(["events", "--input", path, "-o", "json", "-f", "process.pid"]);
    let said = Said::by(&mut command);
    let first = said.out.lines().next().unwrap();
    assert!(first.starts_with(r#"{"process_exec":{"process":{"pid":7}},"#), "{first}");

    let said = Said::with(["events", "--input", "/nowhere"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("cannot read /nowhere"), "{}", said.err);
}

#[test]
fn processes_are_listed_by_pid() {
    let agent = Agent::start(Script {
        processes: vec![entry(process(20, "/bin/b", "")), entry(process(3, "/bin/a", "x"))],
        ..Script::default()
    });
    let said = agent.run(&["processes", "--binary", "^/bin", "--ended"]);
    let commands: Vec<_> =
        said.out.lines().map(|line| line.split_once(" - ").map(|it| it.1.trim())).collect();
    assert_eq!(commands, [None, Some("/bin/a x"), Some("/bin/b")], "{}", said.out);
    let asked = &agent.asked().list[0];
    assert!(asked.with_ended && asked.allow_list[0].binary_regex == ["^/bin"], "{asked:?}");
    let said = agent.run(&["processes", "-o", "json"]);
    let pids: Vec<_> = said.out.lines().map(|line| &line[..line.find(",\"uid").unwrap()]).collect();
    assert_eq!(
        pids,
        [r#"{"process":{"exec_id":"id-3","pid":3"#, r#"{"process":{"exec_id":"id-20","pid":20"#]
    );
}

#[test]
fn a_tree_is_drawn_from_where_it_is_asked_for() {
    let child = tetragon::Process { parent_exec_id: "id-1".to_owned(), ..process(7, "/bin/ls", "-l") };
    let leaf = |level, process| v1::GetTreeResponse { process: Some(entry(process)), level };
    let tree = vec![leaf(0, process(1, "/sbin/init", "")), leaf(1, child)];
    let agent = Agent::start(Script { tree, ..Script::default() });
    let said = agent.run(&["tree", "1"]);
    assert_eq!(said.out, "1 root /sbin/init\n└─ 7 root /bin/ls -l\n");
    let root = agent.asked().tree[0].root.clone().unwrap();
    assert_eq!(root.name, Some(v1::target::Name::Pid(1)));
    assert!(agent.run(&["tree", "--color", "always"]).out.contains("\x1b["));
}

#[test]
fn why_names_who_owns_it_now() {
    let lineage = |process, owner: &str| v1::GetLineageResponse {
        chain: vec![v1::Link {
            process: Some(v1::Process { owner_exec_id: owner.to_owned(), ..entry(process) }),
            relation: v1::Relation::Self_.into(),
        }],
        is_cut: true,
    };
    let lineages = [
        ("7".to_owned(), lineage(process(7, "/bin/daemon", ""), "id-1")),
        ("id-1".to_owned(), lineage(process(1, "/sbin/init", ""), "")),
    ];
    let agent = Agent::start(Script { lineages: lineages.into(), ..Script::default() });
    let said = agent.run(&["why", "7"]);
    assert!(said.out.starts_with("daemon (pid 7) runs /bin/daemon as root, since 2023-11-15 12:00:00"));
    assert!(said.out.ends_with("Its parent has ended since, and it belongs to init (pid 1) now.\n"));
    let said = agent.run(&["why", "7", "-o", "json"]);
    assert!(said.out.starts_with(r#"{"chain":[{"process":{"process":{"exec_id":"id-7""#), "{}", said.out);

    let said = agent.run(&["why", "8"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(said.err.starts_with("procession: the agent knows no process 8: "), "{}", said.err);
    assert_eq!(agent.run(&["why", "99999999999"]).code, Some(2));
}

/// Takes connections and never says a word.
#[test]
fn an_agent_that_is_silent_is_not_waited_for_longer_than_asked() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = ["status", "--timeout", "200ms", "--server-address", &address];
    let said = Said::with(arguments);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err, "procession: the agent took too long to answer\n");
}

#[test]
fn status_fails_when_the_agent_does_not_observe() {
    for (is_observing, code, told) in [(true, 0, "observing"), (false, 1, "NOT observing")] {
        let status = v1::GetStatusResponse { is_observing, ..v1::GetStatusResponse::default() };
        let agent = Agent::start(Script { status: Some(status), ..Script::default() });
        let said = agent.run(&["status"]);
        assert_eq!(said.code, Some(code));
        assert!(said.out.starts_with(&format!("agent       {told}")), "{}", said.out);
        let said = agent.run(&["status", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((said.code, &json["ledger"]["lost"]), (Some(code), &"3".into()));
    }
    let other = Agent::start(Script::default()).run(&["status"]);
    assert_eq!(other.code, Some(1));
    assert!(other.err.contains("the agent cannot do that"), "{}", other.err);
}

#[test]
fn the_table_is_dumped_in_both_forms() {
    let internal = tetragon::ProcessInternal {
        process: Some(process(3, "/bin/a", "")),
        color: "inUse".to_owned(),
        refcnt: Some(2),
        ..tetragon::ProcessInternal::default()
    };
    let processes = tetragon::DumpProcessCacheResArgs { processes: vec![internal] };
    let agent = Agent::start(Script {
        processes: vec![entry(process(20, "/bin/b", ""))],
        debug: Some(tetragon::GetDebugResponse {
            flag: tetragon::ConfigFlag::DumpProcessCache.into(),
            arg: Some(tetragon::get_debug_response::Arg::Processes(processes)),
        }),
        ..Script::default()
    });
    let said = agent.run(&["dump"]);
    assert!(said.out.starts_with(r#"{"process":{"exec_id":"id-20","pid":20"#), "{}", said.out);
    assert!(agent.asked().list[0].with_ended);
    let said = agent.run(&["dump", "--tetragon", "--skip-zero-refcnt"]);
    assert!(said.out.ends_with("\"color\":\"inUse\",\"refcnt\":2}\n"), "{}", said.out);
    let Some(tetragon::get_debug_request::Arg::Dump(dump)) = agent.asked().debug[0].arg else { panic!() };
    assert!(dump.skip_zero_refcnt && !dump.exclude_execve_map_processes);
    assert_eq!(agent.run(&["dump", "--skip-zero-refcnt"]).code, Some(2));
}

#[test]
fn how_much_is_logged_is_shown_and_set() {
    let agent = Agent::start(Script {
        debug: Some(tetragon::GetDebugResponse {
            flag: 0,
            arg: Some(tetragon::get_debug_response::Arg::Level(tetragon::LogLevel::Info.into())),
        }),
        ..Script::default()
    });
    assert_eq!(agent.run(&["loglevel", "get"]).out, "info\n");
    assert_eq!(agent.run(&["loglevel", "set", "debug"]).out, "debug\n");
    let level = tetragon::set_debug_request::Arg::Level(tetragon::LogLevel::Debug.into());
    assert_eq!(agent.asked().set_debug[0].arg, Some(level));
    assert_eq!(agent.run(&["loglevel", "set", "loud"]).code, Some(2));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let commands: [&[&str]; 6] = [
        &["--help"],
        &["watch", "--help"],
        &["--version"],
        &["completions", "bash"],
        &["man"],
        &["agent", "--print-config"],
    ];
    for command in commands {
        let full = std::fs::File::create("/dev/full").unwrap();
        let output = procession(command).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {told}");
        assert!(told.starts_with("procession: cannot write to standard output: "), "{command:?}: {told}");
    }
}

#[test]
fn without_an_agent_it_is_said_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let hint = "`procession agent` starts one; --server-address names another";
    for (path, what) in [(&missing, "there is no agent at"), (&dead, "no agent listens at")] {
        let address = format!("unix://{}", path.display());
        let said = Said::with(["status", "--server-address", &address]);
        assert_eq!(said.code, Some(1));
        assert_eq!(said.err, format!("procession: {what} {address}: {hint}\n"));
    }
    let said = Said::with(["tree", "--server-address", "127.0.0.1:1"]);
    assert_eq!(said.err, format!("procession: no agent listens at 127.0.0.1:1: {hint}\n"));
    let said = Said::with(["status", "--server-address", "localhost", "--tls-ca-cert-file", "/nowhere.pem"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("procession: cannot read /nowhere.pem: "), "{}", said.err);
    let said = with_tls_for_a_socket(folder.path());
    assert_eq!(
        said.err,
        "procession: TLS is for an agent at a host and port: unix:///run/x.sock is a socket\n"
    );
    for misused in
        [&["--server-address", "http://x"][..], &["--tls-cert-file", "x"], &["--tls-key-file", "x"]]
    {
        let said = Said::by(procession(["tree"]).args(misused));
        assert_eq!(said.code, Some(2), "{misused:?}");
    }
}

fn with_tls_for_a_socket(folder: &Path) -> Said {
    let file = folder.join("ca.pem");
    std::fs::write(&file, "").unwrap();
    let address = ["status", "--server-address", "unix:///run/x.sock", "--tls-ca-cert-file"];
    Said::by(procession(address).arg(file))
}

#[test]
fn who_may_not_speak_to_the_agent_is_told_so() {
    let agent = Agent::start(script());
    let socket = agent.socket();
    let folder = socket.parent().unwrap();
    // All of the way there is open; only the socket itself is not.
    let allow = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(folder, 0o755);
    allow(&socket, 0o000);
    // Where the program was built, others may not look. Copied by another program: what a process has open for
    // writing it cannot run, and the other tests here start processes all the time.
    let program = folder.join("procession");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_procession")).arg(&program).status().unwrap();
    assert!(copied.success());
    let address = format!("unix://{}", socket.display());
    let mut command = Command::new(&program);
    command.args(["status", "--server-address", &address]).env_clear().stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        // Nobody, for whom no permission of root's counts.
        command.uid(65_534).gid(65_534).current_dir("/");
    }
    let said = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("SKIPPED: others may not look into {}: set TMPDIR", folder.display());
            return;
        }
        output => Said::from(output.unwrap()),
    };
    let expected = format!(
        "procession: no permission to speak to the agent at {address}: that is for root and the group of \
         the socket\n"
    );
    assert_eq!((said.code, said.err), (Some(1), expected));
}
