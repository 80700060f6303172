//! The table at any time is that which a fold over the whole log has then, however the log lies in files
//! and whatever part of it is damaged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procession::{BootTime, Event, EventKind, Pid, Table, WallClock};
use procession_journal::{
    Block, BlockBuilder, Container, Content, Damage, Header, Journal, JournalError, Kind, Piece, RawBlock,
    Reader, Recording, Restored, Target, state_hash,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{Machine, Random, Recorder, boot_id, clock, config, fold, recording};
use tempfile::TempDir;

/// A recorded log, and where it is.
struct Lab {
    directory: TempDir,
    recording: Recording,
    events: Vec<Event<'static>>,
    random: Random,
}

impl Lab {
    /// Records `count` events in blocks, checkpoints and files of random sizes.
    fn record(seed: u64, count: usize) -> Self {
        let mut lab = Self {
            directory: TempDir::new().unwrap(),
            recording: recording(clock(0)),
            events: Machine::new(seed, 60).events(count),
            random: Random(seed),
        };
        let mut recorder = Recorder::new(config(lab.directory.path()), lab.recording.clone());
        recorder.begin();
        for event in &lab.events {
            recorder.push(event);
            match lab.random.below(400) {
                0 => recorder.begin(),
                1..4 => checkpoint(&mut recorder),
                4..20 => recorder.flush(),
                _ => {}
            }
        }
        recorder.close();
        lab
    }

    fn open(&self) -> Journal {
        Journal::open(self.directory.path()).unwrap()
    }

    /// When an event happened on the wall clock, any of them.
    fn any_time(&mut self) -> SystemTime {
        let event = self.events[self.random.below(self.events.len())];
        let offset = self.random.next() % 3;
        let time = BootTime::from_nanos(event.time.as_nanos() + offset - 1);
        let (first, last) = self.span();
        self.recording.clock.at(time.clamp(first, last))
    }

    fn span(&self) -> (BootTime, BootTime) {
        let times = self.events.iter().map(|event| event.time);
        (times.clone().min().unwrap(), times.max().unwrap())
    }

    fn by(&self, time: SystemTime) -> impl Iterator<Item = &Event<'static>> + Clone {
        let limit = self.recording.clock.when(time);
        self.events.iter().filter(move |event| event.time <= limit)
    }

    /// What a fold over the whole log has at `time`.
    fn oracle(&self, time: SystemTime) -> Table {
        fold(self.recording.table, self.by(time))
    }

    fn files(&self) -> Vec<PathBuf> {
        files(self.directory.path())
    }
}

/// A checkpoint in the middle of a file.
fn checkpoint(recorder: &mut Recorder) {
    recorder.flush();
    let sequence = recorder.builder.sequence();
    let bookmark = sequence.to_le_bytes();
    for block in RawBlock::checkpoint(&recorder.recording, &recorder.table.checkpoint(), sequence, &bookmark)
    {
        recorder.directory.append(&block).unwrap();
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

fn headers(path: &Path) -> Vec<Header> {
    let mut reader = Reader::new(fs::File::open(path).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next_header().unwrap()).collect()
}

#[track_caller]
fn assert_state(restored: &Restored, table: &Table, what: &str) {
    assert_eq!(restored.table.ledger(), table.ledger(), "{what}");
    assert_eq!(restored.table.len(), table.len(), "{what}");
    assert_eq!(state_hash(&restored.table), state_hash(table), "{what}");
}

#[test]
fn the_state_at_any_time_is_that_of_the_whole_log() {
    let (mut files, mut early) = (0, 0);
    for seed in 0..6 {
        let mut lab = Lab::record(seed, 2_000);
        let journal = lab.open();
        files += lab.files().len();
        for _ in 0..20 {
            let time = lab.any_time();
            let restored = journal.at(time).unwrap();
            assert_state(&restored, &lab.oracle(time), &format!("seed {seed}"));
            assert_eq!((&restored.damage[..], restored.is_closed), (&[][..], true));
            early += usize::from(restored.table.ledger().received() < 1_000);
        }
        let whole = fold(lab.recording.table, &lab.events);
        let latest = journal.latest().unwrap();
        assert_state(&latest, &whole, "the latest");
        assert_eq!(latest.sequence, 2_000);
        assert_eq!(latest.bookmark[..], 2_000_u64.to_le_bytes());
    }
    assert!(files > 20 && early > 20, "{files} files, {early} early times");
}

#[test]
fn a_journal_of_one_file_without_checkpoints_is_folded_from_its_start() {
    let mut lab = Lab::record(3, 500);
    let path = lab.directory.path().join("alone");
    let mut blocks = vec![RawBlock::head(&lab.recording)];
    let mut builder = procession_journal::BlockBuilder::new(0);
    for event in &lab.events {
        builder.push(event);
        if lab.random.one_in(30) {
            blocks.push(builder.take(&lab.recording, b""));
        }
    }
    blocks.push(builder.take(&lab.recording, b""));
    let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.to_bytes().unwrap()).collect();
    fs::write(&path, bytes).unwrap();
    let journal = Journal::open(&path).unwrap();
    for _ in 0..40 {
        let time = lab.any_time();
        assert_state(&journal.at(time).unwrap(), &lab.oracle(time), "in a file");
    }
    assert!(!journal.latest().unwrap().is_closed);
}

#[test]
fn what_is_left_of_a_directory_still_tells_the_truth() {
    let mut lab = Lab::record(5, 3_000);
    let opened_before = lab.open();
    let files = lab.files();
    assert!(files.len() > 4, "{} files", files.len());
    for gone in &files[..3] {
        fs::remove_file(gone).unwrap();
    }
    let begins = headers(&files[3]).iter().find_map(|header| header.sequence).unwrap();
    let mut refused = 0;
    for journal in [lab.open(), opened_before] {
        for _ in 0..30 {
            let time = lab.any_time();
            match journal.at(time) {
                Ok(restored) => assert_state(&restored, &lab.oracle(time), "what is left"),
                Err(JournalError::OutOfRange { first, .. }) => {
                    assert!(time < first, "{time:?} is not before {first:?}");
                    assert_eq!(first, lab.recording.clock.at(latest_of(&lab.events, begins)));
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 5, "{refused} refused");
}

/// Blocks of a journal, in order: the events that one holds, or a checkpoint.
#[derive(Debug)]
struct Written {
    file: PathBuf,
    header: Header,
    is_damaged: bool,
}

fn written(files: &[PathBuf]) -> Vec<Written> {
    let of = |file: &PathBuf| {
        let written = |header| Written { file: file.clone(), header, is_damaged: false };
        headers(file).into_iter().map(written).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

impl Written {
    /// Changes a byte of the payload.
    fn damage(&mut self) {
        let file = OpenOptions::new().read(true).write(true).open(&self.file).unwrap();
        let at = self.header.offset + self.header.bytes - 1;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
        self.is_damaged = true;
    }

    fn events(&self) -> std::ops::Range<usize> {
        let before = usize::try_from(self.header.sequence.unwrap()).unwrap();
        before..before + self.header.events as usize
    }
}

/// The latest time of the first `count` events.
fn latest_of(events: &[Event<'_>], count: u64) -> BootTime {
    let times = events[..usize::try_from(count).unwrap()].iter().map(|event| event.time);
    times.max().unwrap_or_default()
}

/// The table by `limit`, from the last checkpoint that can be read, told of what is lost.
fn folded_with_damage(lab: &Lab, written: &[Written], limit: BootTime) -> (Table, usize) {
    let is_start = |block: &Written| {
        block.header.kind == Some(Kind::Checkpoint)
            && latest_of(&lab.events, block.header.sequence.unwrap()) <= limit
            && !block.is_damaged
    };
    let start = written.iter().rposition(is_start);
    let before = start.map_or(0, |start| written[start].header.sequence.unwrap());
    let mut table = fold(lab.recording.table, &lab.events[..usize::try_from(before).unwrap()]);
    let rest = &written[start.map_or(0, |start| start + 1)..];
    let of_time = rest.iter().filter(|block| block.header.first <= limit);
    for block in of_time.clone().filter(|block| block.header.kind == Some(Kind::Events)) {
        if block.is_damaged {
            let kind = EventKind::Lost(block.header.events.into());
            let _ = table.apply(&Event { time: table.now(), kind });
            continue;
        }
        for event in lab.events[block.events()].iter().filter(|event| event.time <= limit) {
            let _ = table.apply(event);
        }
    }
    (table, of_time.filter(|block| block.is_damaged && block.header.events > 0).count())
}

#[test]
fn damage_costs_a_block_until_the_next_checkpoint_and_is_told_of() {
    let mut lossy = 0;
    for seed in 20..26 {
        let mut lab = Lab::record(seed, 1_500);
        let mut written = written(&lab.files());
        for block in &mut written {
            let is_hit = match block.header.kind {
                Some(Kind::Checkpoint) => lab.random.one_in(3),
                Some(Kind::Events) => lab.random.one_in(10),
                _ => false,
            };
            if is_hit {
                block.damage();
            }
        }
        let journal = lab.open();
        for _ in 0..20 {
            let time = lab.any_time();
            let (table, damaged) = folded_with_damage(&lab, &written, lab.recording.clock.when(time));
            let restored = journal.at(time).unwrap();
            assert_state(&restored, &table, &format!("seed {seed}"));
            // Not of checkpoints that nobody needed.
            let told = restored.damage.iter().filter(|damage| damage.events > Some(0)).count();
            assert_eq!(told, damaged, "seed {seed}: {:?}", restored.damage);
            lossy += usize::from(damaged > 0);
        }
    }
    assert!(lossy > 30, "{lossy} times with damage");
}

/// What a crash leaves: the last file ends anywhere.
#[test]
fn the_last_file_may_end_anywhere() {
    let lab = Lab::record(7, 1_500);
    let last = lab.files().pop().unwrap();
    let whole = fs::read(&last).unwrap();
    let blocks = headers(&last);
    let ends = blocks.iter().map(|block| block.offset + block.bytes);
    let places = ends.flat_map(|end| [end.saturating_sub(70), end - 1, end, end + 1, end + 65]);
    let mut torn = 0;
    for length in places.filter(|length| *length <= whole.len() as u64) {
        fs::write(&last, &whole[..usize::try_from(length).unwrap()]).unwrap();
        let is_whole = |block: &&Header| block.offset + block.bytes <= length;
        let events = blocks.iter().filter(is_whole).rfind(|block| block.kind == Some(Kind::Events));
        let checkpoint = blocks.iter().filter(is_whole).find(|block| block.kind == Some(Kind::Checkpoint));
        let before_file = blocks.iter().find_map(|block| block.sequence).unwrap();
        let count = match (events, checkpoint) {
            (Some(block), _) => block.sequence.unwrap() + u64::from(block.events),
            _ => before_file,
        };
        let restored = lab.open().latest().unwrap();
        let table = fold(lab.recording.table, &lab.events[..usize::try_from(count).unwrap()]);
        assert_state(&restored, &table, &format!("{length} of {} bytes", whole.len()));
        assert_eq!(restored.sequence, count, "{length} bytes");
        assert_eq!(restored.is_closed, length == whole.len() as u64, "{length} bytes");
        torn += restored.damage.iter().filter(|damage| damage.is_torn()).count();
    }
    assert!(torn > 10, "{torn} torn");
}

/// Another boot, whose clocks begin anew.
fn record_boot(directory: &Path, number: u8, seconds: u64, seed: u64) -> (Recording, Vec<Event<'static>>) {
    let recording = Recording { boot_id: boot_id(number), ..recording(clock(seconds)) };
    let events = Machine::new(seed, 60).events(300);
    let mut recorder = Recorder::new(config(directory), recording.clone());
    recorder.begin();
    for (index, event) in events.iter().enumerate() {
        recorder.push(event);
        if index % 50 == 0 {
            recorder.flush();
        }
    }
    recorder.flush();
    (recording, events)
}

#[test]
fn a_time_is_looked_for_in_the_boot_that_it_was_in() {
    let directory = TempDir::new().unwrap();
    let boots = [(1, 0, 40), (2, 100_000, 41), (3, 200_000, 42)]
        .map(|(number, seconds, seed)| record_boot(directory.path(), number, seconds, seed));
    let journal = Journal::open(directory.path()).unwrap();
    for (recording, events) in &boots {
        for event in events.iter().step_by(7) {
            let restored = journal.at(recording.clock.at(event.time)).unwrap();
            let by_then = events.iter().filter(|other| other.time <= event.time);
            assert_state(&restored, &fold(recording.table, by_then), "in its boot");
            assert_eq!(restored.recording.boot_id, recording.boot_id);
        }
    }
    let [first, second, third] = [&boots[0], &boots[1], &boots[2]].map(|(recording, events)| {
        let times = events.iter().map(|event| recording.clock.at(event.time));
        (times.clone().min().unwrap(), times.max().unwrap())
    });
    assert_eq!(journal.span(), (first.0, third.1));
    assert_eq!(journal.recording().boot_id, boot_id(3));
    assert_eq!(journal.latest().unwrap().recording.boot_id, boot_id(3));
    let moment = Duration::from_nanos(1);
    match journal.at(first.1 + moment) {
        Err(JournalError::NotRecorded { before, after }) => assert_eq!((before, after), (first.1, second.0)),
        other => panic!("{other:?}"),
    }
    for time in [first.0 - moment, third.1 + moment] {
        match journal.at(time) {
            Err(JournalError::OutOfRange { first: from, last }) => {
                assert_eq!((from, last), (first.0, third.1));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_time_means_what_the_wall_clock_showed_then() {
    let directory = TempDir::new().unwrap();
    let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
    recorder.begin();
    let events = Machine::new(8, 60).events(400);
    let (before, after) = events.split_at(200);
    recorder.push_all(before);
    recorder.flush();
    // Somebody sets the clock an hour forward.
    recorder.recording.clock = clock(3_600);
    recorder.push_all(after);
    recorder.flush();
    let journal = Journal::open(directory.path()).unwrap();
    for (clock, events) in [(clock(0), before), (clock(3_600), after)] {
        for event in events.iter().step_by(5) {
            let by_then = before.iter().chain(after).filter(|other| other.time <= event.time);
            let restored = journal.at(clock.at(event.time)).unwrap();
            assert_state(&restored, &fold(recording(clock).table, by_then), "after the clock was set");
        }
    }
}

#[test]
fn a_program_that_begins_anew_does_not_mix_what_it_knows_with_what_was_known() {
    let directory = TempDir::new().unwrap();
    let mut machine = Machine::new(9, 60);
    let parts = [machine.events(300), machine.events(300)];
    let recording = recording(clock(0));
    let end = parts[0].iter().map(|event| event.time).max().unwrap();
    let moment = Duration::from_nanos(1);
    for (part, began) in parts.iter().zip([BootTime::ZERO, end.after(moment)]) {
        let clock = WallClock::new(began, recording.clock.at(began));
        let recording = Recording { clock, ..recording.clone() };
        let mut recorder = Recorder::new(config(directory.path()), recording);
        recorder.begin();
        recorder.push_all(part);
        recorder.close();
    }
    let journal = Journal::open(directory.path()).unwrap();
    let second = fold(recording.table, &parts[1]);
    assert_state(&journal.latest().unwrap(), &second, "the second part");
    let gap = journal.at(recording.clock.at(end)).unwrap();
    assert_state(&gap, &fold(recording.table, &parts[0]), "the first part");
}

/// The block that was being written when the program was killed is recorded again by the next one, which
/// goes on where the last whole block ends.
#[test]
fn a_program_that_was_killed_is_gone_on_from() {
    let mut lab = Lab {
        directory: TempDir::new().unwrap(),
        recording: recording(clock(0)),
        events: Machine::new(12, 60).events(1_500),
        random: Random(12),
    };
    let mut recorder = Recorder::new(config(lab.directory.path()), lab.recording.clone());
    recorder.begin();
    let mut torn = 0;
    while recorder.builder.sequence() < lab.events.len() as u64 {
        let next = usize::try_from(recorder.builder.sequence()).unwrap();
        recorder.push(&lab.events[next]);
        if lab.random.one_in(20) {
            recorder.flush();
        }
        if lab.random.one_in(200) {
            recorder.flush();
            drop(recorder);
            let file = OpenOptions::new().write(true).open(lab.files().pop().unwrap()).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1 - lab.random.next() % 80).unwrap();
            let latest = lab.open().latest().unwrap();
            torn += latest.damage.len();
            recorder = Recorder::resume(config(lab.directory.path()), latest);
        }
    }
    recorder.close();
    assert!(torn > 3, "{torn} torn");
    let journal = lab.open();
    assert_state(&journal.latest().unwrap(), &fold(lab.recording.table, &lab.events), "the latest");
    for _ in 0..60 {
        let time = lab.any_time();
        assert_state(&journal.at(time).unwrap(), &lab.oracle(time), "at any time");
    }
}

fn holes(damage: &[Damage]) -> Vec<Option<u64>> {
    damage.iter().map(|damage| damage.events).collect()
}

#[test]
fn a_block_that_stands_there_twice_is_folded_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a.procession");
    let recording = recording(clock(0));
    let events = Machine::new(15, 60).events(90);
    let block = |range: std::ops::Range<usize>| {
        let mut builder = BlockBuilder::new(range.start as u64);
        events[range].iter().for_each(|event| builder.push(event));
        builder.take(&recording, b"")
    };
    let [head, a, b, c] = [RawBlock::head(&recording), block(0..30), block(30..60), block(60..90)];
    let write = |blocks: &[&RawBlock]| {
        let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.to_bytes().unwrap()).collect();
        fs::write(&path, bytes).unwrap();
        Journal::open(&path).unwrap()
    };
    let count = |journal: &Journal| {
        let mut count = 0;
        let mut visit = |piece: Piece<'_>| {
            count += usize::from(matches!(piece, Piece::Event(_)));
            true
        };
        journal.read(None, &mut visit).unwrap();
        count
    };
    let whole = fold(recording.table, &events);
    let journal = write(&[&head, &a, &b, &a, &b, &c, &a]);
    let latest = journal.latest().unwrap();
    assert_state(&latest, &whole, "each block once");
    assert_eq!((latest.sequence, count(&journal)), (90, 90));
    assert_eq!(latest.damage.iter().filter(|damage| damage.is_repeated()).count(), 3);
    // Files may be joined: after a head it starts anew.
    let journal = write(&[&head, &a, &b, &c, &head, &a]);
    assert_eq!((journal.latest().unwrap().sequence, count(&journal)), (30, 120));
}

/// Blocks that a recorder had no room for are missing from the journal without any damage.
#[test]
fn what_was_never_written_is_lost_until_the_next_checkpoint() {
    let directory = TempDir::new().unwrap();
    let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
    recorder.begin();
    let mut machine = Machine::new(13, 60);
    let mut events = machine.events(100);
    recorder.push_all(&events);
    recorder.flush();
    let dropped = machine.events(70);
    recorder.push_all(&dropped);
    let _ = recorder.builder.take(&recorder.recording, b"");
    let more = machine.events(50);
    recorder.push_all(&more);
    recorder.flush();

    let latest = Journal::open(directory.path()).unwrap().latest().unwrap();
    let time = latest_of(&events, 100);
    events.push(Event { time, kind: EventKind::Lost(70) });
    events.extend(more);
    assert_state(&latest, &fold(latest.recording.table, &events), "with a hole");
    assert_eq!((latest.sequence, holes(&latest.damage)), (220, vec![Some(70)]));
    let mut told = Vec::new();
    let journal = Journal::open(directory.path()).unwrap();
    journal
        .read(None, &mut |piece| {
            if let Piece::Block(Block { content: Content::Damage(damage), .. }) = piece {
                told.push(damage.clone());
            }
            true
        })
        .unwrap();
    assert_eq!(told, latest.damage, "who reads all is told too");

    recorder.begin();
    let latest = Journal::open(directory.path()).unwrap().latest().unwrap();
    assert_state(&latest, &recorder.table, "after the next checkpoint");
}

#[test]
fn containers_are_named_whenever_their_names_were_told() {
    let lab = Lab::record(14, 300);
    let container = |name: &str| Container { id: "c".repeat(64), name: name.into(), ..Container::default() };
    let file = |name: &str| {
        let mut blocks = RawBlock::names(&lab.recording, &[container(name)]);
        blocks.insert(0, RawBlock::head(&lab.recording));
        blocks.iter().flat_map(|block| block.to_bytes().unwrap()).collect::<Vec<_>>()
    };
    for (number, name) in [(98, "first"), (99, "second")] {
        let path = lab.directory.path().join(format!("00000000{number}-20330518T033320Z.procession"));
        fs::write(path, file(name)).unwrap();
    }
    let journal = lab.open();
    let expected = Some(container("second"));
    for names in [journal.names().unwrap(), journal.at(journal.span().0).unwrap().names] {
        assert_eq!(names.find(&"c".repeat(64)), expected.as_ref());
    }
}

#[test]
fn reading_gives_each_event_once_and_in_order() {
    let mut lab = Lab::record(10, 2_000);
    let journal = lab.open();
    let mut events = Vec::new();
    journal
        .read(None, &mut |piece| {
            if let Piece::Event(event) = piece {
                events.push((event.time, format!("{:?}", event.kind)));
            }
            true
        })
        .unwrap();
    let expected: Vec<_> = lab.events.iter().map(|event| (event.time, format!("{:?}", event.kind))).collect();
    assert_eq!(events, expected);

    let from = lab.any_time();
    let (mut seen, mut blocks) = (0, 0);
    journal
        .read(Some(from), &mut |piece| {
            match piece {
                Piece::Block(block) if matches!(block.content, Content::Events(_)) => {
                    assert!(block.last >= lab.recording.clock.when(from), "a block that ended before");
                    blocks += 1;
                }
                Piece::Event(event) => seen += usize::from(lab.recording.clock.at(event.time) >= from),
                Piece::Block(_) | Piece::PassedOver(_) => {}
            }
            true
        })
        .unwrap();
    let late = lab.events.iter().filter(|event| lab.recording.clock.at(event.time) >= from).count();
    assert_eq!(seen, late);
    assert!(blocks > 0);
}

#[test]
fn reading_from_a_time_on_tells_of_what_is_damaged_from_then_on() {
    let lab = Lab::record(17, 2_000);
    let mut written = written(&files(lab.directory.path()));
    written.retain(|block| block.header.events > 0);
    let sixth = written.len() / 6;
    let from = lab.recording.clock.at(written[3 * sixth].header.last);
    let [early, late] = [sixth, 5 * sixth].map(|place| {
        written[place].damage();
        Some(u64::from(written[place].header.events))
    });
    let told = |from| {
        let mut told = Vec::new();
        let mut note = |piece: Piece<'_>| {
            if let Piece::Block(Block { content: Content::Damage(damage), .. }) = piece {
                told.push(damage.events);
            }
            true
        };
        lab.open().read(from, &mut note).unwrap();
        told
    };
    assert_eq!((told(None), told(Some(from))), (vec![early, late], vec![late]));
}

/// Not even of which block it was can be said of one whose header is damaged.
#[test]
fn what_is_damaged_later_is_not_missing_before() {
    let lab = Lab::record(18, 2_000);
    let mut written = written(&files(lab.directory.path()));
    written.retain(|block| block.header.events > 0);
    let sixth = written.len() / 6;
    let Written { file, header, .. } = &written[5 * sixth];
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[0], header.offset).unwrap();
    let journal = lab.open();
    let time = lab.recording.clock.at(written[3 * sixth].header.last);
    let before = journal.at(time).unwrap();
    assert_eq!(holes(&before.damage), []);
    assert_state(&before, &lab.oracle(time), "before");
    // Nor is it missing where the block in front of it is not asked for to its end.
    let in_front = &written[5 * sixth - 1];
    let time = lab.recording.clock.at(in_front.header.first);
    let within = journal.at(time).unwrap();
    assert!(in_front.header.first < in_front.header.last);
    assert_eq!(holes(&within.damage), []);
    assert_state(&within, &lab.oracle(time), "within the block in front of it");
    let latest = journal.latest().unwrap();
    assert!(latest.damage.len() <= 1, "a checkpoint may have what was in it: {:?}", latest.damage);
}

#[test]
fn reading_ends_when_it_is_enough() {
    let lab = Lab::record(11, 500);
    let mut seen = 0;
    lab.open()
        .read(None, &mut |piece| {
            seen += usize::from(matches!(piece, Piece::Event(_)));
            seen < 7
        })
        .unwrap();
    assert_eq!(seen, 7);
}

#[test]
fn what_is_no_journal_is_told_of() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.procession");
    for path in [directory.path(), &file] {
        fs::write(&file, b"").unwrap();
        assert!(matches!(Journal::open(path), Err(JournalError::Nothing { .. })));
        fs::write(&file, vec![7; 100_000]).unwrap();
        assert!(matches!(Journal::open(path), Err(JournalError::Nothing { .. })));
    }
    let absent = directory.path().join("absent");
    assert!(matches!(Journal::open(&absent), Err(JournalError::Io { path, .. }) if path == absent));
    // It never ends, and must not be searched.
    assert!(matches!(Journal::open(Path::new("/dev/zero")), Err(JournalError::Io { .. })));
}

/// A directory and a pipe cannot be read: not even by root.
#[test]
fn a_file_that_cannot_be_read_is_passed_over_where_others_can() {
    let lab = Lab::record(16, 300);
    let unreadable = "0000000000-20330518T033320Z.procession";
    fs::create_dir(lab.directory.path().join(unreadable)).unwrap();
    let pipe = lab.directory.path().join("pipe.procession");
    mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let latest = lab.open().latest().unwrap();
    assert_state(&latest, &fold(lab.recording.table, &lab.events), "the others");
    assert_eq!(holes(&latest.damage), [None, None]);
    assert!(latest.damage.iter().all(|damage| !damage.is_torn()));
    let journal = lab.open();
    let history = journal.history(Target::Pid(Pid(1)), None, 0).unwrap();
    let descendants = journal.descendants_ever(Target::Pid(Pid(1)), 100).unwrap();
    for damage in [journal.unread(), &history.damage, &descendants.damage] {
        assert_eq!(holes(damage), [None, None]);
    }

    let alone = TempDir::new().unwrap();
    fs::create_dir(alone.path().join(unreadable)).unwrap();
    let error = Journal::open(alone.path()).unwrap_err();
    assert!(matches!(error, JournalError::Io { path, .. } if path.ends_with(unreadable)));
}

#[test]
fn files_from_elsewhere_come_before_those_that_the_directory_numbered() {
    let directory = TempDir::new().unwrap();
    // The wall clock was set back between the boots, and a copy of the first is the last by it.
    record_boot(directory.path(), 1, 9_000, 1);
    let first = files(directory.path()).pop().unwrap();
    let (recording, events) = record_boot(directory.path(), 2, 0, 2);
    let elsewhere = TempDir::new().unwrap();
    record_boot(elsewhere.path(), 3, 90_000, 3);
    fs::copy(files(elsewhere.path()).pop().unwrap(), directory.path().join("z.procession")).unwrap();
    for copied in [first, files(directory.path()).into_iter().nth(1).unwrap()] {
        let name = format!("copy-of-{}", copied.file_name().unwrap().to_str().unwrap());
        fs::copy(&copied, directory.path().join(name)).unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.recording().boot_id, recording.boot_id);
        assert_state(&journal.latest().unwrap(), &fold(recording.table, &events), "the last by number");
    }
}
