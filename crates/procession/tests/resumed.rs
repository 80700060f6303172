//! A table that goes on from a checkpoint, told by a source that has lost what it kept of each process: it
//! names what ran before by when the process began, though the table knows a later image.

mod support;

use procession::{
    Applied, BootTime, Context, Event, EventKind, Exec, Exit, FactKind, FileIdentity, Fork, Gap, Nature,
    Outcome, Precision, Program, Relative, Running, Spell, Subject, Survey, Suspects, Table, TableConfig,
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
    survey.saw_running(running);
    let suspects = table.suspects(&survey);
    let Suspects { missing, changed, doubtful, .. } = &suspects;
    let told = [missing, changed, doubtful].into_iter().flatten().map(|_| {
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

/// A program in its file, which may have been read from a process that calls itself `comm`.
fn program(inode: u64, executable: &'static str, comm: &'static str) -> Program<'static> {
    let file = (inode != 0).then_some(FileIdentity { inode, device: 8, ..FileIdentity::default() });
    let executable = executable.as_bytes();
    Program { binary: executable, executable, comm: comm.as_bytes(), file, ..Program::default() }
}

const BASH: fn() -> Program<'static> = || program(1, "/usr/bin/bash", "bash");
const EVIL: fn() -> Program<'static> = || program(2, "/tmp/evil", "evil");

/// [`WORLD`], but that 10 was told to run `/usr/bin/bash` since 7 by who knows times so exactly.
fn world_with_bash(precision: Precision) -> Table {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5");
    let process = Subject { precision, ..subject(key("10@7"), key("10@5").start) };
    let replaces = Some(key("10@5"));
    let exec = Exec { process, replaces, owner: key("1@1").into(), program: BASH(), ..Exec::default() };
    let _ = table.apply(&Event { time: key("0@7").start, kind: EventKind::Exec(exec) });
    let _ = apply(&mut table, "fork 10@7 > 11@8");
    table
}

/// 10, as it is found by somebody who knows only when it began.
fn looked(program: Program<'static>) -> Running<'static> {
    let process = subject(key("10@5"), key("10@5").start);
    Running { process, owner: key("1@1").into(), program, ..Running::default() }
}

/// What a look at 10 at 50 finds, that all others run what they did.
fn suspects_of(table: &Table, running: &Running<'_>) -> Suspects {
    let mut survey = Survey::new(key("0@50").start);
    for entry in table.entries().filter(|entry| entry.is_running() && entry.key().pid.0 != 10) {
        survey.saw(subject(entry.key(), entry.began()));
    }
    survey.saw_running(running);
    let suspects = table.suspects(&survey);
    assert!(suspects.doubtful.is_empty() || table.runs_other_program(running));
    suspects
}

fn tell(table: &mut Table, at: u64, running: &Running<'_>) -> Applied {
    let running = Running { gap: Some(Gap::Absence), ..*running };
    let applied = table.apply(&Event { time: BootTime::from_nanos(at), kind: EventKind::Running(running) });
    check_ledger(table);
    applied
}

/// An exec that nobody saw shows in the program. The image has the name under which it was found, and keeps it.
#[test]
fn an_exec_that_nobody_saw_is_found_and_marked() {
    let mut table = world_with_bash(Precision::Nanoseconds);
    let running = looked(EVIL());
    let suspects = suspects_of(&table, &running);
    assert_eq!(suspects.doubtful, [running.process]);
    assert!(!suspects.is_empty());
    let applied = tell(&mut table, 51, &running);
    assert_eq!((applied.outcome, applied.kind), (Outcome::Applied, Some(FactKind::Running)));
    let expected = "10@51 Found(Absence) /tmp/evil < 1@1 Observed after 10@7
10@7 FirstExec /usr/bin/bash < 1@1 Observed Replaced
11@8 Fork /usr/bin/bash < 10@7 Observed
1@1 Running /sbin/init";
    assert_eq!(show(&table), expected);
    assert_eq!(suspects_of(&table, &running), Suspects::default(), "who looks again finds nothing");
    assert_eq!(tell(&mut table, 60, &running).outcome, Outcome::Duplicate);
    assert_eq!(show(&table), expected, "nor gives it another name");
    let restored = Table::restore(&table.checkpoint());
    assert_eq!(show(&restored), expected);
}

/// Its source goes on naming it by its begin.
#[test]
fn what_comes_after_is_of_the_image_that_was_found() {
    for precision in [Precision::Nanoseconds, Precision::Ticks] {
        for found_by in [Precision::Nanoseconds, Precision::Ticks] {
            // Ticks apart from its begin.
            let at = 20_000_000;
            let found = || {
                let mut table = world_with_bash(precision);
                let mut running = looked(EVIL());
                running.process.precision = found_by;
                let _ = tell(&mut table, at, &running);
                table
            };
            let told = |events: &str| {
                let mut table = found();
                let outcomes = apply(&mut table, events);
                assert!(outcomes.iter().all(|it| *it == Outcome::Applied), "{events} {outcomes:?}");
                show(&table)
            };
            let after = told("30000000: exit 10@5 3 < 1@1");
            let expected = "10@20000000 Found(Absence) /tmp/evil < 1@1 Observed after 10@7 exited 3";
            assert!(after.contains(expected), "{precision:?} {found_by:?} {after}");
            let after = told("30000000: exec 10@5 > 10@30000000 /bin/ls < 1@1");
            let expected = "10@30000000 Exec /bin/ls < 1@1 Observed after 10@20000000";
            assert!(after.contains(expected), "{precision:?} {found_by:?} {after}");
            let mut table = found();
            let child = subject(key("12@30000000"), key("12@30000000").start);
            let fork = Fork { child, parent: by_begin(), owner: by_begin(), ..Fork::default() };
            let _ = table.apply(&Event { time: child.began, kind: EventKind::Fork(fork) });
            let after = show(&table);
            let expected = "12@30000000 Fork /tmp/evil < 10@20000000 Observed";
            assert!(after.contains(expected), "{precision:?} {found_by:?} {after}");
        }
    }
}

/// A process that was forked, or found by its begin, has that name: what it runs later has another.
#[test]
fn an_image_that_began_with_its_process_is_replaced_too() {
    let by_begin = |line: &str| {
        let mut table = table("running 1@1 /sbin/init");
        let bash =
            Running { process: subject(key("1@1"), key("1@1").start), program: BASH(), ..Running::default() };
        if line.starts_with("fork") {
            table = Table::new(TableConfig::default());
            let _ = table.apply(&Event { time: key("0@1").start, kind: EventKind::Running(bash) });
            let _ = apply(&mut table, line);
        } else {
            let running = looked(BASH());
            let _ = table.apply(&Event { time: key("0@6").start, kind: EventKind::Running(running) });
        }
        assert_eq!(suspects_of(&table, &looked(BASH())), Suspects::default());
        assert_eq!(suspects_of(&table, &looked(EVIL())).doubtful.len(), 1);
        assert_eq!(tell(&mut table, 51, &looked(EVIL())).outcome, Outcome::Applied);
        assert_eq!(suspects_of(&table, &looked(EVIL())), Suspects::default());
        show(&table)
    };
    let found = by_begin("found");
    assert!(found.contains("10@51 Found(Absence) /tmp/evil < 1@1 Found after 10@5"), "{found}");
    let forked = by_begin("fork 1@1 > 10@5");
    assert!(forked.contains("10@51 Found(Absence) /tmp/evil < 1@1 Observed"), "{forked}");
    assert!(!forked.contains("10@5 "), "the image since the fork says nothing of its own: {forked}");
    let parent = by_begin("fork 1@1 > 10@5\nfork 10@5 > 11@6");
    assert!(parent.contains("10@5 Fork /usr/bin/bash < 1@1 Observed Replaced"), "{parent}");
    assert!(parent.contains("11@6 Fork /usr/bin/bash < 10@5 Observed"), "{parent}");
}

/// Only what is certain counts.
#[test]
fn a_file_that_was_moved_and_a_name_that_a_process_gave_itself_are_no_exec() {
    use Precision::{Nanoseconds as Exact, Ticks};
    let kernel_thread = Program { nature: Nature::KernelThread, ..program(0, "", "evil") };
    // Who told of the exec, who looked, and what that saw.
    let cases = [
        ("the file was moved, and it calls itself otherwise", Exact, Exact, program(1, "/tmp/x", "y"), false),
        ("another file in its place", Exact, Exact, program(2, "/usr/bin/bash", "bash"), true),
        ("another that poses as the first", Exact, Exact, program(2, "/tmp/bash", "bash"), true),
        ("nobody said which file", Exact, Exact, program(0, "/tmp/evil", "evil"), true),
        ("from another root", Exact, Exact, program(0, "/run/root/usr/bin/bash", "bash"), false),
        ("a path that was cut", Exact, Exact, program(0, "bin/bash", "bash"), false),
        ("a path that was cut, and its own name", Exact, Exact, program(0, "bin/bash", "-"), false),
        ("deleted", Exact, Exact, program(0, "/usr/bin/bash (deleted)", "main"), false),
        ("moved", Exact, Exact, program(0, "/usr/bin/bash.old", "bash"), false),
        ("moved, and numbered otherwise", Exact, Ticks, program(9, "/usr/bin/bash.old", "bash"), false),
        ("numbered otherwise", Exact, Ticks, program(9, "/usr/bin/bash", "main"), false),
        ("numbered otherwise, the other way round", Ticks, Exact, program(9, "/usr/bin/bash", "bash"), false),
        ("another file and name", Exact, Ticks, EVIL(), true),
        ("another file and name, the other way round", Ticks, Exact, EVIL(), true),
        ("another file and name, by the tick only", Ticks, Ticks, EVIL(), true),
        ("a file in memory", Exact, Exact, program(0, "/memfd:evil", "3"), true),
        ("it vanished", Exact, Ticks, program(0, "", "evil"), false),
        ("nothing said", Exact, Exact, Program::default(), false),
        ("a name only", Exact, Exact, program(0, "", "evil"), false),
        ("no program becomes a thread of the kernel", Exact, Exact, kernel_thread, false),
    ];
    for (what, told, looked_by, program, is_found) in cases {
        let mut table = world_with_bash(told);
        let mut running = looked(program);
        running.process.precision = looked_by;
        let before = show(&table);
        // Late enough that the tick does not matter.
        let mut survey = Survey::new(BootTime::from_nanos(50_000_000));
        for other in ["1@1", "11@8"] {
            survey.saw(subject(key(other), key(other).start));
        }
        survey.saw_running(&running);
        let suspects = table.suspects(&survey);
        assert_eq!(suspects.doubtful.len(), usize::from(is_found), "{what}: {suspects:?}");
        assert_eq!(suspects.is_empty(), !is_found, "{what}: {suspects:?}");
        let expected = if is_found { Outcome::Applied } else { Outcome::Duplicate };
        assert_eq!(tell(&mut table, 60_000_000, &running).outcome, expected, "{what}");
        assert_eq!(show(&table) == before, !is_found, "{what}");
    }
}

/// What a fork shares is as certain as whoever told of it.
#[test]
fn a_file_that_is_shared_since_a_fork_is_compared_as_that_of_the_one_who_forked() {
    let other_bash = program(2, "/tmp/bash", "bash");
    for (told, is_found) in [(Precision::Nanoseconds, true), (Precision::Ticks, false)] {
        let mut table = world_with_bash(told);
        let _ = apply(&mut table, "fork 11@8 > 12@9");
        let process = subject(key("12@9"), key("12@9").start);
        let running = Running { process, program: other_bash, ..Running::default() };
        assert_eq!(table.runs_other_program(&running), is_found, "{told:?}");
        assert!(!table.runs_other_program(&Running { program: BASH(), ..running }), "{told:?}");
        let expected = if is_found { Outcome::Applied } else { Outcome::Duplicate };
        assert_eq!(tell(&mut table, 51, &running).outcome, expected);
    }
}

#[test]
fn a_thread_of_the_kernel_that_runs_a_program_did_an_exec() {
    let mut table = table("running 1@1 /sbin/init");
    let thread = Program { nature: Nature::KernelThread, ..program(0, "", "kworker") };
    let thread = Program { binary: b"[kworker]", ..thread };
    let _ = table.apply(&Event { time: key("0@6").start, kind: EventKind::Running(looked(thread)) });
    let renamed = Program { comm: b"kworker/3", binary: b"[kworker/3]", ..thread };
    assert_eq!(suspects_of(&table, &looked(renamed)), Suspects::default());
    assert_eq!(suspects_of(&table, &looked(Program::default())), Suspects::default());
    assert_eq!(suspects_of(&table, &looked(EVIL())).doubtful.len(), 1);
}

/// Who looked before the exec was seen, or while somebody looked, saw what it ran until then.
#[test]
fn an_exec_that_was_seen_is_not_missed() {
    let mut table = world_with_bash(Precision::Nanoseconds);
    let before = show(&table);
    for at in [6, 7] {
        assert_eq!(tell(&mut table, at, &looked(EVIL())).outcome, Outcome::Duplicate);
        assert_eq!(show(&table), before, "{at}");
    }
    // Without a gap nothing is missing.
    let running = EventKind::Running(looked(EVIL()));
    let applied = table.apply(&Event { time: BootTime::from_nanos(40), kind: running });
    assert_eq!((applied.outcome, show(&table)), (Outcome::Duplicate, before));
    let process = subject(key("10@55"), key("10@5").start);
    let exec = Exec { process, replaces: Some(key("10@7")), program: EVIL(), ..Exec::default() };
    let _ = table.apply(&Event { time: key("0@55").start, kind: EventKind::Exec(exec) });
    assert_eq!(suspects_of(&table, &looked(BASH())), Suspects::default());
}
