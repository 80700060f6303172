//! podman.

use std::process::Command;

use super::{Daemon, IMAGE, Lab, program, run};

pub(crate) const SOCKET: &str = "podman.sock";

/// Flags that keep all of podman's state in the test's folder.
fn flags(lab: &Lab) -> Vec<String> {
    let folder = |name: &str| lab.text(name);
    [
        ("--root", folder("storage")),
        ("--runroot", folder("run")),
        ("--tmpdir", folder("tmp")),
        ("--runtime", "runc".to_owned()),
        ("--cgroup-manager", "cgroupfs".to_owned()),
        ("--events-backend", "none".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

/// The client.
pub(crate) fn podman(lab: &Lab) -> Command {
    let mut command = program("podman");
    command.args(flags(lab)).env("HOME", lab.path("home"));
    command
}

/// Runs a command in a container, none: what the image says, and returns the id. Raising limits, as
/// podman does on its own, is not allowed everywhere.
pub(crate) fn run_container(lab: &Lab, arguments: &[&str], command: &[&str]) -> String {
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];
    run(podman(lab).args(["run", "--detach"]).args(limits).args(arguments).arg(IMAGE).args(command))
}

/// Starts the service, with the image.
pub(crate) fn start(lab: &Lab) -> Daemon {
    run(podman(lab).args(["load", "--input"]).arg(lab.image()));
    let flags = flags(lab);
    let url = format!("unix://{}", lab.text(SOCKET));
    let home = lab.path("home");
    lab.daemon("podman", SOCKET, move |command| {
        command.args(&flags).env("HOME", &home).args(["system", "service", "--time", "0", &url]);
    })
}
