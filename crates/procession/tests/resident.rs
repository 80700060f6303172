//! What the operating system says that a table uses: flat, however many processes come and go.
//!
//! One test, so that nothing else in this program uses memory meanwhile.

#![expect(clippy::large_types_passed_by_value, reason = "events are made for one call")]

mod support;

use procession::{
    Arguments, BootTime, Context, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey, Program,
    Subject, Table, TableConfig, WorkingDirectory,
};

use support::user;

const BUDGET: usize = 32 << 20;

/// In an optimised build the count is that of the promise.
const LIFECYCLES: u32 = if cfg!(debug_assertions) { 200_000 } else { 10_000_000 };

/// Shells that live on, each started by the one before it.
const SHELLS: u32 = 500;

/// A kernel gives its pids again and again.
const PIDS: u32 = 32_768;

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn apply(table: &mut Table, time: u64, kind: EventKind<'_>) {
    let _ = table.apply(&Event { time: BootTime::from_nanos(time), kind });
}

fn fork(parent: ProcessKey, child: ProcessKey) -> EventKind<'static> {
    EventKind::Fork(Fork {
        child: Subject::exact(child, child.start),
        parent: parent.into(),
        parent_tid: parent.pid,
        owner: parent.into(),
        context: Context::default(),
    })
}

/// One process from fork to exit, at `time`. Its arguments, its directory and sometimes its user are
/// its own.
fn live(table: &mut Table, n: u32, time: u64) {
    let (parent, forked) = (shell(n % SHELLS), key(1_000 + n % PIDS, time));
    let process = Subject::exact(key(forked.pid.0, time + 1), forked.start);
    let (arguments, cwd) = (format!("program\0--number\0{n}\0"), format!("/var/lib/jobs/{}", n % 5_000));
    apply(table, time, fork(parent, forked));
    let exec = Exec {
        process,
        replaces: Some(forked),
        tid: forked.pid,
        owner: parent.into(),
        context: Context { credentials: Some(user(n / 64)), ..Context::default() },
        program: Program {
            binary: b"/usr/bin/program",
            arguments: Arguments::complete(arguments.as_bytes()),
            cwd: WorkingDirectory::Path(cwd.as_bytes()),
            ..Program::default()
        },
    };
    apply(table, time + 1, EventKind::Exec(exec));
    let exit = Exit {
        process,
        tid: forked.pid,
        owner: parent.into(),
        status: Some(ExitStatus::from_raw(0)),
        comm: b"program",
    };
    apply(table, time + 2, EventKind::Exit(exit));
}

fn shell(n: u32) -> ProcessKey {
    key(100 + n, 1_000 + u64::from(n))
}

/// Resident bytes of this program: the second number in `/proc/self/statm`, in pages.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("every Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size()
}

#[test]
fn lifecycles_without_end_leave_the_resident_set_flat() {
    let before = resident();
    let mut table = Table::new(TableConfig { budget: BUDGET, ..TableConfig::default() });
    for n in 0..SHELLS {
        let parent = if n == 0 { key(1, 1) } else { shell(n - 1) };
        apply(&mut table, shell(n).start.as_nanos(), fork(parent, shell(n)));
    }
    let used: Vec<usize> = (0..10)
        .map(|tenth| {
            for n in tenth * (LIFECYCLES / 10)..(tenth + 1) * (LIFECYCLES / 10) {
                // Ten thousand a second: the grace time alone would keep 300,000.
                live(&mut table, n, 1_000_000 + u64::from(n) * 100_000);
            }
            assert!(table.memory() <= BUDGET, "{:?}", table.explain());
            resident() - before
        })
        .collect();
    let megabytes: Vec<_> = used.iter().map(|bytes| bytes >> 20).collect();
    println!("{LIFECYCLES} lifecycles: {megabytes:?} MB resident after each tenth");

    let (early, most) = (used[4], *used.iter().max().expect("ten"));
    assert!(most <= early + early / 10, "it grows: {used:?}");
    assert!(most <= BUDGET + BUDGET / 4, "more than the budget: {used:?}");
    for n in 0..SHELLS {
        let entry = table.get(shell(n)).expect("it lives");
        assert_eq!(entry.ancestors().count(), n as usize + 1, "the chain of shell {n}");
    }
    assert_eq!(table.explain().evicted_live, 0);
}
