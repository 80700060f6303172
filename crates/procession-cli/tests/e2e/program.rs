//! The `procession` program, used as a person or a script would.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::run::procession;
use crate::schema::schema_errors;
use crate::trials::Test;
use crate::watch::{Report, Watch};

pub(crate) const TESTS: [Test; 21] = [
    ("program::a_live_exec_shows", a_live_exec_shows),
    ("program::each_event_reaches_the_output_before_the_next", each_event_reaches_the_output_before_the_next),
    ("program::json_has_the_reference_form", json_has_the_reference_form),
    ("program::the_status_of_a_command_is_passed_on", the_status_of_a_command_is_passed_on),
    ("program::a_command_that_cannot_run_is_an_error", a_command_that_cannot_run_is_an_error),
    ("program::only_what_the_command_starts_is_shown", only_what_the_command_starts_is_shown),
    ("program::filters_select", filters_select),
    ("program::interrupt_ends_with_an_account", interrupt_ends_with_an_account),
    ("program::terminate_is_passed_on_to_the_command", terminate_is_passed_on_to_the_command),
    ("program::a_closed_pipe_is_no_error", a_closed_pipe_is_no_error),
    ("program::what_already_runs_is_shown_once_parents_first", what_already_runs_is_shown_once_parents_first),
    ("program::a_normal_user_gets_a_fallback_and_why", a_normal_user_gets_a_fallback_and_why),
    ("program::each_fallback_sees_a_process", each_fallback_sees_a_process),
    ("program::a_source_that_does_not_work_is_an_error", a_source_that_does_not_work_is_an_error),
    ("program::changes_are_shown_on_demand", changes_are_shown_on_demand),
    ("program::a_stalled_reader_does_not_hold_the_program", a_stalled_reader_does_not_hold_the_program),
    ("program::a_command_is_ended_when_its_time_is_up", a_command_is_ended_when_its_time_is_up),
    ("program::nothing_after_the_dashes_is_an_error", nothing_after_the_dashes_is_an_error),
    ("program::a_pid_namespace_hides_nothing_of_a_command", a_pid_namespace_hides_nothing_of_a_command),
    ("program::bad_options_are_explained", bad_options_are_explained),
    ("program::every_compiler_of_a_build_is_seen_once", every_compiler_of_a_build_is_seen_once),
];

fn watch(arguments: &[&str]) -> Command {
    let mut command = procession(["watch"]);
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    watch(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(event).collect()
}

/// An event, of which the published schema has nothing to say.
fn event(line: &str) -> Value {
    assert_eq!(schema_errors(line), "", "{line}");
    serde_json::from_str(line).unwrap()
}

/// Something else that goes on meanwhile, until this is dropped.
struct Noise(Child);

impl Noise {
    fn start(what: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("while :; do {what}; done")]).process_group(0);
        Self(shell.spawn().unwrap())
    }

    /// As many processes that do nothing, all running when this returns.
    fn sleepers(count: u32) -> Self {
        let script = format!("for n in $(seq {count}); do sleep 1000 & done; echo; wait");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).process_group(0).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(shell)
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        // It fails only for a group that has ended.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn a_live_exec_shows() {
    let mut live = Watch::start(&["--exec"]);
    live.see_host("is-it-ready");
    live.finish();
}

/// None waits for one after it: the next happens only when this one is shown. How long that takes is said, for it is
/// the machine's affair as well.
fn each_event_reaches_the_output_before_the_next() {
    let mut live = Watch::start(&["--exec"]);
    live.see_host("is-it-ready");
    let mut delays = [Duration::ZERO; 21];
    for (n, delay) in delays.iter_mut().enumerate() {
        let name = format!("event-{n}-of-21");
        let started = Instant::now();
        Command::new("true").arg(&name).status().unwrap();
        live.until_line(|line| line.contains(&name));
        *delay = started.elapsed();
    }
    live.finish();
    delays.sort();
    eprintln!("an event reaches the output after {:?} (median)", delays[10]);
}

fn json_has_the_reference_form() {
    let output = run(&["-o", "json", "--credentials", "--namespaces", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    let lines = json_lines(&output);
    let exec = &lines.iter().find(|line| line.get("process_exec").is_some()).unwrap()["process_exec"];
    let process = &exec["process"];
    assert_eq!(process["arguments"], "-c \"exit 3\"");
    assert_eq!(process["flags"], "execve clone");
    assert_eq!(process["uid"], 0);
    assert!(process["cap"]["effective"].as_array().unwrap().contains(&"CAP_SYS_ADMIN".into()));
    assert_eq!(process["ns"]["pid"]["is_host"], true);
    assert_eq!(process["parent_exec_id"], exec["parent"]["exec_id"]);
    assert_eq!(exec["parent"]["binary"], crate::PROCESSION);
    let exit = &lines.iter().find(|line| line.get("process_exit").is_some()).unwrap()["process_exit"];
    assert_eq!(exit["status"], 3);
    assert_eq!(exit["process"]["exec_id"], process["exec_id"], "one process, one id");
}

fn the_status_of_a_command_is_passed_on() {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        let output = run(&["--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    let output = run(&["--", "sh", "-c", "sh -c 'sh -c true; true'; exit 7"]);
    let summary = stderr(&output);
    assert!(summary.contains("3 processes in "), "{summary}");
    assert!(summary.contains("longest chain 3: sh → sh → sh; 1 failure"), "{summary}");
}

fn a_command_that_cannot_run_is_an_error() {
    let output = run(&["--", "/no/such/program"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(stderr(&output), "procession: cannot run `/no/such/program`: No such file or directory\n");
}

fn only_what_the_command_starts_is_shown() {
    let _noise = Noise::start("/bin/echo noise >/dev/null");
    let output = run(&["-o", "json", "--", "sh", "-c", "ls / >/dev/null; (sh -c true; true)"]);
    let lines = json_lines(&output);
    let execs: Vec<_> =
        lines.iter().filter_map(|line| line["process_exec"]["process"]["binary"].as_str()).collect();
    assert_eq!(execs, ["/usr/bin/sh", "/usr/bin/ls", "/usr/bin/sh"]);
    let exits = lines.iter().filter(|line| line.get("process_exit").is_some()).count();
    assert_eq!(exits, 4, "the subshell that ran nothing of its own ends, too");
}

fn filters_select() {
    let script = ["--", "sh", "-c", "ls /; true; id -u"];
    let kinds = |options: &[&str]| -> Vec<String> {
        let output = run(&[&["-o", "json"], options, &script[..]].concat());
        let kind = |event: Value| event.as_object()?.keys().find(|key| key.starts_with("process_")).cloned();
        // The command writes to the same output.
        stdout(&output).lines().filter_map(|line| kind(serde_json::from_str(line).ok()?)).collect()
    };
    assert!(kinds(&["--exec"]).iter().all(|kind| kind == "process_exec"));
    assert!(kinds(&["--exit"]).iter().all(|kind| kind == "process_exit"));
    assert_eq!(kinds(&["--binary", "/ls$"]).len(), 2);
    assert_eq!(kinds(&["--binary", "/ls$", "--binary", "/id$", "--exec"]).len(), 2);
    assert_eq!(kinds(&["--user", "nobody"]).len(), 0);
    assert_eq!(kinds(&["--user", "root", "--user", "12345", "--exec"]).len(), 3);
    assert_eq!(kinds(&["--pid", "1"]).len(), 0);
}

fn interrupt_ends_with_an_account() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut live = Watch::start(&[]);
        live.see_host("is-it-ready");
        live.signal(signal);
        let Report { status, errors: account, .. } = live.end();
        assert_eq!(status.code(), Some(0));
        assert!(account.starts_with("procession: ") && account.lines().count() == 1, "{account}");
        assert!(account.contains(" events seen, none lost; "), "{account}");
        assert!(account.ends_with(" processes running\n"), "{account}");
    }
}

fn terminate_is_passed_on_to_the_command() {
    let mut live = Watch::start(&["--", "sleep", "1000"]);
    live.until_line(|line| line.contains("sleep"));
    live.signal(Signal::TERM);
    assert_eq!(live.end().status.code(), Some(128 + 15));
}

fn a_closed_pipe_is_no_error() {
    let procession = crate::PROCESSION;
    // On a machine where nothing happens, nothing is written that could find the pipe closed.
    let watch = format!("{procession} watch --running -o json --duration 20s");
    let script = format!("{watch} | head -n 1; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(stdout(&output).lines().last(), Some("0"), "{output:?}");
    assert!(!stderr(&output).contains("panicked") && !stderr(&output).contains("cannot"), "{output:?}");
}

fn what_already_runs_is_shown_once_parents_first() {
    // Processes come and go during the walk.
    let _churn = Noise::start("sleep 0.001 & sleep 0.002");
    let output = run(&["--running", "-o", "json", "--duration", "1s"]);

    let mut seen = HashMap::new();
    let mut missing_parents = Vec::new();
    for line in json_lines(&output) {
        let Some(process) = line.get("process_exec").map(|exec| exec["process"].clone()) else { continue };
        let id = process["exec_id"].as_str().unwrap().to_owned();
        if process["flags"].as_str().unwrap().contains("procFS") && process["pid"] != 1 && process["pid"] != 2
        {
            let parent = process["parent_exec_id"].as_str().unwrap();
            if !seen.contains_key(parent) {
                missing_parents.push(process.clone());
            }
        }
        let twice = seen.insert(id, process.clone());
        assert_eq!(twice, None, "{process}");
    }
    assert_eq!(missing_parents, Vec::<Value>::new());
    let kernel_thread = seen.values().find(|process| process["binary"] == "[kthreadd]").unwrap();
    assert_eq!(kernel_thread["pid"], 2);
    assert!(seen.values().any(|process| process["pid"] == 1 && process["binary"] != "[kthreadd]"));
}

fn as_nobody(arguments: &[&str]) -> Output {
    // A copy, because the build directory may not be open to everybody.
    let directory =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = directory.path().join("procession");
    fs::copy(crate::PROCESSION, &program).unwrap();
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).uid(65534).gid(65534).current_dir("/");
    command.output().unwrap()
}

fn a_normal_user_gets_a_fallback_and_why() {
    let output = as_nobody(&["watch", "--", "sh", "-c", "sleep 0.5; exit 5"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("procession: cannot use eBPF: ") && told.contains("root"), "{told}");
    assert!(told.contains("procession: using "), "{told}");
    assert!(told.lines().count() <= 5, "no spew: {told}");
    assert!(stdout(&output).lines().any(|line| runs_itself(line, "sleep 0.5")), "{output:?}");
}

/// Whether a line tells of that command, and not of the shell whose script has it.
fn runs_itself(line: &str, command: &str) -> bool {
    line.contains(command) && !line.contains("-c")
}

fn each_fallback_sees_a_process() {
    for source in ["connector", "polling"] {
        let output = run(&["--source", source, "--running", "--", "sh", "-c", "sleep 0.6; exit 4"]);
        assert_eq!(output.status.code(), Some(4), "{source}");
        let shown = stdout(&output);
        assert!(shown.lines().any(|line| runs_itself(line, "sleep 0.6")), "{source}: {shown}");
        assert!(shown.lines().any(|line| line.contains(" end ")), "{source}: {shown}");
        assert!(stderr(&output).contains("procession: using "), "{source}");
    }
}

/// By the proc connector, which every kernel lets tell of changes of ids.
fn changes_are_shown_on_demand() {
    let perl = ["--", "perl", "-e", "$> = 1000; sleep 1"];
    let watched = |options: &[&str]| {
        let output = run(&[&["--source", "connector"], options, &perl].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let shown = watched(&["--change"]);
    let changes: Vec<_> = shown.lines().filter(|line| line.contains(" set ")).collect();
    assert_eq!(changes.len(), 1, "{shown}");
    assert!(changes[0].contains("  euid 0 → 1000"), "{shown}");
    assert!(!watched(&[]).contains(" set "), "only on demand");
    for line in watched(&["--change", "-o", "json"]).lines() {
        let event = event(line);
        assert!(event.get("process_exec").is_some() || event.get("process_exit").is_some(), "{line}");
    }
}

fn a_stalled_reader_does_not_hold_the_program() {
    // A pipe that is never read is full soon, already with what runs.
    let _sleepers = Noise::sleepers(300);
    let mut child = watch(&["--running", "-o", "json", "--duration", "500ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _noise = Noise::start("/bin/true");
    let started = Instant::now();
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(ended.success(), "{ended}");
}

fn a_command_is_ended_when_its_time_is_up() {
    let output = run(&["--duration", "300ms", "--", "sleep", "1000"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(stderr(&output).contains("1 process in "), "{}", stderr(&output));
}

fn nothing_after_the_dashes_is_an_error() {
    let output = run(&["--"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "procession: there is no command after `--`\n");
}

fn a_pid_namespace_hides_nothing_of_a_command() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", crate::PROCESSION, "watch", "--"]);
    let output = command.args(["sh", "-c", "/bin/true; exit 3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("2 processes in "), "{output:?}");
}

fn a_source_that_does_not_work_is_an_error() {
    let output = as_nobody(&["watch", "--source", "ebpf"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("procession: cannot watch with eBPF: "), "{told}");
}

fn bad_options_are_explained() {
    for (arguments, expected) in [
        (&["--binary", "("][..], "`(` is not a regular expression that can be used"),
        (&["--user", "no-such-user"], "there is no user `no-such-user` in /etc/passwd"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    for arguments in
        [&["--duration", "soon"][..], &["--ring-size", "1"], &["--output", "xml"], &["--pid", "x"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{}", stderr(&output));
    }
}

/// A real build: a workspace with libraries, a build script and a program.
fn every_compiler_of_a_build_is_seen_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\", \"program\"]\n");
    let package = |name: &str, rest: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{rest}"
        )
    };
    write("one/Cargo.toml", &package("one", ""));
    write("one/src/lib.rs", "pub fn one() -> u32 { 1 }\n");
    write("two/Cargo.toml", &package("two", "one = { path = \"../one\" }\n"));
    write("two/src/lib.rs", "pub fn two() -> u32 { one::one() + 1 }\n");
    write("two/build.rs", "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }\n");
    write("program/Cargo.toml", &package("program", "two = { path = \"../two\" }\n"));
    write("program/src/main.rs", "fn main() { println!(\"{}\", two::two()); }\n");
    // What cargo runs instead of rustc: notes its own pid, and becomes rustc.
    let log = root.join("compilers");
    write("rustc-logged", &format!("#!/bin/sh\necho $$ >> {}\nexec \"$@\"\n", log.display()));
    fs::set_permissions(root.join("rustc-logged"), fs::Permissions::from_mode(0o755)).unwrap();

    let output =
        watch(&["-o", "json", "--ancestors", "--exec", "--", "cargo", "build", "--quiet", "--offline"])
            .current_dir(root)
            .env("RUSTC_WRAPPER", root.join("rustc-logged"))
            .env("CARGO_TARGET_DIR", root.join("target"))
            .output()
            .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let compilers: Vec<u64> =
        fs::read_to_string(log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(compilers.len() >= 5, "{compilers:?}");
    let lines = json_lines(&output);
    for compiler in compilers {
        let of_pid = |line: &&Value| line["process_exec"]["process"]["pid"] == compiler;
        let execs: Vec<&Value> = lines.iter().filter(of_pid).map(|line| &line["process_exec"]).collect();
        let is_wrapper =
            |exec: &&&Value| exec["process"]["binary"].as_str().unwrap().ends_with("/rustc-logged");
        assert_eq!(execs.iter().filter(is_wrapper).count(), 1, "{compiler}: {execs:#?}");
        for exec in execs {
            let ancestors = exec["ancestors"].as_array().unwrap();
            let chain: Vec<_> = std::iter::once(&exec["parent"])
                .chain(ancestors)
                .map(|it| it["binary"].as_str().unwrap_or_default())
                .collect();
            assert!(chain.iter().any(|binary| binary.ends_with("/cargo")), "{chain:?}");
            assert!(chain.contains(&crate::PROCESSION), "{chain:?}");
        }
    }
}
