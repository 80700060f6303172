//! Every order in which the events of one process can come, with any of them missing.
//!
//! The process 10 is forked by the shell 2 at 5, runs `/bin/ls` at 7, and exits with code 3. `init`,
//! which is 1, owns it by then. A walk finds it running `/bin/ls`.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read is a broken test")]

mod support;

use std::fmt::Write as _;

use procession::reference::parent_of_exec;
use procession::{
    BootTime, Event, EventKind, Origin, ParentLink, Pid, Process, ProcessKey, Provenance, Table, TableConfig,
};

use support::{apply, check_ledger, event, key, let_grace_pass, show, show_entry, show_key, table};

const PID: Pid = Pid(10);

const WORLD: &str = "
    running 1@1 /sbin/init
    running 2@2 /bin/sh < 1@1";

type Steps = [(&'static str, &'static str); 4];

const STEPS: Steps = [
    ("fork", "fork 2@2 > 10@5"),
    ("exec", "exec 10@5 > 10@7 /bin/ls < 1@1"),
    ("exit", "exit 10@7 3 < 1@1 began 5"),
    ("walk", "running 10@7 /bin/ls < 1@1 began 5"),
];

/// The same with a walk over `/proc`, which knows only in which clock tick the process began, and
/// calls whatever it runs by that.
const STEPS_WITH_PROC: Steps = [
    ("fork", "fork 2@2 > 10@50000005"),
    ("exec", "exec 10@50000005 > 10@70000007 /bin/ls < 1@1"),
    ("exit", "exit 10@70000007 3 < 1@1 began 50000005"),
    ("walk", "running 10@50000000 /bin/ls < 1@1 ticks"),
];

/// A later process of the same pid.
const LATER: [&str; 3] =
    ["fork 2@2 > 10@20", "exec 10@20 > 10@22 /bin/ps < 2@2", "exit 10@22 4 < 2@2 began 20"];

const LATER_ENTRIES: [&str; 1] = ["10@22 FirstExec /bin/ps < 2@2 Observed"];

/// The entries of pid 10, and below them the orders that lead to them with the outcome of each event.
const RESULTS: &str = "
    10@5 Fork /bin/sh < 2@2 Observed
        fork: applied

    10@7 FirstExec /bin/ls < 1@1 Inferred
        exec: applied
        exec walk: applied duplicate

    10@7 Inferred < 1@1 Inferred exited 3
        exit: applied

    10@7 Running /bin/ls < 1@1 Found
        walk: applied

    10@7 FirstExec /bin/ls < 2@2 Observed owned by 1@1
        fork exec: applied applied
        exec fork: applied late
        fork exec walk: applied applied duplicate
        fork walk exec: applied applied late
        exec fork walk: applied late duplicate
        exec walk fork: applied duplicate late
        walk fork exec: applied late late
        walk exec fork: applied late late

    10@7 Inferred < 2@2 Observed owned by 1@1 exited 3
        fork exit: applied applied
        exit fork: applied late

    10@7 Running /bin/ls < 2@2 Observed owned by 1@1
        fork walk: applied applied
        walk fork: applied late

    10@7 FirstExec /bin/ls < 1@1 Inferred exited 3
        exec exit: applied applied
        exit exec: applied late
        exec exit walk: applied applied duplicate
        exec walk exit: applied duplicate applied
        exit exec walk: applied late duplicate
        exit walk exec: applied late late

    10@7 FirstExec /bin/ls < 1@1 Found
        walk exec: applied late

    10@7 Running /bin/ls < 1@1 Found exited 3
        walk exit: applied applied

    10@7 Running /bin/ls < 1@1 Inferred exited 3
        exit walk: applied late

    10@7 FirstExec /bin/ls < 2@2 Observed owned by 1@1 exited 3
        fork exec exit: applied applied applied
        fork exit exec: applied applied late
        exit fork exec: applied late late
        exec fork exit: applied late applied
        exec exit fork: applied applied late
        exit exec fork: applied late late
        fork exec exit walk: applied applied applied duplicate
        fork exec walk exit: applied applied duplicate applied
        fork walk exec exit: applied applied late applied
        fork exit exec walk: applied applied late duplicate
        fork exit walk exec: applied applied late late
        fork walk exit exec: applied applied applied late
        exit fork exec walk: applied late late duplicate
        exit fork walk exec: applied late late late
        exit walk fork exec: applied late late late
        walk fork exec exit: applied late late applied
        walk fork exit exec: applied late applied late
        walk exec fork exit: applied late late applied
        exec fork exit walk: applied late applied duplicate
        exec fork walk exit: applied late duplicate applied
        exec exit fork walk: applied applied late duplicate
        exec exit walk fork: applied applied duplicate late
        exec walk fork exit: applied duplicate late applied
        exec walk exit fork: applied duplicate applied late
        exit exec fork walk: applied late late duplicate
        exit exec walk fork: applied late duplicate late
        exit walk exec fork: applied late late late
        walk exec exit fork: applied late applied late
        walk exit fork exec: applied applied late late
        walk exit exec fork: applied applied late late

    10@7 Running /bin/ls < 2@2 Observed owned by 1@1 exited 3
        walk fork exit: applied late applied
        exit fork walk: applied late late
        exit walk fork: applied late late
        walk exit fork: applied applied late
        fork exit walk: applied applied late
        fork walk exit: applied applied applied

    10@7 FirstExec /bin/ls < 1@1 Found exited 3
        walk exec exit: applied late applied
        walk exit exec: applied applied late
";

type Rule = fn(order: &[&str], table: &Table) -> bool;

/// What must hold whatever the order.
const RULES: [(&str, Rule); 6] = [
    ("ended", an_exit_is_final),
    ("parent", the_fork_names_the_parent),
    ("owner", the_owner_is_known),
    ("program", the_program_is_known),
    ("name", the_last_image_is_known_by_its_name),
    ("first", the_first_exec_is_told_from_later_ones),
];

fn an_exit_is_final(order: &[&str], table: &Table) -> bool {
    table.get_live(PID).is_none() == order.contains(&"exit")
}

fn the_fork_names_the_parent(order: &[&str], table: &Table) -> bool {
    let expected = Some(ParentLink { key: key("2@2"), provenance: Provenance::Observed });
    !order.contains(&"fork") || images(table).iter().all(|image| image.parent == expected)
}

fn the_owner_is_known(order: &[&str], table: &Table) -> bool {
    let init = key("1@1");
    let is_owner = |image: Process| image.owner.or(image.parent.map(|link| link.key)) == Some(init);
    order == ["fork"] || images(table).into_iter().max_by_key(|image| image.key.start).is_some_and(is_owner)
}

fn the_program_is_known(order: &[&str], table: &Table) -> bool {
    let is_told = order.contains(&"exec") || order.contains(&"walk");
    !is_told || images(table).iter().any(|image| image.binary() == b"/bin/ls")
}

fn the_last_image_is_known_by_its_name(order: &[&str], table: &Table) -> bool {
    order == ["fork"] || table.get(key("10@7")).is_some()
}

/// The reference calls what forked a process its parent after the first exec, and the replaced
/// image after any later one.
fn the_first_exec_is_told_from_later_ones(order: &[&str], table: &Table) -> bool {
    let is_told = order.contains(&"fork") && order.contains(&"exec");
    !is_told || images(table).iter().all(|image| image.previous.is_none() && image.origin != Origin::Exec)
}

/// A row of [`RESULTS`]: the entries of pid 10 after these events, and what became of each.
struct Row {
    order: Vec<&'static str>,
    entries: Vec<&'static str>,
    outcomes: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let (mut rows, mut entries, mut is_complete) = (Vec::new(), Vec::new(), false);
    for line in RESULTS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((order, outcomes)) = line.split_once(": ") {
            is_complete = true;
            let (order, outcomes) = (order.split(' ').collect(), outcomes.split(' ').collect());
            rows.push(Row { order, entries: entries.clone(), outcomes });
        } else {
            if std::mem::take(&mut is_complete) {
                entries.clear();
            }
            entries.push(line);
        }
    }
    rows
}

#[test]
fn every_order_has_its_row() {
    let mut expected = every_order();
    let mut found: Vec<_> = rows().into_iter().map(|row| row.order).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_order_has_a_defined_result() {
    for row in rows() {
        check_ledger(&told(STEPS_WITH_PROC, &row.order).0);
        let (table, outcomes) = told(STEPS, &row.order);
        check_ledger(&table);
        assert_eq!(entries(&table), row.entries, "{:?}", row.order);
        assert_eq!(outcomes, row.outcomes, "{:?}", row.order);
    }
}

#[track_caller]
fn holds_in_every_order(name: &str) {
    let (_, rule) = RULES.into_iter().find(|(other, _)| *other == name).unwrap();
    let mut broken = String::new();
    for (walk, steps) in [("walk", STEPS), ("walk over /proc", STEPS_WITH_PROC)] {
        // Who does not know when an image began has no name for it, and cannot tell whether it is
        // the one that is known.
        if steps == STEPS_WITH_PROC && !["ended", "parent"].contains(&name) {
            continue;
        }
        for order in every_order().into_iter().filter(|order| !rule(order, &told(steps, order).0)) {
            writeln!(broken, "{}", order.join(" ").replace("walk", walk)).unwrap();
        }
    }
    assert!(broken.is_empty(), "{name} is broken by\n{broken}");
}

#[test]
fn an_exit_is_final_in_every_order() {
    holds_in_every_order("ended");
}

#[test]
fn the_fork_names_the_parent_in_every_order() {
    holds_in_every_order("parent");
}

#[test]
fn the_owner_is_known_in_every_order() {
    holds_in_every_order("owner");
}

#[test]
fn the_program_is_known_in_every_order() {
    holds_in_every_order("program");
}

#[test]
fn the_last_image_is_known_by_its_name_in_every_order() {
    holds_in_every_order("name");
}

#[test]
fn the_first_exec_is_told_from_later_ones_in_every_order() {
    holds_in_every_order("first");
}

#[test]
fn an_exec_after_the_walk_still_tells_what_it_changed() {
    let mut table = told(STEPS, &["fork", "walk"]).0;
    let EventKind::Exec(mut exec) = event(STEPS[1].1) else { panic!("not an exec") };
    exec.program.privileges.setuid = true;
    let applied = table.apply(&Event { time: table.now(), kind: EventKind::Exec(exec) });
    let process = applied.process.and_then(|id| table.process(id)).unwrap();
    assert!(process.image.unwrap().privileges().setuid);
    // The same without the fork, which makes the walk's entry the first that is heard.
    let mut table = told(STEPS, &["walk"]).0;
    let applied = table.apply(&Event { time: table.now(), kind: EventKind::Exec(exec) });
    let process = applied.process.and_then(|id| table.process(id)).unwrap();
    assert!(process.image.unwrap().privileges().setuid);
}

/// Whatever came before, a later process of the same pid is another one, and nothing stays for ever.
#[test]
fn a_later_process_of_the_pid_is_another_one() {
    for order in every_order() {
        let (mut table, _) = told(STEPS, &order);
        let before = entries(&table);
        let _ = apply(&mut table, &LATER[..2].join("\n"));
        let (later, earlier): (Vec<_>, Vec<_>) =
            images(&table).into_iter().partition(|image| image.began == key("10@20").start);
        assert_eq!(sorted(&later), LATER_ENTRIES, "{order:?}");
        let gone: Vec<_> = before
            .iter()
            .map(|entry| {
                let has_ended = ["Replaced", "exited 3"].iter().any(|end| entry.ends_with(end));
                if has_ended { entry.clone() } else { format!("{entry} Vanished") }
            })
            .collect();
        assert_eq!(sorted(&earlier), gone, "{order:?}");

        let _ = apply(&mut table, LATER[2]);
        let_grace_pass(&mut table);
        assert!(images(&table).is_empty(), "{order:?}: {:?}", entries(&table));
    }
}

/// One live image at most, balanced books, and no leak once the
/// processes that the table believes alive have exited.
#[test]
fn events_of_two_processes_of_one_pid_mix_in_any_way() {
    for script in mixed() {
        let mut table = table(WORLD);
        let _ = apply(&mut table, &script.join("\n"));
        check_ledger(&table);
        let live: Vec<_> = images(&table).into_iter().filter(|image| image.end.is_none()).collect();
        assert!(live.len() <= 1, "{script:?}");
        for image in live {
            let (name, began) = (show_key(image.key), image.began.as_nanos());
            let _ = apply(&mut table, &format!("exit {name} 0 began {began}"));
        }
        let_grace_pass(&mut table);
        assert!(images(&table).is_empty(), "{script:?}: {:?}", entries(&table));
    }
}

#[test]
fn a_late_event_leaves_a_later_process_of_the_pid_alone() {
    let mut broken = Vec::new();
    for script in mixed() {
        let mut table = table(WORLD);
        let _ = apply(&mut table, &script.join("\n"));
        let later: Vec<_> =
            images(&table).into_iter().filter(|image| image.began == key("10@20").start).collect();
        let ends: Vec<_> = images(&table).iter().filter_map(|image| Some(image.end?.how)).collect();
        let lives = table.get_live(PID).is_some_and(|entry| entry.key() == key("10@22"));
        if !lives || sorted(&later) != LATER_ENTRIES || ends.len() + 1 != images(&table).len() {
            broken.push(script.join(" | "));
        }
    }
    assert!(broken.is_empty(), "{} mixtures\n{}", broken.len(), broken.join("\n"));
}

/// The fork and exec of the later process, in every place of every order of the earlier one's events.
fn mixed() -> Vec<Vec<&'static str>> {
    let mut scripts = Vec::new();
    for order in every_order().into_iter().filter(|order| order.len() < STEPS.len()) {
        let earlier: Vec<_> = order.iter().map(|step| line(STEPS, step)).collect();
        for fork_at in 0..=earlier.len() {
            for exec_at in fork_at..=earlier.len() {
                let (first, rest) = earlier.split_at(fork_at);
                let (second, third) = rest.split_at(exec_at - fork_at);
                scripts.push([first, &LATER[..1], second, &LATER[1..2], third].concat());
            }
        }
    }
    scripts
}

/// An exec has the parent that the reference chooses for it.
#[test]
fn the_parent_of_an_exec_is_the_one_that_the_reference_chooses() {
    let script = "fork 2@2 > 10@5\nexec 10@5 > 10@7 /bin/bash < 2@2\nexec 10@7 > 10@9 /bin/ls < 2@2 began 5";
    let table = table(&format!("{WORLD}\n{script}"));
    let (init, shell) = (key("1@1"), key("2@2"));
    for (image, replaced, is_first, owner) in [
        ("1@1", None, false, ProcessKey::NONE),
        ("2@2", None, false, init),
        ("10@7", Some(key("10@5")), true, shell),
        ("10@9", Some(key("10@7")), false, shell),
    ] {
        let process = table.get(key(image)).unwrap().snapshot();
        let parent = process.reference_parent().unwrap_or(ProcessKey::NONE);
        assert_eq!(parent, parent_of_exec(replaced, is_first, owner), "{image}");
    }
}

#[test]
fn the_parent_of_a_process_never_heard_of_is_the_one_that_the_reference_chooses() {
    let (table, _) = told(STEPS, &["exec"]);
    let process = table.get(key("10@7")).unwrap().snapshot();
    assert_eq!(process.reference_parent(), Some(parent_of_exec(None, false, key("1@1"))));
}

fn every_order() -> Vec<Vec<&'static str>> {
    let mut orders: Vec<Vec<&str>> = Vec::new();
    let mut longest = vec![Vec::new()];
    for _ in STEPS {
        let longer = longest.iter().flat_map(|order: &Vec<&str>| {
            let more = STEPS.iter().map(|(step, _)| *step).filter(|step| !order.contains(step));
            more.map(|step| [&order[..], &[step]].concat())
        });
        longest = longer.collect();
        orders.extend(longest.iter().cloned());
    }
    orders
}

fn line(steps: Steps, step: &str) -> &'static str {
    steps.iter().find(|(name, _)| *name == step).unwrap().1
}

/// What `order` makes of the world, and what became of each event.
fn told(steps: Steps, order: &[&str]) -> (Table, Vec<String>) {
    let mut table = table(WORLD);
    let script: Vec<_> = order.iter().map(|step| line(steps, step)).collect();
    let outcomes = apply(&mut table, &script.join("\n"));
    (table, outcomes.iter().map(|outcome| format!("{outcome:?}").to_lowercase()).collect())
}

fn images(table: &Table) -> Vec<Process> {
    table.entries().map(procession::Entry::snapshot).filter(|process| process.pid() == PID).collect()
}

fn entries(table: &Table) -> Vec<String> {
    sorted(&images(table))
}

fn sorted(images: &[Process]) -> Vec<String> {
    let mut lines: Vec<_> = images.iter().map(show_entry).collect();
    lines.sort();
    lines
}

const HOUR: u64 = 3_600_000_000_000;

/// A false clock, or a file that somebody made: one such event changes nothing for others.
#[test]
fn an_event_from_the_far_future_ends_the_grace_time_of_nobody() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 1@1 > 11@6\n20: exit 10@5 3");
    let _ = apply(&mut table, &format!("{}: exit 11@6 4", 9_000 * HOUR));
    assert_eq!(table.len(), 3, "{}", show(&table));
    // What comes after it has its own time.
    let _ = apply(&mut table, "30: fork 1@1 > 12@30\n31: exit 12@30 0");
    let end = |name: &str| table.get(key(name)).unwrap().snapshot().end.unwrap().time.as_nanos();
    assert_eq!((end("10@5"), end("12@30")), (20, 31));
    assert_eq!(table.now().as_nanos(), 31);
    // And who has ended in the future holds up nobody.
    table.advance(BootTime::from_nanos(40).after(TableConfig::default().grace));
    assert_eq!(table.len(), 2, "{}", show(&table));
    table.advance(BootTime::from_nanos(HOUR));
    assert_eq!(table.len(), 1, "{}", show(&table));
}

#[test]
fn after_a_long_silence_time_goes_on() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 1@1 > 11@6\n20: exit 10@5 3");
    let _ = apply(&mut table, &format!("{}: exit 11@6 4", 9_000 * HOUR));
    let end = table.get(key("11@6")).unwrap().snapshot().end.unwrap().time.as_nanos();
    assert_eq!(end, 9_000 * HOUR, "the time of the first event is right all the same");
    assert_eq!(table.now().as_nanos(), end);
    let _ = apply(&mut table, &format!("{}: fork 1@1 > 12@{0}", 9_000 * HOUR + 5));
    assert!(table.get(key("10@5")).is_none(), "its grace time is over long since");
    // A copy that is made in between goes on in the same way.
    let _ = apply(&mut table, &format!("{}: fork 1@1 > 13@{0}", 9_900 * HOUR));
    let copy = Table::restore(&table.checkpoint());
    assert_eq!(copy.now(), table.now());
    for mut table in [table, copy] {
        let _ = apply(&mut table, &format!("{}: exit 13@{} 0", 9_900 * HOUR + 1, 9_900 * HOUR));
        table.advance(BootTime::ZERO);
        assert_eq!(table.now().as_nanos(), 9_900 * HOUR + 1);
    }
}
