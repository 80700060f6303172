//! Counted interning: equal values share one allocation, and it goes when its last user goes.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::heap::counted_allocation;

/// A value that says how large it is.
pub(crate) trait Footprint {
    /// Bytes on the heap beyond the value itself.
    fn heap_bytes(&self) -> usize;
}

/// A set of shared values.
///
/// Values that nobody else holds are dropped whenever the set has doubled since the last sweep, so
/// that it never holds more than twice what is in use, at constant cost per insertion.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: HashTable<Arc<T>>,
    hasher: FixedState,
    sweep_at: usize,
    value_bytes: usize,
}

const FIRST_SWEEP: usize = 64;

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T> Interner<T> {
    /// An empty set, whose hash table has this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            values: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            sweep_at: FIRST_SWEEP,
            value_bytes: 0,
        }
    }
}

impl<T: Hash + Eq + Footprint> Interner<T> {
    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.value_bytes + self.values.allocation_size()
    }

    /// Bytes that the next insertion may add, the value itself apart.
    pub(crate) fn growth(&self) -> usize {
        if self.values.len() == self.values.capacity() { 2 * self.values.allocation_size() } else { 0 }
    }

    /// The shared value equal to `value`, made by `make` when there is none yet.
    ///
    /// `V` hashes and compares as `T` does.
    pub(crate) fn get<V: Hash>(&mut self, value: &V, make: impl FnOnce() -> T) -> Arc<T>
    where
        T: PartialEq<V>,
    {
        let hash = self.hasher.hash_one(value);
        if let Some(shared) = self.values.find(hash, |shared| **shared == *value) {
            return Arc::clone(shared);
        }
        if self.values.len() >= self.sweep_at {
            self.sweep();
        }
        let shared = Arc::new(make());
        self.value_bytes += bytes_of(&*shared);
        let hasher = &self.hasher;
        self.values.insert_unique(hash, Arc::clone(&shared), |shared| hasher.hash_one(&**shared));
        shared
    }

    /// Drops what nobody else holds.
    pub(crate) fn sweep(&mut self) {
        let value_bytes = &mut self.value_bytes;
        self.values.retain(|shared| {
            let is_used = Arc::strong_count(shared) > 1;
            if !is_used {
                *value_bytes -= bytes_of(&**shared);
            }
            is_used
        });
        self.sweep_at = (self.values.len() * 2).max(FIRST_SWEEP);
        let hasher = &self.hasher;
        self.values.shrink_to(self.values.len(), |shared| hasher.hash_one(&**shared));
    }
}

fn bytes_of<T: Footprint>(value: &T) -> usize {
    counted_allocation(size_of::<T>()) + value.heap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Footprint for String {
        fn heap_bytes(&self) -> usize {
            crate::heap::allocation(self.capacity())
        }
    }

    fn text(interner: &mut Interner<String>, value: &str) -> Arc<String> {
        interner.get(&value.to_owned(), || value.to_owned())
    }

    #[test]
    fn equal_values_are_one_allocation() {
        let mut interner = Interner::default();
        let (a, b) = (text(&mut interner, "/bin/sh"), text(&mut interner, "/bin/sh"));
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn values_nobody_holds_go() {
        let mut interner = Interner::default();
        let kept = text(&mut interner, "kept");
        let small = interner.bytes();
        for i in 0..100_000_u32 {
            text(&mut interner, &i.to_string());
        }
        assert!(interner.values.len() <= FIRST_SWEEP + 1, "{}", interner.values.len());
        assert!(Arc::ptr_eq(&kept, &text(&mut interner, "kept")));
        interner.sweep();
        assert!(interner.bytes() <= small + 16 * FIRST_SWEEP, "{}", interner.bytes());
    }
}
