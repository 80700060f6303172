//! The program that does what tests watch.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `actor` example, built as these tests are: Cargo does not do it for a single test target.
pub(crate) fn actor() -> &'static Path {
    static ACTOR: OnceLock<PathBuf> = OnceLock::new();
    ACTOR.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "procession-cli", "--example", "actor"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{build:?}");
        // target/PROFILE/deps/TEST-HASH -> target/PROFILE/examples/actor
        env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("actor")
    })
}
