//! The agent as others meet it: its API, used by clients that share no code with it (Python's grpcio,
//! Node's grpc-js and `buf curl`, over a unix socket, TCP, and TLS with certificates) and by our own
//! commands; its signals and its export; and what it bears from who does not keep to the rules.
//!
//! They need what the `install` script here installs, root and eBPF. Without them the tests are reported
//! as ignored and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[allow(dead_code, reason = "has more than is needed here")]
mod agent;
mod clients;
mod commands;
mod follower;
mod hostile;
mod life;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;
mod schemas;
mod tls;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::Arguments;
use procession_sensor::{EbpfConfig, SourceKind};

use trials::{Test, gate, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They observe the whole machine.
    arguments.test_threads = Some(1);
    let tests = clients::TESTS.iter().chain(&commands::TESTS).chain(&hostile::TESTS);
    let tests = tests.chain(&life::TESTS).chain(&schemas::TESTS);
    let trials = gate("all tests with other clients", unable().as_deref(), tests.map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Why the tests cannot run.
fn unable() -> Option<String> {
    let sensor = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let missing = || format!("no clients in {}: run tests/peers/install", peers().display());
    let has_peers = peers().join("installed").exists();
    sensor.map(|error| error.to_string()).or_else(|| (!has_peers).then(missing))
}

/// Where the clients are installed.
fn peers() -> PathBuf {
    // target/PROFILE/deps/peers-HASH
    let own = || env::current_exe().unwrap().ancestors().nth(3).unwrap().join("peers");
    env::var_os("PROCESSION_PEERS").map_or_else(own, PathBuf::from)
}

/// The folder of this test's files.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers"))
}

/// The `.proto` files.
fn protos() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../procession-api/proto"))
}
