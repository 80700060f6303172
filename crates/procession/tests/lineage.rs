//! Who started whom, who owns it, whose session it is, and what came of a process.

mod support;

use std::collections::BTreeSet;

use procession::{
    Context, Entry, Event, EventKind, Fork, Namespaces, Origin, Pid, Provenance, Relative, Retention,
    Subject, Table,
};
use proptest::prelude::*;

use support::{apply, check, key, let_grace_pass, show_key, table, table_with_budget};

/// A shell that starts a helper before its first exec, one after it, and one after its second.
const FAMILY: &str = "
    running 1@1 /sbin/init
    fork 1@1 > 10@5
    fork 10@5 > 11@6
    exec 10@5 > 10@7 /bin/sh < 1@1
    fork 10@7 > 12@8
    exec 10@7 > 10@9 /bin/bash < 1@1 began 5
    fork 10@9 > 13@10
    fork 13@10 > 14@11
    exit 13@10 0";

fn entry<'t>(table: &'t Table, name: &str) -> Entry<'t> {
    table.get(key(name)).expect(name)
}

fn names<'t>(entries: impl Iterator<Item = Entry<'t>>) -> String {
    let mut names: Vec<_> = entries.map(|entry| show_key(entry.key())).collect();
    names.sort();
    names.join(" ")
}

#[test]
fn children_are_those_of_all_images_and_descendants_those_of_the_dead_too() {
    let table = table(FAMILY);
    for image in ["10@5", "10@7", "10@9"] {
        let shell = entry(&table, image);
        assert_eq!(names(shell.children()), "11@6 12@8", "{image}");
        assert_eq!(names(shell.descendants()), "11@6 12@8 14@11", "{image}");
    }
    assert_eq!(names(entry(&table, "1@1").descendants()), "10@9 11@6 12@8 14@11");
    assert!(entry(&table, "14@11").descends_from(entry(&table, "10@7")));
}

#[test]
fn an_image_is_kept_with_the_one_that_replaced_it_and_each_is_who_forked() {
    let table = table(FAMILY);
    let forked_by = |child| entry(&table, child).parent().map(|parent| show_key(parent.key()));
    assert_eq!(forked_by("11@6").as_deref(), Some("10@5"));
    assert_eq!(forked_by("12@8").as_deref(), Some("10@7"));
    assert_eq!(forked_by("13@10").as_deref(), Some("10@9"));
    let images = std::iter::successors(Some(entry(&table, "10@9")), |entry| entry.previous());
    assert_eq!(names(images), "10@5 10@7 10@9");
    // The reference's rule skips what is only shared since the fork.
    let parent = entry(&table, "10@7").reference_parent();
    assert_eq!(parent.map(|parent| show_key(parent.key())).as_deref(), Some("1@1"));
}

#[test]
fn a_fork_told_after_the_exec_finds_the_image_that_forked() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/sh < 1@1
         fork 10@5 > 11@6",
        "10@5 Fork /sbin/init < 1@1 Observed Replaced
         10@7 FirstExec /bin/sh < 1@1 Observed
         11@6 Fork /sbin/init < 10@5 Observed
         1@1 Running /sbin/init",
    );
}

#[test]
fn children_from_before_an_exec_that_was_missed_stay_children() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 11@6");
    let _ = apply(&mut table, "change 10@7 uid 1000 began 5");
    assert_eq!(names(entry(&table, "10@7").children()), "11@6");
    let parent = entry(&table, "10@7").reference_parent();
    assert_eq!(parent.map(|parent| show_key(parent.key())).as_deref(), Some("1@1"));
}

#[test]
fn who_is_followed_is_followed_through_an_exec() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nexec 10@5 > 10@6 /bin/sh < 1@1");
    let id = entry(&table, "10@6").id();
    table.follow(id);
    let _ = apply(&mut table, "exec 10@6 > 10@7 /bin/bash < 1@1 began 5\nfork 10@7 > 11@8");
    assert!(entry(&table, "10@7").is_followed() && entry(&table, "11@8").is_followed());
    assert!(!entry(&table, "1@1").is_followed());
}

#[test]
fn a_process_known_to_the_tick_is_the_one_known_to_the_nanosecond() {
    let table = table(
        "running 1@1 /sbin/init
         running 10@50000000 /bin/sh < 1@1 ticks
         exec 10@50000003 > 10@70000007 /bin/bash < 1@1 began 50000003
         fork 10@70000007 > 11@80000000",
    );
    let found = entry(&table, "10@50000000");
    assert_eq!(found.current().map(|it| show_key(it.key())).as_deref(), Some("10@70000007"));
    assert!(entry(&table, "11@80000000").descends_from(found));
}

#[test]
fn a_parent_of_which_everything_was_missed_is_not_taken_for_who_had_the_pid_before() {
    let mut table = table("running 1@1 /sbin/init\nrunning 2@2 /bin/sh < 1@1\nfork 2@2 > 10@5");
    // 10@22 is another process, which began at 20 and ran an exec: its fork and the exit of 10@5 are lost.
    let (parent, child) = (key("10@22"), key("11@25"));
    let fork = Fork {
        child: Subject::exact(child, child.start),
        parent: Relative { key: parent, began: Some(key("10@20").start) },
        parent_tid: parent.pid,
        owner: parent.into(),
        ..Fork::default()
    };
    let _ = table.apply(&Event { time: child.start, kind: EventKind::Fork(fork) });
    let parent = entry(&table, "11@25").parent().expect("it is inferred");
    assert_eq!((show_key(parent.key()).as_str(), parent.origin()), ("10@22", Origin::Inferred));
    assert!(!parent.is_running() || entry(&table, "10@5").has_exited(), "one of the two has vanished");
}

#[test]
fn a_source_that_names_processes_by_their_begin_means_what_they_run_now() {
    let table = table(
        "running 1@1 /sbin/init ticks
         running 10@50000000 /bin/sh < 1@1 ticks
         exec 10@50000000 > 10@70000007 /bin/bash < 1@1 ticks
         fork 10@50000000 > 11@80000000 ticks",
    );
    assert_eq!(entry(&table, "11@80000000").binary(), b"/bin/bash");
}

#[test]
fn every_entry_says_why_it_is_there() {
    let mut table = table(FAMILY);
    let why = |table: &Table, name: &str| entry(table, name).retention();
    assert_eq!(why(&table, "10@9"), Retention::Running);
    assert!(matches!(why(&table, "13@10"), Retention::Grace { .. }));
    let handle = table.hold(entry(&table, "13@10").id());
    let_grace_pass(&mut table);
    assert_eq!(why(&table, "13@10"), Retention::Held { handles: 1 });
    drop(handle);
    let_grace_pass(&mut table);
    assert_eq!(why(&table, "13@10"), Retention::Needed { by: 1 }, "its child lives");
    assert_eq!(why(&table, "10@7"), Retention::Needed { by: 2 }, "a child, and the image after it");
}

#[test]
fn an_orphan_is_owned_by_whom_the_kernel_names_and_until_then_by_init() {
    let mut table = table(
        "running 1@1 /sbin/init
         running 2@2 /bin/subreaper < 1@1
         fork 2@2 > 10@5
         fork 10@5 > 11@6",
    );
    let owner = |table: &Table| {
        let owner = entry(table, "11@6").owner().expect("somebody");
        (show_key(owner.key), owner.provenance)
    };
    assert_eq!(owner(&table), ("10@5".to_owned(), Provenance::Observed));
    let _ = apply(&mut table, "exec 10@5 > 10@7 /bin/sh < 2@2");
    assert_eq!(owner(&table), ("10@7".to_owned(), Provenance::Observed), "the image that runs now");
    let _ = apply(&mut table, "exit 10@7 0 began 5");
    assert_eq!(owner(&table), ("1@1".to_owned(), Provenance::Inferred));
    let _ = apply(&mut table, "running 11@6 /bin/sh < 2@2");
    assert_eq!(owner(&table), ("2@2".to_owned(), Provenance::Observed), "a later walk saw it");
    let _ = apply(&mut table, "exec 11@6 > 11@9 /bin/ls < 2@2");
    let orphan = entry(&table, "11@9");
    assert_eq!(orphan.owner().map(|owner| show_key(owner.key)).as_deref(), Some("2@2"));
    assert_eq!(orphan.parent().map(|parent| show_key(parent.key())).as_deref(), Some("10@5"));
}

/// The pid of an owner comes again: whoever has it then has inherited nothing.
#[test]
fn who_has_the_pid_of_a_dead_owner_is_no_owner() {
    let owner = |events: &str| {
        let mut table = table(
            "running 1@1 /sbin/init
             running 50@2 /bin/subreaper < 1@1
             fork 50@2 > 10@5
             fork 10@5 > 11@6",
        );
        let _ = apply(&mut table, events);
        let owner = entry(&table, "11@6").owner().expect("somebody");
        (show_key(owner.key), owner.provenance)
    };
    let orphaned = "exit 10@5 0\nrunning 11@6 /bin/sh < 50@2";
    assert_eq!(owner(orphaned), ("50@2".to_owned(), Provenance::Observed));
    let heir = ("1@1".to_owned(), Provenance::Inferred);
    assert_eq!(owner(&format!("{orphaned}\nexit 50@2 0\nfork 1@1 > 50@100000000")), heir);
    // The exit was missed.
    assert_eq!(owner(&format!("{orphaned}\nfork 1@1 > 50@100000000")), heir);
    // Named by an image that it ran later than it began, and by one that it has replaced since.
    let execs = "exec 50@2 > 50@7 /bin/subreaper < 1@1\nexit 10@5 0\nrunning 11@6 /bin/sh < 50@7";
    assert_eq!(owner(execs), ("50@7".to_owned(), Provenance::Observed));
    let execs = format!("{execs}\nexec 50@7 > 50@9 /bin/subreaper < 1@1 began 2");
    assert_eq!(owner(&execs), ("50@7".to_owned(), Provenance::Observed));
    assert_eq!(owner(&format!("{execs}\nexit 50@9 0 began 2\nfork 1@1 > 50@100000000")), heir);
}

/// Who knows times to the tick names an owner by the tick in which it began.
#[test]
fn an_owner_known_to_the_tick_is_the_process_that_began_in_it() {
    let mut table = table("running 1@0 /sbin/init ticks\nrunning 10@20000000 /bin/sh < 1@0 ticks");
    let _ = apply(&mut table, "running 50@10000003 /bin/subreaper < 1@0");
    let _ = apply(&mut table, "running 10@20000000 /bin/sh < 50@10000000 ticks");
    let owner = entry(&table, "10@20000000").owner().expect("somebody");
    assert_eq!((show_key(owner.key).as_str(), owner.provenance), ("50@10000000", Provenance::Observed));
    let _ = apply(&mut table, "exit 50@10000003 0\nfork 1@0 > 50@30000000");
    let owner = entry(&table, "10@20000000").owner().expect("somebody");
    assert_ne!((owner.key.pid.0, owner.provenance), (50, Provenance::Observed));
}

#[test]
fn an_orphan_of_a_pid_namespace_goes_to_the_first_process_there() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 2@2");
    // The runtime starts the container's first process, which starts two generations; later the
    // runtime starts one more in the same namespace, and stays outside itself.
    let forks = [("2@2", "10@5", 1), ("10@5", "11@6", 2), ("11@6", "12@7", 3), ("2@2", "13@8", 4)];
    for (parent, child, ns_pid) in forks {
        let namespaces = Some(Namespaces { pid: 77, ..Namespaces::default() });
        let context = Context { ns_pid: Some(Pid(ns_pid)), namespaces, ..Context::default() };
        let child = Subject::exact(key(child), key(child).start);
        let kind = EventKind::Fork(Fork { child, parent: key(parent).into(), context, ..Fork::default() });
        let _ = table.apply(&Event { time: child.key.start, kind });
    }
    let _ = apply(&mut table, "exec 10@5 > 10@20 /sbin/tini < 2@2\nexit 11@6 0\nexit 2@2 0");
    let owner = |name: &str| {
        let owner = entry(&table, name).owner().expect("somebody");
        (show_key(owner.key), owner.provenance)
    };
    assert_eq!(owner("12@7"), ("10@20".to_owned(), Provenance::Inferred), "in the image that it runs now");
    assert_eq!(owner("13@8"), ("1@1".to_owned(), Provenance::Inferred), "its parent was outside");
    assert_eq!(owner("10@20"), ("1@1".to_owned(), Provenance::Inferred));
}

#[test]
fn the_root_of_a_session_is_found_among_those_that_led_to_a_process() {
    let mut table = table(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         change 10@5 session 10
         exec 10@5 > 10@7 /bin/bash < 1@1
         fork 10@7 > 11@8
         exec 11@8 > 11@9 /bin/sleep < 10@7
         fork 10@7 > 12@10
         change 12@10 session 12",
    );
    let root = |table: &Table, name: &str| entry(table, name).session_root().map(|root| show_key(root.key()));
    assert_eq!(root(&table, "10@7").as_deref(), Some("10@7"));
    assert_eq!(root(&table, "11@9").as_deref(), Some("10@7"));
    assert_eq!(root(&table, "12@10").as_deref(), Some("12@10"));
    assert_eq!(root(&table, "1@1"), None);
    // The leader may have gone.
    let _ = apply(&mut table, "exit 10@7 0 began 5");
    let_grace_pass(&mut table);
    assert_eq!(root(&table, "11@9").as_deref(), Some("10@7"));
}

/// Under pressure the dead lose their lists of children, and the answer stays the same.
#[test]
fn descendants_are_complete_with_tombstones_in_between() {
    let mut table = table_with_budget(0);
    let _ = apply(&mut table, "running 1@1 /sbin/init\nfork 1@1 > 2@2");
    for n in 2..2_000 {
        let _ = apply(&mut table, &format!("fork {n}@{n} > {next}@{next}\nexit {n}@{n} 0", next = n + 1));
    }
    let _ = apply(&mut table, "fork 1@1 > 3000@3000");
    let filler = "x".repeat(60_000);
    for n in 0..14 {
        let _ = apply(&mut table, &format!("running {}@9000 /{filler}{n}", 4_000 + n));
    }
    assert!(table.explain().tombstones > 0, "{:?}", table.explain());
    assert_eq!(names(entry(&table, "1@1").descendants()), "2000@2000 3000@3000");
}

proptest! {
    /// Against the definition: whoever has the process among its ancestors.
    #[test]
    fn descendants_are_all_who_descend(
        steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..200),
    ) {
        let mut table = table("running 1@1 /sbin/init");
        let mut live = vec![(1, 1, 1)];
        for (n, (kind, which)) in (2..).zip(steps) {
            let place = which.index(live.len());
            let (pid, start, began) = live[place];
            let line = match kind {
                0 | 1 => {
                    live.push((n, n, n));
                    format!("fork {pid}@{start} > {n}@{n}")
                }
                2 if pid != 1 => {
                    live[place].1 = n;
                    format!("exec {pid}@{start} > {pid}@{n} /x < 1@1 began {began}")
                }
                _ if pid != 1 => {
                    live.swap_remove(place);
                    format!("exit {pid}@{start} 0 began {began}")
                }
                _ => continue,
            };
            let _ = apply(&mut table, &line);
        }
        for of in table.entries() {
            let told: BTreeSet<_> = of.descendants().map(|entry| entry.key().pid.0).collect();
            let meant = table.entries().filter(|entry| entry.is_running() && entry.descends_from(of));
            prop_assert_eq!(told, meant.map(|entry| entry.key().pid.0).collect());
        }
    }
}
