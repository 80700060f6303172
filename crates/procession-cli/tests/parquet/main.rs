//! The Parquet export as others read it: DuckDB and ClickHouse's engine, which share no code with what wrote
//! it, answer the questions of the documentation about a journal whose answers are known. The questions and
//! the answers are taken from the documentation itself.
//!
//! They need what the `install` script here installs. Without it the tests are reported as ignored and why
//! is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod document;
mod engine;
mod questions;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;
mod story;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;
mod values;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::Arguments;
use tempfile::TempDir;

use run::{Said, procession};
use trials::{Test, gate, trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = engine::folder();
    let missing = || format!("no engines in {}: run tests/parquet/install", folder.display());
    let unable = (!folder.join("installed").exists()).then(missing);
    let trials = questions::TESTS.iter().chain(&values::TESTS).map(trial);
    let trials = gate("all tests with engines that read Parquet", unable.as_deref(), trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A folder with the journal of the story, and its export in `processes`.
fn exported() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("night.journal");
    story::write(&journal);
    let told = export(&journal, &folder.path().join("processes"), &[]);
    assert!(told.contains(" rows in 1 file "), "{told}");
    folder
}

/// Exports with the program itself: what it says.
fn export(journal: &Path, directory: &Path, options: &[&str]) -> String {
    let mut command = procession(["export", "--parquet"]);
    let said = Said::by(command.arg(directory).arg("--journal").arg(journal).args(options));
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.err
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
