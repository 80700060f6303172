//! The agent, and what goes wrong around it: disks, clocks, limits, rights, file systems that are missing, other
//! agents. Each is made for real, and each test says what must happen: what is lost is counted, what is wrong is
//! said once, and it ends when its cause does. What the tests of `peers`, `containers`, `life` and `restart` have
//! already is not here.
//!
//! All need root and eBPF, and some a program. Without them a test is reported as ignored and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, it fails. A test of what this kernel does not have, or of
//! the machine's clock when nobody has asked for it, is ignored in either case.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "../peers/agent.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod agent;
mod blocks;
mod clock;
mod disk;
mod files;
mod groups;
mod kernel;
#[path = "../../../procession-journal/tests/support/mod.rs"]
mod machine;
mod memory;
mod operator;
mod recorded;
mod site;
mod stopped;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;
mod two;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use procession_sensor::{EbpfConfig, SourceKind};

use trials::{gate, not_here, trial};

/// What a test needs beyond root and eBPF. A function says why that cannot be had, if so.
enum Needs {
    Nothing,
    /// What can be installed: it has to be, where all tests have to run.
    Installed(fn() -> Option<String>),
    /// What a machine has or has not, or somebody has to ask for.
    Here(fn() -> Option<String>),
}

/// A test by its name.
type Test = (&'static str, Needs, fn());

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and some do to it what all would notice.
    arguments.test_threads = Some(1);
    let sensor = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let sensor = sensor.map(|error| error.to_string());
    let tests = disk::TESTS
        .iter()
        .chain(&files::TESTS)
        .chain(&groups::TESTS)
        .chain(&memory::TESTS)
        .chain(&kernel::TESTS);
    let tests =
        tests.chain(&stopped::TESTS).chain(&two::TESTS).chain(&operator::TESTS).chain(&recorded::TESTS);
    // The last: it sets the clock of the machine.
    let tests = tests.chain(&clock::TESTS);
    let trials = tests.flat_map(|test| gated(test, sensor.as_deref())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test, or what becomes of it where it cannot run.
fn gated((name, needs, test): &Test, no_sensor: Option<&str>) -> Vec<Trial> {
    let (missing, other) = match needs {
        Needs::Nothing => (None, None),
        Needs::Installed(why_not) => (why_not(), None),
        Needs::Here(why_not) => (None, why_not()),
    };
    match other {
        Some(reason) => vec![not_here(name, reason)],
        None => gate(name, no_sensor.or(missing.as_deref()), [trial(&(name, *test))]),
    }
}
