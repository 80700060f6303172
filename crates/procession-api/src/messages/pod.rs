//! From what is known of a container to the `pod` of a process.

use std::collections::BTreeMap;

use procession::{Image, Process};
use procession_kube::{ContainerInfo, Found, Pairs, Probe, Whose};

use crate::proto::tetragon::{self, Container, Pod, SecurityContext};

/// The pod of `process`, which runs in a container that is known.
pub(super) fn of(whose: &Whose, process: &Process) -> Pod {
    match whose {
        Whose::Pod(found) => of_api(found, process),
        Whose::Runtime(info) => of_runtime(info, process),
    }
}

fn of_api(found: &Found, process: &Process) -> Pod {
    let (pod, container) = (&found.pod, found.container());
    Pod {
        namespace: pod.namespace.as_ref().to_owned(),
        name: pod.name.as_ref().to_owned(),
        uid: pod.uid.as_ref().to_owned(),
        container: Some(Container {
            id: container.full_id(),
            name: container.name.as_ref().to_owned(),
            image: image(&container.image_id, &container.image),
            start_time: container.started_at.filter(|_| container.is_running).map(Into::into),
            pid: process.ns_pid.map(|pid| pid.0),
            maybe_exec_probe: container.probes.iter().any(|probe| is_run_by(process, probe)),
            security_context: container.privileged.then_some(SecurityContext { privileged: true }),
        }),
        pod_labels: map(&pod.labels),
        workload: pod.workload.as_ref().to_owned(),
        workload_kind: pod.workload_kind.as_ref().to_owned(),
        pod_annotations: map(&pod.annotations),
    }
}

/// A runtime knows neither of workloads nor of probes.
fn of_runtime(info: &ContainerInfo, process: &Process) -> Pod {
    let container = Container {
        id: [&info.runtime, "://", info.id.as_str()].concat(),
        name: info.name.clone(),
        image: image(&info.image_id, &info.image),
        start_time: info.started_at.map(Into::into),
        pid: process.ns_pid.map(|pid| pid.0),
        ..Container::default()
    };
    let mut message = Pod { container: Some(container), ..Pod::default() };
    if let Some(pod) = &info.pod {
        message.namespace.clone_from(&pod.namespace);
        message.name.clone_from(&pod.name);
        message.uid.clone_from(&pod.uid);
        message.pod_labels.clone_from(&pod.labels);
    }
    message
}

#[expect(clippy::unnecessary_wraps, reason = "protobuf's members that are messages are optional")]
fn image(id: &str, name: &str) -> Option<tetragon::Image> {
    Some(tetragon::Image { id: id.to_owned(), name: name.to_owned() })
}

fn is_run_by(process: &Process, probe: &Probe) -> bool {
    let arguments = process.image.as_ref().map(Image::arguments).unwrap_or_default();
    probe.matches(process.binary(), arguments.iter().skip(1))
}

fn map(pairs: &Pairs) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
