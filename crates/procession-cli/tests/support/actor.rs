//! The program that does what tests watch.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The `actor` example, built as these tests are: Cargo does not do it for a single test target.
pub(crate) fn actor() -> &'static Path {
    static ACTOR: OnceLock<PathBuf> = OnceLock::new();
    ACTOR.get_or_init(|| {
        // target/PROFILE/deps/TEST-HASH -> target/PROFILE/examples/actor
        let tests = env::current_exe().unwrap();
        let actor = tests.parent().unwrap().with_file_name("examples").join("actor");
        if !is_current(&actor) {
            build();
        }
        actor
    })
}

/// Whether it was built since its sources changed. A test of the whole workspace has built it with features that
/// are not those of this package alone: to build it again would be to build all that it depends on.
fn is_current(actor: &Path) -> bool {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/actor");
    changed(actor) > newest(&sources)
}

/// When a file in the folder, or below, was changed last.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter_map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max()
}

/// `None`: it is not there.
fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn build() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "procession-cli", "--example", "actor"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{build:?}");
}
