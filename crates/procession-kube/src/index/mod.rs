//! Pods by container id: those that are there, and for a while those that are gone.
//!
//! Plain data that reads no clock. Ids are matched whole. What the index holds is a function of
//! what it was told and when:
//!
//! * a container belongs to the pod that last said so;
//! * a container that its pod no longer has, and one whose pod is gone, is remembered as it last
//!   was, because the exits of its processes come after the news of its end.

mod remembered;

use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use procession::BootTime;

use crate::ContainerId;
use crate::pod::{Container, Pod};
use remembered::Remembered;

/// How long, and how many, containers are remembered that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// From the moment that the index was told.
    pub span: Duration,
    /// Containers; of more, those that went first are forgotten.
    pub containers: usize,
}

impl Default for Memory {
    /// Five minutes and 1,024 containers.
    fn default() -> Self {
        Self { span: Duration::from_mins(5), containers: 1024 }
    }
}

/// A container with its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The pod, as it last was.
    pub pod: Arc<Pod>,
    /// Whether the pod, or this container in it, is gone.
    pub is_gone: bool,
    position: u32,
}

impl Found {
    /// The container.
    #[expect(clippy::missing_panics_doc, reason = "the position is one of the pod's")]
    pub fn container(&self) -> &Container {
        self.pod.containers.get(self.position as usize).expect("an index holds places that pods have")
    }
}

/// One of a pod's containers.
#[derive(Clone, Debug)]
struct Place {
    pod: Arc<Pod>,
    position: u32,
}

impl Place {
    fn id(&self) -> &ContainerId {
        &self.pod.containers[self.position as usize].id
    }
}

/// A pod that is there.
#[derive(Debug)]
struct Live {
    pod: Arc<Pod>,
    /// The list that last had it.
    list: u64,
}

/// Pods by container id.
///
/// ```
/// use procession_kube::{ContainerId, Memory, PodIndex};
///
/// let index = PodIndex::new(Memory::default());
/// let id = ContainerId::parse("4f2ac1d97e0b36588c6a54f3e2b1907d".repeat(2).as_bytes()).unwrap();
/// assert!(index.find(&id).is_none());
/// ```
#[derive(Debug)]
pub struct PodIndex {
    places: HashTable<Place>,
    pods: HashTable<Live>,
    remembered: Remembered,
    list: u64,
    hasher: RandomState,
}

impl PodIndex {
    /// An index that is empty.
    pub fn new(memory: Memory) -> Self {
        Self {
            places: HashTable::new(),
            pods: HashTable::new(),
            remembered: Remembered::new(memory),
            list: 0,
            hasher: RandomState::default(),
        }
    }

    /// The pod of a container.
    pub fn find(&self, id: &ContainerId) -> Option<Found> {
        let hash = self.hasher.hash_one(id);
        let live = self.places.find(hash, |place| place.id() == id);
        let place = live.or_else(|| self.remembered.find(id))?;
        Some(Found { pod: Arc::clone(&place.pod), position: place.position, is_gone: live.is_none() })
    }

    /// Takes a pod that was added or changed. The containers that could not be found before.
    pub fn apply(&mut self, pod: &Arc<Pod>, now: BootTime) -> Vec<ContainerId> {
        self.advance(now);
        let pod = self.known(pod);
        if let Some(old) = self.enter(&pod)
            && !Arc::ptr_eq(&old, &pod)
        {
            let is_kept = |position: u32| pod.position(&old.containers[position as usize].id).is_some();
            for position in positions(&old).filter(|position| !is_kept(*position)) {
                self.bury(&Place { pod: Arc::clone(&old), position }, now);
            }
        }
        self.settle(&pod)
    }

    /// Takes a pod that is gone, in its last state. The containers that could not be found before:
    /// a short pod may first be told of by its end.
    pub fn delete(&mut self, pod: &Arc<Pod>, now: BootTime) -> Vec<ContainerId> {
        let new = self.apply(pod, now);
        let hash = self.pod_hash(pod);
        if let Ok(entry) = self.pods.find_entry(hash, |live| live.pod.key() == pod.key()) {
            let (live, _) = entry.remove();
            self.bury_all(&live.pod, now);
        }
        new
    }

    /// Begins a list of all pods: those that were not applied when it [ends](Self::end_list) are
    /// gone. Until then they stay. A list that is begun anew replaces one that did not end.
    pub fn begin_list(&mut self) {
        self.list += 1;
    }

    /// Ends a list of all pods. How many pods are gone.
    pub fn end_list(&mut self, now: BootTime) -> usize {
        let list = self.list;
        let mut gone: Vec<_> = self.pods.extract_if(|live| live.list != list).map(|live| live.pod).collect();
        // Which are remembered when there are too many must not depend on the hash.
        gone.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        for pod in &gone {
            self.bury_all(pod, now);
        }
        self.advance(now);
        gone.len()
    }

    /// Takes a list of all pods at once. The containers that could not be found before.
    pub fn replace(&mut self, pods: impl IntoIterator<Item = Arc<Pod>>, now: BootTime) -> Vec<ContainerId> {
        self.begin_list();
        let new = pods.into_iter().flat_map(|pod| self.apply(&pod, now)).collect();
        self.end_list(now);
        new
    }

    /// Forgets what has been remembered for long enough at `now`.
    pub fn advance(&mut self, now: BootTime) {
        self.remembered.advance(now);
    }

    /// Every pod that is there, in no order.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Arc<Pod>> {
        self.pods.iter().map(|live| &live.pod)
    }

    /// Containers of pods that are there.
    pub fn containers(&self) -> usize {
        self.places.len()
    }

    /// Containers that are gone and remembered.
    pub fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// Containers that were forgotten before their time, because too many went.
    pub fn forgotten_early(&self) -> u64 {
        self.remembered.forgotten_early()
    }

    /// The pod itself, or the equal one that is there: most changes are to what is not kept, and
    /// whoever holds the pod then holds the same one.
    fn known(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let found = self.pods.find(self.pod_hash(pod), |live| live.pod.key() == pod.key());
        Arc::clone(found.map(|live| &live.pod).filter(|known| *known == pod).unwrap_or(pod))
    }

    /// Puts a pod in the place of the one with its key, which it gives back.
    fn enter(&mut self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        let hash = self.pod_hash(pod);
        let live = Live { pod: Arc::clone(pod), list: self.list };
        let hasher = &self.hasher;
        match self.pods.entry(
            hash,
            |other| other.pod.key() == pod.key(),
            |live| hasher.hash_one(live.pod.key()),
        ) {
            Entry::Occupied(mut entry) => Some(mem::replace(entry.get_mut(), live).pod),
            Entry::Vacant(entry) => {
                entry.insert(live);
                None
            }
        }
    }

    /// Gives a pod's containers to it. Those that were neither found nor remembered before.
    fn settle(&mut self, pod: &Arc<Pod>) -> Vec<ContainerId> {
        let mut new = Vec::new();
        for position in positions(pod) {
            let place = Place { pod: Arc::clone(pod), position };
            let id = *place.id();
            if !self.take(place) && !self.remembered.forget(&id) {
                new.push(id);
            }
        }
        new
    }

    /// Makes `place` the place of its container. Whether there was one.
    fn take(&mut self, place: Place) -> bool {
        let hash = self.hasher.hash_one(place.id());
        let hasher = &self.hasher;
        let same = |other: &Place| other.id() == place.id();
        match self.places.entry(hash, same, |place| hasher.hash_one(place.id())) {
            Entry::Occupied(mut entry) => {
                *entry.get_mut() = place;
                true
            }
            Entry::Vacant(entry) => {
                entry.insert(place);
                false
            }
        }
    }

    fn bury_all(&mut self, pod: &Arc<Pod>, now: BootTime) {
        for position in positions(pod) {
            self.bury(&Place { pod: Arc::clone(pod), position }, now);
        }
    }

    /// Remembers a container that is gone, unless another pod has it by now.
    fn bury(&mut self, place: &Place, now: BootTime) {
        let hash = self.hasher.hash_one(place.id());
        let own = |other: &Place| other.id() == place.id() && Arc::ptr_eq(&other.pod, &place.pod);
        if let Ok(entry) = self.places.find_entry(hash, own) {
            let (place, _) = entry.remove();
            self.remembered.add(place, now);
        }
    }

    fn pod_hash(&self, pod: &Pod) -> u64 {
        self.hasher.hash_one(pod.key())
    }
}

fn positions(pod: &Pod) -> impl Iterator<Item = u32> + use<> {
    // No pod has four thousand million containers: the API refuses objects of some megabytes.
    0..u32::try_from(pod.containers.len()).unwrap_or(u32::MAX)
}
