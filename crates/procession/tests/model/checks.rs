//! What a table says, compared with what is true.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use procession::{
    BootTime, Counted, End, EndKind, Entry, ExitStatus, Explanation, Ledger, Origin, ParentLink, Process,
    ProcessKey, Table,
};

use crate::machine::{Image, Machine, Source};

/// `Err` says what is wrong.
pub(crate) type Verdict = Result<(), String>;

/// Fails with a text unless the condition holds.
macro_rules! hold {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use hold;

/// Every event has one outcome.
pub(crate) fn ledger_balances(table: &Table) -> Verdict {
    for kind in Counted::ALL {
        let it = table.ledger().account(kind);
        let sum = it.applied + it.duplicate + it.late + it.rejected;
        hold!(it.received == sum, "the ledger of {kind:?} does not balance: {it:?}");
    }
    Ok(())
}

/// What holds whatever the events say: links lead somewhere and end, a pid has one live image at
/// most, every count is that of what is there.
pub(crate) fn is_sound(table: &Table) -> Verdict {
    let mut live = HashSet::new();
    for entry in table.entries() {
        let (key, process) = (entry.key(), entry.snapshot());
        hold!(table.get(key).is_some(), "{key} is not found");
        hold!(entry.ancestors().count() < table.len(), "the chain of {key} has no end");
        hold!(entry.reference_lineage().count() < table.len(), "the lineage of {key} has no end");
        hold!(entry.children().count() < table.len(), "the children of {key} have no end");
        let parent = entry.parent().map(Entry::key);
        hold!(parent == process.parent.map(|link| link.key), "the parent of {key} is {parent:?}");
        let reference = entry.reference_parent().map(Entry::key);
        hold!(reference == process.reference_parent(), "the reference's parent of {key} is {reference:?}");
        if entry.is_running() {
            hold!(live.insert(key.pid), "two live images of {}", key.pid);
            let current = table.get_live(key.pid).map(Entry::key);
            hold!(current == Some(key), "{key} is not the live image");
        }
        for child in entry.children() {
            let parent = child.parent().filter(|parent| parent.key().pid == key.pid);
            hold!(parent.is_some(), "a child of {key} is {child:?}");
        }
    }
    hold!(live.len() == table.live(), "{} live, not {}", table.live(), live.len());
    let it = table.explain();
    let bytes = it.entry_bytes + it.body_bytes + it.index_bytes + it.image_bytes + it.shared_bytes;
    hold!(it.used == bytes && it.used == table.memory(), "the bytes do not add up: {it:?}");
    let entries = it.running + it.in_grace + it.held + it.ancestors + it.tombstones;
    hold!(entries == table.len() && it.running == live.len(), "the entries do not add up: {it:?}");
    Ok(())
}

/// What there is to say of an entry.
#[derive(Debug, PartialEq, Eq)]
struct View<'a> {
    began: BootTime,
    origin: Origin,
    parent: Option<ParentLink>,
    previous: Option<ProcessKey>,
    owner: Option<ProcessKey>,
    binary: &'a [u8],
    arguments: &'a [u8],
    euid: Option<u32>,
    end: Option<End>,
}

fn view(process: &Process) -> View<'_> {
    View {
        began: process.began,
        origin: process.origin,
        parent: process.parent,
        previous: process.previous,
        owner: process.owner,
        binary: process.binary(),
        arguments: process.image.as_ref().map_or(b"", |image| image.arguments().bytes),
        euid: process.user().map(|user| user.0),
        end: process.end,
    }
}

fn true_view(machine: &Machine, image: &Image) -> View<'static> {
    let key_of = |number: usize| machine.images[number].key;
    View {
        began: image.began,
        origin: image.origin,
        parent: image.parent.map(|it| ParentLink { key: key_of(it), provenance: machine.provenance(image) }),
        previous: image.previous.map(key_of),
        owner: image.owner,
        binary: image.binary,
        arguments: image.arguments,
        euid: image.euid,
        end: image.end.map(|(time, status)| End { time, how: true_end(status) }),
    }
}

fn true_end(status: Option<ExitStatus>) -> EndKind {
    status.map_or(EndKind::Replaced, |status| EndKind::Exited(Some(status)))
}

/// With all events, in order, and memory enough: the table says what is true, of all that runs or
/// has just ended and of all that led to it, and of nothing else.
pub(crate) fn is_the_truth(table: &Table, machine: &Machine, grace: Duration) -> Verdict {
    let (needed, possible) = (needed(machine, table.now(), grace), possible(machine, table.now(), grace));
    for (number, image) in machine.images.iter().enumerate() {
        let key = image.key;
        let Some(entry) = table.get(key) else {
            hold!(!needed.contains(&number), "{key} is missing");
            continue;
        };
        hold!(possible.contains(&number), "{key} is still there");
        let process = entry.snapshot();
        let (said, is_true) = (view(&process), true_view(machine, image));
        let is_equal = if machine.world.source == Source::Proc {
            agrees_on_processes(machine, &said, &is_true)
        } else {
            said == is_true
        };
        hold!(is_equal, "{key}:\n   is {is_true:?}\n said {said:?}");
        children_are_true(entry, machine, image.process)?;
    }
    hold!(table.entries().all(|it| machine.by_key.contains_key(&it.key())), "an image that never was");
    counts_are_true(table, machine)?;
    machine.living.iter().try_for_each(|process| chain_is_whole(table, machine, *process))
}

/// A source that names parents by their begin does not say which image of a process it means.
fn agrees_on_processes(machine: &Machine, said: &View<'_>, is_true: &View<'_>) -> bool {
    let process = |key: ProcessKey| machine.by_key.get(&key).map(|image| machine.images[*image].process);
    let parents = |view: &View<'_>| view.parent.map(|link| (process(link.key), link.provenance));
    let rest = |view: &View<'_>| (view.began, view.origin, view.previous, view.owner, view.end);
    // What a fork shares is what the image ran that it named.
    let inherits = said.origin == Origin::Fork || is_true.origin == Origin::Fork;
    let runs_the_same =
        (said.binary, said.arguments, said.euid) == (is_true.binary, is_true.arguments, is_true.euid);
    parents(said) == parents(is_true) && rest(said) == rest(is_true) && (inherits || runs_the_same)
}

/// Numbers of the images that must be there: those that run, have ended within the grace time, or
/// are held, and those that led to such a one.
fn needed(machine: &Machine, now: BootTime, grace: Duration) -> HashSet<usize> {
    let is_fresh = |number: &usize| {
        let image = &machine.images[*number];
        // The image shared since the fork may go with the first exec.
        let is_used_up = image.origin == Origin::Fork && matches!(image.end, Some((_, None)));
        !is_used_up && is_in_grace(image, now, grace)
    };
    let fresh = (0..machine.images.len()).filter(is_fresh);
    // Who names a parent by its begin does not say which image of it.
    let names_images = machine.world.source != Source::Proc;
    with_what_led_to(fresh.chain(machine.held.iter().copied()), |number| {
        let image = &machine.images[number];
        image.parent.filter(|_| names_images).into_iter().chain(image.previous).collect()
    })
}

/// Numbers of the images that may be there.
fn possible(machine: &Machine, now: BootTime, grace: Duration) -> HashSet<usize> {
    let is_fresh = |number: &usize| is_in_grace(&machine.images[*number], now, grace);
    let fresh = (0..machine.images.len()).filter(is_fresh);
    with_what_led_to(fresh.chain(machine.held.iter().copied()), |number| {
        let image = &machine.images[number];
        let parents = match (machine.world.source, image.parent) {
            (Source::Proc, Some(parent)) => machine.processes[machine.images[parent].process].images.clone(),
            (_, parent) => parent.into_iter().collect(),
        };
        // The image shared since the fork may have been needed, and is then kept with the first exec's.
        let shared = (image.origin == Origin::FirstExec).then(|| machine.processes[image.process].images[0]);
        parents.into_iter().chain(image.previous).chain(shared).collect()
    })
}

fn is_in_grace(image: &Image, now: BootTime, grace: Duration) -> bool {
    image.end.is_none_or(|(time, _)| now < time.after(grace))
}

fn with_what_led_to(
    from: impl Iterator<Item = usize>,
    before: impl Fn(usize) -> Vec<usize>,
) -> HashSet<usize> {
    let mut open: Vec<_> = from.collect();
    let mut all = HashSet::new();
    while let Some(number) = open.pop() {
        if all.insert(number) {
            open.extend(before(number));
        }
    }
    all
}

fn children_are_true(entry: Entry<'_>, machine: &Machine, process: usize) -> Verdict {
    if machine.world.source == Source::Proc {
        return Ok(());
    }
    let said: HashSet<_> = entry.children().map(Entry::key).collect();
    let current = machine.living.iter().map(|process| &machine.images[machine.current(*process)]);
    let is_child = |it: &Image| it.parent.is_some_and(|parent| machine.images[parent].process == process);
    let are_true: HashSet<_> = current.filter(|it| is_child(it)).map(|it| it.key).collect();
    hold!(said == are_true, "the children of {} are {are_true:?}, not {said:?}", entry.key());
    Ok(())
}

fn counts_are_true(table: &Table, machine: &Machine) -> Verdict {
    let (ledger, live) = (table.ledger(), machine.living.len());
    hold!(table.live() == live, "{} live, not {live}", table.live());
    hold!(ledger.inferred_exits() == 0, "exits were inferred");
    for kind in [Counted::Fork, Counted::Exec, Counted::Exit] {
        let account = ledger.account(kind);
        hold!(account.received == account.applied, "not all was applied of {kind:?}: {account:?}");
    }
    hold!(table.explain().evicted_live == 0, "the living were pushed out");
    Ok(())
}

/// The chain of a live process leads to the first one, and each tombstone in it stands for as many
/// as it says. So do the images that it replaced.
pub(crate) fn chain_is_whole(table: &Table, machine: &Machine, process: usize) -> Verdict {
    let number = machine.current(process);
    let key = machine.images[number].key;
    let entry = table.get_live(key.pid).filter(|entry| entry.key() == key);
    let Some(entry) = entry else { return Err(format!("{key} is missing")) };
    let is_by_process = machine.world.source == Source::Proc;
    let same = |key: ProcessKey, number: usize| {
        let other = machine.by_key.get(&key).map(|other| machine.images[*other].process);
        key == machine.images[number].key || is_by_process && other == Some(machine.images[number].process)
    };
    let mut told = machine.ancestors(number);
    for ancestor in entry.ancestors().map(Entry::snapshot) {
        let next = told.next();
        hold!(next.is_some_and(|next| same(ancestor.key, next)), "{} is in the chain of {key}", ancestor.key);
        for _ in 0..ancestor.tombstone.map_or(0, |tombstone| tombstone.stands_for()) {
            hold!(told.next().is_some(), "{} stands for too many in the chain of {key}", ancestor.key);
        }
    }
    hold!(told.next().is_none(), "the chain of {key} is cut off");
    Ok(())
}

/// Of whatever is short of memory: all that lives is there with its chain, and nothing is said of
/// anything that is not true. A tombstone has forgotten much, and may skip what it stands for.
pub(crate) fn is_true_as_far_as_it_goes(table: &Table, machine: &Machine) -> Verdict {
    for process in table.entries().map(Entry::snapshot) {
        let key = process.key;
        let image = machine.by_key.get(&key).map(|number| &machine.images[*number]);
        let Some(image) = image else { return Err(format!("{key} never was")) };
        let (said, mut is_true) = (view(&process), true_view(machine, image));
        if process.tombstone.is_some() {
            hold!(said.binary == is_true.binary, "the tombstone {key} ran {:?}", said.binary);
            (is_true.owner, is_true.arguments, is_true.euid) = (None, b"", None);
            is_true.end = is_true.end.map(|end| End { how: without_status(end.how), ..end });
            (is_true.parent, is_true.previous) = (said.parent, said.previous);
        }
        hold!(said == is_true, "{key}:\n   is {is_true:?}\n said {said:?}");
    }
    counts_are_true(table, machine)?;
    for process in &machine.living {
        chain_is_whole(table, machine, *process)?;
        earlier_images_are_whole(table, machine, *process)?;
    }
    Ok(())
}

fn without_status(how: EndKind) -> EndKind {
    if matches!(how, EndKind::Exited(_)) { EndKind::Exited(None) } else { how }
}

/// As [`chain_is_whole`], for the images that a live process had before.
fn earlier_images_are_whole(table: &Table, machine: &Machine, process: usize) -> Verdict {
    let number = machine.current(process);
    let key = machine.images[number].key;
    let mut told = machine.earlier_images(number);
    // What is shared since the fork is there only if it is needed.
    let images = std::iter::successors(table.get(key), |entry| entry.previous());
    for image in images.skip(1).filter(|it| it.origin() != Origin::Fork).map(Entry::snapshot) {
        let next = told.next().map(|number| machine.images[number].key);
        hold!(next == Some(image.key), "{} precedes {key}, not {next:?}", image.key);
        for _ in 0..image.tombstone.map_or(0, |tombstone| tombstone.stands_for()) {
            hold!(told.next().is_some(), "{} stands for too many that precede {key}", image.key);
        }
    }
    hold!(told.next().is_none(), "what precedes {key} is cut off");
    Ok(())
}

/// All that a table knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    entries: Vec<(Process, Vec<ProcessKey>, u16)>,
    ledger: Ledger,
    explanation: Explanation,
}

impl Digest {
    /// Without what depends on how memory came to be as it is, and on the order of lists.
    pub(crate) fn without_bytes(mut self) -> Self {
        let Explanation { entry_bytes, body_bytes, index_bytes, image_bytes, shared_bytes, used, .. } =
            &mut self.explanation;
        for bytes in [entry_bytes, body_bytes, index_bytes, image_bytes, shared_bytes, used] {
            *bytes = 0;
        }
        for (_, children, _) in &mut self.entries {
            children.sort();
        }
        self
    }
}

/// Makes one of everything that can be asked.
pub(crate) fn digest(table: &Table) -> Digest {
    let mut entries: Vec<_> = table
        .entries()
        .map(|entry| (entry.snapshot(), entry.children().map(Entry::key).collect(), entry.depth()))
        .collect();
    entries.sort_by_key(|(process, ..)| process.key);
    Digest { entries, ledger: *table.ledger(), explanation: table.explain() }
}

/// The first difference between two.
pub(crate) fn are_the_same(one: &Digest, other: &Digest) -> Verdict {
    let names: HashMap<_, _> = other.entries.iter().map(|entry| (entry.0.key, entry)).collect();
    for entry in &one.entries {
        let twin = names.get(&entry.0.key);
        hold!(twin == Some(&entry), "{}: {entry:?} is not {twin:?}", entry.0.key);
    }
    hold!(
        one == other,
        "{:?} {:?}\nis not\n{:?} {:?}",
        one.ledger,
        one.explanation,
        other.ledger,
        other.explanation
    );
    Ok(())
}
