//! What becomes of a test that cannot run here: it is skipped and why is said, or fails where all tests have to
//! run, as in CI.

use std::env;
use std::fmt::Display;

/// Whether all tests have to run.
pub(crate) fn is_required() -> bool {
    env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some()
}

/// Says that `what` is skipped, and why.
///
/// # Panics
///
/// All tests have to run.
pub(crate) fn skip(what: &str, why: impl Display) {
    assert!(!is_required(), "{what}: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}
