//! `import`.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::recording::{Recording, event};
use crate::run::{Said, procession};
use crate::trials::Test;

pub(crate) const TESTS: [Test; 8] = [
    ("import::what_was_exported_comes_out_again", what_was_exported_comes_out_again),
    ("import::the_references_lines_can_be_asked", the_references_lines_can_be_asked),
    ("import::bad_lines_are_told_and_the_rest_is_taken", bad_lines_are_told_and_the_rest_is_taken),
    ("import::nodes_are_told_apart", nodes_are_told_apart),
    ("import::names_that_disagree_need_a_choice", names_that_disagree_need_a_choice),
    ("import::nothing_is_left_after_a_failure", nothing_is_left_after_a_failure),
    ("import::what_is_no_export_is_named", what_is_no_export_is_named),
    (
        "import::what_is_there_stays_until_the_new_one_is_whole",
        what_is_there_stays_until_the_new_one_is_whole,
    ),
];

/// What watches wrote of real processes.
const OWN: &str = include_str!("../../../procession-agent/tests/data/recorded/script.jsonl");

/// What the reference writes.
const REFERENCE: &str = include_str!("../peers/reference.jsonl");

fn import(recording: &Recording, lines: &str, more: &[&str]) -> String {
    let path = recording.path();
    let mut command = procession(["import", "-", "--to", path.to_str().unwrap()].iter().chain(more));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), path.exists(), "{text}");
    text
}

fn what_was_exported_comes_out_again() {
    let recording = Recording::new();
    let said = import(&recording, OWN, &[]);
    assert!(said.contains("events of"), "{said}");
    let mut given: Vec<Value> = OWN.lines().map(event).collect();
    for line in &mut given {
        // A recording is of a node, and knows no clusters.
        line.as_object_mut().unwrap().remove("cluster_name");
    }
    let replayed = recording.replay(&["-o", "json", "--running"]).events();
    let is_told = |line: &&Value| replayed.contains(line);
    let missing: Vec<_> = given.iter().filter(|line| !is_told(line)).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:#?}", missing.len(), given.len());
}

fn the_references_lines_can_be_asked() {
    let recording = Recording::new();
    import(&recording, REFERENCE, &["--node", "kind"]);
    let why = recording.asked(&["why", "4242"]).text();
    assert!(why.contains("curl") && why.contains("SIGKILL") && why.contains("shop/cart-0"), "{why}");
    let life = recording.asked(&["history", "a2luZDoxMDAwOjQyNDI="]).text();
    assert!(life.contains("-s https://example.org") && life.contains("started by sh (pid 42)"), "{life}");
    let events = recording.replay(&["-o", "json", "--exec"]).events();
    let process = &events[0]["process_exec"]["process"];
    assert_eq!(process["exec_id"], "a2luZDoxMDAwOjQyNDI=");
    assert_eq!(process["docker"], "4f2ac1d97e0b36588c6a54f3e2b1907");
    assert_eq!(process["pod"]["workload_kind"], "StatefulSet");
}

fn bad_lines_are_told_and_the_rest_is_taken() {
    let recording = Recording::new();
    let lines = format!("garbage\n\n{OWN}{{\"process_exec\":{{}}}}\n[1]\n");
    let said = import(&recording, &lines, &[]);
    let last = lines.lines().count();
    assert!(
        said.contains("line 1 of standard input is left out") && said.contains(&format!("line {last} ")),
        "{said}"
    );
    assert!(said.contains("left out: 3 lines"), "{said}");
    assert!(!recording.replay(&["--exec"]).text().is_empty());
}

fn nodes_are_told_apart() {
    let recording = Recording::new();
    let both = format!("{OWN}{REFERENCE}");
    let refused = import(&recording, &both, &[]);
    assert!(refused.contains("`kind`") && refused.contains("--node"), "{refused}");
    let said = import(&recording, &both, &["--node", "kind"]);
    assert!(said.contains("events of other nodes"), "{said}");
    assert!(recording.asked(&["tree", "--ended"]).text().contains("curl"));
}

fn nothing_is_left_after_a_failure() {
    let recording = Recording::new();
    let empty = import(&recording, "", &[]);
    assert!(empty.contains("no event"), "{empty}");
    assert_eq!(fs::read_dir(recording.path().parent().unwrap()).unwrap().count(), 0);
    let missing = Said::with(["import", "/no/such/file", "--to", recording.path().to_str().unwrap()]);
    assert!(missing.code == Some(1) && missing.err.contains("/no/such/file"), "{missing:?}");
}

fn what_is_no_export_is_named() {
    let recording = Recording::new();
    import(&recording, OWN, &[]);
    let (path, new) = (recording.path(), recording.file("new.journal"));
    let (path, new) = (path.to_str().unwrap(), new.to_str().unwrap());
    let advice = format!("that is a recording: `procession replay {path}` shows it");
    for arguments in [&["events", "--input", path][..], &["import", path, "--to", new]] {
        let said = Said::with(arguments);
        assert!(said.code == Some(1) && said.err.contains(&advice), "{said:?}");
    }
    let directory = Said::with(["events", "--input", "/etc"]);
    assert!(directory.code == Some(1) && directory.err.contains("that is a directory"), "{directory:?}");
    let other = Said::with(["events", "--input", "/etc/passwd"]);
    assert!(other.code == Some(1) && other.err.contains("that are no events"), "{other:?}");
    let nothing = Said::with(["events", "--input", "/dev/null"]);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    let nobody = recording.asked(&["processes", "--container", "webb"]);
    assert!(nobody.code == Some(0) && nobody.err.contains("no process matches"), "{nobody:?}");
}

fn names_that_disagree_need_a_choice() {
    let recording = Recording::new();
    let renamed = OWN.replace("\"node_name\":\"node-1\"", "\"node_name\":\"other\"");
    let refused = import(&recording, &renamed, &[]);
    assert!(["`node-1`", "`other`", "--node"].iter().all(|part| refused.contains(part)), "{refused}");
    let said = import(&recording, &renamed, &["--node", "other"]);
    assert!(said.contains("events of other in"), "{said}");
}

fn what_is_there_stays_until_the_new_one_is_whole() {
    let recording = Recording::new();
    import(&recording, OWN, &[]);
    let path = recording.path();
    let (path, before) = (path.to_str().unwrap(), fs::read(&path).unwrap());
    for input in ["/no/such/file", "/dev/null", path] {
        let failed = Said::with(["import", input, "--to", path, "--force"]);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert_eq!(fs::read(path).unwrap(), before, "{failed:?}");
    }
    let root = recording.replay(&["--user", "root", "--exec"]).text();
    assert!(root.contains("root"), "{root}");
    for asked in
        [recording.replay(&["--user", "daemon"]), recording.asked(&["processes", "--user", "daemon"])]
    {
        assert!(
            asked.code == Some(2) && asked.err.contains("of node node-1, not of this machine"),
            "{asked:?}"
        );
    }
}
