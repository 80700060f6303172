//! The processes that already run, as `/proc` lists them, parents before children.
//!
//! A walk goes through `/proc` twice. The first pass reads one small file per process, which gives
//! the order. The second reads each process in full and tells of it at once, so that memory does
//! not grow with the number of processes and the length of their arguments.
//!
//! Pids say nothing about the order: they wrap around, so a child may have a smaller one than its
//! parent. Neither do start times, which are equal within a tick. Only the parent links do.

use std::collections::{HashMap, HashSet};

use procession::{BootTime, Event, EventKind, Pid, Precision, ProcessKey, Running, Subject};

use crate::clock;
use crate::error::SourceError;
use crate::proc::{Details, Procfs, Stat};
use crate::source::Sink;

/// A process that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) pid: Pid,
    pub(crate) stat: Stat,
    /// What happened to the process up to this time is contained in what was read.
    pub(crate) seen: BootTime,
}

impl Sighting {
    /// The process. When it last did an exec is not in `/proc`, so its image has the age of the
    /// process itself.
    pub(crate) const fn subject(&self) -> Subject {
        let began = self.stat.began;
        Subject { key: ProcessKey::new(self.pid, began), began, precision: Precision::Ticks }
    }

    /// Reads the process in full and tells of it.
    ///
    /// When it has vanished since it was seen, what is known of it is told all the same: its
    /// children need their parent. Its end is for the source to notice.
    pub(crate) fn tell(&mut self, procfs: &Procfs, owner: ProcessKey, details: &mut Details, sink: Sink<'_>) {
        let time = clock::now();
        match details.read(procfs, self.pid, |began| began == self.stat.began) {
            Some(stat) => (self.stat, self.seen) = (stat, time),
            None => details.set_vanished(&self.stat),
        }
        let running = Running {
            process: self.subject(),
            owner: owner.into(),
            context: details.context(),
            program: details.program(),
            gap: None,
        };
        sink(&Event { time, kind: EventKind::Running(running) });
    }

    /// Whether it has begun to end: no thread will run its program again. That shows some time before its
    /// exit is told, and until some time after.
    pub(crate) fn is_ending(&self, procfs: &Procfs) -> bool {
        if !self.stat.leader_is_ending() || self.stat.threads <= 1 {
            return self.stat.leader_is_ending();
        }
        let Some(process) = procfs.process(self.pid) else { return true };
        let mut buffer = Vec::new();
        process.threads().into_iter().all(|thread| {
            let stat = process.stat_of_thread(thread, &mut buffer);
            stat.is_none_or(|stat| stat.leader_is_ending())
        })
    }
}

/// Tells of every process, parents before children, and returns what it told of.
pub(crate) fn walk(procfs: &Procfs, sink: Sink<'_>) -> Result<Vec<Sighting>, SourceError> {
    let mut sightings = survey(procfs)?;
    let owners = Owners::of(&sightings);
    tell(procfs, &mut sightings, &owners, sink);
    Ok(sightings)
}

/// Reads processes in full and tells of them, in the order in which they stand.
pub(crate) fn tell(procfs: &Procfs, sightings: &mut [Sighting], owners: &Owners, sink: Sink<'_>) {
    let mut details = Details::default();
    for sighting in sightings {
        let owner = owners.key_of(sighting.stat.parent);
        sighting.tell(procfs, owner, &mut details, sink);
    }
}

/// The processes that are there now, parents before children. Zombies are not: they have ended.
pub(crate) fn survey(procfs: &Procfs) -> Result<Vec<Sighting>, SourceError> {
    survey_others(procfs, &HashSet::new())
}

/// Those that are there now besides `known`.
pub(crate) fn survey_others(procfs: &Procfs, known: &HashSet<Pid>) -> Result<Vec<Sighting>, SourceError> {
    let mut buffer = Vec::new();
    let mut sightings = Vec::new();
    for pid in procfs.pids()?.into_iter().filter(|pid| !known.contains(pid)) {
        let seen = clock::now();
        let stat = procfs.stat(pid, &mut buffer).filter(|stat| !stat.has_ended());
        sightings.extend(stat.map(|stat| Sighting { pid, stat, seen }));
    }
    Ok(parents_first(&sightings))
}

/// When each process of a survey began, by pid.
pub(crate) struct Owners(HashMap<Pid, BootTime>);

impl Owners {
    pub(crate) fn of(sightings: &[Sighting]) -> Self {
        Self(sightings.iter().map(|sighting| (sighting.pid, sighting.stat.began)).collect())
    }

    /// The name of a parent; [`ProcessKey::NONE`] for the kernel and for one that was not there.
    pub(crate) fn key_of(&self, pid: Pid) -> ProcessKey {
        self.0.get(&pid).map_or(ProcessKey::NONE, |began| ProcessKey::new(pid, *began))
    }
}

/// Puts each process behind its parent, whatever the links: they were read at different times, so
/// they may lead nowhere, and even in circles.
fn parents_first(sightings: &[Sighting]) -> Vec<Sighting> {
    let places: HashMap<Pid, usize> = sightings.iter().enumerate().map(|(at, it)| (it.pid, at)).collect();
    let mut is_placed = vec![false; sightings.len()];
    let mut order = Vec::with_capacity(sightings.len());
    let mut climb = Vec::new();
    for start in 0..sightings.len() {
        let mut next = Some(start);
        // Marking on the way up makes a circle end where it began.
        while let Some(at) = next.filter(|at| !is_placed[*at]) {
            is_placed[at] = true;
            climb.push(at);
            next = places.get(&sightings[at].stat.parent).copied();
        }
        order.extend(climb.drain(..).rev().map(|at| sightings[at]));
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proc::fake::{FakeProc, FakeStat};

    fn order(parents: &[(u32, u32)]) -> Vec<u32> {
        let sighting = |(pid, parent): &(u32, u32)| Sighting {
            pid: Pid(*pid),
            stat: Stat::parse(&FakeStat { parent: *parent, ..FakeStat::default() }.line(*pid)).unwrap(),
            seen: BootTime::ZERO,
        };
        let ordered = parents_first(&parents.iter().map(sighting).collect::<Vec<_>>());
        ordered.iter().map(|sighting| sighting.pid.0).collect()
    }

    #[test]
    fn children_with_smaller_pids_come_after_their_parents() {
        assert_eq!(order(&[(1, 0), (5, 90), (80, 1), (90, 80)]), [1, 80, 90, 5]);
    }

    #[test]
    fn missing_parents_and_circles_lose_nobody() {
        assert_eq!(order(&[(5, 4), (6, 5)]), [5, 6]);
        assert_eq!(order(&[(5, 5)]), [5]);
        let mut circle = order(&[(5, 7), (6, 5), (7, 6), (8, 7)]);
        circle.sort_unstable();
        assert_eq!(circle, [5, 6, 7, 8]);
    }

    proptest! {
        #[test]
        fn any_links_give_every_process_once(parents in proptest::collection::vec(0u32..40, 1..40)) {
            let links: Vec<_> = (1..).zip(parents).collect();
            let mut pids = order(&links);
            pids.sort_unstable();
            prop_assert_eq!(pids, links.iter().map(|(pid, _)| *pid).collect::<Vec<_>>());
        }

        #[test]
        fn a_forest_in_any_order_has_its_parents_first(
            parents in proptest::collection::vec(any::<prop::sample::Index>(), 1..40),
            names in Just((1u32..=40).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            // Process n has one of the processes before it as its parent.
            let parent = |at: usize| if at == 0 { 0 } else { names[parents[at].index(at)] };
            let mut links: Vec<_> = (0..parents.len()).map(|at| (names[at], parent(at))).collect();
            links.sort_unstable();
            let order = order(&links);
            let place = |pid: u32| order.iter().position(|it| *it == pid);
            for (pid, parent) in links {
                prop_assert!(place(parent) < place(pid));
            }
        }
    }

    #[test]
    fn zombies_are_passed_over_and_names_are_those_of_the_same_walk() {
        let fake = FakeProc::new();
        fake.process(1, &FakeStat { parent: 0, start: 3, ..FakeStat::default() });
        fake.process(7, &FakeStat { parent: 1, start: 50, ..FakeStat::default() });
        fake.process(8, &FakeStat { state: 'Z', ..FakeStat::default() });
        fake.process(9, &FakeStat { state: 'Z', threads: 3, parent: 7, ..FakeStat::default() });
        fake.directory("10");
        let mut told = Vec::new();
        walk(&fake.open(), &mut |event| {
            let EventKind::Running(running) = event.kind else { panic!("{event:?}") };
            assert_eq!(running.process.precision, Precision::Ticks);
            told.push((running.process.key, running.owner.key));
        })
        .unwrap();
        let key = |pid, ticks| ProcessKey::new(Pid(pid), BootTime::from_ticks(ticks));
        let expect = [(key(1, 3), ProcessKey::NONE), (key(7, 50), key(1, 3)), (key(9, 100), key(7, 50))];
        assert_eq!(told, expect);
    }

    #[test]
    fn the_real_proc_has_this_process_behind_its_parent() {
        let mut told = Vec::new();
        let procfs = Procfs::open(std::path::Path::new("/proc")).unwrap();
        walk(&procfs, &mut |event| {
            let EventKind::Running(running) = event.kind else { panic!("{event:?}") };
            let credentials = running.context.credentials.map(|it| it.uid.0);
            told.push((running.process.key.pid, running.owner.key.pid, credentials, event.time));
        })
        .unwrap();
        let place = |pid| told.iter().position(|it| it.0 == Pid(pid)).unwrap();
        let (own, parent) = (place(std::process::id()), place(std::os::unix::process::parent_id()));
        assert!(parent < own);
        assert_eq!(told[own].1, told[parent].0);
        assert_eq!(told[own].2, Some(rustix::process::getuid().as_raw()));
        assert!(told.is_sorted_by_key(|it| it.3));
    }

    #[test]
    fn a_process_that_vanishes_is_told_of_with_what_is_known() {
        let fake = FakeProc::new();
        fake.process(7, &FakeStat { comm: b"brief", ..FakeStat::default() });
        let procfs = fake.open();
        let mut sightings = survey(&procfs).unwrap();
        fake.remove(7);
        let mut details = Details::default();
        let mut comm = Vec::new();
        sightings[0].tell(&procfs, ProcessKey::NONE, &mut details, &mut |event| {
            let EventKind::Running(running) = event.kind else { panic!("{event:?}") };
            comm.extend_from_slice(running.program.comm);
        });
        assert_eq!(comm, b"brief");
    }
}
