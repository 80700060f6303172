//! Repair: of a log of which much was lost, doubled or swapped, a look at the machine makes all that lives
//! true again, and what was found out so is marked.

#[path = "model/checks.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod checks;
#[path = "model/faults.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod faults;
#[path = "model/machine.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod machine;
#[path = "model/script.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod script;
mod support;

use std::collections::HashSet;
use std::fmt;

use procession::{
    BootTime, Counted, EndKind, Entry, Event, EventKind, Exec, FactKind, Gap, Gone, Origin, Outcome,
    ParentLink, Pid, ProcessKey, Provenance, Running, Survey, Suspects, Table, TableConfig,
};
use proptest::prelude::*;

use checks::{Verdict, hold, is_sound, ledger_balances};
use faults::{Fault, inject, is_true_or_marked, subject};
use machine::{Action, Machine, Source, Step, World, any_action};
use script::show_event;
use support::key;

/// What goes wrong with the events of one kind.
#[derive(Clone, Copy, Debug)]
struct Damage {
    kind: Counted,
    percent: u32,
    fault: Fault,
}

/// A machine, what happened on it, and what was told of that.
#[derive(Clone)]
struct Damaged {
    actions: Vec<Action>,
    /// For each action a number below a hundred.
    luck: Vec<u32>,
    damages: Vec<Damage>,
    pids: u32,
}

impl Damaged {
    fn log(&self) -> (Machine, Vec<Event<'static>>, Vec<Event<'static>>) {
        let world = World { source: Source::Kernel, pids: self.pids, found: 3, longest_arguments: 64 };
        let (mut machine, first) = Machine::new(world);
        let mut log: Vec<_> = first.iter().filter_map(event_of).map(|event| (event, None)).collect();
        for (action, luck) in self.actions.iter().zip(&self.luck) {
            let Some(event) = machine.act(*action).as_ref().and_then(event_of) else { continue };
            let is_hit = |it: &&Damage| Counted::of(&event.kind) == Some(it.kind) && *luck < it.percent;
            log.push((event, self.damages.iter().find(is_hit).map(|it| it.fault)));
        }
        let told = inject(&log);
        (machine, log.into_iter().map(|(event, _)| event).collect(), told)
    }
}

impl fmt::Debug for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, all, told) = self.log();
        writeln!(f, "{:?}\n# told", self.damages)?;
        told.iter().try_for_each(|event| writeln!(f, "{}", show_event(event)))?;
        writeln!(f, "\n# all")?;
        all.iter().try_for_each(|event| writeln!(f, "{}", show_event(event)))
    }
}

fn event_of(step: &Step) -> Option<Event<'static>> {
    match step {
        Step::Event(event) => Some(*event),
        Step::Hold(_) | Step::LetGo(_) => None,
    }
}

fn any_damaged(damage: impl Strategy<Value = Vec<Damage>>) -> impl Strategy<Value = Damaged> {
    let action = prop_oneof![
        9 => any_action(),
        1 => (0..300_usize, 0..5_u32).prop_map(|(who, euid)| Action::Become { who, euid }),
    ];
    let actions = prop::collection::vec((action, 0..100_u32), 0..300);
    (actions, damage, prop_oneof![9..30_u32, Just(5_000)]).prop_map(|(actions, damages, pids)| {
        let (actions, luck) = actions.into_iter().unzip();
        Damaged { actions, luck, damages, pids }
    })
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::Drop),
        1 => (0..4_usize).prop_map(|after| Fault::Repeat { after }),
        1 => (1..4_usize).prop_map(|by| Fault::Delay { by }),
    ]
}

const KINDS: [Counted; 4] = [Counted::Fork, Counted::Exec, Counted::Exit, Counted::Change];

/// What a look at the machine finds.
fn survey(machine: &Machine) -> (Survey, Vec<Event<'static>>) {
    // What happened in the very nanosecond in which it begins could have happened after that.
    let now = BootTime::from_nanos(machine.now + 1);
    let mut survey = Survey::new(now);
    let found = machine.living.iter().map(|process| Event { time: now, ..machine.finding(*process) });
    let found = found.collect::<Vec<_>>();
    for event in &found {
        if let EventKind::Running(running) = event.kind {
            survey.saw_as(running.process, &running.context);
        }
    }
    (survey, found)
}

/// What an agent tells a table that was told of losses.
fn repair(table: &mut Table, machine: &Machine) -> Suspects {
    let (survey, found) = survey(machine);
    let suspects = table.suspects(&survey);
    for subject in &suspects.gone {
        let gone = Gone { process: *subject, gap: Gap::Loss };
        let applied = table.apply(&Event { time: survey.began(), kind: EventKind::Gone(gone) });
        assert_eq!(applied.outcome, Outcome::Applied, "{subject:?} {:?}", support::show(table));
    }
    for mut event in found {
        let EventKind::Running(running) = &mut event.kind else { unreachable!("a look finds what runs") };
        if suspects.missing.contains(&running.process) || suspects.changed.contains(&running.process) {
            running.gap = Some(Gap::Loss);
            let applied = table.apply(&event);
            assert_eq!(applied.outcome, Outcome::Applied, "{}", show_event(&event));
            let is_change = applied.kind == Some(FactKind::Change);
            assert_eq!(
                is_change,
                suspects.changed.contains(&match event.kind {
                    EventKind::Running(running) => running.process,
                    _ => unreachable!("as above"),
                })
            );
        }
    }
    suspects
}

/// All that lives is there as it is, and nothing else lives.
fn the_living_are_true(table: &Table, machine: &Machine) -> Verdict {
    hold!(table.live() == machine.living.len(), "{} live, not {}", table.live(), machine.living.len());
    for process in &machine.living {
        let image = &machine.images[machine.current(*process)];
        let Some(entry) = table.get_live(image.key.pid) else {
            return Err(format!("{} is missing", image.key));
        };
        let said = (entry.key(), entry.began(), entry.binary(), entry.snapshot().user().map(|it| it.0));
        let is_true = (image.key, image.began, image.binary, image.euid);
        hold!(said == is_true, "said {said:?}, is {is_true:?}");
        chain_is_true_or_marked(machine, entry, *process)?;
    }
    Ok(())
}

/// Each link leads to who forked the process. One that does not is marked, and leads to who owns it or did
/// when it was last told of.
fn chain_is_true_or_marked(machine: &Machine, entry: Entry<'_>, process: usize) -> Verdict {
    let forker = machine.images[machine.processes[process].images[0]].parent;
    let forker = forker.map(|image| machine.images[image].process);
    let Some(parent) = entry.parent() else {
        hold!(forker.is_none(), "{} has no parent", entry.key());
        return Ok(());
    };
    let Some(number) = machine.by_key.get(&parent.key()) else {
        return Err(format!("{} has a parent that never was: {}", entry.key(), parent.key()));
    };
    let said = machine.images[*number].process;
    let provenance = entry.snapshot().parent.map(|link: ParentLink| link.provenance);
    let is_marked = provenance != Some(Provenance::Observed);
    hold!(Some(said) == forker || is_marked, "{} is said to be forked by {}", entry.key(), parent.key());
    if machine.processes[said].is_alive {
        chain_is_true_or_marked(machine, parent, said)?;
    }
    Ok(())
}

/// What is presented as seen was told.
fn what_was_not_told_is_marked(table: &Table, all: &[Event<'static>]) -> Verdict {
    let told = |what: fn(&EventKind<'_>) -> Option<ProcessKey>| -> HashSet<_> {
        all.iter().filter_map(|event| what(&event.kind)).collect()
    };
    let forks = told(|kind| if let EventKind::Fork(it) = kind { Some(it.child.key) } else { None });
    let execs = told(|kind| if let EventKind::Exec(it) = kind { Some(it.process.key) } else { None });
    let changes = told(|kind| if let EventKind::Change(it) = kind { Some(it.process.key) } else { None });
    // Whose begin is known to the nanosecond is no other process of the same pid.
    let processes = |told: fn(&EventKind<'_>) -> bool| -> HashSet<_> {
        let told = all.iter().filter(|event| told(&event.kind));
        told.filter_map(|event| subject(&event.kind)).map(|it| (it.key.pid, it.began)).collect()
    };
    let ran = processes(|kind| matches!(kind, EventKind::Exec(_)));
    let exited = processes(|kind| matches!(kind, EventKind::Exit(_)));
    for process in table.entries().map(Entry::snapshot) {
        let (key, itself) = (process.key, (process.pid(), process.began));
        let was_told = match process.origin {
            // Of one image of a process, the others' execs tell.
            Origin::Fork => forks.contains(&key) || ran.contains(&itself),
            Origin::FirstExec | Origin::Exec => execs.contains(&key),
            Origin::Running | Origin::Found(_) | Origin::Inferred => true,
        };
        hold!(was_told, "{key} is {:?}", process.origin);
        let is_exit = matches!(process.end.map(|end| end.how), Some(EndKind::Exited(_)));
        hold!(!is_exit || exited.contains(&itself), "{key} was not seen to exit");
        let seen =
            process.image.iter().flat_map(procession::Image::past).filter(|spell| spell.gap().is_none());
        // A fork shares the past of the one that forked it.
        hold!(seen.count() == 0 || !changes.is_empty(), "{key} was not seen to change");
    }
    Ok(())
}

fn is_repaired(damaged: &Damaged) -> Result<(), TestCaseError> {
    let (machine, _, told) = damaged.log();
    let mut table = Table::new(TableConfig::default());
    for event in &told {
        let _ = table.apply(event);
    }
    repair(&mut table, &machine);
    let verdict = || {
        the_living_are_true(&table, &machine)?;
        what_was_not_told_is_marked(&table, &told)?;
        is_true_or_marked(&table, &machine)?;
        ledger_balances(&table)?;
        is_sound(&table)
    };
    verdict().map_err(TestCaseError::fail)?;
    // Who looks again finds nothing.
    prop_assert!(table.suspects(&survey(&machine).0).is_empty(), "{:?}", table.suspects(&survey(&machine).0));
    Ok(())
}

/// How many histories; `PROCESSION_TIMES=100` tries a hundred times as many.
fn cases() -> u32 {
    200 * std::env::var("PROCESSION_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1_u32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_each_kind_alone(
        damaged in any_damaged((0..4_usize, any_fault()).prop_map(|(kind, fault)| {
            vec![Damage { kind: KINDS[kind], percent: 30, fault }]
        })),
    ) {
        is_repaired(&damaged)?;
    }

    #[test]
    fn of_all_kinds_together(
        damaged in any_damaged((any::<[u8; 4]>(), any_fault(), any_fault()).prop_map(|(luck, one, other)| {
            let damages = KINDS.iter().zip(luck).zip([one, other, one, other]);
            let damage = damages.map(|((kind, luck), fault)| {
                let percent = [1, 10, 30][usize::from(luck) % 3];
                Damage { kind: *kind, percent, fault }
            });
            damage.collect()
        })),
    ) {
        is_repaired(&damaged)?;
    }

    /// After an absence the source has lost what it kept of each process.
    #[test]
    fn by_the_begin_of_each_process(
        damaged in any_damaged((any::<[u8; 4]>(), any_fault()).prop_map(|(luck, fault)| {
            let damage = KINDS.iter().zip(luck).map(|(kind, luck)| {
                let percent = [0, 10, 30][usize::from(luck) % 3];
                Damage { kind: *kind, percent, fault }
            });
            damage.collect()
        })),
    ) {
        is_repaired_by_begin(&damaged)?;
    }
}

/// With the file that is run by another name than the one that it was called by.
fn with_file(mut event: Event<'static>) -> Event<'static> {
    if let EventKind::Exec(Exec { program, .. }) | EventKind::Running(Running { program, .. }) =
        &mut event.kind
    {
        (program.executable, program.comm) = (program.binary, program.binary);
    }
    event
}

/// What a look finds that knows of each process only when it began.
fn look_by_begin(machine: &Machine) -> (Survey, Vec<Event<'static>>) {
    let (_, found) = survey(machine);
    let now = BootTime::from_nanos(machine.now + 1);
    let mut survey = Survey::new(now);
    let by_begin = found.into_iter().map(|event| {
        let mut event = with_file(event);
        let EventKind::Running(running) = &mut event.kind else { unreachable!("a look finds what runs") };
        running.process.key.start = running.process.began;
        (running.gap, running.owner.key.start) =
            (Some(Gap::Absence), running.owner.began.unwrap_or(BootTime::ZERO));
        survey.saw_running(running);
        event
    });
    let found = by_begin.collect();
    (survey, found)
}

fn is_repaired_by_begin(damaged: &Damaged) -> Result<(), TestCaseError> {
    let (machine, _, told) = damaged.log();
    let mut table = Table::new(TableConfig::default());
    for event in told {
        let _ = table.apply(&with_file(event));
    }
    let mut table = Table::restore(&table.checkpoint());
    let (look, found) = look_by_begin(&machine);
    let Suspects { missing, gone, changed, doubtful, .. } = table.suspects(&look);
    for process in gone {
        let gone = Gone { process, gap: Gap::Absence };
        let _ = table.apply(&Event { time: look.began(), kind: EventKind::Gone(gone) });
    }
    for event in found {
        let EventKind::Running(running) = event.kind else { unreachable!("a look finds what runs") };
        if [&missing, &changed, &doubtful].iter().any(|list| list.contains(&running.process)) {
            let outcome = table.apply(&event).outcome;
            prop_assert_eq!(outcome, Outcome::Applied, "{}", show_event(&event));
        }
    }
    for process in &machine.living {
        let image = &machine.images[machine.current(*process)];
        let entry = table.get_live(image.key.pid);
        let said = entry.map(|it| (it.began(), it.binary(), it.snapshot().user().map(|it| it.0)));
        prop_assert_eq!(
            said,
            Some((image.began, image.binary, image.euid)),
            "{} {}",
            image.key,
            support::show(&table)
        );
    }
    prop_assert_eq!(table.live(), machine.living.len());
    let verdict = ledger_balances(&table).and_then(|()| is_sound(&table));
    verdict.map_err(TestCaseError::fail)?;
    let left = table.suspects(&look_by_begin(&machine).0);
    prop_assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn who_agrees_has_no_suspects() {
    let table = support::table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nexec 10@5 > 10@7 /bin/sh < 1@1");
    let mut survey = Survey::new(BootTime::from_nanos(50));
    survey.saw(support::subject(key("1@1"), key("1@1").start));
    survey.saw(support::subject(key("10@7"), key("10@5").start));
    assert!(table.suspects(&survey).is_empty());
    assert_eq!((survey.len(), survey.is_empty(), survey.began().as_nanos()), (2, false, 50));
}

/// What happens while somebody looks is no suspect, whether or not they saw it.
#[test]
fn what_happens_meanwhile_is_no_suspect() {
    let world = "running 1@1 /sbin/init\nfork 1@1 > 10@5\nexec 10@5 > 10@7 /bin/sh < 1@1\nfork 1@1 > 11@8";
    let mut survey = Survey::new(BootTime::from_nanos(50));
    let of = |name: &str| support::subject(key(name), key(name).start);
    for name in ["1@1", "11@8"] {
        survey.saw(of(name));
    }
    let euid = |euid| support::user(euid);
    let context = procession::Context { credentials: Some(euid(1)), ..procession::Context::default() };
    survey.saw_as(support::subject(key("10@7"), key("10@5").start), &context);
    let table = support::table(&format!(
        "{world}
        change 10@7 uid 1 began 5
        60: exec 10@7 > 10@60 /bin/ls < 1@1 began 5
        61: exit 11@8 0
        62: fork 1@1 > 12@62
        63: fork 1@1 > 11@63
        64: change 10@60 uid 2 began 5"
    ));
    assert_eq!(table.suspects(&survey), Suspects::default());
}

/// Of a process that was forked while somebody looked, the events may still be on the way.
#[test]
fn what_is_younger_than_the_survey_is_looked_at_again() {
    let table = support::table("running 1@1 /sbin/init");
    let mut survey = Survey::new(BootTime::from_nanos(50));
    for name in ["1@1", "10@49", "11@50", "12@51"] {
        survey.saw(support::subject(key(name), key(name).start));
    }
    let suspects = table.suspects(&survey);
    assert_eq!(suspects.missing, [support::subject(key("10@49"), key("10@49").start)]);
    assert_eq!(suspects.young, 2);
}

/// Nothing tells when a session began; but a process begins one for itself only.
#[test]
fn a_session_that_was_missed_is_found_whenever_it_was_looked() {
    let mut table = support::table("running 1@1 /sbin/init\nfork 1@1 > 10@5\nfork 10@5 > 11@6");
    let of = |name: &str, began: &str| support::subject(key(name), key(began).start);
    let saw = |session: Option<u32>| {
        let session = session.map(Pid);
        let context = procession::Context { session, ..procession::Context::default() };
        let mut survey = Survey::new(BootTime::from_nanos(50));
        survey.saw_as(of("1@1", "1@1"), &procession::Context::default());
        survey.saw_as(of("11@6", "11@6"), &procession::Context::default());
        survey.saw_as(of("10@5", "10@5"), &context);
        (survey, context)
    };
    assert!(table.suspects(&saw(None).0).is_empty(), "nobody said");
    let (survey, context) = saw(Some(10));
    assert_eq!(table.suspects(&survey).changed, [of("10@5", "10@5")]);
    let running =
        Running { process: of("10@5", "10@5"), context, gap: Some(Gap::Loss), ..Running::default() };
    let event = Event { time: BootTime::from_nanos(51), kind: EventKind::Running(running) };
    let applied = table.apply(&event);
    assert_eq!((applied.outcome, applied.kind), (Outcome::Applied, Some(FactKind::Change)));
    assert_eq!(table.get_live(Pid(10)).unwrap().session(), Some(Pid(10)));
    assert!(table.suspects(&survey).is_empty());
    assert_eq!(table.apply(&event).outcome, Outcome::Duplicate);
    // Who looked before it began its own, and compares after that.
    assert!(table.suspects(&saw(Some(1)).0).is_empty());
    // What else they saw may be new. The session is not.
    let context = procession::Context {
        session: Some(Pid(1)),
        credentials: Some(support::user(7)),
        ..procession::Context::default()
    };
    let running = Running { context, ..running };
    let event = Event { time: BootTime::from_nanos(52), kind: EventKind::Running(running) };
    assert_eq!(table.apply(&event).outcome, Outcome::Applied);
    assert_eq!(table.get_live(Pid(10)).unwrap().session(), Some(Pid(10)));
}
