//! The budget in bytes: never exceeded, and the living keep their chains.

#![expect(clippy::large_types_passed_by_value, reason = "events are made for one call")]

use std::collections::HashMap;
use std::time::Duration;

use procession::{
    Arguments, BootTime, Context, Entry, Event, EventKind, Exec, Exit, ExitStatus, Fork, MINIMUM_BUDGET, Pid,
    Precision, ProcessKey, Program, Subject, Table, TableConfig,
};
use proptest::prelude::*;

fn subject(key: ProcessKey, began: BootTime) -> Subject {
    Subject { key, began, precision: Precision::Nanoseconds }
}

/// A machine that makes true events, and never forgets: the oracle.
struct Machine {
    now: u64,
    next_pid: u32,
    /// Of every image ever: the image that forked its process.
    parents: HashMap<ProcessKey, Option<ProcessKey>>,
    /// Of every live process: its image, and when it began.
    live: Vec<(ProcessKey, BootTime)>,
    table: Table,
}

impl Machine {
    fn new(config: TableConfig) -> Self {
        let init = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
        let mut machine = Self {
            now: 1,
            next_pid: 2,
            parents: HashMap::from([(init, None)]),
            live: vec![(init, init.start)],
            table: Table::new(config),
        };
        let running = procession::Running {
            process: subject(init, init.start),
            owner: ProcessKey::NONE.into(),
            context: Context::default(),
            program: Program { binary: b"/sbin/init", ..Program::default() },
            gap: None,
        };
        machine.apply(EventKind::Running(running));
        machine
    }

    fn apply(&mut self, kind: EventKind<'_>) {
        let _ = self.table.apply(&Event { time: BootTime::from_nanos(self.now), kind });
    }

    fn tick(&mut self) -> BootTime {
        self.now += 1_000_000;
        BootTime::from_nanos(self.now)
    }

    fn fork(&mut self, of: usize) -> usize {
        let (parent, _) = self.live[of % self.live.len()];
        let key = ProcessKey::new(Pid(self.next_pid), self.tick());
        self.next_pid += 1;
        self.parents.insert(key, Some(parent));
        self.live.push((key, key.start));
        self.apply(EventKind::Fork(Fork {
            child: subject(key, key.start),
            parent: parent.into(),
            parent_tid: parent.pid,
            owner: parent.into(),
            context: Context::default(),
        }));
        self.live.len() - 1
    }

    fn exec(&mut self, which: usize, arguments: &[u8]) {
        let which = which % self.live.len();
        let (old, began) = self.live[which];
        let key = ProcessKey::new(old.pid, self.tick());
        let parent = self.parents[&old];
        self.parents.insert(key, parent);
        self.live[which].0 = key;
        self.apply(EventKind::Exec(Exec {
            process: subject(key, began),
            replaces: Some(old),
            tid: key.pid,
            owner: parent.unwrap_or(ProcessKey::NONE).into(),
            context: Context::default(),
            program: Program {
                binary: b"/usr/bin/program",
                arguments: Arguments::complete(arguments),
                ..Program::default()
            },
        }));
    }

    fn exit(&mut self, which: usize) {
        // The first process stays.
        if self.live.len() < 2 {
            return;
        }
        let which = 1 + which % (self.live.len() - 1);
        let (key, began) = self.live.swap_remove(which);
        self.tick();
        self.apply(EventKind::Exit(Exit {
            process: subject(key, began),
            tid: key.pid,
            owner: ProcessKey::NONE.into(),
            status: Some(ExitStatus::from_raw(0)),
            comm: b"",
        }));
    }

    /// The memory is within the budget, and every live process has its whole chain, in which
    /// tombstones may stand for several.
    fn check(&self, budget: usize) {
        assert!(self.table.memory() <= budget, "{:?}", self.table.explain());
        for (key, _) in &self.live {
            let entry = self
                .table
                .get(*key)
                .unwrap_or_else(|| panic!("{key} is missing: {:?}", self.table.explain()));
            let told = std::iter::successors(self.parents[key], |parent| self.parents[parent]);
            let mut told = told.peekable();
            for ancestor in entry.ancestors() {
                let ancestor = ancestor.snapshot();
                assert_eq!(told.next(), Some(ancestor.key), "the chain of {key}");
                let stands_for = ancestor.tombstone.map_or(0, |tombstone| tombstone.stands_for());
                for _ in 0..stands_for {
                    told.next().expect("it stands for real ones");
                }
            }
            assert_eq!(told.peek(), None, "the chain of {key} is cut off");
        }
        assert_eq!(self.table.explain().evicted_live, 0);
        assert_eq!(self.table.live(), self.live.len());
    }
}

#[derive(Clone, Debug)]
enum Action {
    Fork(usize),
    ForkAndMoveOn(usize),
    Exec(usize, usize),
    Exit(usize),
    Wait(u64),
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => any::<usize>().prop_map(Action::Fork),
        3 => any::<usize>().prop_map(Action::ForkAndMoveOn),
        4 => (any::<usize>(), 0..8_192_usize).prop_map(|(which, len)| Action::Exec(which, len)),
        4 => any::<usize>().prop_map(Action::Exit),
        1 => (0..20_000_u64).prop_map(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a machine that never forgets, under the least budget: with some hundred processes
    /// and large arguments, memory is short all the time.
    #[test]
    fn the_living_keep_their_chains_under_the_least_budget(
        actions in prop::collection::vec(any_action(), 0..1_500),
    ) {
        let mut machine = Machine::new(TableConfig { budget: 0, ..TableConfig::default() });
        for action in actions {
            match action {
                Action::Fork(of) => { machine.fork(of); }
                // A parent that exits after its fork: dead ancestors in a row.
                Action::ForkAndMoveOn(of) => {
                    let child = machine.fork(of);
                    let parent = of % child;
                    if parent > 0 {
                        machine.exit(parent - 1);
                    }
                }
                Action::Exec(which, len) => machine.exec(which, &vec![b'a'; len]),
                Action::Exit(which) => machine.exit(which),
                Action::Wait(millis) => machine.now += millis * 1_000_000,
            }
            while machine.live.len() > 100 {
                machine.exit(0);
            }
            prop_assert!(machine.table.memory() <= MINIMUM_BUDGET, "{:?}", machine.table.explain());
        }
        machine.check(MINIMUM_BUDGET);
    }
}

/// In an optimised build the counts are those of the promise.
const MANY: u32 = if cfg!(debug_assertions) { 100_000 } else { 10_000_000 };

#[test]
fn an_exec_loop_pushes_nobody_out() {
    let budget = 4 << 20;
    let mut machine = Machine::new(TableConfig { budget, ..TableConfig::default() });
    let bystander = machine.fork(0);
    machine.exec(bystander, b"bystander\0");
    let hostile = machine.fork(0);
    for n in 0..MANY {
        let replaced = machine.live[hostile].0;
        machine.exec(hostile, &n.to_le_bytes());
        // Nobody was forked from it: the oracle need not remember it.
        machine.parents.remove(&replaced);
        assert!(machine.table.memory() <= budget);
    }
    machine.check(budget);
    let entry = machine.table.get(machine.live[hostile].0).unwrap();
    assert!(entry.reference_lineage().count() < 100_000, "old images are folded");
}

#[test]
fn a_chain_of_forks_whose_parents_exit_is_folded() {
    let budget = MINIMUM_BUDGET;
    let depth = MANY / 10;
    let mut machine = Machine::new(TableConfig { budget, ..TableConfig::default() });
    let bystander = machine.fork(0);
    machine.exec(bystander, b"bystander\0");
    let mut last = machine.fork(0);
    for n in 0..depth {
        let next = machine.fork(last);
        // The parent is swapped with the last of the list: its child, which takes its place.
        machine.exit(last - 1);
        last = next - 1;
        assert!(machine.table.memory() <= budget, "{n}");
    }
    machine.check(budget);
    let entry = machine.table.get(machine.live[last].0).unwrap();
    assert!(machine.table.explain().folded > 0);
    assert!(entry.ancestors().count() < 100_000);
}

#[test]
fn a_chain_of_live_forks_is_kept_whole() {
    let depth = MANY / 10;
    let budget = 512 << 20;
    let mut machine = Machine::new(TableConfig { budget, ..TableConfig::default() });
    let mut last = 0;
    for _ in 0..depth {
        last = machine.fork(last);
    }
    let entry = machine.table.get(machine.live[last].0).unwrap();
    assert_eq!(entry.ancestors().count(), depth as usize);
}

/// More live links than the budget holds: the chain loses its own, and nobody else any.
#[test]
fn a_chain_of_live_forks_beyond_the_budget_costs_nobody_else() {
    let budget = MINIMUM_BUDGET;
    let mut machine = Machine::new(TableConfig { budget, ..TableConfig::default() });
    let shell = machine.fork(0);
    let bystanders: Vec<_> = (0..100)
        .map(|n| {
            let bystander = machine.fork(shell);
            machine.exec(bystander, format!("bystander\0{n}\0").as_bytes());
            machine.live[bystander].0
        })
        .collect();
    let mut last = 0;
    for n in 0..MANY / 10 {
        last = machine.fork(last);
        assert!(machine.table.memory() <= budget, "{n}");
        if n % 10_000 == 0 {
            for key in &bystanders {
                let chain = machine.table.get(*key).map(|entry| entry.ancestors().count());
                assert_eq!(chain, Some(2), "{key} after {n} forks");
            }
        }
    }
    assert!(machine.table.explain().evicted_live > 0);
}

#[test]
fn an_end_that_is_told_of_a_tombstone_changes_nothing_else() {
    let mut machine = Machine::new(TableConfig { budget: 0, ..TableConfig::default() });
    let parent = machine.fork(0);
    let (key, began) = machine.live[parent];
    machine.fork(parent);
    // Its exit is missed: the pid comes again. Then memory runs short.
    machine.live.swap_remove(parent);
    machine.next_pid = key.pid.0;
    let hostile = machine.fork(0);
    for n in 0..40_u8 {
        machine.exec(hostile, &vec![n; 60_000]);
    }
    assert!(machine.table.get(key).is_some_and(|entry| entry.snapshot().tombstone.is_some()));
    let exit = Exit { process: subject(key, began), tid: key.pid, ..Exit::default() };
    machine.apply(EventKind::Exit(exit));
    machine.table.advance(BootTime::from_nanos(u64::MAX));
    assert!(machine.table.get(key).is_some(), "its child lives");
}

#[test]
fn a_reused_pid_within_a_millisecond_stays_apart() {
    let mut table = Table::new(TableConfig::default());
    for n in 1..=1_000_u64 {
        let key = ProcessKey::new(Pid(77), BootTime::from_nanos(1_000 + n));
        let parent = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
        let fork = Fork {
            child: subject(key, key.start),
            parent: parent.into(),
            parent_tid: parent.pid,
            owner: parent.into(),
            context: Context::default(),
        };
        let _ = table.apply(&Event { time: key.start, kind: EventKind::Fork(fork) });
    }
    assert_eq!(table.entries().filter(|entry| entry.key().pid == Pid(77)).count(), 1_000);
    assert_eq!(table.live(), 2);
}

#[test]
fn more_living_than_the_budget_holds_are_counted_and_healed() {
    let mut machine = Machine::new(TableConfig { budget: 0, grace: Duration::from_secs(1), seed: 0 });
    for _ in 0..20_000 {
        machine.fork(0);
    }
    let explanation = machine.table.explain();
    assert!(explanation.used <= MINIMUM_BUDGET);
    assert!(explanation.evicted_live > 0);
    assert_eq!(explanation.running as u64 + explanation.evicted_live, 20_001);

    let evicted = machine.live.iter().position(|(key, _)| machine.table.get(*key).is_none()).unwrap();
    machine.exec(evicted, b"healed\0");
    let entry = machine.table.get(machine.live[evicted].0).expect("its next event makes it known again");
    assert!(entry.is_running());
}

#[test]
fn one_program_with_more_arguments_than_the_budget_pushes_nobody_out() {
    let mut machine = Machine::new(TableConfig { budget: 0, ..TableConfig::default() });
    for _ in 0..1_000 {
        machine.fork(0);
    }
    let arguments = vec![b'x'; 2 * MINIMUM_BUDGET];
    machine.exec(500, &arguments);
    assert_eq!(machine.table.explain().evicted_live, 0);
    assert!(machine.table.memory() <= MINIMUM_BUDGET);
    let entry = machine.table.get(machine.live[500].0).expect("it is known");
    let kept = entry.image().expect("it runs a program").arguments();
    assert_eq!(kept.bytes, &arguments[..MINIMUM_BUDGET / 4]);
    assert_eq!(kept.missing(), arguments.len() - kept.bytes.len());
}

/// A budget that was lowered between two starts.
#[test]
fn one_program_with_more_arguments_than_the_new_budget_pushes_nobody_out_when_it_is_restored() {
    let mut machine = Machine::new(TableConfig { budget: 64 << 20, ..TableConfig::default() });
    for _ in 0..1_000 {
        machine.fork(0);
    }
    let arguments = vec![b'x'; 6 << 20];
    machine.exec(500, &arguments);
    let large = machine.live[500].0;
    let full = machine.table.get(large).and_then(Entry::image).expect("it runs a program").arguments();
    assert_eq!(full.bytes.len(), arguments.len());

    let config = TableConfig { budget: 0, ..TableConfig::default() };
    machine.table = Table::restore_with(&machine.table.checkpoint(), config);
    machine.check(MINIMUM_BUDGET);
    let kept = machine.table.get(large).and_then(Entry::image).expect("it runs a program").arguments();
    assert_eq!(kept.bytes, &arguments[..MINIMUM_BUDGET / 4]);
    assert_eq!(kept.missing(), arguments.len() - kept.bytes.len());
    // Once more, with the same budget, nothing else is cut.
    let again = Table::restore(&machine.table.checkpoint());
    let same = again.get(large).and_then(Entry::image).expect("it runs a program").arguments();
    assert_eq!((same.bytes, same.total_len), (kept.bytes, kept.total_len));
}

#[test]
fn lifecycles_without_end_use_no_more_memory_than_at_first() {
    let budget = 4 << 20;
    let mut machine = Machine::new(TableConfig { budget, ..TableConfig::default() });
    for n in 0..MANY / 10 {
        let child = machine.fork(0);
        machine.exec(child, b"program\0--option\0");
        machine.exit(child - 1);
        machine.parents.retain(|key, _| key.pid == Pid(1));
        assert!(machine.table.memory() <= budget, "{n}");
    }
    machine.check(budget);
}

#[test]
fn the_explanation_adds_up() {
    let mut machine = Machine::new(TableConfig { budget: 8 << 20, ..TableConfig::default() });
    for _ in 0..1_000 {
        let child = machine.fork(0);
        machine.exec(child, b"program\0");
    }
    for _ in 0..500 {
        machine.exit(0);
    }
    let it = machine.table.explain();
    assert_eq!(it.used, it.entry_bytes + it.body_bytes + it.index_bytes + it.image_bytes + it.shared_bytes);
    assert_eq!(it.running + it.in_grace + it.held + it.ancestors + it.tombstones, machine.table.len());
    assert_eq!(it.running, 501);
}
