//! A generational arena whose memory goes down as well as up.
//!
//! Slots live in pages of fixed size. An index names a slot; a generation tells its successive
//! tenants apart. A page without tenants is given back, and when it is taken again its slots go on
//! with later generations, so an old index never finds a new tenant.

use std::num::NonZeroU32;

/// Names one tenant of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Index {
    slot: u32,
    /// Never zero, so that an optional index is no larger than an index.
    generation: NonZeroU32,
}

#[derive(Debug)]
pub(crate) struct Arena<T> {
    pages: Vec<Page<T>>,
    /// Numbers of the pages that have a free slot, each once; the last one is filled first.
    open: Vec<u32>,
    /// The one page that keeps its memory without a tenant, so that a tenant that comes and goes
    /// is cheap.
    spare: Option<u32>,
    len: usize,
}

const PAGE_SLOTS: u32 = 256;

#[derive(Debug)]
struct Page<T> {
    /// `None` while the page is given back.
    slots: Option<Box<[Slot<T>]>>,
    free: Vec<u8>,
    /// Later than that of every tenant the page ever had.
    next_generation: NonZeroU32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: NonZeroU32,
    tenant: Option<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), open: Vec::new(), spare: None, len: 0 }
    }
}

impl<T> Arena<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `None` only when 2³² tenants live at once.
    pub(crate) fn insert(&mut self, tenant: T) -> Option<Index> {
        let number = match self.open.last() {
            Some(&number) => number,
            None => self.add_page()?,
        };
        if self.spare == Some(number) {
            self.spare = None;
        }
        let page = &mut self.pages[number as usize];
        let slots = page.slots.get_or_insert_with(|| {
            (0..PAGE_SLOTS).map(|_| Slot { generation: NonZeroU32::MIN, tenant: None }).collect()
        });
        let position = page.free.pop()?;
        let generation = page.next_generation;
        page.next_generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        slots[usize::from(position)] = Slot { generation, tenant: Some(tenant) };
        if page.free.is_empty() {
            self.open.pop();
        }
        self.len += 1;
        Some(Index { slot: number * PAGE_SLOTS + u32::from(position), generation })
    }

    pub(crate) fn remove(&mut self, index: Index) -> Option<T> {
        let (number, position) = locate(index);
        let page = self.pages.get_mut(number as usize)?;
        let slot = page.slots.as_mut()?.get_mut(usize::from(position))?;
        if slot.generation != index.generation {
            return None;
        }
        let tenant = slot.tenant.take()?;
        self.len -= 1;
        if page.free.is_empty() {
            self.open.push(number);
        }
        page.free.push(position);
        if page.free.len() == PAGE_SLOTS as usize {
            match self.spare {
                Some(_) => page.slots = None,
                None => self.spare = Some(number),
            }
        }
        Some(tenant)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&T> {
        let (number, position) = locate(index);
        let slot = self.pages.get(number as usize)?.slots.as_ref()?.get(usize::from(position))?;
        slot.tenant.as_ref().filter(|_| slot.generation == index.generation)
    }

    pub(crate) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        let (number, position) = locate(index);
        let slot = self.pages.get_mut(number as usize)?.slots.as_mut()?.get_mut(usize::from(position))?;
        slot.tenant.as_mut().filter(|_| slot.generation == index.generation)
    }

    /// All tenants, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        self.pages.iter().zip(0..).flat_map(|(page, number): (_, u32)| {
            let slots = page.slots.iter().flatten().zip(0..);
            slots.filter_map(move |(slot, position): (_, u32)| {
                let index = Index { slot: number * PAGE_SLOTS + position, generation: slot.generation };
                Some((index, slot.tenant.as_ref()?))
            })
        })
    }

    fn add_page(&mut self) -> Option<u32> {
        let number = u32::try_from(self.pages.len()).ok().filter(|n| *n < u32::MAX / PAGE_SLOTS)?;
        self.pages.push(Page {
            slots: None,
            free: (0..=u8::MAX).rev().collect(),
            next_generation: NonZeroU32::MIN,
        });
        self.open.push(number);
        Some(number)
    }
}

const fn locate(index: Index) -> (u32, u8) {
    let [position, ..] = (index.slot % PAGE_SLOTS).to_le_bytes();
    (index.slot / PAGE_SLOTS, position)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map: what was inserted is found until it is removed, and never after.
        #[test]
        fn behaves_like_a_map(actions in prop::collection::vec(any::<(bool, u16)>(), 0..2_000)) {
            let mut arena = Arena::default();
            let mut model = HashMap::new();
            let mut gone = Vec::new();
            for (insert, value) in actions {
                if insert || model.is_empty() {
                    let index = arena.insert(value).unwrap();
                    prop_assert!(model.insert(index, value).is_none());
                } else {
                    let index = *model.keys().nth(usize::from(value) % model.len()).unwrap();
                    prop_assert_eq!(arena.remove(index), model.remove(&index));
                    gone.push(index);
                }
            }
            prop_assert_eq!(arena.len(), model.len());
            prop_assert!(gone.iter().all(|index| arena.get(*index).is_none()));
            let found: HashMap<_, _> = arena.iter().map(|(index, value)| (index, *value)).collect();
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn empty_pages_are_given_back_and_old_indices_stay_dead() {
        let mut arena = Arena::default();
        let indices: Vec<_> = (0..10_000).map(|i| arena.insert(i).unwrap()).collect();
        for index in &indices {
            arena.remove(*index);
        }
        assert_eq!(arena.pages.iter().filter(|page| page.slots.is_some()).count(), 1);
        for i in 0..10_000 {
            arena.insert(i).unwrap();
        }
        assert!(indices.iter().all(|index| arena.get(*index).is_none()));
    }
}
