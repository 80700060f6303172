//! What a container runtime tells of a container and its pod.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::ContainerId;

/// A container as its runtime knows it.
///
/// Every text is what the runtime or whoever started the container chose. It may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContainerInfo {
    /// The whole id.
    pub id: ContainerId,
    /// What people call it. In a pod, the name of the container in the pod's specification; `POD`
    /// for the sandbox. The id where it has no name.
    pub name: String,
    /// The image it was started from, by name.
    pub image: String,
    /// What identifies the image's content: a digest, or a name with a digest.
    pub image_id: String,
    /// Its first process, as the host counts. `None`: it does not run, or the runtime does not say.
    pub pid: Option<u32>,
    /// When it was last started. `None`: it was not, or the runtime does not say.
    pub started_at: Option<SystemTime>,
    /// How often its pod had started it before.
    pub attempt: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it only holds the namespaces of a pod, and runs nothing of the user's.
    pub is_sandbox: bool,
    /// The pod it belongs to. `None`: it belongs to none.
    pub pod: Option<RuntimePod>,
    /// Who runs it, in the words of a pod's `containerID`: `containerd`, `cri-o`, `docker`, `podman`.
    pub runtime: String,
}

impl ContainerInfo {
    /// A container of which nothing but the id is known.
    pub fn of(id: ContainerId) -> Self {
        Self {
            id,
            name: String::new(),
            image: String::new(),
            image_id: String::new(),
            pid: None,
            started_at: None,
            attempt: 0,
            labels: BTreeMap::new(),
            is_sandbox: false,
            pod: None,
            runtime: String::new(),
        }
    }
}

/// A pod as the runtime of its containers knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuntimePod {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// Its name, which another pod may have had before.
    pub name: String,
    /// Its id, which no other pod has.
    pub uid: String,
    /// Its labels, without those that the kubelet adds for itself. Empty where the runtime keeps
    /// them elsewhere (docker).
    pub labels: BTreeMap<String, String>,
    /// Its annotations, and those that the kubelet adds. Empty where the runtime keeps none.
    pub annotations: BTreeMap<String, String>,
}
