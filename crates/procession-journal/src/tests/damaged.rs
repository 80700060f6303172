//! Whatever happens to a file: what is still read of it is what was written, and the rest is told of.

use std::io::{Cursor, Seek as _, SeekFrom, Write as _};

use memchr::memmem;
use procession::{
    Arguments, BootTime, Event, EventKind, Exec, Exit, Fork, Ledger, Pid, ProcessKey, Program, Subject, Table,
};
use proptest::prelude::*;

use super::{block, damage, file, read, recording};
use crate::block::{Fields, HEADER_BYTES, Header, Kind, Parsed, SYNC};
use crate::{Block, Container, Content, RawBlock, Reader};

/// A process that runs `make` and ends, and one that does the same.
pub(super) fn events() -> Vec<Event<'static>> {
    (0..6_u32).flat_map(life).collect()
}

/// The same of many.
pub(super) fn many_lives(count: u32) -> impl Iterator<Item = Event<'static>> {
    (0..count).flat_map(life)
}

fn life(number: u32) -> [Event<'static>; 3] {
    let time = |offset| BootTime::from_nanos(u64::from(number) * 1_000 + offset);
    let key = |offset| ProcessKey::new(Pid(100 + number), time(offset));
    let child = Subject::exact(key(0), time(0));
    let process = Subject::exact(key(10), time(0));
    let parent = ProcessKey::new(Pid(1), BootTime::ZERO).into();
    let fork = Fork { child, parent, parent_tid: Pid(1), owner: parent, ..Fork::default() };
    let program = Program {
        binary: b"/usr/bin/make",
        arguments: Arguments::complete(b"make\0all\0"),
        ..Program::default()
    };
    let exec = Exec { process, tid: Pid(100 + number), owner: parent, program, ..Exec::default() };
    let exit = Exit { process, tid: Pid(100 + number), owner: parent, comm: b"make", ..Exit::default() };
    [
        Event { time: time(0), kind: EventKind::Fork(fork) },
        Event { time: time(10), kind: EventKind::Exec(exec) },
        Event { time: time(20), kind: EventKind::Exit(exit) },
    ]
}

/// A file of every kind of blocks, with 18 events in three of them.
pub(super) fn journal() -> Vec<RawBlock> {
    let events = events();
    let containers = [Container { id: "c".repeat(64), ..Container::default() }];
    let mut table = Table::default();
    for event in &events[..5] {
        let _ = table.apply(event);
    }
    let mut checkpoint =
        RawBlock::checkpoint(&recording(), &table.checkpoint(), 5, b"mark").collect::<Vec<_>>();
    vec![
        RawBlock::head(&recording()),
        block(0, &events[..5]),
        checkpoint.remove(0),
        RawBlock::names(&recording(), &containers).remove(0),
        block(5, &events[5..12]),
        block(12, &events[12..]),
        RawBlock::close(&recording(), &Ledger::default(), 18),
    ]
}

/// What was written, to compare what is read with.
struct Original {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    contents: Vec<String>,
    events: Vec<Event<'static>>,
}

impl Original {
    fn new() -> Self {
        let bytes = file(&journal());
        let blocks = read(&bytes);
        assert_eq!((damage(&blocks).len(), blocks.len()), (0, journal().len()));
        let contents = blocks.iter().map(content).collect();
        Self { bytes, blocks, contents, events: events() }
    }

    /// Reads what became of it. Every byte is in one block or told to be damaged; every block is as one
    /// that was written; the events of each are those that stood in its place. Behind what is torn there is
    /// nothing.
    fn check(&self, changed: &[u8]) -> Vec<Block> {
        let read = read(changed);
        let mut end = 0;
        for block in &read {
            assert_eq!(block.offset, end, "{read:?}");
            end += block.bytes;
            self.check_block(block);
        }
        assert_eq!(end, changed.len() as u64);
        let torn = damage(&read).into_iter().filter(|damage| damage.is_torn());
        assert!(torn.into_iter().all(|torn| torn.offset + torn.bytes == end), "{read:?}");
        read
    }

    fn check_block(&self, block: &Block) {
        if let Content::Damage(damage) = &block.content {
            assert_eq!((damage.offset, damage.bytes), (block.offset, block.bytes));
            return;
        }
        assert!(self.contents.contains(&content(block)), "{block:?}");
        if let Content::Events(events) = &block.content {
            let mut expected = self.events[usize::try_from(block.sequence).unwrap()..].iter();
            assert_eq!(events.each(&mut |event| assert_eq!(Some(event), expected.next())), 0);
        }
    }

    /// Nothing is missing that is not told of. Where it is not known how much is missing, that is told.
    fn check_account(&self, read: &[Block]) {
        let handed_over: u64 = read.iter().map(events_in).sum();
        let told = damage(read);
        let missing: Option<u64> = told.iter().map(|damage| damage.events).sum();
        match missing {
            Some(missing) => assert_eq!(handed_over + missing, self.events.len() as u64, "{told:?}"),
            None => assert!(!told.is_empty()),
        }
    }
}

/// No event is handed over twice, nor behind a later one, unless a head stands between: its header alone begins a
/// new count, whatever became of the rest of it.
fn check_order(file: &[u8], read: &[Block]) {
    let with_events: Vec<_> = read.iter().filter(|block| events_in(block) > 0).collect();
    for pair in with_events.windows(2) {
        let [before, behind] = [pair[0], pair[1]].map(|block| usize::try_from(block.offset).unwrap());
        let is_in_order = pair[0].sequence + events_in(pair[0]) <= pair[1].sequence;
        assert!(is_in_order || has_head(&file[before..behind]), "at {before} and {behind}: {read:?}");
    }
}

fn has_head(bytes: &[u8]) -> bool {
    let head = |bytes: &[u8]| bytes.as_array().and_then(Parsed::of).and_then(|parsed| parsed.at(0).kind);
    bytes.windows(HEADER_BYTES).any(|bytes| head(bytes) == Some(Kind::Head))
}

fn content(block: &Block) -> String {
    format!("{:?} {:?}", block.recording, block.content)
}

fn events_in(block: &Block) -> u64 {
    if let Content::Events(events) = &block.content { events.len() as u64 } else { 0 }
}

#[test]
fn any_byte_that_is_changed_costs_its_block_alone() {
    let original = Original::new();
    for at in 0..original.bytes.len() {
        let hit = original.blocks.iter().rfind(|block| block.offset <= at as u64).unwrap();
        // The head is long, and one byte of it is like the other.
        let is_head = matches!(hit.content, Content::Head { .. });
        let patterns = if is_head { &[0x01][..] } else { &[0x01, 0x10, 0x80, 0xff] };
        for pattern in patterns {
            let mut changed = original.bytes.clone();
            changed[at] ^= pattern;
            let read = original.check(&changed);
            original.check_account(&read);
            let told = damage(&read);
            assert_eq!((read.len(), told.len()), (original.blocks.len(), 1), "byte {at}");
            assert_eq!((told[0].offset, told[0].bytes), (hit.offset, hit.bytes), "byte {at}");
        }
    }
}

#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let original = Original::new();
    for length in 0..original.bytes.len() {
        let read = original.check(&original.bytes[..length]);
        let whole = original.blocks.iter().filter(|block| block.offset + block.bytes <= length as u64);
        let whole: Vec<_> = whole.collect();
        assert_eq!(read.iter().map(events_in).sum::<u64>(), whole.iter().copied().map(events_in).sum());
        let is_between = whole.last().map_or(0, |block| block.offset + block.bytes) == length as u64;
        let told = damage(&read);
        assert_eq!(
            (told.len(), read.len()),
            (usize::from(!is_between), whole.len() + usize::from(!is_between))
        );
        assert!(told.iter().all(|damage| damage.is_torn()), "length {length}: {told:?}");
        let closed = matches!(read.last(), Some(Block { content: Content::Close(_), .. }));
        assert!(!closed, "it is not whole");
    }
}

#[test]
fn an_argument_that_is_a_block_is_never_taken_for_one() {
    let inner = file(&[block(5, &events()[5..12])]);
    let argument = Program { binary: &inner, ..Program::default() };
    let exec = Exec { program: argument, ..Exec::default() };
    let event = Event { time: BootTime::ZERO, kind: EventKind::Exec(exec) };
    let mut outer = file(&[block(0, &[event]), block(1, &[])]);
    assert!(damage(&read(&outer)).is_empty());
    outer[20] ^= 1;
    let blocks = read(&outer);
    assert_eq!((blocks.len(), blocks[1].sequence, damage(&blocks)[0].events), (2, 1, None));
}

/// A file with a hole in the middle seems to hold gigabytes, and takes no room on the disk.
#[test]
fn a_header_that_says_too_much_is_not_believed() {
    let fields = |stored| Fields { kind: 2, version: 1, stored, raw: 9, ..Fields::default() };
    let follows = file(&[block(0, &events())]);
    for stored in [u32::MAX, (64 << 20) + 1] {
        let mut sparse = tempfile::tempfile().unwrap();
        sparse.write_all(&fields(stored).to_bytes()).unwrap();
        sparse.seek(SeekFrom::Current(stored.into())).unwrap();
        sparse.write_all(&follows).unwrap();
        let mut reader = Reader::new(sparse).unwrap();
        let told = reader.next().unwrap().unwrap();
        assert_eq!(
            (damage(&[told])[0].why, reader.next().unwrap().map(|block| events_in(&block))),
            ("they say that they are more than a block can hold", Some(18))
        );
        // It is not all there: something else stands where it should be.
        let short = [&fields(stored).to_bytes()[..], &follows].concat();
        let read = read(&short);
        assert_eq!(damage(&read)[0].why, "another block begins in them");
        assert_eq!(read.iter().map(events_in).sum::<u64>(), 18);
    }
}

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Harm {
    /// Bytes are cut out.
    Cut(usize, usize),
    /// Others stand in their place.
    Overwrite(usize, Vec<u8>),
    /// Others come in between.
    Insert(usize, Vec<u8>),
    /// A part of the file stands somewhere once more.
    Copy(usize, usize, usize),
    /// Two blocks change places.
    Swap(usize, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..80);
    let place = any::<usize>;
    prop_oneof![
        (place(), 1..400_usize).prop_map(|(at, length)| Harm::Cut(at, length)),
        (place(), bytes()).prop_map(|(at, bytes)| Harm::Overwrite(at, bytes)),
        (place(), bytes()).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (place(), 1..2_000_usize, place()).prop_map(|(from, length, to)| Harm::Copy(from, length, to)),
        (0..7_usize, 0..7_usize).prop_map(|(one, other)| Harm::Swap(one, other)),
    ]
}

impl Harm {
    fn happen(&self, file: &mut Vec<u8>, blocks: &[Block]) {
        let range = |at: usize, length: usize| {
            let at = at % (file.len() + 1);
            at..at.saturating_add(length).min(file.len())
        };
        match self {
            Self::Cut(at, length) => drop(file.drain(range(*at, *length))),
            Self::Overwrite(at, bytes) => drop(file.splice(range(*at, bytes.len()), bytes.iter().copied())),
            Self::Insert(at, bytes) => drop(file.splice(range(*at, 0), bytes.iter().copied())),
            Self::Copy(from, length, to) => {
                let bytes = file[range(*from, *length)].to_vec();
                file.splice(range(*to, 0), bytes);
            }
            Self::Swap(one, other) => {
                let mut order: Vec<_> = blocks.iter().collect();
                order.swap(*one, *other);
                let place = |block: &Block| {
                    let start = usize::try_from(block.offset).unwrap().min(file.len());
                    start..(start + usize::try_from(block.bytes).unwrap()).min(file.len())
                };
                *file = order.into_iter().flat_map(|block| file[place(block)].to_vec()).collect();
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_to_a_file(harms in prop::collection::vec(harm(), 1..4)) {
        let original = Original::new();
        let mut changed = original.bytes.clone();
        for harm in &harms {
            harm.happen(&mut changed, &original.blocks);
        }
        let read = original.check(&changed);
        check_order(&changed, &read);
        check_headers(&changed, &read);
        check_skips(&changed, &read);
    }
}

/// Whoever reads headers alone finds those of all blocks, and no others.
fn check_headers(file: &[u8], read: &[Block]) {
    let mut reader = Reader::new(Cursor::new(file)).unwrap();
    let found: Vec<_> = std::iter::from_fn(|| reader.next_header().unwrap()).collect();
    let mut expected: Vec<_> = read.iter().filter_map(|block| header_at(file, block.offset)).collect();
    // What is missing in front of a block is told of at its place.
    expected.dedup();
    if let Some(last) = last_in_common(&found, &expected) {
        assert!(hides(file, &last), "{found:?} {read:?}");
    }
}

/// Whoever passes over all blocks that can be passed over comes by each of them, and counts as many events.
fn check_skips(file: &[u8], read: &[Block]) {
    let mut passed = Vec::new();
    let mut reader = Reader::new(Cursor::new(file)).unwrap();
    loop {
        passed.extend(match reader.peek().unwrap() {
            Some(header) if reader.skip(&header).unwrap() => Some(header.offset),
            _ => match reader.next().unwrap() {
                Some(block) => Some(block.offset),
                None => break,
            },
        });
    }
    let all: Vec<_> = read.iter().map(|block| block.offset).collect();
    if let Some(last) = last_in_common(&passed, &all) {
        assert!(header_at(file, last).is_some_and(|header| hides(file, &header)), "{passed:?} {read:?}");
        return;
    }
    let mut whole = Reader::new(Cursor::new(file)).unwrap();
    while whole.next().unwrap().is_some() {}
    assert_eq!(reader.sequence(), whole.sequence(), "{read:?}");
}

/// The last of them before they differ. `None`: they are the same.
fn last_in_common<T: Copy + PartialEq>(one: &[T], other: &[T]) -> Option<T> {
    let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    (one.len() != common || other.len() != common).then(|| one[common.checked_sub(1).unwrap()])
}

/// Whether another block begins within one that seems to be whole, because where it is to end one does, or the file: only
/// who reads what is in it sees that.
fn hides(file: &[u8], header: &Header) -> bool {
    let place = |offset: u64| usize::try_from(offset).unwrap();
    let end = header.offset + header.bytes;
    let seems_whole = header_at(file, end).is_some() || end == file.len() as u64;
    seems_whole && memmem::find(&file[place(header.offset) + 1..place(end)], &SYNC).is_some()
}

fn header_at(file: &[u8], offset: u64) -> Option<Header> {
    let bytes = file.get(usize::try_from(offset).unwrap()..)?.first_chunk()?;
    Some(Parsed::of(bytes)?.at(offset))
}

/// The middle of a file once more, in front of itself: of the head in it nothing but the header is whole.
#[test]
fn a_head_of_which_the_header_alone_is_whole_begins_a_new_count() {
    let [head, events] = [file(&journal()[..1]), file(&journal()[1..2])];
    let changed = [&events, &head[..HEADER_BYTES], &events].concat();
    let read = Original::new().check(&changed);
    check_order(&changed, &read);
    assert_eq!(read.iter().map(events_in).collect::<Vec<_>>(), [5, 0, 5]);
    assert_eq!(damage(&read)[0].why, "another block begins in them");
    let behind = [&events[..], &events].concat();
    assert_eq!(damage(&self::read(&behind))[0].why, "they belong before what was read already");
}

/// Where a file ends within a block and another was put behind it, all of the other is found: its names too.
#[test]
fn a_file_behind_one_that_is_cut_short_is_found() {
    let [whole, next] = [file(&journal()[..2]), file(&journal())];
    let next_contents = Original::new().contents;
    for length in 0..whole.len() {
        let joined = [&whole[..length], &next].concat();
        let read = read(&joined);
        assert!(damage(&read).iter().all(|damage| !damage.is_torn()), "{length}: {read:?}");
        let behind: Vec<_> = read.iter().filter(|block| block.offset >= length as u64).map(content).collect();
        assert_eq!(behind, next_contents, "{length}");
        check_headers(&joined, &read);
        check_skips(&joined, &read);
    }
}

/// What is known of a block whose header speaks of what is not known here is that it has no more bytes than it has.
#[test]
fn a_block_that_is_not_known_hides_nothing_where_it_is_cut_short() {
    let known = Fields { kind: 2, version: 1, stored: 100, raw: 100, events: 3, ..Fields::default() };
    let newer = Fields { version: 2, ..known };
    let unknown = Fields { kind: 77, ..known };
    let too_long = Fields { raw: (64 << 20) + 1, ..known };
    let follows = file(&[block(3, &events())]);
    for (fields, why) in [
        (newer, "a newer version of the program wrote them"),
        (unknown, "they are a block of a kind that is not known here"),
        (too_long, "they say that they are more than a block can hold"),
    ] {
        for stored in [0, 1, 40, 99, 100] {
            let bytes = [&fields.to_bytes()[..], &vec![7; stored], &follows].concat();
            let read = read(&bytes);
            assert_eq!(read.iter().map(events_in).sum::<u64>(), 18, "{stored}: {read:?}");
            let [told] = damage(&read)[..] else { panic!("{stored}: {read:?}") };
            assert_eq!((told.why, told.bytes, told.events), (why, 64 + stored as u64, Some(3)));
        }
    }
}
