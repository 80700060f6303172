//! Events that get lost, come twice, or come in another order.

use procession::{EndKind, Entry, Event, EventKind, Origin, Process, ProcessId, Provenance, Subject, Table};
use proptest::prelude::*;

use crate::checks::{Verdict, hold};
use crate::machine::{Image, Machine, to_the_tick};

/// What goes wrong at a place of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The event is lost.
    Drop,
    /// The event comes again, after so many others.
    Repeat { after: usize },
    /// The event comes that much later than it should.
    Delay { by: usize },
}

/// A fault, at about one event of so many.
pub(crate) fn any_fault(rarity: u32) -> impl Strategy<Value = Option<Fault>> {
    prop::option::weighted(
        1.0 / f64::from(rarity),
        prop_oneof![
            Just(Fault::Drop),
            (0..4_usize).prop_map(|after| Fault::Repeat { after }),
            (1..4_usize).prop_map(|by| Fault::Delay { by }),
        ],
    )
}

/// The log with its faults.
pub(crate) fn inject(log: &[(Event<'static>, Option<Fault>)]) -> Vec<Event<'static>> {
    let mut told = Vec::new();
    // How many events are told before each of these.
    let mut waiting: Vec<(usize, Event<'static>)> = Vec::new();
    for (event, fault) in log {
        match fault {
            None => told.push(*event),
            Some(Fault::Drop) => {}
            Some(Fault::Repeat { after }) => {
                told.push(*event);
                waiting.push((told.len() + after, *event));
            }
            Some(Fault::Delay { by }) => waiting.push((told.len() + by, *event)),
        }
        let is_due = |(place, _): &mut (usize, _)| *place <= told.len();
        let due: Vec<_> = waiting.extract_if(.., is_due).collect();
        told.extend(due.into_iter().map(|(_, event)| event));
    }
    told.extend(waiting.into_iter().map(|(_, event)| event));
    told
}

/// The process that an event speaks of.
pub(crate) fn subject(kind: &EventKind<'_>) -> Option<Subject> {
    match kind {
        EventKind::Fork(fork) => Some(fork.child),
        EventKind::Exec(exec) => Some(exec.process),
        EventKind::Exit(exit) => Some(exit.process),
        EventKind::Running(running) => Some(running.process),
        EventKind::Change(change) => Some(change.process),
        EventKind::Gone(gone) => Some(gone.process),
        EventKind::Lost(_) => None,
    }
}

/// The event landed on the process that it speaks of.
pub(crate) fn landed_right(table: &Table, event: &Event<'_>, id: Option<ProcessId>) -> Verdict {
    let (Some(subject), Some(process)) = (subject(&event.kind), id.and_then(|id| table.process(id))) else {
        return Ok(());
    };
    let (pid, key) = (subject.key.pid, process.key);
    hold!(process.pid() == pid, "an event of pid {pid} landed on {key}");
    let (said, known) = (subject.began, process.began);
    let is_coarse = [said, known].into_iter().any(|began| began == to_the_tick(began));
    let is_same = said == known || is_coarse && to_the_tick(said) == to_the_tick(known);
    hold!(
        is_same || process.key == subject.key,
        "an event of {pid}, which began at {}, landed on {key}, which began at {}",
        subject.began,
        process.began
    );
    Ok(())
}

/// Whatever the table says is true, or marked as inferred or found.
pub(crate) fn is_true_or_marked(table: &Table, machine: &Machine) -> Verdict {
    table.entries().map(Entry::snapshot).try_for_each(|process| {
        let key = process.key;
        let image = machine.by_key.get(&key).map(|number| &machine.images[*number]);
        let Some(image) = image else { return Err(format!("{key} never was")) };
        let verdict = [
            ("begin", process.began == image.began),
            ("parent", parent_is_true_or_marked(machine, &process, image)),
            ("previous image", previous_is_true(machine, &process, image)),
            ("end", end_is_true(machine, &process, image)),
            ("program", program_is_true(&process, image)),
            ("owner", owner_is_true(machine, &process)),
        ];
        let wrong = verdict.iter().find(|(_, is_true)| !is_true);
        wrong.map_or(Ok(()), |(what, _)| {
            Err(format!("the {what} of {key} is wrong:\n   is {image:?}\n said {process:?}"))
        })
    })
}

fn parent_is_true_or_marked(machine: &Machine, process: &Process, image: &Image) -> bool {
    let Some(link) = process.parent else { return true };
    link.provenance != Provenance::Observed
        || image.parent.is_some_and(|it| machine.images[it].key == link.key)
}

/// What has ended has; whether another image or another process came after is a guess when neither
/// the end nor the beginning was told.
fn end_is_true(machine: &Machine, process: &Process, image: &Image) -> bool {
    match process.end.map(|end| end.how) {
        None => true,
        Some(EndKind::Exited(Some(status))) => {
            let last = &machine.images[machine.current(image.process)];
            last.end.is_some_and(|(_, told)| told == Some(status))
        }
        Some(EndKind::Exited(None) | EndKind::Vanished | EndKind::Replaced | EndKind::Gone(_)) => {
            image.end.is_some()
        }
    }
}

fn previous_is_true(machine: &Machine, process: &Process, image: &Image) -> bool {
    process.previous.is_none_or(|key| {
        let previous = machine.by_key.get(&key).map(|number| &machine.images[*number]);
        previous.is_some_and(|previous| previous.process == image.process && key.start < image.key.start)
    })
}

/// What was inferred ran nobody knows what; so did what was forked from that.
fn program_is_true(process: &Process, image: &Image) -> bool {
    let Some(program) = &process.image else { return true };
    match process.origin {
        Origin::Inferred => program.binary().is_empty(),
        Origin::Fork if program.binary().is_empty() => true,
        Origin::Fork | Origin::FirstExec | Origin::Exec | Origin::Running | Origin::Found(_) => {
            program.binary() == image.binary && program.arguments().bytes == image.arguments
        }
    }
}

fn owner_is_true(machine: &Machine, process: &Process) -> bool {
    process.owner.is_none_or(|owner| machine.by_key.contains_key(&owner))
}
