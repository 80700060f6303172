//! An arena whose memory goes down as well as up.
//!
//! Slots live in pages of fixed size. A page without tenants is given back.

use std::num::NonZeroU32;

/// Names a slot. Whoever keeps one knows that its tenant stays, or checks who the tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(
    /// Index and one, so that an optional slot is no larger than a slot.
    NonZeroU32,
);

#[derive(Debug)]
pub(crate) struct Arena<T> {
    pages: Vec<Page<T>>,
    /// Numbers of the pages that have a free slot, each once; the last one is filled first.
    open: Vec<u32>,
    /// The one page that keeps its memory without a tenant, so that a tenant that comes and goes
    /// is cheap.
    spare: Option<u32>,
    /// Pages that have memory.
    allocated: usize,
    len: usize,
}

const PAGE_SLOTS: u32 = 256;

#[derive(Debug)]
struct Page<T> {
    /// `None` while the page is given back.
    slots: Option<Box<[Option<T>]>>,
    free: FreeSlots,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), open: Vec::new(), spare: None, allocated: 0, len: 0 }
    }
}

impl<T> Arena<T> {
    const PAGE_BYTES: usize = PAGE_SLOTS as usize * size_of::<Option<T>>();

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.allocated * Self::PAGE_BYTES
            + self.pages.capacity() * size_of::<Page<T>>()
            + self.open.capacity() * size_of::<u32>()
    }

    /// Bytes that so many insertions may add.
    pub(crate) fn growth(&self, insertions: usize) -> usize {
        let is_there_room = self.allocated * PAGE_SLOTS as usize >= self.len + insertions;
        if is_there_room { 0 } else { Self::PAGE_BYTES + size_of::<Page<T>>() * self.pages.len() }
    }

    /// `None` only when 2³² tenants live at once.
    pub(crate) fn insert(&mut self, tenant: T) -> Option<Slot> {
        let number = match self.open.last() {
            Some(&number) => number,
            None => self.add_page()?,
        };
        if self.spare == Some(number) {
            self.spare = None;
        }
        let page = &mut self.pages[number as usize];
        let allocated = &mut self.allocated;
        let slots = page.slots.get_or_insert_with(|| {
            *allocated += 1;
            (0..PAGE_SLOTS).map(|_| None).collect()
        });
        let position = page.free.take()?;
        slots[usize::from(position)] = Some(tenant);
        if page.free.is_none() {
            self.open.pop();
        }
        self.len += 1;
        NonZeroU32::new(number * PAGE_SLOTS + u32::from(position) + 1).map(Slot)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let (number, position) = locate(slot);
        let page = self.pages.get_mut(number as usize)?;
        let tenant = page.slots.as_mut()?.get_mut(usize::from(position))?.take()?;
        self.len -= 1;
        if page.free.is_none() {
            self.open.push(number);
        }
        page.free.put(position);
        if page.free.is_all() {
            match self.spare {
                Some(_) => {
                    page.slots = None;
                    self.allocated -= 1;
                }
                None => self.spare = Some(number),
            }
        }
        Some(tenant)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let (number, position) = locate(slot);
        self.pages.get(number as usize)?.slots.as_ref()?.get(usize::from(position))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (number, position) = locate(slot);
        self.pages.get_mut(number as usize)?.slots.as_mut()?.get_mut(usize::from(position))?.as_mut()
    }

    /// All tenants, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..self.slot_count()).filter_map(|index| {
            let slot = Slot(NonZeroU32::new(index + 1)?);
            Some((slot, self.get(slot)?))
        })
    }

    fn slot_count(&self) -> u32 {
        u32::try_from(self.pages.len()).map_or(u32::MAX, |pages| pages * PAGE_SLOTS)
    }

    fn add_page(&mut self) -> Option<u32> {
        let number = u32::try_from(self.pages.len()).ok().filter(|n| *n < u32::MAX / PAGE_SLOTS)?;
        self.pages.push(Page { slots: None, free: FreeSlots::all() });
        self.open.push(number);
        Some(number)
    }
}

fn locate(slot: Slot) -> (u32, u8) {
    let index = slot.0.get() - 1;
    let [position, ..] = (index % PAGE_SLOTS).to_le_bytes();
    (index / PAGE_SLOTS, position)
}

/// Which slots of a page are free: one bit each.
#[derive(Debug)]
struct FreeSlots([u64; PAGE_SLOTS as usize / 64]);

impl FreeSlots {
    const fn all() -> Self {
        Self([u64::MAX; 4])
    }

    fn is_all(&self) -> bool {
        self.0 == [u64::MAX; 4]
    }

    fn is_none(&self) -> bool {
        self.0 == [0; 4]
    }

    fn take(&mut self) -> Option<u8> {
        let (word, base) = self.0.iter_mut().zip([0, 64, 128, 192]).find(|(word, _)| **word != 0)?;
        let bit = u8::try_from(word.trailing_zeros()).ok()?;
        *word &= *word - 1;
        Some(base + bit)
    }

    fn put(&mut self, position: u8) {
        self.0[usize::from(position / 64)] |= 1 << (position % 64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map: what was inserted is found until it is removed. The map is ordered, so that
        /// the same actions choose the same slots again.
        #[test]
        fn behaves_like_a_map(actions in prop::collection::vec(any::<(bool, u16)>(), 0..2_000)) {
            let mut arena = Arena::default();
            let mut model = BTreeMap::new();
            for (insert, value) in actions {
                if insert || model.is_empty() {
                    let slot = arena.insert(value).unwrap();
                    prop_assert!(model.insert(slot, value).is_none());
                } else {
                    let slot = *model.keys().nth(usize::from(value) % model.len()).unwrap();
                    prop_assert_eq!(arena.remove(slot), model.remove(&slot));
                    prop_assert_eq!(arena.get(slot), None);
                }
            }
            prop_assert_eq!(arena.len(), model.len());
            let found: BTreeMap<_, _> = arena.iter().map(|(slot, value)| (slot, *value)).collect();
            prop_assert_eq!(&found, &model);
        }
    }

    #[test]
    fn empty_pages_are_given_back() {
        let mut arena = Arena::default();
        let slots: Vec<_> = (0..10_000_u64).map(|i| arena.insert(i).unwrap()).collect();
        let full = arena.bytes();
        for slot in slots {
            arena.remove(slot);
        }
        assert_eq!(arena.allocated, 1);
        assert!(arena.bytes() * 10 < full, "{} of {full}", arena.bytes());
    }
}
