//! The docker engine.

use std::process::Command;

use super::{Daemon, Lab, program, run};

pub(crate) const SOCKET: &str = "docker.sock";

/// Starts an engine that makes no networks, with the image.
pub(crate) fn start(lab: &Lab) -> Daemon {
    let arguments = [
        ("--data-root", lab.text("data")),
        ("--exec-root", lab.text("exec")),
        ("--pidfile", lab.text("pid")),
        ("--host", format!("unix://{}", lab.text(SOCKET))),
        ("--bridge", "none".to_owned()),
        // Lowering a process's OOM score is not allowed everywhere, and is not what is tested.
        ("--oom-score-adjust", "0".to_owned()),
    ];
    let daemon = lab.daemon("dockerd", SOCKET, move |command| {
        for (name, value) in &arguments {
            command.args([name, value.as_str()]);
        }
        command.args(["--iptables=false", "--ip6tables=false", "--live-restore"]);
    });
    run(docker(lab).args(["load", "--input"]).arg(lab.image()));
    daemon
}

/// The client.
pub(crate) fn docker(lab: &Lab) -> Command {
    let mut command = program("docker");
    command.args(["--host", &format!("unix://{}", lab.text(SOCKET))]).env("HOME", lab.path("home"));
    command
}
