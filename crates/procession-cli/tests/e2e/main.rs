//! The whole product on the real kernel.
//!
//! `scenarios` plays each scenario of the `actor` example under our own sensor, in this process,
//! and compares what was seen with what the actor knows it did. `program` runs the `procession`
//! program as a person would, and reads its `messages`. `load` starts processes as fast as they can be started.
//!
//! Almost all of it needs root and eBPF. Without them the tests are reported as ignored and why is said;
//! with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "../support/actor.rs"]
mod actor;
mod hybrid;
mod load;
mod messages;
mod observer;
mod program;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;
mod scenarios;
#[path = "../../../procession-api/tests/support/schema.rs"]
mod schema;
mod terminal;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;
#[path = "../../examples/actor/truth.rs"]
mod truth;
#[path = "../support/watch.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod watch;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use procession_sensor::{EbpfConfig, SourceKind};

use actor::actor;
use trials::{gate, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and would see one another.
    arguments.test_threads = Some(1);
    let source = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default());
    // No privilege helps against a kernel that lacks something.
    let missing = source.as_ref().ok().and_then(|source| source.unseen_changes());
    if let Some(missing) = &missing {
        eprintln!("SKIPPED: scenarios of changes: {missing}");
    }
    let unable = source.err().map(|error| error.to_string());
    let trials = scenarios::trials(missing.is_none())
        .into_iter()
        .chain(program::TESTS.iter().chain(&messages::PRIVILEGED).map(trial))
        .chain(load::trials())
        .chain(hybrid::trials());
    let mut trials = gate("all other end-to-end tests", unable.as_deref(), trials);
    trials.extend(messages::TESTS.iter().map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The program under test.
const PROCESSION: &str = env!("CARGO_BIN_EXE_procession");
