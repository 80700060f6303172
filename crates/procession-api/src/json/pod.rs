//! From what is known of a container to the `pod` of a process.

use std::collections::BTreeMap;

use procession::Process;
use procession_kube::{ContainerInfo, Found, Pairs, Probe, Whose};

use super::message::{Container, ContainerImage, Pod, SecurityContext};
use super::value::Timestamp;

/// The pod of `process`, which runs in a container that is known.
pub(super) fn of<'a>(whose: &'a Whose, process: &Process) -> Pod<'a> {
    match whose {
        Whose::Pod(found) => of_api(found, process),
        Whose::Runtime(info) => of_runtime(info, process),
    }
}

fn of_api<'a>(found: &'a Found, process: &Process) -> Pod<'a> {
    let (pod, container) = (&found.pod, found.container());
    Pod {
        namespace: &pod.namespace,
        name: &pod.name,
        uid: &pod.uid,
        container: Container {
            id: container.full_id(),
            name: &container.name,
            image: ContainerImage { id: &container.image_id, name: &container.image },
            start_time: container.started_at.filter(|_| container.is_running).map(Timestamp),
            pid: process.ns_pid.map(|pid| pid.0),
            maybe_exec_probe: container.probes.iter().any(|probe| is_run_by(process, probe)),
            security_context: container.privileged.then_some(SecurityContext { privileged: true }),
        },
        pod_labels: map(&pod.labels),
        workload: &pod.workload,
        workload_kind: &pod.workload_kind,
        pod_annotations: map(&pod.annotations),
    }
}

/// A runtime knows neither of workloads nor of probes.
fn of_runtime<'a>(info: &'a ContainerInfo, process: &Process) -> Pod<'a> {
    let pod = info.pod.as_ref();
    Pod {
        namespace: pod.map_or("", |pod| pod.namespace.as_str()),
        name: pod.map_or("", |pod| pod.name.as_str()),
        uid: pod.map_or("", |pod| pod.uid.as_str()),
        container: Container {
            id: format!("{}://{}", info.runtime, info.id),
            name: &info.name,
            image: ContainerImage { id: &info.image_id, name: &info.image },
            start_time: info.started_at.map(Timestamp),
            pid: process.ns_pid.map(|pid| pid.0),
            maybe_exec_probe: false,
            security_context: None,
        },
        pod_labels: pod
            .map(|pod| pod.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
            .unwrap_or_default(),
        workload: "",
        workload_kind: "",
        pod_annotations: BTreeMap::new(),
    }
}

fn is_run_by(process: &Process, probe: &Probe) -> bool {
    let arguments = process.image.as_ref().map(procession::Image::arguments).unwrap_or_default();
    probe.matches(process.binary(), arguments.iter().skip(1))
}

fn map(pairs: &Pairs) -> BTreeMap<&str, &str> {
    pairs.iter().collect()
}
