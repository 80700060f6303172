//! The bounded queue between a pipeline and whoever presents what it tells.
//!
//! Its room is counted on the side of the pipeline alone, who is the only one to put anything in: what is missing
//! of that by now has been read. So readers get facts as they are, and a queue that is empty takes no memory.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use procession_kube::Told;

use crate::journal::Roll;
use crate::observation::WhenFull;
use crate::weight::{self, Seen};

/// The end of the pipeline.
pub(crate) struct Queue {
    told: Sender<Told>,
    /// `None`: the pipeline waits when there is no room.
    backlog: Option<Backlog>,
    pub(crate) dropped: u64,
    /// The containers of which it tells.
    pub(crate) roll: Roll,
}

impl Queue {
    /// A queue for so many facts and, unless the pipeline waits for room, so many bytes of them; and the end of
    /// who reads.
    pub(crate) fn new(facts: usize, bytes: usize, when_full: WhenFull, roll: Roll) -> (Self, Receiver<Told>) {
        let ((told, read), backlog) = match when_full {
            WhenFull::Drop => (unbounded(), Some(Backlog::new(facts, bytes))),
            WhenFull::Wait => (bounded(facts), None),
        };
        (Self { told, backlog, dropped: 0, roll }, read)
    }

    pub(crate) fn offer(&mut self, told: Told) {
        self.roll.note(&told.containers);
        let waiting = self.told.len();
        let has_room = self.backlog.as_mut().is_none_or(|backlog| {
            backlog.read_up_to(waiting);
            backlog.takes(&told)
        });
        // Nobody may be there to take it any more: that is a loss too.
        self.dropped += u64::from(!has_room || self.told.send(told).is_err());
    }
}

/// What is in the queue.
///
/// Facts share images with each other and with the table, and an image may take megabytes. Each counts with one fact
/// that waits, and once more when that one was read. So what waits keeps no more than `bytes`, and what was in the
/// table when the last fact was read that counted it: all at one time, which is at most the table's budget.
#[derive(Debug)]
struct Backlog {
    facts: usize,
    bytes: usize,
    /// Each, in order.
    waiting: VecDeque<Weight>,
    waiting_bytes: usize,
    /// Images that count with one of them.
    seen: Seen,
    /// The same, in the order in which they came to count.
    counted: VecDeque<usize>,
}

/// What a fact counts.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    bytes: usize,
    /// How many images that has in it.
    images: usize,
}

impl Backlog {
    fn new(facts: usize, bytes: usize) -> Self {
        let (waiting, seen, counted) = Default::default();
        Self { facts, bytes, waiting, waiting_bytes: 0, seen, counted }
    }

    /// Only the last so many are still there.
    fn read_up_to(&mut self, left: usize) {
        while self.waiting.len() > left {
            let Weight { bytes, images } = self.waiting.pop_front().unwrap_or_default();
            self.waiting_bytes -= bytes;
            for address in self.counted.drain(..images) {
                self.seen.remove(address);
            }
        }
    }

    /// Whether one has room, which it takes then. The first always has: however large it is, somebody is to be
    /// told of it.
    fn takes(&mut self, told: &Told) -> bool {
        if self.waiting.len() >= self.facts {
            return false;
        }
        let images = self.seen.add(told);
        let bytes = weight::of_one(told) + images.iter().map(|(_, bytes)| bytes).sum::<usize>();
        let is_over = self.waiting_bytes.saturating_add(bytes) > self.bytes;
        if is_over && !self.waiting.is_empty() {
            for (address, _) in images {
                self.seen.remove(address);
            }
            return false;
        }
        self.waiting.push_back(Weight { bytes, images: images.len() });
        self.waiting_bytes += bytes;
        self.counted.extend(images.iter().map(|(address, _)| address));
        true
    }
}

#[cfg(test)]
mod tests {
    use procession::{
        Arguments, BootTime, Cgroup, Context, Event, EventKind, Exec, Exit, Fork, LineageDetail, Pid,
        ProcessKey, Program, Relative, Subject, Table, TableConfig,
    };

    use super::*;

    /// Processes of a shell one after the other, and what is told of each.
    struct Lives {
        table: Table,
        parent: Relative,
        now: u64,
    }

    impl Lives {
        /// With a shell whose arguments are so long.
        fn new(length: usize) -> Self {
            let at = |pid, nanos| ProcessKey::new(Pid(pid), BootTime::from_nanos(nanos));
            let parent = Relative { key: at(1, 1), began: Some(BootTime::from_nanos(1)) };
            let mut lives = Self { table: Table::new(TableConfig::default()), parent, now: 1_000 };
            let (first, shell) = (at(10, 2_000), at(10, 3_000));
            lives.fork(first);
            lives.exec(first, shell, length);
            lives.parent = Relative { key: shell, began: Some(first.start) };
            lives
        }

        fn told(&mut self, kind: &EventKind<'_>) -> Told {
            self.now += 1_000;
            let time = BootTime::from_nanos(self.now);
            let applied = self.table.apply(&Event { time, kind: *kind });
            let (id, kind) = (applied.process.unwrap(), applied.kind.unwrap());
            self.table.fact(id, time, kind, LineageDetail::Parent).unwrap().into()
        }

        fn fork(&mut self, child: ProcessKey) -> Told {
            let (child, parent) = (Subject::exact(child, child.start), self.parent);
            let fork = Fork { child, parent, parent_tid: parent.key.pid, owner: parent, ..Fork::default() };
            self.told(&EventKind::Fork(fork))
        }

        /// Of arguments so long, in a container.
        fn exec(&mut self, former: ProcessKey, key: ProcessKey, length: usize) -> Told {
            let cgroup_path =
                format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{:064x}.scope", 7);
            let bytes = vec![b'x'; length];
            let arguments = Arguments { bytes: &bytes, ..Arguments::default() };
            let program = Program {
                binary: b"/usr/bin/sleep",
                executable: b"/usr/bin/sleep",
                arguments,
                ..Program::default()
            };
            let context = Context {
                cgroup: Some(Cgroup { id: 7, path: cgroup_path.as_bytes() }),
                ..Context::default()
            };
            let (process, owner) = (Subject::exact(key, former.start), self.parent);
            let exec = Exec { process, replaces: Some(former), owner, program, context, ..Exec::default() };
            self.told(&EventKind::Exec(exec))
        }

        fn exit(&mut self, key: ProcessKey, began: BootTime) -> Told {
            let (process, owner) = (Subject::exact(key, began), self.parent);
            self.told(&EventKind::Exit(Exit { process, tid: key.pid, owner, status: None, comm: b"sleep" }))
        }

        /// A fork, an exec with arguments so long, and an exit.
        fn life(&mut self, length: usize) -> [Told; 3] {
            let key = |now| ProcessKey::new(Pid(20), BootTime::from_nanos(now + 1_000));
            let first = key(self.now);
            let fork = self.fork(first);
            let second = key(self.now);
            [fork, self.exec(first, second, length), self.exit(second, first.start)]
        }
    }

    /// Bytes of the arguments that some facts keep.
    fn kept(facts: &[Told]) -> usize {
        let mut images = std::collections::BTreeMap::new();
        for told in facts {
            for process in std::iter::once(&told.fact.process).chain(&told.fact.lineage) {
                let image =
                    process.image.as_ref().map(|image| (image.address(), image.arguments().bytes.len()));
                images.extend(image);
            }
        }
        images.values().sum()
    }

    #[test]
    fn neither_facts_nor_bytes_are_more_than_there_is_room_for() {
        let mut lives = Lives::new(10);
        let told = lives.life(10);
        let one = weight::of_one(&told[0]);
        let mut backlog = Backlog::new(4, usize::MAX);
        assert!(told.iter().all(|it| backlog.takes(it)) && backlog.takes(&told[0]));
        assert!(!backlog.takes(&told[0]), "there is no room for another");
        backlog.bytes = backlog.waiting_bytes;
        backlog.read_up_to(3);
        assert!(backlog.takes(&told[0]), "there is room for as much");
        backlog.bytes += one - 1;
        backlog.facts += 1;
        assert!(!backlog.takes(&told[0]), "there is no room in bytes");
        backlog.read_up_to(0);
        backlog.bytes = 1;
        assert!(backlog.takes(&told[1]), "alone it has room, whatever it takes");
        assert!(!backlog.takes(&told[0]));
        backlog.read_up_to(0);
        assert_eq!((backlog.waiting_bytes, backlog.waiting.len(), backlog.counted.len()), (0, 0, 0));
        assert!(backlog.seen.is_empty());
    }

    /// Also those whose exec found no room, and that the table has let go of.
    #[test]
    fn what_waits_keeps_no_more_than_there_is_room_for() {
        let mut lives = Lives::new(10);
        let mut backlog = Backlog::new(1 << 16, 250_000);
        let all: Vec<_> = (0..50).flat_map(|_| lives.life(100_000)).collect();
        let (waiting, dropped): (Vec<_>, Vec<_>) = all.into_iter().partition(|told| backlog.takes(told));
        assert!(waiting.len() > 50 && dropped.len() >= 96, "{} of them wait", waiting.len());
        assert!((200_000..250_000).contains(&kept(&waiting)), "{}", kept(&waiting));
    }

    #[test]
    fn what_is_shared_counts_once_and_again_when_that_was_read() {
        let mut lives = Lives::new(100_000);
        let forks: Vec<_> = (0..200_u64)
            .map(|number| lives.fork(ProcessKey::new(Pid(30), BootTime::from_nanos(2_000 + 1_000 * number))))
            .collect();
        let mut backlog = Backlog::new(1 << 16, 300_000);
        assert!(forks.iter().all(|fork| backlog.takes(fork)));
        assert!((100_000..200_000).contains(&backlog.waiting_bytes), "{}", backlog.waiting_bytes);
        let before = backlog.waiting_bytes;
        backlog.read_up_to(199);
        assert!(backlog.waiting_bytes < before - 100_000);
        assert!(backlog.takes(&forks[0]) && backlog.waiting_bytes == before);
    }

    /// As the documentation of the configuration has it.
    #[test]
    fn many_usual_facts_have_room() {
        let (mut lives, mut backlog) = (Lives::new(60), Backlog::new(1 << 16, 32 << 20));
        let mut taken = 0;
        while lives.life(60).iter().all(|told| backlog.takes(told)) {
            taken += 3;
        }
        assert!((45_000..55_000).contains(&taken), "{taken}");
    }
}
