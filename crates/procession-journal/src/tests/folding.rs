//! A table that is folded from a journal is the one that was folded from the events themselves.

use procession::{
    Arguments, BootTime, Change, Context, Credentials, Event, EventKind, Exec, Exit, ExitStatus, Fork, Gap,
    Gone, Pid, ProcessKey, Program, Relative, Running, Subject, Table, TableConfig, Uid, WorkingDirectory,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary::owned_event;
use super::{block, damage, file, read, recording};
use crate::{Block, Content, Journal, RawBlock, state_hash};

/// One step of a small machine, on which the same pids are used again and again. Some events contradict
/// others.
#[derive(Clone, Copy, Debug)]
struct Step {
    what: u8,
    pid: u32,
    other: u32,
    pause: u64,
}

const PROGRAMS: [&[u8]; 3] = [b"/usr/bin/sh", b"/usr/bin/cc", b"/opt/\xff\n"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![5 => 0..1_000_u64, 1 => Just(40_000_000_000)];
    let step = (0..8_u8, 2..9_u32, 1..9_u32, pause);
    vec(
        step.prop_map(|(what, pid, other, pause)| Step {
            what,
            pid,
            other: if other == pid { 1 } else { other },
            pause,
        }),
        0..150,
    )
}

/// The events of these steps. Processes begin, run and end, not always in that order.
fn events(steps: &[Step]) -> Vec<Event<'static>> {
    let mut now = 1_000;
    let mut known = [(1, 1); 10];
    let event = |step: &Step| {
        now += step.pause;
        let time = BootTime::from_nanos(now);
        let subject = |(start, began): (u64, u64)| {
            let key = ProcessKey::new(Pid(step.pid), BootTime::from_nanos(start));
            Subject::exact(key, BootTime::from_nanos(began))
        };
        let own = &mut known[step.pid as usize];
        let before = subject(*own);
        match step.what {
            0 | 1 => *own = (now, now),
            2 | 3 => own.0 = now,
            _ => {}
        }
        let process = subject(*own);
        let (start, began) = known[step.other as usize];
        let key = ProcessKey::new(Pid(step.other), BootTime::from_nanos(start));
        let owner = Relative { key, began: Some(BootTime::from_nanos(began)) };
        Event { time, kind: kind(step, process, before.key, owner) }
    };
    steps.iter().map(event).collect()
}

fn kind(step: &Step, process: Subject, before: ProcessKey, owner: Relative) -> EventKind<'static> {
    let credentials = Credentials { uid: Uid(step.other), ..Credentials::default() };
    let context = Context { credentials: Some(credentials), session: Some(Pid(1)), ..Context::default() };
    let program = Program {
        binary: PROGRAMS[step.other as usize % PROGRAMS.len()],
        arguments: Arguments { bytes: b"cc\0-c\0", total_len: 9 },
        cwd: WorkingDirectory::Tail(b"src"),
        ..Program::default()
    };
    let status = Some(ExitStatus::from_raw(step.other << 8));
    let tid = process.key.pid;
    match step.what {
        0 | 1 => EventKind::Fork(Fork { child: process, parent: owner, owner, ..Fork::default() }),
        2 => EventKind::Exec(Exec { process, replaces: Some(before), tid, owner, context, program }),
        3 => EventKind::Running(Running { process, owner, context, program, gap: Some(Gap::Loss) }),
        4 => EventKind::Exit(Exit { process, tid, owner, status, comm: b"cc" }),
        5 => EventKind::Change(Change { process, context }),
        6 => EventKind::Gone(Gone { process, gap: Gap::Absence }),
        _ => EventKind::Lost(u64::from(step.other)),
    }
}

fn fold(table: &mut Table, blocks: &[Block]) {
    for block in blocks {
        if let Content::Events(events) = &block.content {
            let unreadable = events.each(&mut |event| _ = table.apply(event));
            assert_eq!(unreadable, 0);
        }
    }
}

fn new_table() -> Table {
    Table::new(TableConfig { seed: 42, ..TableConfig::default() })
}

fn folded(events: &[Event<'_>]) -> Table {
    let mut table = new_table();
    for event in events {
        let _ = table.apply(event);
    }
    table
}

/// What comes of a table that is written and read. `None`: it is refused.
fn through_a_file(table: &Table) -> Option<Table> {
    let mut blocks =
        read(&file(&RawBlock::checkpoint(&recording(), &table.checkpoint(), 3, b"mark").collect::<Vec<_>>()));
    match blocks.pop()?.content {
        Content::Checkpoint { checkpoint, bookmark } => {
            assert_eq!((damage(&blocks).len(), &bookmark[..]), (0, &b"mark"[..]));
            Some(Table::restore(&checkpoint))
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn blocks_of_any_size_fold_into_the_same_table(steps in steps(), size in 1..40_usize) {
        let events = events(&steps);
        let blocks: Vec<_> = events.chunks(size).zip(0..).map(|(chunk, number)| {
            block(number * size as u64, chunk)
        }).collect();
        let mut table = new_table();
        fold(&mut table, &read(&file(&blocks)));
        prop_assert_eq!(state_hash(&table), state_hash(&folded(&events)));
    }

    #[test]
    fn a_checkpoint_and_the_rest_are_the_whole(steps in steps(), at in any::<prop::sample::Index>()) {
        let events = events(&steps);
        let (before, after) = events.split_at(at.index(events.len() + 1));
        let mut table = through_a_file(&folded(before)).unwrap();
        prop_assert_eq!(state_hash(&table), state_hash(&folded(before)));
        fold(&mut table, &read(&file(&[block(before.len() as u64, after)])));
        prop_assert_eq!(state_hash(&table), state_hash(&folded(&events)));
    }

    #[test]
    fn any_table_comes_back(owned in vec(owned_event(), 0..30)) {
        let events: Vec<_> = owned.iter().map(|(shape, texts)| shape.event(texts)).collect();
        let table = folded(&events);
        prop_assert_eq!(through_a_file(&table).as_ref().map(state_hash), Some(state_hash(&table)));
    }
}

#[test]
fn states_that_differ_have_another_hash() {
    let steps = [Step { what: 0, pid: 2, other: 1, pause: 5 }, Step { what: 2, pid: 2, other: 3, pause: 5 }];
    let events = events(&steps);
    let hashes = [0, 1, 2].map(|length| state_hash(&folded(&events[..length])));
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2], "{hashes:?}");
}

#[test]
fn a_process_that_changes_and_was_not_seen_to_take_the_pid_of_another_comes_back() {
    let fork = Step { what: 0, pid: 2, other: 1, pause: 5 };
    let mut events = events(&[fork, Step { what: 5, ..fork }]);
    if let EventKind::Change(change) = &mut events[1].kind {
        let later = BootTime::from_nanos(1_008);
        change.process = Subject::exact(ProcessKey::new(Pid(2), later), later);
    }
    let table = folded(&events);
    assert_eq!(table.live(), 2, "process 1 and one process 2: the other must have ended");
    assert_eq!(through_a_file(&table).as_ref().map(state_hash), Some(state_hash(&table)));
}

/// Thousands of processes with long arguments of their own.
fn large_table() -> Table {
    let mut table = new_table();
    for number in 1..3_000_u32 {
        let time = BootTime::from_nanos(u64::from(number));
        let process = Subject::exact(ProcessKey::new(Pid(number), time), time);
        let arguments = [&number.to_le_bytes()[..], &[b'x'; 1_000]].concat();
        let program = Program { arguments: Arguments::complete(&arguments), ..Program::default() };
        let _ =
            table.apply(&Event { time, kind: EventKind::Exec(Exec { process, program, ..Exec::default() }) });
    }
    table
}

#[test]
fn a_large_table_comes_in_parts_of_which_none_may_be_missing() {
    let table = large_table();
    let parts = RawBlock::checkpoint(&recording(), &table.checkpoint(), 3, b"mark").collect::<Vec<_>>();
    assert!(parts.len() >= 3);
    let blocks = read(&file(&parts));
    let (last, others) = blocks.split_last().unwrap();
    assert!(others.iter().all(|block| matches!(block.content, Content::CheckpointPart)));
    assert!(matches!(last.content, Content::Checkpoint { .. }));
    assert_eq!(through_a_file(&table).as_ref().map(state_hash), Some(state_hash(&table)));

    for missing in 0..parts.len() {
        let mut parts = parts.clone();
        parts.remove(missing);
        let blocks = read(&file(&parts));
        let is_whole = |block: &Block| matches!(block.content, Content::Checkpoint { .. });
        assert!(!blocks.iter().any(is_whole), "without part {missing}");
        assert_eq!(damage(&blocks).len(), parts.len() - missing, "without part {missing}");
    }
    let mut earlier = recording();
    earlier.clock = procession::WallClock::new(BootTime::ZERO, std::time::SystemTime::UNIX_EPOCH);
    let other = RawBlock::checkpoint(&earlier, &table.checkpoint(), 3, b"mark").collect::<Vec<_>>();
    let mixed = read(&file(&[&other[..1], &parts[1..]].concat()));
    assert_eq!(damage(&mixed).len(), parts.len() - 1, "parts of two checkpoints");
}

/// Whoever waits for the rest of a checkpoint comes by the head of the next file.
#[test]
fn a_file_behind_a_checkpoint_without_an_end_is_folded() {
    let table = large_table();
    let (recording, checkpoint) = (recording(), table.checkpoint());
    let mut parts = RawBlock::checkpoint(&recording, &checkpoint, 15, b"mark");
    let lost = |from: u64, to: u64| -> Vec<_> {
        let event = |time| Event { time: BootTime::from_nanos(time), kind: EventKind::Lost(1) };
        (from..to).map(event).collect()
    };
    let head = RawBlock::head(&recording);
    let first = block(5, &lost(5, 15));
    let blocks = [head.clone(), first, parts.next().unwrap(), head, block(0, &lost(20, 30))];
    let kept = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kept.path(), file(&blocks)).unwrap();
    let latest = Journal::open(kept.path()).unwrap().latest().unwrap();
    assert_eq!((latest.sequence, latest.table.ledger().lost()), (10, 20));
}
