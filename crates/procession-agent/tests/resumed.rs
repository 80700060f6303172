//! A pipeline that goes on from a journal with a source that has lost what it kept of each process, as
//! programs without pins have: what was done meanwhile is found, and marked.
//!
//! One test needs root and a kernel with BTF. Without, it is skipped and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "it says why a test is skipped")]

#[path = "../../procession-sensor/tests/support/required.rs"]
mod required;

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use procession::{
    BootTime, Context, Credentials, EndKind, Entry, Event, EventKind, Exec, FileIdentity, Fork, Gap,
    LineageDetail, Origin, Pid, Precision, ProcessKey, Program, Running, Subject, TableConfig, Uid,
};
use procession_agent::{JournalConfig, JournalTarget, Pipeline, PipelineConfig, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_journal::{DirectoryConfig, Fsync};
use procession_sensor::{EbpfConfig, KernelCounts, Resumed, Sink, Source, SourceError, SourceKind, open};
use tempfile::TempDir;

const ALL: Kinds = Kinds { running: true, fork: true, exec: true, exit: true, change: true };

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A source that tells what a test says.
#[derive(Default)]
struct Script {
    walk: Vec<Event<'static>>,
    /// What has happened and was not told yet.
    live: Arc<Mutex<Vec<Event<'static>>>>,
    /// What each survey shows; the last one again and again. Empty: it has none, and only walks.
    surveys: VecDeque<Vec<Event<'static>>>,
}

impl Source for Script {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.walk.iter().for_each(sink);
        Ok(())
    }

    fn poll(&mut self, _: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        std::mem::take(&mut *self.live.lock().unwrap()).iter().for_each(sink);
        Ok(())
    }

    fn resume(&mut self, _: &[u8]) -> Result<Resumed, SourceError> {
        Ok(Resumed::Afresh)
    }

    fn survey(&mut self, sink: Sink<'_>) -> Result<Option<BootTime>, SourceError> {
        let Some(shown) = self.surveys.front() else { return Ok(None) };
        shown.iter().for_each(sink);
        if self.surveys.len() > 1 {
            self.surveys.pop_front();
        }
        Ok(Some(at(1_000)))
    }

    fn has_told_survey(&self) -> bool {
        self.live.lock().unwrap().is_empty()
    }

    fn still_runs(&self, _: Subject) -> bool {
        true
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

/// So many ticks after the boot.
fn at(tick: u64) -> BootTime {
    BootTime::from_ticks(tick)
}

fn key(pid: u32, tick: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), at(tick))
}

fn program(inode: u64, executable: &'static str, comm: &'static str) -> Program<'static> {
    let file = Some(FileIdentity { inode, device: 8, ..FileIdentity::default() });
    let executable = executable.as_bytes();
    Program { binary: executable, executable, comm: comm.as_bytes(), file, ..Program::default() }
}

fn as_user(uid: u32) -> Context<'static> {
    let credentials = Some(Credentials { uid: Uid(uid), euid: Uid(uid), ..Credentials::default() });
    Context { credentials, ..Context::default() }
}

/// The process with this pid, which began then, as a look shows it.
fn looked(pid: u32, began: u64, program: Program<'static>, uid: u32, precision: Precision) -> Event<'static> {
    let process = Subject { key: key(pid, began), began: at(began), precision };
    let running = Running { process, program, context: as_user(uid), ..Running::default() };
    Event { time: at(2_000), kind: EventKind::Running(running) }
}

/// A journal of a machine on which 10, a child of 1, runs bash as user 1000. Before that, as root, it forked
/// 11: so the image that it shared with 1 is still there.
fn recorded(directory: &Path) {
    let init = program(1, "/sbin/init", "init");
    let fork = Fork {
        child: Subject::exact(key(10, 5), at(5)),
        parent: key(1, 1).into(),
        owner: key(1, 1).into(),
        ..Fork::default()
    };
    let fork_of_11 = Fork {
        child: Subject::exact(key(11, 6), at(6)),
        parent: key(10, 5).into(),
        owner: key(10, 5).into(),
        ..Fork::default()
    };
    let exec = Exec {
        process: Subject::exact(key(10, 7), at(5)),
        replaces: Some(key(10, 5)),
        owner: key(1, 1).into(),
        context: as_user(1000),
        program: program(2, "/usr/bin/bash", "bash"),
        ..Exec::default()
    };
    let walk = vec![looked(1, 1, init, 0, Precision::Nanoseconds)];
    let live = vec![
        Event { time: at(5), kind: EventKind::Fork(fork) },
        Event { time: at(6), kind: EventKind::Fork(fork_of_11) },
        Event { time: at(7), kind: EventKind::Exec(exec) },
    ];
    let live = Arc::new(Mutex::new(live));
    let mut pipeline = start(directory, Box::new(Script { walk, live, ..Script::default() }));
    pipeline.poll(Duration::ZERO, &mut |_| {}).unwrap();
    pipeline.close();
}

fn start(directory: &Path, source: Box<dyn Source>) -> Pipeline {
    let config = DirectoryConfig { fsync: Fsync::Never, ..DirectoryConfig::new(directory) };
    let journal = JournalConfig::new(JournalTarget::Directory(config), "node").unwrap();
    // A pipeline that has ended may hold the lock a moment longer.
    let end = Instant::now() + PATIENCE;
    let journal = loop {
        match journal.clone().open() {
            Ok(journal) => break journal,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let selection =
        Selection { scope: Scope::Everything, filter: Filter::new(ALL), lineage: LineageDetail::Parent };
    let resume = journal.restore(TableConfig::default());
    let config = PipelineConfig { journal: Some(journal), resume, ..PipelineConfig::new(selection) };
    Pipeline::start(source, config, &mut |_| {}).unwrap()
}

/// Polls until the table was compared so often.
fn until_surveys(pipeline: &mut Pipeline, surveys: u64) {
    let end = Instant::now() + PATIENCE;
    while pipeline.account().repair.surveys < surveys {
        assert!(Instant::now() < end, "{:?}", pipeline.account().repair);
        pipeline.poll(Duration::ZERO, &mut |_| {}).unwrap();
    }
}

/// What a look shows in which 10 runs a program as a user.
fn shown(program_of_10: Program<'static>, uid: u32, precision: Precision) -> Vec<Event<'static>> {
    let init = |pid, began| looked(pid, began, program(1, "/sbin/init", "init"), 0, precision);
    vec![init(1, 1), looked(10, 5, program_of_10, uid, precision), init(11, 6)]
}

/// How 10 is known: since when, how, what it runs, and as whom.
fn known(pipeline: &Pipeline) -> (ProcessKey, Origin, String, Option<u32>) {
    let process = pipeline.table().get_live(Pid(10)).unwrap().snapshot();
    let binary = String::from_utf8_lossy(process.binary()).into_owned();
    (process.key, process.origin, binary, process.user().map(|it| it.0))
}

#[test]
fn an_exec_that_nobody_saw_is_found_when_it_is_looked_twice() {
    let directory = TempDir::new().unwrap();
    recorded(directory.path());
    let evil = shown(program(3, "/tmp/evil", "evil"), 1000, Precision::Nanoseconds);
    let mut pipeline =
        start(directory.path(), Box::new(Script { surveys: [evil].into(), ..Script::default() }));
    until_surveys(&mut pipeline, 2);
    let found = (key(10, 2_000), Origin::Found(Gap::Absence), "/tmp/evil".to_owned(), Some(1000));
    assert_eq!(known(&pipeline), found);
    let account = pipeline.account();
    assert_eq!((account.repair.missing, account.repair.changed, account.repair.gone), (1, 0, 0));
    let before = pipeline.table().get_live(Pid(10)).unwrap().previous().unwrap();
    assert_eq!((before.key(), before.binary()), (key(10, 7), &b"/usr/bin/bash"[..]));
    // Who goes on from this journal knows it by that name.
    pipeline.close();
    drop(pipeline);
    let evil = shown(program(3, "/tmp/evil", "evil"), 1000, Precision::Nanoseconds);
    let pipeline = start(directory.path(), Box::new(Script { surveys: [evil].into(), ..Script::default() }));
    assert_eq!(known(&pipeline), found);
    assert_eq!(pipeline.account().repair.missing, 0);
}

/// The kernel shows the new program a moment before the exec is told of.
#[test]
fn an_exec_that_is_under_way_is_not_missed() {
    let directory = TempDir::new().unwrap();
    recorded(directory.path());
    let ls = program(3, "/usr/bin/ls", "ls");
    let under_way = shown(ls, 1000, Precision::Nanoseconds);
    let mut done = under_way.clone();
    let EventKind::Running(running) = &mut done[1].kind else { unreachable!("a look") };
    running.process.key = key(10, 2_001);
    let script = Script { surveys: [under_way, done].into(), ..Script::default() };
    let live = Arc::clone(&script.live);
    let mut pipeline = start(directory.path(), Box::new(script));
    assert_eq!(known(&pipeline).0, key(10, 7), "one look does not tell");
    let exec = Exec {
        process: Subject::exact(key(10, 2_001), at(5)),
        replaces: Some(key(10, 5)),
        context: as_user(1000),
        program: ls,
        ..Exec::default()
    };
    live.lock().unwrap().push(Event { time: at(2_001), kind: EventKind::Exec(exec) });
    until_surveys(&mut pipeline, 2);
    let seen = (key(10, 2_001), Origin::Exec, "/usr/bin/ls".to_owned(), Some(1000));
    assert_eq!(known(&pipeline), seen);
    assert_eq!(pipeline.account().repair.missing, 0);
    let before = pipeline.table().get_live(Pid(10)).unwrap().previous().unwrap();
    assert_eq!(before.key(), key(10, 7), "and nothing in between");
}

/// Who cannot look again believes what it sees.
#[test]
fn a_source_that_only_walks_finds_an_exec_at_once() {
    let directory = TempDir::new().unwrap();
    recorded(directory.path());
    let walk = shown(program(3, "/tmp/evil", "evil"), 1000, Precision::Ticks);
    let pipeline = start(directory.path(), Box::new(Script { walk, ..Script::default() }));
    let found = (key(10, 2_000), Origin::Found(Gap::Absence), "/tmp/evil".to_owned(), Some(1000));
    assert_eq!(known(&pipeline), found);
    assert_eq!(pipeline.account().repair.missing, 1);
}

#[test]
fn a_change_of_rights_that_nobody_saw_is_found() {
    let directory = TempDir::new().unwrap();
    recorded(directory.path());
    let root = shown(program(2, "/usr/bin/bash", "bash"), 0, Precision::Nanoseconds);
    let pipeline = start(directory.path(), Box::new(Script { surveys: [root].into(), ..Script::default() }));
    let changed = (key(10, 7), Origin::FirstExec, "/usr/bin/bash".to_owned(), Some(0));
    assert_eq!(known(&pipeline), changed);
    assert_eq!((pipeline.account().repair.missing, pipeline.account().repair.changed), (0, 1));
}

#[test]
fn what_is_as_it_was_is_no_news() {
    for precision in [Precision::Nanoseconds, Precision::Ticks] {
        let directory = TempDir::new().unwrap();
        recorded(directory.path());
        let same = shown(program(2, "/usr/bin/bash", "main"), 1000, precision);
        let pipeline =
            start(directory.path(), Box::new(Script { surveys: [same].into(), ..Script::default() }));
        let account = pipeline.account();
        assert_eq!((account.repair.surveys, account.repair.missing, account.repair.changed), (1, 0, 0));
        assert_eq!(known(&pipeline).0, key(10, 7));
    }
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The eBPF programs of two starts, without pins, with an exec in between.
#[test]
fn an_exec_between_two_starts_without_pins_is_found() {
    let sensor = || open(SourceKind::Ebpf, EbpfConfig::default());
    let Ok(first) = sensor().map_err(|error| required::skip("an exec between two starts", error)) else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let mut pipeline = start(directory.path(), first);
    let shell = Command::new("sh").args(["-c", "read line; exec sleep 600"]).stdin(Stdio::piped()).spawn();
    let mut shell = Ended(shell.unwrap());
    let pid = shell.0.id();
    let exe = || fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let of_shell = exe();
    let key_of = |pipeline: &Pipeline| pipeline.table().get_live(Pid(pid)).map(Entry::key);
    until("the exec of the shell", || {
        pipeline.poll(Duration::ZERO, &mut |_| {}).unwrap();
        pipeline.table().get_live(Pid(pid)).is_some_and(|it| it.origin() == Origin::FirstExec)
    });
    let before = key_of(&pipeline).unwrap();
    let of_bystanders = |pipeline: &Pipeline| {
        [1, std::process::id()].map(|pid| pipeline.table().get_live(Pid(pid)).map(Entry::key))
    };
    let bystanders = of_bystanders(&pipeline);
    pipeline.finish(&mut |_| {}).unwrap();
    pipeline.close();
    drop(pipeline);

    shell.0.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    until("the exec of sleep", || exe() != of_shell);
    let mut pipeline = start(directory.path(), sensor().unwrap());
    until("the repair", || {
        pipeline.poll(Duration::ZERO, &mut |_| {}).unwrap();
        key_of(&pipeline) != Some(before)
    });
    let entry = pipeline.table().get_live(Pid(pid)).unwrap();
    assert_eq!(entry.origin(), Origin::Found(Gap::Absence));
    assert_eq!(entry.image().unwrap().executable(), exe().as_os_str().as_encoded_bytes());
    assert_eq!(entry.previous().map(Entry::key), Some(before));
    assert_eq!(entry.parent().map(|it| it.key().pid.0), Some(std::process::id()));
    let name = entry.key();
    assert_eq!(of_bystanders(&pipeline), bystanders, "who did no exec has the name that it had");
    // Its end is that of the image that was found.
    drop(shell);
    until("its end", || {
        pipeline.poll(Duration::ZERO, &mut |_| {}).unwrap();
        pipeline.table().get_live(Pid(pid)).is_none()
    });
    let ended = pipeline.table().get(name).unwrap().snapshot();
    assert!(matches!(ended.end.unwrap().how, EndKind::Exited(Some(_))), "{:?}", ended.end);
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
