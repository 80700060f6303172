//! What was found out after events were lost, or after nobody observed: that a process runs, or that
//! it does not.

mod support;

use procession::{
    Counted, EndKind, Event, EventKind, FactKind, Gap, Gone, Outcome, Pid, Provenance, Subject,
};

use support::{apply, check, event, key, show, table};

const WORLD: &str = "
    running 1@1 /sbin/init
    fork 1@1 > 10@5
    exec 10@5 > 10@7 /bin/sh < 1@1";

fn outcome(script: &str, last: &str) -> Outcome {
    apply(&mut table(&format!("{WORLD}\n{script}")), last)[0]
}

#[test]
fn who_is_looked_for_and_not_there_has_ended() {
    check(
        &format!("{WORLD}\ngone loss 10@7 began 5"),
        "10@7 FirstExec /bin/sh < 1@1 Observed Gone(Loss)
         1@1 Running /sbin/init",
    );
    let mut table = table(WORLD);
    let applied = apply(&mut table, "90: gone absence 10@7 began 5");
    assert_eq!(applied, [Outcome::Applied]);
    let end = table.get(key("10@7")).unwrap().snapshot().end.unwrap();
    assert_eq!((end.how, end.time.as_nanos()), (EndKind::Gone(Gap::Absence), 90));
    assert_eq!((table.live(), table.ledger().account(Counted::Gone).applied), (1, 1));
    let kind = FactKind::of(&event("gone loss 10@7"));
    assert_eq!(kind, Some(FactKind::Exit { tid: Pid(10), status: None }));
}

#[test]
fn it_is_about_the_process_and_not_about_its_pid() {
    // The one that has the pid by now began later.
    assert_eq!(outcome("exit 10@7 0\nfork 1@1 > 10@50", "gone loss 10@7 began 5"), Outcome::Rejected);
    // Known to the tick, it is known whatever it runs.
    assert_eq!(outcome("", "gone loss 10@0 ticks"), Outcome::Applied);
    assert_eq!(outcome("", "gone loss 10@10000000 ticks"), Outcome::Rejected);
    assert_eq!(outcome("", "gone loss 10@5 began 5"), Outcome::Applied);
}

#[test]
fn what_is_known_already_or_better_is_not_changed() {
    assert_eq!(outcome("exit 10@7 0 began 5", "gone loss 10@7 began 5"), Outcome::Duplicate);
    assert_eq!(outcome("gone loss 10@7 began 5", "gone absence 10@7 began 5"), Outcome::Duplicate);
    assert_eq!(outcome("", "gone loss 11@7"), Outcome::Rejected);
    assert_eq!(outcome("", "gone loss 0@0"), Outcome::Rejected);
    let went_on = "exec 10@7 > 10@9 /bin/ls < 1@1 began 5";
    assert_eq!(outcome(went_on, "gone loss 10@7 began 5"), Outcome::Rejected);
}

#[test]
fn what_comes_late_after_it_says_how_it_ended() {
    check(
        &format!("{WORLD}\ngone loss 10@7 began 5\nexit 10@7 3 began 5"),
        "10@7 FirstExec /bin/sh < 1@1 Observed exited 3
         1@1 Running /sbin/init",
    );
    // An exec from before it was looked for: the new image ended by then.
    check(
        &format!("{WORLD}\n50: gone loss 10@7 began 5\nexec 10@7 > 10@9 /bin/ls < 1@1 began 5"),
        "10@7 FirstExec /bin/sh < 1@1 Observed Replaced
         10@9 Exec /bin/ls < 1@1 Observed after 10@7 Gone(Loss)
         1@1 Running /sbin/init",
    );
    // One from after that: whoever looked had it wrong.
    check(
        &format!("{WORLD}\n50: gone loss 10@7 began 5\n60: exec 10@7 > 10@60 /bin/ls < 1@1 began 5"),
        "10@60 Exec /bin/ls < 1@1 Observed after 10@7
         10@7 FirstExec /bin/sh < 1@1 Observed Replaced
         1@1 Running /sbin/init",
    );
}

#[test]
fn what_is_found_says_so() {
    // A process, an exec after a known image, and the first exec after a known fork.
    check(
        &format!(
            "{WORLD}\nfork 10@7 > 11@8
            found loss 12@9 /bin/cat < 10@7
            found absence 10@9 /bin/ls < 1@1 began 5
            found loss 11@10 /bin/ps < 10@7 began 8"
        ),
        "10@7 FirstExec /bin/sh < 1@1 Observed Replaced
         10@9 Found(Absence) /bin/ls < 1@1 Observed after 10@7
         11@10 Found(Loss) /bin/ps < 10@7 Observed
         12@9 Found(Loss) /bin/cat < 10@7 Found
         1@1 Running /sbin/init",
    );
}

#[test]
fn what_was_inferred_is_described_when_it_is_found() {
    let script = "running 1@1 /sbin/init\nfork 10@7 > 11@8";
    let mut table = table(script);
    assert!(show(&table).contains("10@7 Inferred"));
    assert_eq!(apply(&mut table, "found loss 10@7 /bin/sh < 1@1 began 5"), [Outcome::Applied]);
    assert!(show(&table).contains("10@7 Found(Loss) /bin/sh < 1@1 Found"), "{}", show(&table));
}

#[test]
fn late_events_take_the_place_of_what_was_found() {
    check(
        "running 1@1 /sbin/init
         found loss 10@7 /bin/sh < 1@1 began 5
         fork 1@1 > 10@5
         exec 10@5 > 10@7 /bin/sh < 1@1",
        "10@7 FirstExec /bin/sh < 1@1 Observed
         1@1 Running /sbin/init",
    );
}

/// The image that forked is older than any that its process is known by.
#[test]
fn an_image_that_is_named_late_has_the_parent_of_its_process() {
    let script = "running 1@1 /sbin/init
        exec 10@8 > 10@9 /bin/ps < 1@1 began 5
        fork 1@1 > 10@5
        fork 10@5 > 11@6 began 5";
    let late = "exec 10@5 > 10@8 /bin/ls < 1@1";
    for script in [script.to_owned(), format!("{script}\n{late}")] {
        let table = table(&script);
        assert!(
            show(&table).contains("< 1@1 Observed") && show(&table).contains("11@6 Fork < 10@5 Observed"),
            "{}",
            show(&table)
        );
        let parent =
            table.get(key("10@5")).unwrap().snapshot().parent.map(|link| (link.key, link.provenance));
        assert_eq!(parent, Some((key("1@1"), Provenance::Observed)), "{}", show(&table));
    }
}

#[test]
fn a_process_that_never_was_is_not_made_by_looking_for_it() {
    let mut table = table(WORLD);
    let gone = Gone { process: Subject::exact(key("77@7"), key("77@7").start), gap: Gap::Loss };
    let before = show(&table);
    let _ = table.apply(&Event { time: table.now(), kind: EventKind::Gone(gone) });
    assert_eq!(show(&table), before);
}
