//! On the real kernel: programs that outlive the process that loaded them.
//!
//! Needs root and eBPF. Without them the tests are reported as ignored and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set they fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "support/trials.rs"]
mod trials;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use libtest_mimic::Arguments;
use procession::{BootTime, Event, EventKind, Pid};
use procession_sensor::{EbpfConfig, EbpfError, EbpfSource, Resumed, Source, SourceError, detach_all};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use trials::{Test, gate, trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, command, pins, journal] = &arguments[..]
        && command == "read-until-killed"
    {
        read_until_killed(Path::new(pins), Path::new(journal));
    }
    let mut arguments = Arguments::from_args();
    // They observe the whole machine, and would see one another.
    arguments.test_threads = Some(1);
    let unable = EbpfSource::open(Pins::new().config()).err().map(|error| error.to_string());
    let trials = gate("all tests of pins", unable.as_deref(), TESTS.iter().map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}

const TESTS: [Test; 24] = [
    ("what_happens_between_two_readers_is_told_once", what_happens_between_two_readers_is_told_once),
    ("a_reader_may_be_killed_at_any_moment", a_reader_may_be_killed_at_any_moment),
    ("what_was_lost_while_nobody_read_is_told_first", what_was_lost_while_nobody_read_is_told_first),
    ("what_was_not_released_is_told_again", what_was_not_released_is_told_again),
    ("who_keeps_too_much_loses_no_event", who_keeps_too_much_loses_no_event),
    ("a_second_reader_is_refused", a_second_reader_is_refused),
    ("programs_of_another_build_are_replaced", programs_of_another_build_are_replaced),
    ("two_builds_at_work_tell_each_event_once", two_builds_at_work_tell_each_event_once),
    ("of_two_builds_at_work_one_is_left", of_two_builds_at_work_one_is_left),
    ("who_lacks_descriptors_leaves_what_is_at_work", who_lacks_descriptors_leaves_what_is_at_work),
    ("who_may_do_little_counts_skips_of_all_programs", who_may_do_little_counts_skips_of_all_programs),
    ("who_cannot_count_skips_says_so", who_cannot_count_skips_says_so),
    ("what_is_incomplete_is_begun_again", what_is_incomplete_is_begun_again),
    ("what_is_detached_is_gone", what_is_detached_is_gone),
    ("bookmarks_of_others_are_of_no_use", bookmarks_of_others_are_of_no_use),
    ("a_walk_after_a_takeover_tells_what_runs", a_walk_after_a_takeover_tells_what_runs),
    ("a_survey_tells_of_all_that_runs", a_survey_tells_of_all_that_runs),
    ("who_is_found_has_the_first_of_its_arguments", who_is_found_has_the_first_of_its_arguments),
    ("long_arguments_outlive_their_reader", long_arguments_outlive_their_reader),
    ("long_arguments_leave_room_for_events", long_arguments_leave_room_for_events),
    ("only_pins_of_its_own_are_fresh", only_pins_of_its_own_are_fresh),
    ("fresh_pins_are_removed_under_their_lock", fresh_pins_are_removed_under_their_lock),
    ("frozen_maps_are_not_in_the_way_of_another_build", frozen_maps_are_not_in_the_way_of_another_build),
    ("an_orderly_end_leaves_the_programs_at_work", an_orderly_end_leaves_the_programs_at_work),
];

/// A directory of pins, which is gone when this is.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/sys/fs/bpf/procession-test-{}-{number}", std::process::id())))
    }

    fn config(&self) -> EbpfConfig {
        EbpfConfig { pin: Some(self.0.clone()), ..EbpfConfig::default() }
    }

    fn open(&self) -> Reader {
        Reader::open(self.config())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn programs(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.starts_with("programs-")).collect()
    }

    /// The links of the programs, by name.
    fn links(&self) -> Vec<(String, FdLink)> {
        let programs = self.build();
        let names = fs::read_dir(&programs).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with("-program"));
        let open = |name: String| {
            let link = PinnedLink::from_pin(programs.join(&name)).unwrap();
            (name, FdLink::from(link))
        };
        names.map(open).collect()
    }

    /// What the only build has pinned.
    fn build(&self) -> PathBuf {
        self.0.join(&self.programs()[0])
    }

    /// What is pinned seems to be of a build that is not this one.
    fn make_of_another_build(&self) {
        let programs = self.programs();
        fs::rename(self.0.join(&programs[0]), self.0.join("programs-00000000deadbeef")).unwrap();
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = detach_all(&self.0);
    }
}

/// A process that sleeps until this is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(seconds: u32) -> Self {
        let mut sleep = Command::new("sleep");
        let sleeper = Self(sleep.arg(seconds.to_string()).stdout(Stdio::null()).spawn().unwrap());
        // A parent may go on some time before the exec of its child is done.
        let stat = format!("/proc/{}/stat", sleeper.id());
        while !fs::read_to_string(&stat).unwrap().contains("(sleep) S ") {
            thread::sleep(Duration::from_millis(1));
        }
        sleeper
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A source, and what it told of the programs that these tests run.
struct Reader {
    source: EbpfSource,
    told: Vec<String>,
    /// Forks, execs, exits and changes.
    received: u64,
}

impl Reader {
    fn open(config: EbpfConfig) -> Self {
        Self { source: EbpfSource::open(config).unwrap(), told: Vec::new(), received: 0 }
    }

    /// The first of all readers.
    fn begin(mut self) -> Self {
        self.source.walk(&mut |_| {}).unwrap();
        self
    }

    fn resume(mut self, bookmark: &[u8]) -> Self {
        assert_eq!(self.source.resume(bookmark).unwrap(), Resumed::Continued);
        self
    }

    /// Reads until nothing comes any more.
    fn read(&mut self) {
        while self.poll() {}
    }

    fn poll(&mut self) -> bool {
        let mut any = false;
        let (told, received) = (&mut self.told, &mut self.received);
        let sink = &mut |event: &Event<'_>| {
            any = true;
            *received += u64::from(!matches!(event.kind, EventKind::Lost(_)));
            told.extend(line(event));
        };
        self.source.poll(Duration::from_millis(50), sink).unwrap();
        any
    }
}

/// What these tests want to know of an event: the second argument of an exec of `true`, or a loss.
fn line(event: &Event<'_>) -> Option<String> {
    match &event.kind {
        EventKind::Exec(exec) if exec.program.binary.ends_with(b"/true") => {
            let mark = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1)?;
            mark.starts_with(b"mark-").then(|| String::from_utf8_lossy(mark).into_owned())
        }
        EventKind::Lost(count) => Some(format!("lost {count}")),
        _ => None,
    }
}

fn run_marks(numbers: std::ops::Range<u32>) -> Vec<String> {
    let marks: Vec<_> = numbers.map(|number| format!("mark-{number}")).collect();
    for mark in &marks {
        assert!(Command::new("true").arg(mark).status().unwrap().success());
    }
    marks
}

fn what_happens_between_two_readers_is_told_once() {
    let pins = Pins::new();
    let mut first = pins.open().begin();
    first.source.keep();
    let mut marks = run_marks(0..20);
    first.read();
    let bookmark = first.source.bookmark();
    let mut told = first.told.clone();
    drop(first);
    marks.extend(run_marks(20..40));
    for round in 0..3 {
        let mut next = pins.open().resume(&bookmark_of(&told, &bookmark));
        next.source.keep();
        marks.extend(run_marks(40 + 20 * round..60 + 20 * round));
        next.read();
        if round < 2 {
            // It dies before what it read is safe: the next one reads it again.
            assert_eq!(next.told[..], marks[20..]);
        } else {
            told.extend(next.told.clone());
        }
    }
    assert_eq!(told, marks);
    assert_eq!(pins.programs().len(), 1, "{:?}", pins.names());
}

/// The bookmark stays as long as nothing more was told.
fn bookmark_of(told: &[String], bookmark: &[u8]) -> Vec<u8> {
    assert_eq!(told.len(), 20);
    bookmark.to_vec()
}

/// What an agent does: what was told goes to a file together with how far that is, then it is released.
fn read_until_killed(pins: &Path, journal: &Path) -> ! {
    let config = EbpfConfig { pin: Some(pins.to_owned()), ..EbpfConfig::default() };
    let mut reader = Reader::open(config);
    let (_, bookmark) = read_journal(journal);
    if reader.source.resume(&bookmark).unwrap() == Resumed::Afresh {
        reader = reader.begin();
    }
    reader.source.keep();
    let mut file = OpenOptions::new().append(true).create(true).open(journal).unwrap();
    loop {
        reader.poll();
        let bookmark = reader.source.bookmark();
        let mut block: String = reader.told.drain(..).map(|line| line + "\n").collect();
        block.push_str("bookmark ");
        for byte in &bookmark {
            write!(block, "{byte:02x}").unwrap();
        }
        block.push('\n');
        file.write_all(block.as_bytes()).unwrap();
        reader.source.release(&bookmark);
    }
}

/// What is told in complete blocks, and the last bookmark.
fn read_journal(journal: &Path) -> (Vec<String>, Vec<u8>) {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let (mut told, mut block, mut bookmark) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match line.strip_prefix("bookmark ") {
            None => block.push(line.to_owned()),
            Some(hex) => {
                told.append(&mut block);
                let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                bookmark = (0..hex.len()).step_by(2).map(byte).collect();
            }
        }
    }
    // What comes after the last bookmark is not part of the journal.
    if !block.is_empty() {
        let keep: usize = text.rfind("bookmark ").map_or(0, |at| at + text[at..].find('\n').unwrap() + 1);
        OpenOptions::new().write(true).open(journal).unwrap().set_len(keep as u64).unwrap();
    }
    (told, bookmark)
}

fn a_reader_may_be_killed_at_any_moment() {
    let pins = Pins::new();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let (has_begun, is_enough) = (AtomicBool::new(false), AtomicBool::new(false));
    let marks = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            // The first one has to be there before anything can be missed.
            let begin = std::time::Instant::now();
            while read_journal(&journal).1.is_empty() {
                assert!(begin.elapsed() < Duration::from_mins(1), "no reader comes so far");
                thread::sleep(Duration::from_millis(10));
            }
            has_begun.store(true, Ordering::Relaxed);
            let mut marks = Vec::new();
            while !is_enough.load(Ordering::Relaxed) || marks.len() < 100 {
                let next = u32::try_from(marks.len()).unwrap();
                marks.extend(run_marks(next..next + 20));
            }
            marks
        });
        let mut random = u64::from(std::process::id());
        for _ in 0..8 {
            let mut reader = Command::new(env::current_exe().unwrap());
            reader.arg("read-until-killed").arg(&pins.0).arg(&journal).stdin(Stdio::null());
            let mut reader = reader.spawn().unwrap();
            // Those after the first are killed in the midst of the marks.
            while !has_begun.load(Ordering::Relaxed) && !storm.is_finished() {
                thread::sleep(Duration::from_millis(10));
            }
            // Also before it is ready.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            thread::sleep(Duration::from_millis(200 + (random >> 33) % 2_500));
            reader.kill().unwrap();
            reader.wait().unwrap();
        }
        is_enough.store(true, Ordering::Relaxed);
        // One that lives, in case none before did long enough.
        let mut last = Command::new(env::current_exe().unwrap());
        last.arg("read-until-killed").arg(&pins.0).arg(&journal).stdin(Stdio::null());
        let mut last = last.spawn().unwrap();
        let marks = storm.join().unwrap();
        last.kill().unwrap();
        last.wait().unwrap();
        marks
    });
    let (mut told, bookmark) = read_journal(&journal);
    let mut last = pins.open().resume(&bookmark);
    last.read();
    told.append(&mut last.told);
    assert_eq!(told, marks);
}

fn what_was_lost_while_nobody_read_is_told_first() {
    let pins = Pins::new();
    let config = EbpfConfig { ring_bytes: 64 << 10, ..pins.config() };
    let mut before = Reader::open(config.clone()).begin();
    before.source.keep();
    run_marks(0..3);
    before.read();
    assert_eq!(before.told.len(), 3);
    let bookmark = before.source.bookmark();
    let received = before.received;
    drop(before);

    run_marks(100..300);
    let mut after = Reader::open(config.clone()).resume(&bookmark);
    after.received = received;
    after.poll();
    let told = &after.told;
    let lost: u64 = told[0].strip_prefix("lost ").unwrap().parse().unwrap();
    assert!(lost > 200, "{lost}");
    let marks = told.iter().filter(|line| line.starts_with("mark-"));
    assert!(marks.clone().is_sorted() && marks.count() < 200, "{told:?}");
    // What others do at the same moment may not have been read yet.
    let balances = (0..1_000).any(|_| {
        let counts = after.source.kernel_counts().unwrap();
        let kinds = [counts.fork, counts.exec, counts.exit, counts.change];
        let (attempted, lost) = kinds.iter().fold((0, 0), |sum, it| (sum.0 + it.attempted, sum.1 + it.lost));
        let told = after.told.iter().filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok());
        let is_balanced = attempted == after.received + lost && told.sum::<u64>() == lost;
        after.poll();
        is_balanced
    });
    assert!(balances, "{:?} and {} received", after.source.kernel_counts(), after.received);
    // Each is told of once: who comes after tells of what was lost since, if anything was.
    let lost = |told: &[String]| -> u64 {
        told.iter().filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok()).sum()
    };
    let bookmark = after.source.bookmark();
    let before = lost(&after.told);
    drop(after);
    let mut third = Reader::open(config).resume(&bookmark);
    let is_told = (0..1_000).any(|_| {
        third.poll();
        let counts = third.source.kernel_counts().unwrap();
        let in_all: u64 =
            [counts.fork, counts.exec, counts.exit, counts.change].iter().map(|count| count.lost).sum();
        before + lost(&third.told) == in_all
    });
    assert!(is_told, "{before} and {:?} of {:?}", third.told, third.source.kernel_counts());
}

fn what_was_not_released_is_told_again() {
    let pins = Pins::new();
    let mut reader = pins.open().begin();
    reader.source.keep();
    let start = reader.source.bookmark();
    let marks = run_marks(0..4);
    reader.read();
    let middle = reader.source.bookmark();
    drop(reader);
    let mut reader = pins.open().resume(&start);
    reader.source.keep();
    reader.read();
    assert_eq!(reader.told, marks);
    reader.source.release(&middle);
    drop(reader);
    // The ring has lost what the older bookmark needs.
    let mut reader = pins.open();
    assert_eq!(reader.source.resume(&start).unwrap(), Resumed::Afresh);
    reader.read();
    // Each mark was forked, ran and ended; others may have done something too.
    let [lost] = &*reader.told else { panic!("{:?}", reader.told) };
    let lost: usize = lost.strip_prefix("lost ").unwrap().parse().unwrap();
    assert!(lost >= 3 * marks.len(), "{lost}");
}

fn who_keeps_too_much_loses_no_event() {
    let pins = Pins::new();
    let mut reader = Reader::open(EbpfConfig { ring_bytes: 256 << 10, ..pins.config() }).begin();
    reader.source.keep();
    let mut marks = Vec::new();
    // Several times what the ring holds.
    for round in 0..40 {
        marks.extend(run_marks(20 * round..20 * round + 20));
        reader.read();
    }
    assert_eq!(reader.told, marks);
    let bookmark = reader.source.bookmark();
    drop(reader);
    marks = run_marks(1_000..1_010);
    let mut reader = pins.open().resume(&bookmark);
    reader.read();
    assert_eq!(reader.told, marks);
}

fn a_second_reader_is_refused() {
    let pins = Pins::new();
    let mut first = pins.open().begin();
    let refusal = |result: Result<(), SourceError>| match result {
        Err(SourceError::Ebpf(error @ EbpfError::InUse { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let second = refusal(EbpfSource::open(pins.config()).map(|_| ()));
    assert!(second.starts_with("another process reads what is pinned in /sys/fs/bpf/"), "{second}");
    refusal(detach_all(&pins.0).map(|_| ()));
    // It is not passed over for a worse source.
    refusal(procession_sensor::open_best(pins.config()).map(|_| ()));
    let marks = run_marks(0..3);
    first.read();
    assert_eq!(first.told, marks, "the first one misses nothing");
    drop(first);
    pins.open();
}

/// Whoever does not start after all removes what it has made, and never what another left, however late that
/// came: the directory is looked at under its lock.
fn only_pins_of_its_own_are_fresh() {
    let pins = Pins::new();
    assert_eq!(fresh(&EbpfSource::open(EbpfConfig::default()).unwrap()), None);
    fs::create_dir(&pins.0).unwrap();
    let first = pins.open();
    assert_eq!(fresh(&first.source).as_ref(), Some(&pins.0), "the directory was empty");
    drop(first);
    // Another agent has come and gone between a look at the directory and this.
    assert_eq!(fresh(&pins.open().source), None);
    pins.make_of_another_build();
    assert_eq!(fresh(&pins.open().source), None, "an upgrade goes on with the ring");
    // Maps without programs know nothing of the time since.
    fs::remove_dir_all(pins.0.join(&pins.programs()[0])).unwrap();
    assert_eq!(fresh(&pins.open().source).as_ref(), Some(&pins.0));
}

fn fresh(source: &EbpfSource) -> Option<PathBuf> {
    source.fresh_pins().map(|pins| pins.path().to_owned())
}

/// Between the end of a source and the removal of what it has made nobody else comes, whose pins those would be.
fn fresh_pins_are_removed_under_their_lock() {
    let pins = Pins::new();
    let first = pins.open().begin();
    let fresh = first.source.fresh_pins().unwrap();
    drop(first);
    let second = EbpfSource::open(pins.config());
    assert!(matches!(second, Err(SourceError::Ebpf(EbpfError::InUse { .. }))), "it would take them over");
    fresh.remove().unwrap();
    assert!(!pins.0.exists());
    let second = pins.open();
    drop(second.source.fresh_pins());
    drop(second);
    assert_eq!(fresh_after(&pins), None, "whoever starts leaves them, and their lock");
}

fn fresh_after(pins: &Pins) -> Option<PathBuf> {
    fresh(&pins.open().source)
}

/// Nobody can write the map in `pin` any more.
fn freeze(pin: &Path) {
    const FREEZE: libc::c_int = 22;
    let map = MapData::from_pin(pin).unwrap();
    let descriptor = map.fd().as_fd().as_raw_fd();
    // SAFETY: all that the kernel reads is the descriptor, of which it is told the size.
    let frozen =
        unsafe { libc::syscall(libc::SYS_bpf, FREEZE, &raw const descriptor, size_of_val(&descriptor)) };
    assert_eq!(frozen, 0, "{}", std::io::Error::last_os_error());
}

/// Only the programs have to write them.
fn frozen_maps_are_not_in_the_way_of_another_build() {
    let pins = Pins::new();
    let bookmark = pins.open().begin().source.bookmark();
    let maps = pins.names().into_iter().find(|name| name.starts_with("maps-")).unwrap();
    for map in ["stats", "claims"] {
        freeze(&pins.0.join(&maps).join(map));
    }
    pins.make_of_another_build();
    let mut marks = run_marks(0..3);
    let mut other = pins.open().resume(&bookmark);
    marks.extend(run_marks(3..6));
    other.read();
    assert_eq!(other.told, marks);
}

fn programs_of_another_build_are_replaced() {
    let pins = Pins::new();
    let mut first = pins.open().begin();
    first.source.keep();
    let mut marks = run_marks(0..10);
    first.read();
    let bookmark = first.source.bookmark();
    let mut told = first.told.clone();
    drop(first);
    pins.make_of_another_build();

    // Processes start all the while.
    let storm = thread::spawn(|| run_marks(10..1_500));
    thread::sleep(Duration::from_millis(100));
    let mut next = pins.open().resume(&bookmark);
    assert_ne!(pins.programs(), ["programs-00000000deadbeef"]);
    assert_eq!(pins.programs().len(), 1);
    while !storm.is_finished() {
        next.poll();
    }
    marks.extend(storm.join().unwrap());
    next.read();
    told.extend(next.told);
    assert_eq!(told, marks);
}

/// As while one takes over from another, but for as long as the test wants.
fn two_builds_at_work_tell_each_event_once() {
    let pins = Pins::new();
    let first = pins.open().begin();
    // Whoever holds the links keeps their programs at work, though they are pinned no more.
    let _links = pins.links();
    let bookmark = first.source.bookmark();
    drop(first);
    pins.make_of_another_build();
    let mut both = pins.open().resume(&bookmark);
    let marks = run_marks(0..20);
    // Children that run nothing leave no state with a task.
    let children = |event: &Event<'_>, parent: u32| match &event.kind {
        EventKind::Fork(fork) if fork.parent.key.pid == Pid(parent) => Some(fork.child.key),
        _ => None,
    };
    let mut shell = Command::new("sh").args(["-c", "for i in $(seq 200); do (:) done; :"]).spawn().unwrap();
    assert!(shell.wait().unwrap().success());
    let (mut forked, mut ended) = (Vec::new(), Vec::new());
    let mut is_over = false;
    let end = Instant::now() + Duration::from_mins(1);
    while !is_over {
        assert!(Instant::now() < end, "the end of the shell is not told");
        let sink = &mut |event: &Event<'_>| {
            both.told.extend(line(event));
            forked.extend(children(event, shell.id()));
            if let EventKind::Exit(exit) = &event.kind {
                is_over |= exit.process.key.pid == Pid(shell.id());
                ended.push(exit.process.key);
            }
        };
        both.source.poll(Duration::from_millis(50), sink).unwrap();
    }
    assert_eq!(both.told, marks);
    // One more is what lists the numbers.
    assert_eq!(forked.len(), 201);
    ended.retain(|key| forked.iter().any(|child| child.pid == key.pid));
    assert_eq!(ended.len(), forked.len());
}

/// A process that is killed as it takes over leaves both.
fn of_two_builds_at_work_one_is_left() {
    let pins = Pins::new();
    let first = pins.open().begin();
    let links = pins.links();
    let bookmark = first.source.bookmark();
    drop(first);
    let own = pins.programs();
    pins.make_of_another_build();
    drop(pins.open());
    // The other build's links are pinned once more.
    let other = pins.0.join("programs-00000000deadbeef");
    fs::create_dir(&other).unwrap();
    for (name, link) in links {
        link.pin(other.join(name)).unwrap();
    }
    assert_eq!(pins.programs().len(), 2);
    let mut marks = run_marks(0..5);
    let mut next = pins.open().resume(&bookmark);
    assert_eq!(pins.programs(), own, "one's own are kept");
    marks.extend(run_marks(5..10));
    next.read();
    assert_eq!(next.told, marks);
}

/// A want that may pass: the next one goes on as if nobody had tried.
fn who_lacks_descriptors_leaves_what_is_at_work() {
    let pins = Pins::new();
    let bookmark = pins.open().begin().source.bookmark();
    let marks = run_marks(0..5);
    let usual = getrlimit(Resource::Nofile);
    let open_files = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut refused = 0;
    for more in 0.. {
        // Wherever it gets to.
        setrlimit(Resource::Nofile, Rlimit { current: Some(open_files + more), ..usual }).unwrap();
        let opened = EbpfSource::open(pins.config()).map(drop);
        setrlimit(Resource::Nofile, usual).unwrap();
        if opened.is_ok() {
            break;
        }
        refused += 1;
    }
    assert!(refused > 5, "{refused}");
    let mut next = pins.open().resume(&bookmark);
    next.read();
    assert_eq!(next.told, marks);
}

/// As under the service manager, and in a container: what the units and manifests grant, and nothing else of root's.
fn who_may_do_little_counts_skips_of_all_programs() {
    let pins = Pins::new();
    drop(pins.open());
    let attached: BTreeSet<u32> =
        pins.links().iter().map(|(_, link)| link.info().unwrap().program_id()).collect();
    assert!(attached.len() >= 3, "{attached:?}");
    let granted = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_PTRACE;
    thread::scope(|scope| {
        // Capabilities are a thread's own, and end with it.
        let taker = scope.spawn(|| {
            let inheritable = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: granted, permitted: granted, inheritable })
                .unwrap();
            let next = pins.open();
            assert_eq!(fresh(&next.source), None, "it takes over");
            let counted = programs_with_count();
            assert!(counted.is_superset(&attached), "{counted:?} of {attached:?}");
            assert!(!says_unknown(&next.source), "{:?}", next.source.unseen_changes());
        });
        taker.join().unwrap();
    });
}

/// The numbers of the programs that this process has open, and of which the kernel says how often it skipped them.
fn programs_with_count() -> BTreeSet<u32> {
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap();
    let infos = descriptors.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let number = |info: &str, name: &str| -> Option<u32> {
        info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    infos
        .filter(|it| number(it, "recursion_misses:").is_some())
        .filter_map(|it| number(&it, "prog_id:"))
        .collect()
}

/// Whether `source` says that nobody counts how often a program is skipped.
fn says_unknown(source: &EbpfSource) -> bool {
    let unseen = source.unseen_changes();
    unseen.is_some_and(|line| line.contains("how often the kernel skips the eBPF programs is not known"))
}

/// Somebody has removed a pin: 0 would be a lie.
fn who_cannot_count_skips_says_so() {
    let pins = Pins::new();
    assert!(!says_unknown(&pins.open().source));
    fs::remove_file(pins.build().join("on_fork-program")).unwrap();
    let mut next = pins.open();
    let unseen = next.source.unseen_changes().unwrap_or_default();
    assert!(says_unknown(&next.source) && unseen.contains("/on_fork-program: "), "{unseen}");
    let marks = run_marks(0..3);
    next.read();
    assert_eq!(next.told, marks, "it is at work all the same");
}

fn what_is_incomplete_is_begun_again() {
    let pins = Pins::new();
    let bookmark = {
        let reader = pins.open().begin();
        reader.source.bookmark()
    };
    let programs = pins.0.join(&pins.programs()[0]);
    fs::remove_file(programs.join("on_exit")).unwrap();
    fs::create_dir(pins.0.join("making")).unwrap();
    fs::create_dir(pins.0.join("maps-0")).unwrap();
    fs::create_dir(pins.0.join("programs-of-no-known-form")).unwrap();
    let mut reader = pins.open();
    assert_eq!(reader.source.resume(&bookmark).unwrap(), Resumed::Afresh);
    let mut reader = reader.begin();
    let marks = run_marks(0..5);
    reader.read();
    assert_eq!(reader.told, marks);
    assert_eq!(pins.names().len(), 2, "{:?}", pins.names());
}

fn what_is_detached_is_gone() {
    let pins = Pins::new();
    assert!(!detach_all(&pins.0).unwrap());
    let bookmark = pins.open().begin().source.bookmark();
    run_marks(0..3);
    assert!(detach_all(&pins.0).unwrap());
    assert!(!pins.0.exists());
    assert!(!detach_all(&pins.0).unwrap());
    run_marks(3..5);
    let mut reader = pins.open();
    assert_eq!(reader.source.resume(&bookmark).unwrap(), Resumed::Afresh);
    reader.read();
    assert!(reader.told.is_empty(), "{:?}", reader.told);
}

fn bookmarks_of_others_are_of_no_use() {
    let (pins, others) = (Pins::new(), Pins::new());
    let foreign = others.open().begin().source.bookmark();
    let own = pins.open().begin().source.bookmark();
    let mut ahead = own.clone();
    // The position, beyond what was ever written.
    ahead[22] = 1;
    for bookmark in [&b""[..], b"other bytes", &foreign, &ahead] {
        let mut reader = pins.open();
        reader.source.release(bookmark);
        assert_eq!(reader.source.resume(bookmark).unwrap(), Resumed::Afresh, "{bookmark:?}");
    }
    assert_eq!(pins.open().source.resume(&own).unwrap(), Resumed::Continued);
    let mut unpinned = Reader::open(EbpfConfig::default());
    assert!(unpinned.source.bookmark().is_empty());
    assert_eq!(unpinned.source.resume(&own).unwrap(), Resumed::Afresh);
}

fn a_walk_after_a_takeover_tells_what_runs() {
    let pins = Pins::new();
    drop(pins.open().begin());
    let before = clock();
    // Its exec is in the ring, and was seen: so a walk knows when it was.
    let sleeper = Sleeper::start(1000);
    let mut marks = run_marks(0..3);
    let mut reader = pins.open();
    let mut found = None;
    reader
        .source
        .walk(&mut |event| {
            let EventKind::Running(running) = &event.kind else { panic!("{event:?}") };
            if running.process.key.pid == Pid(sleeper.id()) {
                found = Some((running.process, running.program.binary.to_vec()));
            }
        })
        .unwrap();
    let (subject, binary) = found.unwrap();
    assert!(binary.ends_with(b"/sleep"));
    assert!(subject.key.start > subject.began && subject.began > before);
    marks.clear();
    marks.extend(run_marks(3..6));
    reader.read();
    assert_eq!(reader.told, marks, "what was before the walk is not told after it");
    let counts = reader.source.kernel_counts().unwrap();
    assert!(counts.exec.attempted >= 3 && counts.exec.lost == 0);
}

/// All that run may have megabytes each.
fn who_is_found_has_the_first_of_its_arguments() {
    let mut reads = Command::new("sh");
    reads.args(["-c", "read line", "sh", &"x".repeat(100_000)]).stdin(Stdio::piped());
    let mut reads = reads.spawn().unwrap();
    let whole = "sh\0-c\0read line\0sh\0\0".len() + 100_000;
    let cmdline = format!("/proc/{}/cmdline", reads.id());
    while fs::read(&cmdline).unwrap().len() < whole {
        thread::sleep(Duration::from_millis(1));
    }
    let mut found = None;
    let pins = Pins::new();
    pins.open()
        .source
        .walk(&mut |event| {
            let EventKind::Running(running) = &event.kind else { panic!("{event:?}") };
            if running.process.key.pid == Pid(reads.id()) {
                let arguments = running.program.arguments;
                found = Some((arguments.bytes.len(), arguments.total_len));
            }
        })
        .unwrap();
    drop(reads.stdin.take());
    reads.wait().unwrap();
    assert_eq!(found, Some((24 << 10, whole)));
}

fn a_survey_tells_of_all_that_runs() {
    let pins = Pins::new();
    let mut reader = pins.open().begin();
    let sleeper = Sleeper::start(1001);
    run_marks(0..1);
    let before = clock();
    let mut told = Vec::new();
    let began = reader.source.survey(&mut |event| {
        let EventKind::Running(running) = &event.kind else { panic!("{event:?}") };
        let arguments = running.program.arguments.bytes.to_vec();
        told.push((running.process, running.owner.key.pid, arguments));
    });
    assert!(began.unwrap().unwrap() < clock());
    assert!(!reader.source.has_told_survey(), "what has happened meanwhile is still in the ring");
    while !reader.source.has_told_survey() {
        reader.poll();
    }
    let of = |pid: u32| {
        let mut of_pid = told.iter().filter(|it| it.0.key.pid == Pid(pid));
        let one = of_pid.next().unwrap_or_else(|| panic!("{pid} is missing"));
        assert!(of_pid.next().is_none());
        one
    };
    let (subject, owner, arguments) = of(sleeper.id());
    assert_eq!((&arguments[..], *owner), (&b"sleep\x001001\0"[..], Pid(std::process::id())));
    assert!(subject.key.start > subject.began, "which image it runs is told");
    assert!(reader.source.still_runs(*subject));
    drop(sleeper);
    assert!(!reader.source.still_runs(*subject));
    // Everybody is there.
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Ok(pid) = name.parse::<u32>() else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Whoever sleeps is not about to end.
        let is_alive = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
        let has_begun = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19));
        let ticks = has_begun.and_then(|ticks| ticks.parse::<u64>().ok());
        if is_alive && ticks.is_some_and(|ticks| ticks < before.as_ticks()) {
            of(pid);
        }
    }
}

fn long_arguments_outlive_their_reader() {
    let pins = Pins::new();
    let mut reader = pins.open().begin();
    reader.source.keep();
    let start = reader.source.bookmark();
    let mark = format!("outlives-{}-", std::process::id());
    let long = mark.clone() + &"x".repeat(100_000);
    assert!(Command::new("true").arg(&long).status().unwrap().success());
    let read = |mut reader: Reader| {
        let mut lengths = Vec::new();
        let sink = &mut |event: &Event<'_>| {
            let EventKind::Exec(exec) = &event.kind else { return };
            let arguments = exec.program.arguments;
            let word = arguments.bytes.split(|byte| *byte == 0).nth(1);
            if word.is_some_and(|word| word.starts_with(mark.as_bytes())) {
                lengths.push((arguments.bytes.len(), arguments.total_len));
            }
        };
        reader.source.poll(Duration::ZERO, sink).unwrap();
        lengths
    };
    let whole = long.len() + "true".len() + 2;
    assert_eq!(read(reader), [(whole, whole)]);
    assert_eq!(read(pins.open().resume(&start)), [(whole, whole)]);
}

/// An exec with megabytes of arguments would fill the ring, and what others do would be lost.
fn long_arguments_leave_room_for_events() {
    let pins = Pins::new();
    let mut reader = Reader::open(EbpfConfig { ring_bytes: 2 << 20, ..pins.config() }).begin();
    let words = vec!["x".repeat(100_000); 10];
    let mut lengths = Vec::new();
    for _ in 0..2 {
        assert!(Command::new("true").args(&words).status().unwrap().success());
    }
    let marks = run_marks(0..2);
    let sink = &mut |event: &Event<'_>| {
        reader.told.extend(line(event));
        if let EventKind::Exec(exec) = &event.kind
            && exec.program.arguments.total_len > 1_000_000
        {
            lengths.push(exec.program.arguments.bytes.len());
        }
    };
    reader.source.poll(Duration::ZERO, sink).unwrap();
    assert_eq!(reader.told, marks);
    assert_eq!(lengths.len(), 2, "each exec is told, with the first part of its arguments: {lengths:?}");
    assert!((10_000..1_000_000).contains(&lengths[1]), "{lengths:?}");
    let counts = reader.source.kernel_counts().unwrap();
    assert!(counts.arguments.lost > 0 && counts.exec.lost == 0, "{counts:?}");
}

fn an_orderly_end_leaves_the_programs_at_work() {
    let pins = Pins::new();
    let mut first = pins.open().begin();
    first.source.keep();
    let mut marks = run_marks(0..5);
    let told = &mut first.told;
    first.source.finish(&mut |event| told.extend(line(event))).unwrap();
    assert_eq!(first.told, marks);
    let bookmark = first.source.bookmark();
    first.source.release(&bookmark);
    drop(first);
    marks = run_marks(5..10);
    let mut next = pins.open().resume(&bookmark);
    next.read();
    assert_eq!(next.told, marks);
}

fn clock() -> BootTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap();
    BootTime::from_nanos(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap())
}
