//! The index against the plainest account of what it should hold: a history, read from its end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use procession::BootTime;
use procession_kube::{Container, ContainerId, ContainerKind, Memory, Pairs, Pod, PodIndex};
use proptest::prelude::*;

const SPAN: Duration = Duration::from_secs(10);

fn id(number: u8) -> ContainerId {
    ContainerId::parse(format!("{number:064x}").as_bytes()).unwrap()
}

fn container(number: u8) -> Container {
    Container {
        id: id(number),
        runtime: "containerd".into(),
        name: format!("c{number}").into(),
        image: "image".into(),
        image_id: "image@sha256:0".into(),
        kind: ContainerKind::Regular,
        is_running: true,
        started_at: None,
        privileged: false,
        probes: Box::default(),
    }
}

/// A pod in its `version`-th state, with these containers. Pods with an odd number have no uid.
fn pod(number: u8, version: u32, containers: &[u8]) -> Arc<Pod> {
    let mut containers = containers.to_vec();
    containers.sort_unstable();
    containers.dedup();
    Arc::new(Pod {
        namespace: "default".into(),
        name: format!("pod-{number}").into(),
        uid: if number.is_multiple_of(2) { format!("uid-{number}").into() } else { "".into() },
        labels: [("version".into(), version.to_string().into())].into_iter().collect::<Pairs>(),
        annotations: Pairs::default(),
        workload: "web".into(),
        workload_kind: "Deployment".into(),
        static_uid: None,
        containers: containers.into_iter().map(container).collect(),
    })
}

fn at(seconds: u64) -> BootTime {
    BootTime::ZERO.after(Duration::from_secs(seconds))
}

fn index() -> PodIndex {
    PodIndex::new(Memory { span: SPAN, containers: 4 })
}

/// What is found: the name and state of a pod, and whether it is gone.
type Seen = Option<(String, String, bool)>;

fn look(index: &PodIndex, number: u8) -> Seen {
    let found = index.find(&id(number))?;
    assert_eq!(found.container().id, id(number));
    let version = found.pod.labels.get("version").unwrap().to_owned();
    Some((found.pod.name.to_string(), version, found.is_gone))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `look` gives")]
fn seen(name: &str, version: &str, is_gone: bool) -> Seen {
    Some((name.to_owned(), version.to_owned(), is_gone))
}

#[test]
fn a_pod_is_found_by_each_of_its_containers_until_it_is_forgotten() {
    let mut index = index();
    assert_eq!(index.apply(&pod(0, 1, &[1, 2]), at(0)), [id(1), id(2)]);
    assert_eq!(look(&index, 2), seen("pod-0", "1", false));
    assert!(index.delete(&pod(0, 2, &[1, 2]), at(1)).is_empty());
    assert_eq!(look(&index, 2), seen("pod-0", "2", true), "as it last was");
    assert_eq!((index.pods().len(), index.containers(), index.remembered()), (0, 0, 2));
    index.advance(at(10));
    assert!(look(&index, 2).is_some());
    index.advance(at(11));
    assert!(look(&index, 2).is_none());
    assert_eq!(index.forgotten_early(), 0);
}

#[test]
fn a_container_that_its_pod_no_longer_has_is_remembered() {
    let mut index = index();
    index.apply(&pod(0, 1, &[1, 2]), at(0));
    assert_eq!(index.apply(&pod(0, 2, &[2, 3]), at(1)), [id(3)]);
    assert_eq!(look(&index, 1), seen("pod-0", "1", true));
    assert_eq!(look(&index, 2), seen("pod-0", "2", false));
}

#[test]
fn a_pod_that_is_first_told_of_by_its_end_is_remembered() {
    let mut index = index();
    assert_eq!(index.delete(&pod(0, 1, &[1]), at(0)), [id(1)]);
    assert_eq!(look(&index, 1), seen("pod-0", "1", true));
}

#[test]
fn a_container_belongs_to_the_pod_that_last_said_so() {
    let mut index = index();
    index.apply(&pod(0, 1, &[1]), at(0));
    assert!(index.apply(&pod(2, 2, &[1]), at(0)).is_empty(), "it is not new");
    assert_eq!(look(&index, 1), seen("pod-2", "2", false));
    index.delete(&pod(2, 3, &[1]), at(0));
    assert_eq!(look(&index, 1), seen("pod-2", "3", true));
    index.apply(&pod(0, 1, &[1]), at(0));
    assert_eq!(look(&index, 1), seen("pod-0", "1", false), "though nothing else of the pod changed");
    index.apply(&pod(2, 4, &[1]), at(0));
    index.delete(&pod(0, 5, &[]), at(0));
    assert_eq!(look(&index, 1), seen("pod-2", "4", false), "it went with nobody");
}

#[test]
fn an_equal_pod_stays_the_one_it_is() {
    let mut index = index();
    index.apply(&pod(0, 1, &[1]), at(0));
    let before = index.find(&id(1)).unwrap().pod;
    assert!(index.apply(&pod(0, 1, &[1]), at(1)).is_empty());
    assert!(Arc::ptr_eq(&before, &index.find(&id(1)).unwrap().pod));
}

#[test]
fn too_many_that_are_gone_push_out_the_first() {
    let mut index = index();
    index.apply(&pod(0, 1, &[0, 1, 2, 3, 4, 5]), at(0));
    index.delete(&pod(0, 1, &[0, 1, 2, 3, 4, 5]), at(0));
    assert!(look(&index, 0).is_none() && look(&index, 1).is_none() && look(&index, 2).is_some());
    assert_eq!((index.remembered(), index.forgotten_early()), (4, 2));
    let mut none = PodIndex::new(Memory { span: SPAN, containers: 0 });
    none.delete(&pod(0, 1, &[1]), at(0));
    assert!(none.find(&id(1)).is_none());
}

#[test]
fn a_list_leaves_no_gap_and_ends_what_it_does_not_have() {
    let mut index = index();
    index.apply(&pod(0, 1, &[1]), at(0));
    index.apply(&pod(1, 1, &[2]), at(0));
    index.begin_list();
    index.apply(&pod(2, 1, &[3]), at(1));
    assert_eq!(look(&index, 1), seen("pod-0", "1", false));
    // A list that broke off.
    index.begin_list();
    assert_eq!(index.apply(&pod(0, 1, &[1]), at(2)), []);
    index.apply(&pod(4, 1, &[4]), at(2));
    assert_eq!(look(&index, 3), seen("pod-2", "1", false), "it was there a moment ago");
    assert_eq!(index.end_list(at(2)), 2);
    assert_eq!(look(&index, 1), seen("pod-0", "1", false));
    assert_eq!(look(&index, 2), seen("pod-1", "1", true));
    assert_eq!(look(&index, 3), seen("pod-2", "1", true));
    assert_eq!(look(&index, 4), seen("pod-4", "1", false));
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Arc<Pod>),
    Delete(Arc<Pod>),
    Replace(Vec<Arc<Pod>>),
    Wait(u64),
}

fn pods() -> impl Strategy<Value = Arc<Pod>> {
    (0..5_u8, 0..3_u32, prop::collection::vec(0..8_u8, 0..4))
        .prop_map(|(number, version, containers)| pod(number, version, &containers))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => pods().prop_map(Step::Apply),
        2 => pods().prop_map(Step::Delete),
        1 => prop::collection::vec(pods(), 0..5).prop_map(Step::Replace),
        2 => (0..8_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

/// Plain maps. Who owns a container is written down for each; what is gone is a list.
#[derive(Default)]
struct Model {
    now: u64,
    pods: BTreeMap<String, Arc<Pod>>,
    owners: BTreeMap<ContainerId, String>,
    gone: Vec<(u64, ContainerId, Arc<Pod>)>,
}

impl Model {
    fn apply(&mut self, pod: &Arc<Pod>) {
        let name = pod.name.to_string();
        let old = self.pods.insert(name.clone(), Arc::clone(pod));
        for container in old.iter().flat_map(|old| old.containers.iter()) {
            let is_kept = pod.containers.iter().any(|kept| kept.id == container.id);
            if !is_kept && self.owners.get(&container.id) == Some(&name) {
                self.bury(container.id, old.as_ref().unwrap());
            }
        }
        for container in &pod.containers {
            self.owners.insert(container.id, name.clone());
            self.gone.retain(|(_, id, _)| *id != container.id);
        }
    }

    fn bury(&mut self, id: ContainerId, pod: &Arc<Pod>) {
        self.owners.remove(&id);
        self.gone.push((self.now, id, Arc::clone(pod)));
        if self.gone.len() > 4 {
            self.gone.remove(0);
        }
    }

    fn remove(&mut self, name: &str) {
        let Some(pod) = self.pods.remove(name) else { return };
        for container in &pod.containers {
            if self.owners.get(&container.id).is_some_and(|owner| owner == name) {
                self.bury(container.id, &pod);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply(pod) => self.apply(pod),
            Step::Delete(pod) => {
                self.apply(pod);
                self.remove(&pod.name);
            }
            Step::Replace(pods) => {
                for pod in pods {
                    self.apply(pod);
                }
                let names: Vec<_> = self.pods.keys().cloned().collect();
                for name in names.iter().filter(|name| pods.iter().all(|pod| *pod.name != ***name)) {
                    self.remove(name);
                }
            }
            Step::Wait(seconds) => self.now += seconds,
        }
        let (now, span) = (self.now, SPAN.as_secs());
        self.gone.retain(|(gone_at, ..)| now - gone_at < span);
    }

    fn look(&self, id: &ContainerId) -> Option<(Arc<Pod>, bool)> {
        if let Some(owner) = self.owners.get(id) {
            return Some((Arc::clone(&self.pods[owner]), false));
        }
        self.gone.iter().find(|(_, other, _)| other == id).map(|(_, _, pod)| (Arc::clone(pod), true))
    }
}

fn step(index: &mut PodIndex, step: &Step, now: BootTime) -> Vec<ContainerId> {
    match step {
        Step::Apply(pod) => index.apply(pod, now),
        Step::Delete(pod) => index.delete(pod, now),
        Step::Replace(pods) => index.replace(pods.iter().cloned(), now),
        Step::Wait(_) => {
            index.advance(now);
            Vec::new()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_holds_what_plain_maps_hold(steps in steps()) {
        let (mut index, mut model) = (index(), Model::default());
        for next in &steps {
            let before: Vec<_> = (0..8).map(|number| model.look(&id(number)).is_some()).collect();
            model.step(next);
            let new = step(&mut index, next, at(model.now));
            for (number, was_known) in (0..8).zip(before) {
                let expected = model.look(&id(number));
                let found = index.find(&id(number));
                let found = found.as_ref().map(|found| (&found.pod, found.is_gone));
                prop_assert_eq!(found, expected.as_ref().map(|(pod, is_gone)| (pod, *is_gone)));
                if expected.is_some() && !was_known {
                    prop_assert!(new.contains(&id(number)), "{number} is new");
                }
            }
            prop_assert_eq!(index.pods().len(), model.pods.len());
            prop_assert_eq!(index.containers(), model.owners.len());
            prop_assert_eq!(index.remembered(), model.gone.len());
        }
    }
}
