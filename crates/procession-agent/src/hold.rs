//! Facts that wait until it is known whose their container is.
//!
//! A container's first processes start before anybody has heard of it. Their facts wait here, for as
//! long as it takes to ask and no longer than [`HoldConfig::wait`]; facts of all other processes pass
//! by. Nothing here blocks, reads a clock or asks anybody: the caller brings time and answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use procession::{Pid, Process};

/// How long facts may wait, and in how much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// The longest that a fact waits. Zero: none does.
    pub wait: Duration,
    /// The most bytes of facts that wait at once, about. When there are more, those of the container
    /// that has waited longest go out as they are.
    pub bytes: usize,
}

impl Default for HoldConfig {
    /// Five seconds, and 16 MiB.
    fn default() -> Self {
        Self { wait: Duration::from_secs(5), bytes: 16 << 20 }
    }
}

/// The account of the facts that had to wait:
/// `held = answered + refused + expired + overflowed + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldCounts {
    /// Facts that had to wait.
    pub held: u64,
    /// Those that went out when the answer came.
    pub answered: u64,
    /// Those that went out when it was clear that none would come.
    pub refused: u64,
    /// Those that went out without an answer when their time was up, or at the end.
    pub expired: u64,
    /// Those that went out without an answer for want of room.
    pub overflowed: u64,
    /// Those that wait.
    pub waiting: u64,
    /// Bytes that those take, about.
    pub bytes: usize,
}

/// A process, whichever image it runs.
pub(crate) type ProcessName = (Pid, u64);

/// The same whether the process's begin was told to the nanosecond or to the tick.
pub(crate) fn name_of(process: &Process) -> ProcessName {
    (process.pid(), process.began.as_ticks())
}

/// One fact that waits.
#[derive(Debug)]
struct Waiting<T> {
    process: ProcessName,
    bytes: usize,
    fact: T,
}

/// Facts of type `T` that wait for answers about containers of type `C`.
#[derive(Debug)]
pub(crate) struct Hold<C, T> {
    config: HoldConfig,
    /// What waits for each container, in order of arrival.
    waiting: HashMap<C, Vec<Waiting<T>>>,
    /// The containers in `waiting`, by when their time is up.
    deadlines: VecDeque<(Instant, C)>,
    /// For which container each process waits: what comes after a fact that waits, waits behind it.
    processes: HashMap<ProcessName, C>,
    /// Containers about which no answer came in time. Nobody waits for them again until it comes.
    given_up: HashSet<C>,
    counts: HoldCounts,
}

/// Clocks do not reach much further than this.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 365);

/// The most containers that are remembered as given up.
const MOST_GIVEN_UP: usize = 4_096;

impl<C: Copy + Eq + Hash, T> Hold<C, T> {
    pub(crate) fn new(config: HoldConfig) -> Self {
        Self {
            config: HoldConfig { wait: config.wait.min(LONGEST_WAIT), ..config },
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            processes: HashMap::new(),
            given_up: HashSet::new(),
            counts: HoldCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> HoldCounts {
        self.counts
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether facts wait for this container.
    pub(crate) fn is_awaited(&self, container: C) -> bool {
        self.waiting.contains_key(&container)
    }

    /// The containers for which facts wait, the one that has waited longest first.
    pub(crate) fn containers(&self) -> Vec<C> {
        self.deadlines.iter().map(|(_, container)| *container).collect()
    }

    /// Whether a fact of `process` has to wait, and for which container: for the one for which earlier
    /// facts of the process wait, or for `unknown`, in which it happened.
    pub(crate) fn must_wait(&self, process: ProcessName, unknown: Option<C>) -> Option<C> {
        let earlier = self.processes.get(&process).copied();
        let is_worth_it = |container: &C| !self.config.wait.is_zero() && !self.given_up.contains(container);
        earlier.or_else(|| unknown.filter(is_worth_it))
    }

    /// Lets a fact that takes about so many bytes wait for `container`. What goes out in its stead for
    /// want of room is returned.
    pub(crate) fn wait(
        &mut self,
        container: C,
        process: ProcessName,
        fact: T,
        bytes: usize,
        now: Instant,
    ) -> Vec<T> {
        self.counts.held += 1;
        self.counts.waiting += 1;
        self.counts.bytes += bytes;
        let deadlines = &mut self.deadlines;
        let facts = self.waiting.entry(container).or_insert_with(|| {
            deadlines.push_back((now + self.config.wait, container));
            Vec::new()
        });
        facts.push(Waiting { process, bytes, fact });
        self.processes.insert(process, container);
        let mut overflow = Vec::new();
        while self.counts.bytes > self.config.bytes
            && let Some((_, oldest)) = self.deadlines.pop_front()
        {
            overflow.extend(self.give_up(oldest));
        }
        self.counts.overflowed += overflow.len() as u64;
        overflow
    }

    /// It is known by now whose `container` is: what waited for it, in order.
    pub(crate) fn answered(&mut self, container: C) -> Vec<T> {
        self.given_up.remove(&container);
        let facts = self.release(container);
        self.counts.answered += facts.len() as u64;
        facts
    }

    /// It will not be known whose `container` is: what waited for it, in order.
    pub(crate) fn refused(&mut self, container: C) -> Vec<T> {
        let facts = self.release(container);
        self.counts.refused += facts.len() as u64;
        facts
    }

    /// What has waited long enough.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, container)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            expired.extend(self.give_up(container));
        }
        self.counts.expired += expired.len() as u64;
        expired
    }

    /// All that waits: the end has come.
    pub(crate) fn finish(&mut self) -> Vec<T> {
        let rest: Vec<_> =
            self.containers().into_iter().flat_map(|container| self.release(container)).collect();
        self.counts.expired += rest.len() as u64;
        rest
    }

    fn give_up(&mut self, container: C) -> Vec<T> {
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.clear();
        }
        self.given_up.insert(container);
        self.release(container)
    }

    fn release(&mut self, container: C) -> Vec<T> {
        let facts = self.waiting.remove(&container).unwrap_or_default();
        if facts.is_empty() {
            return Vec::new();
        }
        self.deadlines.retain(|(_, other)| *other != container);
        for waiting in &facts {
            self.processes.remove(&waiting.process);
            self.counts.bytes -= waiting.bytes;
        }
        self.counts.waiting -= facts.len() as u64;
        facts.into_iter().map(|waiting| waiting.fact).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    fn process(pid: u32) -> ProcessName {
        (Pid(pid), 1)
    }

    /// With room for so many facts of one byte.
    fn hold(bytes: usize) -> Hold<char, u32> {
        Hold::new(HoldConfig { wait: WAIT, bytes })
    }

    #[test]
    fn an_answer_releases_those_who_wait_for_it_in_order() {
        let (mut hold, now) = (hold(10), Instant::now());
        for (pid, container, fact) in [(1, 'a', 1), (2, 'b', 2), (1, 'a', 3), (3, 'a', 4)] {
            assert_eq!(hold.must_wait(process(pid), Some(container)), Some(container));
            assert!(hold.wait(container, process(pid), fact, 1, now).is_empty());
        }
        assert_eq!(hold.must_wait(process(4), None), None, "others do not wait");
        assert_eq!(hold.answered('a'), [1, 3, 4]);
        assert_eq!(hold.must_wait(process(1), None), None);
        assert_eq!(hold.expired(now + WAIT), [2]);
        let counts = HoldCounts { held: 4, answered: 3, expired: 1, ..HoldCounts::default() };
        assert_eq!(hold.counts(), counts);
    }

    #[test]
    fn what_comes_after_a_fact_that_waits_waits_behind_it() {
        let (mut hold, now) = (hold(10), Instant::now());
        let _ = hold.wait('a', process(1), 1, 1, now);
        assert_eq!(hold.must_wait(process(1), None), Some('a'), "the process has left its container");
        assert_eq!(hold.must_wait(process(1), Some('b')), Some('a'));
    }

    #[test]
    fn nobody_waits_twice_for_what_was_given_up_until_it_is_known() {
        let (mut hold, now) = (hold(10), Instant::now());
        let _ = hold.wait('a', process(1), 1, 1, now);
        assert_eq!(hold.expired(now + WAIT), [1]);
        assert_eq!(hold.must_wait(process(1), Some('a')), None);
        assert!(hold.answered('a').is_empty());
        assert_eq!(hold.must_wait(process(1), Some('a')), Some('a'));
    }

    #[test]
    fn for_want_of_room_the_longest_wait_ends() {
        let (mut hold, now) = (hold(3), Instant::now());
        let mut out = Vec::new();
        for (fact, container) in (0..).zip(['a', 'b', 'a', 'b', 'c', 'c']) {
            out.extend(hold.wait(container, process(fact), fact, 1, now));
        }
        assert_eq!(out, [0, 2, 1, 3], "all of a's, then all of b's");
        assert_eq!(hold.finish(), [4, 5]);
        assert_eq!(hold.counts().overflowed, 4);
    }

    proptest! {
        /// Each fact goes out exactly once, those of one process in order, and none later than it may.
        #[test]
        fn every_fact_goes_out_once_and_in_order(
            steps in prop::collection::vec((0..7_u8, 0..4_u32, prop::sample::select(vec!['a', 'b', 'c'])), 0..200),
            capacity in 1..20_usize,
        ) {
            let (mut hold, begin) = (hold(capacity), Instant::now());
            let (mut now, mut given, mut out) = (begin, Vec::new(), Vec::new());
            for (number, (kind, pid, container)) in (0..).zip(steps) {
                match kind {
                    0..=2 => {
                        let fact = pid * 1_000 + number;
                        given.push((fact, now));
                        let unknown = (kind > 0).then_some(container);
                        match hold.must_wait(process(pid), unknown) {
                            Some(container) => out.extend(hold.wait(container, process(pid), fact, 1, now).into_iter().map(|fact| (fact, now))),
                            None => out.push((fact, now)),
                        }
                    }
                    3 => out.extend(hold.refused(container).into_iter().map(|fact| (fact, now))),
                    4 => out.extend(hold.answered(container).into_iter().map(|fact| (fact, now))),
                    _ => now += Duration::from_secs(1),
                }
                out.extend(hold.expired(now).into_iter().map(|fact| (fact, now)));
                let counts = hold.counts();
                prop_assert!(counts.waiting <= capacity as u64);
                prop_assert_eq!(counts.waiting, counts.bytes as u64);
                prop_assert_eq!(counts.held, counts.answered + counts.refused + counts.expired + counts.overflowed + counts.waiting);
            }
            out.extend(hold.finish().into_iter().map(|fact| (fact, now)));
            prop_assert_eq!(out.len(), given.len());
            for pid in 0..4 {
                let of = |list: &[(u32, Instant)]| -> Vec<_> { list.iter().filter(|(fact, _)| fact / 1_000 == pid).copied().collect() };
                for ((given, came), (out, went)) in of(&given).into_iter().zip(of(&out)) {
                    prop_assert_eq!(given, out);
                    prop_assert!(went <= came + WAIT);
                }
            }
        }
    }
}
