//! Counted interning: equal values share one allocation, and it goes when its last user goes.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A set of shared values.
///
/// Values that nobody else holds are dropped whenever the set has doubled since the last sweep, so
/// that it never holds more than twice what is in use, at constant cost per insertion.
#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized> {
    values: HashTable<Arc<T>>,
    hasher: RandomState,
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 64;

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { values: HashTable::new(), hasher: RandomState::default(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: ?Sized + Hash + Eq> Interner<T> {
    /// The shared value equal to `value`, made by `make` when there is none yet.
    ///
    /// `V` hashes and compares as `T` does.
    pub(crate) fn get<V>(&mut self, value: &V, make: impl FnOnce() -> Arc<T>) -> Arc<T>
    where
        V: ?Sized + Hash,
        T: PartialEq<V>,
    {
        let hash = self.hasher.hash_one(value);
        if let Some(shared) = self.values.find(hash, |shared| **shared == *value) {
            return Arc::clone(shared);
        }
        self.sweep_if_due();
        let shared = make();
        let hasher = &self.hasher;
        self.values.insert_unique(hash, Arc::clone(&shared), |shared| hasher.hash_one(&**shared));
        shared
    }

    fn sweep_if_due(&mut self) {
        if self.values.len() < self.sweep_at {
            return;
        }
        self.values.retain(|shared| Arc::strong_count(shared) > 1);
        self.sweep_at = (self.values.len() * 2).max(FIRST_SWEEP);
        let hasher = &self.hasher;
        self.values.shrink_to(self.sweep_at, |shared| hasher.hash_one(&**shared));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(interner: &mut Interner<[u8]>, value: &[u8]) -> Arc<[u8]> {
        interner.get(value, || value.into())
    }

    #[test]
    fn equal_values_are_one_allocation() {
        let mut interner = Interner::default();
        let (a, b) = (bytes(&mut interner, b"/bin/sh"), bytes(&mut interner, b"/bin/sh"));
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn values_nobody_holds_go() {
        let mut interner = Interner::default();
        let kept = bytes(&mut interner, b"kept");
        for i in 0..100_000_u32 {
            bytes(&mut interner, &i.to_le_bytes());
        }
        assert!(interner.values.len() <= FIRST_SWEEP + 1, "{}", interner.values.len());
        assert!(Arc::ptr_eq(&kept, &bytes(&mut interner, b"kept")));
    }
}
