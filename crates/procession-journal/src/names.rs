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

/// The most bytes that all containers of a journal may take: thousands of real ones take a hundredth of it.
const MOST_BYTES: usize = 256 << 20;

/// Of a container, without what it points to and what allocating that costs.
pub(crate) const CONTAINER_BYTES: usize = 512;
/// The same of a label or annotation.
pub(crate) const PAIR_BYTES: usize = 96;

impl Container {
    /// About as many bytes as it takes in memory.
    fn bytes(&self) -> usize {
        let pod = self.pod.as_ref().map_or(0, Pod::bytes);
        let texts = [&self.id, &self.name, &self.image, &self.image_id];
        CONTAINER_BYTES + pod + texts.map(String::len).iter().sum::<usize>()
    }
}

impl Pod {
    fn bytes(&self) -> usize {
        let texts = [&self.uid, &self.name, &self.namespace, &self.workload, &self.workload_kind];
        let pairs = self.labels.iter().chain(&self.annotations);
        let pairs = pairs.map(|(key, value)| PAIR_BYTES + key.len() + value.len());
        pairs.sum::<usize>() + texts.map(String::len).iter().sum::<usize>()
    }
}

/// All containers that a journal names, each as it was last told of.
///
/// A journal may have been written to cost its reader memory. Once they take 256 MiB, labels and annotations of
/// further containers are left out, and then whole containers, which is counted.
#[derive(Clone, Debug, Default)]
pub struct Names {
    containers: HashMap<String, Container>,
    bytes: usize,
    left_out: LeftOut,
}

/// What had no room among the names of a journal. A container of which the journal tells several times may be
/// counted as often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Containers whose labels and annotations are missing.
    pub labels: u64,
    /// Containers of which nothing is known, or only what was told of them before.
    pub containers: u64,
}

impl LeftOut {
    /// Whether nothing is missing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Names {
    /// What is known of the container with this id.
    pub fn find(&self, id: &str) -> Option<&Container> {
        self.containers.get(id)
    }

    /// Learns of a container.
    pub fn insert(&mut self, container: Container) {
        self.insert_within(container, MOST_BYTES);
    }

    fn insert_within(&mut self, mut container: Container, most: usize) {
        let before = self.containers.get(&container.id).map_or(0, Container::bytes);
        let others = self.bytes - before;
        let mut is_shorter = false;
        if others + container.bytes() > most
            && let Some(pod) = &mut container.pod
        {
            is_shorter = !(pod.labels.is_empty() && pod.annotations.is_empty());
            (pod.labels, pod.annotations) = Default::default();
        }
        let bytes = others + container.bytes();
        if bytes > most {
            self.left_out.containers += 1;
            return;
        }
        self.left_out.labels += u64::from(is_shorter);
        self.bytes = bytes;
        self.containers.insert(container.id.clone(), container);
    }

    /// What had no room.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.containers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: u32, labels: usize) -> Container {
        let labels = (0..labels).map(|number| (number.to_string(), "x".repeat(100))).collect();
        let pod = Pod { name: "cart".into(), labels, ..Pod::default() };
        Container { id: id.to_string(), pod: Some(pod), ..Container::default() }
    }

    #[test]
    fn names_take_no_more_than_they_may() {
        let mut names = Names::default();
        for id in 0..1_000 {
            names.insert_within(container(id, 10), 21_000);
        }
        let all: usize = names.containers.values().map(Container::bytes).sum();
        assert_eq!(all, names.bytes);
        assert!((20_000..=21_000).contains(&names.bytes), "{}", names.bytes);
        let labels = |id: &str| names.find(id).and_then(|it| it.pod.as_ref()).map(|pod| pod.labels.len());
        assert_eq!((labels("0"), labels("9"), labels("999")), (Some(10), Some(0), None));
        let without = names.containers.values().filter(|it| it.pod.as_ref().unwrap().labels.is_empty());
        let left_out = LeftOut { labels: without.count() as u64, containers: 1_000 - names.len() as u64 };
        assert_eq!(names.left_out(), left_out);
        assert!(left_out.labels > 0 && left_out.containers > 0, "{left_out:?}");
    }

    #[test]
    fn a_container_that_is_told_of_again_takes_the_place_of_what_was_told_before() {
        let mut names = Names::default();
        for _ in 0..100 {
            names.insert_within(container(1, 10), 4_000);
            names.insert_within(container(1, 5), 4_000);
        }
        assert_eq!((names.len(), names.bytes), (1, container(1, 5).bytes()));
        assert!(names.left_out().is_nothing());
    }
}
