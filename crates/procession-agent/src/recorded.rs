//! What a journal has, in the terms of an agent: its source, whose containers were, and messages of all that.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use procession::BootTime;
use procession_api::messages::{AnnotationOptions, MessageEncoder};
use procession_journal::{Container as Recorded, Names, Pod as RecordedPod, Recording};
use procession_kube::{
    CgroupContainer, Container, ContainerId, ContainerInfo, ContainerKind, Memory, Pairs, Pod, PodIndex,
    RuntimePod, Whose,
};
use procession_sensor::SourceKind;

use crate::inventory::{Inventory, News};

/// What makes messages of what was recorded.
pub fn recorded_encoder(recording: &Recording) -> MessageEncoder {
    let namespaces = recording.host_namespaces;
    MessageEncoder {
        node_name: recording.node_name.clone(),
        cluster_name: String::new(),
        options: AnnotationOptions { namespaces, ..AnnotationOptions::default() },
    }
}

/// The source that it was recorded from. Of another than these, such as an import, nobody knows any shortcoming.
pub(crate) fn recorded_kind(recording: &Recording) -> SourceKind {
    let kinds = [SourceKind::Ebpf, SourceKind::Connector, SourceKind::Polling];
    let named = kinds.into_iter().find(|kind| kind.to_string() == recording.source);
    named.unwrap_or(SourceKind::Ebpf)
}

/// Whose containers were, as a journal has it.
#[derive(Debug)]
pub struct RecordedInventory {
    names: Names,
    /// What was asked for before.
    found: RefCell<HashMap<ContainerId, Option<Whose>>>,
}

impl RecordedInventory {
    /// Of these containers.
    pub fn new(names: Names) -> Self {
        Self { names, found: RefCell::default() }
    }
}

impl Inventory for RecordedInventory {
    fn find(&self, id: &ContainerId) -> Option<Whose> {
        let mut found = self.found.borrow_mut();
        found.entry(*id).or_insert_with(|| whose(*id, self.names.find(id.as_str())?)).clone()
    }

    fn can_know(&self) -> bool {
        !self.names.is_empty()
    }

    fn ask(&self, _container: CgroupContainer) -> bool {
        false
    }

    fn news(&self, _news: &mut dyn FnMut(News)) {}
}

/// A pod with a workload was told of by the Kubernetes API, for a runtime knows of none.
fn whose(id: ContainerId, container: &Recorded) -> Option<Whose> {
    match &container.pod {
        Some(pod) if !pod.workload.is_empty() => of_api(id, container, pod),
        pod => Some(Whose::Runtime(Arc::new(of_runtime(id, container, pod.as_ref())))),
    }
}

fn of_runtime(id: ContainerId, container: &Recorded, pod: Option<&RecordedPod>) -> ContainerInfo {
    let pod = pod.map(|pod| RuntimePod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        labels: pod.labels.clone(),
        annotations: pod.annotations.clone(),
    });
    ContainerInfo {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        started_at: container.started,
        pod,
        ..ContainerInfo::of(id)
    }
}

fn of_api(id: ContainerId, container: &Recorded, pod: &RecordedPod) -> Option<Whose> {
    let only = Container {
        id,
        runtime: "".into(),
        name: container.name.as_str().into(),
        image: container.image.as_str().into(),
        image_id: container.image_id.as_str().into(),
        kind: ContainerKind::Regular,
        is_running: container.started.is_some(),
        started_at: container.started,
        privileged: false,
        probes: Box::default(),
    };
    let pairs = |map: &BTreeMap<String, String>| -> Pairs {
        map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
    };
    let pod = Arc::new(Pod {
        namespace: pod.namespace.as_str().into(),
        name: pod.name.as_str().into(),
        uid: pod.uid.as_str().into(),
        labels: pairs(&pod.labels),
        annotations: pairs(&pod.annotations),
        workload: pod.workload.as_str().into(),
        workload_kind: pod.workload_kind.as_str().into(),
        static_uid: None,
        containers: [only].into(),
    });
    // What is known of a container is with an index of pods: one for it alone.
    let mut index = PodIndex::new(Memory::default());
    index.apply(&pod, BootTime::ZERO);
    index.find(&id).map(Whose::Pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::recording;

    #[test]
    fn a_recording_is_of_the_source_that_it_names() {
        let kind = |source: String| recorded_kind(&Recording { source, ..recording() });
        for source in [SourceKind::Ebpf, SourceKind::Connector, SourceKind::Polling] {
            assert_eq!(kind(source.to_string()), source);
        }
        assert_eq!(kind("import".into()), SourceKind::Ebpf);
    }

    #[test]
    fn containers_are_told_of_by_who_would_have_told_of_them() {
        let id = |digit: &str| digit.repeat(ContainerId::LEN);
        let known = |digit: &str| ContainerId::parse(id(digit).as_bytes()).unwrap();
        let pod = RecordedPod { name: "cart-0".into(), namespace: "shop".into(), ..RecordedPod::default() };
        let of_api = RecordedPod { workload: "cart".into(), ..pod.clone() };
        let mut names = Names::default();
        for (digit, pod) in [("a", None), ("b", Some(pod)), ("c", Some(of_api))] {
            names.insert(Recorded { id: id(digit), name: "app".into(), pod, ..Recorded::default() });
        }
        let inventory = RecordedInventory::new(names);
        let found = |digit: &str| inventory.find(&known(digit)).unwrap();
        assert!(matches!(found("a"), Whose::Runtime(_)) && found("a").pod().is_none());
        assert!(matches!(found("b"), Whose::Runtime(_)));
        assert!(matches!(found("c"), Whose::Pod(_)));
        for digit in ["b", "c"] {
            let whose = found(digit);
            let pod = whose.pod().unwrap();
            assert_eq!((pod.namespace, pod.name, whose.container_name()), ("shop", "cart-0", "app"));
        }
        assert_eq!(inventory.find(&known("d")), None);
        assert!(!inventory.ask(known("d").into()) && inventory.can_know());
        assert!(!RecordedInventory::new(Names::default()).can_know());
    }
}
