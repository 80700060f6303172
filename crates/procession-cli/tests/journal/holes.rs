//! Journals of which a part is not there: what is left is told as it was, and what is missing is named.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootTime, Event, EventKind, Exec, Fork, Pid, ProcessKey, Program, Subject, Table, TableConfig,
    WallClock,
};
use procession_journal::{BlockBuilder, Directory, DirectoryConfig, Fsync, Recording};
use tempfile::TempDir;

use crate::names;
use crate::run::Said;
use crate::trials::Test;

pub(crate) const TESTS: [Test; 5] = [
    ("holes::whoever_ran_before_the_first_file_is_known", whoever_ran_before_the_first_file_is_known),
    ("holes::what_happened_between_two_agents_is_shown", what_happened_between_two_agents_is_shown),
    ("holes::a_file_that_cannot_be_read_is_told_of", a_file_that_cannot_be_read_is_told_of),
    ("holes::what_was_torn_and_came_again_is_not_missing", what_was_torn_and_came_again_is_not_missing),
    ("holes::each_boot_misses_its_own_events_alone", each_boot_misses_its_own_events_alone),
];

/// A journal whose files are written one by one.
struct Lab {
    place: TempDir,
    boot: u64,
    table: Table,
    sequence: u64,
}

fn at(seconds: u64) -> BootTime {
    BootTime::from_nanos(seconds * 1_000_000_000)
}

/// Of an agent that began so many seconds after that boot, each of which is a day after the one before.
fn recording(boot: u64, seconds: u64) -> Recording {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + 86_400 * (boot - 1) + seconds);
    Recording { clock: WallClock::new(at(seconds), wall), ..names::recording(boot) }
}

/// The image with which `pid` begins to run a program in that second.
fn image(seconds: u64, pid: u32) -> ProcessKey {
    ProcessKey::new(Pid(pid), at(seconds).after(Duration::from_nanos(1)))
}

/// `parent` starts a program in a new process.
fn started(seconds: u64, pid: u32, program: &'static [u8], parent: ProcessKey) -> [Event<'static>; 2] {
    let time = at(seconds);
    let child = Subject::exact(ProcessKey::new(Pid(pid), time), time);
    let process = Subject::exact(image(seconds, pid), time);
    let parent_tid = parent.pid;
    let parent = parent.into();
    let fork = Fork { child, parent, parent_tid, owner: parent, ..Fork::default() };
    let program = Program { binary: program, arguments: Arguments::complete(b""), ..Program::default() };
    let exec = Exec { process, tid: Pid(pid), owner: parent, program, ..Exec::default() };
    let kinds = [(time, EventKind::Fork(fork)), (process.key.start, EventKind::Exec(exec))];
    kinds.map(|(time, kind)| Event { time, kind })
}

impl Lab {
    fn new() -> Self {
        let table = Table::new(TableConfig::default());
        Self { place: tempfile::tempdir().unwrap(), boot: 1, table, sequence: 0 }
    }

    /// A file of an agent that began then, with a block of these events.
    fn write(&mut self, began: u64, events: &[Event<'static>]) -> PathBuf {
        let config = DirectoryConfig { fsync: Fsync::Never, ..DirectoryConfig::new(self.place.path()) };
        let mut directory = Directory::open(config).unwrap();
        let recording = recording(self.boot, began);
        directory.begin(&recording, &self.table.checkpoint(), self.sequence, &[]).unwrap();
        let mut builder = BlockBuilder::new(self.sequence);
        for event in events {
            builder.push(event);
            _ = self.table.apply(event);
        }
        self.sequence += events.len() as u64;
        directory.append(&builder.take(&recording, &[])).unwrap();
        let files = fs::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some()).max().unwrap()
    }

    fn asked(&self, arguments: &[&str]) -> Said {
        let place = self.place.path().to_str().unwrap();
        let place: &[&str] = if arguments[0] == "replay" { &[place] } else { &["--journal", place] };
        let said = Said::with([arguments, place].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        said
    }
}

const INIT: ProcessKey = ProcessKey::new(Pid(1), BootTime::from_nanos(1));

/// The agent began long before the first file that is left.
fn whoever_ran_before_the_first_file_is_known() {
    let mut lab = Lab::new();
    let oldest = lab.write(10, &started(20, 100, b"/usr/bin/make", INIT));
    lab.write(10, &started(30, 101, b"/usr/bin/cc", image(20, 100)));
    fs::remove_file(oldest).unwrap();
    // Before it, since the agent is at work, and since it is known what ran.
    for from in [&[][..], &["--from", "2033-05-18T03:33:25Z"], &["--from", "2033-05-18T03:33:35Z"]] {
        let said = lab.asked(&[&["replay", "--exec", "-o", "json"], from].concat());
        assert_eq!(said.out.lines().count(), 1, "{said:?}");
        let exec: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(exec["process_exec"]["parent"]["binary"], "/usr/bin/make", "{from:?}: {said:?}");
    }
}

/// The second agent has read from the ring what happened before it began.
fn what_happened_between_two_agents_is_shown() {
    let mut lab = Lab::new();
    lab.write(10, &started(20, 100, b"/usr/bin/make", INIT));
    lab.write(50, &started(30, 101, b"/usr/bin/cc", INIT));
    let said = lab.asked(&["replay", "--exec", "--to", "2033-05-18T03:34:00Z"]);
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
}

fn a_file_that_cannot_be_read_is_told_of() {
    let mut lab = Lab::new();
    lab.write(10, &started(20, 100, b"/usr/bin/make", INIT));
    fs::create_dir(lab.place.path().join("0000000099-20330518T033320Z.procession")).unwrap();
    let parquet = tempfile::tempdir().unwrap();
    let parquet = parquet.path().join("out");
    let questions: [&[&str]; 5] = [
        &["replay"],
        &["tree"],
        &["history", "100"],
        &["descendants", "100", "--ever"],
        &["export", "--parquet", parquet.to_str().unwrap()],
    ];
    for question in questions {
        let said = lab.asked(question);
        let words = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("nobody knows how many events are missing"), "{question:?}: {said:?}");
        assert!(!words.contains("none lost"), "{question:?}: {said:?}");
    }
}

fn what_was_torn_and_came_again_is_not_missing() {
    let mut lab = Lab::new();
    let first = lab.write(10, &started(20, 100, b"/usr/bin/make", INIT));
    let whole = lab.asked(&["replay", "--exec"]);
    let count = lab.sequence;
    let file = OpenOptions::new().write(true).open(&first).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    // Nobody follows: then it is missing.
    let torn = lab.asked(&["replay", "--exec"]);
    assert!(torn.err.contains("missing") && !torn.err.contains("none lost"), "{torn:?}");
    (lab.table, lab.sequence) = (Table::new(TableConfig::default()), 0);
    lab.write(50, &started(20, 100, b"/usr/bin/make", INIT));
    assert_eq!(count, lab.sequence);
    let again = lab.asked(&["replay", "--exec"]);
    assert_eq!((again.out.lines().count(), &again.out), (1, &whole.out), "{again:?}");
    assert!(again.err.contains("none lost") && !again.err.contains("missing"), "{again:?}");
}

fn each_boot_misses_its_own_events_alone() {
    let mut lab = Lab::new();
    let first = lab.write(10, &started(20, 100, b"/usr/bin/make", INIT));
    let mut bytes = fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&first, bytes).unwrap();
    (lab.boot, lab.table, lab.sequence) = (2, Table::new(TableConfig::default()), 0);
    lab.write(10, &started(20, 200, b"/usr/bin/cc", INIT));
    let said = lab.asked(&["replay", "--exec"]);
    let words = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words.matches("cannot be read").count(), 1, "{said:?}");
    assert_eq!(
        (words.matches("none lost").count(), words.matches("up to 2 events are missing; about").count()),
        (1, 1),
        "{said:?}"
    );
}
