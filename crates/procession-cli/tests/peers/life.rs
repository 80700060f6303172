//! The life of an agent: how it stops, how it changes while it runs, and what becomes of its export.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;
use crate::agent::{Agent, Echo, Setup, markers, run_marked, wait_until};
use crate::follower::{Follower, Frozen, Way};

pub(crate) const TESTS: [Test; 13] = [
    ("life::stops_with_all_told", stops_with_all_told),
    ("life::stops_with_a_stuck_client", stops_with_a_stuck_client),
    ("life::stops_with_200_clients", stops_with_200_clients),
    ("life::stops_with_a_full_device", stops_with_a_full_device),
    ("life::stops_with_a_full_device_and_a_stuck_client", stops_with_a_full_device_and_a_stuck_client),
    ("life::stops_when_nobody_reads_its_output", stops_when_nobody_reads_its_output),
    ("life::changes_while_it_runs", changes_while_it_runs),
    ("life::a_broken_file_changes_nothing", a_broken_file_changes_nothing),
    ("life::exports_again_when_there_is_room", exports_again_when_there_is_room),
    ("life::goes_on_after_a_restart", goes_on_after_a_restart),
    ("life::goes_on_after_it_was_killed", goes_on_after_it_was_killed),
    ("life::does_not_take_the_place_of_another", does_not_take_the_place_of_another),
    ("life::every_line_is_as_the_schema_says", every_line_is_as_the_schema_says),
];

/// Whatever clients and the export do, it ends within this time, after which service managers kill it.
const LONGEST_STOP: Duration = Duration::from_secs(10);

/// Asks it to stop; returns what it had exported by then.
fn stop(agent: Agent) -> String {
    stop_and_say(agent).0
}

/// Asks it to stop; returns what it had exported by then, and what it said.
fn stop_and_say(agent: Agent) -> (String, String) {
    let (socket, _folder) = (agent.socket(), agent.folder());
    let errors = agent.errors_file();
    let (status, took, lines) = agent.end();
    let errors = fs::read_to_string(errors).unwrap();
    assert!(status.success(), "{status}: {errors}");
    assert!(took < LONGEST_STOP, "it took {took:?}: {errors}");
    assert!(!socket.exists(), "the socket is still there");
    (lines, errors)
}

fn stops_with_all_told() {
    let agent = Agent::start(&[]);
    let followers = [Way::unix(&agent), Way::tcp(&agent)].map(|way| Follower::start(&way, "all"));
    let echo = Echo::start("meanwhile");
    run_marked("all", 300);
    let lines = stop(agent);
    drop(echo);
    check_lines(&lines, "all", 300);
    for follower in followers {
        follower.end().check("all", 300);
    }
}

fn stops_with_a_stuck_client() {
    let agent = Agent::start(&[]);
    let stuck = [Frozen::start(&agent), Frozen::start(&agent)];
    let follower = Follower::start(&Way::unix(&agent), "stuck");
    // More than connections hold.
    run_marked("stuck", 2_000);
    let (lines, errors) = stop_and_say(agent);
    drop(stuck);
    assert!(errors.contains("some clients did not read to the end"), "nobody was stuck: {errors}");
    check_lines(&lines, "stuck", 2_000);
    follower.end().check("stuck", 2_000);
}

fn stops_with_200_clients() {
    let agent = Agent::start(&[]);
    let ways = [Way::unix(&agent), Way::tcp(&agent)];
    let followers: Vec<_> = (0..200).map(|at| Follower::start(&ways[at % 2], "many")).collect();
    run_marked("many", 50);
    let lines = stop(agent);
    check_lines(&lines, "many", 50);
    for follower in followers {
        follower.end().check("many", 50);
    }
}

fn stops_with_a_full_device() {
    let agent = Setup::new().export("/dev/full").start();
    let follower = Follower::start(&Way::unix(&agent), "full");
    run_marked("full", 100);
    agent.wait_for_word("events cannot be exported", 1);
    assert!(agent.get("/readyz").is_none(), "it is of no use as it is");
    stop(agent);
    follower.end().check("full", 100);
}

fn stops_with_a_full_device_and_a_stuck_client() {
    let agent = Setup::new().export("/dev/full").start();
    let stuck = Frozen::start(&agent);
    let follower = Follower::start(&Way::unix(&agent), "worst");
    run_marked("worst", 2_000);
    let (_, errors) = stop_and_say(agent);
    drop(stuck);
    assert!(errors.contains("some clients did not read to the end"), "nobody was stuck: {errors}");
    assert!(errors.contains("not all events could be exported"), "{errors}");
    follower.end().check("worst", 2_000);
}

fn stops_when_nobody_reads_its_output() {
    let agent = Setup::new().export("-").stdout(Stdio::piped()).start();
    let follower = Follower::start(&Way::unix(&agent), "pipe");
    // More than the pipe holds.
    run_marked("pipe", 200);
    stop(agent);
    follower.end().check("pipe", 200);
}

const REDACTION: &str = r#"redaction-filters = '{"redact": ["--secret[= ](\\S+)"]}'"#;
const DENYLIST: &str = r#"export-denylist = '{"arguments_regex": ["^unwanted"]}'"#;

fn changes_while_it_runs() {
    let agent = Agent::start(&[]);
    let follower = Follower::start(&Way::unix(&agent), "unwanted");
    run_one(&["unwanted-before", "--secret=one"]);
    agent.wait_for_export("--secret=one");

    fs::write(agent.config(), format!("{REDACTION}\n{DENYLIST}\n")).unwrap();
    agent.signal(Signal::HUP);
    agent.wait_for_word("`redaction-filters` changed", 1);
    agent.wait_for_word("`export-denylist` changed", 1);
    wait_until_redacted(&agent);
    run_one(&["unwanted-after", "--secret=two"]);
    run_one(&["wanted", "--secret=three"]);
    agent.wait_for_export("wanted --secret=*****");

    // And back again.
    fs::write(agent.config(), "").unwrap();
    agent.signal(Signal::HUP);
    agent.wait_for_word("`export-denylist` changed", 2);
    run_until(&agent, "unwanted-again --secret=four");
    let lines = stop(agent);
    assert!(!lines.contains("unwanted-after"), "the filter is not heeded");
    assert!(!lines.contains("=two") && !lines.contains("=three"), "a secret is told");
    let execs = follower.end().execs;
    assert!(execs.contains(&"unwanted-before --secret=one".to_owned()));
    assert!(execs.contains(&"unwanted-after --secret=*****".to_owned()), "{execs:?}");
    assert!(execs.contains(&"unwanted-again --secret=four".to_owned()), "{execs:?}");
}

/// What is said to have changed has changed a moment later.
fn wait_until_redacted(agent: &Agent) {
    run_until(agent, "probe --secret=*****");
}

/// Runs a program until the export has it as `expected`.
fn run_until(agent: &Agent, expected: &str) {
    let words = expected.replace("*****", "probe");
    let words: Vec<_> = words.split(' ').collect();
    let has = || {
        run_one(&words);
        agent.exported().contains(expected)
    };
    wait_until(has, || format!("{expected} is not exported: {}", agent.errors()));
}

fn a_broken_file_changes_nothing() {
    let agent = Agent::start(&[]);
    fs::write(agent.config(), REDACTION).unwrap();
    agent.signal(Signal::HUP);
    wait_until_redacted(&agent);
    // None of these is taken, not even what is right in it.
    let broken = [
        "export-denylist = '{\"arguments_regex\": [\"^kept\"]}'\nno toml",
        "export-denylist = '{\"arguments_regex\": [\"^kept\"]}'\nno-such-option = 1",
        "export-denylist = '{\"arguments_regex\": [\"^kept\"]}'\nexport-rate-limit = \"many\"",
        "export-denylist = '{\"arguments_regex\": [\"^kept\"]}'\nexport-allowlist = '{\"binary_regex\": [\"(\"]}'",
        "export-denylist = '{\"arguments_regex\": [\"^kept\"]}'\nredaction-filters = '{\"redact\": [\"(\"]}'",
    ];
    for (number, text) in broken.into_iter().enumerate() {
        let said = agent.errors().len();
        fs::write(agent.config(), text).unwrap();
        agent.signal(Signal::HUP);
        let is_refused = || {
            let errors = agent.errors();
            ["the options are wrong now", "all stays as it was"]
                .iter()
                .any(|word| errors[said..].contains(word))
        };
        wait_until(is_refused, || format!("{text} is not refused: {}", agent.errors()));
        run_one(&[&format!("kept-{number}"), "--secret=five"]);
        agent.wait_for_export(&format!("kept-{number} --secret=*****"));
    }
    assert!(!stop(agent).contains("=five"), "a secret is told");
}

fn run_one(words: &[&str]) {
    assert!(Command::new("/bin/true").args(words).status().unwrap().success());
}

/// A file system of some room.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path) -> Self {
        fs::create_dir(path).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
        Self(path)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

fn exports_again_when_there_is_room() {
    let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    let path = folder.path().join("small");
    let small = Small::mount(&path);
    let ballast = path.join("ballast");
    fs::write(&ballast, vec![0; (4 << 20) - (256 << 10)]).unwrap();
    let agent = Setup::within(&folder).export(path.join("events.log")).start();
    run_marked("tight", 400);
    agent.wait_for_word("events cannot be exported", 1);
    run_marked("later", 50);
    // An attempt may just be writing, and cut off again what it could not.
    for line in agent.exported().split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        assert!(is_whole(line), "torn: {line}");
    }
    assert!(!agent.exported().contains("later-49"), "there is room for all");
    // A line may still fit in between.
    agent.wait_for_metric("procession_export_failing", 1);

    fs::remove_file(ballast).unwrap();
    agent.wait_for_word("events are exported again", 1);
    agent.wait_for_export("later-49");
    assert_eq!(agent.errors().matches("events cannot be exported").count(), 1, "{}", agent.errors());
    let lines = stop(agent);
    check_lines(&lines, "tight", 400);
    check_lines(&lines, "later", 50);
    drop(small);
}

fn goes_on_after_a_restart() {
    let agent = Agent::start(&[]);
    let folder = agent.folder();
    run_marked("first", 20);
    stop(agent);
    let agent = Setup::within(&folder).start();
    run_marked("second", 20);
    let lines = stop(agent);
    check_lines(&lines, "first", 20);
    check_lines(&lines, "second", 20);
}

fn goes_on_after_it_was_killed() {
    let agent = Agent::start(&[]);
    let (folder, socket, export) = (agent.folder(), agent.socket(), agent.export());
    run_marked("first", 20);
    agent.wait_for_export("first-19");
    agent.kill();
    assert!(socket.exists(), "nobody is there to remove it");
    // Its last line may have been in the making.
    let mut lines = fs::read_to_string(&export).unwrap();
    lines.truncate(lines.rfind('\n').unwrap() + 1);
    fs::write(&export, lines + r#"{"process_exec":{"proce"#).unwrap();

    let agent = Setup::within(&folder).start();
    run_marked("second", 20);
    assert_eq!(
        crate::follower::block_on(Way::unix(&agent).version()).unwrap().version,
        env!("CARGO_PKG_VERSION")
    );
    let lines = stop(agent);
    // The exit of the last of the first ones may not have been written.
    assert!(markers("first", 20).is_subset(&arguments(&lines, "process_exec")));
    check_lines(&lines, "second", 20);
}

fn does_not_take_the_place_of_another() {
    let agent = Agent::start(&[]);
    let (status, errors) = Setup::within(&agent.folder()).export("").fail();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("socket"), "{errors}");
    run_marked("still", 1);
    agent.wait_for_export("still-0");
    let follower = Follower::start(&Way::unix(&agent), "still");
    run_marked("still", 1);
    follower.wait_for("still-0");
    let _: ExitStatus = agent.end().0;
}

fn every_line_is_as_the_schema_says() {
    let agent = Setup::new()
        .option("--enable-process-cred")
        .option("--enable-process-ns")
        .option("--enable-ancestors")
        .option("--cluster-name=cluster")
        .start();
    run_marked("schema", 100);
    let script = "setpriv --reuid 65534 --clear-groups sh -c 'kill -9 $$' 2>&-; unshare -n true; exit 3";
    let _ = Command::new("sh").args(["-c", script]).status().unwrap();
    agent.wait_for_export("\"arguments\":\"-n true\"");
    fs::write(agent.config(), "export-rate-limit = 60").unwrap();
    agent.signal(Signal::HUP);
    agent.wait_for_word("`export-rate-limit` changed", 1);
    run_marked("more", 200);
    let lines = stop(agent);
    check_lines(&lines, "schema", 100);
    assert!(lines.contains("rate_limit_info"), "the limit is not reached");
    assert!(lines.contains("process_credentials") && lines.contains("ancestors"), "the options do nothing");
}

/// The export has an exec and an exit of each marker, and nothing but whole lines that the schema allows.
fn check_lines(lines: &str, marker: &str, times: usize) {
    assert!(lines.ends_with('\n'), "the last line is torn");
    for line in lines.lines() {
        let errors: Vec<_> = SCHEMA
            .iter_errors(&serde_json::from_str(line).expect(line))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?} in {line}");
    }
    for kind in ["process_exec", "process_exit"] {
        let seen = arguments(lines, kind);
        let missing: Vec<_> = markers(marker, times).difference(&seen).cloned().collect();
        assert!(missing.is_empty(), "{} have no {kind}: {missing:?}", missing.len());
    }
}

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = include_str!("../../../../docs/events.schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
});

fn is_whole(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok()
}

/// The arguments of the processes of all events of this kind.
fn arguments(lines: &str, kind: &str) -> BTreeSet<String> {
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    events.filter_map(|event| event[kind]["process"]["arguments"].as_str().map(str::to_owned)).collect()
}
