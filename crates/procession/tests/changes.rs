//! What an image has beside its program: credentials and namespaces that change between two execs, an
//! environment, a place in a container.

mod support;

use procession::reference::environment_variable;
use procession::{
    Arguments, BootTime, Context, Credentials, Event, EventKind, Fork, LONGEST_HISTORY, Namespaces, Outcome,
    Pid, Program, Running, Subject, Table,
};
use proptest::prelude::*;

use support::{apply, check, check_ledger, key, show, table};

const SHELL: &str = "
    running 1@1 /sbin/init
    fork 1@1 > 10@5
    exec 10@5 > 10@7 /bin/sh < 1@1
    change 10@7 uid 500";

/// The user of an entry now, and before each change from the first that is remembered on.
fn users(table: &Table, name: &str) -> (Option<u32>, Vec<Option<u32>>) {
    let entry = table.get(key(name)).expect(name);
    let past = entry.image().map(procession::Image::past).unwrap_or_default();
    let before = past.iter().map(|spell| spell.credentials().map(|it| it.euid.0)).collect();
    (entry.credentials().map(|it| it.euid.0), before)
}

#[test]
fn a_change_is_that_of_one_process_and_not_of_those_with_which_it_shares_its_image() {
    let mut table = table(SHELL);
    let forks = "fork 10@7 > 11@11\nfork 10@7 > 12@12";
    assert_eq!(apply(&mut table, forks), [Outcome::Applied; 2]);
    assert_eq!(apply(&mut table, "change 11@11 uid 1000"), [Outcome::Applied]);
    assert_eq!(users(&table, "11@11"), (Some(1000), vec![None, Some(500)]));
    for other in ["10@7", "12@12"] {
        assert_eq!(users(&table, other), (Some(500), vec![None]), "{other}");
    }
    // It runs what it ran.
    let image = |name: &str| table.get(key(name)).and_then(|entry| entry.image().cloned()).expect(name);
    assert_eq!(image("11@11").binary(), image("10@7").binary());
    assert_eq!(image("11@11").credentials().map(|it| it.uid.0), Some(1000));
}

#[test]
fn a_child_has_what_its_parent_has_at_the_fork() {
    let mut table = table(SHELL);
    let _ = apply(&mut table, "change 10@7 uid 1000\nfork 10@7 > 11@11\nchange 10@7 uid 7");
    assert_eq!(users(&table, "11@11").0, Some(1000));
    assert_eq!(users(&table, "10@7").0, Some(7));
}

#[test]
fn an_exec_begins_without_a_past() {
    let mut table = table(SHELL);
    let _ = apply(&mut table, "change 10@7 uid 1000\nexec 10@7 > 10@9 /bin/ls < 1@1 began 5");
    assert_eq!(users(&table, "10@9").1, []);
    assert_eq!(users(&table, "10@7"), (Some(1000), vec![None, Some(500)]), "the image before remembers");
}

#[test]
fn what_is_not_told_stays() {
    let mut table = table(SHELL);
    let _ = apply(&mut table, "change 10@7 net 77\nchange 10@7 uid 1000\nchange 10@7 net 78");
    let entry = table.get(key("10@7")).expect("the shell");
    let image = entry.image().expect("it ran an exec");
    let nets: Vec<_> = image.past().iter().map(|spell| spell.namespaces().map(|it| it.net)).collect();
    assert_eq!(nets, [None, None, Some(77), Some(77)]);
    assert_eq!(image.namespaces().map(|it| it.net), Some(78));
    assert_eq!(users(&table, "10@7"), (Some(1000), vec![None, Some(500), Some(500), Some(1000)]));
}

#[test]
fn the_past_has_times() {
    let mut table = table("100: running 10@7 /bin/sh\n200: change 10@7 uid 1\n300: change 10@7 uid 2");
    let times = |table: &Table| {
        let entry = table.get(key("10@7")).expect("the shell");
        let past = entry.image().map_or(&[][..], procession::Image::past);
        past.iter().map(|spell| spell.until().as_nanos()).collect::<Vec<_>>()
    };
    assert_eq!(times(&table), [200, 300]);
    // One that comes late takes its place before those that came after it.
    assert_eq!(apply(&mut table, "250: change 10@7 net 77"), [Outcome::Applied]);
    assert_eq!(times(&table), [200, 250, 300]);
    let entry = table.get(key("10@7")).expect("the shell");
    assert_eq!(entry.image().and_then(|image| image.namespaces()).map(|it| it.net), Some(77));
    assert_eq!(users(&table, "10@7"), (Some(2), vec![None, Some(1), Some(1)]));
}

#[test]
fn what_changes_nothing_is_a_duplicate() {
    let mut table = table(SHELL);
    assert_eq!(
        apply(&mut table, "change 10@7 uid 500\nchange 10@7 session 10"),
        [Outcome::Duplicate, Outcome::Applied]
    );
    assert_eq!(apply(&mut table, "change 10@7 session 10"), [Outcome::Duplicate]);
}

#[test]
fn a_process_never_heard_of_is_inferred() {
    check("change 10@7 uid 1000 began 5", "10@7 Inferred");
    check(
        "change 10@7 uid 1000 began 5
         exec 10@5 > 10@7 /bin/ls < 1@1",
        "10@7 FirstExec /bin/ls < 1@1 Inferred
         1@1 Inferred",
    );
    let table = table("change 10@7 uid 1000 began 5");
    assert_eq!(users(&table, "10@7"), (Some(1000), vec![]));
}

#[test]
fn a_change_of_an_image_that_was_missed_makes_it_known() {
    let mut table = table(SHELL);
    assert_eq!(apply(&mut table, "change 10@9 uid 1000 began 5"), [Outcome::Applied]);
    assert_eq!(
        show(&table),
        "10@7 FirstExec /bin/sh < 1@1 Observed Replaced\n\
         10@9 Inferred < 1@1 Observed after 10@7\n\
         1@1 Running /sbin/init"
    );
}

#[test]
fn the_ended_change_late_and_the_kernel_never() {
    let mut table = table(SHELL);
    let outcomes = apply(&mut table, "exit 10@7 0 began 5\nchange 10@7 uid 1000\nchange 0@0 uid 1000");
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Late, Outcome::Rejected]);
    check_ledger(&table);
}

#[test]
fn a_program_that_changes_without_end_has_a_short_past() {
    let mut table = table(SHELL);
    for n in 0..10_000 {
        let _ = apply(&mut table, &format!("change 10@7 uid {}", n % 3));
    }
    let entry = table.get(key("10@7")).expect("the shell");
    let image = entry.image().expect("it ran an exec");
    assert_eq!(image.past().len(), LONGEST_HISTORY);
    assert_eq!(image.forgotten_changes(), 10_001 - u32::try_from(LONGEST_HISTORY).expect("small"));
    assert!(table.memory() < 64 << 10, "{:?}", table.explain());
}

proptest! {
    /// Changes in any order of their times give the past that they give in order, as long as none is
    /// forgotten and no value comes twice: a change to what was so already leaves no trace.
    #[test]
    fn late_changes_give_the_past_that_timely_ones_give(
        changes in prop::collection::btree_map(10..10_000_u64, any::<bool>(), 0..LONGEST_HISTORY - 2),
        seed in any::<u64>(),
    ) {
        let lines: Vec<_> = changes
            .iter()
            .map(|(time, is_user)| {
                let what = if *is_user { "uid" } else { "net" };
                format!("{time}: change 10@7 {what} {time}")
            })
            .collect();
        let mut shuffled = lines.clone();
        let place = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        shuffled.sort_by_key(|line| line.bytes().fold(seed, place));
        let told = |lines: &[String]| {
            let mut table = table("1: running 10@7 /bin/sh\n2: change 10@7 uid 9\n3: change 10@7 net 9");
            let _ = apply(&mut table, &lines.join("\n"));
            check_ledger(&table);
            let entry = table.get(key("10@7")).expect("the shell");
            let image = entry.image().expect("it was found");
            let spell = |until: BootTime, credentials: Option<&Credentials>, namespaces: Option<&Namespaces>| {
                let (uid, net) = (credentials.map(|it| it.uid.0), namespaces.map(|it| it.net));
                format!("user {uid:?} net {net:?} until {until:?}")
            };
            let past = image.past().iter();
            let mut spells: Vec<_> =
                past.map(|it| spell(it.until(), it.credentials(), it.namespaces())).collect();
            spells.push(spell(BootTime::ZERO, image.credentials(), image.namespaces()));
            spells
        };
        prop_assert_eq!(told(&shuffled), told(&lines));
    }
}

#[test]
fn the_environment_is_kept_with_the_image_and_through_its_changes() {
    let mut table = Table::default();
    let (shell, arguments) = (key("10@7"), Arguments { bytes: b"sh\0-c\0", total_len: 20 });
    let environment = Arguments { bytes: b"PATH=/bin\0nonsense\0X=a=b\0", total_len: 100 };
    let program = Program { binary: b"/bin/sh", arguments, environment, ..Program::default() };
    let running = Running { process: Subject::exact(shell, shell.start), program, ..Running::default() };
    let _ = table.apply(&Event { time: shell.start, kind: EventKind::Running(running) });
    for change in ["", "change 10@7 uid 1000"] {
        let _ = apply(&mut table, change);
        let image = table.get(shell).and_then(|entry| entry.image().cloned()).expect("it was found");
        assert_eq!((image.arguments(), image.environment()), (arguments, environment));
        let named: Vec<_> = image.environment().iter().map(environment_variable).collect();
        assert_eq!(named, [(&b"PATH"[..], &b"/bin"[..]), (b"invalid", b"nonsense"), (b"X", b"a=b")]);
    }
}

#[test]
fn what_a_container_runs_by_itself_is_told_from_what_was_put_into_it() {
    let mut table = table("running 1@1 /sbin/init\nfork 1@1 > 2@2");
    let fork = |parent: &str, child: &str, ns_pid: u32| {
        let (parent, child) = (key(parent), key(child));
        let context = Context { ns_pid: Some(Pid(ns_pid)), ..Context::default() };
        let child = Subject::exact(child, child.start);
        EventKind::Fork(Fork { child, parent: parent.into(), context, ..Fork::default() })
    };
    // The runtime starts the container's first process, and later another one in the same namespace.
    let kinds = [fork("2@2", "10@5", 1), fork("10@5", "11@6", 2), fork("2@2", "12@7", 3)];
    for (time, kind) in (10..).zip(kinds) {
        let _ = table.apply(&Event { time: BootTime::from_nanos(time), kind });
    }
    let _ = apply(&mut table, "exec 11@6 > 11@20 /bin/app < 10@5");
    let is_in = |name: &str| table.get(key(name)).expect(name).is_in_init_tree();
    assert_eq!(["1@1", "2@2", "10@5", "11@20", "12@7"].map(is_in), [false, false, true, true, false]);
}

/// The exit of the one before and its own fork were missed.
#[test]
fn who_changes_lives_and_the_one_before_it_with_its_pid_does_not() {
    check(
        "running 1@1 /sbin/init
         fork 1@1 > 10@5
         change 10@7 uid 1",
        "10@5 Fork /sbin/init < 1@1 Observed Vanished
         10@7 Inferred
         1@1 Running /sbin/init",
    );
}
