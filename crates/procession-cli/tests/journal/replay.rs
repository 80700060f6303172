//! `record` and `replay`.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::recording::{Recorder, Recording, SCRIPT, event};
use crate::run::{Said, procession};
use crate::trials::Test;

pub(crate) const TESTS: [Test; 8] = [
    ("replay::shows_what_watch_had_shown", shows_what_watch_had_shown),
    ("replay::has_all_forms_and_filters_of_watch", has_all_forms_and_filters_of_watch),
    ("replay::shows_the_rest_on_demand", shows_the_rest_on_demand),
    ("replay::keeps_the_pace", keeps_the_pace),
    ("replay::begins_and_ends_when_it_is_told", begins_and_ends_when_it_is_told),
    ("replay::record_passes_the_status_on", record_passes_the_status_on),
    ("replay::record_keeps_what_is_there", record_keeps_what_is_there),
    ("replay::a_closed_pipe_is_no_error", a_closed_pipe_is_no_error),
];

fn pid(event: &Value) -> Option<u64> {
    let kinds = ["process_exec", "process_exit"];
    kinds.iter().find_map(|kind| event[kind]["process"]["pid"].as_u64())
}

/// What two observers see alike. Each reads the clock by itself, and ids have times in them. How a process
/// was found that is none of `own` depends on when somebody began to look.
fn without_times(value: &mut Value, own: &HashSet<u64>) {
    match value {
        Value::Object(members) => {
            for time in ["time", "start_time", "exec_id", "parent_exec_id"] {
                members.remove(time);
            }
            if members.get("pid").and_then(Value::as_u64).is_some_and(|pid| !own.contains(&pid)) {
                members.remove("flags");
            }
            members.values_mut().for_each(|member| without_times(member, own));
        }
        Value::Array(all) => all.iter_mut().for_each(|member| without_times(member, own)),
        _ => {}
    }
}

/// Both look at the same processes at the same time, and must say the same of them to the last member.
fn shows_what_watch_had_shown() {
    let recording = Recording::new();
    let recorder = Recorder::start(&recording.path());
    let options = ["-o", "json", "--credentials", "--namespaces", "--ancestors"];
    let watched = procession(["watch"].iter().chain(&options).chain(&["--", "sh", "-c", SCRIPT]));
    let watched = { watched }.output().unwrap();
    recorder.stop();
    let mut watched: Vec<_> = String::from_utf8(watched.stdout).unwrap().lines().map(event).collect();
    assert!(watched.len() >= 12, "{watched:#?}");
    let own: HashSet<_> = watched.iter().filter_map(pid).collect();
    let mut replayed = recording.replay(&options).events();
    replayed.retain(|event| pid(event).is_some_and(|pid| own.contains(&pid)));
    for events in [&mut watched, &mut replayed] {
        for event in events.iter_mut() {
            without_times(event, &own);
        }
    }
    assert_eq!(replayed.len(), watched.len());
    for (replayed, watched) in replayed.iter().zip(&watched) {
        assert_eq!(replayed, watched);
    }
}

fn has_all_forms_and_filters_of_watch() {
    let recording = Recording::of_script(SCRIPT);
    let all = recording.replay(&["--tree", "--fork"]).text();
    for part in ["exec", "end", "fork", "└─", "exit 1", "SIGKILL", "/sleep 0.1", "'a b' c"] {
        assert!(all.contains(part), "{part} in {all}");
    }
    let compact = recording.replay(&["-o", "compact", "--exec"]).text();
    assert!(compact.contains("process") && compact.contains("cat /dev/null"), "{compact}");
    let sleeps = recording.replay(&["--exec", "--binary", "sleep$"]).text();
    assert_eq!(sleeps.lines().count(), 1, "{sleeps}");
    assert!(recording.replay(&["--binary", "/nothing$"]).text().is_empty());
    let said = recording.replay(&["--exit"]);
    assert!(said.err.contains("processes") && said.err.contains("longest chain"), "{said:?}");
}

fn shows_the_rest_on_demand() {
    let recording = Recording::of_script(SCRIPT);
    let own = recording.replay(&["--running"]).text();
    let all = recording.replay(&["--running", "--all"]).text();
    assert!(!own.contains(" live "), "{own}");
    assert!(all.contains(" live ") && all.lines().count() > own.lines().count(), "{all}");
}

fn keeps_the_pace() {
    let recording = Recording::of_script("/bin/sleep 1.2; /bin/true");
    let took = |speed: &[&str]| {
        let began = Instant::now();
        recording.replay(speed).text();
        began.elapsed()
    };
    assert!(took(&["--speed", "1"]) >= Duration::from_millis(1_200));
    assert!(took(&["--speed", "2x"]) >= Duration::from_millis(600));
}

fn begins_and_ends_when_it_is_told() {
    let recording =
        Recording::of_script("/bin/true 1; /bin/sleep 0.2; /bin/true 2; /bin/sleep 0.2; /bin/true 3");
    let events = recording.replay(&["-o", "json", "--exec"]).events();
    let time = |arguments: &str| {
        let is_it = |event: &&Value| event["process_exec"]["process"]["arguments"] == arguments;
        events.iter().find(is_it).unwrap()["time"].as_str().unwrap().to_owned()
    };
    let middle =
        recording.replay(&["--exec", "--binary", "true", "--from", &time("1"), "--to", &time("2")]).text();
    let numbers: Vec<_> = middle.lines().filter_map(|line| line.chars().last()).collect();
    // What happened up to the beginning is known, and not told again.
    assert_eq!(numbers, ['2'], "{middle}");
    let outside = recording.replay(&["--to", "2001-01-01"]);
    assert!(outside.code == Some(1) && outside.err.contains("nothing was recorded then"), "{outside:?}");
    let reversed = recording.replay(&["--from", "-1m", "--to", "-2m"]);
    assert!(reversed.err.contains("later"), "{reversed:?}");
}

fn record_passes_the_status_on() {
    let recording = Recording::new();
    let path = recording.path();
    let path = path.to_str().unwrap();
    assert_eq!(Said::with(["record", path, "--", "sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(Said::with(["record", path, "--force", "--", "sh", "-c", "kill -9 $$"]).code, Some(137));
    assert_eq!(Said::with(["record", path, "--force", "--", "/no/such/program"]).code, Some(127));
    let late = Said::with(["record", path, "--force", "--duration", "300ms", "--", "sleep", "60"]);
    assert_eq!(late.code, Some(124), "{late:?}");
    let done = Said::with(["record", path, "--force", "--duration", "100ms"]);
    assert!(done.code == Some(0) && done.err.contains("procession replay"), "{done:?}");
}

fn record_keeps_what_is_there() {
    let recording = Recording::of_script("true");
    let path = recording.path();
    let before = fs::read(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = Said::with(["record", path.to_str().unwrap(), "--", "true"]);
    assert!(refused.code == Some(1) && refused.err.contains("--force"), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let nowhere = Said::with(["record", "/no/such/directory/x", "--", "true"]);
    assert!(nowhere.code == Some(1) && nowhere.err.contains("/no/such/directory/x"), "{nowhere:?}");
    let failed = Said::with(["record", path.to_str().unwrap(), "--force", "--", "/no/such/program"]);
    assert_eq!((failed.code, fs::read(&path).unwrap()), (Some(127), before));
    let new = recording.file("new.journal");
    assert_eq!(Said::with(["record", new.to_str().unwrap(), "--", "/no/such/program"]).code, Some(127));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    let device = Said::with(["record", "/dev/null", "--force", "--", "true"]);
    assert!(device.code == Some(1) && device.err.contains("no regular file"), "{device:?}");
}

fn a_closed_pipe_is_no_error() {
    let recording = Recording::of_script(SCRIPT);
    let path = recording.path();
    let line =
        format!("{} replay {} --all --running | head -n 1", env!("CARGO_BIN_EXE_procession"), path.display());
    let output = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
