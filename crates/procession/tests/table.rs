//! What the table makes of events, told in a small language.
//!
//! One event a line; `PID@START` is a key, and `N:` in front of a line is its time (else the
//! time goes up by one with each line):
//!
//! ```text
//! running 1@1 /sbin/init          found running, owned by nobody
//! running 9@3 /bin/sh < 1@1       found running, owned by 1@1
//! fork 1@1 > 10@5                 1@1 forks 10@5
//! exec 10@5 > 10@7 /bin/ls < 1@1  10@5 runs /bin/ls and is 10@7 from then on
//! exit 10@7 3                     10@7 exits with code 3
//! lost 4
//! ```
//!
//! A process's `began` is the start of the first key in its line, or what `began N` says at the end.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read is a broken test")]

use std::fmt::Write as _;
use std::time::Duration;

use procession::{
    BootTime, Context, Counted, EndKind, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey,
    Program, Running, Subject, Table, TableConfig,
};
use proptest::prelude::*;

fn key(text: &str) -> ProcessKey {
    let (pid, start) = text.split_once('@').expect("PID@START");
    ProcessKey::new(Pid(pid.parse().unwrap()), BootTime::from_nanos(start.parse().unwrap()))
}

fn subject(key: ProcessKey, began: BootTime) -> Subject {
    Subject { key, began, precision: procession::Precision::Nanoseconds }
}

fn event(line: &str) -> EventKind<'_> {
    let (line, began) = match line.split_once(" began ") {
        Some((line, began)) => (line, Some(BootTime::from_nanos(began.parse().unwrap()))),
        None => (line, None),
    };
    let (line, owner) = match line.split_once(" < ") {
        Some((line, owner)) => (line, key(owner)),
        None => (line, ProcessKey::NONE),
    };
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["running", process, binary] => EventKind::Running(Running {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            owner,
            context: Context::default(),
            program: Program { binary: binary.as_bytes(), ..Program::default() },
        }),
        ["fork", parent, ">", child] => EventKind::Fork(Fork {
            child: subject(key(child), key(child).start),
            parent: key(parent),
            parent_tid: key(parent).pid,
            owner: key(parent),
            context: Context::default(),
        }),
        ["exec", old, ">", new, binary] => EventKind::Exec(Exec {
            process: subject(key(new), began.unwrap_or(key(old).start)),
            replaces: Some(key(old)),
            tid: key(new).pid,
            owner,
            context: Context::default(),
            program: Program { binary: binary.as_bytes(), ..Program::default() },
        }),
        ["exit", process, code] => EventKind::Exit(Exit {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            tid: key(process).pid,
            owner,
            status: Some(ExitStatus::from_raw(code.parse::<u32>().unwrap() << 8)),
            comm: b"comm",
        }),
        ["lost", count] => EventKind::Lost(count.parse().unwrap()),
        _ => panic!("not an event: {line}"),
    }
}

fn apply(table: &mut Table, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, line) = match line.split_once(": ") {
            Some((time, line)) => (BootTime::from_nanos(time.parse().unwrap()), line),
            None => (BootTime::from_nanos(table.now().as_nanos() + 1), line),
        };
        let _ = table.apply(&Event { time, kind: event(line) });
    }
}

fn table(script: &str) -> Table {
    let mut table = Table::new(TableConfig::default());
    apply(&mut table, script);
    table
}

/// Every entry, a line each, sorted: `KEY BINARY < PARENT provenance [after PREVIOUS] END`.
fn show(table: &Table) -> String {
    let mut lines: Vec<_> = table
        .iter()
        .map(|(_, process)| {
            let mut line = process.key.pid.to_string();
            write!(line, "@{} {:?}", process.key.start.as_nanos(), process.origin).unwrap();
            if !process.binary().is_empty() {
                write!(line, " {}", String::from_utf8_lossy(process.binary())).unwrap();
            }
            if let Some(parent) = process.parent {
                let key = parent.key;
                write!(line, " < {}@{} {:?}", key.pid, key.start.as_nanos(), parent.provenance).unwrap();
            }
            if let Some(previous) = process.previous {
                write!(line, " after {}@{}", previous.pid, previous.start.as_nanos()).unwrap();
            }
            match process.end.map(|end| end.how) {
                None => {}
                Some(EndKind::Exited(status)) => write!(line, " exited {}", status.unwrap().code()).unwrap(),
                Some(how) => write!(line, " {how:?}").unwrap(),
            }
            line
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let table = table(script);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(&table), expected.join("\n"), "after\n{script}");
    check_ledger(&table);
}

fn check_ledger(table: &Table) {
    for kind in Counted::ALL {
        let account = table.ledger().account(kind);
        assert_eq!(
            account.received,
            account.applied + account.duplicate + account.late + account.rejected,
            "{kind:?}"
        );
    }
}

#[test]
fn fork_exec_exit() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/ls < 1@1
         exit 10@7 3 began 5",
        "10@5 Fork /sbin/init < 1@1 Observed Replaced
         10@7 FirstExec /bin/ls < 1@1 Observed exited 3
         1@1 Running /sbin/init",
    );
}

#[test]
fn exec_without_a_fork_has_the_old_image_before_it() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/sh < 1@1
         exec 10@7 > 10@9 /bin/ls < 1@1 began 5",
        "10@5 Fork /sbin/init < 1@1 Observed Replaced
         10@7 FirstExec /bin/sh < 1@1 Observed Replaced
         10@9 Exec /bin/ls < 1@1 Observed after 10@7
         1@1 Running /sbin/init",
    );
}

#[test]
fn unknown_parent_is_inferred_and_filled_in_later() {
    check("fork 7@2 > 10@5", "10@5 Fork < 7@2 Observed\n7@2 Inferred");
    check(
        "fork 7@2 > 10@5
         running 7@2 /bin/sh < 1@1
         running 1@1 /sbin/init",
        "10@5 Fork < 7@2 Observed
         1@1 Running /sbin/init
         7@2 Running /bin/sh < 1@1 Found",
    );
}

#[test]
fn exec_whose_fork_is_missing_gets_the_parent_that_the_kernel_names() {
    check(
        "running 1@1 /sbin/init
         exec 10@5 > 10@7 /bin/ls < 1@1",
        "10@5 Inferred < 1@1 Inferred Replaced
         10@7 Exec /bin/ls < 1@1 Inferred after 10@5
         1@1 Running /sbin/init",
    );
}

#[test]
fn exec_that_was_missed_leaves_a_gap_that_is_marked() {
    check(
        "running 1@1 /sbin/init
         running 10@5 /bin/sh < 1@1
         exec 10@8 > 10@9 /bin/ls < 1@1 began 5",
        "10@5 Running /bin/sh < 1@1 Found Replaced
         10@8 Inferred < 1@1 Found after 10@5 Replaced
         10@9 Exec /bin/ls < 1@1 Found after 10@8
         1@1 Running /sbin/init",
    );
}

#[test]
fn exit_of_an_unknown_process_is_an_entry_that_has_ended() {
    check("exit 10@7 2 < 1@1", "10@7 Inferred < 1@1 Inferred exited 2\n1@1 Inferred");
}

#[test]
fn exit_names_an_image_that_was_missed() {
    check(
        "running 10@5 /bin/sh
         exit 10@8 0 began 5",
        "10@5 Running /bin/sh exited 0",
    );
}

#[test]
fn reused_pid_is_another_process() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         fork 1@1 > 10@6",
        "10@5 Fork /sbin/init < 1@1 Observed Vanished
         10@6 Fork /sbin/init < 1@1 Observed
         1@1 Running /sbin/init",
    );
}

#[test]
fn events_that_contradict_themselves_change_nothing() {
    check(
        "fork 5@5 > 5@6
         fork 1@1 > 0@6
         exit 0@0 1",
        "",
    );
}

#[test]
fn links_form_no_cycle_whatever_the_events_say() {
    // Each names the other as its parent.
    let table = table(
        "fork 10@5 > 11@6
         fork 11@6 > 10@5
         running 12@1 /a < 13@1
         running 13@1 /b < 12@1",
    );
    for (id, _) in table.iter() {
        assert!(table.ancestors(id).count() <= 2);
    }
}

#[test]
fn who_exited_or_was_replaced_goes_when_its_grace_is_over_and_no_child_lives() {
    let grace = u64::try_from(TableConfig::default().grace.as_nanos()).unwrap();
    let mut table = table(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/sh < 1@1
         fork 10@7 > 11@8
         exit 10@7 0 began 5",
    );
    table.advance(BootTime::from_nanos(2 * grace));
    assert_eq!(
        show(&table),
        "10@7 FirstExec /bin/sh < 1@1 Observed exited 0\n\
         11@8 Fork /bin/sh < 10@7 Observed\n\
         1@1 Running /sbin/init",
        "a live child keeps its parent, the image shared since the fork is gone"
    );
    apply(&mut table, "exit 11@8 0");
    table.advance(BootTime::from_nanos(4 * grace));
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

#[test]
fn a_handle_keeps_its_process_and_the_chain_above_it() {
    let grace = u64::try_from(TableConfig::default().grace.as_nanos()).unwrap();
    let mut table = table("fork 1@1 > 10@5\nfork 10@5 > 11@6\nexit 10@5 0\nexit 11@6 0");
    let id = table.find(key("11@6")).unwrap();
    let handle = table.hold(id).unwrap();
    table.advance(BootTime::from_nanos(10 * grace));
    assert_eq!(table.ancestors(id).count(), 2);
    drop(handle);
    table.advance(BootTime::from_nanos(20 * grace));
    assert!(table.process(id).is_none());
    assert_eq!(show(&table), "1@1 Inferred");
}

#[test]
fn a_removed_entry_does_not_take_a_later_one_of_the_same_name_with_it() {
    let grace = u64::try_from(TableConfig::default().grace.as_nanos()).unwrap();
    let mut table = table("running 5@5 /a\nexit 5@5 0");
    table.advance(BootTime::from_nanos(2 * grace));
    apply(&mut table, "running 5@5 /a");
    table.advance(BootTime::from_nanos(4 * grace));
    assert!(table.find(key("5@5")).is_some());
}

#[test]
fn a_chain_a_million_deep_is_walked_and_dropped_without_recursion() {
    let mut table = Table::new(TableConfig { grace: Duration::ZERO, ..TableConfig::default() });
    let link = |n: u32| ProcessKey::new(Pid(n), BootTime::from_nanos(u64::from(n)));
    for n in 1..1_000_000 {
        let child = link(n + 1);
        let fork = Fork {
            child: subject(child, child.start),
            parent: link(n),
            parent_tid: Pid(n),
            owner: link(n),
            context: Context::default(),
        };
        let _ = table.apply(&Event { time: BootTime::from_nanos(1), kind: EventKind::Fork(fork) });
    }
    let deepest = table.find(link(1_000_000)).unwrap();
    assert_eq!(table.ancestors(deepest).count(), 999_999);
    for n in 1..=1_000_000 {
        let exit = Exit {
            process: subject(link(n), link(n).start),
            tid: Pid(n),
            owner: ProcessKey::NONE,
            status: None,
            comm: b"",
        };
        let _ = table.apply(&Event { time: BootTime::from_nanos(2), kind: EventKind::Exit(exit) });
    }
    table.advance(BootTime::from_nanos(3));
    assert_eq!(table.len(), 0);
}

#[test]
fn the_order_of_fork_exec_and_exit_does_not_change_what_is_known_in_the_end() {
    let story = ["fork 1@1 > 10@5", "exec 10@5 > 10@7 /bin/ls < 1@1", "exit 10@7 3 < 1@1 began 5"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut table = table("running 1@1 /sbin/init");
        for step in order {
            apply(&mut table, story[step]);
        }
        let ended = table.find(key("10@7")).and_then(|id| table.process(id));
        let shown = show(&table);
        let known_by_last_key = ended.is_some_and(|process| process.end.is_some());
        assert_eq!(table.live(), if known_by_last_key { 1 } else { 2 }, "{order:?}\n{shown}");
        for (_, process) in table.iter().filter(|(_, process)| process.pid() == Pid(10)) {
            assert_eq!(process.parent.unwrap().key, key("1@1"), "{order:?}\n{shown}");
        }
        check_ledger(&table);
    }
}

/// Events over few pids and times, so that they meet in every way.
fn any_event() -> impl Strategy<Value = String> {
    let name = || (1..5_u32, 1..6_u32).prop_map(|(pid, start)| format!("{pid}@{start}"));
    (0..4_u8, name(), name(), name(), 1..6_u32).prop_map(|(kind, a, b, c, began)| match kind {
        0 => format!("fork {a} > {b}"),
        1 => format!("exec {a} > {b} /x < {c} began {began}"),
        2 => format!("exit {a} 1 < {c} began {began}"),
        _ => format!("running {a} /x < {c} began {began}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever comes: the ledger balances, chains end, every pid has at most one live image, and
    /// when all have exited and their grace is over nothing is left.
    #[test]
    fn any_events_in_any_order(lines in prop::collection::vec(any_event(), 0..60)) {
        let mut table = table(&lines.join("\n"));
        check_ledger(&table);
        let mut live = std::collections::HashSet::new();
        for (id, process) in table.iter() {
            prop_assert!(table.ancestors(id).count() <= table.len());
            prop_assert!(table.reference_lineage(id).len() <= table.len());
            if process.end.is_none() {
                prop_assert!(live.insert(process.pid()), "two live images of {}", process.pid());
            }
        }
        prop_assert_eq!(live.len(), table.live());

        let ends: Vec<_> = table.iter().filter(|(_, process)| process.end.is_none()).map(|(_, process)| {
            let (key, began) = (process.key, process.began);
            format!("exit {}@{} 0 began {}", key.pid, key.start.as_nanos(), began.as_nanos())
        }).collect();
        apply(&mut table, &ends.join("\n"));
        prop_assert_eq!(table.live(), 0);
        table.advance(BootTime::from_nanos(1 << 60));
        prop_assert_eq!(table.len(), 0, "{}", show(&table));
    }

    /// The same log gives the same state.
    #[test]
    fn the_fold_is_deterministic(lines in prop::collection::vec(any_event(), 0..60)) {
        prop_assert_eq!(show(&table(&lines.join("\n"))), show(&table(&lines.join("\n"))));
    }
}
