//! From a line to events: each member of the reference, in its place.

use procession::{Entry, Event, EventKind, Origin, Pid, Provenance, Table, WorkingDirectory};
use procession_api::dynamic::{self, EVENT, Unknown};
use serde_json::{Value, json};

use super::*;

/// When the machine was booted.
const BOOT: i64 = 1_700_000_000;

const NODE: &str = "node1";

fn id(pid: u32, start: u64) -> String {
    key(pid, start).exec_id(NODE)
}

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn date(nanos: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(BOOT) * 1_000_000_000 + i128::from(nanos))
        .unwrap()
        .to_string()
}

/// `(pid, start)` of a process and of its parent.
fn process(own: (u32, u64), parent: (u32, u64), binary: &str, flags: &str) -> Value {
    json!({
        "exec_id": id(own.0, own.1), "pid": own.0, "uid": 0, "binary": binary, "cwd": "/", "flags": flags,
        "start_time": date(own.1), "auid": u32::MAX, "parent_exec_id": id(parent.0, parent.1),
    })
}

fn exec(process: &Value, parent: &Value) -> Value {
    let time = process["start_time"].clone();
    json!({ "process_exec": { "process": process, "parent": parent }, "node_name": NODE, "time": time })
}

fn exit(process: &Value, parent: &Value, time: u64) -> Value {
    let exit = json!({ "process": process, "parent": parent, "status": 3, "time": date(time) });
    json!({ "process_exit": exit, "node_name": NODE, "time": date(time) })
}

fn event(line: &Value) -> GetEventsResponse {
    dynamic::parse_json(EVENT, &line.to_string(), Unknown::Deny).unwrap()
}

/// All that comes of these lines, in the order of the journal: folded, and told.
struct Outcome {
    table: Table,
    told: Vec<&'static str>,
}

fn import(lines: &[Value]) -> Outcome {
    let mut translator = Translator::new(None);
    let mut draft = Vec::new();
    // Events borrow from the lines, so they are told twice rather than kept.
    for (number, line) in lines.iter().enumerate() {
        translator.take(&event(line), &mut |event| draft.push((number, event.time))).unwrap();
    }
    let whole = translator.finish().unwrap();
    let mut outcome = Outcome { table: Table::default(), told: Vec::new() };
    let mut early = whole.early.iter().peekable();
    let mut again = Translator::new(None);
    let take = |event: &Event<'_>, outcome: &mut Outcome| {
        outcome.told.push(match &event.kind {
            EventKind::Fork(_) => "fork",
            EventKind::Exec(_) => "exec",
            EventKind::Exit(_) => "exit",
            EventKind::Running(running) if running.gap.is_some() => "missed",
            EventKind::Running(_) => "running",
            EventKind::Lost(_) => "lost",
            _ => "other",
        });
        let _ = outcome.table.apply(event);
    };
    while let Some(there) = early.next_if(|early| early.start() <= whole.first) {
        tell_early(there, whole.first, &mut |event| take(event, &mut outcome));
    }
    for line in lines {
        again
            .take(&self::event(line), &mut |event| {
                while let Some(before) = early.next_if(|early| early.start() <= event.time) {
                    tell_early(before, whole.first, &mut |event| take(event, &mut outcome));
                }
                take(event, &mut outcome);
            })
            .unwrap();
    }
    for later in early {
        tell_early(later, whole.first, &mut |event| take(event, &mut outcome));
    }
    outcome
}

impl Outcome {
    fn get(&self, pid: u32, start: u64) -> Entry<'_> {
        self.table.get(key(pid, start)).unwrap()
    }
}

const INIT: (u32, u64) = (1, 10_000_000);
const SHELL: (u32, u64) = (50, 5_000);

fn init() -> Value {
    process(INIT, (0, 1), "/sbin/init", "procFS auid rootcwd")
}

fn shell() -> Value {
    process(SHELL, INIT, "/bin/sh", "execve clone")
}

#[test]
fn a_program_that_is_run_and_ends() {
    let ls = process((60, 20_000_000), SHELL, "/bin/ls", "execve rootcwd clone");
    let outcome = import(&[exec(&ls, &shell()), exit(&ls, &shell(), 21_000_000)]);
    assert_eq!(outcome.told, ["running", "fork", "exec", "exit"]);
    let entry = outcome.get(60, 20_000_000);
    let seen = entry.snapshot();
    assert_eq!((seen.origin, seen.binary()), (Origin::FirstExec, &b"/bin/ls"[..]));
    assert_eq!(seen.image.as_ref().unwrap().cwd(), WorkingDirectory::Path(b"/"));
    assert_eq!(seen.parent.unwrap().key, key(50, 5_000));
    assert_eq!(seen.parent.unwrap().provenance, Provenance::Observed);
    let procession::EndKind::Exited(Some(status)) = seen.end.unwrap().how else { panic!("{seen:?}") };
    assert_eq!((status.code(), seen.end.unwrap().time), (3, BootTime::from_nanos(21_000_000)));
    assert_eq!(outcome.get(50, 5_000).snapshot().origin, Origin::Running);
}

#[test]
fn a_program_that_replaces_another_is_of_the_same_process() {
    let first = process((60, 20_000_000), SHELL, "/bin/sh", "execve clone");
    let second = process((60, 22_000_000), (60, 20_000_000), "/usr/bin/make", "execve");
    let outcome =
        import(&[exec(&first, &shell()), exec(&second, &first), exit(&second, &shell(), 30_000_000)]);
    assert_eq!(outcome.told, ["running", "fork", "exec", "exec", "exit"]);
    let seen = outcome.get(60, 22_000_000).snapshot();
    assert_eq!((seen.origin, seen.previous), (Origin::Exec, Some(key(60, 20_000_000))));
    assert_eq!(seen.parent.unwrap().key, key(50, 5_000), "of the process that forked it");
}

#[test]
fn what_was_there_before_comes_first_however_late_it_is_told() {
    let early = process((60, 20_000_000), SHELL, "/bin/a", "execve clone");
    let other = process((40, 900), INIT, "/bin/cron", "execve clone");
    let late = process((61, 30_000_000), (40, 900), "/bin/b", "execve clone");
    let outcome = import(&[exec(&early, &shell()), exec(&late, &other)]);
    assert_eq!(outcome.told, ["running", "running", "fork", "exec", "fork", "exec"]);
    assert_eq!(outcome.get(61, 30_000_000).parent().unwrap().binary(), b"/bin/cron");
}

#[test]
fn what_began_later_and_was_not_told_of_was_missed() {
    let early = process((60, 20_000_000), SHELL, "/bin/a", "execve clone");
    let missed = process((61, 25_000_000), SHELL, "/bin/b", "execve clone");
    let child = process((62, 30_000_000), (61, 25_000_000), "/bin/c", "execve clone");
    let outcome =
        import(&[exec(&early, &shell()), exec(&child, &missed), exit(&missed, &shell(), 40_000_000)]);
    assert_eq!(outcome.told, ["running", "fork", "exec", "missed", "fork", "exec", "exit"]);
    assert_eq!(outcome.get(61, 25_000_000).snapshot().origin, Origin::Found(Gap::Loss));
}

#[test]
fn a_fork_that_ran_nothing_is_found_again() {
    // A subshell: its process has the program of its parent, and an export speaks of it only as a parent.
    let parent = process((60, 20_000_000), SHELL, "/bin/sh", "execve clone");
    let subshell = process((61, 25_000_000), (60, 20_000_000), "/bin/sh", "execve");
    let child = process((62, 30_000_000), (61, 25_000_000), "/bin/c", "execve clone");
    let outcome =
        import(&[exec(&parent, &shell()), exec(&child, &subshell), exit(&subshell, &parent, 40_000_000)]);
    assert_eq!(outcome.told, ["running", "fork", "exec", "fork", "fork", "exec", "exit"]);
    let seen = outcome.get(61, 25_000_000).snapshot();
    assert_eq!((seen.origin, seen.binary()), (Origin::Fork, &b"/bin/sh"[..]));
    let chain: Vec<_> = outcome.get(62, 30_000_000).ancestors().map(|above| above.key().pid.0).collect();
    assert_eq!(chain[..3], [61, 60, 50]);
}

#[test]
fn what_an_agent_found_running_is_found() {
    let kthread = process((2, 20_000_000), (0, 1), "[kthreadd]", "procFS");
    let outcome = import(&[exec(&init(), &Value::Null), exec(&kthread, &Value::Null)]);
    assert_eq!(outcome.told, ["running", "running"]);
    assert_eq!(outcome.table.live(), 2);
    let image = outcome.get(2, 20_000_000).snapshot().image.unwrap();
    assert_eq!(image.nature(), procession::Nature::KernelThread);
    assert!(image.arguments().bytes.is_empty());
}

#[test]
fn losses_are_lost() {
    let ls = process((60, 20_000_000), SHELL, "/bin/ls", "execve clone");
    let lost = json!({ "rate_limit_info": { "number_of_dropped_process_events": "7" }, "node_name": NODE, "time": date(30_000_000) });
    let outcome = import(&[exec(&ls, &shell()), lost]);
    assert_eq!(outcome.table.ledger().lost(), 7);
}

#[test]
fn events_of_other_nodes_are_counted_and_not_taken() {
    let mut translator = Translator::new(None);
    let ls = process((60, 20_000_000), SHELL, "/bin/ls", "execve clone");
    assert_eq!(translator.take(&event(&exec(&ls, &shell())), &mut |_| {}), Ok(Taken::Told));
    let mut other = ls.clone();
    other["exec_id"] = key(9, 9).exec_id("node2").into();
    assert_eq!(translator.take(&event(&exec(&other, &Value::Null)), &mut |_| panic!()), Ok(Taken::OtherNode));
    assert_eq!(translator.others().get("node2"), Some(&1));
    let mut asked = Translator::new(Some("node2".to_owned()));
    assert_eq!(asked.take(&event(&exec(&ls, &shell())), &mut |_| panic!()), Ok(Taken::OtherNode));
    assert_eq!(asked.take(&event(&exec(&other, &Value::Null)), &mut |_| {}), Ok(Taken::Told));
}

#[test]
fn events_that_do_not_say_enough_are_refused() {
    let nameless = json!({ "process_exit": { "process": { "pid": 1 } }, "time": date(1) });
    let empty = json!({ "process_exec": {} });
    let mut timeless = process((60, 20_000_000), SHELL, "/bin/ls", "execve clone");
    timeless.as_object_mut().unwrap().remove("start_time");
    for (line, refusal) in [
        (nameless, Refusal::Nameless),
        (empty, Refusal::Nameless),
        (exec(&timeless, &shell()), Refusal::Timeless),
    ] {
        let refused = Translator::new(None).take(&event(&line), &mut |_| panic!());
        assert_eq!(refused, Err(refusal), "{line}");
    }
    let other = json!({ "process_loader": { "process": {} }, "time": date(1) });
    assert_eq!(Translator::new(None).take(&event(&other), &mut |_| panic!()), Ok(Taken::OtherKind));
    assert!(Translator::new(None).finish().is_none());
}

#[test]
fn another_boot_is_refused() {
    let ls = process((60, 900_000_000_000), SHELL, "/bin/ls", "execve clone");
    let mut translator = Translator::new(None);
    translator.take(&event(&exec(&ls, &shell())), &mut |_| {}).unwrap();
    let mut later = process((60, 5_000_000_000), SHELL, "/bin/ls", "execve clone");
    later["start_time"] = date(1_000_000_000_000).into();
    let refused = translator.take(&event(&exec(&later, &Value::Null)), &mut |_| panic!());
    assert_eq!(refused, Err(Refusal::LaterBoot));
    // A process that is told of long after it began is none.
    let old = exit(&shell(), &Value::Null, 901_000_000_000);
    assert_eq!(translator.take(&event(&old), &mut |_| {}), Ok(Taken::Told));
}

#[test]
fn signals_are_found_by_name() {
    let exit =
        |signal: &str, status| ProcessExit { signal: signal.to_owned(), status, ..ProcessExit::default() };
    assert_eq!(status_of(&exit("SIGKILL", 0)), ExitStatus::from_raw(9));
    assert_eq!(status_of(&exit("", 7)), ExitStatus::from_raw(7 << 8));
    assert_eq!(status_of(&exit("SIGNOTHING", 0)), ExitStatus::from_raw(0));
}
