//! Journals: their files, and blocks whose checksums fit though nobody of ours wrote them.

use std::fs;
use std::io::Cursor;
use std::time::{Duration, SystemTime};

use procession::{BootTime, Pid, Table, TableConfig, WallClock};
use procession_journal::fuzzing::{seal, taken_apart};
use procession_journal::{
    Block, BlockBuilder, Content, Events, Journal, Piece, RawBlock, Reader, Recording, Restored, Target,
    state_hash,
};

use crate::memory;

/// A file of a journal; and, because no fuzzer finds a checksum, the payload of a block whose kind the first
/// byte says. What can be read is the same when it is written and read again.
pub fn journal(file: &[u8]) {
    // A payload may be ten thousand times as long as it is in the file; the header says so and is bounded.
    let read = memory::within(file, 512 << 20, 256, || blocks(file));
    let mut end = 0;
    for block in read {
        assert_eq!(block.offset, end, "every byte is in one block");
        end += block.bytes;
        let is_torn = matches!(&block.content, Content::Damage(damage) if damage.is_torn());
        assert!(!is_torn || end == file.len() as u64, "what is torn is the end");
        check_block(&block.content);
    }
    assert_eq!(end, file.len() as u64);
    if let Some((kind, payload)) = file.split_first() {
        let sealed = seal(*kind, 0, payload);
        // A checkpoint weighs no more than 64 MiB, if it is short; the rest is one copy or two of the payload.
        let read = memory::within(payload, 128 << 20, 64, || blocks(&sealed));
        for block in &read {
            check_block(&block.content);
        }
    }
}

fn blocks(file: &[u8]) -> Vec<Block> {
    let mut reader = Reader::new(Cursor::new(file)).expect("memory can be read");
    std::iter::from_fn(|| reader.next().expect("memory can be read")).collect()
}

fn check_block(content: &Content) {
    match content {
        Content::Events(events) => {
            let once = written(events);
            let [Block { content: Content::Events(read), .. }] = &blocks(&once)[..] else {
                panic!("events are events")
            };
            assert_eq!(written(read), once);
        }
        Content::Checkpoint { checkpoint, .. } => {
            let table = Table::restore(checkpoint);
            let (recording, checkpoint) = (recording(), table.checkpoint());
            let parts = RawBlock::checkpoint(&recording, &checkpoint, 0, b"");
            let file: Vec<_> = parts.flat_map(|part| part.to_bytes().expect("it fits")).collect();
            let read = blocks(&file).pop().map(|block| block.content);
            let Some(Content::Checkpoint { checkpoint, .. }) = read else { panic!("{read:?}") };
            assert_eq!(state_hash(&Table::restore(&checkpoint)), state_hash(&table));
        }
        Content::Names(containers) => {
            let parts = RawBlock::names(&recording(), containers);
            let file: Vec<_> = parts.iter().flat_map(|part| part.to_bytes().expect("it fits")).collect();
            let read: Vec<_> = blocks(&file)
                .into_iter()
                .flat_map(|block| match block.content {
                    Content::Names(containers) => containers,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(read, *containers);
        }
        _ => {}
    }
}

/// A block of these events, as it stands in a file.
fn written(events: &Events) -> Vec<u8> {
    let mut builder = BlockBuilder::new(0);
    events.each(&mut |event| builder.push(event));
    builder.take(&recording(), b"").to_bytes().expect("it fits")
}

fn recording() -> Recording {
    Recording {
        node_name: "node".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().expect("it is one"),
        clock: WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH),
        source: "eBPF".to_owned(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// In the place of the number of a kind: what follows is no block; the next file begins.
const NO_BLOCK: u8 = 0;
const NEXT_FILE: u8 = 6;

/// More files tell no more.
const MOST_FILES: usize = 4;

/// A directory with several files, asked all that journals are asked. A piece of the input is the number of a kind, the
/// sequence number and the length of a payload, with two bytes each, and the payload.
///
/// # Panics
///
/// The same journal gives two answers to the same question, or memory has no room for files.
pub fn journal_directory(input: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room for files");
    for (number, file) in files(input).iter().enumerate() {
        let path = directory.path().join(format!("{number:020}.procession"));
        fs::write(path, file).expect("there is room for files");
    }
    let Ok(journal) = memory::within(input, 64 << 20, 256, || Journal::open(directory.path())) else {
        return;
    };
    let (first, last) = journal.span();
    for time in [first, last, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)] {
        assert_eq!(told(journal.at(time).ok().as_ref()), told(journal.at(time).ok().as_ref()));
    }
    assert_eq!(told(journal.latest().ok().as_ref()), told(journal.latest().ok().as_ref()));
    let mut pieces = [0_u64; 2];
    let _ = journal.read(None, &mut |piece| {
        pieces[usize::from(matches!(piece, Piece::Event(_)))] += 1;
        true
    });
    let _ = journal.history(Target::Pid(Pid(7)), None, 100);
    let _ = journal.descendants_ever(Target::Pid(Pid(1)), 1_000);
    let _ = journal.names();
}

/// What is to be the same each time.
fn told(restored: Option<&Restored>) -> Option<(u64, u64, usize, bool)> {
    restored.map(|it| (state_hash(&it.table), it.sequence, it.damage.len(), it.is_closed))
}

fn files(input: &[u8]) -> Vec<Vec<u8>> {
    let mut files = vec![Vec::new()];
    let mut rest = input;
    while let Some(([kind, a, b, c, d], after)) = rest.split_first_chunk() {
        let (sequence, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let (payload, after) = after.split_at(length.min(after.len()));
        rest = after;
        if *kind == NEXT_FILE && files.len() < MOST_FILES {
            files.push(Vec::new());
        }
        let block =
            if *kind == NO_BLOCK { payload.to_vec() } else { seal(*kind, u64::from(sequence), payload) };
        files.last_mut().expect("there is one").extend(block);
    }
    files
}

/// The pieces of which [`journal_directory`] makes a file that can be read like this one. Blocks that are too long
/// for that are left out.
pub fn pieces(file: &[u8]) -> Vec<u8> {
    let mut pieces = Vec::new();
    for (kind, sequence, payload) in taken_apart(file) {
        let (Ok(sequence), Ok(length)) = (u16::try_from(sequence), u16::try_from(payload.len())) else {
            continue;
        };
        pieces.push(kind);
        pieces.extend(sequence.to_le_bytes());
        pieces.extend(length.to_le_bytes());
        pieces.extend(payload);
    }
    pieces
}
