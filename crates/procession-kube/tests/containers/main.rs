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

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

// Programs that tests need; their image is made of `busybox`.
const CONTAINERD: &[&str] = &["busybox", "containerd", "ctr", "runc"];
const DOCKER: &[&str] = &["busybox", "docker", "dockerd", "runc"];
const PODMAN: &[&str] = &["busybox", "conmon", "podman", "runc"];

fn main() -> ExitCode {
    move_apart();
    let mut arguments = Arguments::from_args();
    // They use the same control groups.
    arguments.test_threads = Some(1);
    let trials = [
        trial("runc::containers_of_kubernetes", &["busybox", "runc"], runc::containers_of_kubernetes),
        trial("runc::a_container_in_a_container", &["busybox", "runc"], runc::a_container_in_a_container),
        trial("runc::control_groups_inside", &["busybox", "runc"], runc::control_groups_inside),
        trial("runc::a_monitor_is_on_the_host", &["busybox"], runc::a_monitor_is_on_the_host),
        trial("containerd::pods", CONTAINERD, containerd::pods),
        trial("containerd::outside_kubernetes", CONTAINERD, containerd::outside_kubernetes),
        trial("containerd::outages", CONTAINERD, containerd::outages),
        trial("docker::containers", DOCKER, docker::containers),
        trial("docker::outages", DOCKER, docker::outages),
        trial("podman::containers", PODMAN, podman::containers),
        trial("podman::outages", PODMAN, podman::outages),
    ];
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// Hides where runtimes leave things, whatever they are told, and goes on.
const HIDE: &str = r#"
for folder in /run /dev/shm /etc/docker /etc/cni/net.d /var/lib/containers; do
    [ ! -d $folder ] || mount -n -t tmpfs tmpfs $folder || exit
done
exec "$@"
"#;

/// Begins again in namespaces of its own: its mounts are seen by nobody else, and when it ends,
/// however that be, all its processes and then its mounts go. Returns where that is done or cannot be.
fn move_apart() {
    if env::var_os(lab::APART).is_some() || lab::missing(&[]).is_some() {
        return;
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    again.args(["--", "sh", "-c", HIDE, "sh"]).args(env::args_os()).env(lab::APART, "1");
    panic!("{again:?}: {}", again.exec());
}

fn trial(name: &'static str, programs: &[&str], test: fn()) -> Trial {
    let Some(reason) = lab::missing(programs) else {
        return Trial::test(name, move || {
            test();
            Ok(())
        });
    };
    if env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some() {
        return Trial::test(name, move || Err(Failed::from(reason)));
    }
    eprintln!("SKIPPED: {name}: {reason}");
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}
