//! Root against the agent: what it can stop, and what is told nevertheless.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use rustix::process::Signal;

use crate::Test;
use crate::actor::actor;
use crate::agent::{Place, Running, shell};

pub(crate) const TESTS: [Test; 6] = [
    ("blinding::a_stopped_agent_tells_later", a_stopped_agent_tells_later),
    ("blinding::pins_that_are_removed", pins_that_are_removed),
    ("blinding::a_killed_agent_and_its_programs", a_killed_agent_and_its_programs),
    ("blinding::silenced_by_a_map", silenced_by_a_map),
    ("blinding::silenced_for_good", silenced_for_good),
    ("blinding::silenced_again_and_again", silenced_again_and_again),
];

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

/// Where the map is that says which programs are to work.
fn active(place: &Place) -> PathBuf {
    let mut entries = fs::read_dir(place.pins()).unwrap().map(|entry| entry.unwrap().path());
    let maps = entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("maps-"));
    maps.unwrap().join("active")
}

fn open_map(place: &Place) -> Array<MapData, u64> {
    let map = Map::from_map_data(MapData::from_pin(active(place)).unwrap()).unwrap();
    Array::try_from(map).unwrap()
}

/// What begins and ends within the silence nobody knows, and that is said. What goes on is found.
fn silenced_by_a_map() {
    let place = Place::new();
    let agent = place.start(&[]);
    let mut map = open_map(&place);
    // It shall not look in between.
    agent.halt();
    map.set(0, 0, 0).unwrap();
    run_marked("in-silence-mark");
    let _running = Running::start(Command::new("/bin/sleep").arg("1020"));
    run_marked("too-late-in-silence-mark");
    agent.signal(Signal::CONT);
    place.until("it is said", || place.log().contains("somebody had silenced the eBPF programs"));
    place.until("they work again", || map.get(&0, 0).unwrap() > 0);
    run_marked("after-silence-mark");
    place.exec_with("after-silence-mark");
    place.exec_with("1020");
    let text = fs::read_to_string(place.path("events.log")).unwrap();
    assert!(!text.contains("in-silence-mark"), "they came and went");
    place.until("it is counted", || place.metric("procession_kernel_silenced_total") > Some(0));
    let page = place.metrics().unwrap();
    let spent = page.lines().find_map(|line| line.strip_prefix("procession_kernel_silenced_seconds_total "));
    assert!(spent.unwrap().parse::<f64>().unwrap() > 0.0);
    let status = String::from_utf8(place.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("nor how much it was"), "{status}");
    assert!(place.get("/readyz").unwrap().contains(" 200 "), "it observes again");
    agent.stop();
}

/// Whoever keeps it so is told, and a new start ends it.
fn silenced_for_good() {
    let place = Place::new();
    let agent = place.start(&[]);
    // It shall not put it right between the two.
    agent.halt();
    open_map(&place).set(0, 0, 0).unwrap();
    assert!(Command::new(actor()).arg("freeze").arg(active(&place)).status().unwrap().success());
    agent.signal(Signal::CONT);
    let ready = || place.get("/readyz").unwrap();
    place.until("it is not ready", || {
        ready().contains(" 503 ") && ready().contains("cannot be put to work again")
    });
    assert!(place.log().contains("Start the agent anew"), "{}", place.log());
    place.until("nothing is observed", || place.metric("procession_observing") == Some(0));
    agent.stop();

    let agent = place.start(&[]);
    run_marked("with-new-maps-mark");
    place.exec_with("with-new-maps-mark");
    assert!(ready().contains(" 200 "));
    agent.stop();
}

/// Whoever does it in a loop is found at each look. That each look puts it right for a moment is not observing.
fn silenced_again_and_again() {
    let place = Place::new();
    let agent = place.start(&[]);
    let ready = || place.get("/readyz").unwrap();
    let is_enough = AtomicBool::new(false);
    let mut map = open_map(&place);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_enough.load(Ordering::Relaxed) {
                map.set(0, 0, 0).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let ends = Enough(&is_enough);
        place.until("it is not ready", || ready().contains(" 503 "));
        place.until("it does not observe", || place.metric("procession_observing") == Some(0));
        let status = String::from_utf8(place.ask(&["status"]).stdout).unwrap();
        assert!(status.contains("somebody does it again") || status.contains("writes it again"), "{status}");
        drop(ends);
    });
    place.until("it observes again", || {
        ready().contains(" 200 ") && place.metric("procession_observing") == Some(1)
    });
    run_marked("after-the-loop-mark");
    place.exec_with("after-the-loop-mark");
    agent.stop();
}

/// Ends a loop, also if a test fails.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
