//! A directory is whole after each call, whatever happened to the one before.

#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/small_disk.rs"]
mod small_disk;
mod support;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procession::{Arguments, BootTime, Event, EventKind, Pid, ProcessKey, Program, Running, Subject};
use procession_journal::{Directory, DirectoryConfig, Fsync, Journal, JournalError, RawBlock, state_hash};
use small_disk::SmallDisk;
use support::{Machine, Random, Recorder, clock, config, fold, recording};
use tempfile::TempDir;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let names = names(directory).into_iter().filter(|name| name.ends_with(".procession"));
    names.map(|name| directory.join(name)).collect()
}

fn bytes(directory: &Path) -> u64 {
    files(directory).iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// Records `count` events, a block each ten, and begins another file whenever it is time.
fn record(recorder: &mut Recorder, machine: &mut Machine, count: usize) {
    for (index, event) in machine.events(count).iter().enumerate() {
        recorder.push(event);
        if index % 10 == 9 {
            recorder.flush();
            if recorder.directory.is_full() {
                recorder.begin();
            }
        }
    }
}

#[test]
fn it_is_for_its_owner_alone() {
    let above = TempDir::new().unwrap();
    let path = above.path().join("state/journal");
    let mut recorder = Recorder::new(config(&path), recording(clock(0)));
    assert!(recorder.directory.is_full(), "there is no file yet");
    recorder.begin();
    assert!(!recorder.directory.is_full());
    recorder.close();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(names(&path), ["0000000001-20330518T033320Z.procession", "lock"]);
    for name in names(&path) {
        assert_eq!(mode(&path.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn two_do_not_write_at_the_same_time() {
    let directory = TempDir::new().unwrap();
    let first = Directory::open(config(directory.path())).unwrap();
    let error = Directory::open(config(directory.path())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let expected = format!("another program writes the journal in {}", directory.path().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    drop(first);
    Directory::open(config(directory.path())).unwrap();
}

#[test]
fn what_is_no_directory_is_told_of() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    File::create(&path).unwrap();
    let error = Directory::open(config(&path)).unwrap_err();
    let expected = format!("cannot make the directory {}", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn each_program_goes_on_with_a_file_of_its_own() {
    let directory = TempDir::new().unwrap();
    let mut machine = Machine::new(1, 60);
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
        recorder.begin();
        record(&mut recorder, &mut machine, 50);
        recorder.flush();
        assert_eq!(recorder.directory.files(), lengths.len() + 1);
        assert_eq!(recorder.directory.bytes(), bytes(directory.path()));
        drop(recorder);
        for (file, length) in files(directory.path()).iter().zip(&lengths) {
            assert_eq!(file.metadata().unwrap().len(), *length, "{}", file.display());
        }
        lengths = files(directory.path()).iter().map(|file| file.metadata().unwrap().len()).collect();
    }
    let numbers: Vec<_> =
        names(directory.path()).iter().map(|name| name[..4.min(name.len())].to_owned()).collect();
    assert_eq!(numbers, ["0000"; 3].into_iter().chain(["lock"]).collect::<Vec<_>>());
}

/// What a crash leaves of a file that was about to be begun.
#[test]
fn a_file_that_never_was_whole_goes() {
    let directory = TempDir::new().unwrap();
    let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
    recorder.begin();
    record(&mut recorder, &mut Machine::new(1, 60), 50);
    recorder.flush();
    drop(recorder);
    let before = Journal::open(directory.path()).unwrap().latest().unwrap();
    let hidden = directory.path().join(".0000000002-20330518T033320Z.procession.new");
    fs::write(&hidden, RawBlock::head(&recording(clock(0))).to_bytes().unwrap()).unwrap();
    let other = directory.path().join(".0000000002.new");
    fs::write(&other, b"not ours").unwrap();
    let after = Journal::open(directory.path()).unwrap().latest().unwrap();
    assert_eq!(state_hash(&after.table), state_hash(&before.table));
    let opened = Directory::open(config(directory.path())).unwrap();
    assert_eq!((opened.files(), hidden.exists(), other.exists()), (1, false, true));
}

#[test]
fn the_oldest_go_when_there_are_too_many_bytes() {
    let directory = TempDir::new().unwrap();
    let config = DirectoryConfig { segment_bytes: 40_000, max_bytes: 160_000, ..config(directory.path()) };
    let foreign = directory.path().join("mine.procession");
    fs::write(&foreign, vec![0; 200_000]).unwrap();
    let mut recorder = Recorder::new(config, recording(clock(0)));
    recorder.begin();
    let mut machine = Machine::new(2, 60);
    let mut newest = Vec::new();
    for _ in 0..60 {
        record(&mut recorder, &mut machine, 500);
        let own = bytes(directory.path()) - 200_000;
        assert_eq!(recorder.directory.bytes(), own);
        assert!(own <= 165_000, "{own} bytes");
        newest.push(files(directory.path()).iter().rev().nth(1).unwrap().clone());
    }
    newest.dedup();
    assert!(newest.len() > 10, "only {} files", newest.len());
    assert!(recorder.directory.files() >= 3, "{} files", recorder.directory.files());
    assert!(foreign.exists(), "it is not ours");
    recorder.flush();
    let latest = Journal::open(directory.path()).unwrap().latest().unwrap();
    assert_eq!(state_hash(&latest.table), state_hash(&recorder.table));
}

#[test]
fn a_file_goes_when_nobody_wrote_to_it_for_too_long() {
    let directory = TempDir::new().unwrap();
    let max_age = Some(Duration::from_hours(1));
    let mut recorder =
        Recorder::new(DirectoryConfig { max_age, ..config(directory.path()) }, recording(clock(0)));
    for _ in 0..4 {
        recorder.begin();
    }
    let files = files(directory.path());
    let age = |path: &Path, hours| {
        let time = SystemTime::now() - Duration::from_hours(hours);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    age(&files[0], 3);
    age(&files[1], 2);
    let (config, recording) =
        (DirectoryConfig { max_age, ..config(directory.path()) }, recorder.recording.clone());
    drop(recorder);
    let mut recorder = Recorder::new(config.clone(), recording.clone());
    recorder.begin();
    assert_eq!(files.iter().map(|file| file.exists()).collect::<Vec<_>>(), [false, false, true, true]);
    // Even if all are old: the newest one stays.
    drop(recorder);
    let left = self::files(directory.path());
    for file in &left {
        age(file, 2);
    }
    let mut recorder = Recorder::new(config, recording);
    recorder.begin();
    let exist: Vec<_> = left.iter().map(|file| file.exists()).collect();
    assert_eq!(exist, [false, false, true]);
}

/// To whoever looks at the wall clock, all files are as old when it is set forward.
#[test]
fn no_file_is_old_because_a_clock_was_set() {
    let directory = TempDir::new().unwrap();
    let max_age = Some(Duration::from_hours(1));
    let config = DirectoryConfig { max_age, ..config(directory.path()) };
    Recorder::new(config.clone(), recording(clock(0))).begin();
    let mut recorder = Recorder::new(config, recording(clock(0)));
    recorder.begin();
    recorder.begin();
    let files = files(directory.path());
    for file in &files {
        let time = SystemTime::now() - Duration::from_hours(24 * 365);
        File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
    recorder.begin();
    assert!(files.iter().all(|file| file.exists()), "those of this process, and of the one before");
}

/// Pushes events into blocks until a block is refused; returns why.
fn record_until_refused(recorder: &mut Recorder, machine: &mut Machine) -> io::Error {
    loop {
        recorder.push_all(&machine.events(10));
        let bookmark = recorder.builder.sequence().to_le_bytes();
        let block = recorder.builder.take(&recorder.recording, &bookmark);
        if let Err(error) = recorder.directory.append(&block) {
            return error;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whoever takes the file away, alone or with its directory, is noticed, and the next file is begun as if
/// nothing was there.
#[test]
fn a_file_that_somebody_takes_away_is_missed() {
    let above = TempDir::new().unwrap();
    let (path, moved) = (above.path().join("journal"), above.path().join("moved"));
    let take_away: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&files(&path)[0]).unwrap(), &|| fs::remove_dir_all(&path).unwrap(), &|| {
            fs::rename(&path, &moved).unwrap();
        }];
    let mut machine = Machine::new(1, 60);
    let mut recorder = Recorder::new(config(&path), recording(clock(0)));
    for take_away in take_away {
        recorder.begin();
        record(&mut recorder, &mut machine, 20);
        take_away();
        let error = record_until_refused(&mut recorder, &mut machine);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("somebody has removed or replaced the journal file"), "{error}");
        assert!(recorder.directory.is_full(), "another is to be begun");
        assert!(recorder.directory.sync_if_due().is_err(), "also who is at rest says so");
        recorder.begin();
        recorder.push_all(&machine.events(10));
        recorder.flush();
        assert_eq!((recorder.directory.files(), files(&path).len()), (1, 1));
        assert_eq!(recorder.directory.bytes(), bytes(&path));
        let latest = Journal::open(&path).unwrap().latest().unwrap();
        assert_eq!(state_hash(&latest.table), state_hash(&recorder.table));
        // The lock is as new as the directory.
        assert_eq!(Directory::open(config(&path)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    let number: u64 = names(&path)[0][..10].parse().unwrap();
    assert!(number >= 6, "numbers go on: {number}");
}

/// What goes with the newest file is told too.
#[test]
fn a_whole_journal_that_somebody_takes_away_is_told_of() {
    let above = TempDir::new().unwrap();
    let path = above.path().join("journal");
    let mut machine = Machine::new(1, 60);
    let mut recorder = Recorder::new(config(&path), recording(clock(0)));
    for _ in 0..3 {
        recorder.begin();
        record(&mut recorder, &mut machine, 20);
    }
    let (all, newest) = (files(&path), files(&path).pop().unwrap());
    let older = bytes(&path) - newest.metadata().unwrap().len();
    fs::remove_dir_all(&path).unwrap();
    let error = record_until_refused(&mut recorder, &mut machine).to_string();
    let told = format!("are gone, and so are {} older files of {older} bytes", all.len() - 1);
    assert!(error.ends_with(&told), "{error}");
}

/// What somebody put in the place of the directory is looked at as what was there at the start.
#[test]
fn what_takes_its_place_must_be_as_good() {
    fn closed(path: &Path) -> io::Result<()> {
        let is_open = path.metadata().is_ok_and(|it| it.permissions().mode() & 0o077 != 0);
        if is_open { Err(io::Error::other("others can write there")) } else { Ok(()) }
    }
    let above = TempDir::new().unwrap();
    let path = above.path().join("journal");
    let open_to_all = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    let limits = DirectoryConfig { prepare: closed, ..config(&path) };
    open_to_all(&path);
    assert!(Directory::open(limits.clone()).unwrap_err().to_string().contains("others can write there"));
    fs::remove_dir_all(&path).unwrap();

    let (mut recorder, mut machine) = (Recorder::new(limits, recording(clock(0))), Machine::new(1, 60));
    recorder.begin();
    record(&mut recorder, &mut machine, 20);
    fs::rename(&path, above.path().join("moved")).unwrap();
    open_to_all(&path);
    record_until_refused(&mut recorder, &mut machine);
    let error = recorder.try_begin().unwrap_err();
    assert!(error.to_string().contains("others can write there"), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nothing was written there, nor a lock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    recorder.try_begin().unwrap();
    assert_eq!(files(&path).len(), 1);
}

#[test]
fn a_file_has_room_for_as_much_again_as_its_checkpoint() {
    let directory = TempDir::new().unwrap();
    let mut recorder = Recorder::new(config(directory.path()), recording(clock(0)));
    recorder.begin();
    record(&mut recorder, &mut Machine::new(2, 20_000), 20_000);
    recorder.flush();
    let Recorder { recording, table, builder, directory: first } = recorder;
    drop(first);
    let small = DirectoryConfig { segment_bytes: 1, ..config(directory.path()) };
    let mut recorder = Recorder { directory: Directory::open(small).unwrap(), recording, table, builder };
    recorder.begin();
    let begun = files(directory.path()).pop().unwrap().metadata().unwrap().len();
    assert!(begun > 10_000, "{begun} bytes");
    let mut machine = Machine::new(3, 20_000);
    while !recorder.directory.is_full() {
        record(&mut recorder, &mut machine, 1);
        recorder.flush();
    }
    let full = files(directory.path()).pop().unwrap().metadata().unwrap().len();
    assert!(full >= 2 * begun, "{full} bytes, of which the checkpoint has {begun}");
}

/// A process whose arguments do not compress.
fn noise(random: &mut Random, number: u32) -> Event<'static> {
    let bytes: Vec<u8> = (0..100).flat_map(|_| random.next().to_le_bytes()).collect();
    let time = BootTime::from_nanos(1_000 + u64::from(number));
    let process = Subject::exact(ProcessKey::new(Pid(number), time), time);
    let arguments = Arguments::complete(Vec::leak(bytes));
    let program = Program { binary: b"/bin/noise", arguments, ..Program::default() };
    Event { time, kind: EventKind::Running(Running { process, program, ..Running::default() }) }
}

#[test]
fn a_checkpoint_that_is_large_for_its_journal_does_not_stop_it() {
    let directory = TempDir::new().unwrap();
    let max_bytes = 400_000;
    let limits = DirectoryConfig { segment_bytes: 100_000, max_bytes, ..config(directory.path()) };
    let mut recorder = Recorder::new(limits, recording(clock(0)));
    recorder.begin();
    let mut random = Random(6);
    let mut most = 0;
    for number in 2..700 {
        recorder.push(&noise(&mut random, number));
        recorder.flush();
        // As of a program that is slow to begin another.
        if recorder.directory.is_full() && number % 20 == 0 {
            recorder.begin();
        }
        most = most.max(recorder.directory.bytes());
    }
    let newest = files(directory.path()).pop().unwrap().metadata().unwrap().len();
    assert!(newest > max_bytes / 2, "{newest} bytes: the checkpoint is not large");
    assert!(most < 5 * max_bytes, "{most} bytes");
    assert_eq!(recorder.directory.bytes(), bytes(directory.path()));
    let latest = Journal::open(directory.path()).unwrap().latest().unwrap();
    assert_eq!(state_hash(&latest.table), state_hash(&recorder.table));
}

#[test]
fn who_does_not_begin_another_file_has_all_the_room_and_no_more() {
    let directory = TempDir::new().unwrap();
    let limits = DirectoryConfig { segment_bytes: 20_000, max_bytes: 100_000, ..config(directory.path()) };
    let mut recorder = Recorder::new(limits, recording(clock(0)));
    let mut random = Random(7);
    for number in 2..6 {
        recorder.begin();
        recorder.push(&noise(&mut random, number));
    }
    recorder.flush();
    assert_eq!(files(directory.path()).len(), 4);
    let error = (6..400).find_map(|number| {
        recorder.push(&noise(&mut random, number));
        let block = recorder.builder.take(&recorder.recording, b"");
        recorder.directory.append(&block).err()
    });
    assert_eq!(error.unwrap().kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!(files(directory.path()).len(), 1, "old files go first");
    assert!((100_000..102_000).contains(&recorder.directory.bytes()), "{}", recorder.directory.bytes());
    let sequence = recorder.builder.sequence();
    recorder.directory.begin(&recorder.recording, &recorder.table.checkpoint(), sequence, b"").unwrap();
    recorder.push(&noise(&mut random, 400));
    recorder.flush();
}

#[test]
fn a_file_that_cannot_be_removed_stays_and_the_others_go() {
    let directory = TempDir::new().unwrap();
    // Even root cannot remove a directory as if it were a file.
    let stuck = directory.path().join("0000000001-20330518T033320Z.procession");
    fs::create_dir(&stuck).unwrap();
    let limits = DirectoryConfig { max_bytes: 1, ..config(directory.path()) };
    let mut recorder = Recorder::new(limits, recording(clock(0)));
    for _ in 0..4 {
        recorder.begin();
    }
    assert!(stuck.exists());
    assert_eq!(recorder.directory.files(), 3, "it, the newest, and the one before");
}

#[test]
fn what_is_written_is_read_while_it_is_written() {
    let directory = TempDir::new().unwrap();
    let mut recorder = Recorder::new(
        DirectoryConfig { fsync: Fsync::Always, ..config(directory.path()) },
        recording(clock(0)),
    );
    recorder.begin();
    let mut machine = Machine::new(4, 60);
    let journal = Journal::open(directory.path()).unwrap();
    let mut events = Vec::new();
    for _ in 0..20 {
        let more = machine.events(20);
        recorder.push_all(&more);
        recorder.flush();
        recorder.directory.sync_if_due().unwrap();
        events.extend(more);
        let whole = state_hash(&fold(recorder.recording.table, &events));
        for journal in [&journal, &Journal::open(directory.path()).unwrap()] {
            let latest = journal.latest().unwrap();
            assert_eq!((state_hash(&latest.table), latest.is_closed), (whole, false));
            assert_eq!(latest.damage, []);
        }
    }
}

#[test]
fn nothing_is_appended_to_no_file() {
    let directory = TempDir::new().unwrap();
    let mut journal = Directory::open(config(directory.path())).unwrap();
    let head = RawBlock::head(&recording(clock(0)));
    assert_eq!(journal.append(&head).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    journal.sync_if_due().unwrap();
    assert!(matches!(Journal::open(directory.path()), Err(JournalError::Nothing { .. })));
}

#[test]
fn a_full_disk_costs_nothing_that_was_written() {
    let Some(disk) = SmallDisk::mount(256 << 10) else { return };
    let path = disk.path().join("journal");
    let filler = disk.path().join("filler");
    let mut recorder = Recorder::new(config(&path), recording(clock(0)));
    recorder.begin();
    let mut machine = Machine::new(5, 60);
    record(&mut recorder, &mut machine, 500);
    recorder.flush();
    // All that is left, but for less than a block takes.
    fs::write(&filler, vec![1; 1 << 20]).unwrap_err();

    let events = machine.events(4_000);
    recorder.push_all(&events);
    let block = recorder.builder.take(&recorder.recording, b"");
    let mut before = None;
    for _ in 0..3 {
        let error = recorder.directory.append(&block).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        let sequence = recorder.builder.sequence();
        let checkpoint = recorder.table.checkpoint();
        recorder.directory.begin(&recorder.recording, &checkpoint, sequence, b"").unwrap_err();
        assert_eq!(recorder.directory.bytes(), bytes(&path));
        let latest = Journal::open(&path).unwrap().latest().unwrap();
        assert_eq!(latest.damage, []);
        let state = (latest.sequence, state_hash(&latest.table));
        assert_eq!(*before.get_or_insert(state), state);
        assert_eq!(state.0, 500);
    }
    fs::remove_file(&filler).unwrap();
    recorder.directory.append(&block).unwrap();
    recorder.begin();
    let latest = Journal::open(&path).unwrap().latest().unwrap();
    assert_eq!(state_hash(&latest.table), state_hash(&recorder.table));
    assert_eq!(names(&path).len(), 3, "two files and the lock: {:?}", names(&path));
}
