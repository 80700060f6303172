//! `procession watch` with real containers: whose they are, from their first process on.
//!
//! Runtimes and the laboratory are those of the tests of `procession-kube`, and so is the API server.
//! As there, each test starts what it needs in a folder of its own, in namespaces of its own. All need
//! root, eBPF and the packages that the `install` script there installs. Without them the tests are
//! reported as ignored and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they
//! fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../../../procession-kube/tests/containers/containerd.rs"]
#[allow(dead_code, reason = "has tests of its own")]
mod containerd;
#[path = "../../../procession-kube/tests/pods/data.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod data;
#[path = "../../../procession-kube/tests/containers/docker.rs"]
#[allow(dead_code, reason = "has tests of its own")]
mod docker;
mod kubernetes;
#[path = "../../../procession-kube/tests/containers/lab.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "has more than is needed here, and says what is skipped")]
mod lab;
#[path = "../../../procession-kube/tests/pods/link.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod link;
#[path = "../../../procession-kube/tests/containers/podman.rs"]
#[allow(dead_code, reason = "has tests of its own")]
mod podman;
#[path = "../../../procession-kube/tests/proto/mod.rs"]
mod proto;
#[path = "../../../procession-kube/tests/containers/runc.rs"]
#[allow(dead_code, reason = "has tests of its own")]
mod runc;
mod runtimes;
#[path = "../../../procession-kube/tests/pods/server.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod server;
mod watch;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use lab::{CONTAINERD, DOCKER, PODMAN, RUNC, trial};

fn main() -> ExitCode {
    lab::move_apart();
    let mut arguments = Arguments::from_args();
    // They watch the whole machine, and use the same control groups.
    arguments.test_threads = Some(1);
    let trials = [
        trial("runtimes::docker", DOCKER, runtimes::docker),
        trial("runtimes::podman", PODMAN, runtimes::podman),
        trial("runtimes::pods_of_containerd", CONTAINERD, runtimes::pods_of_containerd),
        trial("runtimes::containerd_alone", CONTAINERD, runtimes::containerd_alone),
        trial("runtimes::filters", DOCKER, runtimes::filters),
        trial("runtimes::no_socket", RUNC, runtimes::no_socket),
        trial("kubernetes::the_gap_at_the_start", RUNC, kubernetes::the_gap_at_the_start),
        trial("kubernetes::a_container_of_no_pod", RUNC, kubernetes::a_container_of_no_pod),
        trial("kubernetes::filters", RUNC, kubernetes::filters),
        trial("kubernetes::no_server_at_first", RUNC, kubernetes::no_server_at_first),
        trial("kubernetes::refused_at_first", RUNC, kubernetes::refused_at_first),
        trial("kubernetes::a_token_that_expires", RUNC, kubernetes::a_token_that_expires),
        trial("kubernetes::malformed_pods", RUNC, kubernetes::malformed_pods),
    ];
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
