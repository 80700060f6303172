//! podman.

use std::process::Command;
use std::time::SystemTime;

use procession_kube::{Answer, RuntimeFamily};

use crate::lab::{
    Daemon, IMAGE, Lab, ask, client, container_of, containers_of, known, new_id, outages as check_outages,
    parse_id, program, run,
};

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

fn podman(lab: &Lab) -> Command {
    let mut command = program("podman");
    command.args(flags(lab)).env("HOME", lab.path("home"));
    command
}

/// Runs a container of the image's own command, or of another.
pub(crate) fn run_container(lab: &Lab, arguments: &[&str], command: &[&str]) -> String {
    // Raising limits, as podman does on its own, is not allowed everywhere.
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

pub(crate) fn containers() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let runtimes = client(&[lab.socket("podman", SOCKET)]);
    let pod = run(podman(&lab).args(["pod", "create", "--infra=false", "--name", "pod"]));
    for (name, more) in [
        ("plain", &[][..]),
        ("custom", &["--cgroup-parent", "/procession-test"]),
        ("member", &["--pod", "pod"]),
    ] {
        let before = SystemTime::now();
        let arguments = [&["--label", "tier=front", "--name", name][..], more].concat();
        let id = parse_id(&run_container(&lab, &arguments, &[]));
        let info = known(ask(&runtimes, id));
        assert_eq!((info.id, info.name.as_str(), info.image.as_str()), (id, name, IMAGE));
        assert_eq!((info.runtime.as_str(), info.pod.as_ref()), ("podman", None));
        assert_eq!(info.labels.get("tier").unwrap(), "front");
        assert!((before..=SystemTime::now()).contains(&info.started_at.unwrap()), "{info:?}");
        let found = container_of(info.pid.unwrap());
        assert_eq!((found.id, found.family), (id, RuntimeFamily::Podman));

        let monitor = run(podman(&lab).args(["inspect", "--format", "{{.State.ConmonPid}}", name]));
        assert_eq!(containers_of(monitor.parse().unwrap()), [], "the monitor of {name}");
        run(podman(&lab).args(["rm", "--force", "--time", "0", name]));
        assert_eq!(ask(&client(&[lab.socket("podman", SOCKET)]), id), Answer::Unknown);
    }
    assert_eq!(ask(&runtimes, parse_id(&pod)), Answer::Unknown, "a pod is no container");
    assert_eq!(ask(&runtimes, new_id()), Answer::Unknown);
    drop(daemon);
}

pub(crate) fn outages() {
    let lab = Lab::new();
    let mut daemon = start(&lab);
    let id = parse_id(&run_container(&lab, &[], &[]));
    check_outages(&[lab.socket("podman", SOCKET)], id, &mut daemon);
    run(podman(&lab).args(["rm", "--force", "--time", "0", id.as_str()]));
}
