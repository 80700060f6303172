//! `tree`, `why`, `processes`, `history` and `descendants` of what was.

use serde_json::Value;

use crate::recording::{Recording, pid_of};
use crate::run::Said;
use crate::trials::Test;

pub(crate) const TESTS: [Test; 4] = [
    ("past::every_question_has_the_answer_of_then", every_question_has_the_answer_of_then),
    ("past::a_life_is_told_from_fork_to_exit", a_life_is_told_from_fork_to_exit),
    ("past::descendants_are_found_however_long_ago", descendants_are_found_however_long_ago),
    ("past::what_is_not_there_is_explained", what_is_not_there_is_explained),
];

/// Sleeps for a while as a child of a shell, then does something else.
const SCRIPT: &str = "/bin/sleep 0.4; (/bin/sleep 0.3; true); exec /bin/sleep 0.2";

fn events(recording: &Recording) -> Vec<Value> {
    recording.replay(&["-o", "json"]).events()
}

fn time_of(events: &[Value], kind: &str, arguments: &str) -> String {
    let is_it = |event: &&Value| event[kind]["process"]["arguments"] == arguments;
    events.iter().find(is_it).unwrap()["time"].as_str().unwrap().to_owned()
}

fn every_question_has_the_answer_of_then() {
    let recording = Recording::of_script(SCRIPT);
    let events = events(&recording);
    let (first, second) = (time_of(&events, "process_exec", "0.4"), time_of(&events, "process_exec", "0.3"));
    let sleeper = pid_of(&events, "sleep", "0.4");
    let pid = sleeper.to_string();

    let tree = recording.asked(&["tree", "--at", &first]).text();
    assert!(tree.contains("/bin/sleep 0.4\n") && !tree.contains("/bin/sleep 0.3\n"), "{tree}");
    assert!(tree.lines().next().unwrap().contains(" at 2"), "{tree}");
    let later = recording.asked(&["tree", "--at", &second]).text();
    assert!(later.contains("/bin/sleep 0.3\n") && !later.contains("/bin/sleep 0.4\n"), "{later}");

    let why = recording.asked(&["why", &pid, "--at", &first]).text();
    assert!(why.contains("sleep") && why.contains("just now") && why.contains("procession"), "{why}");
    let gone = recording.asked(&["why", &pid, "--at", &second]).text();
    assert!(gone.contains("exited with status 0"), "{gone}");

    let list = recording.asked(&["processes", "--at", &first, "--binary", "sleep"]).text();
    assert!(list.contains("sleep 0.4"), "{list}");
    let json = recording.asked(&["processes", "--at", &first, "--binary", "sleep", "-o", "json"]).text();
    let mut processes = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let process = processes.find(|process| process["process"]["pid"].as_u64() == Some(sleeper)).unwrap();
    let told = events.iter().find(|event| event["process_exec"]["process"]["arguments"] == "0.4").unwrap();
    assert_eq!(process["process"]["exec_id"], told["process_exec"]["process"]["exec_id"]);
    assert_eq!(process["process"]["start_time"], told["process_exec"]["process"]["start_time"]);
    assert!(!process["process_uid"].as_str().unwrap().is_empty());

    let end = recording.asked(&["tree"]).text();
    assert!(end.contains("the end of the journal"), "{end}");
}

fn a_life_is_told_from_fork_to_exit() {
    let recording = Recording::of_script("/bin/sh -c 'exec /bin/sleep 0.1'; true");
    let events = events(&recording);
    let pid = pid_of(&events, "sleep", "0.1").to_string();
    let life = recording.asked(&["history", &pid]).text();
    let kinds: Vec<_> = life.lines().skip(2).map(|line| &line[30..34]).collect();
    assert_eq!(kinds, ["fork", "exec", "exec", "end "], "{life}");
    let json: Value =
        serde_json::from_str(&recording.asked(&["history", &pid, "-o", "json"]).text()).unwrap();
    let what: Vec<_> =
        json["happenings"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["fork", "exec", "exec", "exit"]);
    assert_eq!(json["happenings"][3]["status"], 0);
    let id = json["process"]["exec_id"].as_str().unwrap();
    assert_eq!(recording.asked(&["history", id]).text(), life);
}

fn descendants_are_found_however_long_ago() {
    let recording = Recording::of_script(SCRIPT);
    let shell = pid_of(&events(&recording), "sleep", "0.2").to_string();
    let ever = recording.asked(&["descendants", &shell, "--ever"]).text();
    for part in ["sleep 0.4", "sleep 0.3"] {
        assert!(ever.contains(part), "{part} in {ever}");
    }
    let now = recording
        .asked(&["descendants", &shell, "--at", &time_of(&events(&recording), "process_exec", "0.4")])
        .text();
    assert!(now.contains("/bin/sleep 0.4\n") && !now.contains("/bin/sleep 0.3\n"), "{now}");
}

fn what_is_not_there_is_explained() {
    let recording = Recording::of_script("true");
    let early = recording.asked(&["tree", "--at", "2001-01-01"]);
    assert!(early.code == Some(1) && early.err.contains("is from 2"), "{early:?}");
    let nobody = recording.asked(&["why", "4194304"]);
    assert!(nobody.err.contains("no process 4194304 was there at the end of "), "{nobody:?}");
    let events = events(&recording);
    let moment = events[0]["time"].as_str().unwrap();
    let nobody = recording.asked(&["why", "4194304", "--at", moment]);
    let (_, when) = nobody.err.split_once("no process 4194304 was known at ").unwrap();
    assert!(
        when.as_bytes()[19] == b'.' && when.contains("`procession history 4194304 --journal /"),
        "{nobody:?}"
    );
    let nobody = recording.asked(&["history", "4194304"]);
    assert!(nobody.err.contains("no process 4194304 is recorded"), "{nobody:?}");
    let nothing = Said::with(["tree", "--journal", "/no/such/journal"]);
    assert!(nothing.code == Some(1) && nothing.err.contains("--journal-dir"), "{nothing:?}");
    let other = Said::with(["replay", "/etc/passwd"]);
    assert!(other.code == Some(1) && other.err.contains("no recording"), "{other:?}");
    let none = Said::with(["replay", "/etc"]);
    assert!(none.code == Some(1) && none.err.contains("there is no journal in /etc"), "{none:?}");
    let misplaced = Said::with(["record", "x.journal", "true"]);
    assert!(misplaced.code == Some(2) && misplaced.err.contains("after `--`"), "{misplaced:?}");
    let when = Said::with(["tree", "--at", "soon"]);
    assert!(when.code == Some(2) && when.err.contains("-1h30m"), "{when:?}");
}
