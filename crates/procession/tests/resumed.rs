//! A table that goes on from a checkpoint, told by a source that has lost what it kept of each process: it
//! names what ran before by when the process began, though the table knows a later image.

mod support;

use procession::{Outcome, Table};

use support::{apply, check_ledger, show, table};

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

const OTHERS: &str = "11@8 Fork /bin/sh < 10@7 Observed
1@1 Running /sbin/init";

#[test]
fn its_forks_are_those_of_its_latest_image() {
    // As the kernel tells it: with the begin of the one that forks.
    let (outcomes, after) = resumed("fork 10@5 parent began 5 > 12@60");
    assert_eq!(outcomes, [Outcome::Applied]);
    assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{}", OTHERS.replacen('\n', "\n12@60 Fork /bin/sh < 10@7 Observed\n", 1)));
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

/// A parent or an owner that is named so is the process too.
#[test]
fn who_is_named_as_an_owner_is_the_process() {
    let (_, after) = resumed("found absence 13@9 /bin/cat < 10@5 owner began 5");
    assert_eq!(after, format!("10@7 FirstExec /bin/sh < 1@1 Observed\n{}", OTHERS.replacen('\n', "\n13@9 Found(Absence) /bin/cat < 10@7 Found\n", 1)));
}
