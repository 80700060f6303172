//! Whose containers are: what runtimes and the Kubernetes API said while the events were recorded.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::SystemTime;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits, as the runtime has it.
    pub id: String,
    /// Empty: unknown.
    pub name: String,
    /// As it was asked for.
    pub image: String,
    /// Its digest.
    pub image_id: String,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// `None`: it is in no pod.
    pub pod: Option<Pod>,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The name that no other pod ever has.
    pub uid: String,
    /// Name within the namespace.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// What made it: a Deployment, a DaemonSet, …
    pub workload: String,
    /// Of which kind that is.
    pub workload_kind: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// All containers that a journal names, each as it was last told of.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, Container>);

impl Names {
    /// What is known of the container with this id.
    pub fn find(&self, id: &str) -> Option<&Container> {
        self.0.get(id)
    }

    /// Learns of a container.
    pub fn insert(&mut self, container: Container) {
        self.0.insert(container.id.clone(), container);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
