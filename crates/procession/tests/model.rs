//! The table against a machine that never forgets, over histories that nobody thought of.
//!
//! Each property is tried on many random histories: once from a seed that is always the same, so
//! that what fails here fails everywhere, and once from a fresh seed, so that every run looks
//! elsewhere. A failure names its seed, which `PROCESSION_SEED` brings back, and tells the shortest
//! history that fails, in the language of `support`. `PROCESSION_TIMES=100` tries a hundred times as many.

#[path = "model/checks.rs"]
mod checks;
#[path = "model/faults.rs"]
mod faults;
#[path = "model/garbage.rs"]
mod garbage;
#[path = "model/machine.rs"]
mod machine;
#[path = "model/script.rs"]
mod script;
mod support;

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use procession::{
    BootTime, CheckpointBuilder, Entry, Event, EventKind, Exit, FactKind, Handle, LineageDetail,
    MINIMUM_BUDGET, Outcome, ProcessKey, Table, TableConfig,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use checks::{
    Digest, Verdict, are_the_same, digest, hold, is_sound, is_the_truth, is_true_as_far_as_it_goes,
    ledger_balances,
};
use faults::{Fault, any_fault, inject, is_true_or_marked, landed_right};
use garbage::{Deed, any_deed};
use machine::{Action, Machine, Source, Step, World, any_action};
use script::{show_event, show_steps};

/// The part of all events that an unoptimised build is given.
const SHARE: u64 = if cfg!(debug_assertions) { 10 } else { 1 };

/// Tries `property` until it has seen `events`, and a quarter of that from a fresh seed.
///
/// `property` says how many events it applied.
fn hold_for<S: Strategy>(events: u64, histories: &S, property: impl Fn(&S::Value) -> Result<u64, String>) {
    let times = std::env::var("PROCESSION_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let events = events * times;
    hold_from(0x9e37_79b9, events / SHARE, histories, &property);
    let asked = std::env::var("PROCESSION_SEED").ok().and_then(|seed| seed.parse().ok());
    let fresh = asked.unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
    hold_from(fresh, events / SHARE / 4, histories, &property);
}

/// The same from one seed, and those after it when that does not make enough events.
#[expect(clippy::print_stderr, reason = "only shown on request")]
fn hold_from<S: Strategy>(
    seed: u64,
    events: u64,
    histories: &S,
    property: &impl Fn(&S::Value) -> Result<u64, String>,
) {
    let told = Cell::new(0);
    for seed in seed.. {
        if told.get() >= events {
            break;
        }
        // Nothing is written to the disk.
        let config = Config {
            cases: 16,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(histories, |history| {
            let events = property(&history).map_err(TestCaseError::fail)?;
            told.set(told.get() + events);
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, history)) => panic!("{why}\n\n{history:?}\nPROCESSION_SEED={seed}"),
            Err(TestError::Abort(why)) => panic!("{why}\nPROCESSION_SEED={seed}"),
        }
    }
    eprintln!("{} events from seed {seed}", told.get());
}

/// A machine and what happens on it. It shows itself as what a source would tell.
#[derive(Clone)]
struct History {
    world: World,
    grace: Duration,
    actions: Vec<Action>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# {:?}, grace {:?}\n{}", self.world, self.grace, show_steps(&self.steps().1))
    }
}

impl History {
    /// All that happens, and the machine in the end.
    fn steps(&self) -> (Machine, Vec<Step>) {
        let (mut machine, mut steps) = Machine::new(self.world);
        steps.extend(self.actions.iter().filter_map(|action| machine.act(*action)));
        (machine, steps)
    }

    fn table(&self, budget: usize) -> Table {
        Table::new(TableConfig { grace: self.grace, budget, seed: 7 })
    }
}

fn any_history(
    source: impl Strategy<Value = Source>,
    pids: std::ops::Range<u32>,
    longest_arguments: usize,
    length: usize,
) -> impl Strategy<Value = History> {
    let grace = prop_oneof![
        1 => Just(Duration::ZERO),
        2 => Just(Duration::from_millis(1)),
        5 => Just(TableConfig::default().grace),
    ];
    let world = (source, pids, 0..8_usize);
    (world, grace, prop::collection::vec(any_action(), 0..length)).prop_map(
        move |((source, pids, found), grace, actions)| {
            let world = World { source, pids, found, longest_arguments };
            History { world, grace, actions }
        },
    )
}

fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![2 => Just(Source::Kernel), 1 => Just(Source::KernelAfterProc), 1 => Just(Source::Proc)]
}

/// A table, and the handles that readers have.
struct Told {
    table: Table,
    handles: Vec<Handle>,
}

impl Told {
    fn new(table: Table) -> Self {
        Self { table, handles: Vec::new() }
    }

    fn take(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Event(event) => {
                let applied = self.table.apply(event);
                let is_news = !matches!(event.kind, EventKind::Running(_));
                let outcome = applied.outcome;
                hold!(!is_news || outcome == Outcome::Applied, "{outcome:?}: {}", show_event(event));
                landed_right(&self.table, event, applied.process)?;
            }
            Step::Hold(key) => {
                let id = self.table.get(*key).map(Entry::id);
                let handle = id.and_then(|id| self.table.hold(id));
                hold!(handle.is_some(), "no handle of {key}");
                self.handles.extend(handle);
            }
            Step::LetGo(which) => {
                self.handles.swap_remove(*which);
            }
        }
        ledger_balances(&self.table)
    }
}

/// Steps between two comparisons of everything.
const PAUSE: usize = 24;

/// Tells a table of a history step by step, and compares now and then, and in the end.
fn tell(
    history: &History,
    budget: usize,
    compare: impl Fn(&mut Table, &Machine) -> Verdict,
) -> Result<u64, String> {
    let (mut machine, first) = Machine::new(history.world);
    let mut told = Told::new(history.table(budget));
    first.iter().try_for_each(|step| told.take(step))?;
    for (number, action) in history.actions.iter().enumerate() {
        if let Some(step) = machine.act(*action) {
            told.take(&step)?;
        }
        hold!(told.table.memory() <= budget.max(MINIMUM_BUDGET), "{:?}", told.table.explain());
        if number % PAUSE == PAUSE - 1 {
            compare(&mut told.table, &machine)?;
        }
    }
    compare(&mut told.table, &machine)?;
    Ok(told.table.ledger().received())
}

#[test]
fn true_histories_are_told_as_they_were() {
    hold_for(400_000, &any_history(any_source(), 9..30, 64, 400), |history| {
        tell(history, 256 << 20, |table, machine| {
            table.advance(BootTime::from_nanos(machine.now));
            is_sound(table)?;
            is_the_truth(table, machine, history.grace)
        })
    });
}

#[test]
fn true_histories_under_the_least_budget_keep_the_living_and_their_chains() {
    let sources = prop_oneof![Just(Source::Kernel), Just(Source::KernelAfterProc)];
    hold_for(200_000, &any_history(sources, 9..13, 40_000, 1_200), |history| {
        tell(history, 0, |table, machine| {
            is_sound(table)?;
            is_true_as_far_as_it_goes(table, machine)
        })
    });
}

/// Asks everything that can be asked.
fn query(table: &Table) {
    for entry in table.entries() {
        let _ = (entry.current(), entry.owner(), entry.session_root(), entry.reference_lineage().count());
        let _ = (entry.children().count(), entry.descendants().count());
        let _ = table.fact(entry.id(), table.now(), FactKind::Exec, LineageDetail::Full);
    }
    let _ = (table.explain(), table.memory(), table.len());
}

/// When a reader looks, and lets time pass that an event brings anyway.
#[derive(Clone, Copy, Debug)]
enum Pause {
    Query,
    /// To the time of the event that comes, or of the latest before, if that event makes it believed.
    Advance {
        is_next: bool,
    },
}

/// How far ahead of what is believed one event is believed alone. `advance` is believed whatever it says, and
/// after a longer silence it would say more than the event does.
const LEAP: Duration = Duration::from_mins(1);

fn any_pauses() -> impl Strategy<Value = Vec<(usize, Pause)>> {
    let pause = prop_oneof![
        1 => Just(Pause::Query),
        1 => any::<bool>().prop_map(|is_next| Pause::Advance { is_next }),
    ];
    prop::collection::vec((0..600_usize, pause), 0..60)
}

/// Lets time pass up to `next`, the time of the event that comes, or else up to `last`; never further than
/// the events are believed.
fn advance(table: &mut Table, next: Option<BootTime>, last: BootTime) {
    let believed = table.checkpoint().state().now;
    let (to, most) = next.map_or((last, believed), |next| (next, believed.after(LEAP)));
    if to <= most {
        table.advance(to);
    }
}

/// Folds `log`, with pauses in front of events.
fn fold(mut told: Told, log: &[Step], pauses: &[(usize, Pause)]) -> Digest {
    let mut last = BootTime::ZERO;
    for (number, step) in log.iter().enumerate() {
        let next = if let Step::Event(event) = step { Some(event.time) } else { None };
        for (_, pause) in pauses.iter().filter(|(place, _)| *place == number) {
            match pause {
                Pause::Query => query(&told.table),
                Pause::Advance { is_next } => advance(&mut told.table, next.filter(|_| *is_next), last),
            }
        }
        let _ = told.take(step);
        last = last.max(next.unwrap_or(last));
    }
    // What is due at this time goes with the next event or with this.
    told.table.advance(last);
    digest(&told.table)
}

fn is_one_state(log: &[Step], table: impl Fn() -> Table, pauses: &[(usize, Pause)]) -> Result<u64, String> {
    let one = fold(Told::new(table()), log, &[]);
    let other = fold(Told::new(table()), log, pauses);
    are_the_same(&one, &other)?;
    Ok(2 * log.len() as u64)
}

#[test]
fn one_log_gives_one_state_however_it_is_told() {
    let histories = (any_history(any_source(), 9..30, 64, 600), any_pauses());
    hold_for(60_000, &histories, |(history, pauses)| {
        is_one_state(&history.steps().1, || history.table(256 << 20), pauses)
    });
}

#[test]
fn one_log_gives_one_state_when_memory_is_short() {
    let histories = (any_history(any_source(), 9..13, 40_000, 1_200), any_pauses());
    hold_for(60_000, &histories, |(history, pauses)| {
        is_one_state(&history.steps().1, || history.table(0), pauses)
    });
}

/// A log that is cut anywhere, and both parts told to a table that was restored in between.
#[test]
fn a_checkpoint_and_the_rest_of_the_log_give_the_state_of_the_whole() {
    let histories = (any_faulty(any_source()), any::<prop::sample::Index>(), any::<bool>());
    hold_for(120_000, &histories, |(faulty, cut, is_short)| {
        let log = faulty.log().1;
        let budget = if *is_short { 0 } else { 256 << 20 };
        let mut whole = faulty.history.table(budget);
        let mut parts = faulty.history.table(budget);
        let cut = cut.index(log.len() + 1);
        for (number, event) in log.iter().enumerate() {
            if number == cut {
                parts = Table::restore(&parts.checkpoint());
                are_the_same(&digest(&parts).without_bytes(), &digest(&whole).without_bytes())?;
            }
            let _ = (whole.apply(event), parts.apply(event));
        }
        is_sound(&parts)?;
        are_the_same(&digest(&parts).without_bytes(), &digest(&whole).without_bytes())?;
        Ok(2 * log.len() as u64)
    });
}

/// As above, when memory is short: what went early may differ, and nothing else.
#[test]
fn a_restored_table_that_is_short_of_memory_says_only_what_is_true() {
    let histories = (any_history(Just(Source::Kernel), 9..13, 40_000, 1_200), any::<prop::sample::Index>());
    hold_for(60_000, &histories, |(history, cut)| {
        let (machine, steps) = history.steps();
        let log: Vec<_> = steps
            .iter()
            .filter_map(|step| if let Step::Event(event) = step { Some(*event) } else { None })
            .collect();
        let mut parts = history.table(0);
        let cut = cut.index(log.len() + 1);
        for (number, event) in log.iter().enumerate() {
            if number == cut {
                parts = Table::restore(&parts.checkpoint());
            }
            let _ = parts.apply(event);
        }
        is_sound(&parts)?;
        hold!(parts.memory() <= MINIMUM_BUDGET, "{:?}", parts.explain());
        is_true_as_far_as_it_goes(&parts, &machine)?;
        // What went for want of memory need not be what went from the whole.
        Ok(log.len() as u64)
    });
}

#[test]
fn one_log_with_faults_gives_one_state_however_it_is_told() {
    let histories = (any_faulty(any_source()), any_pauses());
    hold_for(60_000, &histories, |(faulty, pauses)| {
        let log: Vec<_> = faulty.log().1.into_iter().map(Step::Event).collect();
        is_one_state(&log, || faulty.history.table(256 << 20), pauses)
    });
}

/// A log with faults, which shows itself as what is told of it.
struct Faulty {
    history: History,
    /// One for each action.
    faults: Vec<Option<Fault>>,
}

impl Faulty {
    fn log(&self) -> (Machine, Vec<Event<'static>>) {
        let (mut machine, first) = Machine::new(self.history.world);
        let mut log: Vec<_> = first.into_iter().map(|step| (step, None)).collect();
        for (action, fault) in self.history.actions.iter().zip(&self.faults) {
            log.extend(machine.act(*action).map(|step| (step, *fault)));
        }
        let events = log.into_iter().filter_map(|(step, fault)| match step {
            Step::Event(event) => Some((event, fault)),
            Step::Hold(_) | Step::LetGo(_) => None,
        });
        let log: Vec<_> = events.collect();
        (machine, inject(&log))
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log().1.iter().try_for_each(|event| writeln!(f, "{}", show_event(event)))?;
        write!(f, "\n# without faults\n{:?}", self.history)
    }
}

fn any_faulty(source: impl Strategy<Value = Source>) -> impl Strategy<Value = Faulty> {
    let actions = prop::collection::vec((any_action(), any_fault(12)), 0..200);
    (any_history(source, 9..30, 64, 1), actions).prop_map(|(history, actions)| {
        let (actions, faults) = actions.into_iter().unzip();
        Faulty { history: History { actions, ..history }, faults }
    })
}

#[test]
fn what_is_said_of_a_log_with_faults_is_true_or_marked() {
    hold_for(300_000, &any_faulty(Just(Source::Kernel)), |faulty| {
        let (machine, log) = faulty.log();
        let mut table = faulty.history.table(256 << 20);
        for event in &log {
            let applied = table.apply(event);
            ledger_balances(&table)?;
            landed_right(&table, event, applied.process)?;
        }
        is_sound(&table)?;
        is_true_or_marked(&table, &machine)?;
        Ok(log.len() as u64)
    });
}

#[test]
fn garbage_gives_a_sound_table() {
    hold_for(100_000, &prop::collection::vec(any_deed(), 0..300), |deeds| {
        let mut table = Table::new(TableConfig { budget: 0, ..TableConfig::default() });
        let mut handles: Vec<Handle> = Vec::new();
        for (number, deed) in deeds.iter().enumerate() {
            match deed {
                Deed::Apply(event) => {
                    let before = table.ledger().received();
                    let _ = table.apply(event);
                    let is_counted = !matches!(event.kind, EventKind::Lost(_));
                    hold!(table.ledger().received() == before + u64::from(is_counted), "not counted");
                }
                Deed::Advance(time) => table.advance(*time),
                Deed::Hold(pid) => {
                    let id = table.get_live(*pid).map(Entry::id);
                    handles.extend(id.and_then(|id| table.hold(id)));
                }
                Deed::LetGo => {
                    handles.pop();
                }
                Deed::HandOver => {
                    // What handles keep, the copy does not.
                    handles.clear();
                    table.advance(table.now());
                    table = handed_over(&table)?;
                }
            }
            ledger_balances(&table)?;
            // The budget is kept with each event: what others take back makes room by then.
            let is_kept = handles.is_empty() && matches!(deed, Deed::Apply(_) | Deed::HandOver);
            hold!(!is_kept || table.memory() <= MINIMUM_BUDGET, "{:?}", table.explain());
            if number % PAUSE == PAUSE - 1 {
                is_sound(&table)?;
            }
        }
        is_sound(&table)?;
        drop(handles);
        nothing_stays(&mut table)?;
        Ok(table.ledger().received())
    });
}

/// A table that goes on from the parts of a copy.
fn handed_over(table: &Table) -> Result<Table, String> {
    let copy = table.checkpoint();
    let mut builder = CheckpointBuilder::new(copy.config(), copy.state());
    for part in copy.parts() {
        builder.add(&part).map_err(|error| format!("a part is refused: {error}"))?;
    }
    let rebuilt = builder.finish().map_err(|error| format!("the copy is refused: {error}"))?;
    let other = Table::restore(&rebuilt);
    hold!(other.ledger() == table.ledger() && other.now() == table.now(), "not the same account or time");
    hold!(other.live() == table.live(), "{} live in the copy, not {}", other.live(), table.live());
    Ok(other)
}

/// When all that lives has exited, and time has passed, the table is empty.
fn nothing_stays(table: &mut Table) -> Verdict {
    let living: Vec<_> =
        table.entries().map(Entry::snapshot).filter(|process| process.end.is_none()).collect();
    for process in living {
        let exit = Exit {
            process: support::subject(process.key, process.began),
            tid: process.pid(),
            owner: ProcessKey::NONE.into(),
            status: None,
            comm: b"",
        };
        let _ = table.apply(&Event { time: table.now(), kind: EventKind::Exit(exit) });
    }
    hold!(table.live() == 0, "{} are alive after their exits", table.live());
    table.advance(BootTime::from_nanos(u64::MAX));
    hold!(table.is_empty(), "{} entries stay for ever", table.len());
    Ok(())
}
