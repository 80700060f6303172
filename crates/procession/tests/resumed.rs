//! A table that goes on from a checkpoint, told by a source that has lost what it kept of each process: it
//! names what ran before by when the process began, though the table knows a later image.

mod support;

use procession::{
    Context, Event, EventKind, Exec, Exit, Fork, Gap, Outcome, Relative, Running, Spell, Survey, Suspects,
    Table,
};

use support::{apply, check_ledger, key, show, subject, table, user};

/// 10 began at 5 and runs `/bin/sh` since 7; its child 11 began at 8 and runs what it runs.
const WORLD: &str = "
    running 1@1 /sbin/init
    fork 1@1 > 10@5
    exec 10@5 > 10@7 /bin/sh < 1@1
    fork 10@7 > 11@8";

fn resumed(events: &str) -> (Vec<Outcome>, String) {
    let mut table = Table::restore(&table(WORLD).checkpoint());
    let outcomes = apply(&mut table, events);
    check_ledger(&table);
    (outcomes, show(&table))
}

/// What the table knows after `kind`.
#[expect(clippy::large_types_passed_by_value, reason = "made for one call")]
fn resumed_with(world: &str, kind: EventKind<'_>) -> String {
    let mut table = Table::restore(&table(world).checkpoint());
    let _ = table.apply(&Event { time: key("0@60").start, kind });
    check_ledger(&table);
    show(&table)
}

/// 10, as a source names it that knows when it began, and nothing of what it ran since.
fn by_begin() -> Relative {
    Relative { key: key("10@5"), began: Some(key("10@5").start) }
}

const OTHERS: &str = "11@8 Fork /bin/sh < 10@7 Observed
1@1 Running /sbin/init";

#[test]
fn its_forks_are_those_of_its_latest_image() {
    let child = subject(key("12@60"), key("12@60").start);
    let fork = Fork { child, parent: by_begin(), owner: by_begin(), ..Fork::default() };
    let with_child = OTHERS.replacen('\n', "\n12@60 Fork /bin/sh < 10@7 Observed\n", 1);
    let expected = format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{with_child}");
    assert_eq!(resumed_with(WORLD, EventKind::Fork(fork)), expected);
}

/// The image since the fork may still be there, because it forked too: it is not the one that is meant.
#[test]
fn the_image_since_the_fork_is_not_taken_for_the_latest() {
    let world = "running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 11@6\nexec 10@5 > 10@7 /bin/sh < 1@1";
    let before = show(&table(world));
    assert!(before.contains("10@5 Fork"), "{before}");
    let child = subject(key("12@60"), key("12@60").start);
    let process = subject(key("10@5"), key("10@5").start);
    let fork = Fork { child, parent: by_begin(), ..Fork::default() };
    let after = resumed_with(world, EventKind::Fork(fork));
    assert!(after.contains("12@60 Fork /bin/sh < 10@7 Observed"), "{after}");
    let exit = Exit { process, ..Exit::default() };
    let after = resumed_with(world, EventKind::Exit(exit));
    assert!(after.contains("10@7 FirstExec /bin/sh < 1@1 Observed exited"), "{after}");
    let exec = Exec {
        process: subject(key("10@60"), process.began),
        replaces: Some(process.key),
        ..Exec::default()
    };
    let after = resumed_with(world, EventKind::Exec(exec));
    assert!(after.contains("10@60 Exec < 1@1 Observed after 10@7"), "{after}");
    let running = Running { process, gap: Some(Gap::Absence), ..Running::default() };
    assert_eq!(resumed_with(world, EventKind::Running(running)), before);
}

/// What happened before the exec and is told late is not meant either.
#[test]
fn what_it_forked_before_its_exec_stays_with_the_image_of_then() {
    let child = subject(key("12@6"), key("12@6").start);
    let fork = Fork { child, parent: by_begin(), ..Fork::default() };
    let after = resumed_with(WORLD, EventKind::Fork(fork));
    assert!(after.contains("12@6 Fork /sbin/init < 10@5 Observed"), "{after}");
}

#[test]
fn its_exec_replaces_its_latest_image() {
    let (outcomes, after) = resumed("60: exec 10@5 > 10@60 /bin/ls < 1@1 began 5");
    assert_eq!(outcomes, [Outcome::Applied]);
    assert_eq!(
        after,
        format!(
            "10@60 Exec /bin/ls < 1@1 Observed after 10@7\n10@7 FirstExec /bin/sh < 1@1 Observed Replaced\n{OTHERS}"
        )
    );
}

#[test]
fn its_exit_is_that_of_its_latest_image() {
    let (outcomes, after) = resumed("exit 10@5 3 < 1@1 began 5");
    assert_eq!(outcomes, [Outcome::Applied]);
    assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed exited 3\n{OTHERS}"));
}

#[test]
fn its_change_is_that_of_its_latest_image() {
    let (outcomes, after) = resumed("change 10@5 uid 7 began 5");
    assert_eq!(outcomes, [Outcome::Applied]);
    assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{OTHERS}"));
}

#[test]
fn that_it_runs_is_known() {
    for found in ["running 10@5 /bin/sh < 1@1 began 5", "found absence 10@5 /bin/sh < 1@1 began 5"] {
        let (outcomes, after) = resumed(found);
        assert_eq!(outcomes, [Outcome::Duplicate], "{found}");
        assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{OTHERS}"), "{found}");
    }
}

#[test]
fn that_it_is_not_there_ends_its_latest_image() {
    let (outcomes, after) = resumed("gone absence 10@5 began 5");
    assert_eq!(outcomes, [Outcome::Applied]);
    assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed Gone(Absence)\n{OTHERS}"));
}

/// An owner that is named so is the process too.
#[test]
fn who_is_named_as_an_owner_is_the_process() {
    let process = subject(key("13@9"), key("13@9").start);
    let running = Running { process, owner: by_begin(), gap: Some(Gap::Absence), ..Running::default() };
    let with_child = OTHERS.replacen('\n', "\n13@9 Found(Absence) < 10@7 Found\n", 1);
    let expected = format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{with_child}");
    assert_eq!(resumed_with(WORLD, EventKind::Running(running)), expected);
}

/// What a look at 10 says, at 50, of a table that goes on from `world`.
fn looked_at(world: &str, running: &Running<'_>) -> (Suspects, Vec<Outcome>, Table) {
    let mut table = Table::restore(&table(world).checkpoint());
    let mut survey = Survey::new(key("0@50").start);
    for other in ["1@1", "11@8"] {
        survey.saw(subject(key(other), key(other).start));
    }
    survey.saw_as(running.process, &running.context);
    let suspects = table.suspects(&survey);
    let told = suspects.missing.iter().chain(&suspects.changed).map(|_| {
        let running = Running { gap: Some(Gap::Absence), ..*running };
        table.apply(&Event { time: key("0@51").start, kind: EventKind::Running(running) }).outcome
    });
    let told = told.collect();
    check_ledger(&table);
    let left = table.suspects(&survey);
    assert!(left.is_empty(), "who looks again finds nothing: {left:?}");
    (suspects, told, table)
}

/// A change of rights that nobody saw, of a process that did an exec before.
#[test]
fn a_change_that_was_missed_is_found_in_its_latest_image() {
    let process = subject(key("10@5"), key("10@5").start);
    let context = Context { credentials: Some(user(0)), ..Context::default() };
    let running = Running { process, context, ..Running::default() };
    let world = format!("{WORLD}\nchange 10@7 uid 1000 began 5");
    let (suspects, told, table) = looked_at(&world, &running);
    assert_eq!((suspects.changed, told), (vec![process], vec![Outcome::Applied]));
    let entry = table.get(key("10@7")).expect("it runs");
    assert_eq!(entry.credentials(), Some(&user(0)));
    let past: Vec<_> = entry.image().expect("a program").past().iter().map(Spell::gap).collect();
    assert_eq!(past, [None, Some(Gap::Absence)], "found, and not seen");
    // What it was all the time is no news.
    let context = Context { credentials: Some(user(1000)), ..Context::default() };
    let (suspects, ..) = looked_at(&world, &Running { context, ..running });
    assert_eq!(suspects, Suspects::default());
}

/// What changed while somebody looked may have been seen before that.
#[test]
fn a_change_while_somebody_looks_is_no_suspect_in_its_latest_image() {
    let process = subject(key("10@5"), key("10@5").start);
    let context = Context { credentials: Some(user(1000)), ..Context::default() };
    let running = Running { process, context, ..Running::default() };
    for meanwhile in ["55: change 10@7 uid 0 began 5", "55: exec 10@5 > 10@55 /bin/ls < 1@1 began 5"] {
        let world = format!("{WORLD}\nchange 10@7 uid 1000 began 5\n{meanwhile}");
        let (suspects, ..) = looked_at(&world, &running);
        assert_eq!(suspects, Suspects::default(), "{meanwhile}");
    }
}
