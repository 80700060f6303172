//! A hash index from keys to slots that stores no keys: it looks at the tenants.
//!
//! It is split into shards, so that growing costs a small part of it at a time: a budget in bytes
//! must not be broken by one table that doubles.

use hashbrown::HashTable;

use crate::arena::Slot;

#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[HashTable<Slot>]>,
    bytes: usize,
}

const SHARDS: usize = 64;

/// Shards smaller than this are not shrunk.
const SMALL: usize = 64;

impl Default for Index {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), bytes: 0 }
    }
}

impl Index {
    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + SHARDS * size_of::<HashTable<Slot>>()
    }

    /// Bytes that the next insertion may add: those of a shard that doubles.
    pub(crate) fn growth(&self) -> usize {
        4 * self.bytes / SHARDS
    }

    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        self.shards[shard(hash)].find(hash, is_it).copied()
    }

    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(&Slot) -> u64) {
        let shard = &mut self.shards[shard(hash)];
        let before = shard.allocation_size();
        shard.insert_unique(hash, slot, hash_of);
        self.bytes += shard.allocation_size() - before;
    }

    /// Puts `new` in the place of `old`, which has the same hash. False: `old` is not there.
    pub(crate) fn replace(&mut self, hash: u64, old: Slot, new: Slot) -> bool {
        let place = self.shards[shard(hash)].find_mut(hash, |slot| *slot == old);
        place.map(|place| *place = new).is_some()
    }

    /// Removes `slot`, if it is there. By identity, so that a later tenant of the same name stays.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(&Slot) -> u64) {
        let shard = &mut self.shards[shard(hash)];
        let Ok(entry) = shard.find_entry(hash, |other| *other == slot) else { return };
        entry.remove();
        if shard.capacity() > SMALL && shard.len() * 4 < shard.capacity() {
            let before = shard.allocation_size();
            shard.shrink_to(shard.len() * 2, hash_of);
            self.bytes -= before - shard.allocation_size();
        }
    }
}

/// Bits of the hash that the tables themselves use least.
fn shard(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[5]) % SHARDS
}
