//! Files that were made to cost whoever reads them: they are refused, or cost no more than they are long.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use procession::{
    BootTime, Checkpoint, Event, EventKind, MINIMUM_BUDGET, Pid, ProcessKey, Subject, Table, TableConfig,
};

use super::{block, damage, file, read, recording};
use crate::block::{Fields, Kind, VERSION};
use crate::codec::recording::put_recording;
use crate::codec::wire::Put;
use crate::reader::Content;
use crate::{Container, RawBlock, Reader, Recording};

/// A block whose payload says of which journal it is, and then what `fill` puts there.
fn made(kind: Kind, recording: &Recording, fill: impl FnOnce(&mut Put<'_>)) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut put = Put::new(&mut payload);
    put.message(1, |put| put_recording(put, recording));
    fill(&mut put);
    RawBlock::around(kind, 0, &payload).to_bytes().unwrap()
}

/// Two bytes for each.
fn empty_messages(put: &mut Put<'_>, field: u32, count: usize) {
    for _ in 0..count {
        put.some_bytes(field, Some(b""));
    }
}

fn why(file: &[u8]) -> &'static str {
    let blocks = read(file);
    let [damage] = damage(&blocks)[..] else { panic!("{blocks:?}") };
    damage.why
}

const TOO_MUCH: &str = "they would take far more memory than what they tell of";
const MALFORMED: &str = "they do not hold what their header says";

#[test]
fn a_block_of_millions_of_containers_is_refused() {
    let file = made(Kind::Names, &recording(), |put| empty_messages(put, 2, 1 << 19));
    assert!(file.len() < 64 << 10, "{} bytes", file.len());
    assert_eq!(why(&file), TOO_MUCH);
}

#[test]
fn a_container_with_millions_of_labels_is_refused() {
    let file = made(Kind::Names, &recording(), |put| {
        put.message(2, |put| put.message(6, |put| empty_messages(put, 6, 1 << 21)));
    });
    assert_eq!(why(&file), TOO_MUCH);
}

#[test]
fn a_checkpoint_of_millions_of_parts_is_refused() {
    for (field, count) in
        [(5, 1 << 18), (6, 1 << 18), (7, 1 << 18), (8, 1 << 18), (9, 1 << 21), (10, 1 << 21)]
    {
        let file = made(Kind::Checkpoint, &recording(), |put| {
            put.number(3, true);
            put.some_bytes(4, Some(b""));
            empty_messages(put, field, count);
        });
        // Of images and entries the first names what is not there.
        let refused = ["the checkpoint in them is none that a table can have given", TOO_MUCH];
        assert!(refused.contains(&why(&file)), "{field}: {}", why(&file));
    }
}

/// Neither is one whose parts are in many blocks, nor one that speaks of a table without bounds.
#[test]
fn a_checkpoint_of_many_blocks_is_refused_in_all() {
    let table = TableConfig { budget: usize::MAX, ..TableConfig::default() };
    let recording = Recording { table, ..recording() };
    let blocks = (0..8_u32).flat_map(|number| {
        made(Kind::Checkpoint, &recording, |put| {
            put.number(2, number);
            if number == 0 {
                put.some_bytes(4, Some(b""));
            }
            empty_messages(put, 6, 32 << 10);
        })
    });
    let blocks = read(&blocks.collect::<Vec<_>>());
    assert_eq!(damage(&blocks).first().map(|damage| damage.why), Some(TOO_MUCH));
}

#[test]
fn a_setting_with_millions_of_pasts_is_refused_before_it_is_decoded() {
    let file = made(Kind::Checkpoint, &recording(), |put| {
        put.some_bytes(4, Some(b""));
        put.message(6, |put| empty_messages(put, 6, 3 << 19));
    });
    assert_eq!(why(&file), TOO_MUCH);
}

#[test]
fn millions_of_accounts_are_refused() {
    let close = made(Kind::Close, &recording(), |put| {
        put.message(2, |put| empty_messages(put, 1, 1 << 19));
    });
    let checkpoint = made(Kind::Checkpoint, &recording(), |put| {
        put.message(4, |put| put.message(2, |put| empty_messages(put, 1, 1 << 19)));
    });
    assert_eq!([why(&close), why(&checkpoint)], [MALFORMED; 2]);
}

fn full_table(budget: usize, events: impl Iterator<Item = Event<'static>>) -> (Recording, Checkpoint) {
    let config = TableConfig { budget, ..TableConfig::default() };
    let mut table = Table::new(config);
    for event in events {
        let _ = table.apply(&event);
    }
    (Recording { table: config, ..recording() }, table.checkpoint())
}

/// What is written is what is read.
fn check_read(recording: &Recording, checkpoint: &Checkpoint) {
    let written = file(&RawBlock::checkpoint(recording, checkpoint, 0, b"").collect::<Vec<_>>());
    let blocks = read(&written);
    assert!(damage(&blocks).is_empty(), "{:?}", damage(&blocks));
    let Some(Content::Checkpoint { checkpoint: read, .. }) = blocks.last().map(|block| &block.content) else {
        panic!("{} bytes", written.len())
    };
    assert!(file(&RawBlock::checkpoint(recording, read, 0, b"").collect::<Vec<_>>()) == written);
}

/// A checkpoint of the smallest table is far below what is refused.
#[test]
fn what_a_full_table_gives_is_read() {
    let (recording, checkpoint) = full_table(MINIMUM_BUDGET, super::damaged::many_lives(5_000));
    check_read(&recording, &checkpoint);
}

/// One process that forks again and again; all that it makes ends at once.
fn fork_bomb(count: u32) -> impl Iterator<Item = Event<'static>> {
    let mother = ProcessKey::new(Pid(100), BootTime::from_nanos(10));
    let (of_mother, of_others) = (2, 3);
    let lives = super::damaged::many_lives(count).enumerate();
    let bomb = lives.filter(move |(at, event)| {
        *at < of_mother || *at >= of_others && !matches!(event.kind, EventKind::Exec(_))
    });
    bomb.map(move |(at, mut event)| {
        match &mut event.kind {
            EventKind::Fork(fork) if at >= of_others => {
                (fork.parent, fork.owner, fork.parent_tid) = (mother.into(), mother.into(), mother.pid);
            }
            EventKind::Exit(exit) => {
                let began = exit.process.began;
                exit.process = Subject::exact(ProcessKey::new(exit.tid, began), began);
                exit.owner = mother.into();
            }
            _ => {}
        }
        event
    })
}

/// What takes the least in a table, so that there are the most: processes that only forked and ended, all of which
/// wait for the end of their grace time. It is read even as if it was of a table with a third of the budget: a limit
/// that tables of today only just keep would refuse those of tomorrow. The budget is one where also a third of
/// it counts, and not what any checkpoint may weigh.
#[test]
fn what_a_table_full_of_a_fork_bomb_gives_is_read() {
    let (mut recording, checkpoint) = full_table(24 << 20, fork_bomb(240_000));
    recording.table.budget /= 3;
    check_read(&recording, &checkpoint);
}

#[test]
fn the_longest_container_that_is_written_is_read() {
    let labels = (0..600_000).map(|number| (format!("{number:x}"), String::new())).collect();
    let pod = crate::Pod { labels, ..crate::Pod::default() };
    let container = Container { id: "c".repeat(64), pod: Some(pod), ..Container::default() };
    let blocks = read(&file(&RawBlock::names(&recording(), &[container])));
    assert!(damage(&blocks).is_empty(), "{:?}", damage(&blocks));
}

/// A file that counts what is read of it.
struct Counted<'f> {
    file: Cursor<&'f [u8]>,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Reads all of a file: the blocks, and how often each byte was read.
fn read_counted(file: &[u8]) -> (usize, u64) {
    let mut reader = Reader::new(Counted { file: Cursor::new(file), bytes: 0 }).unwrap();
    let blocks = std::iter::from_fn(|| reader.next().unwrap()).count();
    (blocks, reader.into_inner().bytes / file.len() as u64)
}

/// Headers that each promise `stored` bytes, one right behind the other.
fn headers(count: usize, stored: u32) -> Vec<u8> {
    let fields = Fields { kind: 2, version: VERSION, stored, raw: stored, ..Fields::default() };
    fields.to_bytes().repeat(count)
}

#[test]
fn headers_within_headers_are_read_in_time_that_is_linear() {
    for stored in [64, 1_000, 1 << 20, 8 << 20, u32::MAX] {
        let (blocks, times) = read_counted(&headers(20_000, stored));
        assert!(blocks > 0 && times < 64, "{blocks} blocks, each byte {times} times: {stored}");
    }
}

#[test]
fn what_only_looks_like_headers_is_read_in_time_that_is_linear() {
    let mut bytes = headers(1, 4 << 20);
    bytes.extend(crate::block::SYNC.repeat(500_000));
    let (_, times) = read_counted(&bytes);
    assert!(times < 16, "each byte {times} times");
}

/// The block that a header within another belongs to is read all the same.
#[test]
fn a_block_in_the_place_of_a_payload_is_found() {
    let events = super::damaged::events();
    let bytes = [headers(1, 1 << 10), block(0, &events).to_bytes().unwrap(), vec![0; 1 << 10]].concat();
    let blocks = read(&bytes);
    let whole =
        |block: &crate::Block| matches!(&block.content, Content::Events(it) if it.len() == events.len());
    assert!(blocks.iter().any(whole), "{blocks:?}");
}

/// One forged header that speaks of all that follows costs nobody the blocks that do.
#[test]
fn a_header_in_front_of_other_blocks_hides_none_of_them() {
    let events = super::damaged::events();
    let blocks = file(&[block(0, &events), block(events.len() as u64, &events)]);
    let forged = headers(1, u32::try_from(blocks.len()).unwrap());
    for behind in [Vec::new(), block(2 * events.len() as u64, &events).to_bytes().unwrap()] {
        let read = read(&[forged.clone(), blocks.clone(), behind.clone()].concat());
        let count =
            |block: &crate::Block| if let Content::Events(it) = &block.content { it.len() } else { 0 };
        let expected = events.len() * if behind.is_empty() { 2 } else { 3 };
        assert_eq!(read.iter().map(count).sum::<usize>(), expected, "{read:?}");
    }
}
