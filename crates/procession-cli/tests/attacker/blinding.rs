//! Root against the agent: what it can stop, and what is told nevertheless.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::Test;
use crate::actor::actor;
use crate::agent::{Place, Running, shell};

pub(crate) const TESTS: [Test; 5] = [
    ("blinding::a_stopped_agent_tells_later", a_stopped_agent_tells_later),
    ("blinding::pins_that_are_removed", pins_that_are_removed),
    ("blinding::a_killed_agent_and_its_programs", a_killed_agent_and_its_programs),
    ("blinding::no_map_silences_the_programs", no_map_silences_the_programs),
    ("blinding::a_frozen_ring_is_replaced", a_frozen_ring_is_replaced),
];

pub(crate) const UNSERVED: Test = ("blinding::memory_that_nobody_serves", memory_that_nobody_serves);

/// Why no file system can be served from here.
pub(crate) fn no_fuse() -> Option<String> {
    let opened = fs::File::options().read(true).write(true).open("/dev/fuse");
    opened.err().map(|error| format!("no file system of its own (/dev/fuse): {error}"))
}

fn run_marked(mark: &str) {
    assert!(Command::new("/bin/true").arg(mark).status().unwrap().success());
}

fn a_stopped_agent_tells_later() {
    let place = Place::new();
    let agent = place.start(&[]);
    agent.signal(Signal::STOP);
    for number in 0..50 {
        run_marked(&format!("stopped-{number}-mark"));
    }
    agent.signal(Signal::CONT);
    run_marked("continued-mark");
    place.until("all is told, or counted as lost", || {
        let execs = place.execs("stopped-");
        let is_told = |number| {
            let mark = format!("stopped-{number}-mark");
            execs.iter().any(|exec| exec["arguments"] == mark)
        };
        (0..50).all(is_told) || place.metric("procession_ledger_lost_events_total") > Some(0)
    });
    place.exec_with("continued-mark");
    agent.stop();
}

/// The agent holds what it uses. Only the next one does not know what happens in between, and that is said.
fn pins_that_are_removed() {
    let place = Place::new();
    let agent = place.start(&[]);
    shell(format!("rm -r {}", place.pins().display()));
    place.until("it is said", || place.log().contains("somebody has removed the pinned eBPF programs"));
    run_marked("after-removal-mark");
    place.exec_with("after-removal-mark");
    let myself = std::process::id().to_string();
    let name = |place: &Place| {
        let answer = String::from_utf8(place.ask(&["why", &myself, "-o", "json"]).stdout).unwrap();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["chain"][0]["process"]["process"]["exec_id"].clone()
    };
    let before = name(&place);
    agent.kill();
    run_marked("in-between-mark");
    let agent = place.start(&[]);
    assert_eq!(name(&place), before, "what still runs has its name");
    run_marked("again-mark");
    place.exec_with("again-mark");
    let text = fs::read_to_string(place.path("events.log")).unwrap();
    assert!(!text.contains("in-between-mark"), "what ran and ended in between nobody knows");
    agent.stop();
}

/// As long as nobody removes the pins, the kernel writes it down.
fn a_killed_agent_and_its_programs() {
    let place = Place::new();
    let agent = place.start(&[]);
    agent.kill();
    run_marked("while-dead-mark");
    let agent = place.start(&[]);
    place.exec_with("while-dead-mark");
    agent.stop();
}

/// The pinned maps, by name.
fn maps(place: &Place) -> PathBuf {
    let mut entries = fs::read_dir(place.pins()).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("maps-")).unwrap()
}

fn freeze(pin: &Path) {
    assert!(Command::new(actor()).arg("freeze").arg(pin).status().unwrap().success());
}

/// None of the pinned maps says whether the programs work: whoever may write them cannot make these stop.
fn no_map_silences_the_programs() {
    let place = Place::new();
    let agent = place.start(&[]);
    let maps = maps(&place);
    let mut names: Vec<_> = fs::read_dir(&maps).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["claims", "events", "stats", "tasks"], "one that is new has to be tried here");

    let map = Map::from_map_data(MapData::from_pin(maps.join("claims")).unwrap()).unwrap();
    let mut claims = PerCpuArray::<_, [u64; 4]>::try_from(map).unwrap();
    for (round, word) in [0, 1, u64::MAX].into_iter().enumerate() {
        let values = vec![[word; 4]; nr_cpus().unwrap()];
        claims.set(0, PerCpuValues::try_from(values).unwrap(), 0).unwrap();
        run_marked(&format!("claimed-{round}-mark"));
        place.exec_with(&format!("claimed-{round}-mark"));
    }
    freeze(&maps.join("claims"));
    freeze(&maps.join("stats"));
    run_marked("frozen-mark");
    place.exec_with("frozen-mark");
    agent.kill();
    run_marked("frozen-and-dead-mark");
    let agent = place.start(&[]);
    place.exec_with("frozen-and-dead-mark");
    agent.stop();
}

/// It cannot be read any more, and what it had is gone; but it is not in the way of another one.
fn a_frozen_ring_is_replaced() {
    let place = Place::new();
    place.start(&[]).kill();
    freeze(&maps(&place).join("events"));
    let agent = place.start(&[]);
    assert!(place.log().contains("the kernel has not kept all that happened"), "{}", place.log());
    run_marked("with-a-new-ring-mark");
    place.exec_with("with-a-new-ring-mark");
    agent.kill();
    run_marked("while-dead-again-mark");
    let agent = place.start(&[]);
    place.exec_with("while-dead-again-mark");
    agent.stop();
}

/// Anybody can have memory that is a file of a FUSE filesystem, and never answer who reads it. Nothing of the agent
/// does: neither as it starts, nor when it compares what it knows with what runs.
fn memory_that_nobody_serves() {
    let place = Place::new();
    let mount = place.path("mount");
    fs::create_dir(&mount).unwrap();
    let mount = Mounted(mount);
    let mut unserved = Command::new(actor());
    unserved.arg("unserved").arg(&mount.0).arg("x".repeat(64 << 10));
    let mut unserved = Running(unserved.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut said = [0; 6];
    unserved.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready\n");

    for mark in ["found-by-a-walk-mark", "found-by-a-survey-mark"] {
        let agent = place.start(&[]);
        run_marked(mark);
        place.exec_with(mark);
        let answer = place.ask(&["why", &unserved.0.id().to_string()]);
        let answer = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.contains("actor unserved"), "{answer}");
        agent.stop();
    }
}

/// Whoever is killed leaves its filesystem mounted, and what waits for it.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}
