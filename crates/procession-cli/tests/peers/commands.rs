//! Our own commands, and what they say of processes whose story is known.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::Test;
use crate::agent::{Agent, wait_until};
use crate::run::procession;

pub(crate) const TESTS: [Test; 8] = [
    ("commands::status", status),
    ("commands::processes", processes),
    ("commands::tree", tree),
    ("commands::why", why),
    ("commands::why_of_an_orphan", why_of_an_orphan),
    ("commands::why_of_another_user", why_of_another_user),
    ("commands::dump_and_snapshot", dump_and_snapshot),
    ("commands::exit_codes", exit_codes),
];

/// Runs a script of a shell, whose processes end with this.
struct Script {
    shell: Child,
    /// What it printed: the number of a process.
    pid: u32,
}

impl Script {
    fn start(script: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { pid: line.trim().parse().expect(&line), shell }
    }

    /// One that runs `expected`, which the agent has seen.
    fn observed(agent: &Agent, script: &str, expected: &str) -> Self {
        let script = Self::start(script);
        let pid = script.pid;
        let has = || {
            let lines = agent.exported();
            lines.lines().any(|line| {
                line.contains("process_exec")
                    && line.contains(expected)
                    && line.contains(&format!("\"pid\":{pid},"))
            })
        };
        wait_until(has, || format!("{expected} with {pid} is not seen: {}", agent.errors()));
        script
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // One with a session of its own has a group of its own.
        for pid in [self.shell.id(), self.pid] {
            let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.shell.wait();
    }
}

/// A command that asks this agent.
fn ask(agent: &Agent, arguments: &[&str]) -> Output {
    let address = format!("unix://{}", agent.socket().display());
    run(&[arguments, &["--server-address", &address]].concat())
}

fn run(arguments: &[&str]) -> Output {
    procession(arguments).env("COLUMNS", "400").output().unwrap()
}

/// What it says if it succeeds.
fn told(agent: &Agent, arguments: &[&str]) -> String {
    let output = ask(agent, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(agent: &Agent, arguments: &[&str]) -> Vec<Value> {
    let text = told(agent, arguments);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The line in which all of these words are.
fn line<'a>(text: &'a str, words: &[&str]) -> &'a str {
    let found = text.lines().find(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line has {words:?}:\n{text}"))
}

fn status() {
    let agent = Agent::start(&[]);
    let text = told(&agent, &["status"]);
    for (name, what) in [
        ("agent", "observing"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("node", "peer"),
        ("source", "eBPF"),
        ("processes", "running"),
        ("events", "applied"),
        ("lost", "none"),
        ("reader", "export"),
        ("memory", "48.0 MiB"),
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(what), "{line}");
    }
    let [answer] = &*json(&agent, &["status", "-o", "json"]) else { panic!("one line") };
    assert_eq!(answer["status"]["is_observing"], true, "{answer}");
    assert!(answer["ledger"]["accounts"].as_array().is_some_and(|accounts| accounts.len() == 6), "{answer}");
}

fn processes() {
    let agent = Agent::start(&[]);
    let script = Script::observed(&agent, "sleep 301 & echo $!; wait", "301");
    let pid = script.pid.to_string();
    let text = told(&agent, &["processes"]);
    let head = text.lines().next().unwrap();
    for column in ["PID", "USER", "AGE", "CONTAINER", "COMMAND"] {
        assert!(head.contains(column), "{head}");
    }
    line(&text, &[&pid, "root", "sleep 301"]);
    let text = told(&agent, &["processes", "--pid", &pid]);
    assert_eq!(text.lines().count(), 2, "{text}");
    let found = json(&agent, &["processes", "-o", "json", "--pid", &pid]);
    let [process] = &*found else { panic!("{found:?}") };
    assert_eq!(process["process"]["pid"], script.pid);
    assert_eq!(process["process"]["arguments"], "301");
    assert_eq!(process["origin"], "ORIGIN_EXEC");
    drop(script);
    // It has ended, and is told of only to who asks for that.
    let is_gone = || {
        let output = ask(&agent, &["processes", "--pid", &pid]);
        output.status.success() && output.stderr == b"procession: no process matches\n"
    };
    wait_until(is_gone, || "it is still listed".to_owned());
}

/// A shell, a shell in it, and what that runs.
const CHAIN: &str = "sh -c 'sleep 302 & echo $!; wait; true'; true";

fn tree() {
    let agent = Agent::start(&[]);
    let script = Script::observed(&agent, CHAIN, "302");
    let root = script.shell.id().to_string();
    let text = told(&agent, &["tree", &root]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with(&root), "{text}");
    assert!(lines[2].contains(&format!("{} root", script.pid)) && lines[2].ends_with("sleep 302"), "{text}");
    let depth = |line: &str| line.chars().take_while(|c| !c.is_ascii_digit()).count();
    assert!(depth(lines[0]) < depth(lines[1]) && depth(lines[1]) < depth(lines[2]), "{text}");

    let found = json(&agent, &["tree", "-o", "json", &root]);
    let levels: Vec<_> = found.iter().map(|entry| entry["level"].as_u64().unwrap_or_default()).collect();
    assert_eq!(levels, [0, 1, 2]);
    // By the id of a program too, and everything below the root of all.
    let id = found[1]["process"]["process"]["exec_id"].as_str().unwrap();
    assert_eq!(told(&agent, &["tree", id]).lines().count(), 2);
    line(&told(&agent, &["tree"]), &["sleep 302"]);
}

fn why() {
    let agent = Agent::start(&[]);
    let script = Script::observed(&agent, CHAIN, "302");
    let text = told(&agent, &["why", &script.pid.to_string()]);
    let paragraphs: Vec<_> = text.split("\n\n").collect();
    assert!(paragraphs.len() >= 4, "{text}");
    line(paragraphs[0], &["sleep", &format!("(pid {})", script.pid), "runs", "sleep 302 as root"]);
    line(paragraphs[0], &["It was started at", "by sh (pid ", "which was running", "sh -c"]);
    assert!(paragraphs[1].contains("It was started at"), "{text}");
    assert!(paragraphs[1].contains(&format!("(pid {})", script.shell.id())), "{text}");
    assert!(paragraphs[2].contains(&format!("(pid {})", script.shell.id())), "{text}");
    // This test ran before the agent did.
    assert!(paragraphs[3].contains("[found running: its start was not seen]"), "{text}");
    assert!(!paragraphs[..3].concat().contains("[inferred"), "{text}");

    let [lineage] = &*json(&agent, &["why", "-o", "json", &script.pid.to_string()]) else {
        panic!("one line")
    };
    let chain = lineage["chain"].as_array().unwrap();
    assert_eq!(chain[0]["relation"], "RELATION_SELF");
    let parents: Vec<_> = chain.iter().filter(|link| link["relation"] == "RELATION_PARENT").collect();
    assert_eq!(parents[1]["process"]["process"]["pid"], script.shell.id(), "{lineage}");
}

fn why_of_an_orphan() {
    let agent = Agent::start(&[]);
    // Twice: the second shell leads a session, the third one is what its child ran in.
    let script = "setsid sh -c 'sleep 303 & echo $!'; sleep 304";
    let script = Script::observed(&agent, script, "303");
    let why = || told(&agent, &["why", &script.pid.to_string()]);
    // The end of its parent may be told after what it runs.
    wait_until(|| why().contains("Its parent has ended since"), why);
    let text = why();
    let paragraphs: Vec<_> = text.split("\n\n").collect();
    line(paragraphs[0], &["sleep 303 as root"]);
    line(paragraphs[0], &["It was started at", "by sh (pid ", "which was running", "sh -c 'sleep 303"]);
    line(paragraphs[0], &["Its parent has ended since, and it belongs to"]);
    // What ended has still its part in the story, with all it ran.
    line(paragraphs[1], &["exited with status 0"]);
    line(paragraphs[1], &["Before that it ran", "setsid sh -c"]);
    assert!(paragraphs[2].contains(&format!("(pid {})", script.shell.id())), "{text}");
}

fn why_of_another_user() {
    let agent = Agent::start(&[]);
    let script = "setpriv --reuid 65534 --clear-groups sleep 305 & echo $!; wait";
    let script = Script::observed(&agent, script, "\"arguments\":\"305\"");
    let text = told(&agent, &["why", &script.pid.to_string()]);
    line(&text, &["sleep", "runs", "sleep 305 as nobody"]);
    line(&text, &["ran", "setpriv --reuid 65534 --clear-groups sleep 305"]);
    // Not every kernel lets the agent see changes between two programs; where it does not, that is said.
    if !told(&agent, &["status"]).contains("changes of credentials") {
        line(&text, &["changed from root to nobody", "within the same program"]);
    }
}

fn dump_and_snapshot() {
    let agent = Agent::start(&[]);
    let script = Script::observed(&agent, "sleep 306 & echo $!; wait", "306");
    let is_it = |process: &Value| process["pid"] == script.pid && process["arguments"] == "306";
    let dump = json(&agent, &["dump"]);
    assert!(
        dump.iter().any(|entry| is_it(&entry["process"]) && entry["process_uid"].is_string()),
        "{dump:?}"
    );
    let dump = json(&agent, &["dump", "--tetragon"]);
    assert!(dump.iter().any(|entry| is_it(&entry["process"])), "{dump:?}");

    let address = format!("unix://{}", agent.socket().display());
    let mut events = procession(["events", "--snapshot", "-o", "json", "--pid", &script.pid.to_string()]);
    events.args(["--server-address", &address]).stdout(Stdio::piped());
    let mut events = events.spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let running = next();
    assert!(is_it(&running["process_exec"]["process"]), "{running}");
    drop(script);
    let exit = next();
    assert_eq!(exit["process_exit"]["signal"], "SIGKILL", "{exit}");
    assert_eq!(exit["process_exit"]["process"]["exec_id"], running["process_exec"]["process"]["exec_id"]);
    rustix::process::kill_process(crate::agent::pid(&events), Signal::INT).unwrap();
    assert!(events.wait().unwrap().success());
}

fn exit_codes() {
    let nowhere = "unix:///nowhere/at/all";
    let commands: [&[&str]; 7] =
        [&["status"], &["processes"], &["tree"], &["why", "1"], &["dump"], &["events"], &["loglevel", "get"]];
    for command in commands {
        let output = run(&[command, &["--server-address", nowhere]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
        assert!(errors.contains("there is no agent at unix:///nowhere/at/all"), "{command:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(run(&["why"]).status.code(), Some(2));
    assert_eq!(run(&["status", "--no-such"]).status.code(), Some(2));

    let agent = Agent::start(&[]);
    for command in [["why", "4194304"], ["tree", "4194304"]] {
        let output = ask(&agent, &command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
        assert!(errors.contains("the agent knows no process 4194304"), "{command:?}: {errors}");
    }
    let socket = agent.socket();
    let _folder = agent.folder();
    drop(agent);
    let output = run(&["status", "--server-address", &format!("unix://{}", socket.display())]);
    assert_eq!(output.status.code(), Some(1));
}
