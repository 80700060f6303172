//! Files that were made to cost whoever reads them: they are refused, or cost no more than they are long.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use procession::{MINIMUM_BUDGET, Table, TableConfig};

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
    for field in 5..=10 {
        let file = made(Kind::Checkpoint, &recording(), |put| {
            put.number(3, true);
            put.some_bytes(4, Some(b""));
            empty_messages(put, field, 1 << 18);
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

/// A checkpoint of the smallest table is far below what is refused.
#[test]
fn what_a_full_table_gives_is_read() {
    let config = TableConfig { budget: MINIMUM_BUDGET, ..TableConfig::default() };
    let mut table = Table::new(config);
    for event in super::damaged::many_lives(5_000) {
        let _ = table.apply(&event);
    }
    let blocks =
        file(&RawBlock::checkpoint(&Recording { table: config, ..recording() }, &table.checkpoint(), 0, b""));
    let blocks = read(&blocks);
    assert!(
        matches!(blocks.last().map(|block| &block.content), Some(Content::Checkpoint { .. })),
        "{blocks:?}"
    );
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
