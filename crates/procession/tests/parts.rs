//! Checkpoints in parts: what a table gave makes the same checkpoint again, and whatever parts are taken
//! make a sound table.

#[path = "model/checks.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod checks;
#[path = "model/garbage.rs"]
mod garbage;
#[path = "model/machine.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod machine;
#[path = "model/script.rs"]
#[expect(dead_code, reason = "shared with the model")]
mod script;
mod support;

use std::fmt::Write as _;

use procession::{
    Account, Arguments, BootTime, Cgroup, Checkpoint, CheckpointBuilder, Counted, Credentials, End, EndKind,
    Entry, Gap, InvalidCheckpoint, Ledger, MINIMUM_BUDGET, Origin, Part, Pid, Precision, ProcessKey,
    Provenance, SavedContent, SavedEntry, SavedImage, SavedProgram, SavedSetting, SavedSpell, SavedState,
    Subject, Table, TableConfig, Uid, WorkingDirectory,
};
use proptest::prelude::*;
use proptest::sample::Index;

use checks::{Verdict, are_the_same, digest, hold, is_sound, ledger_balances};
use garbage::{Deed, any_deed};
use support::{apply, key, table};

fn rebuilt<'a>(
    of: &Checkpoint,
    parts: impl IntoIterator<Item = Part<'a>>,
) -> Result<Checkpoint, InvalidCheckpoint> {
    let mut builder = CheckpointBuilder::new(of.config(), of.state());
    parts.into_iter().try_for_each(|part| builder.add(&part))?;
    builder.finish()
}

const WORLD: &str = "
    running 1@1 /sbin/init
    fork 1@1 > 10@5
    exec 10@5 > 10@7 /bin/sh < 1@1
    change 10@7 uid 1000 began 5
    fork 10@7 > 11@8
    fork 10@7 > 12@9
    exec 12@9 > 12@10 /bin/ls < 10@7
    exec 12@10 > 12@11 /bin/cat < 10@7 began 9
    exit 12@11 3 < 10@7 began 9";

#[test]
fn parts_make_the_same_checkpoint() {
    let table = table(WORLD);
    let checkpoint = table.checkpoint();
    let parts: Vec<_> = checkpoint.parts().collect();
    let again = rebuilt(&checkpoint, parts.clone()).unwrap();
    assert_eq!(again.parts().collect::<Vec<_>>(), parts);
    assert_eq!((again.time(), again.len()), (checkpoint.time(), table.len()));
    are_the_same(&digest(&Table::restore(&again)).without_bytes(), &digest(&table).without_bytes()).unwrap();
    let images = parts.iter().filter(|part| matches!(part, Part::Image(_))).count();
    let entries = parts.iter().filter(|part| matches!(part, Part::Entry(_))).count();
    assert!(images < entries, "{images} images of {entries} entries: what is shared is told once");
}

#[test]
fn parts_in_another_order_make_it_too() {
    let checkpoint = table(WORLD).checkpoint();
    let (entries, others): (Vec<_>, Vec<_>) =
        checkpoint.parts().partition(|part| matches!(part, Part::Entry(_)));
    let again = rebuilt(&checkpoint, others.into_iter().chain(entries.into_iter().rev())).unwrap();
    let tables = [&checkpoint, &again].map(|it| digest(&Table::restore(it)).without_bytes());
    are_the_same(&tables[0], &tables[1]).unwrap();
}

#[test]
fn what_no_table_can_have_given_is_refused() {
    let checkpoint = table(WORLD).checkpoint();
    let with = |change: &dyn Fn(&mut SavedEntry)| {
        let parts = checkpoint.parts().map(|mut part| {
            if let Part::Entry(entry) = &mut part
                && entry.subject.key == key("10@7")
            {
                change(entry);
            }
            part
        });
        rebuilt(&checkpoint, parts.collect::<Vec<_>>()).map(|_| ()).unwrap_err()
    };
    let of = key("10@7");
    let link = |to| InvalidCheckpoint::Link { from: of, to };
    assert_eq!(with(&|it| it.parent = Some(key("7@1"))), link(key("7@1")));
    assert_eq!(with(&|it| it.parent = Some(key("12@11"))), link(key("12@11")));
    assert_eq!(with(&|it| it.parent = Some(of)), link(of));
    assert_eq!(with(&|it| it.previous = Some(key("1@1"))), link(key("1@1")));
    assert!(matches!(with(&|it| it.is_latest = false), InvalidCheckpoint::Entry { key, .. } if key == of));
    let unknown = SavedContent::Image { image: 99 };
    let number = InvalidCheckpoint::Number { what: "image", number: 99 };
    assert_eq!(with(&|it| it.content = unknown), number);
    let tombstone = SavedContent::Tombstone { program: 0, stands_for: 0 };
    assert!(matches!(with(&|it| it.content = tombstone), InvalidCheckpoint::Entry { .. }));

    let and = |part: Part<'static>| rebuilt(&checkpoint, checkpoint.parts().chain([part])).unwrap_err();
    assert!(matches!(and(Part::Grace(key("77@7"))), InvalidCheckpoint::Entry { .. }));
    assert!(matches!(and(Part::Ancestor(of)), InvalidCheckpoint::Entry { .. }));
    assert_eq!(and(Part::Ancestor(key("12@11"))), InvalidCheckpoint::Twice(key("12@11")));
    let again = checkpoint.parts().find(|part| matches!(part, Part::Entry(_))).unwrap();
    let twice = rebuilt(&checkpoint, checkpoint.parts().chain([again])).unwrap_err();
    assert_eq!(twice, InvalidCheckpoint::Twice(key("1@1")));
    assert_eq!(twice.to_string(), "the checkpoint is damaged: process 1@0.000000001s is there twice");
    let spell = |setting, until| SavedSpell { setting, until: BootTime::from_nanos(until), gap: None };
    let past = |past| Part::Setting(SavedSetting { past, ..SavedSetting::default() });
    assert_eq!(and(past(vec![spell(0, 9), spell(0, 8)])), InvalidCheckpoint::Past);
    assert_eq!(and(past(vec![spell(0, 9); 17])), InvalidCheckpoint::Past);
    let ledger = Ledger::new([Account::new(u64::MAX, 1, 0, 0); 6], 0, 0, 0);
    let state = SavedState { ledger, ..SavedState::default() };
    let builder = CheckpointBuilder::new(checkpoint.config(), state);
    assert_eq!(builder.finish().map(|_| ()), Err(InvalidCheckpoint::Count));
}

#[test]
fn a_ledger_is_its_numbers() {
    let mut table = table(WORLD);
    let _ = apply(&mut table, "lost 7\nexit 12@11 3 < 10@7 began 9\nexit 66@6 1");
    let ledger = table.ledger();
    let accounts = Counted::ALL.map(|kind| *ledger.account(kind));
    let others = (ledger.lost(), ledger.inferred_processes(), ledger.inferred_exits());
    assert_eq!(Ledger::new(accounts, others.0, others.1, others.2), *ledger);
}

#[test]
fn a_smaller_budget_keeps_the_living() {
    let mut script = WORLD.to_owned();
    for pid in 100..20_000 {
        let start = pid + 1_000;
        write!(script, "\nfork 10@7 > {pid}@{start}\nexit {pid}@{start} 0").unwrap();
    }
    let table = table(&script);
    let config = TableConfig { budget: 0, ..TableConfig::default() };
    assert!(table.memory() > MINIMUM_BUDGET);
    let small = Table::restore_with(&table.checkpoint(), config);
    assert!(small.memory() <= MINIMUM_BUDGET, "{:?}", small.explain());
    assert_eq!((small.live(), small.explain().evicted_live), (table.live(), 0));
    is_sound(&small).unwrap();
}

/// What only a handle kept goes, when there is none.
#[test]
fn what_a_handle_kept_does_not_stay_for_ever() {
    let mut table = table(WORLD);
    let id = table.get(key("12@11")).unwrap().id();
    let handle = table.hold(id).unwrap();
    table.advance(BootTime::from_nanos(1 << 40));
    assert!(table.get(key("12@11")).is_some());
    let mut restored = Table::restore(&table.checkpoint());
    assert!(restored.get(key("12@11")).is_some());
    restored.advance(BootTime::from_nanos(1 << 41));
    assert!(restored.get(key("12@11")).is_none());
    drop(handle);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of any table there is: the parts make its checkpoint, and restored within any budget it is sound.
    #[test]
    fn the_parts_of_any_table_make_its_checkpoint(
        deeds in prop::collection::vec(any_deed(), 0..200),
        is_short in any::<bool>(),
    ) {
        let budget = if is_short { 0 } else { 256 << 20 };
        let mut table = Table::new(TableConfig { budget, ..TableConfig::default() });
        for deed in &deeds {
            do_it(&mut table, deed);
        }
        let checkpoint = table.checkpoint();
        let again = rebuilt(&checkpoint, checkpoint.parts()).map_err(|it| TestCaseError::fail(it.to_string()))?;
        prop_assert_eq!(again.parts().collect::<Vec<_>>(), checkpoint.parts().collect::<Vec<_>>());
        let restored = Table::restore(&again);
        is_sound(&restored).map_err(TestCaseError::fail)?;
        are_the_same(&digest(&restored).without_bytes(), &digest(&table).without_bytes())
            .map_err(TestCaseError::fail)?;
        let config = TableConfig { budget: 0, ..TableConfig::default() };
        let small = Table::restore_with(&again, config);
        is_sound(&small).map_err(TestCaseError::fail)?;
        prop_assert!(small.memory() <= MINIMUM_BUDGET);
    }

    /// Whatever parts are taken make a sound table, which goes on with whatever events come.
    #[test]
    fn any_parts_that_are_taken_make_a_sound_table(
        parts in any_parts(),
        now in any_time(),
        deeds in prop::collection::vec(any_deed(), 0..20),
    ) {
        let mut builder = CheckpointBuilder::new(
            TableConfig { budget: 0, ..TableConfig::default() },
            SavedState { now, ..SavedState::default() },
        );
        for part in parts.parts() {
            let _ = builder.add(&part);
        }
        let Ok(checkpoint) = builder.finish() else { return Err(TestCaseError::reject("no checkpoint")) };
        let mut table = Table::restore(&checkpoint);
        is_sound(&table).map_err(TestCaseError::fail)?;
        // A tombstone that nothing needs goes at once.
        prop_assert!(table.len() <= checkpoint.len());
        for deed in &deeds {
            do_it(&mut table, deed);
        }
        is_sound(&table).map_err(TestCaseError::fail)?;
        ledger_balances(&table).map_err(TestCaseError::fail)?;
        nothing_stays(&mut table).map_err(TestCaseError::fail)?;
    }
}

fn do_it(table: &mut Table, deed: &Deed) {
    match deed {
        Deed::Apply(event) => drop(table.apply(event)),
        Deed::Advance(time) => table.advance(*time),
        Deed::Hold(pid) => drop(table.get_live(*pid).map(Entry::id).and_then(|id| table.hold(id))),
        Deed::LetGo => {}
        Deed::HandOver => *table = Table::restore(&table.checkpoint()),
    }
}

/// When all that lives has gone, and time has passed, the table is empty.
fn nothing_stays(table: &mut Table) -> Verdict {
    let living: Vec<_> = table.entries().filter(|entry| entry.is_running()).map(Entry::snapshot).collect();
    for process in living {
        let subject = Subject::exact(process.key, process.began);
        let exit = procession::Exit { process: subject, ..procession::Exit::default() };
        let _ =
            table.apply(&procession::Event { time: table.now(), kind: procession::EventKind::Exit(exit) });
    }
    hold!(table.live() == 0, "{} are alive after their exits", table.live());
    table.advance(BootTime::from_nanos(u64::MAX));
    hold!(table.is_empty(), "{} entries stay for ever", table.len());
    Ok(())
}

/// Parts of few kinds, so that they often fit.
#[derive(Clone, Debug)]
struct Parts {
    spells: Vec<SavedSpell>,
    entries: Vec<SavedEntry>,
    grace: Vec<Index>,
    ancestors: Vec<Index>,
}

impl Parts {
    fn parts(&self) -> Vec<Part<'static>> {
        let user = |uid| Some(Credentials { euid: Uid(uid), ..Credentials::default() });
        let setting = SavedSetting { credentials: user(1), ..SavedSetting::default() };
        let other = SavedSetting {
            credentials: user(2),
            cgroup: Some(Cgroup { id: 7, path: b"/a" }),
            cwd: WorkingDirectory::Path(b"/"),
            past: self.spells.clone(),
            ..SavedSetting::default()
        };
        let mut parts = vec![
            Part::Program(SavedProgram { binary: b"/bin/sh", comm: b"sh", ..SavedProgram::default() }),
            Part::Setting(setting),
            Part::Setting(other),
        ];
        for setting in 0..2 {
            let arguments = Arguments { bytes: b"sh\0", total_len: 0 };
            let environment = Arguments { bytes: b"A=B\0", total_len: usize::MAX };
            parts.push(Part::Image(SavedImage { setting, arguments, environment, ..SavedImage::default() }));
        }
        parts.extend(self.entries.iter().copied().map(Part::Entry));
        let keys = |places: &[Index]| {
            let may_wait =
                |it: &&SavedEntry| it.end.is_some() && !matches!(it.content, SavedContent::Tombstone { .. });
            let waiting: Vec<_> = self.entries.iter().filter(may_wait).collect();
            let of = |place: &Index| waiting.get(place.index(waiting.len().max(1))).copied();
            places.iter().filter_map(of).map(|it| it.subject.key).collect::<Vec<_>>()
        };
        let waiting = keys(&self.grace).into_iter().map(Part::Grace);
        parts.extend(waiting.chain(keys(&self.ancestors).into_iter().map(Part::Ancestor)));
        parts
    }
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let spells = prop::collection::vec((any_time(), prop::option::of(Just(Gap::Loss))), 0..3);
    let entries = prop::collection::vec((any_entry(), any::<[Index; 2]>()), 0..8);
    let few = || prop::collection::vec(any::<Index>(), 0..2);
    (spells, entries, few(), few()).prop_map(|(mut spells, entries, grace, ancestors)| {
        spells.sort_by_key(|(until, _)| *until);
        let spells = spells.into_iter().map(|(until, gap)| SavedSpell { setting: 0, until, gap });
        Parts { spells: spells.collect(), entries: linked(entries), grace, ancestors }
    })
}

/// Most of the entries, with most links leading to one that is there and precedes.
fn linked(mut entries: Vec<(SavedEntry, [Index; 2])>) -> Vec<SavedEntry> {
    entries.sort_by_key(|(it, _)| (it.subject.began, it.subject.key.pid, it.subject.key.start));
    let mut made: Vec<SavedEntry> = Vec::new();
    for (mut entry, places) in entries {
        if made.iter().any(|it| it.subject.key == entry.subject.key) {
            continue;
        }
        let key_at = |place: Index| made.get(place.index(made.len().max(1))).map(|it| it.subject.key);
        entry.parent = entry.parent.and_then(|_| key_at(places[0]));
        let same = |key: &ProcessKey| key.pid == entry.subject.key.pid;
        entry.previous = entry.previous.and_then(|_| key_at(places[1])).filter(same);
        let is_taken = made.iter().any(|it| it.is_latest && it.subject.key.pid == entry.subject.key.pid);
        if entry.end.is_none() && (is_taken || matches!(entry.content, SavedContent::Tombstone { .. })) {
            entry.end = Some(End { time: entry.subject.began, how: EndKind::Vanished });
        }
        entry.is_latest = !is_taken && (entry.is_latest || entry.end.is_none());
        made.push(entry);
    }
    made
}

fn any_entry() -> impl Strategy<Value = SavedEntry> {
    let origin = prop_oneof![
        Just(Origin::Fork),
        Just(Origin::FirstExec),
        Just(Origin::Exec),
        Just(Origin::Running),
        Just(Origin::Found(Gap::Absence)),
        Just(Origin::Inferred),
    ];
    let content = prop_oneof![
        Just(SavedContent::Unknown),
        (0..2_u32).prop_map(|image| SavedContent::Image { image }),
        (0..2_u32).prop_map(|stands_for| SavedContent::Tombstone { program: 0, stands_for }),
    ];
    let how = prop_oneof![
        Just(EndKind::Exited(None)),
        Just(EndKind::Replaced),
        Just(EndKind::Vanished),
        Just(EndKind::Gone(Gap::Loss)),
    ];
    let end = prop::option::of((any_time(), how).prop_map(|(time, how)| End { time, how }));
    let precision = prop_oneof![3 => Just(Precision::Nanoseconds), 1 => Just(Precision::Ticks)];
    let subject = (1..5_u32, any_time(), any_time(), precision).prop_map(|(pid, began, start, precision)| {
        Subject { key: ProcessKey::new(Pid(pid), start), began, precision }
    });
    let links = any::<(bool, bool, bool, bool, bool)>();
    let (pid, depth) = (prop::option::of((0..5_u32).prop_map(Pid)), any::<u16>());
    (subject, origin, content, end, links, pid, depth).prop_map(
        |(
            subject,
            origin,
            content,
            end,
            (parent, previous, is_latest, is_followed, in_init_tree),
            pid,
            depth,
        )| {
            SavedEntry {
                subject,
                origin,
                parent: parent.then_some(ProcessKey::NONE),
                parent_provenance: if is_followed { Provenance::Observed } else { Provenance::Found },
                owner: pid.map(|pid| ProcessKey::new(pid, BootTime::ZERO)),
                previous: previous.then_some(ProcessKey::NONE),
                ns_pid: pid,
                session: pid,
                is_followed,
                in_init_tree,
                depth,
                is_latest,
                content,
                end,
            }
        },
    )
}

fn any_time() -> impl Strategy<Value = BootTime> {
    prop_oneof![8 => 0..12_u64, 1 => Just(u64::MAX)].prop_map(BootTime::from_nanos)
}
