//! What is measured, as those see it who read it: the page, the server, Prometheus itself, and what we
//! ship for it.
//!
//! Tests with real programs need what `tests/peers/install` installs. Without it they say that they were
//! skipped; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "metrics/deployed.rs"]
mod deployed;
#[path = "metrics/page.rs"]
mod page;
#[path = "metrics/peers.rs"]
mod peers;
#[path = "../../procession-sensor/tests/support/required.rs"]
mod required;
#[path = "metrics/sample.rs"]
mod sample;
mod support;
#[path = "metrics/web.rs"]
mod web;
