//! podman.

use std::time::SystemTime;

use procession_kube::{Answer, RuntimeFamily};

use crate::lab::podman::{SOCKET, podman, run_container, start};
use crate::lab::{
    IMAGE, Lab, ask, client, container_of, containers_of, known, new_id, outages as check_outages, parse_id,
    run,
};

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
