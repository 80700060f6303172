//! containerd: pods over CRI, and containers that Kubernetes has nothing to do with.

use std::time::SystemTime;

use procession_kube::{Answer, RuntimeFamily};

use crate::lab::containerd::{Kubelet, UID, ctr, map, sockets, start};
use crate::lab::{IMAGE, Lab, ask, client, container_of, known, new_id, outages as check_outages, run};

pub(crate) fn pods() {
    let lab = Lab::new();
    let daemon = start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let before = SystemTime::now();
    let pod = kubelet.run_pod(&[]);
    let runtimes = client(&sockets(&lab));

    let info = known(ask(&runtimes, pod.container));
    assert_eq!((info.name.as_str(), info.image.as_str(), info.attempt), ("web", IMAGE, 2));
    assert!(info.image_id.starts_with("sha256:") || info.image_id.contains("@sha256:"), "{info:?}");
    assert_eq!((info.runtime.as_str(), info.is_sandbox), ("containerd", false));
    assert!((before..=SystemTime::now()).contains(&info.started_at.unwrap()), "{info:?}");
    assert_eq!(info.labels.get("io.kubernetes.container.name").unwrap(), "web");
    let found = container_of(info.pid.unwrap());
    assert_eq!((found.id, found.family), (pod.container, RuntimeFamily::Kubernetes));
    let told = info.pod.clone().unwrap();
    assert_eq!((told.namespace.as_str(), told.name.as_str(), told.uid.as_str()), ("shop", "web-0", UID));
    assert_eq!((told.labels, told.annotations), (map(&[("app", "web")]), map(&[("team", "a")])));

    let sandbox = known(ask(&runtimes, pod.sandbox));
    assert_eq!((sandbox.name.as_str(), sandbox.is_sandbox), ("POD", true));
    assert_eq!(sandbox.pod, info.pod);
    assert_eq!(container_of(sandbox.pid.unwrap()).id, pod.sandbox);

    assert_eq!(ask(&runtimes, new_id()), Answer::Unknown);
    kubelet.remove_pod(&pod);
    assert_eq!(ask(&client(&sockets(&lab)), pod.container), Answer::Unknown);
    assert_eq!(ask(&runtimes, pod.container), Answer::Known(info), "what was known stays known");
    drop(daemon);
}

pub(crate) fn outside_kubernetes() {
    let lab = Lab::new();
    let daemon = start(&lab, &["k8s.io", "procession-test"]);
    let runtimes = client(&sockets(&lab));
    let pod_cgroup = format!("/kubepods/besteffort/pod{UID}");
    for (namespace, parent) in [("procession-test", "/procession-test"), ("k8s.io", pod_cgroup.as_str())] {
        let id = new_id();
        let cgroup = format!("{parent}/{id}");
        let arguments = ["run", "--detach", "--label", "tier=front", "--cgroup", &cgroup, IMAGE, id.as_str()];
        run(ctr(&lab, namespace).args(arguments));
        let info = known(ask(&runtimes, id));
        assert_eq!((info.id, info.name.as_str(), info.image.as_str()), (id, id.as_str(), IMAGE));
        assert_eq!((info.runtime.as_str(), info.pod.as_ref()), ("containerd", None));
        assert_eq!(info.labels.get("tier").unwrap(), "front");
        assert_eq!(container_of(info.pid.unwrap()).id, id);
        run(ctr(&lab, namespace).args(["tasks", "kill", "--signal", "SIGKILL", id.as_str()]));
    }
    drop(daemon);
}

pub(crate) fn outages() {
    let lab = Lab::new();
    let mut daemon = start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let pod = kubelet.run_pod(&[]);
    check_outages(&sockets(&lab), pod.container, &mut daemon);
    Kubelet::new(&lab).remove_pod(&pod);
}
