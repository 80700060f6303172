//! Test programs whose tests need what not every machine has, as root, eBPF or other programs.

use libtest_mimic::{Failed, Trial};

#[path = "required.rs"]
mod required;

use required::{is_required, skip};

/// A test by its name. It fails by panicking.
pub(crate) type Test = (&'static str, fn());

pub(crate) fn trial(&(name, test): &Test) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// These tests. If there is a reason why `what` cannot run, they are reported as ignored and why is said; where
/// all tests have to run, they fail with that reason.
pub(crate) fn gate(what: &str, unable: Option<&str>, trials: impl IntoIterator<Item = Trial>) -> Vec<Trial> {
    let Some(reason) = unable else { return trials.into_iter().collect() };
    if !is_required() {
        skip(what, reason);
        return trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    let fails = |trial: Trial| {
        let reason = reason.to_owned();
        Trial::test(trial.name(), move || Err(Failed::from(reason)))
    };
    trials.into_iter().map(fails).collect()
}

/// A test of what this machine does not have, or that nobody asked for. It is reported as ignored and why is said,
/// also where all tests have to run.
#[allow(dead_code, reason = "few test programs have such a test")]
pub(crate) fn not_here(what: &str, reason: String) -> Trial {
    eprintln!("SKIPPED: {what}: {reason}");
    // Not that test: who wants those that are ignored as well has not asked for what it does.
    Trial::test(what, move || Err(Failed::from(reason))).with_ignored_flag(true)
}
