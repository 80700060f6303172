//! Others who want what the agent knows.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::agent::Place;
use crate::{NOBODY, Test};

pub(crate) const TESTS: [Test; 2] = [
    ("access::another_user_gets_nothing", another_user_gets_nothing),
    ("access::hidden_processes_are_seen", hidden_processes_are_seen),
];

/// Not by the socket, nor the files, nor the agent itself.
fn another_user_gets_nothing() {
    let place = Place::new();
    let agent = place.start(&[]);
    let home = place.path("").display().to_string();
    let pid = agent.pid();
    let program = place.path("program");
    // Where the program is built nobody else may come.
    fs::copy(env!("CARGO_BIN_EXE_procession"), &program).unwrap();
    let attempts = [
        format!("{} status --server-address {}", program.display(), place.address()),
        format!("cat {home}/events.log"),
        format!("ls {home}/journal"),
        format!("ls {}", place.pins().display()),
        format!("cat /proc/{pid}/environ"),
        format!("cat /proc/{pid}/maps"),
        format!("head -c1 /proc/{pid}/mem"),
        format!("ls /proc/{pid}/fd/"),
        format!("kill -STOP {pid}"),
        format!("kill -KILL {pid}"),
        format!("rm -f {home}/socket"),
        format!("mv {home}/socket {home}/other"),
    ];
    for attempt in attempts {
        let output = Command::new("sh").args(["-c", &attempt]).uid(NOBODY).gid(NOBODY).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let is_refused = said.contains("ermission") || said.contains("not permitted");
        assert!(!output.status.success() && is_refused && output.stdout.is_empty(), "{attempt}: {output:?}");
    }
    assert!(place.ask(&["status"]).status.success(), "it serves who may ask");
    agent.stop();
}

/// Where `/proc` hides other users' processes, the agent is above that.
fn hidden_processes_are_seen() {
    let place = Place::new();
    let marked = |by: &str| format!("1002.{by}");
    for (number, source) in [("1", "ebpf"), ("2", "connector"), ("3", "polling")] {
        let mut sleep = Command::new("sleep");
        let sleeper = crate::agent::Running::start(sleep.arg(marked(number)).uid(NOBODY));
        let inner = place.command(&[&format!("--source={source}"), "--journal-dir="]);
        let mut outer = Command::new("unshare");
        outer.args(["-m", "sh", "-ec", "mount -t proc -o hidepid=2 proc /proc; exec \"$@\"", "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args());
        outer.stderr(fs::File::create(place.path("log")).unwrap());
        let agent = place.spawn(outer);
        let exec = place.exec_with(&marked(number));
        assert!(exec["binary"].as_str().is_some_and(|binary| binary.ends_with("sleep")), "{source}: {exec}");
        assert_eq!(exec["pid"], sleeper.0.id(), "{source}: {exec}");
        agent.stop();
    }
}
