//! What the table makes of events, told in the small language of `support`.

mod support;

use std::time::Duration;

use procession::{BootTime, Context, Event, EventKind, Exit, Fork, Pid, ProcessKey, Table, TableConfig};
use proptest::prelude::*;

use support::{apply, check, check_ledger, key, show, subject, table};

#[test]
fn fork_exec_exit() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/ls < 1@1
         exit 10@7 3 began 5",
        "10@7 FirstExec /bin/ls < 1@1 Observed exited 3
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
        "10@7 FirstExec /bin/sh < 1@1 Observed Replaced
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
        "10@7 FirstExec /bin/ls < 1@1 Inferred
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
        "10@5 Running /bin/sh Replaced
         10@8 Inferred after 10@5 exited 0",
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
    for entry in table.entries() {
        assert!(entry.ancestors().count() <= 2);
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
    let _ = apply(&mut table, "exit 11@8 0");
    table.advance(BootTime::from_nanos(4 * grace));
    assert_eq!(show(&table), "1@1 Running /sbin/init");
}

#[test]
fn a_handle_keeps_its_process_and_the_chain_above_it() {
    let grace = u64::try_from(TableConfig::default().grace.as_nanos()).unwrap();
    let mut table = table("fork 1@1 > 10@5\nfork 10@5 > 11@6\nexit 10@5 0\nexit 11@6 0");
    let id = table.get(key("11@6")).unwrap().id();
    let handle = table.hold(id).unwrap();
    table.advance(BootTime::from_nanos(10 * grace));
    assert_eq!(table.entry(id).unwrap().ancestors().count(), 2);
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
    let _ = apply(&mut table, "running 5@5 /a");
    table.advance(BootTime::from_nanos(4 * grace));
    assert!(table.get(key("5@5")).is_some());
}

#[test]
fn a_chain_a_million_deep_is_walked_and_dropped_without_recursion() {
    let mut table = Table::new(TableConfig { grace: Duration::ZERO, budget: 512 << 20, seed: 0 });
    let link = |n: u32| ProcessKey::new(Pid(n), BootTime::from_nanos(u64::from(n)));
    for n in 1..1_000_000 {
        let child = link(n + 1);
        let fork = Fork {
            child: subject(child, child.start),
            parent: link(n).into(),
            parent_tid: Pid(n),
            owner: link(n).into(),
            context: Context::default(),
        };
        let _ = table.apply(&Event { time: BootTime::from_nanos(1), kind: EventKind::Fork(fork) });
    }
    let deepest = table.get(link(1_000_000)).unwrap();
    assert_eq!(deepest.ancestors().count(), 999_999);
    for n in 1..=1_000_000 {
        let exit = Exit {
            process: subject(link(n), link(n).start),
            tid: Pid(n),
            owner: ProcessKey::NONE.into(),
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
            let _ = apply(&mut table, story[step]);
        }
        let ended = table.get(key("10@7")).map(procession::Entry::snapshot);
        let shown = show(&table);
        let known_by_last_key = ended.is_some_and(|process| process.end.is_some());
        assert_eq!(table.live(), if known_by_last_key { 1 } else { 2 }, "{order:?}\n{shown}");
        for process in
            table.entries().map(procession::Entry::snapshot).filter(|process| process.pid() == Pid(10))
        {
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
        for entry in table.entries() {
            prop_assert!(entry.ancestors().count() <= table.len());
            prop_assert!(entry.reference_lineage().count() <= table.len());
            if entry.is_running() {
                let pid = entry.key().pid;
                prop_assert!(live.insert(pid), "two live images of {pid}");
            }
        }
        prop_assert_eq!(live.len(), table.live());

        let ends: Vec<_> = table.entries().filter(|entry| entry.is_running()).map(|entry| {
            let (key, began) = (entry.key(), entry.began());
            format!("exit {}@{} 0 began {}", key.pid, key.start.as_nanos(), began.as_nanos())
        }).collect();
        let _ = apply(&mut table, &ends.join("\n"));
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
