//! Root against the agent: what it can stop, and what is told nevertheless.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::Test;
use crate::agent::{Place, shell};

pub(crate) const TESTS: [Test; 3] = [
    ("blinding::a_stopped_agent_tells_later", a_stopped_agent_tells_later),
    ("blinding::pins_that_are_removed", pins_that_are_removed),
    ("blinding::a_killed_agent_and_its_programs", a_killed_agent_and_its_programs),
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
