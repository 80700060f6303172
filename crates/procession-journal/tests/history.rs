//! What happened to one process, and who ever descended from it: as the log tells, however much the table
//! has forgotten.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;

use procession::{BootTime, Event, EventKind, Fact, FactKind, Pid, Process, ProcessKey, Subject};
use procession_journal::{Journal, Life, Reader, Target, What};
use support::{Machine, Name, Recorder, clock, config, recording};
use tempfile::TempDir;

/// A recorded log, and what is true of it.
struct Lab {
    directory: TempDir,
    machine: Machine,
    events: Vec<Event<'static>>,
}

impl Lab {
    fn record(seed: u64, count: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let mut machine = Machine::new(seed, 40);
        let events = machine.events(count);
        let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
        recorder.begin();
        for (index, event) in events.iter().enumerate() {
            recorder.push(event);
            match index % 500 {
                499 => recorder.begin(),
                49 | 99 | 399 => recorder.flush(),
                _ => {}
            }
        }
        recorder.close();
        Self { directory, machine, events }
    }

    fn open(&self) -> Journal {
        Journal::open(self.directory.path()).unwrap()
    }

    /// The processes that had `pid`, in order.
    fn had(&self, pid: Pid) -> Vec<Name> {
        let names = self.machine.parents.iter().map(|(name, _)| *name);
        names.filter(|(other, _)| *other == pid).collect()
    }

    fn children(&self, of: Name) -> Vec<Name> {
        let is_child = |(_, parent): &&(Name, Option<Name>)| *parent == Some(of);
        self.machine.parents.iter().filter(is_child).map(|(name, _)| *name).collect()
    }
}

fn subject(event: &Event<'_>) -> Option<Subject> {
    match event.kind {
        EventKind::Fork(fork) => Some(fork.child),
        EventKind::Exec(exec) => Some(exec.process),
        EventKind::Exit(exit) => Some(exit.process),
        EventKind::Running(running) => Some(running.process),
        EventKind::Change(change) => Some(change.process),
        EventKind::Gone(gone) => Some(gone.process),
        EventKind::Lost(_) => None,
    }
}

fn name(process: &Process) -> Name {
    (process.pid(), process.began)
}

fn facts(life: &Life) -> Vec<(BootTime, FactKind)> {
    let fact = |what: &What| match what {
        What::Event(fact) => Some((fact.time, fact.kind)),
        _ => None,
    };
    life.happenings.iter().filter_map(|happening| fact(&happening.what)).collect()
}

/// Nothing that changed nothing, as a `setuid` to the same user.
fn without_empty_changes(facts: Vec<(BootTime, FactKind)>) -> Vec<(BootTime, FactKind)> {
    facts.into_iter().filter(|(_, kind)| *kind != FactKind::Change).collect()
}

#[test]
fn all_events_of_all_processes_that_had_a_pid_are_told() {
    let lab = Lab::record(1, 3_000);
    let journal = lab.open();
    let mut lives = 0;
    for pid in (1..=40).map(Pid) {
        let told = journal.history(Target::Pid(pid), None, usize::MAX).unwrap().list;
        assert_eq!(told.iter().map(|life| name(&life.process)).collect::<Vec<_>>(), lab.had(pid), "{pid}");
        for life in &told {
            let of_life = |event: &&Event<'_>| {
                subject(event).is_some_and(|it| (it.key.pid, it.began) == name(&life.process))
            };
            let events = lab.events.iter().filter(of_life);
            let expected = events.map(|event| (event.time, FactKind::of(&event.kind).unwrap())).collect();
            assert_eq!(without_empty_changes(facts(life)), without_empty_changes(expected), "{pid}");
            let children: Vec<_> = life.children.iter().map(name).collect();
            let expected = lab.children(name(&life.process));
            assert_eq!(children.iter().collect::<HashSet<_>>(), expected.iter().collect(), "{pid}");
            assert_eq!((children.len(), life.children_left_out), (expected.len(), 0));
            lives += 1;
        }
    }
    assert!(lives > 400, "{lives} lives");
}

#[test]
fn any_image_names_its_process() {
    let lab = Lab::record(2, 2_000);
    let journal = lab.open();
    let mut asked = 0;
    for event in lab.events.iter().step_by(61) {
        let Some(subject) = subject(event) else { continue };
        let told = journal.history(Target::Key(subject.key), None, 0).unwrap().list;
        let names: Vec<_> = told.iter().map(|life| name(&life.process)).collect();
        assert_eq!(names, [(subject.key.pid, subject.began)], "{}", subject.key);
        assert!(told[0].children.is_empty());
        let left_out = usize::try_from(told[0].children_left_out).unwrap();
        assert!(left_out <= lab.children(names[0]).len());
        asked += 1;
    }
    assert!(asked > 20, "{asked} asked");
    let nobody = ProcessKey::new(Pid(5), BootTime::from_nanos(77));
    assert!(journal.history(Target::Key(nobody), None, 0).unwrap().list.is_empty());
}

/// It is looked for from the last checkpoint before its fork on, not from the beginning.
#[test]
fn a_process_has_one_history_whichever_way_it_is_asked_for() {
    let lab = Lab::record(7, 2_000);
    let journal = lab.open();
    let mut asked = 0;
    for event in lab.events.iter().step_by(67) {
        let Some(Subject { key, .. }) = subject(event) else { continue };
        let by_key = journal.history(Target::Key(key), None, usize::MAX).unwrap().list;
        let by_pid = journal.history(Target::Pid(key.pid), None, usize::MAX).unwrap().list;
        let [life] = &by_key[..] else { panic!("{key}: {by_key:#?}") };
        let same = by_pid.iter().find(|other| name(&other.process) == name(&life.process));
        assert_eq!(format!("{life:#?}"), format!("{:#?}", same.unwrap()), "{key}");
        let tree = journal.descendants_ever(Target::Key(key), usize::MAX).unwrap();
        let children = tree.list.iter().filter(|descendant| descendant.level == 1);
        let children: HashSet<_> = children.map(|descendant| name(&descendant.process)).collect();
        assert_eq!(children, lab.children(name(&life.process)).into_iter().collect(), "{key}");
        asked += 1;
    }
    assert!(asked > 20, "{asked} asked");
}

#[test]
fn who_owns_it_after_its_parent_exited_is_told() {
    let lab = Lab::record(3, 2_000);
    let journal = lab.open();
    let exits: HashMap<Name, BootTime> = lab
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Exit(_)))
        .map(|event| (subject(event).unwrap(), event.time))
        .map(|(subject, time)| ((subject.key.pid, subject.began), time))
        .collect();
    let mut told = 0;
    for pid in (2..=40).map(Pid) {
        for life in journal.history(Target::Pid(pid), None, 0).unwrap().list {
            let own = name(&life.process);
            let (_, parent) = lab.machine.parents.iter().find(|(other, _)| *other == own).unwrap();
            let outlived = parent.and_then(|parent| exits.get(&parent)).copied();
            let outlived = outlived.filter(|time| exits.get(&own).is_none_or(|exit| exit > time));
            let inherited = life.happenings.iter().find_map(|happening| match &happening.what {
                What::Inherited(by) => Some((happening.time, by.map(|by| by.key.pid))),
                _ => None,
            });
            let Some(outlived) = outlived else { continue };
            assert_eq!(inherited, Some((clock(0).at(outlived), Some(Pid(1)))), "{own:?}");
            told += 1;
        }
    }
    assert!(told > 30, "{told} told");
}

#[test]
fn everybody_that_ever_descended_is_found_in_the_order_of_a_tree() {
    let lab = Lab::record(4, 3_000);
    let journal = lab.open();
    let parents: HashMap<Name, Option<Name>> = lab.machine.parents.iter().copied().collect();
    for pid in [1, 2, 7, 23].map(Pid) {
        let found = journal.descendants_ever(Target::Pid(pid), usize::MAX).unwrap();
        let mut expected = HashSet::new();
        for (name, _) in &lab.machine.parents {
            let chain = std::iter::successors(Some(*name), |name| parents[name]);
            expected.extend(chain.clone().any(|ancestor| ancestor.0 == pid).then_some(*name));
        }
        let names: Vec<_> = found.list.iter().map(|found| name(&found.process)).collect();
        assert_eq!(names.iter().copied().collect::<HashSet<_>>(), expected, "{pid}");
        assert_eq!(names.len(), expected.len(), "each once");
        let mut path: Vec<Name> = Vec::new();
        for found in &found.list {
            path.truncate(found.level as usize);
            let own = name(&found.process);
            if let Some(parent) = path.last() {
                assert_eq!(parents[&own], Some(*parent), "{own:?}");
            }
            path.push(own);
            assert_eq!(found.began, clock(0).at(found.process.began));
            assert_eq!(found.ended.is_some(), found.process.end.is_some(), "{own:?}");
        }
        assert_eq!((found.left_out(), found.recordings.len()), (0, 1));
    }
}

#[test]
fn of_too_many_descendants_the_first_are_told_and_the_rest_counted() {
    let lab = Lab::record(5, 2_000);
    let found = lab.open().descendants_ever(Target::Pid(Pid(1)), 100).unwrap();
    assert_eq!(found.list.len(), 100);
    assert!(found.left_out() > 0, "{} left out", found.left_out());
    let whole = lab.open().descendants_ever(Target::Pid(Pid(1)), usize::MAX).unwrap();
    let all: HashSet<_> = whole.list.iter().map(|found| name(&found.process)).collect();
    assert!(found.list.iter().all(|found| all.contains(&name(&found.process))));
}

#[test]
fn what_cannot_be_read_is_told_with_the_answer() {
    let lab = Lab::record(7, 1_000);
    let entries = fs::read_dir(lab.directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let first = entries.filter(|path| path.extension().is_some()).min().unwrap();
    let mut reader = Reader::new(fs::File::open(&first).unwrap()).unwrap();
    let headers = std::iter::from_fn(|| reader.next_header().unwrap());
    let block = headers.filter(|header| header.events > 0).last().unwrap();
    let mut bytes = fs::read(&first).unwrap();
    bytes[usize::try_from(block.offset + block.bytes).unwrap() - 1] ^= 0x55;
    fs::write(&first, bytes).unwrap();
    let journal = lab.open();
    let history = journal.history(Target::Pid(Pid(1)), None, 0).unwrap().damage;
    let descendants = journal.descendants_ever(Target::Pid(Pid(1)), usize::MAX).unwrap().damage;
    for damage in [history, descendants] {
        assert_eq!(
            damage.iter().map(|damage| damage.events).collect::<Vec<_>>(),
            [Some(block.events.into())]
        );
    }
}

#[test]
fn what_ran_before_the_journal_begins_is_told_as_known() {
    let lab = Lab::record(6, 3_000);
    let entries = fs::read_dir(lab.directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    files.sort();
    for file in &files[..3] {
        fs::remove_file(file).unwrap();
    }
    let journal = lab.open();
    let at_first = journal.at(journal.span().0).unwrap();
    let mut known = 0;
    for pid in (1..=40).map(Pid) {
        for life in journal.history(Target::Pid(pid), None, usize::MAX).unwrap().list {
            let first = &life.happenings[0].what;
            let was_there = at_first.table.get(ProcessKey::new(pid, life.process.began)).is_some()
                || at_first.table.get_live(pid).is_some_and(|live| live.began() == life.process.began);
            match first {
                What::Known(process) => assert_eq!(name(process), name(&life.process)),
                What::Event(fact) => assert!(!was_there, "{pid}: {:?}", fact.kind),
                What::Inherited(_) => panic!("{pid} begins with its inheritance"),
            }
            known += usize::from(was_there);
        }
    }
    assert!(known > 5, "{known} known");
    // Its first process is there from the beginning to the end.
    let found = journal.descendants_ever(Target::Pid(Pid(1)), usize::MAX).unwrap();
    let live = journal.latest().unwrap();
    let names: HashSet<_> = found.list.iter().map(|found| name(&found.process)).collect();
    for entry in live.table.entries().filter(|entry| entry.is_running()) {
        assert!(names.contains(&(entry.key().pid, entry.began())), "{}", entry.key());
    }
}

#[test]
fn history_from_a_time_on_is_the_end_of_the_whole() {
    let lab = Lab::record(8, 2_000);
    let journal = lab.open();
    let from = clock(0).at(lab.events[1_200].time);
    for pid in [1, 3, 9].map(Pid) {
        let whole = journal.history(Target::Pid(pid), None, 0).unwrap().list;
        let late = journal.history(Target::Pid(pid), Some(from), 0).unwrap().list;
        let of = |lives: &[Life]| -> Vec<_> {
            let facts = |life: &Life| -> Vec<Fact> {
                let late = life.happenings.iter().filter(|happening| happening.time >= from);
                late.filter_map(|it| match &it.what {
                    What::Event(fact) => Some(Fact::clone(fact)),
                    _ => None,
                })
                .collect()
            };
            lives.iter().flat_map(facts).collect()
        };
        assert_eq!(of(&late), of(&whole), "{pid}");
        assert!(late.len() <= whole.len());
    }
}
