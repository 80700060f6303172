//! Recordings with times that make no sense: whoever asks them gets an answer, or is told why there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootTime, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey, Program, Running,
    Subject, WallClock,
};
use procession_journal::Recording;
use tempfile::TempDir;

use crate::machine::{Recorder, boot_id, config, recording};
use crate::site::{Answer, Site};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 3] = [
    ("recorded::two_boots_in_one_file", Needs::Nothing, two_boots_in_one_file),
    ("recorded::times_that_go_back", Needs::Nothing, times_that_go_back),
    ("recorded::wall_clocks_out_of_range", Needs::Nothing, wall_clocks_out_of_range),
];

/// The process that all of these recordings are about.
const PID: u32 = 4_200;

/// What happens to it in one boot: when it is forked, does an exec and ends, in seconds.
#[derive(Clone, Copy)]
struct Life {
    binary: &'static str,
    times: [u64; 3],
}

fn key(pid: u32, seconds: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), time(seconds))
}

fn time(seconds: u64) -> BootTime {
    BootTime::from_nanos(seconds.saturating_mul(1_000_000_000))
}

/// Process 1 runs, and forks one that does an exec and ends.
fn events(life: Life) -> Vec<Event<'static>> {
    let [forked, executed, ended] = life.times;
    let init = key(1, 0);
    let (began, image) = (key(PID, forked), key(PID, executed));
    let process = Subject::exact(image, began.start);
    let program = Program {
        binary: life.binary.as_bytes(),
        arguments: Arguments::complete(b"program\0recorded\0"),
        ..Program::default()
    };
    let at = |seconds: u64, kind: EventKind<'static>| Event { time: time(seconds), kind };
    let running = Running { process: Subject::exact(init, init.start), ..Running::default() };
    let fork = Fork {
        child: Subject::exact(began, began.start),
        parent: init.into(),
        parent_tid: Pid(1),
        owner: init.into(),
        ..Fork::default()
    };
    let exec = Exec {
        process,
        replaces: Some(began),
        tid: Pid(PID),
        owner: init.into(),
        program,
        ..Exec::default()
    };
    let status = Some(ExitStatus::from_raw(3 << 8));
    let exit = Exit { process, tid: Pid(PID), owner: init.into(), status, comm: b"program" };
    vec![
        at(forked, EventKind::Running(running)),
        at(forked, EventKind::Fork(fork)),
        at(executed, EventKind::Exec(exec)),
        at(ended, EventKind::Exit(exit)),
    ]
}

/// A journal of these lives, one after the other: its file.
fn journal(directory: &Path, recording: Recording, lives: &[Life]) -> PathBuf {
    let mut recorder = Recorder::new(config(directory), recording);
    recorder.begin();
    for life in lives {
        recorder.push_all(&events(*life));
        recorder.flush();
    }
    recorder.close();
    let mut entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.extension().is_some()).unwrap()
}

/// The answers to all that can be asked of `journal` about the process: to replay, history, why and export.
fn ask(site: &Site, journal: &Path) -> [Answer; 4] {
    let (path, pid) = (journal.to_str().unwrap(), PID.to_string());
    let tables = TempDir::new().unwrap();
    let parquet = tables.path().join("tables").display().to_string();
    let questions: [&[&str]; 4] = [
        &["replay", path],
        &["history", &pid, "--journal", path],
        &["why", &pid, "--journal", path],
        &["export", "--parquet", &parquet, "--journal", path],
    ];
    questions.map(|question| {
        let answer = site.ask(question);
        let text = format!("{} {}", answer.out, answer.err);
        assert!(!text.contains("panicked"), "{question:?}: {text}");
        assert!(answer.is_given || !answer.err.trim().is_empty(), "{question:?} fails without a word");
        answer
    })
}

const EARLY: Life = Life { binary: "/opt/early", times: [500, 501, 900] };
const LATE: Life = Life { binary: "/opt/late", times: [20, 21, 22] };

fn on(day: u64) -> WallClock {
    WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_hours(24 * day))
}

/// As if somebody had put two files together: the clock since boot begins again in the middle.
fn two_boots_in_one_file() {
    let site = Site::new();
    let (one, other) = (site.path("one"), site.path("other"));
    let first = journal(&one, recording(on(19_000)), &[EARLY]);
    let second = journal(&other, Recording { boot_id: boot_id(2), ..recording(on(19_001)) }, &[LATE]);
    let both = site.path("both.procession");
    fs::write(&both, [fs::read(first).unwrap(), fs::read(second).unwrap()].concat()).unwrap();
    let [replay, history, why, export] = ask(&site, &both);
    for answer in [&replay, &history] {
        assert!(answer.is_given, "{answer:?}");
        let places = ["/opt/early", "/opt/late"].map(|binary| answer.out.find(binary));
        assert!(places[0].is_some() && places[0] < places[1], "one boot, then the other: {answer:?}");
    }
    assert!(history.out.contains("2022-01-08") && history.out.contains("2022-01-09"), "{history:?}");
    assert!(why.is_given && why.out.contains("/opt/late"), "the last that had this pid: {why:?}");
    assert!(export.is_given, "{export:?}");
}

/// Within one boot: whatever the order, each life is told, with its own end.
fn times_that_go_back() {
    let site = Site::new();
    let lives = [EARLY, Life { binary: "/opt/late", times: [700, 650, 600] }, LATE];
    let path = journal(&site.path("journal"), recording(on(19_000)), &lives);
    let [replay, history, _, export] = ask(&site, &path);
    assert!(replay.is_given && history.is_given && export.is_given, "{replay:?} {history:?} {export:?}");
    assert!(replay.out.contains("/opt/early") && replay.out.contains("/opt/late"), "{replay:?}");
    assert!(history.out.contains("/opt/early"), "{history:?}");
}

/// Before 1970, before the calendar of anybody, after its end; and a clock since boot at its end.
fn wall_clocks_out_of_range() {
    let site = Site::new();
    let year = Duration::from_hours(24 * 365);
    let epoch = SystemTime::UNIX_EPOCH;
    let clocks = [
        ("before-1970", epoch.checked_sub(30 * year)),
        ("before-all", epoch.checked_sub(20_000 * year)),
        ("after-all", epoch.checked_add(200_000 * year)),
    ];
    for (name, wall) in clocks {
        let clock = WallClock::new(BootTime::ZERO, wall.unwrap());
        let path = journal(&site.path(name), recording(clock), &[EARLY]);
        let [replay, history, why, export] = ask(&site, &path);
        for answer in [&replay, &history, &why] {
            assert!(answer.is_given && answer.out.contains("/opt/early"), "{name}: {answer:?}");
        }
        assert_eq!(history.out.contains("1940-0"), name == "before-1970", "{name}: {history:?}");
        assert!(export.is_given, "{name}: {export:?}");
    }
    let last = u64::MAX / 1_000_000_000;
    let forever = Life { times: [last - 2, last - 1, last], ..EARLY };
    let path = journal(&site.path("forever"), recording(on(19_000)), &[forever]);
    let [replay, history, ..] = ask(&site, &path);
    assert!(replay.is_given && history.out.contains("/opt/early"), "{replay:?} {history:?}");
}
