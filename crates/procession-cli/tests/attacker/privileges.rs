//! What the agent may still do when it works, and that it is enough.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::Signal;

use crate::agent::{Place, Running, shell};
use crate::{NOBODY, Test};

pub(crate) const TESTS: [Test; 5] = [
    ("privileges::of_every_thread", of_every_thread),
    ("privileges::all_of_them", all_of_them),
    ("privileges::enough_to_work", enough_to_work),
    ("privileges::enough_for_every_source", enough_for_every_source),
    ("privileges::enough_to_repair", enough_to_repair),
];

/// `CAP_SYS_PTRACE` alone, as SECURITY.md has it.
const KEPT: u64 = 1 << 19;
/// `CAP_DAC_OVERRIDE`.
const PASSES_OVER_PERMISSIONS: u64 = 1 << 1;

/// A number of a status file, in hexadecimal digits.
fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn statuses(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok()).collect()
}

fn of_every_thread() {
    let place = Place::new();
    let agent = place.start(&[]);
    let statuses = statuses(agent.pid());
    assert!(statuses.len() > 5, "{statuses:?}");
    for status in statuses {
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(|name| number(&status, name));
        assert_eq!(sets, [0, KEPT, KEPT, KEPT, 0], "{status}");
        assert_eq!(number(&status, "NoNewPrivs:"), 1, "{status}");
        assert!(status.contains("\nUmask:\t0077\n"), "{status}");
    }
    assert!(place.log().contains("capabilities from here on: CAP_SYS_PTRACE\n"), "{}", place.log());
    assert_eq!(place.metric(r#"procession_capability_info{capability="CAP_SYS_PTRACE"}"#), Some(1));
    let status = String::from_utf8(place.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("\nrights      CAP_SYS_PTRACE\n"), "{status}");
    let security = include_str!("../../../../SECURITY.md");
    assert!(security.contains("| CAP_SYS_PTRACE | always |"), "what is held is documented");
}

fn all_of_them() {
    let place = Place::new();
    let agent = place.start(&["--keep-privileges"]);
    for status in statuses(agent.pid()) {
        assert_ne!(number(&status, "CapEff:") & PASSES_OVER_PERMISSIONS, 0, "{status}");
        assert_eq!(number(&status, "NoNewPrivs:"), 0, "{status}");
    }
    assert!(place.log().contains("no privileges are given up, as `keep-privileges` says"), "{}", place.log());
}

/// Another user's process is known with all that `/proc` tells; files are rotated and compressed; options are
/// read again; the next agent goes on; and all of it can be removed.
fn enough_to_work() {
    let place = Place::new();
    let sleeper = Running::start(Command::new("sleep").arg("1000").uid(NOBODY).current_dir("/usr"));
    let options = ["--export-file-max-size-mb=1", "--export-file-compress", "--enable-process-cred"];
    let agent = place.start(&options);
    let pid = sleeper.0.id().to_string();
    let before = String::from_utf8(place.ask(&["why", &pid, "-o", "json"]).stdout).unwrap();
    let about: serde_json::Value = serde_json::from_str(&before).unwrap();
    let process = &about["chain"][0]["process"]["process"];
    assert!(process["binary"].as_str().is_some_and(|binary| binary.ends_with("sleep")), "{before}");
    assert_eq!((&process["cwd"], &process["uid"]), (&"/usr".into(), &NOBODY.into()), "{before}");

    let mut more = Command::new("sh");
    more.args(["-ec", "for i in $(seq 40); do /bin/true \"$0\"; done", &"x".repeat(60_000)]);
    place.until("the export rotates", || {
        assert!(more.status().unwrap().success());
        let files = fs::read_dir(place.path("")).unwrap();
        files.map(|file| file.unwrap().file_name()).any(|name| name.to_string_lossy().ends_with(".log.gz"))
    });

    fs::write(place.path("agent.toml"), "log-level = 'debug'").unwrap();
    agent.signal(Signal::HUP);
    place.until("options are read again", || place.log().contains("`log-level` changed"));

    agent.kill();
    let agent = place.start(&options);
    let after = String::from_utf8(place.ask(&["why", &pid, "-o", "json"]).stdout).unwrap();
    let after: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert_eq!(after["chain"][0]["process"]["process"]["exec_id"], process["exec_id"], "{after}");
    agent.stop();
    let mut detach = place.command(&["--detach-all"]);
    assert!(detach.status().unwrap().success());
    assert!(!place.pins().exists());
}

fn enough_for_every_source() {
    for source in ["connector", "polling"] {
        let place = Place::new();
        let agent = place.start(&[&format!("--source={source}")]);
        let _later = Running::start(Command::new("sleep").arg("1001.5").uid(NOBODY).current_dir("/usr"));
        let exec = place.exec_with("1001.5");
        assert!(exec["binary"].as_str().is_some_and(|binary| binary.ends_with("sleep")), "{source}: {exec}");
        assert_eq!(exec["cwd"], "/usr", "{source}: {exec}");
        agent.stop();
    }
}

/// More starts than the ring holds: what is lost is counted, and looked for.
fn enough_to_repair() {
    let place = Place::new();
    let agent = place.start(&["--ring-size=64K"]);
    place.until("events are lost, and it is looked for them", || {
        shell("for i in $(seq 1000); do /bin/true & done; wait");
        place.metric("procession_ledger_lost_events_total") > Some(0)
            && place.metric("procession_repair_surveys_total") > Some(0)
    });
    agent.stop();
}
