//! Who wants to hide from the agent, to mislead it, to read what it keeps, or to use it against the machine.
//!
//! Each test starts an agent of its own, and says in its assertions what an attacker gets and what is still
//! told. SECURITY.md says the same in words. All need root and eBPF; without them they are reported as ignored
//! and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail. A
//! test of what this kernel does not have is ignored in either case.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod access;
#[path = "../support/actor.rs"]
mod actor;
mod agent;
mod blinding;
mod disguise;
mod files;
mod privileges;
mod secrets;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use procession_sensor::{EbpfConfig, SourceKind};

use trials::{Test, gate, not_here, trial};

/// Who may do least on a machine.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They watch the whole machine.
    arguments.test_threads = Some(1);
    let unable = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let unable = unable.map(|error| error.to_string());
    let tests = [
        &privileges::TESTS[..],
        &access::TESTS,
        &files::TESTS,
        &secrets::TESTS,
        &disguise::TESTS,
        &blinding::TESTS,
    ];
    let mut tests: Vec<Test> = tests.into_iter().flatten().copied().collect();
    let mut missing = Vec::new();
    let of_some_kernels =
        [(disguise::BY_INTERPRETER, disguise::no_interpreters()), (blinding::UNSERVED, blinding::no_fuse())];
    for (test, reason) in of_some_kernels {
        match reason {
            None => tests.push(test),
            Some(reason) => missing.push(not_here(test.0, reason)),
        }
    }
    let mut trials = gate("tests of attackers", unable.as_deref(), tests.iter().map(trial));
    trials.extend(missing);
    libtest_mimic::run(&arguments, trials).exit_code()
}
