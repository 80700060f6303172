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
mod story;
mod values;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

/// A test by its name.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_required = env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
    let is_installed = engine::folder().join("installed").exists();
    let reason = format!("no engines in {}: run tests/parquet/install", engine::folder().display());
    if !is_installed && !is_required {
        eprintln!("SKIPPED: all tests with engines that read Parquet: {reason}");
    }
    let trials = questions::TESTS.iter().chain(&values::TESTS).map(|&(name, test)| {
        if is_installed {
            return Trial::test(name, move || {
                test();
                Ok(())
            });
        }
        let reason = reason.clone();
        Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(!is_required)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
    command.arg("export").arg("--parquet").arg(directory).arg("--journal").arg(journal).args(options);
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
