//! What a runtime tells of a container.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    /// About how many bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.name, &self.image, &self.image_id, &self.runtime].map(String::len);
        let pod = self.pod.as_ref().map_or(0, RuntimePod::bytes);
        size_of::<Self>() + texts.iter().sum::<usize>() + map_bytes(&self.labels) + pod
    }
}

/// A pod as the runtime of its containers knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
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

impl RuntimePod {
    /// The pod that the kubelet's labels on a container name.
    pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let label = |name: &str| labels.get(&format!("{POD_LABEL}.{name}")).cloned();
        Some(Self {
            namespace: label("namespace")?,
            name: label("name")?,
            uid: label("uid")?,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        })
    }

    /// Takes out of a sandbox's labels those that say which pod it is: the pod itself has not got them.
    pub(super) fn own_labels(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        labels.retain(|name, _| !name.strip_prefix(POD_LABEL).is_some_and(|rest| rest.starts_with('.')));
        labels
    }

    fn bytes(&self) -> usize {
        let texts = [&self.namespace, &self.name, &self.uid].map(String::len);
        texts.iter().sum::<usize>() + map_bytes(&self.labels) + map_bytes(&self.annotations)
    }
}

/// What the names of the kubelet's labels for `namespace`, `name` and `uid` begin with.
const POD_LABEL: &str = "io.kubernetes.pod";

fn map_bytes(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.len() + 2 * size_of::<String>()).sum()
}

/// What came of asking the runtimes for a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A runtime has it.
    Known(Arc<ContainerInfo>),
    /// Every runtime answered, and none has it.
    Unknown,
    /// No runtime has answered with it, and at least one could not be asked; or there is none.
    Unreachable,
}

/// An answer, and to what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The container that was asked for.
    pub id: ContainerId,
    /// What came of it.
    pub answer: Answer,
}

/// What became of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The answer was there.
    Answered(Answer),
    /// The answer will come out of [`Runtimes::replies`](crate::Runtimes::replies).
    Waiting,
    /// Too many questions wait already. This one was counted and is forgotten.
    Refused,
}

/// What was asked and answered since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RuntimeCounters {
    /// Questions that went to the runtimes.
    pub asked: u64,
    /// Questions that were refused because too many waited.
    pub refused: u64,
    /// Questions answered with a container.
    pub known: u64,
    /// Questions to which all runtimes said no.
    pub unknown: u64,
    /// Questions that not every runtime could be asked.
    pub unreachable: u64,
    /// Replies that found no room in the channel.
    pub dropped_replies: u64,
}
