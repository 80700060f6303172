//! Defects of the reference system and of its peers, each a test that it cannot happen here.
//!
//! `defect_11_*` and `defect_13_*` are numbered as in the list of the reference's defects (those at
//! its version 1.1, and those still there), `peer_*` as in the list of its peers' defects. Where the
//! two lists say the same, the test has the first number and names the other.
//!
//! What cannot be shown here, because it is no matter of the table:
//!
//! | defect | where its test belongs |
//! |---|---|
//! | 11.15 pod data of a retried clone | procession-kube, with pods |
//! | 11.17 every process without a pod counts as an error | procession-kube, with pods |
//! | 11.18 a flag that nothing reads | procession-cli |
//! | 13.2 a dump request without its argument | procession-agent, with the service |
//! | 13.3, peer 5: a metric that is not registered | procession-agent, with metrics |
//! | 13.6, peer 11: exits of processes without a pod wait | procession-agent, with pods |
//! | peer 12: what waits past its deadline keeps nothing | procession-agent, with pods |
//! | peer 26, 27: container ids | procession-kube, `container.rs` |
//! | peer 28: a filter that fails lets everything out | procession-filter |
//! | peer 29: write errors counted as exported | procession-agent, with file output |
//! | peer 30: series of metrics without bound | procession-agent, with metrics |
//! | peer 31: a watch that stops silently | procession-kube, with pods |
//! | peer 32: repair by scanning everything | procession-sensor |
//! | peer 33: shedding of exits | procession-sensor |

mod support;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use procession::{
    Applied, Arguments, BootId, BootTime, Context, Counted, EndKind, Event, EventKind, Exit, ExitStatus,
    Fork, Handle, Nature, Outcome, Pid, Process, ProcessId, ProcessKey, ProcessUid, Program, Provenance,
    Running, Subject, Table, WallClock, WorkingDirectory,
};
use proptest::prelude::*;

use support::{
    apply, check, key, let_grace_pass, show, subject, table, table_with_budget, table_without_grace,
};

const BOOT: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn find(table: &Table, name: &str) -> ProcessId {
    table.get(key(name)).expect(name).id()
}

fn process(table: &Table, name: &str) -> Process {
    table.process(find(table, name)).expect(name)
}

#[expect(clippy::large_types_passed_by_value, reason = "reads better, and only tests pay")]
fn apply_kind(table: &mut Table, kind: EventKind<'_>) -> Applied {
    table.apply(&Event { time: table.now(), kind })
}

fn image_key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn fork(parent: ProcessKey, child: ProcessKey) -> EventKind<'static> {
    EventKind::Fork(Fork {
        child: subject(child, child.start),
        parent: parent.into(),
        parent_tid: parent.pid,
        owner: parent.into(),
        context: Context::default(),
    })
}

fn exit(process: ProcessKey) -> EventKind<'static> {
    EventKind::Exit(Exit {
        process: subject(process, process.start),
        tid: process.pid,
        owner: ProcessKey::NONE.into(),
        status: None,
        comm: b"",
    })
}

fn running(process: Subject, program: Program<'_>) -> EventKind<'_> {
    EventKind::Running(Running {
        process,
        owner: ProcessKey::NONE.into(),
        context: Context::default(),
        program,
        gap: None,
    })
}

/// Also peer 1.
#[test]
fn defect_11_1_a_revived_process_is_freed_again() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 20@6\nexit 10@5 0");
    for child in 20..24 {
        let_grace_pass(&mut table);
        assert_eq!(table.len(), 3, "a child needs it: {}", show(&table));
        // Nothing needs it any more; then a fork that comes late revives it.
        let _ = apply(&mut table, &format!("exit {child}@6 0"));
        assert_eq!(table.live(), 1);
        let _ = apply(&mut table, &format!("fork 10@5 > {}@6", child + 1));
    }
    let handle = table.hold(find(&table, "10@5"));
    let _ = apply(&mut table, "exit 24@6 0");
    let_grace_pass(&mut table);
    assert_eq!(table.len(), 2, "a handle needs it: {}", show(&table));
    drop(handle);
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

#[test]
fn defect_11_2_what_was_removed_stays_removed() {
    let mut table = table("running 10@5 /a\nexit 10@5 0");
    let id = find(&table, "10@5");
    let_grace_pass(&mut table);
    // Another entry takes its place in memory.
    let _ = apply(&mut table, "running 11@6 /b");
    assert_ne!(find(&table, "11@6"), id);
    assert_eq!(table.process(id), None);
    assert_eq!(table.hold(id).map(|handle| handle.process().key), None);
    assert!(table.entry(id).is_none());
}

/// Also 13.4 and peer 4.
#[test]
fn defect_11_3_the_length_is_that_of_the_table_after_any_history() {
    let mut table = table("");
    let mut is_counted = |script: &str, length: usize| {
        let _ = apply(&mut table, script);
        assert_eq!((table.len(), table.entries().count()), (length, length), "{script}");
    };
    is_counted("", 0);
    is_counted("running 1@1 /sbin/init", 1);
    is_counted("running 1@1 /sbin/init\nrunning 1@1 /sbin/init", 1);
    is_counted("fork 1@1 > 10@5\nfork 1@1 > 10@5", 2);
    is_counted("exec 10@5 > 10@7 /bin/ls < 1@1", 2);
    is_counted("exec 10@5 > 10@7 /bin/ls < 1@1", 2);
    is_counted("exec 10@7 > 10@9 /bin/ls < 1@1 began 5", 3);
    is_counted("exit 10@9 0 began 5\nexit 10@9 0 began 5", 3);
    let_grace_pass(&mut table);
    assert_eq!((table.len(), table.entries().count(), table.live()), (1, 1, 1));
}

#[test]
fn defect_11_4_what_memory_pushes_out_is_counted_apart_from_what_goes_by_itself() {
    let counts = |table: &Table| {
        let it = table.explain();
        (it.dropped_early, it.evicted_live)
    };
    let mut table = table_with_budget(0);
    for n in 0..10 {
        let script =
            format!("fork 1@1 > 10@{n}5\nexec 10@{n}5 > 10@{n}7 /bin/ls < 1@1\nexit 10@{n}7 0 began {n}5");
        let _ = apply(&mut table, &script);
        let_grace_pass(&mut table);
    }
    assert_eq!((table.len(), counts(&table)), (1, (0, 0)));
    for n in 0..20_000 {
        let child = image_key(10, 1_000 + n);
        let _ = apply_kind(&mut table, fork(key("1@1"), child));
        let _ = apply_kind(&mut table, exit(child));
    }
    let (dropped_early, evicted_live) = counts(&table);
    assert!(dropped_early > 0 && evicted_live == 0, "{:?}", table.explain());
    assert_eq!(dropped_early + table.len() as u64, 20_001);
}

#[test]
fn defect_11_5_what_was_removed_is_not_kept_in_memory() {
    let mut table = table("running 1@1 /sbin/init");
    let before = table.explain();
    let arguments = vec![b'a'; 100_000];
    for n in 0..20 {
        let program = Program { arguments: Arguments::complete(&arguments), ..Program::default() };
        let _ =
            apply_kind(&mut table, running(subject(image_key(10 + n, 5), BootTime::from_nanos(5)), program));
    }
    assert!(table.explain().image_bytes > 20 * arguments.len());
    for n in 0..20 {
        let _ = apply_kind(&mut table, exit(image_key(10 + n, 5)));
    }
    let_grace_pass(&mut table);
    assert_eq!(table.len(), 1);
    assert_eq!(table.explain().image_bytes, before.image_bytes, "{:?}", table.explain());
}

/// Also peer 2.
#[test]
fn defect_11_6_a_child_that_goes_lets_its_parent_go() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 11@6\nfork 11@6 > 12@7");
    let _ = apply(&mut table, "exit 10@5 0\nexit 11@6 0");
    let_grace_pass(&mut table);
    assert_eq!(table.len(), 4, "the live grandchild keeps the chain");
    let _ = apply(&mut table, "exit 12@7 0");
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

/// The same when the child is pushed out, even while it lives.
#[test]
fn defect_11_6_a_child_that_is_evicted_lets_its_parent_go() {
    let mut table = table_with_budget(0);
    let _ = apply(&mut table, "running 1@1 /sbin/init\nfork 1@1 > 2@2");
    let children = || (0..20_000).map(|n| image_key(10 + n, 100));
    for child in children() {
        let _ = apply_kind(&mut table, fork(key("2@2"), child));
    }
    assert!(table.explain().evicted_live > 0, "{:?}", table.explain());
    let _ = apply(&mut table, "exit 2@2 0");
    let known: Vec<_> = children().filter(|child| table.get(*child).is_some()).collect();
    for child in known {
        let _ = apply_kind(&mut table, exit(child));
    }
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

/// Also peer 8.
#[test]
fn defect_11_7_a_table_may_be_dropped_at_any_point() {
    let events = ["fork 1@1 > 10@5", "exec 10@5 > 10@7 /bin/ls < 1@1", "exit 10@7 0 began 5"];
    for length in 0..=events.len() {
        let mut table = table(&events[..length].join("\n"));
        let ids: Vec<_> = table.entries().map(procession::Entry::id).collect();
        let handles: Vec<Handle> = ids.into_iter().filter_map(|id| table.hold(id)).collect();
        drop(table);
        for handle in handles.clone() {
            assert!(handle.process().pid() <= Pid(10), "a handle outlives its table");
        }
    }
}

#[test]
fn defect_11_8_an_empty_table_answers_every_question() {
    let mut table = Table::default();
    table.advance(BootTime::from_nanos(u64::MAX));
    assert!(table.is_empty());
    assert!(table.get(key("1@1")).is_none() && table.get_live(Pid(1)).is_none());
    assert_eq!(table.live(), 0);
    assert_eq!(table.entries().count(), 0);
    assert_eq!(table.ledger().received(), 0);
}

#[test]
fn defect_11_9_a_kernel_thread_without_its_parent_is_an_entry() {
    check(
        "running 40@3 [kworker/0:1] < 2@2",
        "2@2 Inferred
         40@3 Running [kworker/0:1] < 2@2 Found",
    );
    check("running 2@2 [kthreadd] < 0@0", "2@2 Running [kthreadd]");
}

/// Also peer 9.
#[test]
fn defect_11_10_snapshots_never_change() {
    fn is_shareable<T: Send + Sync + 'static>(_: &T) {}

    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nexec 10@5 > 10@7 /bin/sh < 1@1");
    let id = find(&table, "10@7");
    let snapshot = process(&table, "10@7");
    let handle = table.hold(id).expect("the entry is there");
    is_shareable(&snapshot);
    is_shareable(&handle);
    let copy = snapshot.clone();
    let reader = std::thread::spawn(move || (copy.binary().to_vec(), copy.end));
    let _ = apply(&mut table, "exec 10@7 > 10@9 /bin/ls < 1@1 began 5\nexit 10@9 1 began 5");
    assert_eq!(reader.join().expect("a reader needs no lock"), (b"/bin/sh".to_vec(), None));
    assert_eq!((snapshot.end, handle.process()), (None, &snapshot));
    assert_eq!(process(&table, "10@7").end.map(|end| end.how), Some(EndKind::Replaced));
}

#[test]
fn defect_11_11_two_tables_share_nothing() {
    fn may_move<T: Send>(_: &T) {}

    let (first, second) = (table("running 1@1 /a"), table("running 1@1 /b"));
    may_move(&first);
    assert_eq!((show(&first), show(&second)), ("1@1 Running /a".into(), "1@1 Running /b".into()));
}

/// Also peer 6.
#[test]
fn defect_11_12_a_removed_entry_does_not_take_a_newer_one_of_its_name_along() {
    let mut table = table("running 10@5 /a\nexit 10@5 0");
    let handle = table.hold(find(&table, "10@5"));
    let_grace_pass(&mut table);
    drop(handle);
    let_grace_pass(&mut table);
    assert!(table.is_empty());
    let _ = apply(&mut table, "running 10@5 /b");
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "10@5 Running /b");
}

/// Also peer 7: there is no count for anybody to bring out of balance.
#[test]
fn defect_11_13_nothing_is_released_twice() {
    let mut table = table(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         fork 10@5 > 11@6
         fork 10@5 > 12@7
         exit 10@5 0",
    );
    let _ = apply(&mut table, "exit 11@6 0\nexit 11@6 0\nexit 11@6 0\nexit 10@5 0");
    let handle = table.hold(find(&table, "10@5"));
    drop(handle.clone());
    drop(handle);
    let_grace_pass(&mut table);
    assert_eq!(
        show(&table),
        "10@5 Fork /sbin/init < 1@1 Observed exited 0\n\
         12@7 Fork /sbin/init < 10@5 Observed\n\
         1@1 Running /sbin/init",
        "one child lives, and keeps its parent"
    );
    assert_eq!(table.ledger().account(Counted::Exit).duplicate, 3);
}

/// Also peer 10. What waits for more, as for a pod, holds a handle and nothing else.
#[test]
fn defect_11_14_hold_release_and_exit_balance_in_every_order() {
    for order in [
        ["hold", "release", "exit"],
        ["hold", "exit", "release"],
        ["exit", "hold", "release"],
        ["hold", "exit", "never"],
        ["exit", "hold", "never"],
    ] {
        let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 11@6\nexit 10@5 0");
        let mut handle = None;
        for step in order {
            match step {
                "hold" => handle = table.hold(find(&table, "11@6")),
                "release" => handle = None,
                "exit" => drop(apply(&mut table, "exit 11@6 0")),
                _ => {}
            }
        }
        let_grace_pass(&mut table);
        let expected = if handle.is_some() { 3 } else { 1 };
        assert_eq!(table.len(), expected, "{order:?}: {}", show(&table));
    }
}

#[test]
fn defect_11_16_a_child_has_its_own_pid_in_its_namespace() {
    let mut table = table("");
    let with_ns_pid = |parent: &str, child: &str, ns_pid| {
        let EventKind::Fork(mut fork) = fork(key(parent), key(child)) else { unreachable!("a fork") };
        fork.context.ns_pid = ns_pid;
        EventKind::Fork(fork)
    };
    for (parent, child, ns_pid) in
        [("1@1", "10@5", Some(Pid(1))), ("10@5", "11@6", Some(Pid(2))), ("11@6", "12@7", None)]
    {
        let _ = apply_kind(&mut table, with_ns_pid(parent, child, ns_pid));
        assert_eq!(process(&table, child).ns_pid, ns_pid);
    }
    let _ = apply(&mut table, "exec 11@6 > 11@9 /bin/ls < 10@5");
    assert_eq!(process(&table, "11@9").ns_pid, Some(Pid(2)), "an exec does not change it");
}

#[test]
fn defect_13_1_a_dump_is_a_list_of_snapshots() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5");
    let dump: Vec<Process> = table.entries().map(procession::Entry::snapshot).collect();
    let reader = std::thread::spawn(move || format!("{dump:?}"));
    let _ = apply(&mut table, "exit 10@5 0\nfork 1@1 > 11@6");
    let printed = reader.join().expect("a dump needs no lock");
    assert!(printed.contains("Pid(10)") && !printed.contains("Exited"), "{printed}");
}

/// Also peer 3.
#[test]
fn defect_13_5_a_parent_that_exits_before_its_children_releases_its_own_parent_once() {
    let mut table = table(
        "running 1@1 /sbin/init
         fork 1@1 > 9@4
         fork 9@4 > 10@5
         fork 9@4 > 13@5
         fork 10@5 > 11@6
         exit 10@5 0
         exit 9@4 0",
    );
    let_grace_pass(&mut table);
    assert_eq!(table.len(), 5);
    let _ = apply(&mut table, "exit 11@6 0");
    let_grace_pass(&mut table);
    assert_eq!(
        show(&table),
        "13@5 Fork /sbin/init < 9@4 Observed\n\
         1@1 Running /sbin/init\n\
         9@4 Fork /sbin/init < 1@1 Observed exited 0",
        "what 10 kept is kept by 13 still"
    );
    let _ = apply(&mut table, "exit 13@5 0");
    let_grace_pass(&mut table);
    assert_eq!(table.len(), 1);
}

#[test]
fn defect_13_7_a_replaced_image_goes_whatever_else_is_missing() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nexec 10@5 > 10@7 /bin/sh < 1@1");
    let_grace_pass(&mut table);
    assert!(table.get(key("10@5")).is_none(), "the image shared since the fork");
    let _ = apply(&mut table, "exec 10@7 > 10@9 /bin/ls < 1@1 began 5\nexit 10@9 0 began 5");
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

/// Also peer 13.
#[test]
fn defect_13_8_wall_time_is_right_after_a_suspend_and_follows_a_clock_that_is_stepped() {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let booted = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let started = BootTime::ZERO.after(hours(1));
    // Asleep from the second hour to the tenth: the boot clock counts on, the monotonic one does not.
    let after_suspend = WallClock::new(BootTime::ZERO.after(hours(11)), booted + hours(11));
    assert_eq!(after_suspend.at(started), booted + hours(1));
    // Then somebody sets the clock back by three hours. Ids do not move.
    let after_step = WallClock::new(BootTime::ZERO.after(hours(12)), booted + hours(9));
    assert_eq!(after_step.at(started), booted - hours(2));
    let before = ProcessKey::new(Pid(10), started).exec_id("node");
    assert_eq!(before, ProcessKey::new(Pid(10), started).exec_id("node"));
}

#[test]
fn peer_14_a_process_that_starts_during_the_walk_is_one_entry_with_one_id() {
    // /proc knows 12,345,678 ns as tick 1.
    let events = ["fork 1@1 > 10@12345678", "running 10@10000000 /bin/sh < 1@1 ticks"];
    for (order, outcomes) in
        [([0, 1], [Outcome::Applied, Outcome::Duplicate]), ([1, 0], [Outcome::Applied, Outcome::Late])]
    {
        let mut table = table("running 1@1 /sbin/init");
        let script = order.map(|step| events[step]).join("\n");
        assert_eq!(apply(&mut table, &script), outcomes);
        assert_eq!(table.len(), 2, "{}", show(&table));
        let id = table.get_live(Pid(10)).map(procession::Entry::snapshot).expect("it lives");
        assert_eq!(id.parent.map(|link| link.provenance), Some(Provenance::Observed));
        let boot: BootId = BOOT.parse().expect("a UUID");
        assert_eq!(
            ProcessUid::new(boot, id.pid(), id.began),
            ProcessUid::new(boot, Pid(10), BootTime::from_nanos(12_345_678))
        );
    }
}

#[test]
fn peer_15_a_restart_changes_no_id() {
    let seen =
        table("running 1@1 /sbin/init\nfork 1@1 > 10@12345678\nexec 10@12345678 > 10@20000001 /bin/ls < 1@1");
    // After the restart it is found by a walk that knows the kernel's times, or by one of /proc.
    let exact = table("running 10@20000001 /bin/ls began 12345678");
    let coarse = table("running 10@10000000 /bin/ls began 10000000 ticks");
    let boot: BootId = BOOT.parse().expect("a UUID");
    let ids = [&seen, &exact, &coarse].map(|table| {
        let process = table.get_live(Pid(10)).map(procession::Entry::snapshot).expect("it lives");
        (ProcessUid::new(boot, process.pid(), process.began), process.key.exec_id("node"))
    });
    assert_eq!(ids[0].0, ids[1].0);
    assert_eq!(ids[0].0, ids[2].0);
    assert_eq!(ids[0].1, ids[1].1, "the id of the image, where the source knows when it began");
}

/// Pids and ticks as they are on a machine: few of each, next to one another.
fn different_names_have_different_uids(processes: u32) {
    let boot: BootId = BOOT.parse().expect("a UUID");
    let mut seen = HashSet::with_capacity(processes as usize);
    for n in 0..processes {
        let began = BootTime::from_ticks(u64::from(n / 1_000));
        assert!(seen.insert(*ProcessUid::new(boot, Pid(n % 1_000), began).as_bytes()), "{n}");
    }
}

#[test]
fn peer_16_a_million_processes_have_a_million_uids() {
    different_names_have_different_uids(1_000_000);
}

#[test]
#[ignore = "takes half a minute in a debug build"]
fn peer_16_ten_million_processes_have_ten_million_uids() {
    different_names_have_different_uids(10_000_000);
}

#[test]
fn peer_17_a_pid_reused_within_a_millisecond_is_another_process() {
    let mut table = table("running 1@1 /sbin/init");
    for n in 0..100_u64 {
        let start = 1_000_000_000 + n * 10_000;
        let _ = apply(&mut table, &format!("{start}: fork 1@1 > 10@{start}"));
        // Of every third the exit is missed.
        if n % 3 != 1 {
            let _ = apply(&mut table, &format!("{}: exit 10@{start} {n}", start + 5_000));
        }
    }
    assert_eq!((table.len(), table.live()), (101, 1));
    for n in 0..100_u64 {
        let process = process(&table, &format!("10@{}", 1_000_000_000 + n * 10_000));
        let how = process.end.map(|end| end.how);
        let expected = match u8::try_from(n) {
            Ok(code) if n % 3 != 1 => EndKind::Exited(Some(ExitStatus::from_raw(u32::from(code) << 8))),
            _ => EndKind::Vanished,
        };
        assert_eq!(how, Some(expected), "{n}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Also peer 17. Each process of one pid has what was said of it, and nothing of the one before.
    #[test]
    fn peer_18_a_new_process_inherits_nothing_from_the_last_one_of_its_pid(
        lives in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0..250_u8), 1..20)
    ) {
        let mut table = table("running 1@1 /sbin/init\nrunning 2@2 /bin/sh < 1@1");
        let mut expected = Vec::new();
        for (n, (by_init, has_exec, has_exit, code)) in (1_u64..).zip(lives) {
            let parent = if by_init { "1@1" } else { "2@2" };
            let (start, next) = (n * 10, n * 10 + 1);
            let _ = apply(&mut table, &format!("fork {parent} > 10@{start}"));
            let last = if has_exec { next } else { start };
            if has_exec {
                let _ = apply(&mut table, &format!("exec 10@{start} > 10@{next} /bin/p{n} < {parent}"));
            }
            if has_exit {
                let _ = apply(&mut table, &format!("exit 10@{last} {code} < {parent} began {start}"));
            }
            let inherited = if by_init { "/sbin/init" } else { "/bin/sh" };
            let binary = if has_exec { format!("/bin/p{n}") } else { inherited.into() };
            expected.push((last, parent, binary, has_exit.then_some(code)));
        }
        for (last, parent, binary, code) in expected {
            let process = process(&table, &format!("10@{last}"));
            prop_assert_eq!(process.parent.map(|link| link.key), Some(key(parent)));
            prop_assert_eq!(process.binary(), binary.as_bytes());
            let exited = match process.end.map(|end| end.how) {
                Some(EndKind::Exited(status)) => status.map(ExitStatus::code),
                _ => None,
            };
            prop_assert_eq!(exited, code);
            prop_assert_eq!(process.owner, None);
        }
    }
}

#[test]
fn peer_19_a_parent_with_many_past_children_stays_as_small_as_with_few() {
    let mut table = table_without_grace();
    let shell = image_key(2, 2);
    let _ = apply_kind(&mut table, running(subject(shell, shell.start), Program::default()));
    for n in 0..100_000 {
        let child = image_key(10 + n % 1_000, 100 + u64::from(n));
        let _ = apply_kind(&mut table, fork(shell, child));
        let _ = apply_kind(&mut table, exit(child));
        assert!(table.len() <= 3, "{n}");
        assert!(table.get(shell).unwrap().children().count() <= 1);
    }
    table.advance(BootTime::from_nanos(u64::MAX));
    assert_eq!((table.len(), table.live()), (1, 1));
    assert_eq!(table.get(shell).unwrap().children().count(), 0);
}

#[test]
fn peer_20_nothing_recurses_along_a_chain() {
    const DEPTH: u32 = 100_000;
    let link = |n: u32| image_key(n, u64::from(n));
    // What recursion there were would need more than this.
    let small_stack = std::thread::Builder::new().stack_size(128 << 10);
    let test = move || {
        let mut table = table_without_grace();
        for n in 1..DEPTH {
            let _ = apply_kind(&mut table, fork(link(n), link(n + 1)));
        }
        let (root, deepest) =
            (table.get(link(1)).expect("inferred"), table.get(link(DEPTH)).expect("forked"));
        assert_eq!(deepest.ancestors().count(), DEPTH as usize - 1);
        assert_eq!(deepest.reference_lineage().count(), DEPTH as usize - 1);
        assert!(deepest.descends_from(root) && !root.descends_from(deepest));
        assert_eq!(root.descendants().count(), DEPTH as usize - 1);
        for n in 1..DEPTH {
            let _ = apply_kind(&mut table, exit(link(n)));
        }
        assert_eq!((table.len(), table.live()), (DEPTH as usize, 1), "the last one keeps all");
        let _ = apply_kind(&mut table, exit(link(DEPTH)));
        table.advance(BootTime::from_nanos(u64::MAX));
        assert!(table.is_empty());
    };
    small_stack.spawn(test).expect("a thread").join().expect("no overflow");
}

#[test]
fn peer_21_a_full_table_admits_new_processes_and_the_dead_leave() {
    let mut table = table_with_budget(0);
    let _ = apply(&mut table, "running 1@1 /sbin/init\nfork 1@1 > 2@2");
    for n in 0..50_000 {
        let child = image_key(10 + n, 100 + u64::from(n));
        let applied = apply_kind(&mut table, fork(key("1@1"), child));
        assert_eq!(applied.outcome, Outcome::Applied);
        assert!(applied.process.is_some_and(|id| table.process(id).is_some()), "{n}");
        let _ = apply_kind(&mut table, exit(child));
    }
    let it = table.explain();
    assert!(it.dropped_early > 0 && it.used <= it.budget, "{it:?}");
    assert_eq!((it.evicted_live, table.live()), (0, 2));
}

#[test]
fn peer_22_who_forked_a_process_and_who_owns_it_now_are_two_facts() {
    let mut table = table("running 1@1 /sbin/init\nrunning 2@2 /bin/sh < 1@1\nfork 2@2 > 10@5\nexit 2@2 0");
    let _ = apply(&mut table, "exec 10@5 > 10@7 /bin/ls < 1@1");
    let orphan = process(&table, "10@7");
    assert_eq!(
        orphan.parent.map(|link| (link.key, link.provenance)),
        Some((key("2@2"), Provenance::Observed))
    );
    assert_eq!(orphan.owner, Some(key("1@1")));
    // One that was found running may have had another parent before, and says so.
    let _ = apply(&mut table, "running 11@6 /bin/cat < 1@1");
    let found = process(&table, "11@6");
    assert_eq!(found.parent.map(|link| (link.key, link.provenance)), Some((key("1@1"), Provenance::Found)));
}

#[test]
fn peer_23_a_process_whose_fork_was_missed_ends_and_goes() {
    let mut table =
        table("running 1@1 /sbin/init\nexec 10@5 > 10@7 /bin/ls < 1@1\nexit 10@7 0 < 1@1 began 5");
    assert_eq!(table.live(), 1);
    let_grace_pass(&mut table);
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

#[test]
fn peer_24_long_arguments_arrive_or_the_missing_bytes_are_counted() {
    let block = b"an argument\0".repeat((1 << 20) / 12 + 1);
    for (total_len, missing) in [(block.len(), 0), (block.len() + 5, 5)] {
        let mut table = Table::default();
        let arguments = Arguments { bytes: &block, total_len };
        let program = Program { arguments, ..Program::default() };
        let _ = apply_kind(&mut table, running(subject(key("10@5"), key("10@5").start), program));
        let image = process(&table, "10@5").image.expect("a program is known");
        assert_eq!(image.arguments().bytes, block);
        assert_eq!(image.arguments().missing(), missing);
    }
}

#[test]
fn peer_25_bytes_of_every_kind_are_kept() {
    let bytes: Vec<u8> = (1..=u8::MAX).collect();
    let mut table = Table::default();
    let program = Program {
        binary: &bytes,
        executable: &bytes,
        comm: &bytes[..15],
        cwd: WorkingDirectory::Path(&bytes),
        arguments: Arguments::complete(&bytes),
        ..Program::default()
    };
    let _ = apply_kind(&mut table, running(subject(key("10@5"), key("10@5").start), program));
    let image = process(&table, "10@5").image.expect("a program is known");
    assert_eq!((image.binary(), image.executable(), image.comm()), (&bytes[..], &bytes[..], &bytes[..15]));
    assert_eq!(image.cwd(), WorkingDirectory::Path(&bytes));
    assert_eq!(image.arguments().iter().collect::<Vec<_>>(), [&bytes[..]]);
}

#[test]
fn peer_34_a_process_without_a_command_line_is_no_kernel_thread() {
    let mut table = Table::default();
    let wiped = Program { binary: b"", arguments: Arguments::complete(b""), ..Program::default() };
    let thread = Program { nature: Nature::KernelThread, binary: b"[kswapd0]", ..Program::default() };
    let _ = apply_kind(&mut table, running(subject(key("10@5"), key("10@5").start), wiped));
    let _ = apply_kind(&mut table, running(subject(key("11@6"), key("11@6").start), thread));
    let nature = |name| process(&table, name).image.map(|image| image.nature());
    assert_eq!((nature("10@5"), nature("11@6")), (Some(Nature::User), Some(Nature::KernelThread)));
}
