//! What is recorded is shown as it was, and answers as an agent would have then: with real processes.
//!
//! All of it needs root and eBPF. Without them the tests are reported as ignored and why is said;
//! with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod damage;
mod import;
mod past;
mod program;
mod replay;
#[path = "../../../procession-api/tests/support/schema.rs"]
mod schema;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use procession_sensor::{EbpfConfig, SourceKind};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and would see one another.
    arguments.test_threads = Some(1);
    let source = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default());
    let unable = source.err().map(|error| error.to_string());
    let required = env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
    if let Some(reason) = unable.as_ref().filter(|_| !required) {
        eprintln!("SKIPPED: all tests of recordings of real processes: {reason}");
    }
    let privileged = replay::trials().into_iter().chain(past::trials()).chain(damage::trials());
    let privileged = privileged.map(|trial| match &unable {
        None => trial,
        Some(reason) if required => fails(trial.name(), reason.clone()),
        Some(_) => trial.with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, privileged.chain(import::trials()).collect()).exit_code()
}

fn fails(name: &str, reason: String) -> Trial {
    Trial::test(name.to_owned(), move || Err(Failed::from(reason)))
}

/// Tests with their names.
fn trials(module: &str, tests: &[(&str, fn())]) -> Vec<Trial> {
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        Trial::test(format!("{module}::{name}"), move || {
            test();
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}
