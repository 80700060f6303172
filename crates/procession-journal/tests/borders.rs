//! What is missing between two files of a journal is told of, once; and nothing that is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "other tests use more of what they share")]

mod support;

use std::fs;
use std::ops::Range;

use procession::{Event, Table};
use procession_journal::{
    Block, BlockBuilder, Content, Damage, Fold, Journal, Piece, RawBlock, Reader, Recording, Restored,
};
use support::{Machine, boot_id, clock, fold, recording};
use tempfile::TempDir;

/// Events, and files that have some of them.
struct Lab {
    directory: TempDir,
    recording: Recording,
    events: Vec<Event<'static>>,
    files: usize,
}

impl Lab {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            recording: recording(clock(0)),
            events: Machine::new(50, 60).events(400),
            files: 0,
        }
    }

    /// The table after the first events.
    fn table(&self, events: usize) -> Table {
        fold(self.recording.table, &self.events[..events])
    }

    /// How many the source lost, as some of the events say.
    fn lost(&self, events: &[Range<usize>]) -> u64 {
        let events = events.iter().flat_map(|range| &self.events[range.clone()]);
        fold(self.recording.table, events).ledger().lost()
    }

    fn block(&self, from: usize, to: usize) -> RawBlock {
        let mut builder = BlockBuilder::new(from as u64);
        self.events[from..to].iter().for_each(|event| builder.push(event));
        builder.take(&self.recording, b"")
    }

    fn checkpoint(&self, events: usize) -> Vec<u8> {
        let checkpoint = self.table(events).checkpoint();
        bytes(RawBlock::checkpoint(&self.recording, &checkpoint, events as u64, b""))
    }

    /// A file that begins after so many events, with these blocks.
    fn content(&self, begins: usize, blocks: &[(usize, usize)]) -> Vec<u8> {
        let blocks = blocks.iter().map(|(from, to)| self.block(*from, *to));
        [bytes([RawBlock::head(&self.recording)]), self.checkpoint(begins), bytes(blocks)].concat()
    }

    fn add(&mut self, begins: usize, blocks: &[(usize, usize)]) {
        let content = self.content(begins, blocks);
        self.add_bytes(&content);
    }

    fn add_bytes(&mut self, content: &[u8]) {
        self.files += 1;
        let name = format!("{:010}-20330518T033320Z.procession", self.files);
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    fn open(&self) -> Journal {
        Journal::open(self.directory.path()).unwrap()
    }

    /// What [`Journal::read`] hands over: events, and what is damaged.
    fn read(&self) -> (usize, Vec<Damage>) {
        let (mut events, mut told) = (0, Vec::new());
        let mut visit = |piece: Piece<'_>| {
            match piece {
                Piece::Block(Block { content: Content::Damage(damage), .. }) => told.push(damage.clone()),
                Piece::Event(_) => events += 1,
                _ => {}
            }
            true
        };
        self.open().read(None, &mut visit).unwrap();
        (events, told)
    }

    #[track_caller]
    fn assert_missing(&self, events: usize, missing: &[Option<u64>]) {
        let (read, told) = self.read();
        let told: Vec<_> =
            told.iter().filter(|damage| !damage.is_torn()).map(|damage| damage.events).collect();
        assert_eq!((read, &told[..]), (events, missing));
    }
}

fn bytes(blocks: impl IntoIterator<Item = RawBlock>) -> Vec<u8> {
    blocks.into_iter().flat_map(|block| block.to_bytes().unwrap()).collect()
}

fn missing(restored: &Restored) -> Vec<Option<u64>> {
    restored.damage.iter().map(|damage| damage.events).collect()
}

#[test]
fn what_is_missing_between_two_files_is_told_of_by_whoever_reads_both() {
    let mut lab = Lab::new();
    lab.add(0, &[(0, 50), (50, 100)]);
    lab.add(170, &[(170, 200)]);
    lab.assert_missing(130, &[Some(70)]);
    // The checkpoint knows what came of it.
    let latest = lab.open().latest().unwrap();
    assert_eq!((missing(&latest), latest.table.ledger()), (vec![], lab.table(200).ledger()));
}

#[test]
fn a_file_that_is_missing_between_two_others_is_told_of() {
    let mut lab = Lab::new();
    for begins in [0, 100, 200, 300] {
        lab.add(begins, &[(begins, begins + 60), (begins + 60, begins + 100)]);
    }
    lab.assert_missing(400, &[]);
    let files = || fs::read_dir(lab.directory.path()).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(files().min().unwrap()).unwrap();
    lab.assert_missing(300, &[]);
    let mut left: Vec<_> = files().collect();
    left.sort();
    fs::remove_file(&left[1]).unwrap();
    lab.assert_missing(200, &[Some(100)]);
}

/// A program that was killed is gone on from where its last whole block ends.
#[test]
fn a_block_that_comes_again_in_the_next_file_is_not_missing() {
    let mut lab = Lab::new();
    let whole = lab.content(0, &[(0, 50), (50, 100)]);
    let length = bytes([lab.block(50, 100)]).len();
    for cut in [1, 60, length - 65, length - 64, length - 63, length - 1, length] {
        lab.files = 0;
        lab.add_bytes(&whole[..whole.len() - cut]);
        lab.add(50, &[(50, 200)]);
        lab.assert_missing(200, &[]);
        // And if it does not come again it is.
        lab.files = 1;
        lab.add(100, &[(100, 200)]);
        lab.assert_missing(150, &[Some(50)]);
    }
}

#[test]
fn each_boot_has_a_count_of_its_own() {
    let mut lab = Lab::new();
    lab.add(0, &[(0, 50)]);
    lab.recording = Recording { boot_id: boot_id(2), ..recording(clock(100_000)) };
    lab.add(100, &[(100, 150)]);
    lab.assert_missing(100, &[]);
    lab.add(170, &[(170, 180)]);
    lab.assert_missing(110, &[Some(20)]);
    // One whose files have lost the first ones is gone on from, in a file of two boots.
    let mut joined = lab.content(180, &[(180, 190)]);
    lab.recording = Recording { boot_id: boot_id(3), ..recording(clock(200_000)) };
    joined.extend(lab.content(300, &[(300, 310)]));
    lab.add_bytes(&joined);
    lab.add(310, &[(310, 320)]);
    lab.assert_missing(140, &[Some(20)]);
}

#[test]
fn a_program_that_begins_anew_has_lost_nothing() {
    let mut lab = Lab::new();
    lab.add(0, &[(0, 100)]);
    lab.add(0, &[(0, 50)]);
    lab.add(50, &[(50, 70)]);
    lab.assert_missing(170, &[]);
}

/// The fold sees the hole as well as it is told of it.
#[test]
fn a_hole_is_counted_once_where_no_checkpoint_can_be_read() {
    let mut lab = Lab::new();
    lab.add(0, &[(0, 50), (50, 100)]);
    let head = bytes([RawBlock::head(&lab.recording)]);
    let [mut checkpoint, behind] = [lab.checkpoint(170), bytes([lab.block(170, 200)])];
    checkpoint[70] ^= 1;
    lab.add_bytes(&[head, checkpoint, behind].concat());
    let latest = lab.open().latest().unwrap();
    assert_eq!(missing(&latest), [Some(70), Some(0)]);
    let lost = lab.lost(&[0..100, 170..200]);
    assert_eq!((latest.table.ledger().lost(), latest.sequence), (lost + 70, 200));
    lab.assert_missing(130, &[Some(70)]);
}

#[test]
fn what_is_missing_later_is_not_missing_before() {
    let mut lab = Lab::new();
    lab.add(0, &[(0, 50), (50, 60), (60, 100)]);
    lab.add(170, &[(170, 180), (190, 200)]);
    let time = |index: usize| lab.recording.clock.at(lab.events[index].time);
    let restored = lab.open().at(time(20)).unwrap();
    assert_eq!((missing(&restored), restored.table.ledger().lost()), (vec![], lab.lost(&[0..21])));
    let restored = lab.open().at(time(199)).unwrap();
    let lost = lab.lost(&[0..180, 190..200]) + 10;
    assert_eq!((missing(&restored), restored.table.ledger().lost()), (vec![Some(10)], lost));
}

/// Whoever reads files on their own and folds what is in them.
#[test]
fn the_end_of_one_file_is_the_beginning_of_the_next() {
    let lab = Lab::new();
    let files = [lab.content(0, &[(0, 100)]), lab.content(170, &[(170, 200)])];
    let (mut before, mut told, mut fold) = (None, Vec::new(), Fold::default());
    for file in &files {
        let mut reader = Reader::new(std::io::Cursor::new(file)).unwrap();
        reader.begin_behind(before);
        fold.begin_file();
        while let Some(block) = reader.next().unwrap() {
            fold.push(&block, &mut ());
            if let Content::Damage(damage) = block.content {
                told.push(damage.events);
            }
        }
        before = reader.sequence();
    }
    assert_eq!((before, told), (Some(200), vec![Some(70)]));
}
