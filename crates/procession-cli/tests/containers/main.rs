//! `procession watch`, and the agent, with real containers: whose they are, from their first process on.
//!
//! Runtimes and the laboratory are those of the tests of `procession-kube`, and so is the API server.
//! As there, each test starts what it needs in a folder of its own, in namespaces of its own. All need
//! root, eBPF and the packages that the `install` script there installs. Without them the tests are
//! reported as ignored and why is said; with `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, they
//! fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../peers/agent.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod agent;
#[path = "../../../procession-kube/tests/pods/data.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod data;
#[path = "../../../procession-kube/tests/pods/kubeconfig.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod kubeconfig;
mod kubernetes;
#[path = "../../../procession-kube/tests/containers/lab/mod.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "has more than is needed here, and says what goes wrong")]
mod lab;
#[path = "../../../procession-kube/tests/pods/link.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod link;
#[path = "../../../procession-kube/tests/proto/mod.rs"]
mod proto;
#[path = "../support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;
mod runtimes;
#[path = "../../../procession-api/tests/support/schema.rs"]
mod schema;
#[path = "../../../procession-kube/tests/pods/server.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod server;
mod story;
#[path = "../../../procession-sensor/tests/support/trials.rs"]
#[allow(clippy::print_stderr, reason = "says what is skipped")]
mod trials;
#[path = "../support/watch.rs"]
mod watch;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use procession_sensor::{EbpfConfig, SourceKind};

use lab::apart::{CONTAINERD, DOCKER, PODMAN, RUNC, missing, move_apart};
use trials::gate;

fn main() -> ExitCode {
    move_apart();
    let mut arguments = Arguments::from_args();
    // They watch the whole machine, and use the same control groups.
    arguments.test_threads = Some(1);
    let trials = [
        trial("runtimes::of_docker", DOCKER, runtimes::of_docker),
        trial("runtimes::of_podman", PODMAN, runtimes::of_podman),
        trial("runtimes::pods_of_containerd", CONTAINERD, runtimes::pods_of_containerd),
        trial("runtimes::of_containerd_alone", CONTAINERD, runtimes::of_containerd_alone),
        trial("runtimes::filters", DOCKER, runtimes::filters),
        trial("runtimes::no_socket", RUNC, runtimes::no_socket),
        trial("runtimes::no_socket_in_mid_run", DOCKER, runtimes::no_socket_in_mid_run),
        trial("runtimes::nobody_answers_in_mid_run", DOCKER, runtimes::nobody_answers_in_mid_run),
        trial("kubernetes::the_gap_at_the_start", RUNC, kubernetes::the_gap_at_the_start),
        trial("kubernetes::a_container_of_no_pod", RUNC, kubernetes::a_container_of_no_pod),
        trial("kubernetes::filters", RUNC, kubernetes::filters),
        trial("kubernetes::no_server_at_first", RUNC, kubernetes::no_server_at_first),
        trial("kubernetes::no_server_in_mid_run", RUNC, kubernetes::no_server_in_mid_run),
        trial(
            "kubernetes::no_server_in_mid_run_of_an_agent",
            RUNC,
            kubernetes::no_server_in_mid_run_of_an_agent,
        ),
        trial("kubernetes::refused_at_first", RUNC, kubernetes::refused_at_first),
        trial("kubernetes::a_token_that_expires", RUNC, kubernetes::a_token_that_expires),
        trial("kubernetes::malformed_pods", RUNC, kubernetes::malformed_pods),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn trial(name: &'static str, programs: &[&str], test: fn()) -> Vec<Trial> {
    let has_no_sensor = || procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let unable = missing(programs).or_else(|| has_no_sensor().map(|error| error.to_string()));
    gate(name, unable.as_deref(), [trials::trial(&(name, test))])
}
