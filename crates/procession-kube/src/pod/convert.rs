//! From the API's pod to the pod that is kept. Everything else the API said is dropped.

use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::strings::Strings;
use super::{Container, ContainerKind, Pairs, Pod, Probe};
use crate::ContainerId;
use crate::workload::{Controller, Ownership, Workload};

/// What stands before `://` in a container's id, by the kubelet's own runtimes.
const RUNTIMES: [&str; 4] = ["containerd", "cri-o", "docker", "podman"];
const STATIC_UID: &str = "kubernetes.io/config.mirror";

/// Pieces of pods that were not as they should be, each time a pod was received.
///
/// The piece alone is left out; the rest of the pod is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// Container ids that are not 64 hex digits. The container cannot be found.
    pub container_ids: u64,
    /// Runtimes of an unknown name, or none. The id is taken as it is.
    pub runtimes: u64,
    /// Ids that one pod has twice. The first stays.
    pub repeated_ids: u64,
    /// Containers that the pod's specification does not have. Probes and rights are unknown.
    pub unspecified: u64,
    /// Pods without a uid. The name stands in for it.
    pub uids: u64,
    /// Pods without a name or namespace.
    pub names: u64,
    /// Pods without a status. They have no containers yet.
    pub statuses: u64,
}

impl Defects {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { container_ids, runtimes, repeated_ids, unspecified, uids, names, statuses } = *self;
        [container_ids, runtimes, repeated_ids, unspecified, uids, names, statuses].iter().sum()
    }
}

/// Makes pods of what the API sends.
///
/// It never fails: see [`Defects`].
#[derive(Debug, Default)]
pub struct Converter {
    strings: Strings,
    keeps_annotations: bool,
    defects: Defects,
}

impl Converter {
    /// `keeps_annotations`: whether pods keep their annotations, which can be large.
    pub fn new(keeps_annotations: bool) -> Self {
        Self { keeps_annotations, ..Self::default() }
    }

    /// What was wrong with the pods so far.
    pub fn defects(&self) -> Defects {
        self.defects
    }

    /// The pod to keep.
    pub fn convert(&mut self, pod: &api::Pod) -> Arc<Pod> {
        let meta = &pod.metadata;
        self.count_missing(pod);
        let workload = Workload::of(&ownership(meta));
        let annotations = meta.annotations.as_ref().filter(|_| self.keeps_annotations);
        Arc::new(Pod {
            namespace: self.strings.share(text(meta.namespace.as_ref())),
            name: text(meta.name.as_ref()).into(),
            uid: text(meta.uid.as_ref()).into(),
            labels: self.pairs(meta.labels.iter().flatten()),
            annotations: self.pairs(annotations.into_iter().flatten()),
            workload: self.strings.share(workload.name),
            workload_kind: self.strings.share(workload.kind),
            static_uid: meta
                .annotations
                .as_ref()
                .and_then(|all| all.get(STATIC_UID))
                .map(|uid| (**uid).into()),
            containers: self.containers(pod),
        })
    }

    fn count_missing(&mut self, pod: &api::Pod) {
        let meta = &pod.metadata;
        let is_named = !text(meta.name.as_ref()).is_empty() && !text(meta.namespace.as_ref()).is_empty();
        self.defects.names += u64::from(!is_named);
        self.defects.uids += u64::from(text(meta.uid.as_ref()).is_empty());
        self.defects.statuses += u64::from(pod.status.is_none());
    }

    fn pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Pairs {
        pairs.map(|(key, value)| (self.strings.share(key), self.strings.share(value))).collect()
    }

    fn containers(&mut self, pod: &api::Pod) -> Box<[Container]> {
        let Some(status) = &pod.status else { return Box::default() };
        let (mut current, mut earlier) = (Vec::new(), Vec::new());
        for (kind, statuses) in [
            (ContainerKind::Regular, &status.container_statuses),
            (ContainerKind::Init, &status.init_container_statuses),
            (ContainerKind::Ephemeral, &status.ephemeral_container_statuses),
        ] {
            for status in statuses.iter().flatten() {
                let specified = Specified::find(pod.spec.as_ref(), &status.name);
                self.defects.unspecified += u64::from(specified.is_none());
                let specified = specified.unwrap_or_default();
                let id = text(status.container_id.as_ref());
                if let Some(container) = self.container(id, status, status.state.as_ref(), kind, &specified) {
                    current.push(container);
                }
                let id = earlier_id(status);
                if let Some(container) =
                    self.container(id, status, status.last_state.as_ref(), kind, &specified)
                {
                    earlier.push(Container { is_running: false, ..container });
                }
            }
        }
        let mut containers = current;
        self.defects.repeated_ids += drop_repeated(&mut containers);
        containers.append(&mut earlier);
        // A container that has ended and was not started again may stand in both places.
        drop_repeated(&mut containers);
        containers.into_boxed_slice()
    }

    fn container(
        &mut self,
        id: &str,
        status: &api::ContainerStatus,
        state: Option<&api::ContainerState>,
        kind: ContainerKind,
        specified: &Specified<'_>,
    ) -> Option<Container> {
        let (runtime, id) = self.id(id)?;
        Some(Container {
            id,
            runtime: self.strings.share(runtime),
            name: self.strings.share(&status.name),
            image: self.strings.share(&status.image),
            image_id: self.strings.share(&status.image_id),
            kind,
            is_running: state.is_some_and(|state| state.running.is_some()),
            started_at: state.and_then(started_at),
            privileged: specified.privileged,
            probes: specified.probes(),
        })
    }

    /// Takes `containerd://<id>` apart. Empty: the container was not created yet.
    fn id<'a>(&mut self, text: &'a str) -> Option<(&'a str, ContainerId)> {
        if text.is_empty() {
            return None;
        }
        let (runtime, hex) = text.split_once("://").unwrap_or(("", text));
        let Some(id) = ContainerId::parse(hex.as_bytes()) else {
            self.defects.container_ids += 1;
            return None;
        };
        self.defects.runtimes += u64::from(!RUNTIMES.contains(&runtime));
        Some((runtime, id))
    }
}

/// What the specification says of a container.
#[derive(Default)]
struct Specified<'a> {
    privileged: bool,
    probes: [Option<&'a api::Probe>; 2],
}

impl<'a> Specified<'a> {
    /// Names are unique in a pod, whichever list they stand in.
    fn find(spec: Option<&'a api::PodSpec>, name: &str) -> Option<Self> {
        let spec = spec?;
        if let Some(container) = spec.containers.iter().find(|container| container.name == name) {
            let probes = [container.liveness_probe.as_ref(), container.readiness_probe.as_ref()];
            return Some(Self { privileged: is_privileged(container.security_context.as_ref()), probes });
        }
        let init = spec.init_containers.iter().flatten();
        let init = init.map(|container| (&container.name, container.security_context.as_ref()));
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        let ephemeral = ephemeral.map(|container| (&container.name, container.security_context.as_ref()));
        let (_, context) = init.chain(ephemeral).find(|(other, _)| *other == name)?;
        Some(Self { privileged: is_privileged(context), probes: [None, None] })
    }

    fn probes(&self) -> Box<[Probe]> {
        let commands = self.probes.iter().flatten().filter_map(|probe| probe.exec.as_ref()?.command.as_ref());
        commands.map(|command| Probe::new(command.iter().map(String::as_str))).collect()
    }
}

fn is_privileged(context: Option<&api::SecurityContext>) -> bool {
    context.and_then(|context| context.privileged).unwrap_or(false)
}

fn earlier_id(status: &api::ContainerStatus) -> &str {
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    text(ended.and_then(|ended| ended.container_id.as_ref()))
}

fn started_at(state: &api::ContainerState) -> Option<SystemTime> {
    let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref());
    running.or(ended).map(|Time(time)| (*time).into())
}

/// Drops containers whose id an earlier one has, and says how many.
fn drop_repeated(containers: &mut Vec<Container>) -> u64 {
    let before = containers.len();
    let mut seen = Vec::with_capacity(before);
    containers.retain(|container| {
        let is_new = !seen.contains(&container.id);
        seen.push(container.id);
        is_new
    });
    (before - containers.len()) as u64
}

fn ownership(meta: &ObjectMeta) -> Ownership<'_> {
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let mut owners = meta.owner_references.iter().flatten();
    let controller = owners
        .find(|owner| owner.controller == Some(true))
        .map(|OwnerReference { api_version, kind, name, .. }| Controller { api_version, kind, name });
    Ownership {
        pod: text(meta.name.as_ref()),
        name_is_generated: !text(meta.generate_name.as_ref()).is_empty(),
        controller,
        template_hash: label("pod-template-hash"),
        deployment_config: label("deploymentconfig"),
    }
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}
