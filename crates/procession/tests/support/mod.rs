//! A small language for telling a table what happened, and for showing what it made of it.
//!
//! One event a line; `PID@START` is a key, and `N:` in front of a line is its time (else the
//! time goes up by one with each line):
//!
//! ```text
//! running 1@1 /sbin/init          found running, owned by nobody
//! running 9@3 /bin/sh < 1@1       found running, owned by 1@1
//! found loss 9@4 /bin/ls < 1@1    the same, because events were lost; or `absence`
//! gone loss 9@4                   looked for and not there; or `absence`
//! fork 1@1 > 10@5                 1@1 forks 10@5
//! exec 10@5 > 10@7 /bin/ls < 1@1  10@5 runs /bin/ls and is 10@7 from then on
//! exit 10@7 3                     10@7 exits with code 3
//! change 10@7 uid 1000            10@7 is user 1000 from then on; `session 10`, `net 77` likewise
//! lost 4
//! ```
//!
//! A process's `began` is the start of the first key in its line, or what `began N` says at the end.
//! In the line of a fork that is when the parent began, if the source knows.
//! With `ticks` after that, the source knows times to the clock tick only.
//!
//! [`show`] is the other direction: an entry a line.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a scenario that cannot be read is a broken test")]

use std::fmt::Write as _;
use std::time::Duration;

use procession::{
    BootTime, Change, Context, Counted, Credentials, EndKind, Event, EventKind, Exec, Exit, ExitStatus, Fork,
    Gap, Gone, Namespaces, Outcome, Pid, Precision, Process, ProcessKey, Program, Relative, Running, Subject,
    Table, TableConfig, Uid,
};

/// Reads `PID@START`.
pub(crate) fn key(text: &str) -> ProcessKey {
    let (pid, start) = text.split_once('@').expect("PID@START");
    ProcessKey::new(Pid(pid.parse().unwrap()), BootTime::from_nanos(start.parse().unwrap()))
}

/// A process whose times are exact.
pub(crate) fn subject(key: ProcessKey, began: BootTime) -> Subject {
    Subject { key, began, precision: Precision::Nanoseconds }
}

/// Reads one event.
pub(crate) fn event(line: &str) -> EventKind<'_> {
    let (line, precision) = match line.strip_suffix(" ticks") {
        Some(line) => (line, Precision::Ticks),
        None => (line, Precision::Nanoseconds),
    };
    let subject = |key, began| Subject { key, began, precision };
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
            owner: owner.into(),
            context: Context::default(),
            program: Program { binary: binary.as_bytes(), ..Program::default() },
            gap: None,
        }),
        ["found", why, process, binary] => EventKind::Running(Running {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            owner: owner.into(),
            context: Context::default(),
            program: Program { binary: binary.as_bytes(), ..Program::default() },
            gap: Some(gap(why)),
        }),
        ["gone", why, process] => EventKind::Gone(Gone {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            gap: gap(why),
        }),
        ["fork", parent, ">", child] => EventKind::Fork(Fork {
            child: subject(key(child), key(child).start),
            // It is the parent that began then.
            parent: Relative { key: key(parent), began },
            parent_tid: key(parent).pid,
            owner: key(parent).into(),
            context: Context::default(),
        }),
        ["exec", old, ">", new, binary] => EventKind::Exec(Exec {
            process: subject(key(new), began.unwrap_or(key(old).start)),
            replaces: Some(key(old)),
            tid: key(new).pid,
            owner: owner.into(),
            context: Context::default(),
            program: Program { binary: binary.as_bytes(), ..Program::default() },
        }),
        ["exit", process, code] => EventKind::Exit(Exit {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            tid: key(process).pid,
            owner: owner.into(),
            status: Some(ExitStatus::from_raw(code.parse::<u32>().unwrap() << 8)),
            comm: b"comm",
        }),
        ["change", process, what, value] => EventKind::Change(Change {
            process: subject(key(process), began.unwrap_or(key(process).start)),
            context: changed(what, value.parse().unwrap()),
        }),
        ["lost", count] => EventKind::Lost(count.parse().unwrap()),
        _ => panic!("not an event: {line}"),
    }
}

fn gap(why: &str) -> Gap {
    match why {
        "loss" => Gap::Loss,
        "absence" => Gap::Absence,
        _ => panic!("not a gap: {why}"),
    }
}

fn changed(what: &str, value: u32) -> Context<'static> {
    match what {
        "uid" => Context { credentials: Some(user(value)), ..Context::default() },
        "net" => {
            let namespaces = Namespaces { net: value, ..Namespaces::default() };
            Context { namespaces: Some(namespaces), ..Context::default() }
        }
        "session" => Context { session: Some(Pid(value)), ..Context::default() },
        _ => panic!("not a change: {what}"),
    }
}

/// The credentials of a plain user.
pub(crate) fn user(uid: u32) -> Credentials {
    Credentials { uid: Uid(uid), euid: Uid(uid), ..Credentials::default() }
}

/// Applies each line of `script`, and says what became of it.
pub(crate) fn apply(table: &mut Table, script: &str) -> Vec<Outcome> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let outcomes = lines.map(|line| {
        let (time, line) = match line.split_once(": ") {
            Some((time, line)) => (BootTime::from_nanos(time.parse().unwrap()), line),
            None => (BootTime::from_nanos(table.now().as_nanos() + 1), line),
        };
        table.apply(&Event { time, kind: event(line) }).outcome
    });
    outcomes.collect()
}

/// An empty table that keeps nothing for late events.
pub(crate) fn table_without_grace() -> Table {
    Table::new(TableConfig { grace: Duration::ZERO, ..TableConfig::default() })
}

/// An empty table with this budget in bytes, or the least one.
pub(crate) fn table_with_budget(budget: usize) -> Table {
    Table::new(TableConfig { budget, ..TableConfig::default() })
}

/// Lets so much time pass that nothing is kept for its grace time.
pub(crate) fn let_grace_pass(table: &mut Table) {
    let grace = TableConfig::default().grace;
    // A handle is looked at again after another grace time.
    for _ in 0..3 {
        table.advance(table.now().after(2 * grace));
    }
}

/// What `script` makes of an empty table.
pub(crate) fn table(script: &str) -> Table {
    let mut table = Table::new(TableConfig::default());
    let _ = apply(&mut table, script);
    table
}

/// Every entry, a line each, sorted.
pub(crate) fn show(table: &Table) -> String {
    let mut lines: Vec<_> = table.entries().map(|entry| show_entry(&entry.snapshot())).collect();
    lines.sort();
    lines.join("\n")
}

/// `KEY ORIGIN [BINARY] [< PARENT PROVENANCE] [after PREVIOUS] [owned by OWNER] [END]`.
pub(crate) fn show_entry(process: &Process) -> String {
    let mut line = show_key(process.key);
    write!(line, " {:?}", process.origin).unwrap();
    if !process.binary().is_empty() {
        write!(line, " {}", String::from_utf8_lossy(process.binary())).unwrap();
    }
    if let Some(parent) = process.parent {
        write!(line, " < {} {:?}", show_key(parent.key), parent.provenance).unwrap();
    }
    if let Some(previous) = process.previous {
        write!(line, " after {}", show_key(previous)).unwrap();
    }
    if let Some(owner) = process.owner {
        write!(line, " owned by {}", show_key(owner)).unwrap();
    }
    match process.end.map(|end| end.how) {
        None => {}
        Some(EndKind::Exited(Some(status))) => write!(line, " exited {}", status.code()).unwrap(),
        Some(EndKind::Exited(None)) => line.push_str(" exited"),
        Some(how) => write!(line, " {how:?}").unwrap(),
    }
    line
}

/// `PID@START`, as the events name it.
pub(crate) fn show_key(key: ProcessKey) -> String {
    format!("{}@{}", key.pid, key.start.as_nanos())
}

/// Asserts that `script` leaves exactly the entries in `expected`.
#[track_caller]
pub(crate) fn check(script: &str, expected: &str) {
    let table = table(script);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(&table), expected.join("\n"), "after\n{script}");
    check_ledger(&table);
}

/// Asserts that every event received has one outcome.
pub(crate) fn check_ledger(table: &Table) {
    for kind in Counted::ALL {
        let account = table.ledger().account(kind);
        assert_eq!(
            account.received,
            account.applied + account.duplicate + account.late + account.rejected,
            "{kind:?}"
        );
    }
}
