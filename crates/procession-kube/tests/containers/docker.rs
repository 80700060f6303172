//! docker.

use std::time::SystemTime;

use procession_kube::{Answer, RuntimeFamily};

use crate::lab::docker::{SOCKET, docker, start};
use crate::lab::{
    IMAGE, Lab, ask, client, container_of, known, new_id, outages as check_outages, parse_id, run,
};

pub(crate) fn containers() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let runtimes = client(&[lab.socket("docker", SOCKET)]);
    for (name, parent, family) in
        [("web", "", RuntimeFamily::Docker), ("kube", "/kubepods/burstable/pod1", RuntimeFamily::Kubernetes)]
    {
        let before = SystemTime::now();
        let mut command = docker(&lab);
        command.args(["run", "--detach", "--network", "none", "--label", "tier=front", "--name", name]);
        if !parent.is_empty() {
            command.args(["--cgroup-parent", parent]);
        }
        let id = parse_id(&run(command.arg(IMAGE)));
        let info = known(ask(&runtimes, id));
        assert_eq!((info.id, info.name.as_str(), info.image.as_str()), (id, name, IMAGE));
        assert!(info.image_id.starts_with("sha256:"), "{info:?}");
        assert_eq!((info.runtime.as_str(), info.pod.as_ref(), info.is_sandbox), ("docker", None, false));
        assert_eq!(info.labels.get("tier").unwrap(), "front");
        assert!((before..=SystemTime::now()).contains(&info.started_at.unwrap()), "{info:?}");
        let found = container_of(info.pid.unwrap());
        assert_eq!((found.id, found.family), (id, family));

        run(docker(&lab).args(["restart", "--time", "0", name]));
        // The first answer is the old one; it is asked for anew.
        let again = known(ask(&runtimes, id));
        assert_ne!(again.pid, info.pid);
        assert_eq!(container_of(again.pid.unwrap()).id, id);
        run(docker(&lab).args(["kill", name]));
        let ended = known(ask(&runtimes, id));
        assert_eq!((ended.pid, ended.started_at), (None, again.started_at));
        run(docker(&lab).args(["rm", name]));
        assert_eq!(ask(&client(&[lab.socket("docker", SOCKET)]), id), Answer::Unknown);
    }
    assert_eq!(ask(&runtimes, new_id()), Answer::Unknown);
    drop(daemon);
}

pub(crate) fn outages() {
    let lab = Lab::new();
    let mut daemon = start(&lab);
    let id = parse_id(&run(docker(&lab).args(["run", "--detach", "--network", "none", IMAGE])));
    check_outages(&[lab.socket("docker", SOCKET)], id, &mut daemon);
    run(docker(&lab).args(["rm", "--force", id.as_str()]));
}
