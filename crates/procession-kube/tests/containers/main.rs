//! Real containers: their control groups, and what their runtimes tell of them.
//!
//! Each test starts the runtime it needs, in a folder of its own and beside any that may run, and takes
//! away what it has made. Folders in which runtimes keep state besides are hidden from them. All need root and the packages that the `install` script in this folder
//! installs. Without them the tests are reported as ignored and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

mod containerd;
mod docker;
mod lab;
mod podman;
#[path = "../proto/mod.rs"]
mod proto;
mod runc;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
mod trials;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use lab::apart::{CONTAINERD, DOCKER, PODMAN, RUNC, missing, move_apart};
use trials::gate;

fn main() -> ExitCode {
    move_apart();
    let mut arguments = Arguments::from_args();
    // They use the same control groups.
    arguments.test_threads = Some(1);
    let trials = [
        trial("runc::containers_of_kubernetes", RUNC, runc::containers_of_kubernetes),
        trial("runc::a_container_in_a_container", RUNC, runc::a_container_in_a_container),
        trial("runc::control_groups_inside", RUNC, runc::control_groups_inside),
        trial("runc::a_monitor_is_on_the_host", &["busybox"], runc::a_monitor_is_on_the_host),
        trial("containerd::pods", CONTAINERD, containerd::pods),
        trial("containerd::outside_kubernetes", CONTAINERD, containerd::outside_kubernetes),
        trial("containerd::outages", CONTAINERD, containerd::outages),
        trial("docker::containers", DOCKER, docker::containers),
        trial("docker::outages", DOCKER, docker::outages),
        trial("podman::containers", PODMAN, podman::containers),
        trial("podman::outages", PODMAN, podman::outages),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn trial(name: &'static str, programs: &[&str], test: fn()) -> Vec<Trial> {
    gate(name, missing(programs).as_deref(), [trials::trial(&(name, test))])
}
