//! What the program says when something is wrong, and what it says of itself: each message tells what happened,
//! about what, and what to do.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Said, procession};
use crate::terminal::on_terminal;
use crate::trials::Test;

/// Those that need neither root nor eBPF.
pub(crate) const TESTS: [Test; 8] = [
    ("messages::no_error_has_a_number", no_error_has_a_number),
    ("messages::a_journal_that_cannot_be_kept_is_named", a_journal_that_cannot_be_kept_is_named),
    ("messages::a_terminal_gets_whole_words", a_terminal_gets_whole_words),
    ("messages::a_directory_that_is_missing_is_named_first", a_directory_that_is_missing_is_named_first),
    ("messages::what_names_no_process_is_explained", what_names_no_process_is_explained),
    ("messages::a_line_that_is_no_event_is_shown", a_line_that_is_no_event_is_shown),
    ("messages::fields_that_are_none_are_a_wrong_option", fields_that_are_none_are_a_wrong_option),
    ("messages::a_wrong_variable_is_named", a_wrong_variable_is_named),
];

/// Those that do.
pub(crate) const PRIVILEGED: [Test; 4] = [
    ("messages::who_is_not_root_is_told_so_by_the_agent", who_is_not_root_is_told_so_by_the_agent),
    ("messages::the_agent_says_what_it_does_not_see", the_agent_says_what_it_does_not_see),
    ("messages::who_waits_at_a_terminal_is_told", who_waits_at_a_terminal_is_told),
    (
        "messages::what_still_runs_does_not_end_with_the_recording",
        what_still_runs_does_not_end_with_the_recording,
    ),
];

fn no_error_has_a_number() {
    let commands: [&[&str]; 9] = [
        &["replay", "/none/x"],
        &["tree", "--journal", "/none/x"],
        &["export", "--parquet", "/dev/null/x", "--journal", "/none"],
        &["import", "/none/x", "--to", "/none/y"],
        &["events", "--input", "/none/x"],
        &["status", "--server-address", "unix:///none/x"],
        &["status", "--tls-ca-cert-file", "/none/x", "--server-address", "localhost:1"],
        &["man", "/dev/null/none"],
        &["agent", "--config", "/none/x"],
    ];
    for command in commands {
        let said = Said::with(command);
        assert!(said.code == Some(1) || said.code == Some(2), "{command:?}: {said:?}");
        assert!(said.err.starts_with("procession: ") && said.err.contains("/none"), "{command:?}: {said:?}");
        assert!(!said.err.contains("os error"), "{command:?}: {said:?}");
    }
}

fn a_journal_that_cannot_be_kept_is_named() {
    for place in ["/proc/none", "/proc/none/x/y", "/dev/null/none", "/dev/null/none/x"] {
        let said = Said::with(["agent", "--journal-dir", place]);
        assert_eq!(said.code, Some(1), "{place}: {said:?}");
        assert!(said.err.contains("cannot keep a journal"), "{place}: {said:?}");
        assert!(said.err.contains("/none"), "{place}: {said:?}");
        assert!(!said.err.contains("os error"), "{place}: {said:?}");
    }
}

fn a_terminal_gets_whole_words() {
    for arguments in [&["tree", "--journal", "/none/of/that"][..], &["why", "abc"]] {
        let whole = Said::by(&mut procession(arguments)).err;
        let (code, seen) = on_terminal(procession(arguments), 50);
        assert!(code == Some(1) || code == Some(2), "{seen}");
        assert!(seen.lines().all(|line| line.chars().count() <= 50 || !line.trim().contains(' ')), "{seen}");
        assert!(seen.lines().count() > whole.lines().count(), "it is folded: {seen}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&seen), words(&whole), "no word is broken or lost");
    }
}

fn a_directory_that_is_missing_is_named_first() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none");
    let file = missing.join("x");
    let place = missing.display();
    let expected = format!(
        "cannot write {place}/x: there is no directory {place}; make it first, or name another file\n"
    );
    // Nothing is said of eBPF, which whoever is not root cannot have: it is not reached.
    let said = Said::by(procession(["record"]).arg(&file));
    assert_eq!((said.code, said.err), (Some(1), format!("procession: {expected}")));
    let said = Said::by(procession(["import", "/dev/null", "--to"]).arg(&file));
    assert_eq!((said.code, said.err), (Some(1), format!("procession: {expected}")));
}

fn what_names_no_process_is_explained() {
    for command in ["why", "history", "tree", "descendants"] {
        let said = Said::with([command, "abc"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        for part in ["'abc'", "a pid", "processes -o json", "bm9kZTE6"] {
            assert!(said.err.contains(part), "{command} does not say {part}: {}", said.err);
        }
    }
}

fn a_line_that_is_no_event_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("in.json");
    fs::write(&input, "\n{\"process_exec\":7}\nroot:x:0:0:root:/root:/bin/bash and so on and so on\n")
        .unwrap();
    let said = Said::by(procession(["import"]).arg(&input).arg("--to").arg(directory.path().join("out")));
    assert_eq!(said.code, Some(1), "{said:?}");
    let lines: Vec<_> = said.err.lines().collect();
    assert!(lines[0].contains("line 2 of ") && lines[0].contains("`{\"process_exec\":7}`"), "{said:?}");
    assert!(lines[1].contains("line 3 of "), "{said:?}");
    assert!(lines[1].ends_with("it begins with `root:x:0:0:root:/root:/bin/bash and so o…`"), "{said:?}");
    assert!(said.err.contains("a JSON object such as") && !said.err.contains("GetEvents"), "{said:?}");
}

fn fields_that_are_none_are_a_wrong_option() {
    let said = Said::with(["events", "-o", "json", "-f", "process.nonsense", "--input", "/dev/null"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.starts_with("procession: --fields and --exclude-fields "), "{said:?}");
    assert!(said.err.contains("nonsense") && !said.err.contains("field_filters"), "{said:?}");
}

fn a_wrong_variable_is_named() {
    let with_size = |arguments: &[&[u8]]| {
        let mut command = procession(["watch"]);
        let arguments = arguments.iter().map(|bytes| OsStr::from_bytes(bytes));
        Said::by(command.args(arguments).env("PROCESSION_RING_SIZE", "x"))
    };
    // The arguments of the command that is watched are nobody's business here, and may be any bytes.
    let commands: [&[&[u8]]; 2] = [&[], &[b"--", b"\xff", b"--ring-size"]];
    for arguments in commands {
        let said = with_size(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("'x'") && said.err.contains("$PROCESSION_RING_SIZE"), "{said:?}");
    }
    let typed = with_size(&[b"--ring-size=x"]);
    assert!(typed.code == Some(2) && !typed.err.contains("$PROCESSION_RING_SIZE"), "{typed:?}");
}

/// The program for nobody: a copy, because the build directory may not be open to everybody.
fn for_nobody() -> (TempDir, Command) {
    let directory =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = directory.path().join("procession");
    fs::copy(crate::PROCESSION, &program).unwrap();
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).uid(65534).gid(65534).current_dir("/");
    (directory, command)
}

fn who_is_not_root_is_told_so_by_the_agent() {
    let (directory, mut command) = for_nobody();
    let socket = format!("unix://{}/x.sock", directory.path().display());
    command.args(["agent", "--no-runtimes", "--server-address", &socket]);
    let said = Said::by(&mut command);
    let last = said.err.lines().last().unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(last.starts_with("procession: error: cannot serve the API: "), "{last}");
    assert!(last.contains("Permission denied; ") && last.contains("sudo"), "{last}");
    assert!(last.contains("`server-address`"), "{last}");

    let said = Said::by(command.args(["--log-format", "json"]));
    let last: Value = serde_json::from_str(said.err.lines().last().unwrap()).unwrap();
    assert_eq!((said.code, &last["level"]), (Some(1), &"error".into()), "{said:?}");
    let said = Said::by(command.env("PROCESSION_LOG", "off"));
    assert!(said.err.starts_with("procession: error: cannot serve the API: "), "{said:?}");
}

fn the_agent_says_what_it_does_not_see() {
    // Which changes are not seen, is said first.
    let watched = Said::with(["watch", "--change", "--", "true"]);
    let unseen = watched.err.lines().find(|line| line.contains("are not seen"));
    let mut agent = procession(["agent", "--no-runtimes", "--no-pin", "--server-address", ""]);
    let mut agent = agent.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&agent);
    let mut said = Vec::new();
    for line in BufReader::new(agent.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("serving no API") {
            kill_process(pid, Signal::TERM).unwrap();
        }
        said.push(line);
    }
    assert!(agent.wait().unwrap().success(), "{said:#?}");
    let told: Vec<_> = said.iter().filter(|line| line.contains("are not seen")).cloned().collect();
    let expected = unseen.map(|line| line.replacen("procession: ", "procession: warning: ", 1));
    assert_eq!(told, Vec::from_iter(expected), "{said:#?}");
}

fn who_waits_at_a_terminal_is_told() {
    let watch = |arguments: &[&str]| {
        let mut command = procession(["watch", "--no-runtimes", "--duration", "10ms"]);
        command.args(arguments);
        on_terminal(command, 200).1
    };
    let all = watch(&[]);
    assert!(all.starts_with("procession: watching since ") && all.contains("; Ctrl-C ends it\n"), "{all}");
    let some = watch(&["--binary", "no-such-program"]);
    assert!(some.contains(": what the options select is shown when it happens; Ctrl-C"), "{some}");
    assert!(!watch(&["--", "true"]).contains("watching"), "a command ends by itself");
    assert!(!Said::with(["watch", "--duration", "10ms"]).err.contains("watching"), "nobody waits");
}

fn what_still_runs_does_not_end_with_the_recording() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.journal");
    // What is killed before its exec was never `sleep`.
    let script =
        "sleep 1000 >/dev/null 2>&1 & until grep -qx sleep /proc/$!/comm; do sleep 0.01; done; echo $!";
    let said = Said::by(procession(["record"]).arg(&file).args(["--", "sh", "-c", script]));
    let pid = said.out.trim().to_owned();
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    let said = Said::by(procession(["history", &pid, "--journal"]).arg(&file));
    let first = said.out.lines().next().unwrap();
    assert!(first.starts_with(&format!("sleep (pid {pid}) on ")), "{said:?}");
    assert!(first.contains(", since 20") && first.contains(", still running at 20"), "{first}");
    assert!(first.contains(", where the journal ends"), "{first}");
}
