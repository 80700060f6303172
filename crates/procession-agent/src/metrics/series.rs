//! Counts by labels whose values are other people's input, in bounded memory.
//!
//! There are at most so many series, and of one pod at most a quarter of them. What finds no room is
//! counted all the same: under its pod with another binary, or if there is no room for that either, under
//! no pod in particular. So whoever makes up names spoils the detail of his own pod, and no count.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use procession_api::proto::tetragon::EventType;

/// The value of labels whose own value found no room.
pub(super) const OTHER: &str = "other";

/// How long a series stays in which nothing is counted.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// How often it is looked for room, at most, when there is none.
const SEARCH: Duration = Duration::from_secs(10);

/// The most bytes of a label value; of longer ones the beginning is taken.
const VALUE_BYTES: usize = 256;

/// Values of the labels of a series, in the order in which they are written.
pub(super) type Values<'v> = [&'v str; LABELS];

/// How many labels a process has.
pub(super) const LABELS: usize = 5;

/// Where the namespace, the name of the pod and the binary are among them.
const BINARY: usize = 3;

/// One count, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Count {
    pub(super) labels: Labels,
    pub(super) kind: EventType,
    pub(super) events: u64,
}

/// Values of labels in one piece: to compare them, one place in memory is looked at.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    text: Arc<str>,
    ends: [usize; LABELS],
}

/// The counts.
#[derive(Debug)]
pub(super) struct Series {
    table: HashTable<Item>,
    /// How many of them each pod has.
    shares: HashTable<Share>,
    hasher: RandomState,
    limit: usize,
    /// Of what found no room anywhere.
    others: Vec<Count>,
    /// Events that were counted under another label value than their own.
    displaced: u64,
    searched: Option<Instant>,
}

#[derive(Debug)]
struct Item {
    hash: u64,
    count: Count,
    used: Instant,
}

#[derive(Debug)]
struct Share {
    namespace: Box<str>,
    pod: Box<str>,
    series: usize,
}

impl Series {
    /// None yet, and at most `limit`.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: HashTable::new(),
            shares: HashTable::new(),
            hasher: RandomState::default(),
            limit,
            others: Vec::new(),
            displaced: 0,
            searched: None,
        }
    }

    /// Counts an event.
    pub(super) fn count(&mut self, kind: EventType, values: Values<'_>, now: Instant) {
        let values = values.map(shorten);
        if self.add(kind, values, now) || self.insert(kind, values, self.share(), now) {
            return;
        }
        self.displaced += 1;
        let mut pod = values;
        pod[BINARY] = if values[BINARY].is_empty() { "" } else { OTHER };
        // What is in the table for a pod as a whole is not limited by the pod's share.
        if !self.add(kind, pod, now) && !self.insert(kind, pod, self.limit, now) {
            self.count_other(kind, values);
        }
    }

    /// Lets go of what is no longer of use.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_idle = |item: &mut Item| now.saturating_duration_since(item.used) >= IDLE;
        let Self { table, shares, hasher, .. } = self;
        for item in table.extract_if(is_idle) {
            let [namespace, _, pod, ..] = item.count.labels.values();
            let hash = hasher.hash_one((namespace, pod));
            let is_it = |share: &Share| *share.namespace == *namespace && *share.pod == *pod;
            if let Ok(mut found) = shares.find_entry(hash, is_it) {
                found.get_mut().series -= 1;
                if found.get().series == 0 {
                    found.remove();
                }
            }
        }
    }

    /// All counts.
    pub(super) fn counts(&self) -> Vec<Count> {
        self.table.iter().map(|item| &item.count).chain(&self.others).cloned().collect()
    }

    /// How many series there are, those for what found no room not counted.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The most that there may be.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Events that were counted under another label value than their own.
    pub(super) fn displaced(&self) -> u64 {
        self.displaced
    }

    /// The most series of one pod.
    fn share(&self) -> usize {
        // One at least: a pod of which nothing is counted is not remembered.
        (self.limit / 4).max(1)
    }

    /// Adds one to a series. Whether there is it.
    fn add(&mut self, kind: EventType, values: Values<'_>, now: Instant) -> bool {
        let hash = self.hash(kind, values);
        let found = self.table.find_mut(hash, |item| item.hash == hash && item.count.is(kind, values));
        found.is_some_and(|item| {
            item.count.events += 1;
            item.used = now;
            true
        })
    }

    /// Makes a series with one event. Whether there was room, given that its pod may have `share`.
    fn insert(&mut self, kind: EventType, values: Values<'_>, share: usize, now: Instant) -> bool {
        if !self.has_room(now) {
            return false;
        }
        let [namespace, _, pod, ..] = values;
        let place = self.hasher.hash_one((namespace, pod));
        let is_it = |share: &Share| *share.namespace == *namespace && *share.pod == *pod;
        let rehash = |share: &Share| self.hasher.hash_one((&*share.namespace, &*share.pod));
        let new = || Share { namespace: namespace.into(), pod: pod.into(), series: 0 };
        let found = self.shares.entry(place, is_it, rehash).or_insert_with(new).into_mut();
        if found.series >= share {
            return false;
        }
        found.series += 1;
        let hash = self.hash(kind, values);
        let item = Item { hash, count: Count::new(kind, values), used: now };
        self.table.insert_unique(hash, item, |item| item.hash);
        true
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.len() < self.limit {
            return true;
        }
        if self.searched.is_none_or(|searched| now.saturating_duration_since(searched) >= SEARCH) {
            self.searched = Some(now);
            self.sweep(now);
        }
        self.len() < self.limit
    }

    fn count_other(&mut self, kind: EventType, values: Values<'_>) {
        // What is left out, or does not apply, stays empty.
        let values = values.map(|value| if value.is_empty() { "" } else { OTHER });
        match self.others.iter_mut().find(|count| count.is(kind, values)) {
            Some(count) => count.events += 1,
            None => self.others.push(Count::new(kind, values)),
        }
    }

    fn hash(&self, kind: EventType, values: Values<'_>) -> u64 {
        // The node is always the same.
        let [namespace, workload, pod, binary, _] = values;
        self.hasher.hash_one((kind, namespace, workload, pod, binary))
    }
}

impl Count {
    fn new(kind: EventType, values: Values<'_>) -> Self {
        Self { labels: Labels::new(values), kind, events: 1 }
    }

    fn is(&self, kind: EventType, values: Values<'_>) -> bool {
        self.kind == kind && self.labels.values() == values
    }
}

impl Labels {
    fn new(values: Values<'_>) -> Self {
        let mut end = 0;
        let ends = values.map(|value| {
            end += value.len();
            end
        });
        Self { text: values.concat().into(), ends }
    }

    pub(super) fn values(&self) -> Values<'_> {
        let mut start = 0;
        self.ends.map(|end| &self.text[std::mem::replace(&mut start, end)..end])
    }
}

/// The beginning of a value, if it is long.
fn shorten(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: EventType = EventType::ProcessExec;

    fn of<'v>(pod: &'v str, binary: &'v str) -> Values<'v> {
        ["space", "work", pod, binary, ""]
    }

    fn count(series: &Series, values: Values<'_>) -> Option<u64> {
        series.counts().iter().find(|count| count.is(KIND, values)).map(|count| count.events)
    }

    #[test]
    fn a_pod_that_makes_up_names_takes_no_room_from_others() {
        let (mut series, now) = (Series::new(40), Instant::now());
        for binary in 0..1_000 {
            series.count(KIND, of("hostile", &format!("/bin/{binary}")), now);
        }
        series.count(KIND, of("quiet", "/bin/sh"), now);
        assert_eq!(count(&series, of("quiet", "/bin/sh")), Some(1));
        assert_eq!(count(&series, of("hostile", "/bin/0")), Some(1));
        assert_eq!(count(&series, of("hostile", OTHER)), Some(990));
        assert_eq!(series.displaced(), 990);
    }

    #[test]
    fn what_finds_no_room_anywhere_is_counted_under_no_pod() {
        let (mut series, now) = (Series::new(3), Instant::now());
        for pod in 0..100 {
            series.count(KIND, of(&format!("pod{pod}"), ""), now);
        }
        assert_eq!(series.len(), 3);
        // What was empty stays empty.
        assert_eq!(count(&series, [OTHER, OTHER, OTHER, "", ""]), Some(97));
    }

    #[test]
    fn room_is_made_of_what_is_idle() {
        let (mut series, start) = (Series::new(4), Instant::now());
        for pod in ["a", "b", "c", "d"] {
            series.count(KIND, of(pod, ""), start);
        }
        let later = start + IDLE / 2;
        series.count(KIND, of("d", ""), later);
        series.count(KIND, of("e", ""), later);
        assert_eq!(series.displaced(), 1);
        series.count(KIND, of("e", ""), start + IDLE);
        assert_eq!(count(&series, of("e", "")), Some(1));
        assert_eq!(count(&series, of("d", "")), Some(2));
        assert_eq!(series.len(), 2);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let (mut series, now) = (Series::new(4), Instant::now());
        series.count(KIND, of("pod", &"\u{20ac}".repeat(2_000)), now);
        assert_eq!(series.counts()[0].labels.values()[BINARY], "\u{20ac}".repeat(VALUE_BYTES / 3));
    }

    proptest! {
        /// Whatever comes, no event is forgotten while nothing is dropped, and the bounds hold.
        #[test]
        fn every_event_is_counted_once(
            limit in 0_usize..12,
            events in prop::collection::vec((0..4_u8, 0..6_u8, any::<bool>()), 0..200),
        ) {
            let (mut series, now) = (Series::new(limit), Instant::now());
            for (pod, binary, is_exit) in &events {
                let kind = if *is_exit { EventType::ProcessExit } else { KIND };
                let pod = if *pod == 0 { String::new() } else { pod.to_string() };
                series.count(kind, of(&pod, &binary.to_string()), now);
                prop_assert!(series.len() <= limit);
            }
            let counts = series.counts();
            prop_assert_eq!(counts.iter().map(|count| count.events).sum::<u64>(), events.len() as u64);
            let shares: usize = series.shares.iter().map(|share| share.series).sum();
            prop_assert_eq!(shares, series.len());
            // What is left of the shares after everything has gone is nothing.
            series.sweep(now + IDLE);
            prop_assert_eq!((series.len(), series.shares.len()), (0, 0));
        }
    }
}
