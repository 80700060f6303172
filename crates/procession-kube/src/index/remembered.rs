//! Containers that are gone, for a time and up to a number.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use procession::BootTime;

use super::{Memory, Place};
use crate::ContainerId;

/// Containers that are gone, in the order in which they went.
#[derive(Debug)]
pub(super) struct Remembered {
    memory: Memory,
    numbers: HashMap<ContainerId, u64, RandomState>,
    places: BTreeMap<u64, (BootTime, Place)>,
    next: u64,
    forgotten_early: u64,
}

impl Remembered {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, numbers: HashMap::default(), places: BTreeMap::new(), next: 0, forgotten_early: 0 }
    }

    pub(super) fn find(&self, id: &ContainerId) -> Option<&Place> {
        self.places.get(self.numbers.get(id)?).map(|(_, place)| place)
    }

    pub(super) fn add(&mut self, place: Place, now: BootTime) {
        self.forget(place.id());
        self.numbers.insert(*place.id(), self.next);
        self.places.insert(self.next, (now, place));
        self.next += 1;
        while self.places.len() > self.memory.containers {
            self.forget_first();
            self.forgotten_early += 1;
        }
    }

    /// Whether there was anything to forget.
    pub(super) fn forget(&mut self, id: &ContainerId) -> bool {
        let number = self.numbers.remove(id);
        number.is_some_and(|number| self.places.remove(&number).is_some())
    }

    pub(super) fn advance(&mut self, now: BootTime) {
        let span = self.memory.span;
        while self.places.first_key_value().is_some_and(|(_, (gone_at, _))| now.since(*gone_at) >= span) {
            self.forget_first();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    fn forget_first(&mut self) {
        if let Some((_, (_, place))) = self.places.pop_first() {
            self.numbers.remove(place.id());
        }
    }
}
