//! Who wants to hide from the agent, to mislead it, to read what it keeps, or to use it against the machine.
//!
//! Each test starts an agent of its own, and says in its assertions what an attacker gets and what is still
//! told. SECURITY.md says the same in words. All need root and eBPF; without them they are reported as ignored
//! and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod access;
mod agent;
mod blinding;
mod disguise;
mod files;
mod privileges;
mod secrets;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use procession_sensor::{EbpfConfig, SourceKind};

/// A name, and what is tested.
type Test = (&'static str, fn());

/// Who may do least on a machine.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They watch the whole machine.
    arguments.test_threads = Some(1);
    let unable = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let unable = unable.map(|error| error.to_string());
    let is_required = env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
    if let Some(reason) = unable.as_ref().filter(|_| !is_required) {
        eprintln!("SKIPPED: tests of attackers: {reason}");
    }
    let tests = [
        &privileges::TESTS[..],
        &access::TESTS,
        &files::TESTS,
        &secrets::TESTS,
        &disguise::TESTS,
        &blinding::TESTS,
    ];
    let trial = |(name, test): Test| match unable.clone() {
        None => Trial::test(name, move || {
            test();
            Ok(())
        }),
        Some(reason) if is_required => Trial::test(name, || Err(Failed::from(reason))),
        Some(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
    };
    let trials = tests.into_iter().flatten().copied().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
