//! The agent, and what goes wrong around it: disks, clocks, limits, rights, file systems that are missing, other
//! agents. Each is made for real, and each test says what must happen: what is lost is counted, what is wrong is
//! said once, and it ends when its cause does. What the tests of `peers`, `containers`, `life` and `restart` have
//! already is not here.
//!
//! All need root and eBPF, and some a kernel that has what the fault is about. Without them a test is reported as
//! ignored and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "../peers/agent.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod agent;
mod clock;
mod disk;
mod files;
mod kernel;
mod memory;
mod operator;
mod site;
mod stopped;
mod two;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use procession_sensor::{EbpfConfig, SourceKind};

/// A test by its name, with what it needs beyond root and eBPF: why that cannot be had.
type Test = (&'static str, fn() -> Option<String>, fn());

/// For a test that needs nothing else.
fn nothing() -> Option<String> {
    None
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and some do to it what all would notice.
    arguments.test_threads = Some(1);
    let sensor = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let sensor = sensor.map(|error| error.to_string());
    let is_required = env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
    let tests = disk::TESTS.iter().chain(&files::TESTS).chain(&memory::TESTS).chain(&kernel::TESTS);
    let tests = tests.chain(&stopped::TESTS).chain(&two::TESTS).chain(&operator::TESTS);
    // The last: it sets the clock of the machine.
    let tests = tests.chain(&clock::TESTS);
    let trials = tests.map(|&(name, unable, test)| match sensor.clone().or_else(unable) {
        None => Trial::test(name, move || {
            test();
            Ok(())
        }),
        Some(reason) => {
            if !is_required {
                eprintln!("SKIPPED: {name}: {reason}");
            }
            Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(!is_required)
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
