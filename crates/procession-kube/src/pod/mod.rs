//! A pod as it is kept: what events are told of it, immutable, shared and small.

#[cfg(feature = "kubernetes")]
mod convert;
mod probe;
#[cfg(feature = "kubernetes")]
mod strings;

use std::sync::Arc;
use std::time::SystemTime;

use crate::ContainerId;

#[cfg(feature = "kubernetes")]
pub use convert::{Converter, Defects};
pub use probe::Probe;

/// A pod, at one moment. A change makes another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The namespace it lives in.
    pub namespace: Arc<str>,
    /// Its name, unique in the namespace at any one time.
    pub name: Arc<str>,
    /// Its id, unique for all time. Empty when the API gave none.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: Pairs,
    /// Annotations. Empty unless they were asked for.
    pub annotations: Pairs,
    /// Name of what it is an instance of: [`Workload`](crate::Workload).
    pub workload: Arc<str>,
    /// Kind of what it is an instance of: `Deployment`.
    pub workload_kind: Arc<str>,
    /// For a static pod, which the kubelet reads from a file and only mirrors to the API: the id
    /// that the kubelet and the runtime know it by. It is not [`uid`](Self::uid).
    pub static_uid: Option<Arc<str>>,
    /// Regular containers, then init, ephemeral, and what ran before a restart. No id is there
    /// twice.
    pub containers: Box<[Container]>,
}

impl Pod {
    /// Where among [`containers`](Self::containers) the one with this id is.
    pub fn position(&self, id: &ContainerId) -> Option<usize> {
        self.containers.iter().position(|container| container.id == *id)
    }

    /// What tells this pod from every other: the uid, or, when that is empty, the name.
    pub(crate) fn key(&self) -> (&str, &str) {
        if self.uid.is_empty() { (&self.namespace, &self.name) } else { ("", &self.uid) }
    }
}

/// A container of a pod: one run of it, because a restart makes another one with its own id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The id that the runtime gave it.
    pub id: ContainerId,
    /// The runtime, as the API writes it before the id: `containerd`, `cri-o`, `docker`.
    pub runtime: Arc<str>,
    /// Its name, unique in the pod.
    pub name: Arc<str>,
    /// The image's name, as the runtime resolved it.
    pub image: Arc<str>,
    /// The image's id: a name with a digest.
    pub image_id: Arc<str>,
    /// Which list of the pod it stands in.
    pub kind: ContainerKind,
    /// Whether it is what runs under its name now. Not so before it starts and after it ends.
    pub is_running: bool,
    /// When it was started, as the kubelet says: whole seconds of the wall clock. The reference
    /// system tells of it only while the container runs.
    pub started_at: Option<SystemTime>,
    /// Whether it has all rights on the node.
    pub privileged: bool,
    /// The commands by which the kubelet checks a regular container for life and readiness. The
    /// reference system knows no others, so neither start-up probes nor those of init containers
    /// are here.
    pub probes: Box<[Probe]>,
}

impl Container {
    /// The id as the API writes it: `containerd://<64 hex digits>`.
    pub fn full_id(&self) -> String {
        let separator = if self.runtime.is_empty() { "" } else { "://" };
        [&*self.runtime, separator, self.id.as_str()].concat()
    }
}

/// Which list of a pod a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// What the pod is for.
    Regular,
    /// Runs to its end before the regular ones start, or beside them as a sidecar.
    Init,
    /// Added to a running pod, to look into it.
    Ephemeral,
}

/// Keys with values, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Box<[(Arc<str>, Arc<str>)]>);

impl Pairs {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// Every key with its value, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
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

impl FromIterator<(Arc<str>, Arc<str>)> for Pairs {
    /// Of equal keys the first stays.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(pairs.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::Pairs;

    #[test]
    fn pairs_are_found_by_key() {
        let pairs: Pairs = [("b", "2"), ("a", "1"), ("b", "3")]
            .map(|(key, value)| (key.into(), value.into()))
            .into_iter()
            .collect();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((pairs.get("b"), pairs.get("c"), pairs.len()), (Some("2"), None, 2));
    }
}
