//! A real build, recorded from the kernel: at any time in it the journal has the state that a fold over the
//! whole log has.
//!
//! Needs root and a kernel with BTF. Without, it is skipped and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, it fails.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it says why it is skipped, and what it saw")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../procession-sensor/tests/support/required.rs"]
mod required;
mod support;

use std::collections::HashSet;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use procession::{BootTime, Pid, Table, TableConfig, WallClock};
use procession_journal::{Journal, Piece, Recording, Target, state_hash};
use procession_sensor::{EbpfConfig, Source, SourceKind, open};
use rustix::time::{ClockId, clock_gettime};
use support::{Random, Recorder, config, recording};
use tempfile::TempDir;

fn source() -> Option<Box<dyn Source>> {
    let opened = open(SourceKind::Ebpf, EbpfConfig::default());
    opened.map_err(|error| required::skip("what needs the eBPF sensor", error)).ok()
}

/// The closest of some readings: a journal takes what was read apart for a wall clock that was stepped.
fn clock() -> WallClock {
    let boot = || {
        let time = clock_gettime(ClockId::Boottime);
        BootTime::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    };
    let readings = (0..8).map(|_| {
        let (before, wall) = (boot(), SystemTime::now());
        (boot().since(before), WallClock::new(before, wall))
    });
    readings.min_by_key(|(took, _)| *took).unwrap().1
}

/// A build of some small programs, with a compiler where there is one, and with pipelines of small tools in
/// any case.
fn build(directory: &Path) -> Command {
    let mut makefile = String::from("all:");
    for number in 0..24 {
        write!(makefile, " {number}.o").unwrap();
        let text = format!("int f{number}(int a) {{ return a + {number}; }}\n");
        fs::write(directory.join(format!("{number}.c")), text).unwrap();
    }
    makefile.push_str("\n%.o: %.c\n\tsort $< | uniq | wc -l > $*.n; cc -O1 -c $< -o $@ || cp $< $@\n");
    fs::write(directory.join("Makefile"), makefile).unwrap();
    let shell = "make -j3 2>/dev/null || for i in *.c; do (sort $i | uniq | wc -l > $i.n); done";
    let mut command = Command::new("sh");
    command.args(["-c", shell]).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Records the build from its first process to its last: the pid of the first.
fn record(mut source: Box<dyn Source>, recorder: &mut Recorder) -> Pid {
    let mut random = Random(1);
    recorder.begin();
    source.walk(&mut |event| recorder.push(event)).unwrap();
    let place = TempDir::new().unwrap();
    let mut child = build(place.path()).spawn().unwrap();
    let pid = Pid(child.id());
    let mut has_ended = false;
    while !has_ended {
        has_ended = child.try_wait().unwrap().is_some();
        source.poll(Duration::from_millis(20), &mut |event| recorder.push(event)).unwrap();
        recorder.recording.clock = clock();
        match random.below(6) {
            0 => recorder.begin(),
            1 | 2 => recorder.flush(),
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success(), "the build");
    source.finish(&mut |event| recorder.push(event)).unwrap();
    recorder.flush();
    pid
}

/// All events, with the times at which they happened.
fn times(journal: &Journal) -> Vec<BootTime> {
    let mut times = Vec::new();
    let each = &mut |piece: Piece<'_>| {
        if let Piece::Event(event) = piece {
            times.push(event.time);
        }
        true
    };
    journal.read(None, each).unwrap();
    times
}

/// What a fold over the whole log has at `limit`, without any checkpoint.
fn oracle(journal: &Journal, config: TableConfig, limit: BootTime) -> Table {
    let mut table = Table::new(config);
    let each = &mut |piece: Piece<'_>| {
        if let Piece::Event(event) = piece
            && event.time <= limit
        {
            let _ = table.apply(event);
        }
        true
    };
    journal.read(None, each).unwrap();
    table
}

#[test]
fn the_state_at_any_time_of_a_real_build_is_that_of_the_whole_log() {
    let Some(source) = source() else { return };
    let directory = TempDir::new().unwrap();
    // Room for what else is running here.
    let recording = Recording { clock: clock(), table: TableConfig::default(), ..recording(clock()) };
    let mut recorder = Recorder::new(config(directory.path()), recording.clone());
    let pid = record(source, &mut recorder);

    let journal = Journal::open(directory.path()).unwrap();
    let latest = journal.latest().unwrap();
    assert_eq!(state_hash(&latest.table), state_hash(&recorder.table), "the table while it was recorded");
    let times = times(&journal);
    assert_eq!(times.len() as u64, recorder.builder.sequence());
    assert!(times.len() > 200, "{} events", times.len());
    assert!(recorder.directory.files() > 1);

    let mut random = Random(2);
    for _ in 0..12 {
        let time = recording.clock.at(times[random.below(times.len())]);
        let Ok(restored) = journal.at(time) else { panic!("{time:?} is not in {:?}", journal.span()) };
        // The clocks of the blocks differ by some nanoseconds.
        let limit = restored.table.now();
        let oracle = oracle(&journal, recording.table, limit);
        assert_eq!(state_hash(&restored.table), state_hash(&oracle), "at {limit}");
        assert_eq!(restored.damage, []);
    }
    check_descendants(&journal, pid);
    let bytes = recorder.directory.bytes();
    println!("{} events in {bytes} bytes, of which checkpoints are most", times.len());
}

/// The build is over and forgotten, but all of it descended from its first process.
fn check_descendants(journal: &Journal, pid: Pid) {
    let found = journal.descendants_ever(Target::Pid(pid), usize::MAX).unwrap();
    let binaries: HashSet<_> =
        found.list.iter().map(|found| String::from_utf8_lossy(found.process.binary()).into_owned()).collect();
    for tool in ["sort", "uniq", "wc"] {
        assert!(binaries.iter().any(|binary| binary.ends_with(tool)), "no {tool} in {binaries:?}");
    }
    assert!(found.list.len() > 24 * 3, "{} descendants", found.list.len());
    assert!(found.list.iter().all(|found| found.ended.is_some()), "all have ended");
    let [life] = &journal.history(Target::Key(found.list[0].process.key), None, usize::MAX).unwrap().list[..]
    else {
        panic!("one process began the build")
    };
    assert!(life.happenings.len() >= 3, "it was forked, ran sh, and exited");
    let children = found.list.iter().filter(|found| found.level == 1).count();
    assert_eq!(life.children.len(), children);
}
