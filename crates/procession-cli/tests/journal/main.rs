//! What is recorded is shown as it was, and answers as an agent would have then: with real processes.
//!
//! All of it needs root and eBPF. Without them the tests are reported as ignored and why is said;
//! with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod damage;
mod holes;
mod import;
mod names;
mod newer;
mod past;
mod recording;
mod replay;
#[path = "../support/run.rs"]
mod run;
#[path = "../../../procession-api/tests/support/schema.rs"]
mod schema;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use procession_sensor::{EbpfConfig, SourceKind};

use trials::{gate, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and would see one another.
    arguments.test_threads = Some(1);
    let source = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default());
    let unable = source.err().map(|error| error.to_string());
    let privileged = replay::TESTS.iter().chain(&past::TESTS).chain(&damage::TESTS).map(trial);
    let mut trials = gate("all tests of recordings of real processes", unable.as_deref(), privileged);
    let others = import::TESTS.iter().chain(&names::TESTS).chain(&newer::TESTS).chain(&holes::TESTS);
    trials.extend(others.map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}
