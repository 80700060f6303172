//! A map that forgets what was not asked for the longest time.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

pub(crate) struct Lru<T> {
    capacity: usize,
    positions: HashMap<Arc<str>, usize, RandomState>,
    /// The first link belongs to no entry: after it stands the newest, before it the oldest.
    links: Vec<Link<T>>,
    free: Vec<usize>,
}

struct Link<T> {
    before: usize,
    after: usize,
    entry: Option<(Arc<str>, T)>,
}

const ENDS: usize = 0;

impl<T> Lru<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let ends = Link { before: ENDS, after: ENDS, entry: None };
        Self { capacity, positions: HashMap::default(), links: vec![ends], free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<&T> {
        let position = *self.positions.get(key)?;
        self.unlink(position);
        self.link_as_newest(position);
        self.links[position].entry.as_ref().map(|(_, value)| value)
    }

    /// What had to go, if anything.
    pub(crate) fn insert(&mut self, key: Arc<str>, value: T) -> Option<T> {
        if let Some(&position) = self.positions.get(&*key) {
            self.unlink(position);
            self.link_as_newest(position);
            return self.links[position].entry.replace((key, value)).map(|(_, value)| value);
        }
        let evicted = if self.len() == self.capacity { self.take(self.links[ENDS].before) } else { None };
        let link = Link { before: ENDS, after: ENDS, entry: Some((Arc::clone(&key), value)) };
        let position = if let Some(position) = self.free.pop() {
            self.links[position] = link;
            position
        } else {
            self.links.push(link);
            self.links.len() - 1
        };
        self.link_as_newest(position);
        self.positions.insert(key, position);
        evicted
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let position = self.positions.get(key).copied();
        position.and_then(|position| self.take(position)).is_some()
    }

    fn take(&mut self, position: usize) -> Option<T> {
        let (key, value) = self.links[position].entry.take()?;
        self.unlink(position);
        self.positions.remove(&key);
        self.free.push(position);
        Some(value)
    }

    fn unlink(&mut self, position: usize) {
        let Link { before, after, .. } = self.links[position];
        self.links[before].after = after;
        self.links[after].before = before;
    }

    fn link_as_newest(&mut self, position: usize) {
        let second = self.links[ENDS].after;
        self.links[position].before = ENDS;
        self.links[position].after = second;
        self.links[second].before = position;
        self.links[ENDS].after = position;
    }
}
